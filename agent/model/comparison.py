"""Jobs side by side: what they were given, what they reported, and what they used."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from .base import JobId, Model, Time, UserName
from .job import Job, JobState, Reason
from .metric import JobMetrics
from .sweep import Direction, Objective

MAX_COMPARED = 400  # jobs that a query names: more do not fit into a request line
MAX_COMPARED_SIZE = 8 * 2**20  # characters of the records of all compared jobs


class Consumption(NamedTuple):
    """What the last attempt of a job used, as systemd has counted it; None for what is not known."""

    cpu_seconds: float | None = None
    memory_peak_bytes: int | None = None


NOT_KNOWN = Consumption()


class MetricSummary(Model):
    """A metric of a job: how many values it reported, the last one, and the least and the greatest.

    `min` and `max` are absent where they are not known: an earlier agent has not kept all values. `best` is
    present for the metric that decides.
    """

    count: int
    last: float
    min: float | None = None
    max: float | None = None
    best: float | None = None


class ComparedJob(Model):
    """A row of a comparison.

    `seconds` is how long the last attempt has run so far. `cpu_seconds` and `memory_peak_bytes` are what it
    used, once it has ended. `metrics` is absent where it is not known (yet) what the job has reported.
    """

    job_id: JobId
    status: JobState
    reason: Reason | None = None
    name: str | None = None
    owner: UserName
    script_name: str
    hyperparameters: dict[str, str]
    labels: dict[str, str] = {}
    sweep: JobId | None = None
    trial: int | None = None
    commit: str
    image_digest: str
    attempt: int
    created_at: Time
    started_at: Time | None = None
    finished_at: Time | None = None
    seconds: float | None = None
    cpu_seconds: float | None = None
    memory_peak_bytes: int | None = None
    metrics: dict[str, MetricSummary] | None = None


class Comparison(Model):
    """The answer of `GET /comparison`: the jobs in the order in which they were asked for.

    `objective` is the metric that decides. `best` is the COMPLETED job whose last value of it is the best.
    """

    objective: Objective | None = None
    best: JobId | None = None
    jobs: list[ComparedJob]


@dataclass(frozen=True)
class MeasuredJob:
    """A job, and what is on record of what it reported. `metrics` is None while that is not known."""

    job: Job
    metrics: dict[str, MetricSummary] | None = None
    consumption: Consumption = NOT_KNOWN


def summaries(metrics: JobMetrics) -> dict[str, MetricSummary]:
    """Each metric by its name. The least value is known if every one was kept, or the agent noted it."""
    found = {}
    for series in metrics.series:
        values = [point.value for point in series.points]
        if not values:
            continue
        low, high = (min(values), max(values)) if series.every == 1 else (series.min, series.max)
        found[series.name] = MetricSummary(count=series.count, last=values[-1], min=low, max=high)
    return found


def best_of(summary: MetricSummary, direction: Direction) -> float | None:
    """The best value of a metric; None where it is not known."""
    return summary.max if direction is Direction.MAXIMIZE else summary.min


class Difference(Model):
    """One value that differs: of the job `a`, and of the job `b`. It is absent where that job has none."""

    name: str
    a: str | None = None
    b: str | None = None


class LoggedCommit(Model):
    """A commit that only one of two jobs' commits leads to: `of` says which."""

    of: Literal["a", "b"]
    commit: str
    author: str
    time: Time
    subject: str


class CommitDifference(Model):
    """What lies between the commits of two jobs.

    `log` has the newest commits that lead to one of them alone, newest first, and `diff` the script's changes
    as a unified diff, in text. `cut` says that there is more of either. `unknown` says why neither is known:
    the repository no longer has one of the commits.
    """

    a: str
    b: str
    log: list[LoggedCommit] = []
    diff: str = ""
    cut: bool = False
    unknown: str | None = None


class MetricDifference(Model):
    """What became of a metric: `change` is the last value of `b` less that of `a`, where both have one."""

    name: str
    a: MetricSummary | None = None
    b: MetricSummary | None = None
    change: float | None = None


class JobDifference(Model):
    """In what two jobs differ, and what that did to their metrics.

    `commit` and `image` are absent where they are the same. `packages` are the Python packages in which two
    images differ, where both say what they have. `metrics` has every metric of either job.
    """

    a: JobId
    b: JobId
    script: Difference | None = None
    commit: CommitDifference | None = None
    image: Difference | None = None
    packages: list[Difference] = []
    hyperparameters: list[Difference] = []
    limits: list[Difference] = []
    inputs: list[Difference] = []
    metrics: list[MetricDifference] = []
