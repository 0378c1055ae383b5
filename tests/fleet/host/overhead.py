"""What a front costs: the same calls to a host's agent itself and through a front, alternating, in one run.

    python -m tests.fleet.host.overhead [--rounds 200] [--lines 100000] [--followers 500] [--name BED]

Runs as root on the machine, with an installed bed. Prints a table with the ratios that are aimed at, and then
the delay of many followers' lines; exit status 1 where an aim is missed.
"""

import argparse
import asyncio
import contextlib
import json
import math
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.cli.job.http import Api
from agent.cli.job.profile import Profile
from agent.cli.job.stream import follow
from tests.support.waiting import until

from . import layout, network, users
from .handle import Fleet

USER = "alice"
ENDED = ("COMPLETED", "FAILED", "CANCELLED")
STATUS_AIM, FIRST_LINE_AIM, THROUGHPUT_AIM = 1.5, 1.3, 0.6  # through the front over the agent itself
DELAY_AIM = 0.25  # seconds, of 99 of 100 lines
FIRST_LINES = 7  # jobs each
READS = 3  # of the long log, each
TICKS = 60  # seconds that a job of the followers prints, while they come and then stay


@dataclass
class Row:
    """One figure both ways. `aim` bounds the ratio, from above or, for a rate, from below."""

    name: str
    unit: str
    direct: list[float]
    front: list[float]
    aim: float
    rate: bool = False

    @property
    def ratio(self) -> float:
        """Through the front over the agent itself, of the medians."""
        return statistics.median(self.front) / statistics.median(self.direct)

    @property
    def met(self) -> bool:
        """Whether the ratio is what it should be."""
        return self.ratio >= self.aim if self.rate else self.ratio <= self.aim

    def __str__(self) -> str:
        medians = f"{statistics.median(self.direct):>12.2f}{statistics.median(self.front):>12.2f}"
        sign = ">=" if self.rate else "<="
        missed = "" if self.met else "  MISSED"
        return f"{self.name:<24}{self.unit:>8}{medians}{self.ratio:>8.2f}{f'{sign} {self.aim}':>9}{missed}"


@dataclass
class Sides:
    """A user at the front, and the same at each host's agent."""

    front: Api
    agents: dict[str, Api]

    async def submit(self, api: Api, script: str, **hyperparameters: str) -> dict[str, Any]:
        """A job, as it was accepted."""
        body = {"script_name": script, "hyperparameters": hyperparameters}
        return dict(await api.post("/jobs", body))

    async def state(self, job_id: str, *states: str) -> dict[str, Any]:
        """The job at the front, as soon as it is in one of the states."""

        async def look() -> dict[str, Any] | None:
            job = dict(await self.front.get(f"/jobs/{job_id}"))
            return job if job["status"] in states else None

        found: dict[str, Any] | None = await until(look, seconds=180)
        assert found is not None
        return found


@contextlib.asynccontextmanager
async def connected(fleet: Fleet) -> Any:
    """Both sides. Enter the users' network before."""

    def files(node: str) -> Path:
        return fleet.root(node) / "home/ml/.config/ml-job"

    async with contextlib.AsyncExitStack() as stack:
        front = await stack.enter_async_context(Api(users.profile(fleet, USER)))
        agents = {}
        for host in layout.HOSTS:
            server = f"https://{layout.NAMES[host]}:{layout.AGENT_PORT}"
            profile = Profile.load(files(host), server=server, identity=USER)
            agents[host] = await stack.enter_async_context(Api(profile))
        yield Sides(front, agents)


