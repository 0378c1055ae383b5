"""What the API asks about more than one job: sweeps, comparisons, schedules, shares, and models by name."""

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Protocol, TypeVar

from ..audit.chain import Caller, Deed
from ..model.alias import Alias, AliasHistory, Condition, NamedModel, NamedModelPage
from ..model.base import Model
from ..model.comparison import Comparison, JobDifference, MeasuredJob
from ..model.job import Job, JobPage, JobState
from ..model.readers import Readers
from ..model.schedule import (
    Schedule,
    SchedulePage,
    SchedulePreview,
    ScheduleRequest,
    ScheduleRun,
    ScheduleRunPage,
)
from ..model.search import JobSearch
from ..model.sweep import Objective, Sweep, SweepPage, SweepRequest, SweepRerun, SweepState, TrialPage

FedT = TypeVar("FedT", bound=Model, covariant=True)


class Feed(Protocol[FedT]):
    """Values of one kind as they change. An `owner` of None stands for all owners."""

    async def newest(self, *, owner: str | None, limit: int) -> Sequence[FedT]:
        """The values that were made last, the newest one last."""

    async def newest_change(self) -> int:
        """The number of the newest change of any of them."""

    async def changed(self, after: int, *, owner: str | None, limit: int) -> tuple[int, Sequence[FedT]]:
        """The first ones that have changed after that number, and the number of the last of them."""


class Sweeps(Feed[Sweep], Protocol):
    """The sweeps. An `owner` of None stands for all owners. A sweep that is returned is on disk."""

    async def submit(
        self,
        owner: str,
        request: SweepRequest,
        *,
        idempotency_key: str | None,
        by: Caller,
        may_read: Callable[[Job | NamedModel], bool],
    ) -> Sweep:
        """Checks the request and accepts the sweep, as `Submissions.submit` does a job."""

    async def rerun(
        self, owner: str, earlier: Sweep, changes: SweepRerun, *, idempotency_key: str | None, by: Caller
    ) -> Sweep:
        """Accepts a new sweep of `owner` that is as `earlier`, apart from the changes."""

    async def get(self, sweep_id: str) -> Sweep:
        """The newest revision of a sweep. Raises sweep-not-found."""

    async def page(
        self, *, owner: str | None, status: SweepState | None, before: int | None, limit: int
    ) -> SweepPage:
        """At most `limit` sweeps, newest first; `before` is the number in a `next_cursor`."""

    async def trials(self, sweep_id: str, *, after: int, limit: int) -> TrialPage:
        """At most `limit` trials with higher numbers than `after`, in order."""

    async def cancel(self, sweep_id: str, *, by: Caller) -> Sweep:
        """Ends a sweep and cancels its trials. Cancelling again changes nothing."""

    async def pause(self, sweep_id: str, *, by: Caller) -> Sweep:
        """Makes no more trials for now. Raises sweep-ended."""

    async def resume(self, sweep_id: str, *, by: Caller) -> Sweep:
        """Makes trials again. Raises sweep-ended."""

    async def extend(self, sweep_id: str, trials: int, *, by: Caller) -> Sweep:
        """Lets the sweep have so many trials in all. Raises sweep-ended, and invalid-request for fewer."""

    async def pin(self, sweep_id: str, *, pinned: bool, by: Caller) -> Sweep:
        """Protects a sweep with all its trials from retention, or no longer does."""


class Comparisons(Protocol):
    """Jobs side by side."""

    async def jobs(self, job_ids: Sequence[str]) -> list[MeasuredJob]:
        """The jobs with these ids, in their order; an id that no job has is left out."""

    async def search(self, search: JobSearch) -> JobPage:
        """A page of jobs by labels and metrics."""

    async def trials(self, sweep_id: str) -> list[MeasuredJob]:
        """The trials of a sweep, in their order."""

    async def compared(self, jobs: Sequence[MeasuredJob], objective: Objective | None) -> Comparison:
        """The jobs side by side, and the best of them by the objective."""

    async def difference(self, a: MeasuredJob, b: MeasuredJob) -> JobDifference:
        """In what two jobs differ, and what that did to their metrics."""

    async def csv(self, comparison: Comparison) -> AsyncGenerator[bytes]:
        """The comparison as CSV, in pieces. Raises invalid-request for too large a table."""

    async def parquet(self, comparison: Comparison) -> bytes:
        """The comparison as Parquet. Raises not-acceptable where this host cannot write it."""


