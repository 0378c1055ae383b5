"""Jobs: the requests, the record, its states and reasons."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from ..errors import AgentError, Problem
from .base import (
    WHOLE,
    HostName,
    JobId,
    Model,
    NetworkName,
    OpenEnum,
    SecretName,
    Text,
    Time,
    UserName,
    format_time,
)
from .host import QueuePlace
from .inputs import JobInput, Limits, Parameters, RequestedInputs, RequestedLimits, same_variable
from .readers import Readers
from .ref import Ref
from .script import ArtifactPath

MAX_LABELS = 32
MAX_AFTER = 20
MAX_CHAIN = 50  # jobs in a row of which each waits for the one before it
Priority = Annotated[int, Field(ge=-10, le=10, strict=True), WHOLE]
MaxAttempts = Annotated[int, Field(ge=1, le=10, strict=True), WHOLE]


class JobState(StrEnum):
    """The state of a job. `docs/states.md` draws the transitions."""

    PENDING = "PENDING"
    CREATED = "CREATED"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def terminal(self) -> bool:
        """Whether the state is final."""
        return self in (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED)


class Reason(OpenEnum):
    """Why a job ended as it did. Absent before the end, and after a success."""

    EXIT_CODE = "exit-code"
    SIGNAL = "signal"
    OOM_KILL = "oom-kill"
    TIMEOUT = "timeout"
    START_FAILED = "start-failed"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"
    STOPPED = "stopped"
    ARTIFACT_QUOTA = "artifact-quota"
    STORAGE_FULL = "storage-full"
    ARTIFACT_MISSING = "artifact-missing"
    PRUNED = "pruned"
    DEPENDENCY = "dependency"
    INPUT = "input"


# Reasons to try a job again: ends that nobody asked for.
RetryReason = Literal[
    Reason.EXIT_CODE,
    Reason.SIGNAL,
    Reason.OOM_KILL,
    Reason.TIMEOUT,
    Reason.START_FAILED,
    Reason.INTERRUPTED,
]
RetryReasons = Annotated[list[RetryReason], Field(min_length=1, max_length=6)]
RETRY_ON: list[RetryReason] = [Reason.INTERRUPTED, Reason.START_FAILED]


JobName = Annotated[Text, Field(max_length=128)]
Labels = Annotated[
    dict[
        Annotated[str, Field(pattern=r"^[a-z][a-z0-9._/-]*$", max_length=63)],
        Annotated[Text, Field(max_length=255)],
    ],
    Field(max_length=MAX_LABELS),
]


def _check_distinct(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("must not have a job twice")
    return names


class RunRequest(Model):
    """What a request says of a job, or of all trials of a sweep."""

    script_name: Annotated[Text, Field(min_length=1, max_length=255)]
    hyperparameters: Parameters = {}
    ref: Ref | None = None
    name: JobName | None = None
    labels: Labels = {}
    inputs: RequestedInputs = {}
    limits: RequestedLimits = RequestedLimits()
    priority: Priority = 0
    max_attempts: MaxAttempts = 1
    retry_on: RetryReasons = RETRY_ON

    @model_validator(mode="after")
    def _names_differ_as_variables(self) -> Self:
        """Refuses two parameters that would become the same environment variable."""
        if twice := same_variable(self.hyperparameters):
            raise ValueError("hyperparameters {} and {} would both be HP_{}".format(*twice, twice[0].upper()))
        return self


class JobRequest(RunRequest):
    """The body of `POST /jobs`. Values are data: none reaches a unit, a shell or a path.

    The job starts once each job in `after` has COMPLETED.
    """

    after: Annotated[
        list[JobId],
        Field(max_length=MAX_AFTER, json_schema_extra={"uniqueItems": True}),
        AfterValidator(_check_distinct),
    ] = []


class Rerun(Model):
    """The body of `POST /jobs/{id}/rerun`: the differences from the earlier job."""

    name: JobName | None = None
    labels: Labels = {}
    hyperparameters: Parameters = {}
    limits: RequestedLimits = RequestedLimits()
    max_attempts: MaxAttempts | None = None
    retry_on: RetryReasons | None = None


class Attempt(Model):
    """An attempt that has ended: one invocation of the job's unit, or none if it never began."""

    number: int
    invocation_id: str | None = None
    container_id: str = ""
    exit_status: int | None = None
    reason: Reason | None = None
    message: str | None = None
    started_at: Time | None = None
    finished_at: Time


