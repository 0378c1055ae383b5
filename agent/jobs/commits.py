"""Which commits may run now: reviewed, signed where the site wants that, and not withdrawn."""

from dataclasses import replace

from ..config import ScriptSettings
from ..errors import AgentError, FieldError, Problem
from ..model.job import Job
from ..model.script import ScriptList
from ..scripts.review import Review, Standing
from ..scripts.snapshots import Snapshots
from ..store.withdrawals import WithdrawalStore


class Commits:
    """Asked when a job is submitted, when it is run again, and when it starts."""

    def __init__(self, settings: ScriptSettings, snapshots: Snapshots, withdrawals: WithdrawalStore) -> None:
        self._snapshots = snapshots
        self._withdrawals = withdrawals
        self._review = Review(settings.repository, settings.review_rules)

    async def scripts(self, ref: str | None) -> ScriptList:
        """All scripts that can be run at a branch, tag or commit, by name."""
        commit, _ = await self.resolve(ref)
        return await self._snapshots.catalogue(commit)

    async def resolve(self, ref: str | None) -> tuple[str, Standing]:
        """The commit that a ref refers to, and what it may have. Raises what `standing` raises."""
        commit = await self._snapshots.resolve(ref)
        return commit, await self.standing(commit)

    async def standing(self, commit: str) -> Standing:
        """What a commit may have now. Raises `AgentError`: ref-not-found, commit-refused, host."""
        if withdrawal := await self._withdrawals.get(commit):
            raise AgentError(
                Problem.COMMIT_REFUSED,
                withdrawal.sentence(),
                "Run another commit, or ask the operator to restore this one.",
                (FieldError("ref", "was withdrawn"),),
            )
        return await self._review.standing(commit)

    async def standing_of(self, job: Job) -> Standing:
        """The same for the commit of a job, in words for those who have named no ref."""
        try:
            return await self.standing(job.commit)
        except AgentError as error:
            if error.problem is Problem.COMMIT_REFUSED:
                raise replace(error, fields=()) from error
            if error.problem is Problem.REF_NOT_FOUND:
                raise AgentError(
                    Problem.REF_NOT_FOUND,
                    f"The scripts of job {job.job_id}, at commit {job.commit}, can no longer be found.",
                    "Submit the script as a new job, which runs the current commit.",
                ) from error
            raise
