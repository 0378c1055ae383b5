"""`ml-job watch`: at a terminal, in a pipe, and over lost connections."""

import json
from typing import Any

import pytest

from agent.cli.job.stream import Event
from agent.cli.job.watch import JobList
from tests.support.ml_job import at_a_terminal, ml_job
from tests.support.sample_events import OTHER, REVOKED, SNAPSHOT, THIRD
from tests.support.stand_in_agent import CREATED, JOB_ID, StandIn, Step, cut, event, job


def test_a_pipe_gets_the_jobs_and_then_a_row_for_each_change(agent: StandIn) -> None:
    change = event("job", job(OTHER, status="CANCELLED", reason="cancelled"), "8-00000000")
    agent.streams = [
        [*SNAPSHOT, event("queue", {"job_id": OTHER, "position": 1, "waits_for": "x"}), change, REVOKED]
    ]
    result = ml_job("watch")
    rows = [row.split("\t")[:2] for row in result.stdout.splitlines()]
    assert rows == [[JOB_ID, "RUNNING"], [OTHER, "PENDING"], [OTHER, "CANCELLED"]]
    assert (result.exit_code, "It was revoked." in result.stderr) == (2, True)
    assert agent.paths() == ["/events?ended=15"]


def test_json_is_each_event_as_the_agent_sent_it(agent: StandIn) -> None:
    agent.streams = [[*SNAPSHOT, event("of-a-later-version", {"any": 1}), REVOKED]]
    events = [json.loads(row) for row in ml_job("watch", "--json", "--ended", "3").stdout.splitlines()]
    assert [each["event"] for each in events] == ["reset", "job", "job", "current", "of-a-later-version"]
    assert events[1]["data"] == job(status="RUNNING", started_at=CREATED)
    assert agent.paths() == ["/events?ended=3"]


def test_a_lost_connection_is_reported_and_continued(agent: StandIn) -> None:
    change = event("job", job(status="COMPLETED"), "8-00000000")
    agent.streams = [[*SNAPSHOT, cut], [change, event("current", {}, "8-00000000"), REVOKED]]
    result = ml_job("watch")
    assert [row.split("\t")[1] for row in result.stdout.splitlines()] == ["RUNNING", "PENDING", "COMPLETED"]
    assert "Continuing" in result.stderr
    assert "Connected again." in result.stderr
    assert agent.requests[1][2]["Last-Event-ID"] == "7-00000000"


def test_a_person_sees_the_list_with_progress(agent: StandIn) -> None:
    said = event("progress", {"job_id": JOB_ID, "done": 3, "total": 4, "time": CREATED})
    agent.streams = [[*SNAPSHOT, said, REVOKED]]
    shown = at_a_terminal("watch")
    last = shown[shown.rindex("PROGRESS") :]
    assert "75 %" in last
    assert "1 in line" in last
    assert last.index(JOB_ID[:8]) < last.index(OTHER[:8])


@pytest.mark.usefixtures("dumb")
def test_a_dumb_terminal_gets_a_row_for_each_change(agent: StandIn) -> None:
    change = event("job", job(OTHER, status="CANCELLED", reason="cancelled"), "8-00000000")
    agent.streams = [[*SNAPSHOT, change, REVOKED]]
    rows = [row.split()[:2] for row in at_a_terminal("watch").splitlines()]
    assert rows[:4] == [
        ["ID", "STATUS"],
        [JOB_ID[:8], "RUNNING"],
        [OTHER[:8], "PENDING"],
        [OTHER[:8], "CANCELLED"],
    ]


def test_a_snapshot_that_was_cut_off_is_discarded(agent: StandIn) -> None:
    # A user who sees fewer jobs for a moment goes on with the last whole list.
    less: list[Step] = [
        event("reset", {"why": "You may see other jobs than before."}),
        event("job", job(THIRD)),
        cut,
    ]
    change = event("job", job(OTHER, status="CANCELLED"), "8-00000000")
    agent.streams = [[*SNAPSHOT, *less], [change, event("current", {}, "8-00000000"), REVOKED]]
    shown = at_a_terminal("watch")
    last = shown[shown.rindex("PROGRESS") :]
    assert [each in last for each in (JOB_ID[:8], OTHER[:8], THIRD[:8])] == [True, True, False]
    assert "CANCELLED" in last


def test_a_pipe_gets_only_the_changes_of_a_later_snapshot(agent: StandIn) -> None:
    later = [
        event("reset", {"why": "You may see other jobs than before."}),
        event("job", job(status="RUNNING", started_at=CREATED)),
        event("job", job(OTHER, status="CANCELLED", revision=2)),
        event("job", job(THIRD, status="RUNNING", started_at=CREATED)),
        event("current", {"jobs": 3}, "9-00000000"),
    ]
    agent.streams = [[*SNAPSHOT, *later, REVOKED]]
    rows = [row.split("\t")[:2] for row in ml_job("watch").stdout.splitlines()]
    assert rows[2:] == [[OTHER, "CANCELLED"], [THIRD, "RUNNING"]]


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
