"""What one user's worst requests cost another, who asks for `GET /host`.

    python -m tests.security.victim [--seconds N] [--step N]

First the most expensive inputs of each kind are found (`tests.security.cost`). Then an agent with its usual
limits is asked by a victim, every `INTERVAL`, while another user in a process of its own is quiet, sends
plain requests, and sends those inputs, as fast as the rate limit lets it, over as many connections as it may
have. The three take turns, so that what else the machine does shows in all. The other user's process has the
lowest priority: it stands for another machine. Exit status 1 if the victim's p99 beside the worst inputs is
more than `MAX_RATIO` times the quiet one, or if one of its requests failed.
"""

import argparse
import asyncio
import contextlib
import json
import os
import ssl
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path

import aiohttp
from yarl import URL

from .cost import UNLIMITED, again, leave_lists, measured, most_expensive
from .inputs import Case
from .memory import judged
from .standing_agent import StandingAgent, standing_agent

MAX_RATIO = 1.5
SECONDS = 60.0  # of each of the three
TURNS = 6
INTERVAL = 0.05  # seconds between two requests of the victim
CONNECTIONS = 150  # of the other user: as many as it may have (docs/limits.md)
WORST = 5  # inputs of each kind
MARKS = [f"JOB-{number}" for number in range(5)]  # for the jobs that have ended
USUAL = "requests_per_second = 100\nrequest_burst = 1000"
LOWEST_PRIORITY = 19


@dataclass
class Seen:
    """What the victim saw: milliseconds, and what failed; and the answers that the other user got."""

    times: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)

    def percentile(self, number: int) -> float:
        """In milliseconds."""
        return statistics.quantiles(self.times, n=100)[number - 1]


async def worst_inputs(step: int) -> list[Case]:
    """The most expensive of each kind, about jobs `JOB-0` …; not those of strangers, who share one limit."""
    async with (
        standing_agent(prelude=UNLIMITED) as agent,
        measured(agent, await leave_lists(agent)) as (meter, every),
    ):
        found, _ = await most_expensive(
            meter, islice((case for case in every if case.path != "/enrolment"), None, None, step)
        )
        costs = [await again(meter, cost, 4) for cost in found]
        costs.sort(key=lambda cost: cost.loop, reverse=True)
        kinds = dict.fromkeys(cost.case.kind for cost in costs)
        worst = [[cost.case for cost in costs if cost.case.kind == kind][:WORST] for kind in kinds]
        return [_about(case, agent.ended, MARKS) for cases in worst for case in cases]


def _about(case: Case, before: Sequence[str], after: Sequence[str]) -> Case:
    """The case for other jobs."""
    path = case.path
    for old, new in zip(before, after, strict=True):
        path = path.replace(old, new)
    return replace(case, path=path)


async def ask(session: aiohttp.ClientSession, url: str, seen: Seen, seconds: float) -> None:
    """The victim's requests for so long. One that is late is not left out: its time counts from its turn."""
    turn = time.perf_counter()
    until = turn + seconds
    while turn < until:
        await asyncio.sleep(max(0.0, turn - time.perf_counter()))
        try:
            async with session.get(url) as response:
                await response.read()
                if response.status != 200:
                    seen.failed[f"status {response.status}"] += 1
        except (aiohttp.ClientError, TimeoutError) as error:
            seen.failed[f"{type(error).__name__}: {error}"] += 1
        seen.times.append(1000 * (time.perf_counter() - turn))
        turn = max(turn + INTERVAL, time.perf_counter())


