"""`GET /usage` over HTTP: what may be asked, by whom, and in which form the answer comes."""

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent.api.keys import BACKEND
from agent.model.certificate import Role
from agent.model.inputs import Limits
from agent.model.job import Attempt, JobState
from tests.support.api_client import Client
from tests.support.api_fixtures import over_any_host
from tests.support.jobs import make_job
from tests.support.served import Served

ENDED = datetime(2026, 5, 10, 12, tzinfo=UTC)
MAY = "/usage?from=2026-05-01&to=2026-06-01"


async def ran(served: Served, owner: str, **fields: Any) -> None:
    """A job that ran for an hour and ended in May."""
    limits = Limits(memory_bytes=2**30)
    job = await served.scene.store.jobs.add(make_job(owner, limits=limits, **fields), max_waiting=99)
    attempt = Attempt(number=1, started_at=ENDED - timedelta(hours=1), finished_at=ENDED)
    end = {"status": JobState.COMPLETED, "finished_at": ENDED, "attempts": [attempt], "revision": 2}
    assert await served.scene.store.jobs.update(job.model_copy(update=end), left=10)


async def test_users_see_their_own_and_operators_see_all(served: Served, alice: Client, bob: Client) -> None:
    for owner in ("alice", "alice", "bob"):
        await ran(served, owner)
    (row,) = (await alice.get(MAY)).json["rows"]
    assert row == {
        "month": "2026-05",
        "user": "alice",
        "jobs": 2,
        "attempts": 2,
        "measured_attempts": 0,
        "seconds": 7200.0,
        "memory_gib_hours": 2.0,
        "artifact_bytes": 20,
    }
    assert [each["user"] for each in (await bob.get(MAY)).json["rows"]] == ["bob"]
    oscar = await served.known("oscar", role=Role.OPERATOR)
    assert [each["user"] for each in (await oscar.get(MAY)).json["rows"]] == ["alice", "bob"]
    assert [each["user"] for each in (await oscar.get(f"{MAY}&owner=bob")).json["rows"]] == ["bob"]
    refused = await alice.get(f"{MAY}&owner=bob")
    assert (refused.status, refused.problem, refused.fields) == (403, "forbidden", ["owner"])


@pytest.mark.parametrize("by", ["script", "label"])
async def test_no_key_shows_what_others_have_used(
    served: Served, alice: Client, bob: Client, by: str
) -> None:
    await ran(served, "alice", script_name="hers.py", labels={"team": "red"})
    (row,) = (await alice.get(f"{MAY}&by={by}")).json["rows"]
    assert (row.get("script_name"), row.get("label")) in (("hers.py", None), (None, "team=red"))
    assert (await bob.get(f"{MAY}&by={by}")).json["rows"] == []


async def test_a_table_is_csv_that_no_spreadsheet_computes(served: Served, alice: Client) -> None:
    await ran(served, "alice", script_name="=1+1")
    answer = await alice.get(f"{MAY}&by=script", Accept="text/csv")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    (row,) = csv.DictReader(io.StringIO(answer.body.decode()))
    assert row == {
        "month": "2026-05",
        "script_name": "'=1+1",
        "jobs": "1",
        "attempts": "1",
        "measured_attempts": "0",
        "seconds": "3600.0",
        "cpu_seconds": "",
        "memory_gib_hours": "1.0",
        "memory_peak_gib_hours": "",
        "memory_peak_bytes": "",
        "artifact_bytes": "10",
    }


async def test_the_answer_is_about_the_present_month_where_nothing_is_asked(alice: Client) -> None:
    answer = await alice.get("/usage")
    today = datetime.now(UTC).date()
    assert answer.json["by"] == "user"
    assert answer.json["since"][8:] == "01"
    assert answer.json["until"] in (str(today), str(today + timedelta(days=1)))  # over midnight, too


@over_any_host
async def test_the_accept_header_decides(alice: Client) -> None:
    assert (await alice.get("/usage", Accept="text/*")).headers["Content-Type"].startswith("text/csv")
    answer = await alice.get("/usage", Accept="image/png")
    assert (answer.status, answer.problem) == (406, "not-acceptable")


@over_any_host
@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ("from=2026-02-30", "from"),
        ("to=2026-2-3", "to"),
        ("to=20260203", "to"),
        ("from=1779-01-01", "from"),
        ("from=0000-01-01", "from"),
        ("to=9999-12-31", "to"),
        ("from=2026-05-01&to=2026-05-01", "to"),
        ("from=2999-01-01", "to"),
        ("from=2020-01-01&to=2026-01-01", "from"),
        ("from=2026-05-01&from=2026-05-02", "from"),
        ("from=", "from"),
        ("since=2026-05-01", "since"),
        ("by=month", "by"),
        ("owner=Bob!", "owner"),
    ],
)
async def test_a_wrong_question_is_refused_with_the_field(alice: Client, asked: str, field: str) -> None:
    answer = await alice.get(f"/usage?{asked}")
    assert (answer.status, answer.problem, answer.fields) == (422, "invalid-request", [field])


async def test_an_answer_has_a_bound(served: Served, alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        await ran(served, "alice", script_name=f"{number}.py")
    monkeypatch.setattr("agent.usage.ledger.MAX_ROWS", 3)
    assert len((await alice.get(f"{MAY}&by=script")).json["rows"]) == 3
    monkeypatch.setattr("agent.usage.ledger.MAX_ROWS", 2)
    answer = await alice.get(f"{MAY}&by=script")
    assert (answer.status, answer.problem) == (422, "invalid-request")
    assert "fewer months" in answer.json["hint"]


async def test_a_job_that_runs_is_entered_at_its_end(served: Served, alice: Client) -> None:
    job = await served.running_job(alice)
    served.add_artifact(job, "model.bin", b"x" * 5000)
    assert (await alice.get("/usage")).json["rows"] == []
    await served.end(job)
    (row,) = (await alice.get("/usage")).json["rows"]
    assert (row["jobs"], row["attempts"]) == (1, 1)
    assert row["artifact_bytes"] >= 5000


async def test_a_backend_without_a_ledger_says_so(serve: Callable[..., Any]) -> None:
    served: Served = await serve()
    alice = await served.known("alice")
    served.app._state[BACKEND] = replace(served.backend, usage=None)
    answer = await alice.get("/usage")
    assert (answer.status, answer.problem) == (404, "no-such-route")
