"""Watches while jobs run, and ends jobs: those that exceed their quota, and one before the disk is full.

Also those whose commit an operator withdraws, which another process records.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ..config import Settings
from ..errors import AgentError
from ..host.machine import Room
from ..host.systemd import Units
from ..host.tasks import repeat
from ..log import log
from ..model.base import now, one_line
from ..model.job import Job, JobState, Reason
from ..model.ref import Withdrawal
from ..store.withdrawals import WithdrawalStore
from .quota import room_left
from .reconciler import Reconciler
from .registry import ActiveJob, Registry, not_before
from .results import Results

INTERVAL = 3.0  # seconds between two looks; a job may overshoot by what it can write in two of them
NOTHING = Room(0, 0)
MIN_GROWTH = Room(2**20, 500)  # between two looks; a job that has taken less did not take the room
FULL = {
    "bytes": "The disk was almost full, and this job was writing the most to it.",
    "inodes": "The disk could take few more files, and this job was making the most.",
}

WITHDRAWALS_INTERVAL = 2.0  # seconds between two looks


@dataclass(eq=False)
class DiskGuard:
    """Every few seconds: what each running job has in /artifacts, and what the file system has left."""

    _settings: Settings
    _registry: Registry
    _results: Results
    _reconciler: Reconciler
    _units: Units
    _known: dict[str, Room] | None = None  # by job, what it had taken at the last look

    async def run(self) -> None:
        """Looks, at once and then every `INTERVAL` seconds, until it is cancelled."""
        await repeat(self.look, INTERVAL, "the disk")

    async def look(self) -> None:
        """Looks once. Raises `AgentError` or `OSError` where something cannot be looked at."""
        running = [job for job in self._registry.started(None) if job.status is JobState.RUNNING]
        now: dict[str, Room] = {}
        for job in running:
            taken = await self._results.measure(job)
            if taken.excess:
                self._reconciler.order_end(job, Reason.ARTIFACT_QUOTA, taken.excess)
            # A file that is deleted and still open is in no directory; only the kernel counts it, if asked.
            now[job.job_id] = Room(max(taken.bytes, await self._written(job)), taken.files)
        before, self._known = self._known, now
        if running:
            # At the first look no job has grown: what they took before, this agent cannot tell.
            self._make_room(running, now if before is None else before, now)

    async def _written(self, job: Job) -> int:
        """Bytes by the kernel's count; 0 where it does not count, or the manager does not answer."""
        try:
            return await self._units.written(job.unit) or 0
        except AgentError:
            return 0

    def _make_room(self, running: list[Job], before: Mapping[str, Room], now: Mapping[str, Room]) -> None:
        """If bytes or inodes are about to run out, ends the job that took most since the last look.

        Where no job is seen to take any and the room still shrinks, ends the one that began last.
        """
        left, floors = room_left(self._settings)
        for kind in FULL:
            free, floor = getattr(left, kind), getattr(floors, kind)
            if free is None or free >= floor:
                continue
            growth = {
                job_id: getattr(room, kind) - getattr(before.get(job_id, NOTHING), kind)
                for job_id, room in now.items()
            }
            most = max(running, key=lambda job: growth[job.job_id])
            if growth[most.job_id] < getattr(MIN_GROWTH, kind):
                if free >= floor / 2:
                    continue
                most = max(running, key=lambda job: job.started_at or job.created_at)
            log.warning("only %d %s are free: ending job %s", free, kind, most.job_id)
            self._reconciler.order_end(most, Reason.STORAGE_FULL, FULL[kind])


@dataclass(eq=False)
class WithdrawalGuard:
    """Every few seconds: whether a job waits, or runs, whose commit may not run any more."""

    _withdrawals: WithdrawalStore
    _registry: Registry
    _reconciler: Reconciler

    async def run(self) -> None:
        """Looks, at once and then every `WITHDRAWALS_INTERVAL` seconds, until it is cancelled."""
        await repeat(self.look, WITHDRAWALS_INTERVAL, "withdrawals")

    async def look(self) -> None:
        """Looks once. Raises `AgentError` or `OSError` where something cannot be read or written."""
        if self._registry.idle:
            return
        withdrawn = {each.commit: each for each in await self._withdrawals.all()}
        for active in list(self._registry.all_active()) if withdrawn else []:
            if withdrawal := withdrawn.get(active.job.commit):
                await self._end(active, withdrawal)

    async def _end(self, active: ActiveJob, withdrawal: Withdrawal) -> None:
        if active.job.status is not JobState.PENDING:
            if withdrawal.stop_running:
                self._reconciler.order_end(active.job, Reason.STOPPED, withdrawal.sentence())
            return
        await self._registry.change(active, lambda job: _ended(job, withdrawal))
        active.hint.set()
        self._registry.wake.set()


def _ended(job: Job, withdrawal: Withdrawal) -> Job:
    if job.status is not JobState.PENDING:  # its turn came first: the reconciler asks again before it starts
        return job
    return job.model_copy(
        update={
            "status": JobState.FAILED,
            "reason": Reason.START_FAILED,
            "message": one_line(withdrawal.sentence()),
            "finished_at": not_before(job, now()),
            "not_before": None,
        }
    )
