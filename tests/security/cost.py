"""What each part of a request may cost: worst-case headers, queries and bodies, against a plain request.

    python -m tests.security.cost [--rounds N]

An agent of this checkout answers them over TLS on the loopback. The kernel counts its processor time, before
and after some requests of each kind; a plain `GET /jobs/{id}` in the same run is the measure. Prints a table,
most expensive first. Exit status 1 if a request costs more than `MAX_RATIO` plain ones, if one is answered
with 500 or more, or if the agent has grown by more than `MAX_GROWTH`.
"""

import argparse
import asyncio
import contextlib
import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from yarl import URL

from .standing_agent import StandingAgent, standing_agent

ROUNDS = 8
MAX_RATIO = 40.0  # a plain request takes about 0.5 ms of a quiet core, so this is 20 ms
MAX_GROWTH = 64.0  # MiB of resident memory over the whole run
LONG = 8000  # bytes of a header, just below its limit
BODY = 250_000  # bytes of a body, just below its limit
CHARACTERS = "\"\\,;=()/*?+-&%#@<>[]{}|~^`' \t.:"
RUNS = (*CHARACTERS, '"\\', ",,;q=", ";q=", '";', "a/b,", "%25", "{9}", "((")
HEADERS = (
    "Accept",
    "Content-Type",
    "Content-Encoding",
    "Idempotency-Key",
    "Last-Event-ID",
    "On-Behalf-Of",
    "Range",
    "If-Range",
    "If-Match",
    "If-None-Match",
    "Authorization",
    "Cookie",
    "Origin",
    "Accept-Language",
    "User-Agent",
    "Expect",
    "X-Unknown",
)
QUERIES = ("/jobs?status=", "/jobs?script=", "/jobs?owner=", "/jobs?cursor=", "/jobs?limit=", "/scripts?ref=")
LOG_QUERIES = ("grep=", "since=", "until=", "tail=", "last_event_id=", "follow=", "unknown=")


@dataclass(frozen=True)
class Case:
    """A request, and what it is called in the table."""

    name: str
    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass
class Cost:
    """What the requests of one case have cost, each."""

    case: Case
    milliseconds: float
    status: int


