"""Measures the installed agent, `podman run` and the yardstick in one run: `python -m tests.bench`."""

import argparse
import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import aiohttp

from agent.cli.failure import Failure
from agent.config import Settings
from agent.config_files import load
from agent.errors import AgentError
from agent.model.job import Job

from . import report
from .contender import WIDTH, BenchError, Contender
from .installed_agent import InstalledAgent, attempt_directory, connected, reference, unit_file
from .machine import cpu_seconds, facts
from .phases import PHASES, phases
from .podman_run import PodmanRun
from .report import Series
from .yardstick import served

BATCHES = 3  # of each contender
WARM_UP = 1  # rounds that are not counted


def main() -> int:
    """Prints the table; exit status 1 where a job did not end as it should."""
    arguments = parse()
    try:
        asyncio.run(until_told_to_end(arguments))
    except aiohttp.ClientError as error:
        # The agent's client has errors of its own: this is the yardstick or Podman.
        print(f"bench: another server than the agent: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except (BenchError, AgentError, Failure, OSError) as error:
        print(f"bench: {error or 'a job took too long'}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except asyncio.CancelledError:
        return 128 + signal.SIGTERM
    return 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, metavar="N", help="single jobs of each (20)")
    parser.add_argument(
        "--jobs", type=int, default=60, metavar="N", help=f"jobs in each of {BATCHES} batches (60)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every value there")
    parser.add_argument(
        "--yardstick", type=Path, metavar="FILE", help="seed_baseline.py; else its rows are missing"
    )
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.jobs < 1:
        parser.error("--rounds and --jobs are at least 1")
    return arguments


async def until_told_to_end(arguments: argparse.Namespace) -> None:
    """So that SIGTERM, too, leaves nothing running."""
    task = asyncio.create_task(bench(arguments))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await task


async def bench(arguments: argparse.Namespace) -> None:
    """Sets the contenders up, measures them in turn, and prints what was seen."""
    settings = load()
    machine = await facts(settings)
    print("\n".join(f"{name:<20}{value}" for name, value in machine.items()), flush=True)
    async with contextlib.AsyncExitStack() as stack:
        scratch = stack.enter_context(scratch_directory())
        api = await stack.enter_async_context(connected(settings))
        job = await reference(api, settings)
        ours = [InstalledAgent(api, settings, running=running) for running in (False, True)]
        raw = PodmanRun(
            unit_file(job, settings).read_text("utf-8"), attempt_directory(job, settings), scratch
        )
        print(f"{'compared with':<20}{' '.join(raw.command)}\n", flush=True)
        others: list[Contender] = [raw]
        if arguments.yardstick:
            yardstick = served(arguments.yardstick, job, scripts(job, settings), scratch)
            others.append(await stack.enter_async_context(yardstick))
        else:
            print("No yardstick was given: its rows are missing.\n")
        first_lines = await measure_first_lines([*ours, *others], arguments.rounds)
        columns = await where_the_time_goes(ours, settings)
        rates, costs = await measure_batches([ours[1], *others], arguments.jobs)
    against = [other.name for other in others]
    print(report.table("submit → first log line", "ms", first_lines, against))
    print()
    print(report.table(f"{WIDTH} at a time, batches of {arguments.jobs}", "jobs/s", rates, against))
    print()
    print(report.table("the same batches, CPU of the account", "ms/job", costs, against))
    print()
    print(report.phase_table(columns))
    if arguments.json:
        figures = {"first_line_ms": first_lines, "jobs_per_second": rates, "cpu_ms_per_job": costs}
        report.write_json(arguments.json, machine, figures, columns)


@contextlib.contextmanager
def scratch_directory() -> Iterator[Path]:
    """A directory that is gone after the body, on the file system that the agent's own files are on."""
    cache = Path.home() / ".cache"
    cache.mkdir(exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix="ml-agent-bench-", dir=cache))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def scripts(job: Job, settings: Settings) -> Path:
    """The snapshot that the agent's jobs run."""
    return settings.snapshots_directory / job.commit


async def measure_first_lines(contenders: Sequence[Contender], rounds: int) -> list[Series]:
    """Milliseconds, one job at a time. Each round begins with another contender: noise hits all alike."""
    series = [Series(contender.name) for contender in contenders]
    for number in range(WARM_UP + rounds):
        for offset in range(len(contenders)):
            index = (number + offset) % len(contenders)
            seconds = await contenders[index].first_line()
            if number >= WARM_UP:
                series[index].values.append(1000 * seconds)
        progress(f"round {number + 1} of {WARM_UP + rounds}")
    return series


async def measure_batches(contenders: Sequence[Contender], jobs: int) -> tuple[list[Series], list[Series]]:
    """Jobs per second, and milliseconds of CPU a job, of each batch, in turn."""
    rates = [Series(contender.name) for contender in contenders]
    costs = [Series(contender.name) for contender in contenders]
    for number in range(BATCHES):
        for offset in range(len(contenders)):
            index = (number + offset) % len(contenders)
            before = cpu_seconds()
            rates[index].values.append(jobs / await contenders[index].batch(jobs))
            costs[index].values.append(1000 * (cpu_seconds() - before) / jobs)
            progress(f"batch {number + 1} of {BATCHES}, {contenders[index].name}")
    return rates, costs


async def where_the_time_goes(
    agents: Sequence[InstalledAgent], settings: Settings
) -> dict[str, dict[str, list[float]]]:
    """Seconds by contender and phase, of the very jobs that were measured."""
    columns = {}
    for agent in agents:
        jobs = [await phases(followed, settings) for followed in agent.followed[WARM_UP:]]
        columns[agent.name] = {phase: [job[phase] for job in jobs] for phase in PHASES}
    return columns


def progress(what: str) -> None:
    """Where a person looks, one line that changes; nothing elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\033[K{what}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
