"""The progress and metrics that a job reports by marks, which are lines of its log; within bounds.

    ::progress {"done": 30, "total": 150}
    ::metric {"name": "loss", "value": 0.31, "step": 3}

A line that is not exactly a mark is an ordinary line. One that begins as a mark is counted as ignored.
"""

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated

from pydantic import ConfigDict, Field, ValidationError, model_validator

from ..model.base import Model
from ..model.metric import IgnoredMarks, JobMetrics, MetricName, MetricPoint, MetricSeries, Progress
from ..model.problem import refusals

MAX_MARK = 1024  # bytes
MAX_SERIES = 32  # names of metrics
MAX_POINTS = 500  # of a series; beyond that, every second point is dropped
PROGRESS, METRIC = b"::progress ", b"::metric "
STARTS = (PROGRESS.strip(), METRIC.strip())  # of a line that is a mark, or was meant to be one

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
    low: float = math.inf
    high: float = -math.inf

    def add(self, point: MetricPoint) -> None:
        self.last = point
        self.low, self.high = min(self.low, point.value), max(self.high, point.value)
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
    _ignored: int = 0
    _first_ignored: tuple[int, str] = (0, "")  # the line's number, and why

    def add(self, text: bytes, milliseconds: int, number: int) -> bool:
        """Adds a line; the time is in milliseconds since 1970. Returns whether the line was a mark."""
        if not text.startswith(STARTS):
            return False
        try:
            self._add_mark(text, datetime.fromtimestamp(milliseconds / 1000, UTC))
        except ValueError as error:
            if not self._ignored:
                self._first_ignored = number, _reason(error)
            self._ignored += 1
            return False
        return True

    def _add_mark(self, text: bytes, time: datetime) -> None:
        """Raises `ValueError` if the line is no mark."""
        if len(text) > MAX_MARK:
            raise ValueError(f"must have at most {MAX_MARK} bytes")
        if text.startswith(PROGRESS):
            said = _Progress.model_validate_json(text.removeprefix(PROGRESS))
            self.progress = Progress(done=said.done, total=said.total, time=time)
        elif text.startswith(METRIC):
            self._add_point(_Metric.model_validate_json(text.removeprefix(METRIC)), time)
        else:
            raise ValueError("must have ::progress or ::metric, a space, and then a JSON object")

    def _add_point(self, said: _Metric, time: datetime) -> None:
        if said.name not in self._series and len(self._series) >= MAX_SERIES:
            self._refused += 1
            return
        series = self._series.setdefault(said.name, _Series())
        step = series.count if said.step is None else said.step
        point = MetricPoint(step=step, value=said.value, time=time)
        series.add(point)
        self.newest[said.name] = point

    def series(self) -> list[MetricSeries]:
        """All series, in the order of their first points."""
        return [_series_of(name, series) for name, series in self._series.items()]

    @property
    def ignored(self) -> IgnoredMarks | None:
        """The lines that were meant to be marks and are none, if there are any."""
        line, reason = self._first_ignored
        return IgnoredMarks(count=self._ignored, line=line, reason=reason) if self._ignored else None

    def metrics(self, job_id: str, *, complete: bool) -> JobMetrics:
        """Everything that was collected, as the API returns it."""
        return JobMetrics(
            job_id=job_id,
            complete=complete,
            progress=self.progress,
            series=self.series(),
            refused=self._refused,
            ignored=self.ignored,
        )


def _reason(error: ValueError) -> str:
    """What is wrong first, such as `value: must be a number`."""
    if not isinstance(error, ValidationError):
        return str(error)
    place, said = refusals(error, unknown="is unknown")[0]
    return ": ".join([*map(str, place), said])


def _series_of(name: str, series: _Series) -> MetricSeries:
    points = series.points
    if series.last is not None and points[-1] is not series.last:
        points = [*points, series.last]
    return MetricSeries(
        name=name,
        count=series.count,
        every=series.every,
        points=points,
        min=series.low,
        max=series.high,
    )
