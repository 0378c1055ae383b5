"""What a member's request may cost a front, and what the users' lists do with a fleet as large as its bounds.

    python -m tests.security.front_cost [--rounds N]

A front of this checkout, over a Redis of its own, is measured as an agent is by `tests.security.cost`. What
members send is made from the models of their calls: the worst of each, and then as much as they may send. The
fleet has `HOSTS` hosts that have said as much of themselves as they may, and one has claimed `CLAIMS` jobs.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from agent.api.fleet_routes import MEMBER_ROUTES
from agent.api.openapi import described
from agent.fleet.entries import Claim, HostReport
from agent.fleet.record import Record
from agent.identity.authority import Authority
from agent.model.fleet import FRONT_SERVER_NAME
from agent.model.job import Job, to_json
from agent.scheduling.policy import Room
from tests.support.fleet_record import GIB, NEED, Member, connected, new_job
from tests.support.front_process import FrontProcess
from tests.support.jobs import make_job
from tests.support.redis_server import RedisServer
from tests.support.small_site import make_repository

from .cost import ROUNDS, Cost, Meter, again, baseline, most_expensive, report
from .inputs import JSON, KNOWN_BODIES, Case, cases
from .memory import Watched
from .standing_agent import UNLIMITED

HOSTS = 100
CLAIMS = 500
USER = "alice"
NAMES = [f"n{number:02}" + "x" * 60 for number in range(100)]  # networks of a host, of 63 characters
AMOUNT = {"jobs": 8, "millicpus": 8000, "memory_bytes": 8 * GIB}
MUCH: dict[str, Any] = {
    "networks": [NEED, *NAMES[1:]],
    "versions": {f"{number:02}" + "v" * 128: "x" * 300 for number in range(20)},
    "secrets_key": "k" * 12_000,
    "image": "i" * 300,
    "image_digest": "d" * 300,
}


@dataclass
class StandingFront(Watched):
    """A front in a process of its own, and a job that the member's host has claimed."""

    pid: int
    url: str
    claim: Claim


class Here(AbstractResolver):
    """Every name is this machine's."""

    async def resolve(self, host: str, port: int = 0, family: Any = None) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host="127.0.0.1", port=port, family=2, proto=0, flags=0),
        ]

    async def close(self) -> None:
        """Nothing is open."""


async def fill(record: Record) -> Claim:
    """Hosts that say as much as they may, and jobs that one has claimed; returns a claim."""
    await record.load()
    room = Room(CLAIMS, 10**6, 2**50)
    reported = MUCH | {"networks": tuple(MUCH["networks"])}
    for number in range(HOSTS):
        await record.join(f"h{number}", HostReport(capacity=room, **reported))
    host = await Member(record, "h0", room, **reported).join()
    claims = []
    for _ in range(CLAIMS):
        job = make_job(USER)
        kept = {"document": to_json(job), "request": json.dumps({"request": "y" * 1000})}
        await record.submit(new_job(USER, id=job.job_id, memory_bytes=1024, millicpus=1, **kept))
        claims.append(await host.claimed(digests=(MUCH["image_digest"],)))
    return claims[0]


@contextlib.asynccontextmanager
async def standing_front(directory: Path) -> AsyncIterator[tuple[StandingFront, FrontProcess]]:
    """A front over a record that is full."""
    fleet = Authority.make("the fleet")
    make_repository(directory / "repository")
    with RedisServer.running(directory / "redis") as redis:
        async with connected(redis) as record:
            claim = await fill(record)
        process = FrontProcess(directory, redis, directory / "repository", fleet, http=UNLIMITED)
        await process.start()
        try:
            url = f"https://{FRONT_SERVER_NAME}:{process.port}"
            yield StandingFront(process.pid, url, claim), process
        finally:
            await process.kill()