class RetentionRule(StrEnum):
    """Why retention removed something: its age, or the number or the bytes of such things."""

    AGE = "age"
    COUNT = "count"
    BYTES = "bytes"


class Removal(Model):
    """The time at which retention removed a job's artifacts and log, and the rule."""

    at: Time
    rule: RetentionRule


class Job(Model):
    """One job: the request, what it runs, and its state.

    `revision` counts the changes of this record. `attempt` is the number of the current attempt, from 1, or
    of the next one while the job waits. `attempts` are those that have ended. `not_before` is present while
    the job waits to be tried again. `container_id` is empty until Podman has made the container.
    `exit_status` is the script's, or 128 + the number of the signal that killed it. `queue` is present while
    the job waits; it is not stored, and its changes do not count as revisions. The job starts once each job
    in `after` has COMPLETED, sees `inputs` by their names, and fails unless it leaves a file at each path in
    `artifacts`. A trial of a sweep has that `sweep`, and its number `trial`, from 0. What a schedule has
    submitted has that `schedule`, and the time `slot` for which it did.
    `readers` are those who may read it besides its owner, in the answer about one job; they, too, are not
    stored with it. Retention never removes a `pinned` job. `removed` is present once retention has removed
    artifacts and log.
    `host` is the host of a fleet that runs the job; a job that its user submitted to the host itself has
    none.
    """

    job_id: JobId
    status: JobState
    reason: Reason | None = None
    message: str | None = None
    container_id: str = ""
    owner: UserName
    script_name: str
    hyperparameters: dict[str, str]
    name: str | None = None
    labels: dict[str, str] = {}
    limits: Limits
    priority: int = 0
    queue: QueuePlace | None = None
    rerun_of: JobId | None = None
    sweep: JobId | None = None
    trial: int | None = None
    after: list[JobId] = []
    schedule: JobId | None = None
    slot: Time | None = None
    inputs: dict[str, JobInput] = {}
    commit: str
    script_sha256: str
    image: str
    image_digest: str
    secrets: list[SecretName] = []
    network: NetworkName
    host: HostName | None = None
    artifacts: list[ArtifactPath] = []
    unit: str
    max_attempts: int = 1
    retry_on: Sequence[Reason] = RETRY_ON
    attempt: int = 1
    attempts: list[Attempt] = []
    not_before: Time | None = None
    invocation_id: str | None = None
    exit_status: int | None = None
    cancel_requested: bool = False
    created_at: Time
    started_at: Time | None = None
    finished_at: Time | None = None
    pinned: bool = False
    readers: Readers | None = None
    removed: Removal | None = None
    revision: int = 1


class JobPage(Model):
    """A page of `GET /jobs`, newest first unless another order was asked for.

    `values` has the last value of each job's metric, by the job's id, where a metric was asked for. The last
    page has no `next_cursor`.
    """

    jobs: list[Job]
    values: dict[str, float] | None = None
    next_cursor: str | None = None


def to_json(job: Job) -> str:
    """The job as a record keeps it: without its place in the queue, and its readers."""
    return job.model_dump_json(exclude_none=True, exclude={"queue", "readers"})


def no_such_job() -> AgentError:
    """For a job that does not exist, and for one that the client may not see."""
    return AgentError(
        Problem.JOB_NOT_FOUND,
        "There is no such job, or it is not yours.",
        "GET /jobs, or `ml-job list`, shows yours.",
    )


def check_not_removed(job: Job) -> None:
    """Raises `AgentError` (removed-by-retention) if the job's artifacts, log and metrics are gone."""
    if job.removed is not None:
        raise AgentError(
            Problem.REMOVED_BY_RETENTION,
            f"Retention removed the artifacts and the log of this job at {format_time(job.removed.at)}"
            f" ({job.removed.rule}).",
            "The job can be run again; PUT /jobs/{id}/pin, or `ml-job pin`, keeps what is to stay.",
        )
