"""`ml-agent prune`: what it would remove, what it removes, and how it says so."""

import asyncio
import json
from pathlib import Path

import pytest

from agent.config_files import load
from agent.model.base import now
from agent.model.job import JobState
from agent.store.store import Store
from tests.support.jobs import let_ages_begin, make_job, old_job
from tests.support.ml_agent import Run, put_on_path, with_store


def test_prune_shows_what_would_be_removed_and_why_and_then_removes_it(ready: Run, home: Path) -> None:
    job, pinned = old_job(), old_job(pinned=True)

    async def add(store: Store) -> None:
        for each in (job, pinned):
            await store.jobs.add(each, max_waiting=10)
        await let_ages_begin(store)

    asyncio.run(with_store(add))
    artifacts = load().paths_of(job.job_id).attempt(1).artifacts
    artifacts.mkdir(parents=True)
    (artifacts / "model").write_bytes(b"x" * 100_000)
    plan = ready("prune", "--dry-run", "--json")
    assert plan.status == 0
    document = json.loads(plan.out)
    (entry,) = document["removed"]
    assert (entry["what"], entry["job_id"], entry["rule"]) == ("files", job.job_id, "age")
    assert document["dry_run"] is True
    assert document["freed_bytes"] == entry["bytes"] >= 100_000
    assert (document["kept"]["jobs"], document["kept"]["pinned_jobs"]) == (1, 1)
    assert (artifacts / "model").exists()
    shown = ready("prune", "--dry-run")
    assert shown.out.split("\t")[:2] == ["files", job.job_id]
    assert "Would remove 1 things" in shown.err
    assert "1 pinned" in shown.err
    went = json.loads(ready("prune", "--json").out)
    assert (went["dry_run"], went["removed"], went["kept"]["bytes"]) == (False, document["removed"], 0)
    assert not load().paths_of(job.job_id).directory.exists()
    assert json.loads(ready("prune", "--json").out)["removed"] == []


def test_what_a_clock_says_that_jumped_ahead_removes_nothing_until_somebody_confirms_it(
    ready: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    job = old_job()

    async def add(store: Store) -> None:
        await store.jobs.add(job, max_waiting=10)

    put_on_path(tmp_path / "bin", "timedatectl", "echo no", monkeypatch)
    asyncio.run(with_store(add))
    # Its end, a hundred days ago, is the newest thing that is known.
    assert json.loads(ready("prune", "--json").out)["removed"] == []
    assert "Nothing confirms 100.0 days" in caplog.text
    assert ready("prune", "--dry-run", "--trust-clock").status == 2
    doctor = {each["subject"]: each for each in json.loads(ready("doctor", "--json").out)}
    assert doctor["ages of jobs"]["level"] == "warn"
    assert "--trust-clock" in doctor["ages of jobs"]["remedy"]
    caplog.clear()
    (entry,) = json.loads(ready("prune", "--trust-clock", "--json").out)["removed"]
    assert (entry["what"], entry["job_id"], entry["rule"]) == ("files", job.job_id, "age")
    assert "Nothing confirms" not in caplog.text
    assert '"trustClock"' in ready("audit", "--json").out


def test_prune_says_that_the_first_hour_holds_back_what_is_above_a_bound(ready: Run, home: Path) -> None:
    jobs = [make_job(status=JobState.COMPLETED, finished_at=now()) for _ in range(3)]

    async def add(store: Store) -> None:
        for each in jobs:
            await store.jobs.add(each, max_waiting=10)

    asyncio.run(with_store(add))
    assert "Still above" not in ready("prune", "--dry-run").err
    path = home / ".config/ml-agent/config.toml"
    path.write_text(path.read_text() + "\n[retention]\nmax_jobs = 1\n")
    for options in (("--dry-run",), ()):
        told = ready("prune", *options).err
        assert "Still above retention.max_jobs (1): what has ended within 1 h stays" in told
    path.write_text(path.read_text() + "at_least_hours = 0\n")
    assert "Still above" not in ready("prune", "--dry-run").err
