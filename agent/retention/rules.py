"""What of the finished jobs is due to go: a function of what there is and of the site's rules.

A job goes in three stages, each with an age and one more bound: its unit (systemd's memory of it), its files
(artifacts and log), its record. `docs/retention.md` says why.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from ..config import RetentionSettings
from ..model.job import RetentionRule
from ..model.retention import FinishedJob


@dataclass(frozen=True)
class Due:
    """A job of which a stage is to go, and the rule that says so."""

    job: FinishedJob
    rule: RetentionRule


def units_due(
    oldest: Iterable[FinishedJob], rules: RetentionSettings, *, count: int, now: datetime
) -> list[Due]:
    """Which of the `count` finished jobs that still have a unit are to lose it; `oldest` come first.

    `at_least_hours` is for what a job made; a unit of a job that has ended is worth less than what many cost.
    """
    age = timedelta(hours=rules.unit_hours)
    return _due(oldest, None, now - age, RetentionRule.COUNT, surplus=count - rules.max_units)


def files_due(
    oldest: Iterable[FinishedJob], rules: RetentionSettings, *, surplus: int, now: datetime
) -> list[Due]:
    """Which jobs are to lose their files, so that `surplus` bytes (of all that is not pinned) are freed."""
    age = timedelta(days=rules.files_days)
    return _due(oldest, _untouchable(rules, now), now - age, RetentionRule.BYTES, surplus=surplus)


def records_due(
    oldest: Iterable[FinishedJob], rules: RetentionSettings, *, count: int, now: datetime
) -> list[Due]:
    """Which of the `count` finished jobs that are not pinned are to be forgotten altogether."""
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
    """From the oldest on: what ended at `expired` or before, and as many more as make up the surplus.

    But nothing that ended after `untouchable`.
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
