"""An agent of its own on a real systemd host, in which one job has the only place and every other one waits.

It is a process with a store, a port and certificates of its own, on the account's own service manager and
Podman: whatever it is asked is answered by the real thing, and yet thousands of requests start no container.
"""

import asyncio
import contextlib
import hashlib
import os
import shutil
import socket
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import aiohttp

from agent.audit.chain import Caller
from agent.host.files import write_file
from agent.identity.authority import Authority
from agent.model.alias import MAX_MOVES, Alias, Condition
from agent.model.base import new_job_id, now, unit_name
from agent.model.certificate import Certificate, Role
from agent.model.inputs import Limits
from agent.model.job import Job, JobState
from agent.model.schedule import MAX_SCHEDULES, Overlap, Schedule, ScheduledJob, ScheduleState, timer_name
from agent.model.sweep import MAX_ACTIVE, Dimension, Direction, Objective, Strategy, Sweep, SweepState
from agent.store.store import Store
from agent.sweeps.trials import sweep_like
from tests.support.small_site import IMAGE, import_image, make_repository
from tests.support.waiting import run, until

from .memory import Watched

CHECKOUT = Path(__file__).parents[2]
SERVE = "from agent.config_files import load; from agent.service import run; run(load())"
SCRIPT = "hold.py"  # never ends of its own accord: whoever cancels the one that runs starts the next
SCRIPTS = {SCRIPT: "while :; do sleep 1; done"}
ARTIFACT, ARTIFACT_TEXT = "result.txt", "ten bytes\n" * 100
MODEL, ALIAS = "churn", "champion"
USER = "root"
PATIENCE = 120.0  # seconds for the agent, or a container, to be up

# Limits as wide as the contract's: which of them a host has is not what is asked here.
CONFIG = """state_directory = "{base}/state"
policy_directories = ["{base}/policy"]
[scripts]
repository = "{base}/repository"
[jobs]
image = "{image}"
max_running = 1
cpus = 4096
memory_bytes = 1125899906842624
max_waiting_per_user = 100000
[jobs.default_limits]
memory_bytes = 67108864
cpus = 1
[jobs.maximum_limits]
memory_bytes = 1125899906842624
cpus = 4096
tasks = 1000000
run_time_seconds = 2592000
grace_seconds = 86400
artifact_bytes = 1125899906842624
artifact_files = 1000000
[http]
port = {port}
max_secrets_per_user = 1000
{limits}
[certificates]
max_per_user = 10000
[retention]
max_pinned_per_user = 100000
max_pinned_bytes_per_user = 1152921504606846976
"""


UNLIMITED = """requests_per_second = 100000
request_burst = 1000000"""


@dataclass(frozen=True)
class StandingAgent(Watched):
    """A running agent; `ended` are ids of jobs that have ended, `waiting` of some that wait.

    `sweep` is the id of a sweep that is paused, and `schedule` of such a schedule. `MODEL` has the alias
    `ALIAS`, which has as long a history as there may be.
    """

    base: Path
    port: int
    pid: int
    context: ssl.SSLContext
    commit: str
    ended: list[str]
    waiting: list[str]
    sweep: str
    schedule: str

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://localhost:{self.port}"

    @property
    def certificate(self) -> Path:
        """The client's, beside its key (`.key`) and the authority's (`ca.crt`)."""
        return self.base / "state/pki/client.crt"

    def artifacts(self, job_id: str) -> Path:
        """Where a job has left them. The first call that asks for the list of one that has ended makes it."""
        return self.base / "state/jobs" / job_id / "attempts/1/artifacts"

    async def known(self, user: str, role: Role = Role.ANALYST) -> tuple[Path, Path]:
        """The files of a certificate and a key of another user."""
        directory = self.base / "state/pki"
        issued = Authority.load(directory).issue_client(user)
        files = directory / f"{user}.crt", directory / f"{user}.key"
        write_file(files[0], issued.certificate_pem(), mode=0o600)
        write_file(files[1], issued.key_pem(), mode=0o600)
        await _record(self.base, issued.serial, user, role)
        return files


