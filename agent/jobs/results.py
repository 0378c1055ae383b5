"""What a job leaves and what it uses: its artifacts, how much room they take, and what its unit uses now."""

import asyncio
import contextlib
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from ..config import Settings
from ..errors import AgentError
from ..host.systemd import Units
from ..host.tasks import in_thread
from ..logs.job_log import check_not_removed
from ..model.artifact import ArtifactManifest
from ..model.base import now
from ..model.host import Usage
from ..model.job import Job
from .artifacts import ENDS, REQUESTS, Published, manifest, open_artifact
from .quota import Taken, measure
from .registry import Registry


class Results:
    """Reads artifacts and usage of one job."""

    def __init__(self, settings: Settings, registry: Registry, units: Units) -> None:
        self._settings = settings
        self._registry = registry
        self._units = units
        self._hashing = WeakValueDictionary[str, asyncio.Lock]()

    async def usage(self, job: Job) -> Usage:
        """What the job's unit uses now."""
        used = await self._units.usage(job.unit)
        return Usage(
            job_id=job.job_id,
            at=now(),
            cpu_seconds=None if used.cpu_nanoseconds is None else round(used.cpu_nanoseconds / 1e9, 3),
            memory_bytes=used.memory_bytes,
            memory_peak_bytes=used.memory_peak_bytes,
            tasks=used.tasks,
        )

    async def artifacts(self, job: Job) -> ArtifactManifest:
        """What the job has left so far; final once it has ended. Raises what `check_files` raises."""
        async with self._turn(job):
            found = await self._manifest(job, REQUESTS, complete=job.status.terminal)
        # Checked afterwards: files that retention removed meanwhile must not make the list shorter.
        await self.check_files(job)
        return found

    async def publish(self, job: Job) -> None:
        """Hashes the artifacts of an attempt that has ended, and keeps the manifest."""
        await self._manifest(job, ENDS, complete=True)

    async def artifact(self, job: Job, path: str) -> Published:
        """One artifact, open; the caller closes it. Raises what `open_artifact` and `check_files` raise."""
        try:
            async with self._turn(job):
                return await open_artifact(self.artifacts_directory(job), path)
        except AgentError:
            await self.check_files(job)
            raise

    async def check_files(self, job: Job) -> None:
        """Raises `AgentError` (removed-by-retention) if the job's artifacts, log and metrics are gone."""
        check_not_removed(await self._registry.get(job.job_id))

    async def taken(self, job: Job) -> Taken:
        """How much the job's attempt has in /artifacts now, and whether that exceeds its limits."""
        limits = job.limits.over(self._settings.jobs.default_limits)
        return await in_thread(partial(measure, self.artifacts_directory(job), limits))

    def artifacts_directory(self, job: Job) -> Path:
        """Where the /artifacts of the job's attempt is on the host."""
        return self._settings.paths_of(job.job_id).attempt(job.attempt).artifacts

    def log_file(self, job: Job) -> Path:
        """Where the log of a job that has ended is kept, once it is."""
        return self._settings.paths_of(job.job_id).log

    async def _manifest(self, job: Job, pool: Executor, *, complete: bool) -> ArtifactManifest:
        # No more than the quota is hashed: the job holds its room until that is done.
        most = job.limits.over(self._settings.jobs.default_limits).artifact_bytes
        directory = self.artifacts_directory(job)
        return await manifest(job.job_id, directory, complete=complete, max_bytes=most, pool=pool)

    def _turn(self, job: Job) -> contextlib.AbstractAsyncContextManager[Any]:
        """Serialises the hashing of artifacts per owner while jobs run."""
        if job.status.terminal:
            return contextlib.nullcontext()
        return self._hashing.setdefault(job.owner, asyncio.Lock())
