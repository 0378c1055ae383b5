"""Models by name, in memory: what `agent.backend.Models` promises, and nothing of how the agent does it."""

from agent.audit.chain import Caller, Deed
from agent.backend import Artifacts
from agent.errors import AgentError, Problem
from agent.model.alias import (
    Alias,
    AliasHistory,
    Condition,
    NamedModel,
    NamedModelPage,
    name_taken,
    no_such_alias,
    no_such_model,
)
from agent.model.base import new_job_id, now
from agent.model.job import Job, JobState
from agent.model.readers import Readers


class MemoryModels:
    """Models, oldest first. Nothing bounds them, and nothing keeps their jobs."""

    def __init__(self, artifacts: Artifacts, deeds: list[Deed]) -> None:
        self._records: dict[str, NamedModel] = {}
        self._moves: dict[tuple[str, str], list[Alias]] = {}
        self._artifacts = artifacts
        self._deeds = deeds

    async def get(self, model: str) -> NamedModel:
        if model not in self._records:
            raise no_such_model()
        return self._records[model]

    async def page(self, *, reader: str | None, before: int | None, limit: int) -> NamedModelPage:
        found = [
            (number, each)
            for number, each in reversed(list(enumerate(self._records.values())))
            if (reader in (None, each.owner) or each.readers.include(str(reader)))
            and (before is None or number < before)
        ]
        more = str(found[limit - 1][0]) if len(found) > limit else None
        return NamedModelPage(models=[each for _, each in found[:limit]], next_cursor=more)

    async def resolve(self, model: str, alias: str) -> Alias:
        if (found := (await self.get(model)).find(alias)) is None:
            raise no_such_alias()
        return found

    async def history(self, model: str, alias: str) -> AliasHistory:
        await self.resolve(model, alias)
        return AliasHistory(moves=self._moves[model, alias])

    async def move(
        self, owner: str, model: str, alias: str, job: Job, path: str, *, condition: Condition, by: Caller
    ) -> Alias:
        if job.status is not JobState.COMPLETED:
            raise AgentError(Problem.NOT_COMPLETED, f"Job {job.job_id} is {job.status}.")
        async with self._artifacts.opened(job, path) as file:
            found = {"size": file.size, "sha256": str(file.sha256), "media_type": file.media_type}
        named = self._records.get(model) or NamedModel(model=model, owner=owner, created_at=now(), revision=0)
        if named.owner != owner:
            raise name_taken()
        before = named.find(alias)
        to = Alias(
            alias=alias,
            number=before.number + 1 if before else 1,
            version=new_job_id(),
            job_id=job.job_id,
            path=path,
            moved_by=by.actor,
            moved_at=now(),
            **found,
        )
        if before is not None and before.same_artifact(to):
            return before
        condition.check(before.version if before else None)
        self._moves.setdefault((model, alias), []).insert(0, to)
        self._change(named, to.alias, [to], by.did("setAlias", f"{model}/{alias}"))
        return to

    async def remove(self, model: str, alias: str, *, condition: Condition, by: Caller) -> Alias:
        before = await self.resolve(model, alias)
        condition.check(before.version)
        self._change(self._records[model], alias, [], by.did("removeAlias", f"{model}/{alias}"))
        if not self._records[model].aliases:
            del self._records[model]
        del self._moves[model, alias]
        return before

    def _change(self, named: NamedModel, alias: str, to: list[Alias], deed: Deed) -> None:
        aliases = sorted(
            [*(each for each in named.aliases if each.alias != alias), *to], key=lambda each: each.alias
        )
        self._put(named.model_copy(update={"aliases": aliases}), deed)

    def _put(self, named: NamedModel, deed: Deed) -> NamedModel:
        self._deeds.append(deed)
        self._records[named.model] = named.model_copy(update={"revision": named.revision + 1})
        return self._records[named.model]

    async def set_readers(self, model: str, readers: Readers, *, by: Caller) -> NamedModel:
        named = await self.get(model)
        if named.readers.names == readers.names:
            return named
        return self._put(named.model_copy(update={"readers": readers}), by.did("setModelReaders", model))
