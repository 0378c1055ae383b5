"""What peers that stall cost the others: requests without them and with them, in one run.

`python -m tests.bench.stalled`, on a host with an installed agent, as the service account. A process of its
own keeps so many peers there, each of which is replaced when the agent has ended it: they connect and say
nothing, drip a handshake, a header or a body, or do not read what they asked for. In the first round they
hold certificates of others, enough of them for no bound of a user to help the agent; in the second the
certificate of the very user whose requests are measured. Exit status 1 where a request failed.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from agent import pki
from agent.config import Settings, load
from agent.models import Certificate, Role, now
from agent.pki import Authority
from agent.store import Store

from .contender import BenchError, command
from .logs import Job, Usage, running_job
from .stalled_peers import SPREAD, Plan

CLIENTS = 4
RATE = 10.0  # requests a second of each client
NEW_EVERY = 5  # requests, the last of which is made on a connection of its own
HOLDERS = 5  # others whose certificates the peers have
LIFETIME = timedelta(hours=1)
LINES = 50_000  # of the log that is not read
DOWNLOAD_BYTES = 64 * 2**20  # of the artifact that is not read
DOWNLOAD = "unread.bin"


@dataclass
class Asked:
    """What clients that behave saw: milliseconds on a kept connection and on a new one, and what failed."""

    kept: list[float] = field(default_factory=list)
    new: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: "Asked") -> "Asked":
        return Asked(self.kept + other.kept, self.new + other.new, self.failed + other.failed)


class Clients:
    """Those who behave: a few that ask for lists and for one job, as an app that polls does."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._paths = (f"/jobs/{job.job_id}", "/jobs?limit=20", "/host")

    async def ask(self, seconds: float) -> Asked:
        """Asks for so long."""
        asked = Asked()
        until = time.perf_counter() + seconds
        await asyncio.gather(*(self._one(asked, until) for _ in range(CLIENTS)))
        return asked

    async def _one(self, asked: Asked, until: float) -> None:
        number = 0
        async with self._session() as session:
            await self._request(session, asked.failed)
            while time.perf_counter() < until:
                number += 1
                began = time.perf_counter()
                if number % NEW_EVERY:
                    await self._request(session, asked.failed, number)
                    asked.kept.append(1000 * (time.perf_counter() - began))
                else:
                    async with self._session() as another:
                        began = time.perf_counter()
                        await self._request(another, asked.failed, number)
                        asked.new.append(1000 * (time.perf_counter() - began))
                await asyncio.sleep(max(0.0, began + 1 / RATE - time.perf_counter()))

    def _session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(ssl=self._job.profile.tls_context())
        return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30))

    async def _request(self, session: aiohttp.ClientSession, failed: Counter[str], number: int = 0) -> None:
        url = self._job.profile.server + self._paths[number % len(self._paths)]
        try:
            async with session.get(url) as response:
                await response.read()
                if response.status != 200:
                    failed[f"status {response.status}"] += 1
        except (aiohttp.ClientError, TimeoutError) as error:
            failed[f"{type(error).__name__}: {error}"] += 1