class Schedules(Feed[Schedule], Protocol):
    """The schedules. An `owner` of None stands for all owners. A schedule that is returned is on disk."""

    async def preview(self, owner: str, request: ScheduleRequest) -> SchedulePreview:
        """The next times of a schedule. Raises what `create` raises; nothing is made."""

    async def create(
        self, owner: str, request: ScheduleRequest, *, idempotency_key: str | None, by: Caller
    ) -> Schedule:
        """Checks the request and accepts the schedule. Nothing is left behind where this raises."""

    async def get(self, schedule_id: str) -> Schedule:
        """The newest revision of a schedule, with its next times. Raises schedule-not-found."""

    async def page(self, *, owner: str | None, before: int | None, limit: int) -> SchedulePage:
        """At most `limit` schedules, newest first; `before` is the number in a `next_cursor`."""

    async def runs(self, schedule_id: str, *, before: int | None, limit: int) -> ScheduleRunPage:
        """At most `limit` runs, newest first; `before` is the number in a `next_cursor`."""

    async def pause(self, schedule_id: str, *, by: Caller) -> Schedule:
        """Makes no more runs for now."""

    async def resume(self, schedule_id: str, *, by: Caller) -> Schedule:
        """Makes runs again, also of a schedule that was suspended."""

    async def run(self, schedule_id: str, *, by: Caller) -> ScheduleRun:
        """Makes a run at once."""

    async def remove(self, schedule_id: str, *, by: Caller) -> Schedule:
        """Removes a schedule and the record of its runs; what they have become stays."""


class Shares(Protocol):
    """What users let others read. A job or a sweep has its `readers` when it is read by itself."""

    async def share(self, subject: str, readers: Readers, *, deed: Deed) -> None:
        """Lets these users read the job or the sweep with that id, and nobody else."""

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
        """At most `limit` jobs that others share with the user, newest first."""

    async def sweeps(
        self, user: str, *, owner: str | None, status: SweepState | None, before: int | None, limit: int
    ) -> SweepPage:
        """At most `limit` sweeps that others share with the user, newest first."""


class Models(Protocol):
    """Models by name. What is returned is on disk."""

    async def get(self, model: str) -> NamedModel:
        """The newest revision of a model. Raises model-not-found."""

    async def page(self, *, reader: str | None, before: int | None, limit: int) -> NamedModelPage:
        """At most `limit` models, newest first, that one user may read, or, with None, all."""

    async def resolve(self, model: str, alias: str) -> Alias:
        """What an alias points at now. Raises model-not-found, alias-not-found."""

    async def history(self, model: str, alias: str) -> AliasHistory:
        """The newest moves of an alias. Raises alias-not-found."""

    async def move(
        self, owner: str, model: str, alias: str, job: Job, path: str, *, condition: Condition, by: Caller
    ) -> Alias:
        """Points an alias at an artifact of a job that has COMPLETED, and makes what is missing for `owner`.

        Raises forbidden where another user has the model, precondition-failed, not-completed,
        artifact-not-found, too-many-models, too-many-pinned.
        """

    async def remove(self, model: str, alias: str, *, condition: Condition, by: Caller) -> Alias:
        """Removes an alias, and with its last one the model. Raises precondition-failed."""

    async def set_readers(self, model: str, readers: Readers, *, by: Caller) -> NamedModel:
        """Lets these users read the model, and nobody else."""
