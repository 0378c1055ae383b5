"""The list of jobs that an event stream describes."""

import json
from typing import Any

from agent.cli.job.job_list import JobList
from agent.cli.job.stream import Event
from tests.support.sample_events import OTHER
from tests.support.stand_in_agent import CREATED, JOB_ID, job


def apply(jobs: JobList, name: str, data: Any) -> Any:
    return jobs.apply(Event(name, json.dumps(data).encode()))


def test_a_snapshot_takes_effect_when_it_is_complete() -> None:
    jobs = JobList()
    apply(jobs, "reset", {"why": ""})
    apply(jobs, "job", job())
    apply(jobs, "current", {"jobs": 1})
    apply(jobs, "reset", {"why": ""})
    apply(jobs, "job", job(OTHER))
    assert list(jobs.jobs) == [JOB_ID]
    # Cut off: the next connection begins anew.
    apply(jobs, "reset", {"why": ""})
    apply(jobs, "current", {"jobs": 0})
    assert list(jobs.jobs) == []


def test_running_waiting_and_ended_jobs_are_in_their_order() -> None:
    jobs = JobList()
    states: dict[str, dict[str, Any]] = {
        "a": {"status": "COMPLETED", "finished_at": "2026-01-01T00:00:01.000Z"},
        "b": {"status": "FAILED", "finished_at": "2026-01-01T00:00:02.000Z"},
        "c": {"status": "PENDING", "queue": {"position": 2, "waits_for": "x"}},
        "d": {"status": "PENDING", "queue": {"position": 1, "waits_for": "x"}},
        "e": {"status": "RUNNING", "started_at": CREATED},
    }
    for letter, state in states.items():
        apply(jobs, "job", job(letter * 12) | state)
    shown = (*jobs.running(), *jobs.waiting(), *jobs.ended(9))
    assert [each.job_id[0] for each in shown] == ["e", "d", "c", "b", "a"]
    assert [each.job_id[0] for each in jobs.ended(1)] == ["b"]
    apply(jobs, "queue", {"job_id": "c" * 12, "position": 1, "waits_for": "y"})
    apply(jobs, "removed", {"job_id": "d" * 12})
    assert [each.queue.position for each in jobs.waiting() if each.queue] == [1]


def test_progress_is_forgotten_when_the_job_ends() -> None:
    jobs = JobList()
    apply(jobs, "job", job(status="RUNNING"))
    apply(jobs, "progress", {"job_id": JOB_ID, "done": 1, "total": 2, "time": CREATED})
    assert jobs.progress[JOB_ID].done == 1
    apply(jobs, "job", job(status="COMPLETED"))
    assert jobs.progress == {}