@dataclass
class Peers:
    """The process of those that stall, and what it told in the end."""

    ended: dict[str, dict[str, int]] = field(default_factory=dict)

    @contextlib.asynccontextmanager
    async def there(self, plan: Plan) -> AsyncIterator[None]:
        """Peers of this plan, all of them, while the body runs."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bench.stalled_peers", plan.json),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            await asyncio.sleep(2 * SPREAD)
            yield
            output, _ = await process.communicate()
            self.ended = json.loads(output)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def issue_others(settings: Settings, directory: Path) -> list[tuple[str, str]]:
    """Certificates of other users, for the time of the run: pairs of files."""
    authority = Authority.load(settings.pki_directory)
    pairs = []
    async with Store.open(settings.database) as store:
        for number in range(HOLDERS):
            user = f"stalled-{number}"
            issued = authority.issue_client(user, LIFETIME)
            await store.add_certificate(
                Certificate(
                    serial=issued.serial,
                    user=user,
                    role=Role.ADMINISTRATOR,
                    issued_at=now(),
                    expires_at=issued.certificate.not_valid_after_utc,
                )
            )
            files = directory / f"{user}.crt", directory / f"{user}.key"
            pki.write_file(files[0], issued.certificate_pem(), mode=0o600)
            pki.write_file(files[1], issued.key_pem(), mode=0o600)
            pairs.append((str(files[0]), str(files[1])))
    return pairs


async def _agents_pid() -> int:
    return int(await command("systemctl", "--user", "show", "--value", "-p", "MainPID", "ml-agent"))


async def measure(job: Job, others: list[tuple[str, str]], *, peers: int, seconds: float) -> bool:
    """Prints the tables; whether no request failed."""
    clients, pid = Clients(job), await _agents_pid()
    await clients.ask(2)  # warms up
    before = await clients.ask(seconds / 2)
    quiet = Usage.of(pid)
    own = [(str(job.profile.certificate), str(job.profile.key))]
    rounds = {}
    for name, certificates in (("others' certificates", others), ("the same certificate", own)):
        stalled = Peers()
        plan = Plan(
            port=urlsplit(job.profile.server).port or 443,
            authority=str(job.profile.authority),
            certificates=certificates,
            peers=peers,
            download=f"/jobs/{job.job_id}/artifacts/{DOWNLOAD}",
            stream=job.path,
        )
        async with stalled.there(plan):
            began, started = Usage.of(pid), time.perf_counter()
            asked = await clients.ask(seconds)
            used = Usage.of(pid).since(began, time.perf_counter() - started)
        rounds[name] = (asked, stalled.ended, used)
        await asyncio.sleep(1)
        before += await clients.ask(seconds / 2 if name.startswith("others") else 0)
    if await _agents_pid() != pid:
        raise BenchError("the agent is not the one that it was")
    print(f"{'ms':<34}{'p50':>8}{'p99':>8}{'requests':>10}{'failed':>8}{'p50 ratio':>11}{'p99 ratio':>11}")
    _rows("without", before, before)
    for name, (asked, _, _) in rounds.items():
        _rows(f"{peers} with {name}", asked, before)
    print(f"\nthe agent without them: {quiet.memory:.0f} MiB")
    for name, (asked, ended, used) in rounds.items():
        print(f"\n{peers} with {name}: {used.memory:.0f} MiB, {used.cpu:.0f} % of a CPU; peers ended:")
        for kind, ways in ended.items():
            told = ", ".join(f"{count} {how}" for how, count in sorted(ways.items(), key=lambda way: -way[1]))
            print(f"  {kind:<32}{told or 'none'}")
        for why, count in asked.failed.items():
            print(f"  {count} requests failed: {why}")
    return not any(asked.failed for asked in (before, *(each[0] for each in rounds.values())))


def _rows(name: str, asked: Asked, base: Asked) -> None:
    for what, values, against in (("kept", asked.kept, base.kept), ("new", asked.new, base.new)):
        p50, p99 = _percentiles(values)
        base50, base99 = _percentiles(against)
        failed = f"{asked.failed.total():>8}" if what == "kept" else " " * 8
        row = f"{name + ', ' + what:<34}{p50:>8.1f}{p99:>8.1f}{len(values):>10}{failed}"
        print(f"{row}{p50 / base50:>11.2f}{p99 / base99:>11.2f}", flush=True)


def _percentiles(values: list[float]) -> tuple[float, float]:
    return statistics.median(values), statistics.quantiles(values, n=100)[98]


async def run(*, peers: int, seconds: float) -> bool:
    """Sets the job up whose log and artifact nobody reads, and measures."""
    settings = load()
    with tempfile.TemporaryDirectory() as directory:
        others = await issue_others(settings, Path(directory))
        async with running_job() as job:
            await job.write(LINES)
            artifacts = settings.directory_of(job.job_id) / "attempts/1/artifacts"
            with (artifacts / DOWNLOAD).open("wb") as file:
                file.truncate(DOWNLOAD_BYTES)
            return await measure(job, others, peers=peers, seconds=seconds)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.stalled", description=__doc__)
    parser.add_argument("--peers", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each round")
    given = parser.parse_args()
    return 0 if asyncio.run(run(peers=given.peers, seconds=given.seconds)) else 1


if __name__ == "__main__":
    sys.exit(main())
