"""What the API asks of the parts behind it: jobs, lines, files and events, wherever they are kept.

Each method raises `AgentError` with the problem that the client is told. `by` is who asks, for the audit.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol, TypeVar

from .audit.chain import Caller, Deed
from .logs.lines import Item, Position
from .model.alias import Alias, AliasHistory, Condition, NamedModel, NamedModelPage
from .model.base import Model, SecretName, UserName
from .model.comparison import Comparison, JobDifference, MeasuredJob
from .model.event import Change, History
from .model.fleet import (
    GivenJob,
    HeldSecret,
    HeldSecrets,
    RemovedSecret,
    Reseal,
    Resealed,
    Room,
    SealedSecret,
    SecretNews,
    ToldJobs,
)
from .model.host import Host, QueuePlace, Usage
from .model.job import Job, JobPage, JobRequest, JobState, Rerun
from .model.member import (
    MemberClaimed,
    MemberClaims,
    MemberConfirmation,
    MemberHold,
    MemberJoined,
    MemberOffer,
    MemberProjection,
    MemberRelease,
    MemberReport,
    MemberSecret,
    MemberSecretOf,
    MemberSecrets,
    MemberStep,
)
from .model.metric import JobMetrics, MetricPoint, Progress
from .model.readers import Readers
from .model.schedule import (
    Schedule,
    SchedulePage,
    SchedulePreview,
    ScheduleRequest,
    ScheduleRun,
    ScheduleRunPage,
)
from .model.script import ScriptList
from .model.search import JobSearch
from .model.secret import SecretChange, SecretEntry
from .model.sweep import Objective, Sweep, SweepPage, SweepRequest, SweepRerun, SweepState, TrialPage

# Who asks at this moment. A backend that passes a call on to a host does so on behalf of this client.
FedT = TypeVar("FedT", bound=Model, covariant=True)
ASKING: ContextVar[Caller] = ContextVar("asking")


class Submissions(Protocol):
    """Accepts jobs. A job that is returned is on disk."""

    async def submit(
        self,
        owner: str,
        request: JobRequest,
        *,
        idempotency_key: str | None,
        by: Caller,
        may_read: Callable[[Job | NamedModel], bool],
    ) -> Job:
        """Checks the request and accepts the job. Nothing is left behind where this raises.

        The request may name the jobs and models that `may_read` answers for.
        """

    async def rerun(
        self, owner: str, earlier: Job, changes: Rerun, *, idempotency_key: str | None, by: Caller
    ) -> Job:
        """Accepts a new job of `owner` that runs what `earlier` ran, apart from the changes."""


class ScriptCatalogue(Protocol):
    """The scripts that can be run."""

    async def scripts(self, ref: str | None) -> ScriptList:
        """The scripts at a branch, tag or commit; None is the site's default."""


class JobRecords(Protocol):
    """The jobs and the queue. An `owner` of None stands for all owners."""

    async def get(self, job_id: str) -> Job:
        """The newest revision of a job, with its place in the queue. Raises job-not-found."""

    async def page(
        self,
        *,
        owner: str | None,
        status: JobState | None,
        script: str | None,
        cursor: str | None,
        limit: int,
    ) -> JobPage:
        """At most `limit` jobs, newest first, from a `next_cursor` on, which the API has opened."""

    async def cancel(self, job_id: str, *, by: Caller) -> Job:
        """Asks for the end of a job. A waiting job ends at once; cancelling again changes nothing."""

    async def pin(self, job_id: str, *, pinned: bool, by: Caller) -> Job:
        """Protects a job from retention, or no longer does."""

    async def with_place(self, job: Job) -> Job:
        """The job with its place in the queue, if it waits."""

    async def running(self, owner: str | None) -> list[Job]:
        """The jobs that were started and have not ended."""

    async def places(self, owner: str | None, limit: int) -> dict[str, QueuePlace]:
        """The places of the first `limit` waiting jobs, by job id, in order."""


class HostState(Protocol):
    """The machine, or machines, that the jobs run on."""

    async def overview(self, user: str | None) -> Host:
        """Capacity, use and queue; the share of one user, or, with None, of each."""

    async def usage(self, job: Job) -> Usage:
        """The CPU time, memory and tasks that a job uses now."""


