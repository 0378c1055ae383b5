"""Progress and metrics that a job printed."""

from typing import Annotated

from pydantic import Field

from .base import JobId, Model, Time

MetricName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_./-]{0,63}$")]


class Progress(Model):
    """The progress that a job reported. `time` is that of the line."""

    done: float
    total: float
    time: Time


class MetricPoint(Model):
    """One value of a metric. If the job gave no step, `step` counts the points before this one."""

    step: int
    value: float
    time: Time


class MetricSeries(Model):
    """A metric over time: of its `count` values every `every`-th, starting with the first, and the last.

    `min` and `max` are the least and the greatest of all values. Series that an earlier agent kept lack them.
    """

    name: MetricName
    count: int
    every: int
    points: list[MetricPoint]
    min: float | None = None
    max: float | None = None


class IgnoredMarks(Model):
    """Lines that begin as a mark of progress or metrics and are none: `count` of them.

    The first one is the line with the number `line`, and `reason` says what is wrong with it.
    """

    count: int
    line: int
    reason: str


class JobMetrics(Model):
    """The progress and the metrics that a job reported. `complete`: the job has ended, and all was read.

    `refused` counts the values of metrics beyond the permitted number of names. `ignored` is absent if every
    mark was understood.
    """

    job_id: JobId
    complete: bool
    progress: Progress | None = None
    series: list[MetricSeries] = []
    refused: int = 0
    ignored: IgnoredMarks | None = None
