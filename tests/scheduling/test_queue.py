import time
from datetime import timedelta
from typing import Any

import pytest

from agent.config import JobSettings
from agent.model.base import now
from agent.model.host import Use
from agent.model.inputs import Limits
from agent.model.job import Attempt, Job, JobState, Reason
from agent.scheduling import queue as queue_module
from agent.scheduling.queue import START_AND_STOP_SECONDS, Queue
from tests.support.jobs import make_job

GIB = 2**30
SETTINGS = JobSettings(
    max_running=2,
    cpus=4,
    memory_bytes=8 * GIB,
    default_limits=Limits(cpus=1, memory_bytes=GIB, run_time_seconds=600),
    fair_share_half_life_seconds=3600,
)


@pytest.fixture
def queue() -> Queue:
    return Queue(SETTINGS)


def submit(queue: Queue, owner: str = "alice", **fields: Any) -> Job:
    job = make_job(owner=owner, **fields)
    queue.update(job)
    return job


def changed(job: Job, **fields: Any) -> Job:
    return job.model_copy(update={"revision": job.revision + 1, **fields})


def end(queue: Queue, job: Job, *, seconds: float) -> Use:
    """Ends a job this long after it started, and charges its owner."""
    ended = changed(job, status=JobState.COMPLETED, finished_at=now() + timedelta(seconds=seconds))
    use = queue.use_after(ended)
    assert use is not None
    queue.charge(use)
    queue.update(ended)
    return use


def place(queue: Queue, job: Job) -> tuple[int, str]:
    place = queue.with_place(job).queue
    assert place is not None
    return place.position, place.waits_for


def test_a_started_job_keeps_its_room_before_its_change_is_committed(queue: Queue) -> None:
    jobs = [submit(queue) for _ in range(3)]
    assert list(queue.start_next()) == [jobs[0].job_id, jobs[1].job_id]
    assert list(queue.start_next()) == []
    queue.update(changed(jobs[0], status=JobState.CREATED))
    assert queue.in_use.jobs == 2


def test_a_job_that_ends_gives_its_room_to_the_next(queue: Queue) -> None:
    jobs = [submit(queue) for _ in range(3)]
    list(queue.start_next())
    end(queue, jobs[0], seconds=1)
    assert list(queue.start_next()) == [jobs[2].job_id]


def test_a_job_that_returns_to_the_queue_keeps_its_age(queue: Queue) -> None:
    first, second, third = (submit(queue) for _ in range(3))
    list(queue.start_next())
    queue.update(changed(second, status=JobState.CREATED))
    queue.update(changed(second, status=JobState.PENDING))
    queue.update(changed(first, status=JobState.CANCELLED))
    assert [place(queue, job)[0] for job in (second, third)] == [1, 2]


def test_only_a_waiting_job_has_a_place(queue: Queue) -> None:
    jobs = [submit(queue) for _ in range(4)]
    list(queue.start_next())
    assert [place(queue, job)[0] for job in jobs[2:]] == [1, 2]
    assert place(queue, jobs[2])[1].startswith("a place among the running jobs, free at the latest at ")
    assert place(queue, jobs[3])[1] == "the jobs before it"
    assert queue.with_place(jobs[0]).queue is None


def test_use_is_the_share_of_the_host_that_a_job_took(queue: Queue) -> None:
    job = submit(queue, limits=Limits(memory_bytes=6 * GIB))
    list(queue.start_next())
    assert end(queue, job, seconds=100).seconds == pytest.approx(75, abs=1)


