"""What a job says of itself: which lines count, and what is kept of many."""

import json
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from agent.logs.metrics import MAX_POINTS, MAX_SERIES, Collector
from agent.model.metric import MetricPoint

TIME = datetime(2026, 1, 1, tzinfo=UTC)


def after(*lines: str) -> Collector:
    collector = Collector()
    for line in lines:
        collector.add(line.encode("utf-8", "surrogatepass"), 1_767_225_600_000, 1)
    return collector


def test_the_last_progress_counts() -> None:
    progress = after('::progress {"done": 1, "total": 4}', '::progress {"done": 2.5, "total": 4}').progress
    assert progress is not None
    assert (progress.done, progress.total, progress.time) == (2.5, 4, TIME)


@pytest.mark.parametrize(
    "line",
    [
        "::progress",
        "::progress ",
        "::progress 30/150",
        ' ::progress {"done": 1, "total": 4}',
        '::progress{"done": 1, "total": 4}',
        '::progress {"done": 1}',
        '::progress {"done": 5, "total": 4}',
        '::progress {"done": -1, "total": 4}',
        '::progress {"done": 0, "total": 0}',
        '::progress {"done": "1", "total": 4}',
        '::progress {"done": true, "total": 4}',
        '::progress {"done": NaN, "total": 4}',
        '::progress {"done": 1, "total": 1e999}',
        "::progress [1, 4]",
        '::progress {"done": 1, "total": 4, "more": "' + "x" * 1024 + '"}',
        '::metric {"name": "loss"}',
        '::metric {"name": "", "value": 1}',
        '::metric {"name": "a b", "value": 1}',
        '::metric {"name": "loss", "value": NaN}',
        '::metric {"name": "loss", "value": "0.1"}',
        '::metric {"name": "loss", "value": 0.1, "step": -1}',
        '::metric {"name": "loss", "value": 0.1, "step": 1.5}',
        '::metric {"name": "' + "x" * 65 + '", "value": 1}',
        "::metric " + "[" * 1000,
        '::metric {"name": "\ud800", "value": 1}',
        "::metrics {}",
    ],
)
def test_a_malformed_mark_is_an_ordinary_line(line: str) -> None:
    collector = after(line)
    assert (collector.progress, collector.newest) == (None, {})
    assert (collector.ignored is not None) == line.startswith("::")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"::metric loss 0.5", "Invalid JSON: expected value at line 1 column 1"),
        (b'::metric{"name": "a", "value": 1}', "must have ::progress or ::metric, a space, and then"),
        (b'::metrics {"name": "a", "value": 1}', "must have ::progress or ::metric, a space, and then"),
        (b'::metric {"name": "a", "value": "1"}', "value: must be a number"),
        (b'::metric {"name": "a", "value": NaN}', "value: must be a finite number"),
        (b'::metric {"value": 1}', "name: is missing"),
        (b'::metric {"name": "\xe9", "value": 1}', "Invalid JSON: invalid unicode code point"),
        (b'::progress {"done": 5, "total": 4}', "done is more than total"),
        (b'::progress {"done": 1, "total": 4' + b" " * 1024 + b"}", "must have at most 1024 bytes"),
    ],
)
def test_an_ignored_mark_is_counted_and_the_first_has_its_reason(line: bytes, reason: str) -> None:
    collector = Collector()
    for number, text in enumerate([b"text", line, b'::metric {"name": "a", "value": 1}', b"::metric"], 1):
        assert collector.add(text, 0, number) == (number == 3)
    ignored = collector.metrics("a" * 12, complete=True).ignored
    assert ignored is not None
    assert (ignored.count, ignored.line) == (2, 2)
    assert ignored.reason.startswith(reason)


def test_nothing_is_said_of_marks_where_all_are_understood() -> None:
    reported = after('::metric {"name": "a", "value": 1}', "text", "::warning no mark", ":: progress")
    assert "ignored" not in reported.metrics("a" * 12, complete=True).model_dump_json(exclude_none=True)


def test_unknown_fields_of_a_mark_are_ignored() -> None:
    assert after('::progress {"done": 1, "total": 4, "unit": "trees"}').progress is not None


def test_a_point_without_a_step_is_counted() -> None:
    [series] = (
        after('::metric {"name": "a", "value": 1}', '::metric {"name": "a", "value": 2}')
        .metrics("a" * 12, complete=False)
        .series
    )
    assert series.points == [
        MetricPoint(step=0, value=1, time=TIME),
        MetricPoint(step=1, value=2, time=TIME),
    ]


@pytest.mark.parametrize("count", [1, MAX_POINTS, MAX_POINTS + 1, MAX_POINTS + 2, 10 * MAX_POINTS, 12_345])
def test_many_points_are_thinned_evenly_and_the_last_one_is_kept(count: int) -> None:
    collector = after(*(f'::metric {{"name": "a", "value": {n}, "step": {n}}}' for n in range(count)))
    [series] = collector.metrics("a" * 12, complete=True).series
    assert series.count == count
    assert len(series.points) <= MAX_POINTS + 1
    assert series.points[0].step == 0
    assert series.points[-1].step == count - 1
    steps = [point.step for point in series.points]
    assert {later - earlier for earlier, later in pairwise(steps[:-1])} <= {series.every}
    assert (series.every == 1) == (count <= MAX_POINTS)


def test_metrics_beyond_the_bound_are_counted_as_refused() -> None:
    lines = [json.dumps({"name": f"m{n}", "value": n}) for n in range(MAX_SERIES + 5)]
    metrics = after(*(f"::metric {line}" for line in lines)).metrics("a" * 12, complete=True)
    assert (len(metrics.series), metrics.refused) == (MAX_SERIES, 5)
