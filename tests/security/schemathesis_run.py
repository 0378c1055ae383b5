"""schemathesis over the whole OpenAPI document, with a valid certificate and every check there is.

    python -m tests.security.schemathesis_run [--examples N] [--at-least N]

Prints how many cases each operation saw, what failed, how many answers were 500 or more, and what the agent
had in memory before and after. Exit status 1 where anything failed. Runs on a systemd host, as the service
account.
"""

import argparse
import asyncio
import json
import os
import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any

import aiohttp

from .memory import judged
from .standing_agent import ALIAS, ARTIFACT, CHECKOUT, MODEL, SCRIPT, StandingAgent, standing_agent

EXAMPLES = 650  # that each operation is asked for at the most; with the document's corners more than 10,000
MAX_GROWTH = 64 * 1024  # KiB that the agent may have more of in the end than in the beginning

CONFIG = """max-stream-events = 1
request-timeout = 60
continue-on-failure = true
hooks = "tests.security.hooks"
tls-verify = "{authority}"
request-cert = "{certificate}"
request-cert-key = "{key}"
[generation]
max-examples = {examples}
database = "none"
# Ids come from below, and in the stateful phase from answers: a pool of all answers is slower with each.
[phases.fuzzing]
extra-data-sources.responses = false
[phases.stateful.generation]
max-examples = {sequences}
[checks]
positive_data_acceptance.expected-statuses = ["2xx", 304, 404, 412, 416]
negative_data_rejection.expected-statuses = [400, 404, 406, 413, 415, 422]
[dictionaries]
{dictionaries}
[parameters]
{parameters}
"""


@dataclass(frozen=True)
class Result:
    """What came of a run: cases by operation, answers by status, and what schemathesis itself said."""

    cases: Counter[str]
    statuses: Counter[int]
    passed_over: Counter[str]
    failed: bool
    before: dict[str, int]
    after: dict[str, int]

    @property
    def server_errors(self) -> int:
        """How many answers said that the agent was at fault."""
        return sum(count for status, count in self.statuses.items() if status >= 500)

    @property
    def growth(self) -> int:
        """KiB that the agent has in memory and had not before."""
        return self.after["Pss"] - self.before["Pss"]

    def wrong(self, at_least: int) -> list[str]:
        """Why this is no success."""
        found = ["schemathesis has failures" if self.failed else ""]
        found.append(f"{self.server_errors} answers of 500 or more" if self.server_errors else "")
        found.append(
            f"{self.cases.total()} cases are fewer than {at_least}" * (self.cases.total() < at_least)
        )
        found.append(f"the agent grew by {self.growth} KiB" if self.growth > MAX_GROWTH else "")
        return [text for text in found if text]


