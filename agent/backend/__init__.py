"""What the API asks of the parts behind it: jobs, lines, files and events, wherever they are kept.

Each method raises `AgentError` with the problem that the client is told. `by` is who asks, for the audit.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

from ..audit.chain import Caller
from ..logs.lines import Item, Position
from ..model.alias import NamedModel
from ..model.base import SecretName, UserName
from ..model.event import Change, History
from ..model.host import Host, QueuePlace, Usage
from ..model.job import Job, JobPage, JobRequest, JobState, Rerun
from ..model.metric import JobMetrics, MetricPoint, Progress
from ..model.monitoring import Live
from ..model.script import ScriptList
from ..model.secret import SecretChange, SecretEntry
from ..model.usage import Period, UsageKey, UsageReport
from .experiments import Comparisons, Models, Schedules, Shares, Sweeps
from .fleet import FleetHost, FleetMembers, FleetSecrets

# Who asks at this moment. A backend that passes a call on to a host does so on behalf of this client.
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


class Monitoring(Protocol):
    """The numbers by which a monitoring system watches the agent."""

    async def exposition(self, accept: str, live: Live | None = None) -> tuple[bytes, str]:
        """All metrics in the format that an Accept header asks for, and its Content-Type."""
        ...


class UsageLedger(Protocol):
    """What users have used of the host, whatever has become of their jobs since."""

    async def report(self, period: Period, *, by: UsageKey, owner: str | None) -> UsageReport:
        """Month by month, of one user or of all. Raises invalid-request for too many rows."""
        ...

    def csv(self, report: UsageReport) -> AsyncGenerator[bytes]:
        """The report as CSV, in pieces."""
        ...


@dataclass(frozen=True)
class Backend:
    """Everything behind the API. A host outside of any fleet has no `fleet` and no `fleet_secrets`.

    Only a front has `members`. It has no `sweeps`, no `schedules`, no `comparisons`, no `models`, no
    `shares`, no `monitoring` and no `usage`.
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
    monitoring: Monitoring | None = None
    usage: UsageLedger | None = None
