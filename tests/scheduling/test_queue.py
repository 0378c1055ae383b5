import time
from datetime import timedelta
from typing import Any

import pytest

from agent.config import Jobs
from agent.model.base import now
from agent.model.host import Use
from agent.model.inputs import Limits
from agent.model.job import Attempt, Job, JobState, Reason
from agent.scheduling import queue as schedule_module
from agent.scheduling.queue import LONGEST_AROUND, Schedule
from tests.store.test_store import make_job

GIB = 2**30
SETTINGS = Jobs(
    max_running=2,
    cpus=4,
    memory_bytes=8 * GIB,
    default_limits=Limits(cpus=1, memory_bytes=GIB, run_time_seconds=600),
    fair_share_half_life_seconds=3600,
)


@pytest.fixture
def schedule() -> Schedule:
    return Schedule(SETTINGS)


def submit(schedule: Schedule, owner: str = "alice", **fields: Any) -> Job:
    job = make_job(owner, **fields)
    schedule.note(job)
    return job


def changed(job: Job, **fields: Any) -> Job:
    return job.model_copy(update={"revision": job.revision + 1, **fields})


def end(schedule: Schedule, job: Job, *, seconds: float) -> Use:
    """Ends a job so long after it was taken, and charges its owner."""
    ended = changed(job, status=JobState.COMPLETED, finished_at=now() + timedelta(seconds=seconds))
    use = schedule.use(ended)
    assert use is not None
    schedule.charge(use)
    schedule.note(ended)
    return use


def place(schedule: Schedule, job: Job) -> tuple[int, str]:
    queue = schedule.place(job).queue
    assert queue is not None
    return queue.position, queue.waits_for


def test_a_job_that_was_taken_keeps_its_room_before_anything_is_committed_of_it(schedule: Schedule) -> None:
    jobs = [submit(schedule) for _ in range(3)]
    assert list(schedule.take()) == [jobs[0].job_id, jobs[1].job_id]
    assert list(schedule.take()) == []
    schedule.note(changed(jobs[0], status=JobState.CREATED))
    assert schedule.in_use.jobs == 2


def test_the_end_of_a_job_gives_its_room_to_the_next(schedule: Schedule) -> None:
    jobs = [submit(schedule) for _ in range(3)]
    list(schedule.take())
    end(schedule, jobs[0], seconds=1)
    assert list(schedule.take()) == [jobs[2].job_id]


def test_a_job_that_goes_back_to_the_line_keeps_its_age(schedule: Schedule) -> None:
    first, second, third = (submit(schedule) for _ in range(3))
    list(schedule.take())
    schedule.note(changed(second, status=JobState.CREATED))
    schedule.note(changed(second, status=JobState.PENDING))
    schedule.note(changed(first, status=JobState.CANCELLED))
    assert [place(schedule, job)[0] for job in (second, third)] == [1, 2]


def test_only_a_job_that_waits_has_a_place(schedule: Schedule) -> None:
    jobs = [submit(schedule) for _ in range(4)]
    list(schedule.take())
    assert [place(schedule, job)[0] for job in jobs[2:]] == [1, 2]
    assert place(schedule, jobs[2])[1].startswith("a place among the running jobs, free at the latest at ")
    assert place(schedule, jobs[3])[1] == "the jobs before it"
    assert schedule.place(jobs[0]).queue is None


def test_use_is_the_part_of_the_host_that_a_job_kept_from_others(schedule: Schedule) -> None:
    job = submit(schedule, limits=Limits(memory_bytes=6 * GIB))
    list(schedule.take())
    assert end(schedule, job, seconds=100).seconds == pytest.approx(75, abs=1)


