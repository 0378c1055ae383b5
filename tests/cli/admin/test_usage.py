"""`ml-agent usage`: the ledger of all users, also as CSV, and what it refuses."""

import asyncio
import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.model.inputs import Limits
from agent.model.job import Attempt, JobState
from agent.store.store import Store
from tests.support.jobs import make_job
from tests.support.ml_agent import Run, with_store

ENDED = datetime(2026, 5, 10, 12, tzinfo=UTC)
MAY = ("--from", "2026-05-01", "--to", "2026-06-01")


@pytest.fixture
def ran(ready: Run) -> Run:
    """A site on which two users have had a job each."""

    async def add(store: Store) -> None:
        for owner in ("alice", "bob"):
            made = make_job(owner, script_name="@train.py", limits=Limits(memory_bytes=2**30))
            job = await store.jobs.add(made, max_waiting=9)
            attempt = Attempt(number=1, started_at=ENDED - timedelta(hours=2), finished_at=ENDED)
            end = {"status": JobState.COMPLETED, "attempts": [attempt], "finished_at": ENDED, "revision": 2}
            assert await store.jobs.update(job.model_copy(update=end), left=10)

    asyncio.run(with_store(add))
    return ready


def test_it_shows_all_users_by_month(ran: Run) -> None:
    shown = ran("usage", *MAY)
    assert shown.status == 0
    assert [line.split("\t")[:6] for line in shown.out.splitlines()] == [
        ["2026-05", "alice", "1", "1", "0", "7200.0"],
        ["2026-05", "bob", "1", "1", "0", "7200.0"],
    ]
    (row,) = json.loads(ran("usage", *MAY, "--user", "bob", "--json").out)["rows"]
    assert (row["user"], row["memory_gib_hours"]) == ("bob", 2.0)
    assert "cpu_seconds" not in row


def test_the_table_is_csv_that_no_spreadsheet_computes(ran: Run, tmp_path: Path) -> None:
    file = tmp_path / "usage.csv"
    assert ran("usage", *MAY, "--by", "script", "--csv", str(file)).status == 0
    with file.open(newline="") as lines:
        (row,) = csv.DictReader(lines)
    assert (row["month"], row["script_name"], row["jobs"]) == ("2026-05", "'@train.py", "2")
    assert (row["cpu_seconds"], row["seconds"]) == ("", "14400.0")
    assert ran("usage", *MAY, "--by", "script", "--csv", "-").out.splitlines()[1].startswith("2026-05,'@")


def test_a_period_that_is_none_is_refused_with_the_field(ran: Run) -> None:
    refused = ran("usage", "--from", "2026-05-40")
    assert refused.status == 1
    assert "from: must be a day" in refused.err
    assert ran("usage", "--csv", "-", "--json").status == 2
