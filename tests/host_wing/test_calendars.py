"""Calendars, as the systemd of this machine reads them."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.errors import AgentError, Problem
from agent.host import calendars
from agent.host.calendars import Calendars
from tests.support.ml_agent import put_on_path


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


async def times(calendar: str, zone: str, after: str, count: int) -> list[str]:
    """The next times, as `25 02:30` in UTC."""
    known = Calendars()
    expression = await known.expression(calendar, zone)
    return [f"{time:%d %H:%M}" for time in await known.next(expression, utc(after), count)]


@pytest.mark.parametrize(
    ("calendar", "zone", "expression"),
    [
        ("daily", "UTC", "*-*-* 00:00:00 UTC"),
        ("Mon..Fri 2:00", "Europe/Rome", "Mon..Fri *-*-* 02:00:00 Europe/Rome"),
        ("*:0/15", "America/New_York", "*-*-* *:00/15:00 America/New_York"),
        ("*-*~1 6:30", "Asia/Kolkata", "*-*~01 06:30:00 Asia/Kolkata"),
    ],
)
async def test_an_expression_is_what_systemd_writes(calendar: str, zone: str, expression: str) -> None:
    known = Calendars()
    assert await known.expression(calendar, zone) == expression
    assert await known.next(expression, utc("2026-06-01"), 1), "it reads what it has written"


@pytest.mark.parametrize(
    ("calendar", "zone", "field"),
    [
        ("each night", "UTC", "calendar"),
        ("daily UTC", "UTC", "calendar"),
        ("*:*:0.5", "UTC", "calendar"),
        ("25:00", "UTC", "calendar"),
        ("daily", "Europe/Atlantis", "time_zone"),
        ("daily", "../../etc/passwd", "time_zone"),
    ],
)
async def test_what_systemd_does_not_read_is_refused(calendar: str, zone: str, field: str) -> None:
    with pytest.raises(AgentError) as caught:
        await Calendars().expression(calendar, zone)
    assert caught.value.problem is Problem.INVALID_REQUEST
    assert [each.field for each in caught.value.fields] == [field]


async def test_clocks_that_are_set_forward_leave_times_out() -> None:
    assert await times("02:30", "Europe/Rome", "2026-03-27", 3) == ["27 01:30", "28 01:30", "30 00:30"]
    assert await times("02:30", "America/New_York", "2026-03-06", 3) == ["06 07:30", "07 07:30", "09 06:30"]


@pytest.mark.parametrize("minutes", range(0, 180, 7))
@pytest.mark.parametrize(
    ("zone", "calendar", "begins", "first", "then"),
    [
        ("Europe/Rome", "02:30", "2026-10-25 00:00", "25 00:30", "26 01:30"),
        ("America/New_York", "01:30", "2026-11-01 05:00", "01 05:30", "02 06:30"),
    ],
)
async def test_of_a_repeated_hour_each_time_comes_once_whenever_it_is_asked(
    zone: str, calendar: str, begins: str, first: str, then: str, minutes: int
) -> None:
    """systemd itself gives the second one, too, to whoever asks within the hour that is repeated."""
    after = utc(begins) + timedelta(minutes=minutes)
    found = await Calendars().next(f"{calendar} {zone}", after, 1)
    assert f"{found[0]:%d %H:%M}" == (first if minutes < 30 else then)


async def test_a_frequent_calendar_pauses_while_the_hour_is_repeated() -> None:
    found = await times("*:0/30", "Europe/Rome", "2026-10-25 00:00", 4)
    assert found == ["25 00:30", "25 02:00", "25 02:30", "25 03:00"]
    minutely = await Calendars().next("*:*:00 Europe/Rome", utc("2026-10-25 00:58"), 3)
    assert [f"{time:%H:%M}" for time in minutely] == ["00:59", "02:00", "02:01"]


async def test_calendars_may_have_no_next_time() -> None:
    assert await times("2020-01-01", "UTC", "2026-06-01", 5) == []
    assert await times("*-02-30", "UTC", "2026-06-01", 5) == []
    assert await times("2027-01-01..03", "UTC", "2026-06-01", 5) == ["01 00:00", "02 00:00", "03 00:00"]


@pytest.mark.parametrize(
    ("calendar", "after", "until", "newest"),
    [
        ("hourly", "2026-06-01 09:30", "2026-06-01 09:59", None),
        ("hourly", "2026-06-01 09:30", "2026-06-01 10:00", "2026-06-01 10:00"),
        ("hourly", "2026-06-01 10:00", "2026-06-01 10:59", None),
        ("hourly", "2026-06-01 09:30", "2026-06-11 09:30", "2026-06-11 09:00"),
        ("*:*", "2025-01-01", "2026-06-11 09:30", "2026-06-11 09:30"),
        ("Mon..Fri 02:00", "2026-01-01", "2026-06-07 12:00", "2026-06-05 02:00"),
        ("yearly", "2000-06-01", "2026-06-01", "2026-01-01"),
        ("2026-02-03 04:05", "2026-01-01", "2026-06-01", "2026-02-03 04:05"),
    ],
)
async def test_the_newest_time_is_found_however_many_have_passed(
    calendar: str, after: str, until: str, newest: str | None
) -> None:
    known = Calendars()
    expression = await known.expression(calendar, "UTC")
    assert await known.newest(expression, utc(after), utc(until)) == (utc(newest) if newest else None)


async def test_systemd_is_asked_seldom_and_by_two_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        f'echo x >> "{tmp_path}/asked"; n=$(ls "{tmp_path}"/now.* 2> /dev/null | wc -l);'
        f' echo "$n" >> "{tmp_path}/beside"; touch "{tmp_path}/now.$$"; sleep 0.05;'
        f' rm "{tmp_path}/now.$$"; exec /usr/bin/systemd-analyze "$@"'
    )
    put_on_path(tmp_path / "bin", "systemd-analyze", script, monkeypatch)
    known = Calendars()
    expression = await known.expression("hourly", "UTC")
    for _ in range(50):
        await known.next(expression, utc("2026-06-01"), 5)
    assert len((tmp_path / "asked").read_text().split()) == 2
    await asyncio.gather(*(known.next(f"{hour}:00 UTC", utc("2026-06-01"), 5) for hour in range(12)))
    beside = [int(word) for word in (tmp_path / "beside").read_text().split()]
    assert len(beside) == 14
    assert max(beside) < calendars.AT_ONCE


async def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendars, "MAX_KEPT", 3)
    known = Calendars()
    for hour in range(6):
        await known.next(f"{hour}:00 UTC", utc("2026-06-01"), 1)
    assert len(known.kept) == 3


async def test_a_host_without_systemd_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AgentError) as caught:
        await Calendars().expression("daily", "UTC")
    assert caught.value.problem is Problem.HOST
