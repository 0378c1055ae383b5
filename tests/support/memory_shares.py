"""What is shared, in memory: what `agent.backend.Shares` promises."""

from collections.abc import Mapping

from agent.audit.chain import Deed
from agent.model.job import Job, JobPage, JobState
from agent.model.readers import Readers
from agent.model.sweep import Sweep, SweepPage, SweepState


class MemoryShares:
    """The readers of jobs and of sweeps, by id. Pages have all that there is."""

    def __init__(self, deeds: list[Deed]) -> None:
        self.job_records: Mapping[str, Job] = {}
        self.sweep_records: Mapping[str, Sweep] = {}
        self._readers: dict[str, Readers] = {}
        self._deeds = deeds

    def of(self, subject: str) -> Readers | None:
        """Who may read it; None where nobody else may."""
        return self._readers.get(subject)

    async def share(self, subject: str, readers: Readers, *, deed: Deed) -> None:
        if (self.of(subject) or Readers()).names == readers.names:
            return
        self._deeds.append(deed)
        self._readers[subject] = readers
        if not readers.names:
            del self._readers[subject]

    def _with(self, subject: str, owner: str, user: str) -> bool:
        readers = self.of(subject)
        return owner != user and readers is not None and readers.include(user)

    async def jobs(
        self,
        user: str,
        *,
        owner: str | None,
        status: JobState | None,
        script: str | None,
        before: int | None,
        limit: int,
    ) -> JobPage:
        shared = [each for each in self.job_records.values() if self._with(each.job_id, each.owner, user)]
        return JobPage(jobs=[each for each in reversed(shared) if owner in (None, each.owner)])

    async def sweeps(
        self, user: str, *, owner: str | None, status: SweepState | None, before: int | None, limit: int
    ) -> SweepPage:
        shared = [each for each in self.sweep_records.values() if self._with(each.sweep_id, each.owner, user)]
        return SweepPage(sweeps=[each for each in reversed(shared) if owner in (None, each.owner)])
