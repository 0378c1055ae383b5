"""What a request may cost: the worst paths, headers, queries and bodies, against a plain request.

    python -m tests.security.cost [--rounds N]

An agent of this checkout answers them over TLS on the loopback; `tests.security.inputs` makes them from the
OpenAPI document. The kernel counts the processor time of the agent's event loop and of all its threads, and
the most memory that it had. A plain `GET /jobs/{id}` in the same run is the measure. Prints a table of the
most expensive inputs of each kind. Exit status 1 if a request costs more than `MAX_RATIO` plain ones, if one
is answered with 500 or more, or if the agent takes more memory than `MAX_MEMORY` for one or `MAX_GROWTH` for
all.

The largest lists of artifacts are among them (`tests.security.largest`). Such an answer has some megabytes
and is sent in pieces of 64 KiB: `MAX_RATIO` is what each MiB of it may cost, and `MAX_MEMORY` what all of it
may take.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from yarl import URL

from . import largest
from .inputs import Case, cases
from .memory import Watched, judged
from .standing_agent import ALIAS, ARTIFACT, MODEL, StandingAgent, standing_agent

ROUNDS = 8  # of each request that is among the most expensive; of the others one
MAX_RATIO = 40.0  # a plain request takes about 0.5 ms of a quiet core, so this is 20 ms
MAX_MEMORY = 16.0  # MiB that the agent may take for one request (docs/limits.md)
MAX_GROWTH = 64.0  # MiB of resident memory over the whole run
SHOWN = 8  # inputs of each kind
SUSPECTS = 40  # inputs of each kind that are measured again
AT_ONCE = 1000  # that are kept while the others are measured: bodies are large
# Strangers may send one request a second to `/enrolment`: here each is to be answered.
MIB = 2**20  # bytes
UNLIMITED = "from agent.api.server import rates; rates.ENROLMENT_BURST = 10**6; "


@dataclass
class Cost:
    """What each request of one case has cost: milliseconds of the event loop and of all threads, and MiB.

    `answer` is the size of its body in bytes.
    """

    case: Case
    loop: float
    threads: float
    memory: float
    status: int
    answer: int

    @property
    def parts(self) -> int:
        """How many times a request's share this one may cost."""
        return -(-self.answer // MIB) if self.case.in_pieces and self.answer else 1


class Processor:
    """The time that a process has run since it began or was last asked (proc(5), schedstat)."""

    def __init__(self, pid: int) -> None:
        self._tasks, self._loop = Path(f"/proc/{pid}/task"), f"{pid}"
        self.spent()

    def spent(self) -> tuple[float, float]:
        """Milliseconds of the first thread, which runs the event loop, and of all."""
        now = {task.name: int((task / "schedstat").read_text().split()[0]) for task in self._tasks.iterdir()}
        before, self._before = getattr(self, "_before", now), now
        spent = {task: now[task] - before.get(task, 0) for task in now}
        return spent[self._loop] / 1e6, sum(spent.values()) / 1e6


class Meter:
    """Measures requests to an agent."""

    def __init__(self, agent: Watched, session: aiohttp.ClientSession, url: str) -> None:
        self._agent = agent
        self._url = url
        self._session = session
        self.peak = 0  # KiB, the most of all measurements
        self._processor = Processor(agent.pid)

    async def measure(self, case: Case, rounds: int) -> Cost:
        """Makes the same request again and again."""
        status, answer, before = 0, 0, self._agent.forget_peak()
        self._processor.spent()
        for _ in range(rounds):
            status, answer = await self._ask(case)
        loop, threads = self._processor.spent()
        self.peak = max(self.peak, self._agent.peak())
        memory = (self._agent.peak() - before) / 1024
        return Cost(case, loop / rounds, threads / rounds, memory, status, answer)

    async def _ask(self, case: Case) -> tuple[int, int]:
        """The status, and the size of the body in bytes.

        The status is 0 where there was no answer, or the client itself refuses to send the request.
        """
        with contextlib.suppress(aiohttp.ClientError, ValueError):
            async with self._session.request(
                case.method,
                URL(self._url + case.path, encoded=True),
                headers=case.headers,
                data=case.body or None,
            ) as response:
                size = 0
                async for data in response.content.iter_any():
                    size += len(data)
                    if response.content_type == "text/event-stream":  # which would not end
                        response.close()
                        break
                return response.status, size
        return 0, 0


async def judge(agent: StandingAgent, rounds: int) -> list[str]:
    """What is wrong, one sentence each. Prints the table of the most expensive cases."""
    listed = await leave_lists(agent)
    async with measured(agent, listed) as (meter, every):
        plain = Case("", "plain", "GET", f"/jobs/{agent.ended[0]}")
        await meter.measure(plain, 50)  # what is loaded late is loaded now
        for case in largest.lists(listed):
            await meter.measure(case, 1)  # which makes the list
        memory = agent.memory()["Rss"]
        found, failed = await most_expensive(meter, every)
        growth = (agent.memory()["Rss"] - memory) / 1024
        base = await baseline(meter, plain)
        worst = [await again(meter, cost, rounds) for cost in found]
    print(f"a plain request takes {base:.2f} ms of the event loop")
    within = judged(meter.peak)
    return [*failed, *report(worst, base, growth), *([] if within else ["more memory than MemoryMax="])]


async def leave_lists(agent: StandingAgent) -> dict[str, str]:
    """Has some jobs that have ended leave as many artifacts as they can; their ids by the kind of names."""
    listed = dict(zip(largest.FILLINGS, agent.ended[1:], strict=True))
    for kind, job_id in listed.items():
        await asyncio.to_thread(largest.leave, agent.artifacts(job_id), largest.FILLINGS[kind])
    return listed


@contextlib.asynccontextmanager
async def measured(
    agent: StandingAgent, listed: Mapping[str, str]
) -> AsyncIterator[tuple[Meter, Iterator[Case]]]:
    """A meter of the agent, and every case; `listed` are the jobs with the largest lists of artifacts."""
    connector = aiohttp.TCPConnector(ssl=agent.context, limit=1)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as session:
        async with session.get(f"{agent.url}/openapi.json") as response:
            document = json.loads(await response.read())
        known = {
            "job_id": agent.ended[0],
            "other_id": agent.ended[1],
            "sweep_id": agent.sweep,
            "schedule_id": agent.schedule,
            "path": ARTIFACT,
            "name": "api",
            "model": MODEL,
            "alias": ALIAS,
            "asset": "swagger-ui-bundle.js",
        }
        yield Meter(agent, session, agent.url), itertools.chain(cases(document, known), largest.cases(listed))


async def most_expensive(meter: Meter, every: Iterator[Case]) -> tuple[list[Cost], list[str]]:
    """Measures every case roughly: the most expensive, and those that were answered with 500 or more."""
    worst, failed, inputs = list[Cost](), list[str](), 0
    for case in every:
        inputs += 1
        cost = await meter.measure(case, 1)
        worst = suspects([*worst, cost]) if len(worst) > AT_ONCE else [*worst, cost]
        if cost.status >= 500:
            failed.append(f"{case.method} {case.path[:40]} {case.name}: answered with {cost.status}")
    print(f"{inputs} inputs")
    return suspects(worst), failed


async def baseline(meter: Meter, plain: Case) -> float:
    """Milliseconds of the event loop for a plain request."""
    return min([(await meter.measure(plain, 50)).loop for _ in range(5)])


def suspects(costs: Sequence[Cost]) -> list[Cost]:
    """The most expensive of each kind, by time and by memory."""
    found: dict[int, Cost] = {}
    for kind in dict.fromkeys(cost.case.kind for cost in costs):
        of_kind = [cost for cost in costs if cost.case.kind == kind]
        for measure in (lambda cost: cost.loop, lambda cost: cost.threads, lambda cost: cost.memory):
            worst = sorted(of_kind, key=measure, reverse=True)[:SUSPECTS]
            found |= {id(cost): cost for cost in worst}
    return list(found.values())


async def again(meter: Meter, cost: Cost, rounds: int) -> Cost:
    """The case, measured properly. A busy machine can spoil one measurement: the better of two counts."""
    measured = [await meter.measure(cost.case, rounds) for _ in range(2)]
    best = min(measured, key=lambda each: each.loop)
    memory = min(each.memory for each in (cost, *measured))
    threads = min(each.threads for each in measured)
    return Cost(cost.case, best.loop, threads, memory, best.status, best.answer)


def report(worst: list[Cost], base: float, growth: float) -> list[str]:
    """Prints the table; `base` is in milliseconds, `growth` in MiB. What is wrong, one sentence each."""
    print(f"{'kind':<8}{'bytes':>8}{'loop ms':>9}{'x plain':>9}{'all ms':>8}{'MiB':>6}{'status':>8}  input")
    worst.sort(key=lambda each: each.loop, reverse=True)
    for kind in dict.fromkeys(cost.case.kind for cost in worst):
        for cost in [each for each in worst if each.case.kind == kind][:SHOWN]:
            case, ratio = cost.case, cost.loop / base / cost.parts
            print(
                f"{kind:<8}{case.size:>8}{cost.loop:>9.2f}{ratio:>9.1f}{cost.threads:>8.2f}"
                f"{cost.memory:>6.1f}{cost.status or '-':>8}  {case.method} {case.path[:24]} {case.name[:60]}"
            )
    most = max(cost.memory for cost in worst)
    print(f"at the most {most:.1f} MiB of memory for one request; it grew by {growth:.1f} MiB in all")
    wrong = [said for cost in worst for said in excess(cost, base)]
    return wrong + ([f"memory grew by {growth:.1f} MiB"] if growth > MAX_GROWTH else [])


def excess(cost: Cost, base: float) -> list[str]:
    """What is wrong with one input."""
    name = f"{cost.case.method} {cost.case.path[:40]} {cost.case.name}"
    found = []
    ratio = max(cost.loop, cost.threads) / base / cost.parts
    if ratio > MAX_RATIO:
        found.append(f"{name}: {ratio:.1f} plain requests")
    if cost.memory > MAX_MEMORY:
        found.append(f"{name}: {cost.memory:.1f} MiB")
    return found


async def main(rounds: int) -> int:
    """The exit status."""
    async with standing_agent(ended=1 + len(largest.FILLINGS), prelude=UNLIMITED) as agent:
        wrong = await judge(agent, rounds)
    for sentence in wrong:
        print(sentence)
    print(f"{len(wrong)} requests cost too much" if wrong else "No request costs too much.")
    return 1 if wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    sys.exit(asyncio.run(main(parser.parse_args().rounds)))
