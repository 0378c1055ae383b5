"""What users have used of the host, month by month."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from ..errors import FieldError, invalid_request
from .base import Model, UserName

MAX_DAYS = 1098  # of a period: three years, however they fall
MAX_ROWS = 5000  # of an answer
FORM = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"


class UsageKey(StrEnum):
    """What the rows of an answer are about."""

    USER = "user"
    SCRIPT = "script"
    LABEL = "label"


# Which member of a row says whose it is.
MEMBERS = {UsageKey.USER: "user", UsageKey.SCRIPT: "script_name", UsageKey.LABEL: "label"}


class UsageRow(Model):
    """The attempts that ended in one month (`YYYY-MM`, UTC) of one user, script or label.

    `user`, `script_name` or `label` (`name=value`) says whose row it is; the row of the scripts, or labels,
    beyond those that are counted by themselves has none. `jobs` counts jobs whose first attempt ended in the
    month, `attempts` all attempts, and `seconds` how long they ran. `memory_gib_hours` is what they had
    reserved. `memory_peak_gib_hours` is as if each had used its peak for all of its time, and
    `memory_peak_bytes` the largest peak. `artifact_bytes` is what jobs left in /artifacts.
    `measured_attempts` counts the attempts of which the CPU time is known. A figure that is known of no
    attempt is absent.
    """

    month: str
    user: UserName | None = None
    script_name: str | None = None
    label: str | None = None
    jobs: int
    attempts: int
    measured_attempts: int
    seconds: float
    cpu_seconds: float | None = None
    memory_gib_hours: float | None = None
    memory_peak_gib_hours: float | None = None
    memory_peak_bytes: int | None = None
    artifact_bytes: int | None = None


class UsageReport(Model):
    """The answer of `GET /usage`, oldest month first: from the day `since` up to the day before `until`."""

    by: UsageKey
    since: date
    until: date
    rows: list[UsageRow]


@dataclass(frozen=True)
class Month:
    """One month of a period, `YYYY-MM`; `since` and `until` are there where it is not whole."""

    name: str
    since: str | None = None
    until: str | None = None


@dataclass(frozen=True)
class Period:
    """Days in UTC: from `since` up to and without `until`."""

    since: date
    until: date

    def months(self) -> Iterator[Month]:
        """The months that it touches, oldest first."""
        first = self.since.replace(day=1)
        while first < self.until:
            following = (first + timedelta(days=31)).replace(day=1)
            whole = self.since <= first and following <= self.until
            days = () if whole else (self.since.isoformat(), self.until.isoformat())
            yield Month(f"{first:%Y-%m}", *days)
            first = following


def period(since: str | None, until: str | None, today: date) -> Period:
    """The period of a question: by default the month of its last day, and up to today.

    Raises `AgentError` (invalid-request) that names the field `from` or `to`.
    """
    end = today + timedelta(days=1) if until is None else _day("to", until)
    start = (end - timedelta(days=1)).replace(day=1) if since is None else _day("from", since)
    if end <= start:
        raise _refused(
            "to", f"must be after from, which is {start.isoformat()}: it is the first day left out"
        )
    if (end - start).days > MAX_DAYS:
        raise _refused("from", f"must be at most {MAX_DAYS} days before to, which is {end.isoformat()}")
    return Period(start, end)


def _day(field: str, text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = date.min
    # Python 3.11 reads more forms than one. The ends of the calendar have no day before or month after.
    if day.isoformat() != text or not 1970 <= day.year < 9999:
        raise _refused(field, "must be a day such as 2026-05-01, from 1970 on")
    return day


def _refused(field: str, why: str) -> Exception:
    return invalid_request("The period is not valid.", fields=(FieldError(field, why),))