def test_uses_add_up_and_halve_with_each_half_life(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = now()
    job = submit(queue)
    list(queue.start_next())
    end(queue, job, seconds=200)  # one of two places
    monkeypatch.setattr(queue_module, "now", lambda: begun + timedelta(hours=1))
    (row,) = queue.users()
    assert row.recent_use_seconds == pytest.approx(50, abs=0.5)
    job = submit(queue)
    list(queue.start_next())
    ended = changed(job, status=JobState.FAILED, finished_at=begun + timedelta(hours=1, seconds=20))
    use = queue.use_after(ended)
    assert use is not None
    assert use.seconds == pytest.approx(60, abs=0.5)


def test_a_clock_set_back_lowers_no_use(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.load([], [Use(owner="alice", seconds=100, at=now() + timedelta(hours=5))])
    assert queue.users()[0].recent_use_seconds == 100
    job = submit(queue)
    list(queue.start_next())
    assert end(queue, job, seconds=-500).seconds == 105  # the least that a job counts for


def test_a_clock_set_forward_counts_only_a_jobs_longest_time(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = now()
    jobs = [submit(queue, limits=Limits(grace_seconds=60)), submit(queue, "bob")]
    list(queue.start_next())
    waiting = [submit(queue, "alice"), submit(queue, "bob")]
    monkeypatch.setattr(queue_module, "now", lambda: begun + timedelta(days=1))
    # Half of the host, for 600 seconds, and what a unit may take to start and stop.
    assert end(queue, jobs[0], seconds=86_400).seconds == (600 + 60 + START_AND_STOP_SECONDS) / 2
    assert place(queue, waiting[1])[0] == 1


def test_a_new_agent_goes_on_with_stored_jobs_and_uses(queue: Queue) -> None:
    started = now() - timedelta(seconds=40)
    jobs = [
        make_job(owner="alice", status=JobState.RUNNING, started_at=started),
        make_job(owner="alice"),
        make_job(owner="bob"),
    ]
    queue.load(jobs, [Use(owner="alice", seconds=500, at=now())])
    assert queue.in_use.model_dump() == {"jobs": 1, "cpus": 1.0, "memory_bytes": GIB}
    assert list(queue.start_next()) == [jobs[2].job_id]
    over = changed(jobs[0], status=JobState.COMPLETED, finished_at=started + timedelta(seconds=60))
    use = queue.use_after(over)
    assert use is not None
    assert use.seconds == pytest.approx(530, abs=1)


def test_users_without_jobs_and_recent_use_are_not_listed(queue: Queue) -> None:
    uses = [
        Use(owner="carol", seconds=1000, at=now() - timedelta(days=2)),
        Use(owner="dave", seconds=9, at=now()),
    ]
    queue.load([make_job(owner="bob")], uses)
    assert [(row.user, row.waiting, row.running) for row in queue.users()] == [
        ("bob", 1, 0),
        ("dave", 0, 0),
    ]


def back_off(queue: Queue, job: Job, *, seconds: float) -> Job:
    """The job after an attempt, to be tried again in this many seconds."""
    ended = now()
    attempt = Attempt(number=job.attempt, finished_at=ended, reason=Reason.EXIT_CODE)
    waiting = changed(
        job,
        status=JobState.PENDING,
        attempt=job.attempt + 1,
        attempts=[*job.attempts, attempt],
        not_before=ended + timedelta(seconds=seconds),
    )
    queue.update(waiting)
    return waiting


def test_a_job_that_waits_for_a_retry_gives_its_room_away_and_keeps_its_age(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third, fourth = (submit(queue) for _ in range(4))
    list(queue.start_next())
    waiting = back_off(queue, first, seconds=20)
    assert list(queue.start_next()) == [third.job_id]
    assert place(queue, fourth)[0] == 1
    position, waits_for = place(queue, waiting)
    assert position == 2
    assert waits_for == f"its next attempt, at the earliest at {waiting.not_before:%Y-%m-%dT%H:%M:%SZ}"
    assert [user.waiting for user in queue.users()] == [2]
    assert list(queue.places("alice", 10)) == [fourth.job_id, first.job_id]
    due = queue.next_retry()
    assert due is not None
    assert 0 < due <= 20
    later = time.monotonic() + 21
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert queue.next_retry() == 0
    end(queue, second, seconds=1)
    assert list(queue.start_next()) == [first.job_id]
    assert queue.next_retry() is None
    assert place(queue, fourth)[0] == 1


def test_a_job_cancelled_before_its_retry_leaves_the_queue(queue: Queue) -> None:
    job = submit(queue)
    list(queue.start_next())
    waiting = back_off(queue, job, seconds=20)
    queue.update(changed(waiting, status=JobState.CANCELLED))
    assert queue.next_retry() is None
    assert queue.with_place(waiting).queue is None


def test_a_clock_set_back_delays_no_retry_for_long(queue: Queue) -> None:
    job = submit(queue)
    list(queue.start_next())
    back_off(queue, job, seconds=3600)
    due = queue.next_retry()
    assert due is not None
    assert due <= queue_module.MAX_BACK_OFF


def test_the_retry_delay_doubles_up_to_five_minutes() -> None:
    seconds = [Queue(SETTINGS).retry_delay(attempts).total_seconds() for attempts in range(1, 10)]
    assert seconds == [10, 20, 40, 80, 160, 300, 300, 300, 300]
