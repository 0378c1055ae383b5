"""Inputs: artifacts of earlier jobs, copied for each attempt of the job that needs them, and checked.

A job sees copies of its own, whose very bytes have been hashed: whatever becomes of the artifact afterwards
does not reach it. The job that left an artifact may have been hostile: nothing is followed, and only a
regular file is read, as for clients.
"""

import errno
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

from ..config import Settings
from ..errors import AgentError, FieldError, Problem, invalid_request
from ..host.tasks import StoppedError, in_thread
from ..host.trees import remove
from ..model.base import format_bytes, one_line
from ..model.inputs import JobInput, NamedInput
from ..model.job import Job, JobRequest, JobState
from ..store.aliases import ModelStore
from .artifacts import ENDS, hash_file, open_beneath
from .attempt import storage_full
from .quota import REMOVED_AT_ONCE, room_left
from .registry import Registry
from .requests import MayRead, known_job
from .results import Results

COPIED_AT_ONCE = 2**26  # bytes
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)

Source = Callable[[], BinaryIO]  # raises `OSError` or `ValueError` where there is no such file


class _RefusedError(Exception):
    """What a request names as an input cannot be one: which member is wrong, and why."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(why)
        self.field, self.why = field, why


class Inputs:
    """Checks the inputs of requests, settles which bytes they are, and lays them out for an attempt."""

    def __init__(self, settings: Settings, registry: Registry, results: Results, models: ModelStore) -> None:
        self._settings = settings
        self._models = models
        self._registry = registry
        self._results = results

    # Which bytes they are

    async def check(self, request: JobRequest, may_read: MayRead) -> dict[str, JobInput]:
        """The inputs of a new job, settled unless their job is in `after` and has not ended.

        Raises `AgentError` (invalid-request) that names each input that cannot be had.
        """
        wrong: list[FieldError] = []
        found: dict[str, JobInput] = {}
        for name, wanted in request.inputs.items():
            try:
                found[name] = await self._asked(name, wanted, request.after, may_read)
            except _RefusedError as refused:
                wrong.append(FieldError(f"inputs.{name}.{refused.field}", refused.why))
        if wrong:
            raise invalid_request("The job cannot have these inputs.", fields=tuple(wrong))
        self._check_size(found.values())
        return found

    async def _asked(
        self, name: str, wanted: NamedInput, after: Sequence[str], may_read: MayRead
    ) -> JobInput:
        if wanted.model is not None and wanted.alias is not None:
            return await self._of_alias(wanted.model, wanted.alias, may_read)
        assert wanted.job_id is not None
        assert wanted.path is not None
        job = await known_job(self._registry.get, wanted.job_id, may_read)
        if why := _objection(job, wanted.job_id, after):
            raise _RefusedError("job_id", why)
        found = JobInput(job_id=wanted.job_id, path=wanted.path)
        if job is None or job.status is not JobState.COMPLETED:
            return found
        try:
            return await self._settled(name, found)
        except AgentError as error:
            raise _RefusedError("path", error.message) from error

    async def _of_alias(self, name: str, alias: str, may_read: MayRead) -> JobInput:
        """What the alias points at now. Whoever may read a model may read that, but not its job."""
        try:
            model = await self._models.get(name)
        except AgentError as error:
            if error.problem is not Problem.MODEL_NOT_FOUND:
                raise
            model = None
        if model is None or not may_read(model):
            raise _RefusedError("model", f"must be a model that you may read; {name} is none")
        if (found := model.find(alias)) is None:
            raise _RefusedError("alias", f"must be an alias of {name}; {alias} is none")
        same = ("job_id", "path", "size", "sha256", "alias")
        return JobInput(model=name, **{each: getattr(found, each) for each in same})

    async def check_again(self, earlier: Job) -> dict[str, JobInput]:
        """The inputs of a job that is run again: the same bytes. Raises `AgentError` (input-missing)."""
        copies = self._copies(earlier)
        return {
            name: each if each.sha256 and (copies / name).is_file() else await self._settled(name, each)
            for name, each in earlier.inputs.items()
        }

    async def settle(self, job: Job) -> tuple[str, dict[str, JobInput]]:
        """The inputs of a job that is to start, all settled; or why it never starts, in a sentence.

        That is where a job that it waited for has not COMPLETED, or has not left an input.
        """
        if why := await self._registry.unmet(job):
            return why, {}
        if all(each.sha256 for each in job.inputs.values()):
            return "", job.inputs
        try:
            settled = {name: await self._settled(name, each) for name, each in job.inputs.items()}
            self._check_size(settled.values())
        except AgentError as error:
            if error.problem not in (Problem.INPUT_MISSING, Problem.INVALID_REQUEST):
                raise
            return one_line(": ".join([error.message, *(each.message for each in error.fields)])), {}
        return "", settled

    async def _settled(self, name: str, wanted: JobInput) -> JobInput:
        """The input with the size and the SHA-256 that the final list of artifacts has."""
        job = await known_job(self._registry.get, wanted.job_id, lambda _: True)
        artifact = None
        if job and job.status is JobState.COMPLETED and not job.removed:
            artifact = await self._results.find(job, wanted.path)
        if artifact is None or wanted.sha256 not in (None, artifact.sha256):
            raise _missing(name, wanted, "has another SHA-256" if artifact else "is not there")
        return wanted.model_copy(update={"sha256": artifact.sha256, "size": artifact.size})

    def _check_size(self, inputs: Iterable[JobInput]) -> None:
        most = self._settings.jobs.max_input_bytes
        if (size := sum(each.size or 0 for each in inputs)) > most:
            why = f"have {format_bytes(size)} together; a job of this host may have {format_bytes(most)}"
            raise invalid_request("The inputs are too large.", fields=(FieldError("inputs", why),))

    # What the job sees

    async def lay_out(self, job: Job) -> Path | None:
        """Copies the inputs into the directory of the job's attempt, and returns that; None without inputs.

        Raises `AgentError`: input-missing where the bytes are not those of the record, storage-full.
        """
        if not job.inputs:
            return None
        free, floor = room_left(self._settings)
        if free.bytes - sum(each.size or 0 for each in job.inputs.values()) < floor.bytes:
            place = self._settings.state_directory
            why = f"The job waits until {place} has room for its inputs and {floor} free."
            raise AgentError(Problem.STORAGE_FULL, why)
        directory = self._copies(job)
        with storage_full():
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, wanted in job.inputs.items():
            sources = await self._sources(job, name, wanted)
            await in_thread(partial(_lay_out, directory, name, wanted, sources))
        return directory

    async def _sources(self, job: Job, name: str, wanted: JobInput) -> list[Source]:
        """Where the bytes may be: the artifact, and the copy of the job that this one runs again."""
        sources: list[Source] = []
        if upstream := await known_job(self._registry.get, wanted.job_id, lambda _: True):
            attempt = self._settings.paths_of(upstream.job_id).attempt(upstream.attempt)
            sources.append(partial(open_beneath, attempt.artifacts, wanted.path))
        if job.rerun_of and (earlier := await known_job(self._registry.get, job.rerun_of, lambda _: True)):
            sources.append(partial(open_beneath, self._copies(earlier), name))
        return sources

    async def drop(self, job: Job) -> None:
        """Deletes the copies of an attempt after which the job is tried again. Raises `AgentError`."""
        with storage_full():
            await in_thread(partial(_remove, self._copies(job)), pool=ENDS)

    def _copies(self, job: Job) -> Path:
        return self._settings.paths_of(job.job_id).attempt(job.attempt).inputs


def _objection(job: Job | None, job_id: str, after: Sequence[str]) -> str:
    """Why no input can come from that job; "" if one can."""
    if job is None:
        return f"must be a job that you may read; {job_id} is none"
    if job.status is not JobState.COMPLETED and job_id not in after:
        return f"must be a job that has COMPLETED or is in `after`; {job_id} is {job.status}"
    return ""


def _lay_out(
    directory: Path, name: str, wanted: JobInput, sources: Iterable[Source], stop: threading.Event
) -> None:
    """Makes the copy, unless it is there, from the first of the sources that has the right bytes."""
    target, new = directory / name, directory / f".{name}"
    if target.exists() and _digest(target, wanted, stop) == wanted.sha256:
        return  # by an agent that ended before it could start the job
    why = "is not there"
    try:
        for source in sources:
            try:
                _copy(source, new, wanted, stop)
            except (OSError, ValueError) as error:
                if isinstance(error, OSError) and error.errno in NO_ROOM:
                    raise AgentError(
                        Problem.STORAGE_FULL, f"The job's inputs have no room: {error}."
                    ) from error
                continue
            if _digest(new, wanted, stop) == wanted.sha256:
                new.replace(target)
                return
            why = f"does not have the SHA-256 {wanted.sha256} any more"
    finally:
        new.unlink(missing_ok=True)
    raise _missing(name, wanted, why)


def _copy(source: Source, target: Path, wanted: JobInput, stop: threading.Event) -> None:
    """Copies as many bytes as the record says: by reference, where the file system can. Raises `OSError`."""
    target.unlink(missing_ok=True)
    left = wanted.size or 0
    with source() as file, open(target, "xb", opener=partial(os.open, mode=0o400)) as copy:
        while left:
            if stop.is_set():
                raise StoppedError
            done = os.copy_file_range(file.fileno(), copy.fileno(), min(left, COPIED_AT_ONCE))
            if not done:
                return
            left -= done


def _digest(path: Path, wanted: JobInput, stop: threading.Event) -> str:
    with path.open("rb") as file:
        return hash_file(file, wanted.size or 0, stop)[1]


def _remove(directory: Path, stop: threading.Event) -> None:
    while not remove(directory, REMOVED_AT_ONCE):
        if stop.is_set():
            raise StoppedError


def _missing(name: str, wanted: JobInput, why: str) -> AgentError:
    return AgentError(
        Problem.INPUT_MISSING,
        f"Input {name}: the artifact {wanted.path} of job {wanted.job_id} {why}.",
        "`ml-job artifacts` lists what a job has left; `ml-job pin` keeps it.",
    )
