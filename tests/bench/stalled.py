"""What peers that stall cost the others: requests without them and with them, in one run.

`python -m tests.bench.stalled`, on a host with an installed agent, as the service account. A process of its
own keeps so many peers there, each of which is replaced when the agent has ended it: they connect and say
nothing, drip a handshake, a header or a body, or do not read what they asked for. In the first round they
hold certificates of others, enough of them for no bound of a user to help the agent; in the second the
certificate of the very user whose requests are measured. A second agent, without peers, is asked in turns
with the first, so that what else the machine does shows in both. The peers have the lowest priority: they
stand for other machines. Exit status 1 where a request failed.
"""

import argparse
import asyncio
import contextlib
import json
import ssl
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

from agent.config import Settings
from agent.config_files import load
from agent.host.files import write_file
from agent.identity.authority import Authority
from agent.model.base import now
from agent.model.certificate import Certificate, Role
from agent.store.store import Store
from tests.security.memory import judged, peak

from .contender import BenchError, command
from .logs import Job, Usage, running_job
from .scale import agent
from .stalled_peers import SPREAD, Plan

CLIENTS = 4
RATE = 10.0  # requests a second of each client
NEW_EVERY = 5  # requests, the last of which is made on a connection of its own
HOLDERS = 5  # others whose certificates the peers have
LIFETIME = timedelta(hours=1)
LINES = 50_000  # of the log that is not read
DOWNLOAD_BYTES = 64 * 2**20  # of the artifact that is not read
DOWNLOAD = "unread.bin"
STALLED = "the agent"


@dataclass
class Asked:
    """What clients that behave saw: milliseconds on a kept connection and on a new one, and what failed."""

    kept: list[float] = field(default_factory=list)
    new: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Target:
    """An agent that is asked: for a job and for lists, as an app that polls does."""

    name: str
    server: str
    tls: ssl.SSLContext
    job_id: str

    def url(self, number: int) -> str:
        """Of the request of that number."""
        paths = (f"/jobs/{self.job_id}", "/jobs?limit=20")
        return self.server + paths[number % len(paths)]

    def session(self) -> aiohttp.ClientSession:
        """Connections of its own."""
        connector = aiohttp.TCPConnector(ssl=self.tls)
        return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30))


class Clients:
    """Those who behave: a few, each of which asks one agent and then the other."""

    def __init__(self, *targets: Target) -> None:
        self._targets = targets

    async def ask(self, seconds: float) -> dict[str, Asked]:
        """Asks for so long."""
        asked = {target.name: Asked() for target in self._targets}
        until = time.perf_counter() + seconds
        await asyncio.gather(*(self._one(asked, until) for _ in range(CLIENTS)))
        return asked

    async def _one(self, asked: dict[str, Asked], until: float) -> None:
        number = 0
        async with contextlib.AsyncExitStack() as stack:
            sessions = [await stack.enter_async_context(target.session()) for target in self._targets]
            for target, session in zip(self._targets, sessions, strict=True):
                await _request(session, target.url(0), asked[target.name])
            while time.perf_counter() < until:
                number += 1
                began = time.perf_counter()
                for target, session in zip(self._targets, sessions, strict=True):
                    seen = asked[target.name]
                    if number % NEW_EVERY:
                        seen.kept.append(await _request(session, target.url(number), seen))
                    else:
                        async with target.session() as another:
                            seen.new.append(await _request(another, target.url(number), seen))
                await asyncio.sleep(max(0.0, began + 1 / RATE - time.perf_counter()))


async def _request(session: aiohttp.ClientSession, url: str, asked: Asked) -> float:
    """Milliseconds until the answer was read."""
    began = time.perf_counter()
    try:
        async with session.get(url) as response:
            await response.read()
            if response.status != 200:
                asked.failed[f"status {response.status}"] += 1
    except (aiohttp.ClientError, TimeoutError) as error:
        asked.failed[f"{type(error).__name__}: {error}"] += 1
    return 1000 * (time.perf_counter() - began)


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
            await asyncio.sleep(SPREAD + 5)
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
            await store.certificates.add(
                Certificate(
                    serial=issued.serial,
                    user=user,
                    role=Role.ADMINISTRATOR,
                    issued_at=now(),
                    expires_at=issued.certificate.not_valid_after_utc,
                )
            )
            files = directory / f"{user}.crt", directory / f"{user}.key"
            write_file(files[0], issued.certificate_pem(), mode=0o600)
            write_file(files[1], issued.key_pem(), mode=0o600)
            pairs.append((str(files[0]), str(files[1])))
    return pairs


