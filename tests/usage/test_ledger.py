"""Answers from the ledger: months in order, a bound, and CSV."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from agent.errors import AgentError, Problem
from agent.model.job import Attempt, JobState
from agent.model.usage import UsageKey, period
from agent.store.store import Store
from agent.usage import ledger
from agent.usage.ledger import Ledger
from tests.support.jobs import make_job

SPRING = period("2026-04-15", "2026-07-01", date(2026, 7, 1))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store.open(tmp_path / "jobs.db") as opened:
        for month, day, owner in (
            (4, 1, "zoe"),
            (4, 15, "bob"),
            (5, 1, "zoe"),
            (5, 9, "bob"),
            (6, 30, "bob"),
        ):
            ended = datetime(2026, month, day, 12, tzinfo=UTC)
            attempt = Attempt(number=1, started_at=ended - timedelta(seconds=9), finished_at=ended)
            job = await opened.jobs.add(make_job(owner, labels={"of": "=x"}), max_waiting=9)
            update = {
                "status": JobState.COMPLETED,
                "attempts": [attempt],
                "finished_at": ended,
                "revision": 2,
            }
            assert await opened.jobs.update(job.model_copy(update=update))
        yield opened


async def test_months_come_in_order_and_days_beyond_the_period_do_not_count(store: Store) -> None:
    report = await Ledger(store.usage).report(SPRING, by=UsageKey.USER, owner=None)
    assert [(row.month, row.user, row.jobs) for row in report.rows] == [
        ("2026-04", "bob", 1),
        ("2026-05", "bob", 1),
        ("2026-05", "zoe", 1),
        ("2026-06", "bob", 1),
    ]
    report = await Ledger(store.usage).report(SPRING, by=UsageKey.USER, owner="zoe")
    assert [(row.month, row.user) for row in report.rows] == [("2026-05", "zoe")]


async def test_the_rows_of_all_months_together_have_a_bound(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "MAX_ROWS", 4)
    assert len((await Ledger(store.usage).report(SPRING, by=UsageKey.USER, owner=None)).rows) == 4
    monkeypatch.setattr(ledger, "MAX_ROWS", 3)
    with pytest.raises(AgentError) as refused:
        await Ledger(store.usage).report(SPRING, by=UsageKey.USER, owner=None)
    assert refused.value.problem is Problem.INVALID_REQUEST


async def test_a_table_has_the_columns_of_its_key_alone(store: Store) -> None:
    reader = Ledger(store.usage)
    may = period("2026-05-01", "2026-06-01", date(2026, 7, 1))
    for by, head, first in (
        (UsageKey.USER, "month,user,jobs", "2026-05,bob,1"),
        (UsageKey.SCRIPT, "month,script_name,jobs", "2026-05,hello.py,2"),
        (UsageKey.LABEL, "month,label,jobs", "2026-05,of==x,2"),
    ):
        report = await reader.report(may, by=by, owner=None)
        lines = b"".join([piece async for piece in reader.csv(report)]).decode().splitlines()
        assert lines[0].startswith(head)
        assert lines[1].startswith(first)
        assert lines[1].count(",") == lines[0].count(",")


async def test_an_empty_table_has_its_head(store: Store) -> None:
    reader = Ledger(store.usage)
    report = await reader.report(
        period("2020-01-01", "2020-02-01", date(2026, 7, 1)), by=UsageKey.USER, owner=None
    )
    assert b"".join([piece async for piece in reader.csv(report)]).startswith(b"month,user,jobs")