def test_uses_add_up_and_half_is_forgotten_with_each_half_life(
    schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = now()
    job = submit(schedule)
    list(schedule.take())
    end(schedule, job, seconds=200)  # one of two places
    monkeypatch.setattr(schedule_module, "now", lambda: begun + timedelta(hours=1))
    (row,) = schedule.users()
    assert row.recent_use_seconds == pytest.approx(50, abs=0.5)
    job = submit(schedule)
    list(schedule.take())
    ended = changed(job, status=JobState.FAILED, finished_at=begun + timedelta(hours=1, seconds=20))
    use = schedule.use(ended)
    assert use is not None
    assert use.seconds == pytest.approx(60, abs=0.5)


def test_a_clock_that_is_set_back_forgets_nothing_and_gives_nothing_back(
    schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule.load([], [Use(owner="alice", seconds=100, at=now() + timedelta(hours=5))])
    assert schedule.users()[0].recent_use_seconds == 100
    job = submit(schedule)
    list(schedule.take())
    assert end(schedule, job, seconds=-500).seconds == 105  # the least that a job counts for


def test_a_clock_that_is_set_on_is_no_time_that_a_job_had(
    schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = now()
    jobs = [submit(schedule, limits=Limits(grace_seconds=60)), submit(schedule, "bob")]
    list(schedule.take())
    waiting = [submit(schedule, "alice"), submit(schedule, "bob")]
    monkeypatch.setattr(schedule_module, "now", lambda: begun + timedelta(days=1))
    # Half of the host, for 600 seconds, and what a unit may take to start and stop.
    assert end(schedule, jobs[0], seconds=86_400).seconds == (600 + 60 + LONGEST_AROUND) / 2
    assert place(schedule, waiting[1])[0] == 1


def test_a_new_agent_goes_on_with_what_was_stored(schedule: Schedule) -> None:
    started = now() - timedelta(seconds=40)
    jobs = [
        make_job("alice", status=JobState.RUNNING, started_at=started),
        make_job("alice"),
        make_job("bob"),
    ]
    schedule.load(jobs, [Use(owner="alice", seconds=500, at=now())])
    assert schedule.in_use.model_dump() == {"jobs": 1, "cpus": 1.0, "memory_bytes": GIB}
    assert list(schedule.take()) == [jobs[2].job_id]
    over = changed(jobs[0], status=JobState.COMPLETED, finished_at=started + timedelta(seconds=60))
    use = schedule.use(over)
    assert use is not None
    assert use.seconds == pytest.approx(530, abs=1)


def test_whoever_has_no_jobs_and_had_nothing_of_late_is_not_listed(schedule: Schedule) -> None:
    uses = [
        Use(owner="carol", seconds=1000, at=now() - timedelta(days=2)),
        Use(owner="dave", seconds=9, at=now()),
    ]
    schedule.load([make_job("bob")], uses)
    assert [(row.user, row.waiting, row.running) for row in schedule.users()] == [
        ("bob", 1, 0),
        ("dave", 0, 0),
    ]


def back_off(schedule: Schedule, job: Job, *, seconds: float) -> Job:
    """The job after an attempt, to be tried again in so many seconds."""
    ended = now()
    attempt = Attempt(number=job.attempt, finished_at=ended, reason=Reason.EXIT_CODE)
    waiting = changed(
        job,
        status=JobState.PENDING,
        attempt=job.attempt + 1,
        attempts=[*job.attempts, attempt],
        not_before=ended + timedelta(seconds=seconds),
    )
    schedule.note(waiting)
    return waiting


def test_a_job_that_backs_off_gives_its_room_to_others_and_has_its_age_again_when_it_is_due(
    schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third, fourth = (submit(schedule) for _ in range(4))
    list(schedule.take())
    waiting = back_off(schedule, first, seconds=20)
    assert list(schedule.take()) == [third.job_id]
    assert place(schedule, fourth)[0] == 1
    position, waits_for = place(schedule, waiting)
    assert position == 2
    assert waits_for == f"its next attempt, at the earliest at {waiting.not_before:%Y-%m-%dT%H:%M:%SZ}"
    assert [user.waiting for user in schedule.users()] == [2]
    assert list(schedule.line("alice", 10)) == [fourth.job_id, first.job_id]
    due = schedule.next_due()
    assert due is not None
    assert 0 < due <= 20
    later = time.monotonic() + 21
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert schedule.next_due() == 0
    end(schedule, second, seconds=1)
    assert list(schedule.take()) == [first.job_id]
    assert schedule.next_due() is None
    assert place(schedule, fourth)[0] == 1


def test_a_job_that_backs_off_and_is_cancelled_waits_for_nothing(schedule: Schedule) -> None:
    job = submit(schedule)
    list(schedule.take())
    waiting = back_off(schedule, job, seconds=20)
    schedule.note(changed(waiting, status=JobState.CANCELLED))
    assert schedule.next_due() is None
    assert schedule.place(waiting).queue is None


def test_a_clock_that_was_set_back_puts_no_attempt_off_for_long(schedule: Schedule) -> None:
    job = submit(schedule)
    list(schedule.take())
    back_off(schedule, job, seconds=3600)
    due = schedule.next_due()
    assert due is not None
    assert due <= schedule_module.MAX_BACK_OFF


def test_the_back_off_doubles_up_to_five_minutes() -> None:
    seconds = [Schedule(SETTINGS).back_off(attempts).total_seconds() for attempts in range(1, 10)]
    assert seconds == [10, 20, 40, 80, 160, 300, 300, 300, 300]