def configuration(agent: StandingAgent, examples: int) -> str:
    """What schemathesis cannot know: what there is on this host, by the place where it is asked for."""
    known: dict[str, tuple[list[str], float]] = {
        "path.job_id": ([*agent.ended, *agent.waiting], 0.9),
        "path.sweep_id": ([agent.sweep], 0.9),
        "path.schedule_id": ([agent.schedule], 0.9),
        "path.path": ([ARTIFACT], 0.8),
        "path.other_id": ([*agent.ended, *agent.waiting], 0.9),
        "query.job": ([*agent.ended, *agent.waiting], 0.9),
        "query.sweep": ([agent.sweep], 0.5),
        "query.from": (["2026-05-01", "2026-05-31"], 0.8),
        "query.to": (["2026-06-01", "2027-01-01"], 0.8),
        "path.model": ([MODEL], 0.8),
        "path.alias": ([ALIAS], 0.8),
        "body.job_id": (agent.ended, 0.9),
        "body.path": ([ARTIFACT], 0.9),
        "query.ref": (["HEAD", agent.commit, agent.commit[:12]], 1.0),
        "body.ref": (["HEAD", agent.commit], 1.0),
        "body.script_name": ([SCRIPT], 1.0),
        "body.calendar": (["yearly", "Mon *-*-01 04:00", "2199-12-31"], 0.9),
        "body.time_zone": (["UTC", "Europe/Rome"], 0.9),
    }
    places = list(known)
    return CONFIG.format(
        authority=agent.certificate.with_name("ca.crt"),
        certificate=agent.certificate,
        key=agent.certificate.with_suffix(".key"),
        examples=examples,
        sequences=max(5, examples // 5),
        dictionaries="\n".join(
            f"d{number} = {{ values = {json.dumps(known[place][0])} }}" for number, place in enumerate(places)
        ),
        parameters="\n".join(
            f'"{place}" = {{ dictionary = "d{number}", probability = {known[place][1]} }}'
            for number, place in enumerate(places)
        ),
    )


def strict(document: dict[str, Any]) -> dict[str, Any]:
    """The document without what it says of statuses in general: each must be named by its operation."""
    for operations in document["paths"].values():
        for operation in operations.values():
            del operation["responses"]["default"]
    return document


async def run(agent: StandingAgent, examples: int) -> Result:
    """One run over the document as the agent serves it."""
    document, counts = agent.base / "openapi.json", agent.base / "counts.json"
    connector = aiohttp.TCPConnector(ssl=agent.context)
    async with (
        aiohttp.ClientSession(agent.url, connector=connector) as session,
        session.get("/openapi.json") as response,
    ):
        document.write_text(json.dumps(strict(await response.json())))
    config = agent.base / "schemathesis.toml"
    config.write_text(configuration(agent, examples))
    before = agent.memory()
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", str(document)]
    process = await asyncio.create_subprocess_exec(
        *command,
        *("--url", agent.url, "--checks", "all", "--no-color"),
        cwd=agent.base,  # where it leaves what it keeps
        env=os.environ | {"PYTHONPATH": str(CHECKOUT), "COUNTS": str(counts), "ENDED": " ".join(agent.ended)},
    )
    try:
        status = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    counted = json.loads(counts.read_text())
    statuses = Counter({int(code): count for code, count in counted["statuses"].items()})
    return Result(
        cases=Counter(counted["cases"]),
        statuses=statuses,
        passed_over=Counter(counted["passed_over"]),
        failed=status != 0,
        before=before,
        after=agent.memory(),
    )


def report(result: Result) -> str:
    """The counts, as a table."""
    lines = [f"{count:>7}  {operation}" for operation, count in sorted(result.cases.items())]
    lines.append(f"{result.cases.total():>7}  cases")
    by_status = ", ".join(f"{code}: {count}" for code, count in sorted(result.statuses.items()))
    lines.append(f"answers by status: {by_status}")
    lines.append(f"answers of 500 or more: {result.server_errors}")
    passed_over = ", ".join(f"{what}: {count}" for what, count in sorted(result.passed_over.items()))
    lines.append(f"of the right form, and refused for what no schema can say: {passed_over or 'none'}")
    for name in ("Rss", "Pss"):
        before, after = result.before[name] / 1024, result.after[name] / 1024
        lines.append(f"the agent's {name}: {before:.1f} MiB before, {after:.1f} MiB after")
    return "\n".join(lines)


async def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.security.schemathesis_run", description=__doc__)
    parser.add_argument("--examples", type=int, default=EXAMPLES)
    parser.add_argument("--at-least", type=int, default=10_000)
    given = parser.parse_args()
    async with standing_agent() as agent:
        result = await run(agent, given.examples)
        print(report(result))
        within = judged(agent.peak())
        if log := [line for line in (agent.base / "agent.log").read_text().splitlines() if "ERROR" in line]:
            print("\n".join(log[:20]))
    wrong = result.wrong(given.at_least) + ([] if within else ["more memory than MemoryMax="])
    print("\n".join(wrong) or "nothing is wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
