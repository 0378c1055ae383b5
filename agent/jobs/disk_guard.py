"""Watches the disk while jobs run: ends jobs that exceed their quota, and one job before the disk is full."""

import asyncio
import logging
from collections.abc import Mapping

from ..config import Settings
from ..errors import AgentError
from ..host.room import Room
from ..host.systemd import Units
from ..model.job import Job, JobState, Reason
from .quota import room_left
from .reconciler import Reconciler
from .registry import Registry
from .results import Results

log = logging.getLogger("ml-agent")

INTERVAL = 3.0  # seconds between two looks; a job may overshoot by what it can write in two of them
NOTHING = Room(0, 0)
MIN_GROWTH = Room(2**20, 500)  # between two looks; a job that has taken less did not take the room
FULL = {
    "bytes": "The disk was almost full, and this job was writing the most to it.",
    "inodes": "The disk could take few more files, and this job was making the most.",
}


class DiskGuard:
    """Every few seconds: what each running job has in /artifacts, and what the file system has left."""

    def __init__(
        self, settings: Settings, registry: Registry, results: Results, reconciler: Reconciler, units: Units
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._results = results
        self._reconciler = reconciler
        self._units = units
        self._known: dict[str, Room] | None = None  # by job, what it had taken at the last look

    async def run(self) -> None:
        """Looks, at once and then every `INTERVAL` seconds, until it is cancelled."""
        while True:
            try:
                await self.look()
            except (AgentError, OSError) as error:
                log.warning("the disk: %s", error)
            await asyncio.sleep(INTERVAL)

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