def known_bodies(claim: Claim) -> dict[str, dict[str, Any]]:
    """What a member sends, as it should be."""
    hold = {"job_id": claim.job_id, "fence": claim.fence}
    key = {"host": "h1", "public_key": "", "certificate": "", "signature": ""}
    return {
        "joinFleet": {"capacity": AMOUNT},
        "beginAsNew": {"epoch": "1"},
        "claimJob": {"epoch": "1", "capacity": AMOUNT, "others": AMOUNT, "ends_in": 0.0, "needs": [NEED]},
        "confirmClaim": hold | {"epoch": "1"},
        "acknowledgeClaim": hold,
        "releaseClaim": {**hold, "fence": "0", "elsewhere": False},
        "projectJob": {"fence": claim.fence, "job": json.loads(to_json(of(claim)))},
        "fetchSecret": {"user": USER, "name": "api"},
        "shareKeys": {"to": key, "secrets": []},
        "tellSecrets": {"whole": False},
    }


def of(claim: Claim, **fields: Any) -> Job:
    """The claimed job as its host has it."""
    return make_job(USER, job_id=claim.job_id, host="h0", revision=1, **fields)


def most(claim: Claim) -> Iterator[Case]:
    """The most that a member may send or ask for."""
    bodies = known_bodies(claim)
    parameters = {f"p{number:02}": "😀" * 80 for number in range(100)}
    large = of(claim, hyperparameters=parameters, labels={f"l{n}": "ä" * 255 for n in range(32)})
    names = [{"user": USER, "name": f"s{number}"} for number in range(200)]
    times = {"created_at": "2026-01-01T00:00:00.000Z", "updated_at": "2026-01-01T00:00:00.000Z"}
    sealed = {"version": "1" * 16 + "-" + "a" * 16, "key": "A" * 128}
    bodies |= {
        "joinFleet": bodies["joinFleet"] | MUCH,
        "claimJob": bodies["claimJob"] | {"needs": [NEED, *NAMES[1:]], "digests": ["d" * 300] * 100},
        "projectJob": {"fence": claim.fence, "job": json.loads(to_json(large))},
        "shareKeys": bodies["shareKeys"] | {"secrets": [each | sealed for each in names[:100]]},
        "tellSecrets": {"whole": True, "secrets": [each | times for each in names], "gone": names},
    }
    for route in MEMBER_ROUTES:
        body = json.dumps(bodies[route.operation_id]).encode() if route.body else b""
        headers = JSON if route.body else {}
        if route.path != "/fleet/member/secrets":  # which waits for news
            yield Case("most", route.operation_id, route.method, route.path, headers, body)


LISTS = [Case("list", path, "GET", path) for path in ("/hosts", "/host", "/jobs?limit=200", "/events")]


async def judge(front: StandingFront, member: Meter, user: Meter, rounds: int) -> list[str]:
    """What is wrong, one sentence each. Prints the table of the most expensive cases."""
    KNOWN_BODIES.update(known_bodies(front.claim))
    plain = Case("", "plain", "GET", f"/jobs/{front.claim.job_id}")
    await user.measure(plain, 50)  # what is loaded late is loaded now
    for case in most(front.claim):
        await member.measure(case, 1)
    memory = front.memory()["Rss"]
    found, failed = await most_expensive(
        member, cases(described(MEMBER_ROUTES), {"job_id": front.claim.job_id})
    )
    growth = (front.memory()["Rss"] - memory) / 1024
    base = await baseline(user, plain)
    worst: list[Cost] = [await again(member, cost, rounds) for cost in found]
    worst += [await member.measure(case, rounds) for case in most(front.claim)]
    worst += [await user.measure(case, rounds) for case in LISTS]
    failed += [f"{cost.case.name}: {cost.status}" for cost in worst if cost.status >= 500]
    print(f"a plain request takes {base:.2f} ms of the event loop")
    return [*failed, *report(worst, base, growth)]


async def main(rounds: int) -> int:
    """The exit status."""
    with tempfile.TemporaryDirectory() as directory:
        async with (
            standing_front(Path(directory)) as (front, process),
            _session(process.member("h0")) as members,
            _session(await process.known(USER)) as users,
        ):
            user = Meter(front, users, f"https://localhost:{process.port}")
            wrong = await judge(front, Meter(front, members, front.url), user, rounds)
    for sentence in wrong:
        print(sentence)
    print(f"{len(wrong)} requests cost too much" if wrong else "No request costs too much.")
    return 1 if wrong else 0


def _session(context: Any) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(ssl=context, limit=1, resolver=Here())
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    sys.exit(asyncio.run(main(parser.parse_args().rounds)))
