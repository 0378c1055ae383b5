"""Progress and metrics that a job printed."""

from typing import Annotated

from pydantic import (
    Field,
)

from .base import JobId, Model, Time

MetricName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_./-]{0,63}$")]


class Progress(Model):
    """How far a job said it was, at the time of its line."""

    done: float
    total: float
    time: Time


class MetricPoint(Model):
    """One value of a metric. Without a step of its own, a point has the number of those before it."""

    step: int
    value: float
    time: Time


class MetricSeries(Model):
    """A metric over time: of `count` values every `every`-th, from the first on, and the last one."""

    name: MetricName
    count: int
    every: int
    points: list[MetricPoint]


class JobMetrics(Model):
    """What a job said of its progress and metrics; `complete` once it has ended and its log is whole.

    `refused` counts values of metrics beyond the bound on their names.
    """

    job_id: JobId
    complete: bool
    progress: Progress | None = None
    series: list[MetricSeries] = []
    refused: int = 0
