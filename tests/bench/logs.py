"""What the log costs: history in lines a second, and how late a line is with its followers.

`python -m tests.bench.logs`, on a host with an installed agent, as the service account. A job of its own runs
meanwhile; what is read are lines that systemd-cat writes under that job's identifier, as the job would.
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from agent.cli.job.http import Api
from agent.cli.job.profile import Profile, config_directory
from agent.config import Settings
from agent.config_files import load
from tests.security.memory import judged, peak

from .contender import PATIENCE, BenchError, command
from .installed_agent import configured
from .report import Series, table

GATEWAYD = Path("/usr/lib/systemd/systemd-journal-gatewayd")
GATEWAYD_PORT = 19531
SCRIPT = {"script_name": "hello.py", "hyperparameters": {"lines": "2", "sleep": "3000"}}
CAT = "journalctl -o cat"
MARK = "bench-line"
UNREAD_FOLLOWERS = 500  # of which some never read
UNREAD_LINES = 200_000  # that they are sent at once: more than all buffers on the way hold
CUT_OFF_SECONDS = 30.0  # after which a follower that does not read is no more


@dataclass
class Job:
    """The job under whose identifier is written."""

    api: Api
    settings: Settings
    profile: Profile
    job_id: str

    @property
    def identifier(self) -> str:
        """Of its lines in the journal."""
        return f"ml-job@{self.job_id}"

    @property
    def path(self) -> str:
        """Of its log."""
        return f"/jobs/{self.job_id}/logs"

    async def write(self, lines: int) -> None:
        """So many lines of a training's usual length, at once; returns when the journal has them."""
        program = f"for n in range({lines}): print('epoch', n, 'loss 0.693147 accuracy 0.912345 f1 0.87')"
        await self._cat(program)
        while f"epoch {lines - 1} " not in await self._newest():  # noqa: ASYNC110
            await asyncio.sleep(0.1)

    async def _cat(self, program: str) -> None:
        await command(
            "systemd-cat", "-t", self.identifier, "--level-prefix=false", sys.executable, "-c", program
        )

    async def _newest(self) -> str:
        return await command("journalctl", "-t", self.identifier, "-n", "1", "-o", "cat", "-q")


@contextlib.asynccontextmanager
async def running_job() -> AsyncIterator[Job]:
    """A job that runs, and is cancelled in the end."""
    settings = load()
    profile = Profile.load(config_directory(), server=None, identity="alice")
    async with Api(profile) as api:
        job_id = (await api.post("/jobs", SCRIPT))["job_id"]
        try:
            while (state := (await api.get(f"/jobs/{job_id}"))["status"]) != "RUNNING":
                if state not in ("PENDING", "CREATED"):
                    raise BenchError(f"the job is {state}")
                await asyncio.sleep(0.1)
            yield Job(api, settings, profile, job_id)
        finally:
            await api.post(f"/jobs/{job_id}/cancel")


# History


async def history(job: Job, lines: int, rounds: int) -> list[Series]:
    """Lines a second to /dev/null: the agent in each form, gatewayd where it is installed, journalctl."""
    await job.write(lines)
    readers: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
        f"ml-agent, {kind}": lambda kind=kind: _curl(job, kind)  # type: ignore[misc]
        for kind in ("text/plain", "application/x-ndjson", "text/event-stream")
    }
    match = ("-t", job.identifier, f"_UID={os.getuid()}")
    readers[CAT] = lambda: _shell(f"journalctl -q -o cat -t {match[1]} {match[2]} > /dev/null")
    rows = {name: Series(name) for name in readers}
    async with _gatewayd(job) as url:
        for kind in ("text/plain", "application/json") if url else ():
            readers[f"gatewayd {kind}"] = lambda kind=kind: _shell(  # type: ignore[misc]
                f"curl -sf --cacert {job.settings.pki_directory}/ca.crt -H 'Accept: {kind}'"
                f" '{url}/entries?SYSLOG_IDENTIFIER={job.identifier}' > /dev/null"
            )
            rows[f"gatewayd {kind}"] = Series(f"gatewayd {kind}")
        for _ in range(rounds):
            for name, read in readers.items():
                began = time.perf_counter()
                await read()
                rows[name].values.append(lines / (time.perf_counter() - began) / 1000)
    return list(rows.values())