async def seconds_of(work: Callable[[], Awaitable[object]]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def status(sides: Sides, rounds: int) -> Row:
    """GET of a job that has ended, on connections that are open."""
    accepted = await sides.submit(sides.front, "hello.py")
    job = await sides.state(accepted["job_id"], *ENDED)
    path, agent = f"/jobs/{job['job_id']}", sides.agents[job["host"]]
    row = Row("status", "ms", [], [], STATUS_AIM)
    for _ in range(rounds):
        for api, values in ((agent, row.direct), (sides.front, row.front)):
            values.append(1000 * await seconds_of(lambda api=api: api.get(path)))  # type: ignore[misc]
    return row


async def first_line(sides: Sides) -> Row:
    """From a submission to the first line of its script in the followed log."""
    row = Row("first log line", "ms", [], [], FIRST_LINE_AIM)
    for number in range(FIRST_LINES):
        agent = sides.agents[layout.HOSTS[number % len(layout.HOSTS)]]
        for api, values in ((agent, row.direct), (sides.front, row.front)):
            values.append(1000 * await seconds_of(lambda api=api: submit_and_see(sides, api)))  # type: ignore[misc]
    return row


async def submit_and_see(sides: Sides, api: Api) -> None:
    """Submits, and returns with the first line."""
    job = await sides.submit(api, "hello.py")
    async with contextlib.aclosing(events(api, job["job_id"])) as stream:
        async for event in stream:
            if event.name == "line" and json.loads(event.data)["source"] == "job":
                return


def events(api: Api, job_id: str) -> Any:
    """The followed log of a job."""
    return follow(api, f"/jobs/{job_id}/logs", params={}, notice=lambda _: None)


async def throughput(sides: Sides, lines: int) -> Row:
    """The events of a whole log that has ended, read as fast as they come, in thousand lines a second."""
    accepted = await sides.submit(sides.front, "hello.py", lines=str(lines))
    job = await sides.state(accepted["job_id"], *ENDED)
    row = Row("log, events", "1000/s", [], [], THROUGHPUT_AIM, rate=True)
    for _ in range(READS):
        for api, values in ((sides.agents[job["host"]], row.direct), (sides.front, row.front)):
            values.append(lines / 1000 / await seconds_of(lambda api=api: read(api, job["job_id"])))  # type: ignore[misc]
    return row


async def read(api: Api, job_id: str) -> None:
    """Reads the whole log as bytes of events: a client that decodes would be what is measured."""
    async with api.open(f"/jobs/{job_id}/logs", accept="text/event-stream") as response:
        async for _ in response.content.iter_any():
            pass


@dataclass
class Crowd:
    """Followers of the same user. What they see counts from when the last of them has come."""

    expected: int
    came: int = 0
    complete: float = math.inf  # when, in seconds since 1970
    delays: list[float] = field(
        default_factory=list
    )  # seconds from a line's time to its arrival, of each line

    def comes(self) -> None:
        """One more has the beginning of its stream."""
        self.came += 1
        if self.came == self.expected:
            self.complete = time.time()

    async def watch(self, api: Api, job_id: str) -> None:
        """Follows to the end."""
        first = True
        async with contextlib.aclosing(events(api, job_id)) as stream:
            async for event in stream:
                if first:
                    self.comes()
                    first = False
                if event.name == "line" and (line := json.loads(event.data))["source"] == "job":
                    printed = float(line["text"])
                    if printed > self.complete:
                        self.delays.append(time.time() - printed)


async def delays(sides: Sides, followers: int) -> tuple[float, list[float]]:
    """Seconds until all followers had come, and those that each line then took to each of them, sorted.

    One job on each host prints a line each half second; the followers are shared out among them.
    """
    accepted = [await sides.submit(sides.front, "ticks.py", seconds=str(TICKS)) for _ in layout.HOSTS]
    jobs = [await sides.state(job["job_id"], "RUNNING", *ENDED) for job in accepted]
    crowd, began = Crowd(followers), time.time()
    await asyncio.gather(
        *(crowd.watch(sides.front, jobs[number % len(jobs)]["job_id"]) for number in range(followers))
    )
    return crowd.complete - began, sorted(crowd.delays)


async def measure(fleet: Fleet, *, rounds: int, lines: int, followers: int) -> bool:
    """Prints the tables; whether every aim is met."""
    async with connected(fleet) as sides:
        head = f"{'':<24}{'':>8}{'agent':>12}{'front':>12}{'ratio':>8}{'aim':>9}"
        print(head)
        rows = []
        for work in (status(sides, rounds), first_line(sides), throughput(sides, lines)):
            rows.append(await work)
            print(rows[-1], flush=True)
        seconds, seen = await delays(sides, followers)
    if not seen:
        print(f"{followers} followers: not all of them came within {TICKS} s  MISSED")
        return False
    p50, p99 = (1000 * seen[len(seen) * share // 100] for share in (50, 99))
    missed = "" if p99 <= 1000 * DELAY_AIM else "  MISSED"
    print(f"{followers} followers over {len(layout.HOSTS)} hosts, all there after {seconds:.1f} s;", end=" ")
    print(f"{len(seen)} lines: p50 {p50:.0f} ms, p99 {p99:.0f} ms, at most {1000 * DELAY_AIM:.0f}{missed}")
    return not missed and all(row.met for row in rows)


def main(words: list[str]) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--followers", type=int, default=500)
    parser.add_argument("--name", default=layout.DEFAULT_NAME, help="which bed")
    chosen = parser.parse_args(words)
    fleet = Fleet(chosen.name)
    fleet.repair()
    with network.inside(chosen.name, layout.USERS.name):
        met = asyncio.run(
            measure(fleet, rounds=chosen.rounds, lines=chosen.lines, followers=chosen.followers)
        )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
