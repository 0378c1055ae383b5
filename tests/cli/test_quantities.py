"""Sizes and durations as people write and read them."""

import pytest

from agent.cli.quantities import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "value"),
    [("512M", 512 * 2**20), ("2G", 2**31), ("1.5GiB", 3 * 2**29), ("100", 100), ("1kb", 1024)],
)
def test_suffixes_of_sizes_are_powers_of_1024(text: str, value: int) -> None:
    assert parse_size(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("90", 90), ("45s", 45), ("30m", 1800), ("30min", 1800), ("1h30m", 5400), ("2d 1h", 176400)],
)
def test_durations_are_read_as_people_write_them(text: str, value: int) -> None:
    assert parse_duration(text) == value


def test_sizes_and_durations_are_shown_with_few_digits() -> None:
    assert [format_size(size) for size in (0, 999, 1000, 3 * 2**20, 2**40)] == [
        *("0 B", "999 B", "1.0 KiB", "3.0 MiB", "1.0 TiB"),
    ]
    assert [format_duration(seconds) for seconds in (0.84, 42, 200, 7200, 270000)] == [
        *("0.8 s", "42 s", "3 min 20 s", "2 h", "3 d 3 h"),
    ]