async def _curl(job: Job, kind: str) -> None:
    files = config_directory()
    follow = "" if kind == "text/plain" else "?follow=false"
    await _shell(
        f"curl -sf --cacert {files}/ca.crt --cert {files}/alice.crt --key {files}/alice.key"
        f" -H 'Accept: {kind}' '{job.profile.server}{job.path}{follow}' > /dev/null"
    )


async def _shell(line: str) -> None:
    await command("sh", "-c", line)


@contextlib.asynccontextmanager
async def _gatewayd(job: Job) -> AsyncIterator[str | None]:
    """gatewayd over HTTPS with the agent's own certificate, as long as the body runs; None without it."""
    if not GATEWAYD.exists():
        yield None
        return
    pki = job.settings.pki_directory
    process = await asyncio.create_subprocess_exec(
        GATEWAYD, f"--cert={pki}/server.crt", f"--key={pki}/server.key", stderr=asyncio.subprocess.DEVNULL
    )
    url = f"https://localhost:{GATEWAYD_PORT}"
    try:
        for _ in range(50):
            with contextlib.suppress(BenchError):
                await _shell(f"curl -sf --cacert {pki}/ca.crt {url}/machine > /dev/null")
                break
            await asyncio.sleep(0.1)
        yield url
    finally:
        process.terminate()
        await process.wait()


# Latency


@dataclass
class Follower:
    """How late each line was, in milliseconds."""

    late: list[float] = field(default_factory=list)

    def take(self, text: bytes) -> None:
        """A chunk of the stream, as it arrived: what it has of marked lines."""
        now = time.time()
        for part in text.split(MARK.encode() + b" ")[1:]:
            self.late.append((now - float(part.split(maxsplit=1)[0].strip(b'"}'))) * 1000)


@dataclass(frozen=True)
class Usage:
    """CPU in per cent of one and resident memory in MiB, of a process."""

    cpu: float
    memory: float

    @classmethod
    def of(cls, pid: int) -> "Usage":
        """CPU seconds since it began, and memory now."""
        fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(") ")[2].split()
        pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
        ticks = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return cls(ticks, pages * os.sysconf("SC_PAGE_SIZE") / 2**20)

    def since(self, before: "Usage", seconds: float) -> "Usage":
        """Of the time between."""
        return Usage((self.cpu - before.cpu) / seconds * 100, self.memory)


async def latency(job: Job, followers: int, lines: int, rate: float) -> tuple[list[Series], Usage]:
    """Lateness of `lines` lines, so many a second, with each follower, and with one `journalctl -f`."""
    agent, direct = [Follower() for _ in range(followers)], Follower()
    pid = await _main_pid()
    ready = asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_follow(job, each, ready)) for each in agent]
        tasks.append(group.create_task(_journalctl(job, direct)))
        async with asyncio.timeout(PATIENCE):
            for _ in agent:
                await ready.acquire()
        await asyncio.sleep(1)
        before, began = Usage.of(pid), time.perf_counter()
        program = (
            "import time, random\n"
            f"for _ in range({lines}):\n"
            f"    print('{MARK}', time.time(), flush=True)\n"
            f"    time.sleep(random.uniform(0.5, 1.5) / {rate})\n"
        )
        await job._cat(program)
        seconds = time.perf_counter() - began
        used = Usage.of(pid).since(before, seconds)
        await asyncio.sleep(2)
        for task in tasks:
            task.cancel()
    late = [each for follower in agent for each in follower.late]
    if len(late) != lines * followers:
        raise BenchError(f"{len(late)} lines of {lines * followers} arrived")
    return [Series(f"ml-agent, {followers} followers", late), Series("journalctl -f", direct.late)], used


async def _follow(job: Job, follower: Follower, ready: asyncio.Semaphore) -> None:
    async with (
        Api(job.profile) as api,
        api.open(job.path, accept="text/event-stream", silence=60) as response,
    ):
        told = False
        async for chunk in response.content.iter_any():
            if not told and b"event: line" in chunk:
                told = True
                ready.release()
            follower.take(chunk)


