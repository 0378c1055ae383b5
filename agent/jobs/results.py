"""What a job leaves: its artifacts, and how much room they take."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from ..config import Settings
from ..errors import AgentError
from ..host.tasks import in_thread
from ..model.artifact import ArtifactManifest
from ..model.job import Job, check_not_removed
from ..model.paths import AttemptPaths
from .artifacts import ENDS, REQUESTS, Published, manifest, open_artifact
from .quota import Taken, delete_others, measure
from .registry import Registry

log = logging.getLogger("ml-agent")


class Results:
    """Reads and publishes artifacts."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry
        self._hashing = WeakValueDictionary[str, asyncio.Lock]()

    async def manifest(self, job: Job) -> ArtifactManifest:
        """The files of the job so far; final once it has ended. Raises what `check_not_removed` raises."""
        async with self._turn(job):
            found = await self._manifest(job, REQUESTS, complete=job.status.terminal)
        # Checked afterwards: files that retention removed meanwhile must not make the list shorter.
        check_not_removed(await self._registry.get(job.job_id))
        return found

    async def publish(self, job: Job, *, delete_others: bool) -> None:
        """Hashes the artifacts of an attempt that has ended, and keeps the manifest.

        `delete_others` deletes what is not published: the attempt has left more than its quota.
        """
        await self._manifest(job, ENDS, complete=True, delete_others=delete_others)

    async def delete(self, job: Job) -> None:
        """Deletes the artifacts of an attempt after which the job is tried again: nobody can fetch them."""
        try:
            await in_thread(partial(delete_others, self._attempt(job).artifacts, ()), pool=ENDS)
        except OSError as error:
            log.warning("artifacts of job %s, attempt %d, stay: %s", job.job_id, job.attempt, error)

    @contextlib.asynccontextmanager
    async def opened(self, job: Job, path: str) -> AsyncIterator[Published]:
        """One artifact, open. Raises what `open_artifact` and `check_not_removed` raise."""
        try:
            async with self._turn(job):
                published = await open_artifact(self._attempt(job), path)
        except AgentError:
            check_not_removed(await self._registry.get(job.job_id))
            raise
        with contextlib.closing(published.file):
            yield published

    async def measure(self, job: Job) -> Taken:
        """How much the job's attempt has in /artifacts now, and whether that exceeds its limits."""
        limits = self._settings.jobs.resolve(job.limits)
        return await in_thread(partial(measure, self._attempt(job).artifacts, limits))

    def _attempt(self, job: Job) -> AttemptPaths:
        return self._settings.paths_of(job.job_id).attempt(job.attempt)

    async def _manifest(
        self, job: Job, pool: Executor, *, complete: bool, delete_others: bool = False
    ) -> ArtifactManifest:
        # No more than the quota is hashed: the job holds its room until that is done.
        most = self._settings.jobs.resolve(job.limits)
        return await manifest(
            job.job_id,
            self._attempt(job),
            complete=complete,
            max_bytes=most.artifact_bytes,
            max_files=most.artifact_files,
            delete_others=delete_others,
            pool=pool,
        )

    def _turn(self, job: Job) -> contextlib.AbstractAsyncContextManager[Any]:
        """Serialises the hashing of artifacts per owner while jobs run."""
        if job.status.terminal:
            return contextlib.nullcontext()
        return self._hashing.setdefault(job.owner, asyncio.Lock())
