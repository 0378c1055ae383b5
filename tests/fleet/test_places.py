"""What waiting jobs of the fleet are said to wait for."""

from dataclasses import replace
from typing import Any

import pytest

from agent.fleet.entries import HostReport, HostRow
from agent.fleet.places import SILENT, Queued, Site, waits_for
from agent.fleet.record import Record
from agent.scheduling.policy import Room
from tests.support.fleet_record import GIB, HOST, connected, member, new_job, submitted
from tests.support.redis_server import RedisServer

NOW = 1_000_000_000.0
JOB = Queued(
    id="aaaaaaaaaaaa",
    position=1,
    owner="alice",
    need="none",
    room=Room(1, 1000, GIB),
    digest="",
    lacking={},
    refused=(),
    running=0,
)
HOSTS = tuple(
    HostRow(
        name=name,
        epoch="1",
        seen=NOW,
        gone=None,
        draining=False,
        jobs=0,
        report=HostReport(
            capacity=Room(8, 8000, 8 * GIB),
            image_digest="sha256:1",
            networks=("none",),
        ),
    )
    for name in ("h1", "h2")
)
SITE = Site(hosts=HOSTS, taken={}, now=NOW)
FULL = {"h1": Room(8, 8000, 0), "h2": Room(7, 7500, 0)}


def with_hosts(**changes: Any) -> Site:
    return replace(SITE, hosts=tuple(replace(host, **changes) for host in HOSTS))


@pytest.mark.parametrize(
    ("job", "site", "words"),
    [
        (JOB, SITE, "a host, which is about to claim it"),
        (replace(JOB, position=2), SITE, "its turn, after 1 other job"),
        (replace(JOB, position=31), SITE, "its turn, after 30 other jobs"),
        (JOB, Site(hosts=(), taken={}, now=NOW), "a host: the fleet has none"),
        (JOB, with_hosts(gone=NOW), "a host: the fleet has none"),
        (
            replace(JOB, room=Room(1, 16000, GIB)),
            SITE,
            "16 CPUs, which is more than h1, the largest host, gives to jobs;"
            " it never starts unless that changes",
        ),
        (replace(JOB, need="warehouse"), SITE, "a host with the network warehouse: none has it"),
        (
            replace(JOB, digest="sha256:0123456789abcdef"),
            SITE,
            "a host with the image sha256:0123456789ab: none has it",
        ),
        (
            replace(JOB, lacking={"h1": "snowflake", "h2": "snowflake"}),
            SITE,
            "a host with the newest value of the secret snowflake: none has it",
        ),
        (replace(JOB, lacking={"h1": "snowflake"}), SITE, "a host, which is about to claim it"),
        (replace(JOB, refused=("h1", "h2")), SITE, "another host: h1 and h2 refused it or lost it"),
        (
            JOB,
            with_hosts(seen=NOW - SILENT - 1),
            "h1 and h2, unreachable since 2001-09-09T01:46:24Z",
        ),
        (JOB, with_hosts(draining=True), "a host that is not drained, as h1 and h2 now"),
        (
            replace(JOB, running=2),
            replace(SITE, max_running=2),
            "one of alice's jobs to end: a user may run 2 at a time",
        ),
        (
            JOB,
            replace(SITE, taken=FULL),
            "room: no host that can run it has it free now; h2 lacks 1 CPU",
        ),
        (JOB, replace(SITE, taken={"h1": HOST}), "a host, which is about to claim it"),
    ],
)
def test_the_first_thing_that_keeps_every_host_from_a_job_is_told(
    job: Queued, site: Site, words: str
) -> None:
    assert waits_for(job, site) == words


def test_hosts_with_one_thing_each_do_not_suit_together() -> None:
    one, other = HOSTS
    hosts = (
        replace(one, report=replace(one.report, networks=("warehouse",), image_digest="sha256:2")),
        other,
    )
    job = replace(JOB, need="warehouse", digest="sha256:1")
    assert waits_for(job, replace(SITE, hosts=hosts)) == "a host with the image sha256:1: none has it"


# In the record


@pytest.mark.host
async def test_places_are_in_the_order_of_turns(record: Record) -> None:
    await member(record)
    jobs = {
        "first": await submitted(record, priority=5),
        "second": await submitted(record),
        "third": await submitted(record, "bob"),
        "fourth": await submitted(record),
    }
    # Alice's first job counts for her: then it is Bob's turn.
    order = ["first", "third", "second", "fourth"]
    places = await record.places(None, 10)
    assert list(places) == [jobs[name] for name in order]
    assert [position for position, _ in places.values()] == [1, 2, 3, 4]
    assert await record.places("bob", 10) == {jobs["third"]: (2, "its turn, after 1 other job")}
    assert list(await record.places("alice", 2)) == [jobs["first"], jobs["second"]]
    assert await record.places("carol", 10) == {}


@pytest.mark.host
async def test_without_hosts_jobs_have_places_too(record: Record) -> None:
    job_id = await submitted(record)
    assert await record.places("alice", 1) == {job_id: (1, "a host: the fleet has none")}


@pytest.mark.host
async def test_a_host_says_what_it_lacks(record: Record) -> None:
    host = await member(record, others=Room(0, 1000, 0))
    secret = await submitted(record, secrets={"snowflake": "any"})
    large = await submitted(record, millicpus=8000)
    for _ in range(7):
        await submitted(record, priority=1)
        await host.claimed(others=Room(0, 1000, 0))
    words = {job_id: text for job_id, (_, text) in (await record.places("alice", 9)).items()}
    assert words == {
        secret: "a host with the newest value of the secret snowflake: none has it",
        large: "room: no host that can run it has it free now; h1 lacks 8 CPUs",
    }


@pytest.mark.host
async def test_a_user_with_as_many_running_jobs_as_the_site_allows(shared_redis: RedisServer) -> None:
    shared_redis.cli("flushall")
    async with connected(shared_redis, max_running=1) as record:
        await record.load()
        for _ in range(2):
            await submitted(record)
        host = await member(record)
        await host.claimed()
        ((_, words),) = (await record.places("alice", 9)).values()
        assert words == "one of alice's jobs to end: a user may run 1 at a time"


@pytest.mark.host
async def test_positions_far_behind_are_reckoned(record: Record, shared_redis: RedisServer) -> None:
    """Three users with many jobs that are alike: reckoned positions are as exact as walked ones."""
    await member(record)
    for _ in range(300):
        for owner in ("alice", "bob", "carol"):
            await record.submit(new_job(owner))
    last = await submitted(record, "bob")
    places = await record.places("bob", 1000)
    assert len(places) == 301
    positions = [position for position, _ in places.values()]
    assert positions == sorted(set(positions))
    assert places[last][0] == 901
    assert all(abs(position - 3 * rank) <= 3 for rank, position in enumerate(positions, start=1))