class ArtifactFile(Protocol):
    """One open artifact."""

    @property
    def size(self) -> int:
        """In bytes."""

    @property
    def sha256(self) -> str | None:
        """In lowercase hexadecimal; None while the job runs, and may write the file anew."""

    @property
    def media_type(self) -> str:
        """For the Content-Type header."""

    def read(self, start: int, stop: int) -> AsyncGenerator[bytes]:
        """The bytes from `start` up to `stop`, in chunks; fewer if the file has changed meanwhile."""


class Artifacts(Protocol):
    """The files that jobs leave behind. Raises removed-by-retention once they are gone."""

    def manifest(self, job: Job) -> AbstractAsyncContextManager[AsyncGenerator[bytes]]:
        """The JSON of an `ArtifactManifest`, in pieces: the files so far; final once the job has ended."""

    def opened(self, job: Job, path: str) -> AbstractAsyncContextManager[ArtifactFile]:
        """One of these files, open inside the context. Raises artifact-not-found."""


class LogReader(Protocol):
    """One client's way through the log of one job. Each call continues where the one before stopped.

    Close each generator (`contextlib.aclosing`) before the next call.
    """

    def history(self, *, newest: int | None = None) -> AsyncGenerator[list[Item]]:
        """What there is of the log now; if the job has ended, all of it.

        With `newest`, lines before the last `newest` lines that the job itself printed may be left out.
        """

    def follow(self) -> AsyncGenerator[list[Item]]:
        """What there is, then each line as it is printed, up to the last line of a job that has ended."""

    def output(self) -> AsyncGenerator[bytes]:
        """What the job itself has printed so far, byte for byte, from the beginning."""


class Logs(Protocol):
    """The logs of jobs, wherever they are kept."""

    async def reader(self, job: Job, after: Position) -> LogReader:
        """A reader that begins behind a position. Raises removed-by-retention."""


class Reported(Protocol):
    """The progress and metrics that a running job has reported so far. An equal object is the same report."""

    @property
    def progress(self) -> Progress | None:
        """The newest progress."""

    @property
    def newest(self) -> Mapping[str, MetricPoint]:
        """The newest point of each metric, by name."""


class Metrics(Protocol):
    """What jobs report about themselves."""

    async def metrics(self, job: Job) -> JobMetrics:
        """Everything that the job has reported."""

    def followed(self, job: Job) -> AbstractAsyncContextManager[Reported]:
        """What a running job reports, kept up to date inside the context."""


class ChangeFeed(Protocol):
    """Every change of every job, numbered. Read `after` and `of`, and await `changed`, inside `watched`."""

    def watched(self) -> AbstractAsyncContextManager[None]:
        """Changes are collected while anybody is inside the context."""

    async def history(self) -> History:
        """Which changes are known."""

    async def current(self, *, owner: str | None, ended: int) -> tuple[History, AsyncIterator[list[Change]]]:
        """All jobs that have not ended and the newest `ended` others, in portions."""

    async def missed(self, seq: int, *, owner: str | None, limit: int) -> int:
        """How many jobs have changed after `seq`, counted up to `limit`."""

    async def after(self, seq: int, *, owner: str | None) -> tuple[int, list[Change]]:
        """The next changes after `seq`, in order, and the number up to which they are complete."""

    async def of(self, job_id: str, seq: int) -> tuple[int, Change | None]:
        """The newest change of one job, if it is after `seq`, and the number up to which that holds."""

    async def changed(self, seen: int, seconds: float) -> None:
        """Waits for a change of any job after `seen`, but at most so many seconds."""

    async def newer(self, job: Job) -> Job:
        """Waits until the job has a newer revision, or has ended; returns its newest revision."""

    async def ended(self, job: Job) -> Job:
        """Waits until the job has ended; returns its last revision."""


class UserSecrets(Protocol):
    """The secrets of users. No method returns a value."""

    async def of(self, user: UserName) -> list[SecretEntry]:
        """The secrets that the user's jobs may get: the user's own and those for everybody."""

    async def set(self, name: SecretName, value: bytes, *, by: Caller) -> SecretChange:
        """Sets a secret of the caller's own."""

    async def remove(self, name: SecretName, *, by: Caller) -> SecretEntry:
        """Removes a secret of the caller's own. Raises secret-not-found."""


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


