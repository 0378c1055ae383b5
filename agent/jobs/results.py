"""What a job leaves: its artifacts, and how much room they take."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import Executor
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from ..config import Settings
from ..errors import AgentError
from ..host.tasks import in_thread
from ..log import log
from ..model.artifact import Artifact, escape_path
from ..model.job import Job, check_not_removed
from ..model.paths import AttemptPaths
from .artifacts import ENDS, REQUESTS, Published, manifest, open_artifact
from .manifest import Record
from .quota import Taken, delete_others, measure
from .registry import Registry

MAX_SENDING = 4  # lists of artifacts of an owner's running jobs that clients have not read to the end


class Results:
    """Reads and publishes artifacts."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry
        self._hashing = WeakValueDictionary[str, asyncio.Lock]()
        self._sending = WeakValueDictionary[str, asyncio.Semaphore]()

    @contextlib.asynccontextmanager
    async def manifest(self, job: Job) -> AsyncIterator[AsyncGenerator[bytes]]:
        """The JSON of an `ArtifactManifest`, in pieces: the files of the job so far; final once it has ended.

        Raises what `check_not_removed` raises.
        """
        async with self._place(job):
            async with self._turn(job):
                record = await self._manifest(job, REQUESTS, complete=job.status.terminal)
            with contextlib.closing(record):
                # Checked afterwards: files that retention removed meanwhile must not make the list shorter.
                check_not_removed(await self._registry.get(job.job_id))
                yield record.pieces()

    async def publish(self, job: Job, *, delete_others: bool) -> str:
        """Hashes the artifacts of an attempt that has ended, and keeps the manifest.

        `delete_others` deletes what is not published: the attempt has left more than its quota. Returns which
        of the files that the job must leave is not published, in a sentence; otherwise "".
        """
        record = await self._manifest(job, ENDS, complete=True, delete_others=delete_others)
        with contextlib.closing(record):
            return await asyncio.to_thread(_missing, record, job.artifacts) if job.artifacts else ""

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
            published = await open_artifact(self._attempt(job), path, complete=job.status.terminal)
        except AgentError:
            check_not_removed(await self._registry.get(job.job_id))
            raise
        with contextlib.closing(published.file):
            yield published

    async def find(self, job: Job, path: str) -> Artifact | None:
        """What the final list of a job that has ended has at a path."""
        record = await self._manifest(job, REQUESTS, complete=True)
        with contextlib.closing(record):
            found = await asyncio.to_thread(record.find, path)
        return found[0] if found else None

    async def measure(self, job: Job) -> Taken:
        """How much the job's attempt has in /artifacts now, and whether that exceeds its limits."""
        limits = self._settings.jobs.resolve(job.limits)
        return await in_thread(partial(measure, self._attempt(job).artifacts, limits))

    async def left(self, job: Job, taken: Taken) -> int | None:
        """The bytes of what an attempt has left, of which so much was `taken` before it was published.

        None where that cannot be counted.
        """
        remaining = await self.measure(job) if taken.excess else taken
        return None if remaining.excess else remaining.bytes

    def _attempt(self, job: Job) -> AttemptPaths:
        return self._settings.paths_of(job.job_id).attempt(job.attempt)

    async def _manifest(
        self, job: Job, pool: Executor, *, complete: bool, delete_others: bool = False
    ) -> Record:
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

    def _place(self, job: Job) -> contextlib.AbstractAsyncContextManager[Any]:
        """Bounds the manifests of an owner that are on the way to clients and kept nowhere else."""
        if job.status.terminal and self._attempt(job).manifest.exists():
            return contextlib.nullcontext()
        return self._sending.setdefault(job.owner, asyncio.Semaphore(MAX_SENDING))


def _missing(record: Record, wanted: list[str]) -> str:
    path = next((path for path in map(escape_path, wanted) if record.find(path) is None), None)
    if path is None:
        return ""
    reason = next((each.reason for each in record.head.left_out if each.path == path), "")
    return (
        f"{path} was not published: it {reason}." if reason else f"The job left no file {path} in /artifacts."
    )