@contextlib.asynccontextmanager
async def standing_agent(
    *, ended: int = 5, waiting: int = 5, prelude: str = "", config: str = ""
) -> AsyncIterator[StandingAgent]:
    """Runs one, with its job in the only place, and leaves neither process nor container behind.

    `prelude` is Python that the process runs before it serves, `config` replaces the limits of requests.
    """
    await asyncio.to_thread(import_image)
    base = Path(tempfile.mkdtemp(prefix="standing-agent-"))
    try:
        context, commit, port = _prepare(base, config)
        digest = await run("podman", "image", "inspect", "--format={{.Digest}}", IMAGE)
        jobs = [_ended_job(commit, digest) for _ in range(ended)]
        sweep, schedule = await _fill(base, jobs)
        async with _process(base, prelude) as process:
            waiters = await _occupy(port, context, waiting)
            yield StandingAgent(
                base,
                port,
                process.pid,
                context,
                commit,
                [job.job_id for job in jobs],
                waiters,
                sweep,
                schedule,
            )
    finally:
        await _clear(base)


def _prepare(base: Path, config: str) -> tuple[ssl.SSLContext, str, int]:
    """A configuration, a repository and certificates; the client's context, the commit and the port."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = int(found.getsockname()[1])
    values = {"base": base, "image": IMAGE, "port": port, "limits": config or UNLIMITED}
    (base / "config.toml").write_text(CONFIG.format(**values))
    (base / "policy/ml-job@.container.d").mkdir(parents=True)
    (base / "policy/ml-job@.container.d/10-test.conf").write_text("[Service]\nTimeoutStopSec=1\n")
    commit = make_repository(base / "repository", SCRIPTS)
    directory = base / "state/pki"
    authority = Authority.create(directory, "test CA")
    server, client = authority.issue_server(["localhost"]), authority.issue_client(USER)
    for name, issued in (("server", server), ("client", client)):
        write_file(directory / f"{name}.crt", issued.certificate_pem(), mode=0o600)
        write_file(directory / f"{name}.key", issued.key_pem(), mode=0o600)
    (base / "serial").write_text(client.serial)
    context = ssl.create_default_context(cafile=directory / "ca.crt")
    context.load_cert_chain(directory / "client.crt", directory / "client.key")
    return context, commit, port


def _ended_job(commit: str, digest: str) -> Job:
    job_id = new_job_id()
    return Job(
        job_id=job_id,
        status=JobState.COMPLETED,
        owner=USER,
        script_name=SCRIPT,
        hyperparameters={"n_estimators": "50"},
        limits=Limits(memory_bytes=2**26, cpus=1, tasks=512, run_time_seconds=3600),
        commit=commit,
        script_sha256="1" * 64,
        image=IMAGE,
        image_digest=digest,
        network="none",
        unit=unit_name(job_id),
        created_at=now() - timedelta(hours=1),
        started_at=now() - timedelta(hours=1),
        finished_at=now() - timedelta(minutes=59),
    )


async def _fill(base: Path, jobs: list[Job]) -> tuple[str, str]:
    """Stores the jobs with what they left, a sweep, a schedule, and the certificate of an administrator."""
    sweep, schedule = _paused_sweep(jobs[0]), _paused_schedule()
    caller = Caller(actor=USER, role=Role.ADMINISTRATOR, source="this host")
    deed = caller.did("submitSweep", sweep.sweep_id)
    async with Store.open(base / "state/jobs.db") as store:
        for job in jobs:
            await store.jobs.add(job, max_waiting=len(jobs))
            artifacts = base / "state/jobs" / job.job_id / "attempts/1/artifacts"
            artifacts.mkdir(parents=True)
            (artifacts / ARTIFACT).write_text(ARTIFACT_TEXT)
        await store.sweeps.add(sweep, key=None, fingerprint="", limit=MAX_ACTIVE, deed=deed)
        made = caller.did("createSchedule", schedule.schedule_id)
        await store.schedules.add(schedule, key=None, fingerprint="", limit=MAX_SCHEDULES, deed=made)
        await _fill_model(store, jobs)
    await _record(base, (base / "serial").read_text(), USER, Role.ADMINISTRATOR)
    return sweep.sweep_id, schedule.schedule_id


def _paused_schedule() -> Schedule:
    """A schedule whose job has as many hyperparameters as there may be, and hardly ever a time."""
    values = {f"p{number}": str(number) * 100 for number in range(100)}
    return Schedule(
        schedule_id=new_job_id(),
        status=ScheduleState.PAUSED,
        owner=USER,
        name="n" * 128,
        calendar="yearly",
        time_zone="UTC",
        expression="*-01-01 00:00:00 UTC",
        overlap=Overlap.SKIP,
        job=ScheduledJob(script_name=SCRIPT, hyperparameters=values),
        created_at=now(),
        active_since=now(),
    )


async def _fill_model(store: Store, jobs: list[Job]) -> None:
    """A model, whose alias has been moved from one job to another as often as its history can tell."""
    by = Caller(actor=USER, role=Role.ADMINISTRATOR, source="this host")
    content = ARTIFACT_TEXT.encode()
    for number in range(MAX_MOVES):
        to = Alias(
            alias=ALIAS,
            number=0,
            version=new_job_id(),
            job_id=jobs[number % 2].job_id,
            path=ARTIFACT,
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            media_type="text/plain",
            moved_by=USER,
            moved_at=now(),
        )
        await store.models.move(USER, MODEL, to, condition=Condition(), size=1, max_bytes=2**40, by=by)


def _paused_sweep(job: Job) -> Sweep:
    """A sweep with almost as large a space as there may be, and trials like the job."""
    values = [str(number) * 15 for number in range(100, 200)]
    return sweep_like(
        job,
        hyperparameters=job.hyperparameters,
        space={f"p{number}": Dimension(values=values) for number in range(7)},
        strategy=Strategy.RANDOM,
        trials=1000,
        at_once=4,
        objective=Objective(metric="loss", direction=Direction.MINIMIZE),
        seed=7,
    ).model_copy(update={"status": SweepState.PAUSED})


async def _record(base: Path, serial: str, user: str, role: Role) -> None:
    """Puts a certificate into the store, as `ml-agent issue` does."""
    expires = now() + timedelta(days=1)
    async with Store.open(base / "state/jobs.db") as store:
        await store.certificates.add(
            Certificate(serial=serial, user=user, role=role, issued_at=now(), expires_at=expires)
        )


@contextlib.asynccontextmanager
async def _process(base: Path, prelude: str) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = os.environ | {"ML_AGENT_CONFIG": str(base / "config.toml"), "PYTHONPATH": str(CHECKOUT)}
    with (base / "agent.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", prelude + SERVE),
            env=environment,
            stderr=log,
            start_new_session=True,  # as a service has one of its own, and with it its share of the processor
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


async def _occupy(port: int, context: ssl.SSLContext, waiting: int) -> list[str]:
    """Has a job run, and some more wait; returns the ids of those that wait."""
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(f"https://localhost:{port}", connector=connector) as session:

        async def submit() -> str:
            try:
                async with session.post("/jobs", json={"script_name": SCRIPT}) as response:
                    assert response.status == 202, await response.text()
                    return str((await response.json())["job_id"])
            except aiohttp.ClientConnectionError:
                return ""

        first = await until(submit, seconds=PATIENCE)

        async def runs() -> bool:
            async with session.get(f"/jobs/{first}") as response:
                return bool((await response.json())["status"] == "RUNNING")

        await until(runs, seconds=PATIENCE)
        return [await submit() for _ in range(waiting)]


async def _clear(base: Path) -> None:
    """Ends the units that the agent has started, and removes all that it left."""
    async with Store.open(base / "state/jobs.db") as store:
        begun = [job.unit for job in await store.jobs.active() if job.status is not JobState.PENDING]
        begun += [timer_name(each.schedule_id) for each in await store.schedules.active()]
    for unit in begun:
        await run("systemctl", "--user", "stop", unit, check=False)
    runtime = Path(os.environ["XDG_RUNTIME_DIR"]) / "systemd/user"
    for unit in begun:
        (runtime / unit).unlink(missing_ok=True)
    for directory in (base / "state/jobs").iterdir():
        unit = unit_name(directory.name)
        await run("systemctl", "--user", "reset-failed", unit, check=False)
        (runtime / unit).unlink(missing_ok=True)
    # Podman's are the account's: those of the installed agent are beside them.
    names = (await run("podman", "secret", "ls", "--format={{.Name}}")).split()
    if ours := [name for name in names if name.startswith("ml-agent.") and name.endswith(f".{USER}")]:
        await run("podman", "secret", "rm", *ours)
    # Snapshots of scripts are read-only.
    await run("chmod", "--recursive", "u+rwX", str(base))
    shutil.rmtree(base)
