"""Drains: no job starts that could run into one, none is lost, and users still take turns."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import JobSettings
from agent.model.base import new_job_id
from agent.model.host import Drain
from agent.model.inputs import Limits
from agent.model.job import Attempt, Job, JobState, Reason
from agent.scheduling import queue as queue_module
from agent.scheduling.policy import Decision, Room, Running, Snapshot, Waiting, Window, decide, explain
from agent.scheduling.queue import Queue, longest
from tests.support.jobs import make_job

GIB = 2**30
NOW = 1_000_000.0
HOST = Room.of(jobs=4, cpus=8, memory_bytes=16 * GIB)
SMALL = Room.of(cpus=1, memory_bytes=GIB)
LARGE = Room.of(cpus=1, memory_bytes=12 * GIB)

rooms = st.builds(Room, st.just(1), st.integers(1, 5_000), st.sampled_from([GIB, 4 * GIB, 9 * GIB, 20 * GIB]))
owners = st.sampled_from(["alice", "bob", "carol"])


def waiting(job_id: str, owner: str = "alice", room: Room = SMALL, *, seconds: float = 3600.0) -> Waiting:
    """A job of at most so long, which takes a minute to stop."""
    return Waiting(job_id, owner, room, seconds, 0, int(job_id, 36), NOW, seconds + 60)


def running(job_id: str, room: Room = SMALL, *, ends_by: float) -> Running:
    return Running(job_id, "carol", room, since=NOW, ends_by=ends_by)


def snapshot(waits: list[Waiting], runs: Sequence[Running] = (), **fields: Any) -> Snapshot:
    return replace(Snapshot(NOW, HOST, tuple(runs), tuple(waits)), **fields)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    begins = draw(st.floats(NOW - 5_000, NOW + 10_000))
    return Window(begins, begins + draw(st.floats(1, 10_000) | st.just(float("inf"))), draw(st.text()))


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    ids = [str(n) for n in range(draw(st.integers(0, 20)))]
    split = draw(st.integers(0, min(5, len(ids))))
    times = st.floats(NOW - 5_000, NOW + 5_000)
    runs = tuple(Running(i, draw(owners), draw(rooms), draw(times), draw(times)) for i in ids[:split])
    seconds = st.floats(1, 8_000)
    waits = tuple(
        replace(
            waiting(i, draw(owners), draw(rooms), seconds=draw(seconds)), priority=draw(st.integers(-2, 2))
        )
        for i in ids[split:]
    )
    return snapshot(
        list(waits),
        runs,
        used=draw(st.dictionaries(owners, st.floats(0, 1e6))),
        max_running_per_user=draw(st.none() | st.integers(1, 4)),
        reserved=draw(st.none() | st.sampled_from(ids)) if ids else None,
        window=draw(windows()),
    )


def hindered(given_: Snapshot, job: Waiting) -> bool:
    assert given_.window is not None
    return given_.now < given_.window.ends and given_.now + job.longest > given_.window.begins


@given(snapshots())
def test_no_job_starts_that_could_run_into_the_window(given_: Snapshot) -> None:
    started = set(decide(given_).start)
    assert not [job.job_id for job in given_.waiting if job.job_id in started and hindered(given_, job)]


@given(snapshots())
def test_every_waiting_job_keeps_its_place_and_is_told_why(given_: Snapshot) -> None:
    turns = explain(given_)
    assert sorted(turn.position for turn in turns.values()) == list(range(1, len(given_.waiting) + 1))
    about_to = {job_id for job_id, turn in turns.items() if "about to start it" in turn.waits_for}
    assert set(decide(given_).start) == about_to
    for job in given_.waiting:
        if hindered(given_, job) and HOST.holds(job.room):
            assert turns[job.job_id].waits_for.startswith(("the end of the maintenance", "this host to take"))


@given(snapshots())
def test_a_window_that_is_over_hinders_nothing(given_: Snapshot) -> None:
    over = replace(given_, window=Window(NOW - 10, NOW))
    assert decide(over) == decide(replace(given_, window=None))
    assert explain(over) == explain(replace(given_, window=None))


@given(snapshots())
def test_the_first_job_that_fits_before_the_window_starts(given_: Snapshot) -> None:
    """What may not start keeps nobody else from the room."""
    idle = replace(given_, running=())
    if any(HOST.holds(job.room) and not hindered(idle, job) for job in idle.waiting):
        assert decide(idle).start


@given(snapshots(), st.randoms(use_true_random=False))
def test_decisions_do_not_depend_on_the_order_of_the_input(given_: Snapshot, random: Any) -> None:
    waits, runs = list(given_.waiting), list(given_.running)
    random.shuffle(waits)
    random.shuffle(runs)
    other = replace(given_, waiting=tuple(waits), running=tuple(runs))
    assert (decide(other), explain(other)) == (decide(given_), explain(given_))


def test_the_time_to_stop_counts() -> None:
    line = [waiting("1", seconds=600), waiting("2", seconds=540)]
    given_ = snapshot(line, window=Window(NOW + 600))
    assert decide(given_) == Decision(start=("2",), reserved=None)


def test_a_job_that_cannot_count_on_its_room_before_the_window_reserves_none() -> None:
    """Until then, shorter jobs pass it, though they would delay it on another day."""
    line = [waiting("1", "alice", LARGE, seconds=600), waiting("2", "bob", seconds=1800)]
    runs = [running("r", Room.of(cpus=1, memory_bytes=8 * GIB), ends_by=NOW + 1800)]
    given_ = snapshot(line, runs, window=Window(NOW + 2000, NOW + 9000, "kernel"))
    assert decide(given_) == Decision(start=("2",), reserved=None)
    assert explain(given_)["1"].waits_for == (
        "the end of the maintenance from 1970-01-12T14:20:00Z to 1970-01-12T16:16:40Z (kernel):"
        " 12 GiB of memory may not be free early enough before that"
    )
    later = replace(given_, window=Window(NOW + 9000))
    assert decide(later).reserved == "1"


@pytest.mark.parametrize(
    ("window", "words"),
    [
        (Window(NOW - 5), "this host to take up work again: its operator has drained it"),
        (
            Window(NOW - 5, reason="disk"),
            "this host to take up work again: its operator has drained it (disk)",
        ),
        (
            Window(NOW, NOW + 600, "disk"),
            "the end of the maintenance, planned for 1970-01-12T13:56:40Z (disk)",
        ),
        (
            Window(NOW + 600),
            "the end of the maintenance from 1970-01-12T13:56:40Z: it could run into that,"
            " by its run-time limit",
        ),
    ],
)
def test_what_a_job_waits_for_says_until_when_and_why(window: Window, words: str) -> None:
    assert explain(snapshot([waiting("1")], window=window))["1"].waits_for == words


SETTINGS = JobSettings(
    max_running=3,
    cpus=4,
    memory_bytes=8 * GIB,
    default_limits=Limits(cpus=1, memory_bytes=GIB, run_time_seconds=600),
    max_running_per_user=2,
    retry_delay_seconds=10,
)


@dataclass
class House:
    """A real queue in simulated time: jobs hold their room as long as they may, or shorter."""

    clock: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    queue: Queue = field(default_factory=lambda: Queue(SETTINGS))
    drain: Drain | None = None
    jobs: dict[str, Job] = field(default_factory=dict)
    over_at: dict[str, datetime] = field(default_factory=dict)  # of running jobs
    fails: set[str] = field(default_factory=set)
    starts: Counter[str] = field(default_factory=Counter)
    holds: list[tuple[str, datetime, datetime]] = field(default_factory=list)

    def submit(self, owner: str, seconds: int, *, retries: bool, after: bool) -> None:
        others = (
            [job_id for job_id, job in self.jobs.items() if not job.status.terminal][-1:] if after else []
        )
        job = make_job(
            owner,
            job_id=new_job_id(),
            limits=Limits(run_time_seconds=seconds),
            created_at=self.clock,
            max_attempts=2,
            after=others,
        )
        if retries:
            self.fails.add(job.job_id)
        self.set(job)

    def set(self, job: Job) -> None:
        self.jobs[job.job_id] = job
        self.queue.update(job)

    def start(self) -> None:
        self.queue.set_drain(self.drain)
        for job_id in list(self.queue.start_next()):
            job = self.jobs[job_id]
            latest = self.clock + timedelta(seconds=longest(SETTINGS, job))
            drain = self.drain
            assert drain is None or drain.over(self.clock) or latest <= drain.begins_at
            self.starts[job_id] += 1
            self.over_at[job_id] = latest
            self.set(job.model_copy(update={"status": JobState.RUNNING, "started_at": self.clock}))

    def advance(self, seconds: float, part: float) -> None:
        """Lets time pass, and the jobs end whose part of the longest time is over."""
        self.clock += timedelta(seconds=seconds)
        for job_id, latest in list(self.over_at.items()):
            job = self.jobs[job_id]
            assert job.started_at is not None
            ends = job.started_at + (latest - job.started_at) * part
            if ends <= self.clock:
                del self.over_at[job_id]
                self.holds.append((job_id, job.started_at, ends))
                self.set(self.ended(job, ends))

    def ended(self, job: Job, ends: datetime) -> Job:
        if job.job_id in self.fails and job.attempt == 1:
            attempt = Attempt(number=1, finished_at=ends, reason=Reason.EXIT_CODE)
            again = {"status": JobState.PENDING, "attempt": 2, "attempts": [attempt], "started_at": None}
            return job.model_copy(update=again)
        return job.model_copy(update={"status": JobState.COMPLETED, "finished_at": ends})

    def in_time(self) -> Any:
        """Has the queue read this clock."""
        return mock.patch.object(queue_module, "now", self.now)

    def now(self) -> datetime:
        return self.clock


steps = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), owners, st.integers(1, 4_000), st.booleans(), st.booleans()),
        st.tuples(st.just("advance"), st.integers(1, 3_000), st.floats(0.1, 1)),
        st.tuples(st.just("drain"), st.integers(0, 5_000), st.none() | st.integers(1, 5_000)),
        st.tuples(st.just("resume")),
        st.tuples(st.just("agent")),
    ),
    max_size=40,
)


def do(house: House, step: tuple[Any, ...], planned: list[Drain]) -> None:
    match step:
        case ("submit", owner, seconds, retries, after):
            house.submit(owner, seconds, retries=retries, after=after)
        case ("advance", seconds, part):
            house.advance(seconds, part)
        case ("drain", begins, lasts):
            at = house.clock + timedelta(seconds=begins)
            house.drain = Drain(begins_at=at, ends_at=at + timedelta(seconds=lasts) if lasts else None)
            planned.append(house.drain)
        case ("resume",):
            house.drain = None
        case ("agent",):  # another agent goes on from the record
            house.queue = Queue(SETTINGS)
            house.queue.load([job for job in house.jobs.values() if not job.status.terminal], [])


@given(steps)
def test_no_job_overruns_a_window_and_none_is_lost(sequence: list[tuple[Any, ...]]) -> None:
    house, planned = House(), list[Drain]()
    with house.in_time():
        for step in sequence:
            do(house, step, planned)
            house.start()
        house.drain = None
        for _ in range(3 * len(house.jobs) + 1):
            house.start()
            house.advance(5_000, 1)
    assert all(job.status is JobState.COMPLETED for job in house.jobs.values())
    assert all(house.starts[job_id] == (2 if job_id in house.fails else 1) for job_id in house.jobs)


@given(steps, st.integers(0, 20_000), st.integers(1, 20_000))
def test_when_a_planned_window_begins_nothing_runs(
    sequence: list[tuple[Any, ...]], begins: int, lasts: int
) -> None:
    """Whatever was accepted before, and whatever else is asked for meanwhile: a reboot interrupts no job."""
    house = House()
    at = house.clock + timedelta(seconds=begins)
    house.drain = Drain(begins_at=at, ends_at=at + timedelta(seconds=lasts))
    with house.in_time():
        for step in sequence:
            if step[0] not in ("drain", "resume"):
                do(house, step, [])
            house.start()
        house.advance(1e6, 1)
        house.start()
    for _, since, ends in house.holds:
        assert ends <= at or since >= at + timedelta(seconds=lasts)


def test_users_still_take_turns_after_a_window() -> None:
    house = House()
    with house.in_time():
        for owner in ("alice", "bob", "carol"):
            for _ in range(20):
                house.submit(owner, 600, retries=False, after=False)
        house.drain = Drain(
            begins_at=house.clock + timedelta(hours=1), ends_at=house.clock + timedelta(hours=2)
        )
        counts = []
        while sum(house.starts.values()) < 45:
            house.start()
            house.advance(300, 0.5)
            counts.append(Counter(house.jobs[job_id].owner for job_id in house.starts))
    assert len({sum(each.values()) for each in counts}) < len(counts)  # for an hour nothing began
    assert all(max(each.values()) - min(each.values()) <= 3 for each in counts if sum(each.values()) > 5)


def test_what_jobs_wait_for_follows_the_clock_without_another_change() -> None:
    house = House()
    with house.in_time():
        house.submit("alice", 600, retries=False, after=False)
        (job,) = house.jobs.values()

        def words() -> str:
            place = house.queue.with_place(job).queue
            assert place is not None
            return place.waits_for

        drain = Drain(
            begins_at=house.clock + timedelta(seconds=60), ends_at=house.clock + timedelta(seconds=90)
        )
        assert house.queue.set_drain(drain)
        assert "could run into" in words()
        assert (house.queue.draining, house.queue.set_drain(drain)) == (False, False)
        house.clock += timedelta(seconds=61)
        assert house.queue.set_drain(drain)
        assert (house.queue.draining, words()) == (
            True,
            "the end of the maintenance, planned for 2026-01-01T00:01:30Z",
        )
        house.clock += timedelta(seconds=30)
        assert house.queue.set_drain(drain)
        assert (house.queue.drain, words()) == (None, "the agent, which is about to start it")
        assert list(house.queue.start_next()) == [job.job_id]
