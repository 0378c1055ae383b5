"""Sweeps: one script with many hyperparameters, as one durable object whose trials are jobs."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from ..errors import AgentError, Problem
from .base import WHOLE, JobId, Model, NetworkName, OpenEnum, SecretName, Time, UserName
from .inputs import MAX_PARAMETERS_SIZE, JobInput, Limits, ParameterName, ParameterValue
from .job import RETRY_ON, JobName, JobState, Labels, Reason, RunRequest
from .metric import MetricName
from .readers import Readers
from .script import ArtifactPath

MAX_TRIALS = 1000  # of a sweep; a strategy that learns needs 15 s of CPU to take up so many
MAX_AT_ONCE = 100
MAX_DIMENSIONS = 20
MAX_VALUES = 100  # of a dimension
MAX_ACTIVE = 20  # sweeps of a user that have not ended
MAX_RECORDED = 2000  # sweeps of a user on record

SweepId = JobId
TrialCount = Annotated[int, Field(ge=1, le=MAX_TRIALS, strict=True), WHOLE]
AtOnce = Annotated[int, Field(ge=1, le=MAX_AT_ONCE, strict=True), WHOLE]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1, strict=True), WHOLE]
Finite = Annotated[float, Field(allow_inf_nan=False, strict=True)]


class Strategy(OpenEnum):
    """How the hyperparameters of the next trial are chosen."""

    GRID = "grid"
    RANDOM = "random"
    TPE = "tpe"


class Pruner(OpenEnum):
    """How a trial is found that is not worth going on."""

    MEDIAN = "median"
    HYPERBAND = "hyperband"


class Direction(StrEnum):
    """Which values of the objective are better."""

    MAXIMIZE = "maximize"
    MINIMIZE = "minimize"


class SweepState(StrEnum):
    """The state of a sweep. ENDING: it makes no more trials, and cancels those that have not ended."""

    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    ENDING = "ENDING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def terminal(self) -> bool:
        """Whether every trial has ended. Only a COMPLETED sweep goes on, where it is extended."""
        return self in (SweepState.COMPLETED, SweepState.FAILED, SweepState.CANCELLED)


class SweepReason(OpenEnum):
    """Why a sweep is ENDING, FAILED or CANCELLED."""

    CANCELLED = "cancelled"
    METRIC_MISSING = "metric-missing"
    TRIALS_FAILED = "trials-failed"
    COMMIT_REFUSED = "commit-refused"
    STRATEGY_FAILED = "strategy-failed"


class Objective(Model):
    """The metric whose last value decides, as a trial prints it by `::metric`."""

    metric: MetricName
    direction: Direction


class RequestedObjective(Objective):
    """The same in a request."""

    direction: Literal[Direction.MAXIMIZE, Direction.MINIMIZE]


class Dimension(Model):
    """The values of one hyperparameter: `values`, or all from `low` to `high`.

    What is left out follows from the script's declaration: its choices, its bounds, its type. `step` counts
    from `low`; with `log`, each order of magnitude is as likely as another.
    """

    values: Annotated[list[ParameterValue], Field(min_length=1, max_length=MAX_VALUES)] | None = None
    type: Literal["integer", "number"] | None = None
    low: Finite | None = None
    high: Finite | None = None
    step: Annotated[Finite, Field(gt=0)] | None = None
    log: Annotated[bool, Field(strict=True)] | None = None

    @model_validator(mode="after")
    def _values_or_range(self) -> Self:
        if self.values is not None:
            if self.model_dump(exclude_none=True).keys() - {"values"}:
                raise ValueError("must have either values or a range, not both")
            if len(set(self.values)) < len(self.values):
                raise ValueError("must not have a value twice")
        return self


class RequestedDimension(Dimension):
    """The same in a request."""


def _check_size(space: dict[str, RequestedDimension]) -> dict[str, RequestedDimension]:
    texts = [text for name, dimension in space.items() for text in (name, *(dimension.values or ()))]
    if sum(len(text.encode()) for text in texts) > MAX_PARAMETERS_SIZE:
        raise ValueError(f"must have {MAX_PARAMETERS_SIZE} bytes at most, names and values together")
    return space


Space = Annotated[
    dict[ParameterName, RequestedDimension],
    Field(min_length=1, max_length=MAX_DIMENSIONS),
    AfterValidator(_check_size),
]


class SweepRequest(RunRequest):
    """The body of `POST /sweeps`: what all trials have in common, as in a job, and what differs."""

    space: Space
    strategy: Literal[Strategy.GRID, Strategy.RANDOM, Strategy.TPE]
    trials: TrialCount | None = None
    at_once: AtOnce = 4
    objective: RequestedObjective
    pruner: Literal[Pruner.MEDIAN, Pruner.HYPERBAND] | None = None
    seed: Seed | None = None


class SweepRerun(Model):
    """The body of `POST /sweeps/{id}/rerun`: the differences from the earlier sweep."""

    trials: TrialCount | None = None
    at_once: AtOnce | None = None
    seed: Seed | None = None
    name: JobName | None = None
    labels: Labels = {}


class Extension(Model):
    """The body of `POST /sweeps/{id}/extend`: so many trials in all, which may be repeated."""

    trials: TrialCount


class Best(Model):
    """The best trial that has COMPLETED, and the hyperparameters in which it differs from others."""

    trial: int
    job_id: JobId
    value: float
    hyperparameters: dict[str, str]


class Sweep(Model):
    """One sweep: the request, what its trials run, and how far it is.

    `trials` is how many there are to be, `made` how many there are. Of these, `unfinished` wait or run,
    `completed` have reported the objective, `pruned` were ended early, `cancelled` by somebody, and `failed`
    are the rest. `message` says why it ended, or what it waits for. What a schedule has submitted has that
    `schedule`, and the time `slot` for which it did. `readers` are those who may read the sweep and its
    trials besides its owner, in the answer about one sweep. `revision` counts the changes of this record.
    """

    sweep_id: SweepId
    status: SweepState
    reason: SweepReason | None = None
    message: str | None = None
    owner: UserName
    script_name: str
    hyperparameters: dict[str, str]
    space: dict[str, Dimension]
    strategy: Strategy
    trials: int
    at_once: int
    objective: Objective
    pruner: Pruner | None = None
    seed: int
    name: str | None = None
    labels: dict[str, str] = {}
    inputs: dict[str, JobInput] = {}
    limits: Limits
    priority: int = 0
    max_attempts: int = 1
    retry_on: Sequence[Reason] = RETRY_ON
    rerun_of: SweepId | None = None
    schedule: JobId | None = None
    slot: Time | None = None
    commit: str
    script_sha256: str
    image: str
    image_digest: str
    secrets: list[SecretName] = []
    network: NetworkName
    artifacts: list[ArtifactPath] = []
    made: int = 0
    unfinished: int = 0
    completed: int = 0
    pruned: int = 0
    failed: int = 0
    cancelled: int = 0
    best: Best | None = None
    created_at: Time
    finished_at: Time | None = None
    pinned: bool = False
    readers: Readers | None = None
    revision: int = 1


class Trial(Model):
    """One trial: its number from 0, the job that it is, and `value`, which the objective had last.

    `hyperparameters` are those of the space. The job has all else.
    """

    trial: int
    job_id: JobId
    status: JobState
    reason: Reason | None = None
    hyperparameters: dict[str, str]
    value: float | None = None
    started_at: Time | None = None
    finished_at: Time | None = None


class SweepPage(Model):
    """A page of `GET /sweeps`, newest first. The last page has no `next_cursor`."""

    sweeps: list[Sweep]
    next_cursor: str | None = None


class TrialPage(Model):
    """A page of `GET /sweeps/{id}/trials`, in the order of their numbers. The last has no `next_cursor`."""

    trials: list[Trial]
    next_cursor: str | None = None


class TrialResult(Model):
    """How a trial ended: the objective's last value, and its points (step, value) where they may matter."""

    status: JobState
    reason: Reason | None = None
    value: float | None = None
    points: list[tuple[int, float]] = []


def no_such_sweep() -> AgentError:
    """For a sweep that does not exist, and for one that the client may not see."""
    return AgentError(
        Problem.SWEEP_NOT_FOUND,
        "There is no such sweep, or it is not yours.",
        "GET /sweeps, or `ml-job sweep list`, shows yours.",
    )
