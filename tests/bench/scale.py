"""What a long history costs: agents with few and with many stored jobs, asked in turns.

`python -m tests.bench.scale`, on a systemd host. Each agent is a process of its own with a store of its own,
over mutual TLS. It has Podman but no service manager, so that the jobs that are submitted stay in the queue
and nothing else uses the machine.
"""

import argparse
import asyncio
import contextlib
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import aiohttp

from agent.host.files import write_file
from agent.identity.authority import Authority
from agent.model.base import new_job_id, now, unit_name
from agent.model.certificate import Certificate, Role
from agent.model.inputs import Limits
from agent.model.job import Job, JobState
from agent.store.jobs import IdTaken, insert
from agent.store.store import Store
from tests.support.jobs import let_ages_begin

CHECKOUT = Path(__file__).parents[2]
PAGE = 50
READY_SECONDS = 60.0
SETTLED_SECONDS = 3.0  # after the first answer: the retention's first round goes through the whole history
RUN = "from agent.config_files import load; from agent.service import run; run(load())"
CONFIG = """state_directory = "{base}/state"
runtime_directory = "{base}/run"
[scripts]
repository = "{base}/repository"
[jobs]
image = "localhost/ml-runner:latest"
max_waiting_per_user = 100000
[http]
port = {port}
request_burst = 1000000
idle_exit_seconds = 3600
"""


@dataclass
class Agent:
    """One agent, its history, and a client of it."""

    name: str
    base: Path
    port: int
    ready_seconds: float
    process: asyncio.subprocess.Process
    session: aiohttp.ClientSession
    job_id: str
    deep_cursor: str = ""

    async def call(self, method: str, path: str, status: int, **options: object) -> float:
        """Seconds until the answer was read."""
        began = time.perf_counter()
        url = f"https://localhost:{self.port}{path}"
        async with self.session.request(method, url, **options) as response:  # type: ignore[arg-type]
            body = await response.read()
        took = time.perf_counter() - began
        assert response.status == status, body
        return took

    def memory(self) -> int:
        """The process' resident memory in KiB (proc(5), VmRSS)."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text("ascii").splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmRSS:")))


FIGURES: dict[str, Callable[[Agent], Awaitable[float]]] = {
    "status": lambda agent: agent.call("GET", f"/jobs/{agent.job_id}", 200),
    "list, first page": lambda agent: agent.call("GET", f"/jobs?limit={PAGE}", 200),
    "list, deep page": lambda agent: agent.call("GET", f"/jobs?limit={PAGE}&cursor={agent.deep_cursor}", 200),
    "submit": lambda agent: agent.call("POST", "/jobs", 202, json={"script_name": "short.py"}),
}


def stored_job(status: JobState) -> Job:
    """One of the history: alice's, an hour old."""
    job_id = new_job_id()
    ended = {"started_at": now() - timedelta(hours=1), "finished_at": now() - timedelta(minutes=59)}
    return Job(
        job_id=job_id,
        status=status,
        owner="alice",
        script_name="short.py",
        hyperparameters={"n_estimators": "50", "max_depth": "8"},
        limits=Limits(memory_bytes=2**31, cpus=1, tasks=512, run_time_seconds=3600),
        commit="0" * 40,
        script_sha256="1" * 64,
        image="localhost/ml-runner:latest",
        image_digest="sha256:" + "2" * 64,
        network="none",
        unit=unit_name(job_id),
        created_at=now() - timedelta(hours=1),
        **(ended if status.terminal else {}),
    )


async def fill(store: Store, status: JobState, count: int) -> None:
    """Stores that many jobs in one transaction."""

    def work(db: object) -> None:
        left = count
        while left:
            with contextlib.suppress(IdTaken):
                insert(db, stored_job(status))  # type: ignore[arg-type]  # the store's connection
                left -= 1
        # As the agent has left it that saw them end: what they take on the disk is known.
        db.execute("UPDATE jobs SET bytes = 0, files = 0 WHERE NOT active")  # type: ignore[attr-defined]

    await store.database.run(work)
    await let_ages_begin(store)


def prepare(base: Path, port: int) -> ssl.SSLContext:
    """A configuration, a repository, certificates, Podman's socket; returns the client's context."""
    (base / "run/podman").mkdir(parents=True)
    (base / "run/podman/podman.sock").symlink_to(Path(os.environ["XDG_RUNTIME_DIR"], "podman/podman.sock"))
    (base / "config.toml").write_text(CONFIG.format(base=base, port=port))
    scripts = base / "repository/scripts"
    scripts.mkdir(parents=True)
    (scripts / "short.py").write_text("print('hello')\n")
    git = ("git", "-C", str(base / "repository"), "-c", "user.name=bench", "-c", "user.email=bench@localhost")
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message=scripts"], check=True)
    directory = base / "state/pki"
    authority = Authority.create(directory, "bench")
    server, client = authority.issue_server(["localhost"]), authority.issue_client("alice")
    for name, issued in (("server", server), ("client", client)):
        write_file(directory / f"{name}.crt", issued.certificate_pem(), mode=0o600)
        write_file(directory / f"{name}.key", issued.key_pem(), mode=0o600)
    (base / "serial").write_text(client.serial)
    context = ssl.create_default_context(cafile=directory / "ca.crt")
    context.load_cert_chain(directory / "client.crt", directory / "client.key")
    return context


