"""The progress and metrics that a job reports by marks, which are lines of its log; within bounds.

    ::progress {"done": 30, "total": 150}
    ::metric {"name": "loss", "value": 0.31, "step": 3}

A line that is not exactly a mark is an ordinary line.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated

from pydantic import ConfigDict, Field, ValidationError, model_validator

from ..model.base import Model
from ..model.metric import JobMetrics, MetricName, MetricPoint, MetricSeries, Progress

MAX_MARK = 1024  # bytes
MAX_SERIES = 32  # names of metrics
MAX_POINTS = 500  # of a series; beyond that, every second point is dropped
PROGRESS, METRIC = b"::progress ", b"::metric "
MARKS = (PROGRESS, METRIC)

Number = Annotated[float, Field(allow_inf_nan=False)]


class _Mark(Model):
    """Strict about numbers; ignores fields that a later version may add."""

    model_config = ConfigDict(extra="ignore", strict=True)


class _Progress(_Mark):
    done: Annotated[Number, Field(ge=0)]
    total: Annotated[Number, Field(gt=0)]

    @model_validator(mode="after")
    def _not_past_the_end(self) -> "_Progress":
        if self.done > self.total:
            raise ValueError("done is more than total")
        return self


class _Metric(_Mark):
    name: MetricName
    value: Number
    step: Annotated[int, Field(ge=0, le=2**53)] | None = None


@dataclass
class _Series:
    """Points that are evenly spread over all that came, and the last one."""

    count: int = 0
    every: int = 1
    points: list[MetricPoint] = field(default_factory=list)
    last: MetricPoint | None = None

    def add(self, point: MetricPoint) -> None:
        self.last = point
        if self.count % self.every == 0:
            self.points.append(point)
        self.count += 1
        if len(self.points) > MAX_POINTS:
            self.points = self.points[::2]
            self.every *= 2


@dataclass
class Collector:
    """Collects the marks of a job's lines, in order. `newest` has the last point of each series, by name."""

    progress: Progress | None = None
    newest: dict[str, MetricPoint] = field(default_factory=dict)
    _series: dict[str, _Series] = field(default_factory=dict)
    _refused: int = 0

    def add(self, text: bytes, milliseconds: int) -> bool:
        """Adds a line with its time in milliseconds since 1970. Returns whether it was a mark."""
        if not text.startswith(MARKS) or len(text) > MAX_MARK:
            return False
        time = datetime.fromtimestamp(milliseconds / 1000, UTC)
        try:
            if text.startswith(PROGRESS):
                said = _Progress.model_validate_json(text.removeprefix(PROGRESS))
                self.progress = Progress(done=said.done, total=said.total, time=time)
            else:
                self._add_point(_Metric.model_validate_json(text.removeprefix(METRIC)), time)
        except ValidationError:
            return False
        return True

    def _add_point(self, said: _Metric, time: datetime) -> None:
        series = self._series.get(said.name)
        if series is None:
            if len(self._series) >= MAX_SERIES:
                self._refused += 1
                return
            series = self._series[said.name] = _Series()
        step = series.count if said.step is None else said.step
        point = MetricPoint(step=step, value=said.value, time=time)
        series.add(point)
        self.newest[said.name] = point

    def series(self) -> list[MetricSeries]:
        """All series, in the order of their first points."""
        return [_series_of(name, series) for name, series in self._series.items()]

    def metrics(self, job_id: str, *, complete: bool) -> JobMetrics:
        """Everything that was collected, as the API returns it."""
        return JobMetrics(
            job_id=job_id,
            complete=complete,
            progress=self.progress,
            series=self.series(),
            refused=self._refused,
        )


def _series_of(name: str, series: _Series) -> MetricSeries:
    points = series.points
    if series.last is not None and points[-1] is not series.last:
        points = [*points, series.last]
    return MetricSeries(name=name, count=series.count, every=series.every, points=points)