async def _agents_pid() -> int:
    return int(await command("systemctl", "--user", "show", "--value", "-p", "MainPID", "ml-agent"))


async def measure(
    job: Job, control: Target, others: list[tuple[str, str]], *, peers: int, seconds: float, events: bool
) -> bool:
    """Prints the tables; whether no request failed."""
    stalled = Target(STALLED, job.profile.server, job.profile.tls_context(), job.job_id)
    clients, pid = Clients(stalled, control), await _agents_pid()
    await clients.ask(2)  # warms up
    own = [(str(job.profile.certificate), str(job.profile.key))]
    rounds = {"without": await clients.ask(seconds)}
    told = [f"the agent without them: {Usage.of(pid).memory:.0f} MiB"]
    for name, certificates in (("others' certificates", others), ("the same certificate", own)):
        made = Peers()
        plan = Plan(
            port=urlsplit(job.profile.server).port or 443,
            authority=str(job.profile.authority),
            certificates=certificates,
            peers=peers,
            download=f"/jobs/{job.job_id}/artifacts/{DOWNLOAD}",
            stream="/events" if events else job.path,
        )
        async with made.there(plan):
            began, started = Usage.of(pid), time.perf_counter()
            rounds[f"{peers} with {name}"] = await clients.ask(seconds)
            used = Usage.of(pid).since(began, time.perf_counter() - started)
        told.append(f"\n{peers} with {name}: {used.memory:.0f} MiB, {used.cpu:.0f} % of a CPU; peers ended:")
        for kind, ways in made.ended.items():
            ends = ", ".join(f"{count} {how}" for how, count in sorted(ways.items(), key=lambda way: -way[1]))
            told.append(f"  {kind:<32}{ends or 'none'}")
    if await _agents_pid() != pid:
        raise BenchError("the agent is not the one that it was")
    print(
        f"{'ms':<54}{'p50':>8}{'p99':>8}{'requests':>10}{'failed':>8}{'p99 / without':>15}{'p99 / other':>13}"
    )
    for name, asked in rounds.items():
        for agent_name in (control.name, STALLED):
            _rows(
                f"{agent_name}, {name}", asked[agent_name], rounds["without"][agent_name], asked[control.name]
            )
    print("", *told, sep="\n")
    within = judged(peak(pid))
    failed = sum((asked[STALLED].failed for asked in rounds.values()), Counter[str]())
    for why, count in failed.items():
        print(f"{count} requests failed: {why}")
    return within and not failed


def _rows(name: str, asked: Asked, without: Asked, other: Asked) -> None:
    """`without` is the same agent without peers, `other` the one that has none, at the same time."""
    for what in ("kept", "new"):
        (p50, p99), (_, p99_without), (_, p99_other) = (
            _percentiles(getattr(each, what)) for each in (asked, without, other)
        )
        failed = f"{asked.failed.total():>8}" if what == "kept" else " " * 8
        row = f"{name + ', ' + what:<54}{p50:>8.1f}{p99:>8.1f}{len(getattr(asked, what)):>10}{failed}"
        print(f"{row}{p99 / p99_without:>15.2f}{p99 / p99_other:>13.2f}", flush=True)


def _percentiles(values: list[float]) -> tuple[float, float]:
    return statistics.median(values), statistics.quantiles(values, n=100)[98]


async def run(*, peers: int, seconds: float, events: bool) -> bool:
    """Sets up the job whose log and artifact nobody reads, and the agent without peers, and measures."""
    settings = load()
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        others = await issue_others(settings, base)
        async with running_job() as job, agent(base / "quiet", ended=20) as quiet:
            await job.write(LINES)
            artifacts = settings.paths_of(job.job_id).attempt(1).artifacts
            with (artifacts / DOWNLOAD).open("wb") as file:
                file.truncate(DOWNLOAD_BYTES)
            files = base / "quiet/state/pki"
            tls = ssl.create_default_context(cafile=files / "ca.crt")
            tls.load_cert_chain(files / "client.crt", files / "client.key")
            control = Target("an agent without peers", f"https://localhost:{quiet.port}", tls, quiet.job_id)
            return await measure(job, control, others, peers=peers, seconds=seconds, events=events)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.stalled", description=__doc__)
    parser.add_argument("--peers", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each round")
    parser.add_argument(
        "--events",
        action="store_true",
        help="unread streams are of events, and not of a long log, which costs as much as reading one does"
        " each time that a peer comes again",
    )
    given = parser.parse_args()
    return 0 if asyncio.run(run(**vars(given))) else 1


if __name__ == "__main__":
    sys.exit(main())
