"""Schedules: a submission that systemd's timers repeat, and what became of each of its times."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ..errors import AgentError, Problem
from .base import WHOLE, JobId, Model, OpenEnum, Text, Time, UserName
from .inputs import Limits, NamedInput
from .job import JobRequest
from .sweep import Dimension, Objective, SweepId, SweepRequest

MAX_SCHEDULES = 20  # of a user
MAX_QUEUED = 10  # times of a schedule that wait for its earlier runs
MAX_RUNS = 100  # of a schedule on record
MAX_DELAY = 24 * 3600  # seconds
MIN_INTERVAL = 60  # seconds between two times
NEXT = 5  # times that are shown

ScheduleId = JobId
# What systemd.time(7) has in calendar expressions. The first character is none of an option's.
CalendarText = Annotated[str, Field(pattern=r"^[A-Za-z0-9*][A-Za-z0-9 *:,./~-]*$", max_length=128)]

TimeZone = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$", max_length=64)]
Delay = Annotated[int, Field(ge=0, le=MAX_DELAY, strict=True), WHOLE]


class Overlap(OpenEnum):
    """What becomes of a time at which an earlier run has not ended.

    `skip`: nothing. `queue`: it waits until the earlier runs have ended. `replace`: it also cancels them.
    """

    SKIP = "skip"
    QUEUE = "queue"
    REPLACE = "replace"


class ScheduleState(OpenEnum):
    """ACTIVE: it has a timer. PAUSED: somebody has paused it. SUSPENDED: it may not go on, for a `reason`."""

    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    SUSPENDED = "SUSPENDED"


class ScheduleReason(OpenEnum):
    """Why a schedule is SUSPENDED."""

    OWNER_REVOKED = "owner-revoked"
    COMMIT_REFUSED = "commit-refused"


class RunState(OpenEnum):
    """WAITING: for earlier runs, or for the host. SUBMITTED: as a job or a sweep. SKIPPED: for a `reason`."""

    WAITING = "WAITING"
    SUBMITTED = "SUBMITTED"
    SKIPPED = "SKIPPED"


class RunReason(OpenEnum):
    """Why a time of a schedule has no job."""

    OVERLAP = "overlap"
    REPLACED = "replaced"
    REFUSED = "refused"
    PAUSED = "paused"


class ScheduleRequest(Model):
    """The body of `POST /schedules`: a job or a sweep, and when it is submitted."""

    name: Annotated[Text, Field(min_length=1, max_length=128)]
    calendar: CalendarText
    time_zone: TimeZone = "UTC"
    overlap: Literal[Overlap.SKIP, Overlap.QUEUE, Overlap.REPLACE] = Overlap.SKIP
    randomized_delay_seconds: Delay = 0
    job: JobRequest | None = None
    sweep: SweepRequest | None = None

    @model_validator(mode="after")
    def _job_or_sweep(self) -> Self:
        if (self.job is None) == (self.sweep is None):
            raise ValueError("must have either job or sweep")
        return self

    @property
    def submission(self) -> JobRequest | SweepRequest:
        """What each run submits."""
        submission = self.sweep or self.job
        assert submission is not None
        return submission


class ScheduledJob(JobRequest):
    """What each run of a schedule submits."""

    limits: Limits = Limits()  # type: ignore[assignment]  # in an answer, members of a later version may follow
    inputs: dict[str, NamedInput] = {}  # type: ignore[assignment]


class ScheduledSweep(SweepRequest):
    """What each run of a schedule submits."""

    limits: Limits = Limits()  # type: ignore[assignment]  # as above
    inputs: dict[str, NamedInput] = {}  # type: ignore[assignment]
    space: dict[str, Dimension]  # type: ignore[assignment]
    objective: Objective  # type: ignore[assignment]


class ScheduleRun(Model):
    """What became of one time of a schedule.

    `slot` is that time; of a run that somebody asked for (`manual`), when that was. `at` is when the run got
    its state.
    """

    slot: Time
    manual: bool = False
    status: RunState
    reason: RunReason | None = None
    message: str | None = None
    job_id: JobId | None = None
    sweep_id: SweepId | None = None
    at: Time


class Schedule(Model):
    """One schedule.

    `expression` is the calendar with its time zone as systemd writes it. `next` are the next times, five at
    most, of an ACTIVE schedule; the timer adds up to `randomized_delay_seconds` to each. `last` is the newest
    run. Times before `active_since` do not count. `revision` counts the changes of this record.
    """

    schedule_id: ScheduleId
    status: ScheduleState
    reason: ScheduleReason | None = None
    message: str | None = None
    owner: UserName
    name: str
    calendar: str
    time_zone: str
    expression: str
    overlap: Overlap
    randomized_delay_seconds: int = 0
    job: ScheduledJob | None = None
    sweep: ScheduledSweep | None = None
    next: list[Time] = []
    last: ScheduleRun | None = None
    created_at: Time
    active_since: Time
    revision: int = 1

    @property
    def submission(self) -> JobRequest | SweepRequest:
        """What each run submits, as a request."""
        if self.sweep is not None:
            return SweepRequest.model_validate(self.sweep.model_dump(exclude_none=True))
        assert self.job is not None
        return JobRequest.model_validate(self.job.model_dump(exclude_none=True))


class SchedulePreview(Model):
    """The answer to `POST /schedules/preview`: the calendar as systemd writes it, and the next times."""

    expression: str
    next: list[Time]


class SchedulePage(Model):
    """A page of `GET /schedules`, newest first. The last page has no `next_cursor`."""

    schedules: list[Schedule]
    next_cursor: str | None = None


class ScheduleRunPage(Model):
    """A page of `GET /schedules/{id}/runs`, newest first. The last page has no `next_cursor`."""

    runs: list[ScheduleRun]
    next_cursor: str | None = None


def timer_name(schedule_id: str) -> str:
    """`ml-schedule@<id>.timer`."""
    return f"ml-schedule@{schedule_id}.timer"


def no_such_schedule() -> AgentError:
    """For a schedule that does not exist, and for one that the client may not see."""
    return AgentError(
        Problem.SCHEDULE_NOT_FOUND,
        "There is no such schedule, or it is not yours.",
        "GET /schedules, or `ml-job schedule list`, shows yours.",
    )
