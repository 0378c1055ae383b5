"""Which finished jobs are due for removal: pure functions of the jobs and the site's rules.

A job is removed in three stages: its unit (what systemd remembers of it), its files (artifacts and log) and
its record. Each stage has an age and one more bound. `docs/retention.md` says why.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from ..config import RetentionSettings
from ..model.job import FinishedJob, RetentionRule


@dataclass(frozen=True)
class Due:
    """A job that is due for a stage of removal, and the rule that applies."""

    job: FinishedJob
    rule: RetentionRule


def units_due(
    oldest: Iterable[FinishedJob], rules: RetentionSettings, *, count: int, now: datetime
) -> list[Due]:
    """Which of the `count` finished jobs with a unit lose it. `oldest` are in order, oldest first.

    `at_least_hours` does not protect units: they hold nothing that a job made, and many of them cost time.
    """
    age = timedelta(hours=rules.unit_hours)
    return _due(oldest, None, now - age, RetentionRule.COUNT, surplus=count - rules.max_units)


def files_due(
    oldest: Iterable[FinishedJob], rules: RetentionSettings, *, surplus: int, now: datetime
) -> list[Due]:
    """Which jobs lose their files, so that at least `surplus` bytes are freed."""
    age = timedelta(days=rules.files_days)
    return _due(oldest, _untouchable(rules, now), now - age, RetentionRule.BYTES, surplus=surplus)


def records_due(
    oldest: Iterable[FinishedJob], rules: RetentionSettings, *, count: int, now: datetime
) -> list[Due]:
    """Which of the `count` finished, unpinned jobs lose their record."""
    age, surplus = timedelta(days=rules.record_days), count - rules.max_jobs
    return _due(oldest, _untouchable(rules, now), now - age, RetentionRule.COUNT, surplus=surplus)


def _untouchable(rules: RetentionSettings, now: datetime) -> datetime:
    return now - timedelta(hours=rules.at_least_hours)


def _due(
    oldest: Iterable[FinishedJob],
    untouchable: datetime | None,
    expired: datetime,
    rule: RetentionRule,
    *,
    surplus: int,
) -> list[Due]:
    """The jobs that ended at `expired` or before, then more, oldest first, until the surplus is gone.

    None that ended after `untouchable`.
    """
    due = []
    for job in oldest:
        if untouchable is not None and job.finished_at > untouchable:
            break
        if job.finished_at <= expired:
            due.append(Due(job, RetentionRule.AGE))
        elif surplus > 0:
            due.append(Due(job, rule))
        else:
            break
        surplus -= job.bytes if rule is RetentionRule.BYTES else 1
    return due
