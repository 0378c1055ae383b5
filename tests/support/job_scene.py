"""`agent.jobs` between stand-ins for systemd, Podman and Quadlet; the store and the snapshots are real."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any

from agent.config import Settings
from agent.errors import AgentError, Problem
from agent.host.images import Image
from agent.host.systemd import UnitState, UnitUsage
from agent.model.job import Job, JobRequest
from agent.model.paths import CLAIMED, ENDED, STARTED, STOPPING, AttemptPaths
from agent.runtime.outcome import ExitRecord
from agent.runtime.unit import JobUnit
from agent.scripts.snapshots import Snapshots
from agent.secrets.secrets import Secrets
from agent.service import JobParts, secrets_of
from agent.store.store import Store
from tests.support.waiting import until

DIGEST = "sha256:" + "d" * 64
INVOCATION = "0123456789abcdef" * 2
FAILURE = "exit-code exited 3"


@dataclass
class StandInUnits:
    """A manager whose units have the states that the test gives them."""

    states: dict[str, UnitState] = field(default_factory=dict)
    usages: dict[str, UnitUsage] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    identity: str = "boot:1"
    stopping: bool = False
    calls_off: set[str] = field(default_factory=set)
    forgotten: list[str] = field(default_factory=list)
    cleaned: list[str] = field(default_factory=list)
    refuses: AgentError | None = None
    while_looked_at: Callable[[], None] = lambda: None
    looks: int = 0  # how often a unit's state was asked for
    controllers_there: frozenset[str] = frozenset(("cpu", "memory", "pids"))

    async def start(self, name: str) -> None:
        if self.refuses:
            raise self.refuses
        self.started.append(name)
        self.stopped[:] = [each for each in self.stopped if each != name]

    async def stop(self, name: str) -> None:
        self.stopped.append(name)

    async def forget(self, name: str) -> None:
        self.forgotten.append(name)

    async def state(self, name: str) -> UnitState:
        self.looks += 1
        self.while_looked_at()
        return self.states.get(name, UnitState())

    async def clean(self, name: str) -> None:
        self.cleaned.append(name)

    async def active(self, pattern: str) -> set[str]:
        return {name for name in self.started if name not in self.stopped and fnmatch(name, pattern)}

    async def usage(self, name: str) -> UnitUsage:
        return self.usages.get(name, UnitUsage())

    def called_off(self, name: str) -> bool:
        return name in self.calls_off

    async def version(self) -> str:
        return "257"

    async def controllers(self) -> frozenset[str]:
        return self.controllers_there

    async def manager_identity(self) -> str:
        return self.identity

    async def manager_stopping(self) -> bool:
        return self.stopping


class StandInPodman:
    """A Podman that has the image and one shared secret."""

    secrets = frozenset({"warehouse"})
    own_secrets: frozenset[tuple[str, str]] = frozenset()
    variables = frozenset({"PATH"})

    async def version(self) -> str:
        return "5.4.2"

    async def image(self, name: str) -> Image | None:
        return Image("sha256:" + "1" * 64, DIGEST)

    kept_image = image

    async def image_variables(self, name: str, digest: str) -> frozenset[str]:
        return self.variables

    def __init__(self) -> None:
        self.killed: list[str] = []
        self.left: list[str] = []  # names of containers
        self.failures = 0  # how many removals still fail
        self.removals: list[str] = []
        self.may_remove = asyncio.Event()
        self.may_remove.set()

    async def containers(self) -> list[str]:
        if self.failures < 0:
            raise AgentError(Problem.HOST, "Podman does not answer.")
        return list(self.left)

    async def remove_container(self, container: str) -> None:
        self.removals.append(container)
        if self.failures:
            self.failures -= 1
            raise AgentError(Problem.HOST, "It could not be stopped.")
        await self.may_remove.wait()
        self.left = [name for name in self.left if name != container]

    async def kill(self, container: str) -> None:
        self.killed.append(container)

    async def secret_for(self, name: str, user: str, *, shared: bool = True) -> str | None:
        if (name, user) in self.own_secrets:
            return f"ml-agent.{name}.{user}"
        return f"ml-agent.{name}" if shared and name in self.secrets else None


class StandInCompiler:
    """A compiler that remembers the units."""

    def __init__(self) -> None:
        self.compiled: list[JobUnit] = []
        self.refuses: Exception | None = None
        self.refused = 0

    async def compile(self, unit: JobUnit) -> str:
        if self.refuses:
            self.refused += 1
            raise self.refuses
        self.compiled.append(unit)
        return "[Service]\n"


@dataclass
class Scene:
    """The parts of `agent.jobs` between stand-ins, over a real store and real snapshots."""

    settings: Settings
    store: Store
    units: StandInUnits = field(default_factory=StandInUnits)
    podman: StandInPodman = field(default_factory=StandInPodman)
    compiler: StandInCompiler = field(default_factory=StandInCompiler)

    journalled: ExitRecord | None = None

    async def exit_of(
        self, unit: str, invocation_id: str | None, others: Collection[str]
    ) -> ExitRecord | None:
        """What the journal has about the unit."""
        return self.journalled

    def snapshots(self) -> Snapshots:
        """The site's scripts, as a new agent reads them."""
        scripts = self.settings.scripts
        return Snapshots(scripts.repository, scripts.directory, self.settings.snapshots_directory)

    def jobs(self, secrets: Secrets | None = None) -> JobParts:
        """The parts of a new agent over the same store; `secrets` where they are kept apart from `podman`."""
        parts: dict[str, Any] = {"podman": self.podman, "compiler": self.compiler, "units": self.units}
        parts["secrets"] = secrets or secrets_of(self.settings, parts["podman"])
        return JobParts(
            settings=self.settings,
            store=self.store,
            exit_of=self.exit_of,
            snapshots=self.snapshots(),
            **parts,
        )

    def attempt(self, job: Job) -> AttemptPaths:
        """The files of the attempt that the job is at."""
        return self.settings.paths_of(job.job_id).attempt(job.attempt)

    def mark(self, job: Job, name: str, text: str = "") -> None:
        """Leaves a mark as the job's unit does."""
        path = self.attempt(job).mark(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            path.readlink().mkdir(parents=True)
        else:
            path.write_text(text)

    async def start(self, jobs: JobParts, **fields: Any) -> Job:
        """A job that systemd was asked to start."""
        job = await submit(jobs, **fields)
        await until(lambda: job.unit in self.units.started)
        return job

    def ends(
        self,
        jobs: JobParts,
        job: Job,
        words: str = "success exited 0",
        invocation: str = INVOCATION,
        *,
        stopping: str = "",
    ) -> None:
        """Leaves the marks of an attempt that began and ended, and has the agent look at it."""
        marks = {CLAIMED: "", STARTED: ""} | ({STOPPING: stopping} if stopping else {})
        for name, text in (marks | {ENDED: f"{words} {invocation}"}).items():
            self.mark(job, name, text)
        jobs.reconciler.look_at(job.unit)


@contextlib.asynccontextmanager
async def driving(jobs: JobParts) -> AsyncIterator[JobParts]:
    """Runs the reconciler."""
    await jobs.reconciler.load()
    task = asyncio.create_task(jobs.reconciler.run())
    try:
        yield jobs
        assert not task.done()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def submit(jobs: JobParts, script_name: str = "succeed.py", **fields: Any) -> Job:
    """Submits a job of alice."""
    return await jobs.submission.submit("alice", JobRequest(script_name=script_name, **fields))


async def end_of(jobs: JobParts, job: Job, *, seconds: float = 10) -> Job:
    """The job once it has ended."""

    async def ended() -> Job | None:
        known = await jobs.registry.get(job.job_id)
        return known if known.status.terminal else None

    known = await until(ended, seconds=seconds)
    assert known
    return known


@dataclass
class Ends:
    """In the place of the change feed, for a reader of logs."""

    jobs: JobParts

    async def ended(self, job: Job) -> Job:
        return await end_of(self.jobs, job, seconds=300)


async def next_revision(jobs: JobParts, job: Job) -> Job:
    """The job once it has changed."""

    async def changed() -> Job | None:
        known = await jobs.registry.get(job.job_id)
        return known if known.revision > job.revision else None

    known = await until(changed)
    assert known
    return known


async def starts_again(scene: Scene, jobs: JobParts, job: Job, times: int = 2) -> Job:
    """The job once systemd was asked so often to start it."""
    await until(lambda: scene.units.started.count(job.unit) == times)
    return await jobs.registry.get(job.job_id)
