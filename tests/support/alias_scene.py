"""Jobs that have COMPLETED with an artifact, and aliases of models that point at them."""

from dataclasses import dataclass
from typing import Any

from agent.aliases.models import Models
from agent.audit.chain import Caller
from agent.config import Settings
from agent.model.alias import Alias, Condition
from agent.model.base import now
from agent.model.job import Job, JobState
from agent.store.store import Store
from tests.support.job_scene import Scene
from tests.support.jobs import make_job

ALICE = Caller(actor="alice", role="analyst", source="192.0.2.1")
PATH = "model.joblib"
ANYTIME = Condition()


@dataclass
class AliasScene:
    """One agent over a store."""

    settings: Settings
    store: Store

    @property
    def models(self) -> Models:
        """Those of a new agent."""
        return Scene(self.settings, self.store).jobs().models

    async def completed(self, content: bytes = b"", **fields: Any) -> Job:
        """A job that has left `content`, by default its own id."""
        job = make_job(status=JobState.COMPLETED, started_at=now(), finished_at=now(), **fields)
        artifacts = self.settings.paths_of(job.job_id).attempt(1).artifacts
        artifacts.mkdir(parents=True)
        (artifacts / PATH).write_bytes(content or job.job_id.encode())
        await self.store.jobs.add(job, max_waiting=1000)
        return job

    async def point(
        self,
        job: Job,
        alias: str = "champion",
        model: str = "churn",
        *,
        condition: Condition = ANYTIME,
        owner: str = "alice",
        by: Caller = ALICE,
    ) -> Alias:
        """Points an alias at what the job has left."""
        return await self.models.move(owner, model, alias, job, PATH, condition=condition, by=by)

    async def audited(self, action: str) -> list[dict[str, Any]]:
        """The rows of the audit about an action, the oldest first."""
        rows = [row.content() for row in await self.store.audit.newest(limit=1000)]
        return [row for row in rows if row["action"] == action]
