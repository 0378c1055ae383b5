"""The ledger: what users have used of the host. Retention does not touch it.

An attempt is entered in the transaction that records its end, and what it used in the one that archives its
job's log. `jobs.entered` counts the attempts of a job that are in the ledger, so that none is entered twice.

There is a row for each day, user and script, and for each day, user and label. `DAY_MONTHS` and
`MAX_NAMES` bound how many there are; `KEPT_MONTHS` bounds how far back they go.
"""

from collections.abc import Iterator, Mapping
from sqlite3 import Connection
from typing import Any

from ..errors import FieldError, invalid_request
from ..model.base import format_time
from ..model.comparison import Consumption
from ..model.job import Attempt, Job
from ..model.usage import MEMBERS, Month, UsageKey, UsageRow
from .database import Tables, transaction

MAX_NAMES = 50  # scripts, and labels, that are counted by themselves for each user in a month
REST = ""  # the name of all others
DAY_MONTHS = 4  # the newest months on record; of older ones, the days are summed up
KEPT_MONTHS = 120  # the newest months on record; older ones are removed
GIB_HOUR = 2**30 * 3600  # byte seconds

# Months are counted by what is on record, never by the clock: a clock that was wrong for a moment, and has
# made a month in the far future, must not remove those of years.
_NEWEST = "(SELECT month FROM usage_months ORDER BY month DESC LIMIT ?)"
_SUMS = (
    "sum(jobs), sum(attempts), sum(measured), sum(seconds), sum(cpu_seconds), sum(reserved), sum(peak),"
    " max(peak_bytes), sum(artifact_bytes)"
)
_KEYS = {UsageKey.USER: "n.owner", UsageKey.SCRIPT: "n.name", UsageKey.LABEL: "n.name"}


class UsageStore(Tables):
    """Reads the ledger."""

    @transaction
    def of_month(
        self, db: Connection, month: Month, *, by: UsageKey, owner: str | None, limit: int
    ) -> list[UsageRow]:
        """The first `limit` rows of one month, of one user or of all.

        Raises `AgentError` (invalid-request) for a part of a month whose days are summed up.
        """
        if month.since is not None:
            _check_days(db, month)
        key, kind = _KEYS[by], UsageKey.LABEL if by is UsageKey.LABEL else UsageKey.SCRIPT
        query = (
            f"SELECT {key}, {_SUMS} FROM usage_names n JOIN usage u ON u.name_id = n.id"  # noqa: S608
            " WHERE n.month = :month AND n.kind = :kind AND (:owner IS NULL OR n.owner = :owner)"
            " AND (:since IS NULL OR u.day >= :since AND u.day < :until)"
            f" GROUP BY {key} ORDER BY {key} LIMIT :limit"
        )
        asked = {"month": month.name, "since": month.since, "until": month.until}
        rows = db.execute(query, {**asked, "kind": kind, "owner": owner, "limit": limit})
        return [_row(month.name, by, *row) for row in rows]


def enter_attempts(db: Connection, job: Job, *, artifact_bytes: int | None) -> None:
    """Enters the attempts of a job that have ended and are not in the ledger, in the caller's transaction.

    The job's last one leaves `artifact_bytes`; None if that is not known. An attempt after which the job is
    tried again leaves nothing.
    """
    if not job.attempts:
        return
    (entered,) = db.execute("SELECT entered FROM jobs WHERE id = ?", (job.job_id,)).fetchone()
    for attempt in job.attempts[entered:]:
        seconds = _seconds(attempt)
        memory = job.limits.memory_bytes
        reserved = None if memory is None else memory * seconds / GIB_HOUR
        left = artifact_bytes if job.status.terminal and attempt is job.attempts[-1] else 0
        figures = (int(attempt.number == 1), 1, 0, seconds, None, reserved, None, None, left)
        for name_id, day in _places(db, job, attempt, make=True):
            db.execute(_UPSERT, (name_id, day, *figures))
    db.execute("UPDATE jobs SET entered = ? WHERE id = ?", (len(job.attempts), job.job_id))


_UPSERT = (
    "INSERT INTO usage (name_id, day, jobs, attempts, measured, seconds, cpu_seconds, reserved, peak,"
    " peak_bytes, artifact_bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
    " jobs = jobs + excluded.jobs, attempts = attempts + excluded.attempts,"
    " seconds = seconds + excluded.seconds,"
    " reserved = coalesce(reserved + excluded.reserved, reserved, excluded.reserved),"
    " artifact_bytes = coalesce(artifact_bytes + excluded.artifact_bytes, artifact_bytes,"
    " excluded.artifact_bytes)"
)


def enter_consumption(db: Connection, job: Job, used: Mapping[int, Consumption]) -> None:
    """Adds what a job's attempts used, by their numbers. The caller sees to it that this happens once."""
    for attempt in job.attempts:
        cpu_seconds, peak_bytes = used.get(attempt.number, Consumption())
        if cpu_seconds is None and peak_bytes is None:
            continue
        seconds = _seconds(attempt)
        peak = None if peak_bytes is None else peak_bytes * seconds / GIB_HOUR
        figures = {"cpu": cpu_seconds, "peak": peak, "peak_bytes": peak_bytes}
        for name_id, day in _places(db, job, attempt, make=False):
            db.execute(_ADD_USE, {**figures, "name_id": name_id, "day": day})


