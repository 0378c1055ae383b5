"""`ml-agent drain` and `resume`."""

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from agent.cli.admin import shared
from agent.cli.admin.doctor.schedules import drain as doctors_view
from agent.cli.checks import Level
from agent.config_files import load
from agent.model.base import now
from agent.model.host import MAX_DRAIN_REASON, Drain
from agent.model.inputs import Limits
from agent.model.job import JobState
from agent.store.store import Store
from tests.support.jobs import make_job
from tests.support.ml_agent import Run, audit_rows, with_store


def planned(run: Run) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run("drain", "--show", "--json").out)
    return document


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def add_jobs(*jobs: Any) -> None:
    async def add(store: Store) -> None:
        for job in jobs:
            await store.jobs.add(job, max_waiting=9)

    asyncio.run(with_store(add))


def test_a_drain_without_an_end_is_shown_audited_and_ended(ready: Run) -> None:
    assert ready("drain", "--show").out == "not drained, and no drain is planned\n"
    done = ready("drain", "--reason", "disk")
    assert (done.status, done.out) == (0, "drained: disk\n"), done.err
    assert "`ml-agent resume` lets jobs start again" in done.err
    document = planned(ready)
    assert now() - timedelta(minutes=1) < moment(document["drain"]["begins_at"]) <= now()
    assert document == {
        "drain": {"begins_at": document["drain"]["begins_at"], "reason": "disk"},
        "waiting": 0,
        "running": [],
    }
    assert ready("resume").out == "resumed  it was drained: disk\n"
    assert ready("resume").out == "not drained, and no drain is planned\n"
    rows = [row for row in audit_rows(ready) if "drain" in row["action"].lower()]
    assert [row["action"] for row in rows] == ["drainHost", "undrainHost"]
    assert rows[0]["details"] == {"begins_at": document["drain"]["begins_at"], "reason": "disk"}


def test_a_planned_drain_says_which_jobs_could_run_into_it(ready: Run) -> None:
    began = now()
    long = make_job(status=JobState.RUNNING, started_at=began, limits=Limits(run_time_seconds=7200))
    short = make_job("bob", status=JobState.RUNNING, started_at=began, limits=Limits(run_time_seconds=60))
    add_jobs(long, short, make_job())
    done = ready("drain", "--from", "1h", "--until", "1h30m", "--reason", "reboot")
    assert done.status == 0, done.err
    first, *rest = done.out.splitlines()
    assert first.startswith("drained from ")
    assert first.endswith(": reboot")
    assert [line.split()[:2] for line in rest] == [
        ["runs", long.job_id],
        ["runs", short.job_id],
        ["waits", "1"],
    ]
    assert "A shutdown interrupts a job that runs" in done.err
    document = planned(ready)
    known = document["drain"]
    assert moment(known["ends_at"]) - moment(known["begins_at"]) == pytest.approx(
        timedelta(minutes=30), abs=timedelta(seconds=1)
    )
    assert {job["job_id"]: job["may_run_into_it"] for job in document["running"]} == {
        long.job_id: True,
        short.job_id: False,
    }
    assert document["waiting"] == 1


def test_a_new_drain_takes_the_place_of_the_one_before(ready: Run) -> None:
    ready("drain", "--from", "2030-01-01T12:00", "--until", "2030-01-02")
    ready("drain", "--until", "2030-03-01")
    assert moment(planned(ready)["drain"]["begins_at"]) <= now()
    assert planned(ready)["drain"]["ends_at"] == "2030-03-01T00:00:00.000Z"


def test_a_drain_that_is_over_is_none(ready: Run) -> None:
    async def over(store: Store) -> None:
        ended = Drain(begins_at=now() - timedelta(hours=2), ends_at=now())
        await store.drains.set(ended, deed=shared.account().did("drainHost"))

    asyncio.run(with_store(over))
    assert planned(ready)["drain"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--until", "2020-01-01"], "is not after the beginning"),
        (["--from", "2h", "--until", "1h"], "is not after the beginning"),
        (["--until", "soon"], "nor in how long, such as 2d or 1h30"),
        (["--reason", "x" * (MAX_DRAIN_REASON + 1)], f"{MAX_DRAIN_REASON}"),
        (["--reason", "a\nb"], "control characters"),
        (["--show", "--until", "1h"], "goes with --json alone"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_changes_nothing(
    ready: Run, arguments: list[str], words: str
) -> None:
    refused = ready("drain", *arguments)
    assert refused.status != 0
    assert words in " ".join(refused.err.replace("│", " ").split())
    assert planned(ready)["drain"] is None


def test_the_doctor_notes_a_drain_without_an_end(ready: Run) -> None:
    async def look() -> tuple[Level, str]:
        found = await doctors_view(load())
        return found.level, found.seen.split(" ")[0]

    assert asyncio.run(look()) == (Level.OK, "not")
    ready("drain", "--until", "1h")
    assert asyncio.run(look()) == (Level.OK, "since")
    ready("drain", "--from", "1h")
    assert asyncio.run(look()) == (Level.WARN, "from")
    ready("drain")
    assert asyncio.run(look()) == (Level.WARN, "since")