@contextlib.asynccontextmanager
async def other_user(
    agent: StandingAgent, files: tuple[Path, Path], requests: Sequence[Case], seen: Seen
) -> AsyncIterator[None]:
    """A process of the other user that sends these requests while the body runs."""
    plan = {
        "url": agent.url,
        "authority": str(agent.certificate.with_name("ca.crt")),
        "certificate": [str(file) for file in files],
        "cases": [asdict(case) | {"body": case.body.decode("latin-1")} for case in requests],
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.security.victim", "--as-the-other-user"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin
    assert process.stdout
    try:
        process.stdin.write(json.dumps(plan).encode() + b"\n")
        await process.stdin.drain()
        await process.stdout.readline()  # it has connected
        yield
        process.stdin.close()
        seen.answers += Counter(json.loads(await process.stdout.read()))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def send() -> None:
    """The other user: sends what the standard input says until that ends, and prints what was answered."""
    # The kernel shares the processor among sessions first, and then within each (sched(7), autogroup).
    Path("/proc/self/autogroup").write_text(str(LOWEST_PRIORITY))
    os.nice(LOWEST_PRIORITY)
    plan = json.loads(sys.stdin.readline())
    context = ssl.create_default_context(cafile=plan["authority"])
    context.load_cert_chain(*plan["certificate"])
    requests = [Case(**each | {"body": each["body"].encode("latin-1")}) for each in plan["cases"]]
    answers, over = Counter[str](), asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, over.set)
    connector = aiohttp.TCPConnector(ssl=context, limit=CONNECTIONS)
    async with aiohttp.ClientSession(plan["url"], connector=connector) as session:

        async def connect() -> None:
            async with session.get("/jobs?limit=1") as response:
                await response.read()

        # Handshakes are no requests: those of the beginning are over when the victim is measured.
        await asyncio.gather(*(connect() for _ in range(CONNECTIONS)))
        print("connected", flush=True)

        async def again_and_again(number: int) -> None:
            while not over.is_set():
                case = requests[number % len(requests)]
                number += 1
                try:
                    async with session.request(
                        case.method,
                        URL(plan["url"] + case.path, encoded=True),
                        headers=case.headers,
                        data=case.body or None,
                    ) as response:
                        if response.content_type == "text/event-stream":
                            response.close()
                        await response.read()
                        answers[str(response.status)] += 1
                except (aiohttp.ClientError, ValueError) as error:
                    answers[type(error).__name__] += 1

        await asyncio.gather(*(again_and_again(number) for number in range(CONNECTIONS)))
    print(json.dumps(answers))


async def judge(seconds: float, step: int) -> bool:
    """Prints the table; whether the victim has what it is promised."""
    worst = await worst_inputs(step)
    for case in worst:
        print(f"{case.kind:<8}{case.size:>8} bytes  {case.method} {case.path[:24]} {case.name[:60]}")
    async with standing_agent(config=USUAL) as agent:
        await leave_lists(agent)
        victim = await agent.known("victim")
        other = agent.certificate, agent.certificate.with_suffix(".key")
        context = ssl.create_default_context(cafile=agent.certificate.with_name("ca.crt"))
        context.load_cert_chain(*victim)
        rounds: dict[str, list[Case]] = {
            "quiet": [],
            "plain requests": [Case("", "plain", "GET", f"/jobs/{agent.ended[0]}")],
            "the worst inputs": [_about(case, MARKS, agent.ended) for case in worst],
        }
        seen = {name: Seen() for name in rounds}
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(connector=connector) as session:
            await ask(session, f"{agent.url}/host", Seen(), 2)  # what is loaded late is loaded now
            for _ in range(TURNS):
                for name, requests in rounds.items():
                    async with contextlib.AsyncExitStack() as stack:
                        if requests:
                            await stack.enter_async_context(other_user(agent, other, requests, seen[name]))
                        await ask(session, f"{agent.url}/host", seen[name], seconds / TURNS)
        within = judged(agent.peak())
    return report(seen) and within


def report(seen: dict[str, Seen]) -> bool:
    """Prints the table; whether the victim has what it is promised."""
    quiet = seen["quiet"].percentile(99)
    head = f"{'GET /host, ms, beside':<24}{'p50':>8}{'p99':>8}{'most':>8}{'x quiet':>9}{'requests':>10}"
    print(f"\n{head}  answers to the other user")
    for name, each in seen.items():
        p50, p99 = each.percentile(50), each.percentile(99)
        answers = ", ".join(f"{status}: {count}" for status, count in each.answers.most_common(6))
        row = f"{name:<24}{p50:>8.1f}{p99:>8.1f}{max(each.times):>8.1f}{p99 / quiet:>9.2f}"
        print(f"{row}{len(each.times):>10}  {answers}")
    failed = sum((each.failed for each in seen.values()), Counter[str]())
    for why, count in failed.items():
        print(f"{count} requests of the victim failed: {why}")
    ratio = seen["the worst inputs"].percentile(99) / quiet
    print(f"p99 beside the worst inputs is {ratio:.2f} times the quiet one; it may be {MAX_RATIO}")
    return ratio <= MAX_RATIO and not failed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--step", type=int, default=1, help="look at every N-th input alone (1)")
    parser.add_argument("--as-the-other-user", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.as_the_other_user:
        asyncio.run(send())
    else:
        sys.exit(0 if asyncio.run(judge(given.seconds, given.step)) else 1)
