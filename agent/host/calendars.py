"""Calendar expressions of systemd.time(7), as systemd itself reads them (systemd-analyze(1))."""

import asyncio
import re
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from ..errors import AgentError, FieldError, host_failed, invalid_request
from .machine import output

AT_ONCE = 2  # processes
READ_AT_ONCE = 12  # times; those that are kept answer for some while
READ_AT_LEAST = 6
MAX_KEPT = 1000  # expressions
MAX_EXPRESSION = 1000  # characters, as systemd writes it
SECOND = timedelta(seconds=1)

_EXPRESSION = re.compile(r"(?m)^Normalized form: ([A-Za-z0-9 *:,./~_+-]+)$")
# Version 252 writes "Iter. #2", 257 "Iteration #2".
_TIME = re.compile(r"(?m)^ *(?:Next elapse|Iter[a-z.]* #\d+): \w{3} (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC$")
_FRACTION = re.compile(r":\d+\.\d")


@dataclass(frozen=True)
class Elapses:
    """An expression as systemd writes it, and its first times after `base`: all, unless there are `more`."""

    expression: str
    base: datetime
    times: tuple[datetime, ...]
    more: bool


@dataclass(eq=False)
class Calendars:
    """Asks systemd, and remembers some answers.

    Times are whole seconds. Of an hour that clocks show twice, they are in the first only.
    """

    kept: OrderedDict[str, Elapses] = field(default_factory=OrderedDict)
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def expression(self, calendar: str, time_zone: str) -> str:
        """The calendar in a time zone, as systemd writes it.

        Raises `AgentError`: invalid-request for what systemd does not read, host where it does not answer.
        """
        if time_zone != "UTC":
            try:
                ZoneInfo(time_zone)
            except (KeyError, OSError, ValueError) as error:
                raise _refused(
                    "time_zone", "must be a time zone of this host, such as Europe/Rome"
                ) from error
        found = await self._ask(f"{calendar} {time_zone}", datetime.now(UTC))
        if _FRACTION.search(found.expression):
            raise _refused("calendar", "must have whole seconds")
        return found.expression

    async def next(self, expression: str, after: datetime, count: int) -> list[datetime]:
        """The first `count` times after that moment, or fewer where there are no more."""
        kept = self.kept.get(expression)
        if kept is None or after < kept.base or (kept.more and len(_after(kept, after)) < count):
            kept = self.kept[expression] = await self._ask(expression, after)
            if len(self.kept) > MAX_KEPT:
                self.kept.popitem(last=False)
        return _after(kept, after)[:count]

    async def newest(self, expression: str, after: datetime, until: datetime) -> datetime | None:
        """The last time that is later than `after` and no later than `until`; None without one."""
        found = await self._first(expression, after)
        if found is None or found > until:
            return None
        if (following := await self._first(expression, found)) is None or following > until:
            return found
        low, high = found, until  # the first time after `low` has come, and the one after `high` has not
        while high - low > SECOND:
            middle = low + (high - low) / 2
            following = await self._first(expression, middle)
            low, high = (low, middle) if following is None or following > until else (middle, high)
        return await self._first(expression, low)

    async def _first(self, expression: str, after: datetime) -> datetime | None:
        return next(iter(await self.next(expression, after, 1)), None)

    async def _ask(self, expression: str, after: datetime) -> Elapses:
        base = whence = datetime.fromtimestamp(int(after.timestamp()), UTC)
        times: list[datetime] = []
        while True:
            written, read = await self._read(expression, whence)
            zone = written.rpartition(" ")[2]
            times += [time for time in read if not _repeated(time, zone)]
            more = len(read) == READ_AT_ONCE
            if not more or len(times) >= READ_AT_LEAST:
                return Elapses(written, base, tuple(times), more)
            whence = read[-1]

    async def _read(self, expression: str, base: datetime) -> tuple[str, list[datetime]]:
        async with self._turns:
            said = await output(
                *("systemd-analyze", "calendar", f"--iterations={READ_AT_ONCE}"),
                *(f"--base-time=@{int(base.timestamp())}", "--", expression),
                errors=True,
                environment={"TZ": "UTC"},
            )
        if "Failed to parse calendar" in said:
            raise _refused(
                "calendar", "must be a calendar expression of systemd.time(7), without a time zone"
            )
        written = _EXPRESSION.search(said)
        if written is None or len(written[1]) > MAX_EXPRESSION:
            raise host_failed("systemd-analyze does not say when a calendar elapses.", "Is it installed?")
        return written[1], [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in _TIME.findall(said)]


def _repeated(time: datetime, zone: str) -> bool:
    """Whether the clocks of a time zone show this time for the second time, as they were set back.

    systemd elapses then a second time only if it has read the expression in the hour that is repeated.
    """
    return zone != "UTC" and time.astimezone(ZoneInfo(zone)).fold == 1


def _after(elapses: Elapses, moment: datetime) -> list[datetime]:
    return [time for time in elapses.times if time > moment]


def _refused(name: str, why: str) -> AgentError:
    return invalid_request("The request is not valid.", fields=(FieldError(name, why),))