_ADD_USE = (
    "UPDATE usage SET measured = measured + (:cpu IS NOT NULL),"
    " cpu_seconds = coalesce(cpu_seconds + :cpu, cpu_seconds, :cpu),"
    " peak = coalesce(peak + :peak, peak, :peak),"
    " peak_bytes = coalesce(max(peak_bytes, :peak_bytes), peak_bytes, :peak_bytes)"
    " WHERE name_id = :name_id AND day = :day"
)


def _seconds(attempt: Attempt) -> float:
    """How long it ran."""
    return max((attempt.finished_at - (attempt.started_at or attempt.finished_at)).total_seconds(), 0)


def _places(db: Connection, job: Job, attempt: Attempt, *, make: bool) -> Iterator[tuple[int, str]]:
    """The rows that an attempt is counted in: of its script, and of each label. None for a removed month."""
    day = format_time(attempt.finished_at)[:10]
    month = day[:7]
    if make:
        _open_month(db, month)
    known = db.execute("SELECT by_day FROM usage_months WHERE month = ?", (month,)).fetchone()
    if known is None:
        return
    names = [
        (UsageKey.SCRIPT, job.script_name),
        *((UsageKey.LABEL, f"{name}={text}") for name, text in job.labels.items()),
    ]
    found = dict.fromkeys(_name_id(db, month, job.owner, kind, name, make=make) for kind, name in names)
    for name_id in found:  # once each: several labels may be among the rest
        if name_id is not None:
            yield name_id, day if known[0] else month


def _name_id(db: Connection, month: str, owner: str, kind: UsageKey, name: str, *, make: bool) -> int | None:
    """The id of a script's or a label's name in a month; that of the rest where there are too many names."""
    place = (month, owner, kind)
    query = "SELECT id FROM usage_names WHERE month = ? AND owner = ? AND kind = ? AND name = ?"
    if (found := db.execute(query, (*place, name)).fetchone()) is not None:
        return int(found[0])
    if make:
        (count,) = db.execute(
            "SELECT count(*) FROM usage_names WHERE month = ? AND owner = ? AND kind = ? AND name <> ''",
            place,
        ).fetchone()
        name = name if count < MAX_NAMES else REST
        db.execute(
            "INSERT OR IGNORE INTO usage_names (month, owner, kind, name) VALUES (?, ?, ?, ?)", (*place, name)
        )
    else:
        name = REST
    found = db.execute(query, (*place, name)).fetchone()
    return None if found is None else int(found[0])


def _open_month(db: Connection, month: str) -> None:
    """Makes a month where it is not on record; then older ones are summed up, and the oldest removed."""
    made = db.execute("INSERT OR IGNORE INTO usage_months VALUES (?, 1)", (month,)).rowcount
    if made != 1:
        return
    db.execute(f"DELETE FROM usage_months WHERE month NOT IN {_NEWEST}", (KEPT_MONTHS,))  # noqa: S608
    older = db.execute(
        f"SELECT month FROM usage_months WHERE by_day AND month NOT IN {_NEWEST}",  # noqa: S608
        (DAY_MONTHS,),
    ).fetchall()
    for (each,) in older:
        of_month = "name_id IN (SELECT id FROM usage_names WHERE month = :month)"
        db.execute(
            "INSERT INTO usage (name_id, day, jobs, attempts, measured, seconds, cpu_seconds, reserved, peak,"  # noqa: S608
            f" peak_bytes, artifact_bytes) SELECT name_id, :month, {_SUMS} FROM usage"
            f" WHERE {of_month} GROUP BY name_id",
            {"month": each},
        )
        db.execute(f"DELETE FROM usage WHERE {of_month} AND day <> :month", {"month": each})  # noqa: S608
        db.execute("UPDATE usage_months SET by_day = 0 WHERE month = ?", (each,))


def _check_days(db: Connection, month: Month) -> None:
    known = db.execute("SELECT by_day FROM usage_months WHERE month = ?", (month.name,)).fetchone()
    if known is None or known[0]:
        return
    assert month.since is not None
    field = "from" if month.since > f"{month.name}-01" else "to"
    why = f"must be the first day of a month: of {month.name}, only the sum of all days is left"
    raise invalid_request("The period is not valid.", fields=(FieldError(field, why),))


def _row(month: str, by: UsageKey, key: str, *sums: Any) -> UsageRow:
    jobs, attempts, measured, seconds, cpu_seconds, reserved, peak, peak_bytes, artifact_bytes = sums
    # A second of a gigabyte is 0.0003 GiB hours.
    reserved, peak = (None if each is None else round(each, 6) for each in (reserved, peak))
    return UsageRow(
        month=month,
        **{MEMBERS[by]: None if key == REST else key},
        jobs=jobs,
        attempts=attempts,
        measured_attempts=measured,
        seconds=round(seconds, 3),
        cpu_seconds=None if cpu_seconds is None else round(cpu_seconds, 3),
        memory_gib_hours=reserved,
        memory_peak_gib_hours=peak,
        memory_peak_bytes=peak_bytes,
        artifact_bytes=artifact_bytes,
    )
