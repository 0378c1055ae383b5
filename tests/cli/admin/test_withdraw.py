"""`ml-agent withdraw`, `readmit` and `withdrawn`."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from agent.model.job import JobState
from agent.model.ref import MAX_WITHDRAWAL_REASON
from agent.store.store import Store
from tests.support.git_repository import commit, drop_last_commit, git
from tests.support.jobs import make_job
from tests.support.ml_agent import Run, audit_rows, with_store


def current(home: Path) -> str:
    return git(home / "repository", "rev-parse", "HEAD")


def withdrawn(run: Run) -> list[dict[str, object]]:
    listed: list[dict[str, object]] = json.loads(run("withdrawn", "--json").out)
    return listed


def add_jobs(commit: str, *states: JobState) -> list[str]:
    """Jobs of that commit, in these states; returns their ids."""
    jobs = [make_job(commit=commit, status=state) for state in states]

    async def add(store: Store) -> None:
        for job in jobs:
            await store.jobs.add(job, max_waiting=9)

    asyncio.run(with_store(add))
    return [job.job_id for job in jobs]


def test_a_withdrawal_is_recorded_audited_listed_and_undone(ready: Run, home: Path) -> None:
    withdrawn_commit = current(home)
    done = ready("withdraw", withdrawn_commit[:8], "--reason", "It leaks.")
    assert (done.status, done.out) == (0, f"withdrawn  {withdrawn_commit}\n"), done.err
    assert "jobs without a ref are refused" in done.err
    (listed,) = withdrawn(ready)
    assert (listed["commit"], listed["reason"], listed["stop_running"]) == (
        withdrawn_commit,
        "It leaks.",
        False,
    )
    assert withdrawn_commit[:12] in ready("withdrawn").out
    undone = ready("readmit", withdrawn_commit[:8])
    assert (undone.status, withdrawn_commit in undone.out) == (0, True)
    assert withdrawn(ready) == []
    rows = [row for row in audit_rows(ready) if "Commit" in row["action"]]
    assert [(row["action"], row["subject"], row["result"]) for row in rows] == [
        ("withdrawCommit", withdrawn_commit, "done"),
        ("restoreCommit", withdrawn_commit, "done"),
    ]
    assert rows[0]["details"] == {"reason": "It leaks.", "running": "left"}


def test_what_becomes_of_its_jobs_is_told(ready: Run, home: Path) -> None:
    old = current(home)
    later = commit(home / "repository")
    waiting, running = add_jobs(old, JobState.PENDING, JobState.RUNNING)
    add_jobs(later, JobState.PENDING, JobState.RUNNING)
    done = ready("withdraw", old, "--reason", "It leaks")
    assert (
        done.out
        == f"withdrawn  {old}\n  ends      {waiting}, which waits, of alice\n  runs on   {running} of alice\n"
    )
    assert "--stop-running" in done.err
    assert "checked out" not in done.err
    done = ready("withdraw", old, "--reason", "It leaks", "--stop-running")
    assert f"  stops     {running} of alice" in done.out
    assert withdrawn(ready)[0]["stop_running"] is True


def test_a_commit_that_git_has_dropped_or_cannot_read_is_withdrawn_all_the_same(
    ready: Run, home: Path
) -> None:
    dropped = commit(home / "repository")
    add_jobs(dropped, JobState.PENDING)
    drop_last_commit(home / "repository")
    assert ready("withdraw", dropped[:8], "--reason", "gone").status == 0
    assert ready("withdraw", "1" * 40, "--reason", "never seen").status == 0
    shutil.rmtree(home / "repository")
    assert ready("withdraw", "2" * 40, "--reason", "no repository").status == 0
    assert [each["commit"] for each in withdrawn(ready)] == [dropped, "1" * 40, "2" * 40]


@pytest.mark.parametrize("command", [("withdraw", "--reason", "x"), ("readmit",)])
def test_what_is_no_commit_is_refused_with_where_to_look(ready: Run, command: tuple[str, ...]) -> None:
    for text in ("nothing", "abcdef12"):
        done = ready(command[0], text, *command[1:])
        assert done.status == 1
        assert f"There is no such commit: {text}." in done.err


def test_a_beginning_of_two_commits_is_refused(ready: Run) -> None:
    for commit_id in ("abcdef" + "0" * 34, "abcdef" + "1" * 34):
        ready("withdraw", commit_id, "--reason", "x")
    done = ready("readmit", "abcdef")
    assert (done.status, "Type more digits" in done.err) == (1, True)


@pytest.mark.parametrize("reason", ["", "x" * (MAX_WITHDRAWAL_REASON + 1), "a\nb"])
def test_a_reason_that_cannot_be_told_is_refused(ready: Run, home: Path, reason: str) -> None:
    assert ready("withdraw", current(home), "--reason", reason).status == 2
    assert ready("withdraw", current(home)).status == 2
    assert withdrawn(ready) == []