async def _journalctl(job: Job, follower: Follower) -> None:
    process = await asyncio.create_subprocess_exec(
        *("journalctl", "-q", "-f", "-n", "0", "-o", "cat", "-t", job.identifier),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        while line := await process.stdout.readline():
            follower.take(line)
    finally:
        process.terminate()
        await process.wait()


# Those who never read


@dataclass(frozen=True)
class Unread:
    """What became of those who never read, and the agent's memory in MiB before, with and after them."""

    cut_off: int
    before: float
    most: float
    after: float


async def beside_unread(
    job: Job, long: Job, followers: int, unread: int, lines: int
) -> tuple[Series, Unread]:
    """As `latency`, while so many others follow a job with a long log, and never read it."""
    await long.write(UNREAD_LINES)
    pid = await _main_pid()
    before = Usage.of(pid).memory
    most, cut_off = before, 0
    async with asyncio.TaskGroup() as group, contextlib.AsyncExitStack() as stack:
        stuck = [await stack.enter_async_context(_deaf(long)) for _ in range(unread)]
        measured = group.create_task(latency(job, followers, lines, 10))
        deadline = time.monotonic() + CUT_OFF_SECONDS
        while time.monotonic() < deadline or not measured.done():
            most = max(most, Usage.of(pid).memory)
            await asyncio.sleep(0.2)
        for reader in stuck:
            cut_off += await _was_cut_off(reader)
    (late, _), _ = measured.result()
    # What the followers of the measurement had is given back as their connections are closed.
    await asyncio.sleep(2)
    return late, Unread(cut_off, before, most, Usage.of(pid).memory)


@contextlib.asynccontextmanager
async def _deaf(job: Job) -> AsyncIterator[asyncio.StreamReader]:
    """Asks for a whole log and reads none of it, but the byte that says that it has begun."""
    url = urlsplit(job.profile.server)
    reader, writer = await asyncio.open_connection(
        url.hostname, url.port, ssl=job.profile.tls_context(), server_hostname=url.hostname, limit=1024
    )
    request = f"GET {job.path} HTTP/1.1\r\nHost: {url.netloc}\r\nAccept: text/event-stream\r\n\r\n"
    writer.write(request.encode())
    try:
        await reader.readexactly(1)
        yield reader
    finally:
        writer.transport.abort()


async def _was_cut_off(reader: asyncio.StreamReader) -> bool:
    """Whether what was left in the pipe comes to an end, although the job runs."""
    with contextlib.suppress(OSError):
        try:
            async with asyncio.timeout(10):
                while await reader.read(1 << 16):
                    pass
        except TimeoutError:
            return False
    return True


async def _main_pid() -> int:
    return int(await command("systemctl", "--user", "show", "--value", "-p", "MainPID", "ml-agent"))


async def main() -> int:
    """Prints the tables; exit status 1 if the agent had more memory than its unit allows."""
    arguments = _arguments()
    most = max([*arguments.followers, UNREAD_FOLLOWERS])
    async with configured(load(), HTTP__MAX_FOLLOWERS=2 * most, HTTP__MAX_FOLLOWERS_PER_USER=2 * most):
        await _measure(arguments)
        return 0 if judged(peak(await _main_pid())) else 1


async def _measure(arguments: argparse.Namespace) -> None:
    async with running_job() as job:
        rows = await history(job, arguments.lines, arguments.rounds)
        against = [row.name for row in rows if not row.name.startswith("ml-agent")]
        print(table(f"history of {arguments.lines:,} lines", "1000 lines/s", rows, against))
    for followers in arguments.followers:
        # A job of its own, whose log is short: a follower begins with what there is.
        async with running_job() as job:
            series, used = await latency(job, followers, arguments.seconds * 10, 10)
        _print_lateness(series)
        print(f"the agent: {used.cpu:.1f} % of a CPU, {used.memory:.0f} MiB", flush=True)
    if arguments.unread:
        followers = UNREAD_FOLLOWERS - arguments.unread
        async with running_job() as job, running_job() as long:
            late, unread = await beside_unread(job, long, followers, arguments.unread, arguments.seconds * 10)
        _print_lateness([late])
        print(
            f"{unread.cut_off} of {arguments.unread} that never read were cut off; the agent:"
            f" {unread.before:.0f} MiB before, {unread.most:.0f} at the most, {unread.after:.0f} after"
        )


def _print_lateness(series: list[Series]) -> None:
    print(f"\n{'print → client, 10 lines/s':40}{'p50 ms':>10}{'p99 ms':>10}")
    for each in series:
        p99 = statistics.quantiles(each.values, n=100)[98]
        print(f"{each.name:40}{each.median:>10.1f}{p99:>10.1f}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.logs", description=__doc__)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=20, help="of each measurement of lateness")
    parser.add_argument(
        "--unread", type=int, default=50, help=f"how many of {UNREAD_FOLLOWERS} followers never read (50)"
    )
    parser.add_argument("--followers", type=int, nargs="*", default=[1, 100, 500])
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
