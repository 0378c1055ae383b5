"""What clients ask of models by name: moves aliases, and says what they point at."""

import os
from functools import partial

from ..audit.chain import Caller
from ..config import Settings
from ..errors import AgentError, Problem
from ..host.tasks import in_thread, to_its_end
from ..host.trees import measure
from ..jobs.results import Results
from ..model.alias import Alias, AliasHistory, Condition, NamedModel, NamedModelPage, no_such_alias
from ..model.base import new_job_id, now
from ..model.job import Job, JobState
from ..model.readers import Readers
from ..store.aliases import ModelStore


class Models:
    """The models of one host. Each deed is in the audit, in its own transaction."""

    def __init__(self, settings: Settings, store: ModelStore, results: Results) -> None:
        self._settings = settings
        self._store = store
        self._results = results

    async def get(self, model: str) -> NamedModel:
        """The model as last committed. Raises `AgentError` (model-not-found)."""
        return await self._store.get(model)

    async def page(self, *, reader: str | None, before: int | None, limit: int) -> NamedModelPage:
        """At most `limit` models, newest first, that one user may read, or all."""
        return await self._store.page(reader=reader, before=before, limit=limit)

    async def resolve(self, model: str, alias: str) -> Alias:
        """What an alias points at now. Raises `AgentError`: model-not-found, alias-not-found."""
        if (found := (await self.get(model)).find(alias)) is None:
            raise no_such_alias()
        return found

    async def history(self, model: str, alias: str) -> AliasHistory:
        """The newest moves of an alias. Raises `AgentError` (alias-not-found)."""
        return await self._store.history(model, alias)

    async def move(
        self, owner: str, model: str, alias: str, job: Job, path: str, *, condition: Condition, by: Caller
    ) -> Alias:
        """Points an alias of a model of `owner` at an artifact of the job, and keeps the job.

        Raises `AgentError`: not-completed, artifact-not-found, and what `ModelStore.move` raises.
        """
        if job.status is not JobState.COMPLETED:
            raise AgentError(
                Problem.NOT_COMPLETED,
                f"Job {job.job_id} is {job.status}, and an alias points at what a COMPLETED job has left.",
                "Wait for its end, or choose another job.",
            )
        async with self._results.opened(job, path) as file:
            assert file.sha256 is not None, "a file of a job that has ended has a digest"
            to = Alias(
                alias=alias,
                number=0,
                version=new_job_id(),
                job_id=job.job_id,
                path=path,
                size=file.size,
                sha256=file.sha256,
                media_type=file.media_type,
                moved_by=by.actor,
                moved_at=now(),
            )
        size, _ = await in_thread(partial(measure, self._settings.paths_of(job.job_id).directory))
        most = self._settings.retention.pin_limit(os.statvfs(self._settings.state_directory))
        move = self._store.move(owner, model, to, condition=condition, size=size, max_bytes=most, by=by)
        return await to_its_end(move)

    async def remove(self, model: str, alias: str, *, condition: Condition, by: Caller) -> Alias:
        """Removes an alias with its history, and with its last alias the model; returns what it was.

        Raises `AgentError`: model-not-found, alias-not-found, precondition-failed.
        """
        return await to_its_end(self._store.remove(model, alias, condition=condition, by=by))

    async def set_readers(self, model: str, readers: Readers, *, by: Caller) -> NamedModel:
        """Lets these users read the model, and nobody else. Raises `AgentError` (model-not-found)."""
        return await to_its_end(self._store.set_readers(model, readers, by=by))