@contextlib.asynccontextmanager
async def agent(base: Path, *, ended: int, waiting: int = 0) -> AsyncIterator[Agent]:
    """Runs an agent over so many stored jobs."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    context = prepare(base, port)
    async with Store.open(base / "state/jobs.db") as store:
        await fill(store, JobState.COMPLETED, ended)
        await fill(store, JobState.PENDING, waiting)
        expires = now() + timedelta(days=1)
        serial = (base / "serial").read_text()
        await store.certificates.add(
            Certificate(serial=serial, user="alice", role=Role.ANALYST, issued_at=now(), expires_at=expires)
        )
        job_id = (await store.jobs.page(limit=1)).jobs[0].job_id
    environment = {**os.environ, "ML_AGENT_CONFIG": str(base / "config.toml"), "PYTHONPATH": str(CHECKOUT)}
    began = time.perf_counter()
    with (base / "agent.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", RUN, env=environment, stderr=log)
    connector = aiohttp.TCPConnector(ssl=context)
    try:
        async with aiohttp.ClientSession(connector=connector) as session:
            made = Agent(f"{ended or waiting:,}", base, port, 0.0, process, session, job_id)
            await _answered(made)
            made.ready_seconds = time.perf_counter() - began
            await _go_deep(made, jobs=ended // 2)
            yield made
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _go_deep(made: Agent, jobs: int) -> None:
    """Goes from page to page, past so many jobs, in whole pages: only the agent can make a cursor."""
    for _ in range(jobs // PAGE):
        path = f"/jobs?limit={PAGE}&cursor={made.deep_cursor}".removesuffix("&cursor=")
        async with made.session.get(f"https://localhost:{made.port}{path}") as response:
            made.deep_cursor = (await response.json())["next_cursor"]


async def _answered(made: Agent) -> None:
    async with asyncio.timeout(READY_SECONDS):
        while made.process.returncode is None:
            with contextlib.suppress(aiohttp.ClientConnectionError):
                await made.call("GET", f"/jobs/{made.job_id}", 200)
                return
            await asyncio.sleep(0.02)
    raise RuntimeError((made.base / "agent.log").read_text())


async def measure(base: Path, *, few: int, many: int, rounds: int, waiting: int) -> None:
    """Prints one table: medians, and what the long history's are over the short one's."""
    async with agent(base / "few", ended=few) as small, agent(base / "many", ended=many) as large:
        await asyncio.sleep(SETTLED_SECONDS)
        print(f"{'median of ' + str(rounds) + ', in turns':<30}{small.name:>12}{large.name:>12}{'ratio':>8}")
        values: dict[tuple[str, str], list[float]] = {}
        for turn in range(rounds + 5):
            for name, figure in FIGURES.items():
                for each in (small, large) if turn % 2 else (large, small):
                    took = await figure(each)
                    if turn >= 5:  # the first ones warm up
                        values.setdefault((name, each.name), []).append(1000 * took)
        for name in FIGURES:
            row(name + ", ms", *(statistics.median(values[name, each.name]) for each in (small, large)))
        row("memory, MiB", small.memory() / 1024, large.memory() / 1024)
        row("process to first answer, s", small.ready_seconds, large.ready_seconds)
    async with agent(base / "queue", ended=0, waiting=waiting) as queued:
        status = statistics.median([1000 * await FIGURES["status"](queued) for _ in range(rounds)])
        submit = statistics.median([1000 * await FIGURES["submit"](queued) for _ in range(20)])
        print(
            f"\nwith {waiting:,} jobs in the queue: first answer after {queued.ready_seconds:.2f} s, ", end=""
        )
        print(f"status {status:.1f} ms, submit with its place {submit:.1f} ms")


def row(name: str, few: float, many: float) -> None:
    """Prints a line of the table."""
    print(f"{name:<30}{few:>12.2f}{many:>12.2f}{many / few:>8.2f}", flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scale", description=__doc__)
    parser.add_argument("--few", type=int, default=100)
    parser.add_argument("--many", type=int, default=100_000)
    parser.add_argument("--waiting", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(
            measure(
                Path(directory), few=given.few, many=given.many, rounds=given.rounds, waiting=given.waiting
            )
        )


if __name__ == "__main__":
    main()
