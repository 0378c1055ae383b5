"""Sizes and durations as people write and read them."""

from datetime import UTC, datetime, timedelta

import pytest
import typer

from agent.cli.quantities import format_duration, format_size, parse_duration, parse_size, parse_time
from agent.model.base import format_time, now


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("512M", 512 * 2**20),
        ("2G", 2**31),
        ("1.5GiB", 3 * 2**29),
        ("100", 100),
        ("1kb", 1024),
        ("1Gi", 2**30),
        ("1GiB", 2**30),
        ("1gib", 2**30),
        ("2 GB", 2**31),
        ("1.5Mi", 3 * 2**19),
        (".5T", 2**39),
    ],
)
def test_suffixes_of_sizes_are_powers_of_1024(text: str, value: int) -> None:
    assert parse_size(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("90", 90),
        ("45s", 45),
        ("30m", 1800),
        ("30min", 1800),
        ("1h30m", 5400),
        ("2d 1h", 176400),
        ("1h30", 5400),
        ("2m30", 150),
        ("1d12", 129600),
        ("1w1", 691200),
        ("1h30m15", 5415),
        ("1.5h", 5400),
        (".5h", 1800),
        ("0.1s", 1),
        ("90.5", 91),
        ("1.5h30", 7200),
        ("1 h 30 min", 5400),
        ("2hours", 7200),
        ("1H30M", 5400),
        ("3 min 20 s", 200),
        ("1week", 604800),
    ],
)
def test_durations_are_read_as_people_write_them(text: str, value: int) -> None:
    assert parse_duration(text) == value


@pytest.mark.parametrize("seconds", [42, 200, 5400, 7200, 187200])
def test_a_duration_is_read_as_it_is_shown(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize("size", [0, 999, 1024, 3 * 2**20, 2**40])
def test_a_size_is_read_as_it_is_shown(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    "text",
    ["", "h", "-1", "1e3", "1:30", "30s5", "1h1h", "1m1h", "1.5.5h", "1h.5", "1h30x", "nan", "9" * 5000],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not a duration such as"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["", "M", "1i", "1iB", "1X", "-1G", "1e9", "1GG", "inf", "9" * 5000])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not a size such as"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-30", "2026-11-30T00:00:00.000Z"),
        ("2026-11-30 08:15", "2026-11-30T08:15:00.000Z"),
        ("2026-11-30T08:15:00Z", "2026-11-30T08:15:00.000Z"),
        ("2026-11-30T08:15:00+02:00", "2026-11-30T06:15:00.000Z"),
    ],
)
def test_a_time_may_be_a_date_and_is_utc_unless_it_says_otherwise(text: str, moment: str) -> None:
    assert format_time(parse_time(text)) == moment


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("1h30", 5400), ("2d", 172800)])
def test_a_time_may_be_how_long_ago(text: str, seconds: int) -> None:
    assert abs((now() - parse_time(text)).total_seconds() - seconds) < 60


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-13-01", "999999999999999d", "9999w9w", "0001-01-01T00:00:00+14:00"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is neither a time such as"):
        parse_time(text)


def test_sizes_and_durations_are_shown_with_few_digits() -> None:
    assert [format_size(size) for size in (0, 999, 1000, 3 * 2**20, 2**40)] == [
        *("0 B", "999 B", "1.0 KiB", "3.0 MiB", "1.0 TiB"),
    ]
    assert [format_duration(seconds) for seconds in (0.84, 42, 200, 7200, 270000)] == [
        *("0.8 s", "42 s", "3 min 20 s", "2 h", "3 d 3 h"),
    ]


def test_a_time_ahead_is_in_so_long_or_the_next_of_its_day() -> None:
    moment = now()
    assert timedelta(hours=2) <= parse_time("2h", ahead=True) - moment < timedelta(hours=2, seconds=5)
    assert parse_time("2030-01-31", ahead=True) == datetime(2030, 1, 31, tzinfo=UTC)
    for text in ("00:00", "9:30", "23:59", f"{moment:%H:%M}"):
        found = parse_time(text, ahead=True)
        assert (found.hour, found.minute) == tuple(map(int, text.split(":")))
        assert timedelta() < found - moment <= timedelta(days=1, seconds=5)
    for text in ("24:00", "22:60", "soon"):
        with pytest.raises(typer.BadParameter, match="nor in how long"):
            parse_time(text, ahead=True)