def cases(job_id: str) -> Iterator[Case]:
    """Every case, for a job that is there."""
    runs = [(run, (run * LONG)[:LONG]) for run in RUNS]
    for name, (run, text) in itertools.product(HEADERS, runs):
        for path in (f"/jobs/{job_id}", f"/jobs/{job_id}/logs") if name == "Accept" else (f"/jobs/{job_id}",):
            yield Case(f"{name}: {run!r} …", "GET", path, {name: text})
    for run, text in runs:
        yield Case(
            f"POST, Content-Type: a/b{run!r} …", "POST", "/jobs", {"Content-Type": f"a/b{text}"}, b"{}"
        )
    quoted = {run: "".join(f"%{byte:02x}" for byte in run.encode()) for run, _ in runs}
    for (run, escaped), query in itertools.product(quoted.items(), QUERIES):
        yield Case(f"GET {query}{run!r} …", "GET", query + (escaped * LONG)[: LONG // 3 * 3])
    for (run, escaped), query in itertools.product(quoted.items(), LOG_QUERIES):
        path = f"/jobs/{job_id}/logs?{query}{(escaped * LONG)[: LONG // 3 * 3]}"
        yield Case(f"GET logs?{query}{run!r} …", "GET", path)
    yield Case("GET with 2,000 query names", "GET", "/jobs?" + "&".join(f"a{n}=" for n in range(1300)))
    yield Case("GET a path of slashes", "GET", "/" * LONG)
    yield Case("GET an artifact of dots", "GET", f"/jobs/{job_id}/artifacts/" + "../" * (LONG // 3))
    for name, text in bodies():
        body, media_type = text.encode()[:BODY], {"Content-Type": "application/json"}
        yield Case(f"POST {name}", "POST", "/jobs", media_type, body)
        yield Case(f"rerun {name}", "POST", f"/jobs/{job_id}/rerun", media_type, body)


def bodies() -> Iterator[tuple[str, str]]:
    """Bodies of JSON, or nearly, at their maximum size."""
    start, most, few = '{"script_name": "hold.py", ', 15_000, 190

    def members(count: int, name: str, value: str) -> str:
        return "{" + ",".join(f'"{name.format(n)}": {value}' for n in range(count)) + "}"

    yield "open objects", '{"a":' * (BODY // 5)
    yield "open lists", "[" * BODY
    yield "nested lists", start + '"name": ' + "[" * 100_000 + "]" * 100_000 + "}"
    yield "wrong values", f'{start}"hyperparameters": {members(most, "p{}", "1")}}}'
    yield "wrong names", f'{start}"hyperparameters": {members(most, "{}!", "0")}}}'
    yield "long values", f'{start}"hyperparameters": {members(few, "p{}", chr(34) + "x" * 1200 + chr(34))}}}'
    yield (
        "control characters",
        f'{start}"hyperparameters": {members(few, "p{}", chr(34) + chr(92) + "u0001" + chr(34))}}}',
    )
    yield "unknown names", members(most, "u{}", "1")
    yield "wrong labels", f'{start}"labels": {members(few, "A{}", "1")}}}'
    yield "a long list", start + '"retry_on": [' + ",".join(['"x"'] * 30_000) + "]}"
    yield "a long number", start + '"priority": ' + "9" * (BODY - 100) + "}"
    yield "a long fraction", start + '"priority": 0.' + "9" * (BODY - 100) + "}"
    yield "a long string", start + '"name": "' + "x" * (BODY - 100) + '"}'
    yield "escapes", start + '"name": "' + "\\u0041" * (BODY // 7) + '"}'
    yield "surrogates", start + '"name": "' + "\\ud800" * (BODY // 7) + '"}'
    yield "white space", " " * BODY
    yield "the same name", "{" + ",".join(['"a": 1'] * 30_000) + "}"


def processor_time(pid: int) -> float:
    """Seconds that all threads of a process have run (proc(5), schedstat)."""
    return (
        sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())
        / 1e9
    )


async def measure(agent: StandingAgent, session: aiohttp.ClientSession, case: Case, rounds: int) -> Cost:
    """Makes the same request again and again."""
    status = 0
    before = processor_time(agent.pid)
    for _ in range(rounds):
        status = await _ask(agent, session, case)
    return Cost(case, (processor_time(agent.pid) - before) / rounds * 1e3, status)


async def _ask(agent: StandingAgent, session: aiohttp.ClientSession, case: Case) -> int:
    """The status; 0 where there was no answer, or the client itself refuses to send the request."""
    with contextlib.suppress(aiohttp.ClientError, ValueError):
        async with session.request(
            case.method, URL(agent.url + case.path, encoded=True), headers=case.headers, data=case.body
        ) as response:
            await response.read()
            return response.status
    return 0


async def judge(agent: StandingAgent, rounds: int) -> list[str]:
    """What is wrong, one sentence each. Prints the table of the most expensive cases."""
    job_id = agent.ended[0]
    plain = Case("plain", "GET", f"/jobs/{job_id}")
    connector = aiohttp.TCPConnector(ssl=agent.context, limit=1)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as session:
        await measure(agent, session, plain, 50)  # what is loaded late is loaded now
        memory = agent.memory()["Rss"]
        base = min([(await measure(agent, session, plain, 50)).milliseconds for _ in range(3)])
        costs = [await measure(agent, session, case, rounds) for case in cases(job_id)]
        # A busy machine can spoil one measurement; an expensive request is expensive again.
        for number, cost in enumerate(costs):
            if cost.milliseconds > MAX_RATIO * base:
                again = await measure(agent, session, cost.case, rounds)
                costs[number] = min(cost, again, key=lambda each: each.milliseconds)
        growth = (agent.memory()["Rss"] - memory) / 1024
    return report(costs, base, growth, rounds)


def report(costs: list[Cost], base: float, growth: float, rounds: int) -> list[str]:
    """Prints the table; `base` is what a plain request costs in milliseconds, `growth` is in MiB."""
    costs.sort(key=lambda each: each.milliseconds, reverse=True)
    print(
        f"a plain request takes {base:.2f} ms of processor time; {len(costs)} cases, {rounds} requests each"
    )
    for cost in costs[:15]:
        shown = f"{cost.milliseconds:8.2f} ms {cost.milliseconds / base:6.1f} x  {cost.status or '-':>3}"
        print(shown, f" {cost.case.name[:80]}")
    print(f"memory grew by {growth:.1f} MiB")
    wrong = [
        f"{cost.case.name}: {cost.milliseconds / base:.1f} plain requests"
        for cost in costs
        if cost.milliseconds > MAX_RATIO * base
    ]
    wrong += [f"{cost.case.name}: answered with {cost.status}" for cost in costs if cost.status >= 500]
    return wrong + ([f"memory grew by {growth:.1f} MiB"] if growth > MAX_GROWTH else [])


async def main(rounds: int) -> int:
    """The exit status."""
    async with standing_agent() as agent:
        wrong = await judge(agent, rounds)
    for sentence in wrong:
        print(sentence)
    print(f"{len(wrong)} requests cost too much" if wrong else "No request costs too much.")
    return 1 if wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    sys.exit(asyncio.run(main(parser.parse_args().rounds)))
