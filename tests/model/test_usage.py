"""Periods of usage: days, and the months that they touch."""

from datetime import UTC, date, datetime

import pytest

from agent.errors import AgentError
from agent.model.base import now
from agent.model.usage import MAX_DAYS, period


@pytest.mark.parametrize(
    ("since", "until", "months"),
    [
        ("2026-05-01", "2026-06-01", [("2026-05", None, None)]),
        (
            "2026-04-30",
            "2026-05-02",
            [("2026-04", "2026-04-30", "2026-05-02"), ("2026-05", "2026-04-30", "2026-05-02")],
        ),
        ("2025-12-01", "2026-02-01", [("2025-12", None, None), ("2026-01", None, None)]),
    ],
)
def test_a_period_is_months_and_parts_of_months(
    since: str, until: str, months: list[tuple[str, str | None, str | None]]
) -> None:
    found = [(each.name, each.since, each.until) for each in period(since, until, now().date()).months()]
    assert found == months


def test_a_period_is_by_default_the_month_of_its_last_day() -> None:
    last = datetime(2026, 5, 31, tzinfo=UTC).date()
    assert [str(day) for day in vars(period(None, None, last)).values()] == ["2026-05-01", "2026-06-01"]
    assert str(period(None, "2026-02-01", last).since) == "2026-01-01"


@pytest.mark.parametrize(
    ("since", "until", "field"),
    [
        ("2026-02-30", None, "from"),
        (None, "2026-02-30", "to"),
        ("20260203", None, "from"),
        ("2026-05-01", "2026-05-01", "to"),
        ("0000-01-01", None, "from"),
        (None, "9999-12-31", "to"),
        ("2020-01-01", "2026-01-01", "from"),
    ],
)
def test_a_period_that_is_none_is_refused_with_the_field(
    since: str | None, until: str | None, field: str
) -> None:
    with pytest.raises(AgentError) as refused:
        period(since, until, date(2026, 5, 31))
    assert [each.field for each in refused.value.fields] == [field]


def test_the_longest_period_is_three_years_with_a_leap_day() -> None:
    longest = period("2023-12-30", "2027-01-01", date(2026, 5, 31))
    assert (longest.until - longest.since).days == MAX_DAYS
    assert len(list(longest.months())) == 37
