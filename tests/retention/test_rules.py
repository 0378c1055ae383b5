"""The rules remove the oldest first, no more than they must, and the bounds hold afterwards."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from agent.config import RetentionSettings
from agent.model.job import FinishedJob, RetentionRule
from agent.retention.rules import Due, files_due, records_due, units_due

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FUTURE = datetime.max.replace(tzinfo=UTC)

rules = st.builds(
    RetentionSettings,
    unit_hours=st.integers(0, 200),
    max_units=st.integers(0, 12),
    files_days=st.integers(0, 8),
    record_days=st.integers(8, 12),
    max_jobs=st.integers(0, 12),
    at_least_hours=st.integers(0, 48),
)
# Oldest first, as the store returns them; some in the future, as after a wrong clock.
jobs = st.lists(st.tuples(st.integers(-10, 400), st.integers(0, 100)), max_size=12).map(
    lambda ages: [
        FinishedJob(f"job-{number}", NOW - timedelta(hours=hours), size)
        for number, (hours, size) in enumerate(sorted(ages, reverse=True))
    ]
)


def untouchable(retention: RetentionSettings) -> datetime:
    """Jobs that ended later keep their files and their record."""
    return NOW - timedelta(hours=retention.at_least_hours)


def check(finished: list[FinishedJob], due: list[Due], expired: datetime, kept: datetime = FUTURE) -> None:
    """What holds for each stage; no job that ended after `kept` is due."""
    assert [each.job for each in due] == finished[: len(due)]
    assert all(each.job.finished_at <= kept for each in due)
    for job in finished[len(due) :]:
        assert job.finished_at > min(expired, kept)
    for each in due:
        assert (each.rule is RetentionRule.AGE) == (each.job.finished_at <= expired)


@given(jobs, rules)
def test_units_are_due_by_age_and_count(finished: list[FinishedJob], retention: RetentionSettings) -> None:
    due = units_due(finished, retention, count=len(finished), now=NOW)
    check(finished, due, NOW - timedelta(hours=retention.unit_hours))
    kept = finished[len(due) :]
    assert len(kept) <= retention.max_units
    if due and due[-1].rule is RetentionRule.COUNT:
        assert len(kept) >= retention.max_units


@given(jobs, rules)
def test_records_are_due_by_age_and_count(finished: list[FinishedJob], retention: RetentionSettings) -> None:
    due = records_due(finished, retention, count=len(finished), now=NOW)
    check(finished, due, NOW - timedelta(days=retention.record_days), untouchable(retention))
    kept = finished[len(due) :]
    if kept and kept[0].finished_at <= untouchable(retention):
        assert len(kept) <= retention.max_jobs
    if due and due[-1].rule is RetentionRule.COUNT:
        assert len(kept) >= retention.max_jobs


@given(jobs, rules, st.integers(0, 600))
def test_files_are_due_by_age_and_bytes(
    finished: list[FinishedJob], retention: RetentionSettings, maximum: int
) -> None:
    surplus = sum(job.bytes for job in finished) - maximum
    due = files_due(finished, retention, surplus=surplus, now=NOW)
    check(finished, due, NOW - timedelta(days=retention.files_days), untouchable(retention))
    kept = finished[len(due) :]
    if kept and kept[0].finished_at <= untouchable(retention):
        assert sum(job.bytes for job in kept) <= maximum
    if due and due[-1].rule is RetentionRule.BYTES:
        assert sum(job.bytes for job in kept) + due[-1].job.bytes > maximum


@given(jobs, rules, st.integers(1, 5))
def test_the_same_jobs_are_due_in_steps_and_at_once(
    finished: list[FinishedJob], retention: RetentionSettings, step: int
) -> None:
    at_once = [each.job for each in records_due(finished, retention, count=len(finished), now=NOW)]
    in_steps: list[FinishedJob] = []
    while True:
        left = finished[len(in_steps) :]
        due = records_due(left[:step], retention, count=len(left), now=NOW)
        if not due:
            break
        in_steps += [each.job for each in due]
    assert in_steps == at_once
