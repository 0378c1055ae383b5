"""Whether a job whose turn has come may start: what it needs is there, and no drain of the host is ahead."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..audit.chain import Caller
from ..config import Settings
from ..errors import AgentError, Problem, host_failed
from ..host.machine import RUNTIME_ROOM, room
from ..host.systemd import Units
from ..host.tasks import repeat
from ..model.base import now
from ..model.host import Drain
from ..model.inputs import JobInput
from ..model.job import Job, JobState, Reason
from ..scheduling.queue import Queue
from ..store.drains import DrainStore
from .inputs import Inputs
from .quota import room_left
from .registry import ActiveJob, Registry, not_before

INTERVAL = 2.0  # seconds between two looks at the drain, which another process records


@dataclass(eq=False)
class Admission:
    """`run` keeps the queue's knowledge of the drain; the reconciler asks for each job before it starts."""

    _settings: Settings
    _registry: Registry
    _inputs: Inputs
    _queue: Queue
    _units: Units
    _drains: DrainStore

    async def run(self) -> None:
        """Looks, at once and then every `INTERVAL` seconds, until it is cancelled."""
        await repeat(self.look, INTERVAL, "the drain")

    async def look(self) -> None:
        """Tells the queue when no job may run, by the record and the clock."""
        if self._queue.set_drain(await self._drains.get()):
            self._registry.wake.set()

    async def drain(self, *, draining: bool, by: Caller) -> None:
        """Starts no more jobs, or does so again. Jobs that run go on; the next agent remembers."""
        if draining:
            await self._drains.set(Drain(begins_at=now()), deed=by.did("drainHost"))
        else:
            await self._drains.end(deed=by.did("undrainHost"))
        await self.look()

    async def admit(self, active: ActiveJob, manager: str) -> bool:
        """Commits the start before systemd hears of it, or that what the job waited for is not there.

        Returns whether it starts: one that could run into a drain goes back to the queue. Raises `AgentError`
        if the job must wait.
        """
        why, inputs = await self._inputs.settle(active.job)
        if why:
            await self._registry.change(active, lambda job: _given_up(job, why))
            self._registry.wake.set()
            return False
        if active.job.attempt > 1 and await self._units.manager_stopping():
            # The shutdown that ended the previous attempt would end this one, too.
            raise host_failed("The host shuts down; the job is retried after the next boot.")
        if why := shortage(self._settings.runtime_directory):
            raise AgentError(Problem.STORAGE_FULL, f"The job waits. {why}")
        free, floor = room_left(self._settings)
        if free.lacks(floor):
            raise AgentError(
                Problem.STORAGE_FULL,
                f"The job waits until {self._settings.state_directory} has {floor} free.",
            )
        ends_by = self._queue.ends_by(active.job)
        try:
            await self._registry.change(
                active, partial(_admission, inputs=inputs), manager=manager, ends_by=ends_by
            )
        except AgentError as error:
            if error.problem is not Problem.DRAINING:
                raise
            await self._put_back(active)
        return active.job.status is JobState.CREATED

    async def still_open(self, active: ActiveJob) -> bool:
        """Whether an admitted job that has not begun may still start; else it is in the queue again.

        Its start may have taken long, because Podman did not answer, say.
        """
        drain = await self._drains.get()
        if drain is None or self._queue.ends_by(active.job) <= drain.begins_at:
            return True
        await self._registry.change(active, lambda job: job.model_copy(update={"status": JobState.PENDING}))
        await self._put_back(active)
        return False

    async def _put_back(self, active: ActiveJob) -> None:
        await self.look()
        self._queue.update(active.job)
        self._registry.wake.set()


def shortage(directory: Path) -> str:
    """A sentence if the runtime directory, where Podman records how a container ended, is almost full."""
    left = room(directory)
    return f"{directory} has only {left} free." if left.lacks(RUNTIME_ROOM) else ""


def _admission(job: Job, *, inputs: dict[str, JobInput]) -> Job:
    if job.status is not JobState.PENDING:
        return job
    return job.model_copy(update={"status": JobState.CREATED, "not_before": None, "inputs": inputs})


def _given_up(job: Job, why: str) -> Job:
    if job.status is not JobState.PENDING:
        return job
    ended = {"status": JobState.CANCELLED, "reason": Reason.DEPENDENCY, "message": why}
    return job.model_copy(update=ended | {"finished_at": not_before(job, now())})
