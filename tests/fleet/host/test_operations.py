"""What operators do with a fleet: drain a host, give up a lost one; and the clients that a fleet has."""

import asyncio

import pytest

from tests.faults.client import Told

from . import layout
from .findings import promises_are_kept
from .handle import Fleet, wait_for
from .users import Users

pytestmark = pytest.mark.timeout(300)

PYTEST = ("/opt/ml-tests/bin/pytest", "--quiet", "-p", "no:cacheprovider")


def ml_fleet(fleet: Fleet, *words: str) -> str:
    """What `ml-fleet` prints on the machine of the first front."""
    return fleet.output("servers", "ml-fleet", *words)


def state_of(fleet: Fleet, host: str) -> str:
    """How `ml-fleet hosts` calls a host."""
    rows = (line.split("\t") for line in ml_fleet(fleet, "hosts").splitlines())
    return next(row[1].strip() for row in rows if row[0] == host)


def test_the_first_client_meets_an_agent(fleet: Fleet) -> None:
    """The contract's own tests, on the machine of the front, which has its users' certificates."""
    tests = "tests/integration/test_first_client.py"
    # Nine jobs at a time run on three hosts, and the test wants one that waits.
    done = fleet.ran("servers", "env", "ML_AGENT_JOBS__MAX_RUNNING=9", *PYTEST, tests)
    assert done.returncode == 0, done.stdout[-3000:]


def test_ml_job_works_with_the_address_of_a_front(fleet: Fleet) -> None:
    submitted = fleet.output(
        "servers", "ml-job", "submit", "hello.py", "--parameter", "name=fleet", "--follow"
    )
    assert "Hello, fleet! (3 of 3)" in submitted
    listed = fleet.output("servers", "ml-job", "list").splitlines()
    job_id = listed[0].split("\t")[0]
    assert "Hello, fleet! (1 of 3)" in fleet.output("servers", "ml-job", "logs", job_id)
    get = f"cd $(mktemp -d) && ml-job artifacts get {job_id} && cat $(find . -name hello.txt)"
    assert fleet.output("servers", "sh", "-c", get).endswith("Hello, fleet!")


async def test_a_drained_host_ends_what_it_has_and_gets_nothing_new(fleet: Fleet, users: Users) -> None:
    before = [Told("alice", "steady.py") for _ in range(6)]
    work = [asyncio.create_task(users.whole_way(each)) for each in before]
    for each in before:
        await users.until_it_prints(each, seconds=90)
    await asyncio.to_thread(ml_fleet, fleet, "drain", "h1")
    try:
        after = [Told("bob", "short.py") for _ in range(6)]
        await asyncio.gather(*work, *map(users.whole_way, after))
        assert {(await users.job(each))["host"] for each in after} <= {"h2", "h3"}
        await promises_are_kept(fleet, *before, *after)
        assert state_of(fleet, "h1") == "draining"
    finally:
        await asyncio.to_thread(ml_fleet, fleet, "drain", "h1", "--undo")
    assert state_of(fleet, "h1") == "ready"


async def test_a_forgotten_hosts_jobs_are_over_and_end_there_when_it_comes_back(
    fleet: Fleet, users: Users
) -> None:
    told = [Told("alice", "long.py") for _ in range(6)]
    for each in told:
        await users.submit(each)
    work = [asyncio.create_task(users.follow(each)) for each in told]
    for each in told:
        await users.until_it_prints(each, seconds=90)
    on_h3 = [each for each in told if (await users.job(each))["host"] == "h3"]
    assert on_h3
    fleet.partition("h3")
    assert fleet.ran("servers", "ml-fleet", "forget", "--yes", "h3").returncode != 0
    wait_for(
        lambda: fleet.ran("servers", "ml-fleet", "forget", "--yes", "h3").returncode == 0,
        "h3 to be forgotten",
    )
    for each in on_h3:
        job = await users.job(each)
        assert (job["status"], job["reason"]) == ("FAILED", "interrupted")
    fleet.heal("h3")
    units = ("sh", "-c", "systemctl --user list-units --plain --no-legend --state=running 'ml-job@*' | wc -l")
    wait_for(lambda: fleet.output("h3", *units) == "0", "h3 to end what was given up", seconds=90)
    wait_for(lambda: state_of(fleet, "h3") == "ready", "h3 to begin as new")
    for each in told:
        await users.cancel(each)
    await asyncio.gather(*work, return_exceptions=True)
    assert set(layout.HOSTS) == {line.split("\t")[0] for line in ml_fleet(fleet, "hosts").splitlines()}