class FleetHost(Protocol):
    """What the programs of a fleet ask of one of its hosts."""

    async def take(self, owner: str, job: GivenJob, *, by: Caller) -> Job:
        """Accepts a job under the fleet's id. The same id and key again return the job that is known."""

    async def check(self, owner: str, request: JobRequest) -> Job:
        """The job that the request would become. Nothing is accepted."""

    async def withdraw(self, job_id: str, *, by: Caller) -> Job:
        """Ends a job that has never begun. Raises not-waiting."""

    async def tell(self, told: ToldJobs) -> None:
        """The fleet has heard of the ends of these jobs: the host's retention may remove them."""
        ...

    async def room(self) -> Room:
        """What the host can still give."""

    async def drain(self, *, draining: bool, by: Caller) -> Room:
        """Starts no more jobs, or does so again."""


class FleetSecrets(Protocol):
    """The secrets that a fleet brings to one of its hosts, sealed. They are those of the user `by`."""

    async def held(self) -> HeldSecrets:
        """Every secret that this host has."""

    async def take(self, name: SecretName, sealed: SealedSecret, *, by: Caller) -> HeldSecret:
        """Opens and stores a secret. Raises secret-outdated for an older version than the newest known."""

    async def remove(self, name: SecretName, removed: RemovedSecret, *, by: Caller) -> None:
        """Removes a secret that the fleet set. Raises secret-outdated."""

    async def reseal(self, asked: Reseal, *, by: Caller) -> Resealed:
        """Seals keys of secrets for another host of the fleet. Raises forbidden for any other."""


class FleetMembers(Protocol):
    """What the members of a fleet ask of a front. `host` is the one that the member's certificate names.

    What a member says of a job that its host does not have is answered "stale", and changes nothing.
    """

    async def check(self, host: str) -> None:
        """Asked before each call. Raises `AgentError` (certificate-refused) for a host that is barred."""

    async def join(self, host: str, report: MemberReport) -> MemberJoined:
        """A host's word that it is there, and what it offers."""

    async def back(self, host: str, epoch: str) -> bool:
        """A host that was forgotten has ended what it had; False where it was forgotten once more."""

    async def claim_next(self, host: str, offer: MemberOffer) -> MemberClaimed:
        """Claims the job whose turn it is among those that the host can run now."""

    async def claims_of(self, host: str, after: str) -> MemberClaims:
        """The host's claims with ids behind `after`, as many as one answer may have."""

    async def confirm(self, host: str, asked: MemberConfirmation) -> MemberStep:
        """Whether a claim still holds, right before the job is given to the host's agent."""

    async def acknowledge(self, host: str, hold: MemberHold) -> MemberStep:
        """The host's agent has the job."""

    async def release(self, host: str, release: MemberRelease) -> MemberStep:
        """The host's agent will never have the job."""

    async def project(self, host: str, told: MemberProjection) -> MemberStep:
        """A revision of a job. Raises forbidden for a job that names another host or owner."""

    async def secret_news(self, host: str, after: int) -> SecretNews:
        """What has changed of users' secrets after a number. Waits a little for something new."""
        ...

    async def sealed_secret(self, host: str, asked: MemberSecretOf) -> MemberSecret:
        """A user's secret in its newest version, sealed for the host."""
        ...

    async def share_keys(self, asked: Reseal) -> int:
        """Keys that one host has sealed for another one; how many of them were still wanted."""
        ...

    async def tell_secrets(self, host: str, told: MemberSecrets) -> None:
        """Which secrets the host has."""
        ...


@dataclass(frozen=True)
class Backend:
    """Everything behind the API. A host outside of any fleet has no `fleet` and no `fleet_secrets`.

    Only a front has `members`. It has no `sweeps`, no `schedules`, no `comparisons`, no `models` and no
    `shares`.
    """

    submissions: Submissions
    scripts: ScriptCatalogue
    jobs: JobRecords
    host: HostState
    artifacts: Artifacts
    logs: Logs
    metrics: Metrics
    changes: ChangeFeed
    secrets: UserSecrets
    fleet: FleetHost | None = None
    fleet_secrets: FleetSecrets | None = None
    members: FleetMembers | None = None
    sweeps: Sweeps | None = None
    comparisons: Comparisons | None = None
    schedules: Schedules | None = None
    models: Models | None = None
    shares: Shares | None = None
