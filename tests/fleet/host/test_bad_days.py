"""Bad days of a fleet, on real hosts: what dies, is cut off, or lacks something."""

import asyncio
import random
from collections.abc import Iterable

import pytest

from tests.faults.client import Told

from . import layout
from .findings import promises_are_kept
from .handle import Fleet, wait_for
from .soak import Chaos, making
from .users import Users

pytestmark = pytest.mark.timeout(420)


async def hosts_of(users: Users, told: Iterable[Told]) -> set[str]:
    """Where jobs are or were."""
    return {(await users.job(each))["host"] for each in told}


async def begun(users: Users, script: str, count: int) -> tuple[list[Told], list[asyncio.Task[Told]]]:
    """So many jobs, each followed until its end by a task, as soon as all of them print."""
    told = [Told(("alice", "bob")[number % 2], script) for number in range(count)]
    work = [asyncio.create_task(users.whole_way(each)) for each in told]
    for each in told:
        await users.until_it_prints(each, seconds=90)
    return told, work


@pytest.mark.parametrize("what", ["agent", "member"])
async def test_a_program_of_a_host_dies_with_its_jobs_going_on(fleet: Fleet, users: Users, what: str) -> None:
    told, work = await begun(users, "steady.py", 6)
    for host in layout.HOSTS:
        await asyncio.to_thread(fleet.kill, host, what)
    await asyncio.gather(*work)
    await promises_are_kept(fleet, *told)


@pytest.mark.parametrize("what", ["record", "broker"])
async def test_a_server_dies_with_jobs_waiting_and_going_on(fleet: Fleet, users: Users, what: str) -> None:
    told = [Told("alice", "steady.py") for _ in range(15)]
    work = [asyncio.create_task(users.whole_way(each)) for each in told]
    await users.until_it_prints(told[0])
    await asyncio.to_thread(fleet.kill, "servers", what)
    await asyncio.gather(*work)
    await promises_are_kept(fleet, *told)


@pytest.mark.parametrize("what", [None, "broker", "fronts"])
async def test_a_host_that_is_cut_off_catches_up(fleet: Fleet, users: Users, what: str | None) -> None:
    """Its jobs go on and are told when it is back; what is new runs elsewhere meanwhile."""
    told, work = await begun(users, "steady.py", 6)
    fleet.partition("h2", what)
    meanwhile = [Told("bob", "short.py") for _ in range(3)]
    await asyncio.gather(*map(users.submit, meanwhile))
    await asyncio.gather(*map(users.wait, meanwhile))
    assert "h2" not in await hosts_of(users, meanwhile)
    fleet.heal("h2")
    await asyncio.gather(*work)
    await promises_are_kept(fleet, *told, *meanwhile)


async def test_a_power_cut_of_a_host_ends_its_jobs_and_no_others(fleet: Fleet, users: Users) -> None:
    told, work = await begun(users, "steady.py", 6)
    on_h3 = [each for each in told if (await users.job(each))["host"] == "h3"]
    await asyncio.to_thread(fleet.kill, "h3")
    assert (await asyncio.to_thread(fleet.verb, "up")).returncode == 0
    await asyncio.gather(*work)
    for each in told:
        expected = ("FAILED", "interrupted") if each in on_h3 else ("COMPLETED", None)
        assert (each.ended["status"], each.ended.get("reason")) == expected


async def test_a_paused_member_that_wakes_after_it_was_forgotten_begins_nothing(
    fleet: Fleet, users: Users
) -> None:
    told, work = await begun(users, "long.py", 6)
    on_h3 = [each for each in told if (await users.job(each))["host"] == "h3"]
    assert on_h3
    signal_member(fleet, "h3", "STOP")
    meanwhile = [Told("bob", "short.py") for _ in range(3)]
    await asyncio.gather(*map(users.whole_way, meanwhile))
    given_up = ("ml-fleet", "forget", "--yes", "h3")
    wait_for(lambda: fleet.ran("servers", *given_up).returncode == 0, "h3 to be forgotten")
    for each in on_h3:
        job = await users.job(each)
        assert (job["status"], job["reason"]) == ("FAILED", "interrupted")
    signal_member(fleet, "h3", "CONT")
    wait_for(lambda: "forgotten" not in fleet.output("servers", "ml-fleet", "hosts"), "h3 to begin as new")
    assert RUNNING not in fleet.output("h3", "systemctl", "--user", "list-units", "ml-job@*")
    after = [Told("bob", "short.py") for _ in range(9)]
    await asyncio.gather(*map(users.whole_way, after))
    assert "h3" in await hosts_of(users, after)
    for each in told:
        await users.cancel(each)
    await asyncio.gather(*work)
    await promises_are_kept(fleet, *meanwhile, *after)


RUNNING = " running "


def signal_member(fleet: Fleet, host: str, name: str) -> None:
    """A signal for a host's member, which gets no other word."""
    fleet.output(host, "systemctl", "--user", "kill", f"--signal={name}", "ml-fleet-member.service")


async def test_a_host_without_the_image_gets_no_jobs(fleet: Fleet, users: Users) -> None:
    image = "localhost/ml-runner:latest"
    known = fleet.output("h2", "podman", "image", "inspect", "--format", "{{.Id}}", image)
    # Also the names by which agents keep images that jobs ran in.
    names = fleet.output("h2", "podman", "image", "inspect", "--format", '{{join .RepoTags " "}}', image)
    fleet.output("h2", "podman", "untag", *names.split())
    try:
        told = [Told("alice", "short.py") for _ in range(9)]
        await asyncio.gather(*map(users.whole_way, told))
        assert await hosts_of(users, told) == {"h1", "h3"}
        await promises_are_kept(fleet, *told)
    finally:
        fleet.output("h2", "podman", "tag", known, *names.split())


async def test_a_short_storm(fleet: Fleet, users: Users) -> None:
    """A minute of the soak: `python -m tests.fleet.host.soak` is the whole."""
    told = [Told(("alice", "bob")[number % 2], "steady.py") for number in range(24)]
    async with making(Chaos(fleet, random.Random(7))):
        await asyncio.gather(*map(users.whole_way, told))
    fleet.repair()
    await promises_are_kept(fleet, *told)
    assert wait_for(lambda: fleet.ran("h3", "true").returncode == 0, "hosts to answer")
