from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.scheduling.policy import (
    AGEING_SECONDS,
    Decision,
    Room,
    Running,
    Snapshot,
    Turn,
    Waiting,
    cost,
    decide,
    explain,
    in_order,
)

GIB = 2**30
NOW = 1_000_000.0
HOST = Room.of(jobs=4, cpus=8, memory_bytes=16 * GIB)
SMALL = Room.of(cpus=1, memory_bytes=GIB)

rooms = st.builds(
    Room, st.just(1), st.integers(1, 5_000), st.sampled_from([GIB // 2, GIB, 4 * GIB, 9 * GIB, 20 * GIB])
)
owners = st.sampled_from(["alice", "bob", "carol"])
job_ids = st.integers(0, 10**6).map(str)


def waiting(job_id: str, owner: str = "alice", room: Room = SMALL, **fields: float) -> Waiting:
    """A job of at most an hour; its age follows its id unless given."""
    facts = {"run_time": 3600.0, "priority": 0, "sequence": int(job_id, 36), "since": NOW} | fields
    return Waiting(job_id, owner, room, **facts)  # type: ignore[arg-type]  # int and float, as named


def running(job_id: str, owner: str = "alice", room: Room = SMALL, *, ends_by: float = NOW + 3600) -> Running:
    return Running(job_id, owner, room, since=NOW, ends_by=ends_by)


def snapshot(waits: list[Waiting], runs: list[Running] | None = None, **fields: Any) -> Snapshot:
    return replace(Snapshot(NOW, HOST, tuple(runs or ()), tuple(waits)), **fields)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Any state that may occur: even more running jobs than fit, and overdue ends."""
    ids = draw(st.lists(job_ids, unique=True, max_size=24))
    split = draw(st.integers(0, min(5, len(ids))))
    times = st.floats(NOW - 5_000, NOW + 5_000)
    runs = tuple(Running(i, draw(owners), draw(rooms), draw(times), draw(times)) for i in ids[:split])
    waits = tuple(
        Waiting(i, draw(owners), draw(rooms), draw(st.floats(1, 5_000)), draw(st.integers(-10, 10)), n, NOW)
        for n, i in enumerate(ids[split:])
    )
    return Snapshot(
        now=NOW,
        capacity=HOST,
        running=runs,
        waiting=waits,
        used=draw(st.dictionaries(owners, st.floats(0, 1e6))),
        max_running_per_user=draw(st.none() | st.integers(1, 4)),
        reserved=draw(st.none() | st.sampled_from(ids)) if ids else None,
    )


@given(snapshots())
def test_decisions_never_exceed_the_capacity_or_a_users_limit(given_: Snapshot) -> None:
    by_id = {job.job_id: job for job in given_.waiting}
    free, counts = HOST, Counter(job.owner for job in given_.running)
    for job in given_.running:
        free -= job.room
    for job_id in decide(given_).start:
        assert free.holds(by_id[job_id].room)
        free -= by_id[job_id].room
        counts[by_id[job_id].owner] += 1
        assert counts[by_id[job_id].owner] <= (given_.max_running_per_user or 99)


@given(snapshots(), st.randoms(use_true_random=False))
def test_decisions_do_not_depend_on_the_order_of_the_input(given_: Snapshot, random: object) -> None:
    waits, runs = list(given_.waiting), list(given_.running)
    random.shuffle(waits)  # type: ignore[attr-defined]  # a random.Random, which hypothesis does not say
    random.shuffle(runs)  # type: ignore[attr-defined]
    other = replace(given_, waiting=tuple(waits), running=tuple(runs))
    assert decide(other) == decide(given_)
    assert explain(other) == explain(given_)


@given(snapshots())
def test_every_waiting_job_has_its_own_place_and_a_reason(given_: Snapshot) -> None:
    turns = explain(given_)
    assert turns.keys() == {job.job_id for job in given_.waiting}
    assert sorted(turn.position for turn in turns.values()) == list(range(1, len(turns) + 1))
    assert all(turn.waits_for for turn in turns.values())


@given(snapshots())
def test_the_jobs_that_start_are_those_that_are_told_so(given_: Snapshot) -> None:
    told = {job_id for job_id, turn in explain(given_).items() if "about to start it" in turn.waits_for}
    assert set(decide(given_).start) == told


@given(snapshots())
def test_the_first_job_that_fits_starts(given_: Snapshot) -> None:
    """An empty host never idles while a job waits that it can run."""
    idle = replace(given_, running=())
    if any(HOST.holds(job.room) for job in idle.waiting):
        assert decide(idle).start


@given(snapshots())
def test_jobs_that_pass_do_not_delay_the_reservation(given_: Snapshot) -> None:
    """The reserved room is free when promised, even if the new jobs run to their limits."""
    by_id = {job.job_id: job for job in given_.waiting}
    decision = decide(given_)
    if decision.reserved is None or decision.reserved not in by_id:
        return
    kept = by_id[decision.reserved]
    before = [job.job_id for job in in_order(given_)]
    ahead = set(before[: before.index(kept.job_id)])
    after = decide_again(given_, [job_id for job_id in decision.start if job_id in ahead])
    promised = fits_at(after, kept)
    assert fits_at(decide_again(given_, list(decision.start)), kept) <= promised


def decide_again(given_: Snapshot, start: list[str]) -> Snapshot:
    """The snapshot after these jobs have started."""
    by_id = {job.job_id: job for job in given_.waiting}
    started = [
        Running(i, by_id[i].owner, by_id[i].room, given_.now, given_.now + by_id[i].run_time) for i in start
    ]
    left = tuple(job for job in given_.waiting if job.job_id not in start)
    return replace(given_, running=(*given_.running, *started), waiting=left)


def fits_at(given_: Snapshot, job: Waiting) -> float:
    """When the job fits if every running job takes all its time."""
    moments = sorted({given_.now, *(max(given_.now, each.ends_by) for each in given_.running)})
    for moment in moments:
        free = given_.capacity
        for each in given_.running:
            if max(given_.now, each.ends_by) > moment:
                free -= each.room
        if free.holds(job.room):
            return moment
    return float("inf")


def test_priority_precedes_use_and_use_precedes_age() -> None:
    line = [
        waiting("1", "alice"),
        waiting("2", "bob"),
        waiting("3", "carol", priority=1),
        waiting("4", "dave", priority=-1),
    ]
    given_ = snapshot(line, used={"alice": 1000.0})
    assert [job.job_id for job in in_order(given_)] == ["3", "2", "1", "4"]


def test_users_who_submit_in_bursts_take_turns() -> None:
    burst = [waiting(f"{n}", owner) for n, owner in enumerate(["alice"] * 3 + ["bob"] * 3)]
    assert [job.owner for job in in_order(snapshot(burst))] == ["alice", "bob"] * 3


def test_users_with_larger_jobs_get_fewer_turns() -> None:
    large = replace(SMALL, memory_bytes=8 * GIB)  # half the memory counts as half the host
    line = [waiting(f"{n}", "alice", large) for n in range(3)]
    line += [waiting(f"{n}", "bob", replace(SMALL, millicpus=100)) for n in range(3, 9)]
    order = [job.owner for job in in_order(snapshot(line))]
    assert order == ["alice", "bob", "bob", "alice", "bob", "bob", "alice", "bob", "bob"]


def test_running_jobs_count_for_their_user() -> None:
    line = [waiting("1", "alice"), waiting("2", "bob")]
    given_ = snapshot(line, [running("r", "alice")])
    assert [job.owner for job in in_order(given_)] == ["bob", "alice"]


def test_a_lowered_priority_rises_with_age_and_never_above_zero() -> None:
    job = waiting("1", priority=-2)
    levels = [job.level(NOW + hours * AGEING_SECONDS) for hours in (0, 1, 2, 9)]
    assert levels == [-2, -1, 0, 0]
    assert waiting("1", priority=3).level(NOW + 9 * AGEING_SECONDS) == 3


LARGE = Room.of(cpus=1, memory_bytes=12 * GIB)
HALF = Room.of(cpus=1, memory_bytes=8 * GIB)


def test_a_small_job_passes_a_large_one_that_it_does_not_delay() -> None:
    line = [waiting("1", "alice", LARGE), waiting("2", "bob", run_time=60.0)]
    given_ = snapshot(line, [running("r", "carol", HALF, ends_by=NOW + 600)])
    assert decide(given_) == Decision(start=("2",), reserved="1")


def test_a_small_job_that_ends_late_passes_only_into_spare_room() -> None:
    half = replace(HALF, memory_bytes=5 * GIB)
    line = [waiting("1", "alice", LARGE), waiting("2", "bob", half), waiting("3", "bob", SMALL)]
    given_ = snapshot(line, [running("r", "carol", HALF, ends_by=NOW + 600)])
    assert decide(given_) == Decision(start=("3",), reserved="1")
    assert explain(given_)["2"].waits_for == (
        "a larger job before it, which it would delay and which starts at the latest at 1970-01-12T13:56:40Z"
    )


def test_a_large_jobs_reason_names_the_lacking_room_and_its_time() -> None:
    given_ = snapshot([waiting("1", "alice", LARGE)], [running("r", "bob", HALF, ends_by=NOW + 600)])
    expected = Turn(1, "12 GiB of memory, free at the latest at 1970-01-12T13:56:40Z")
    assert explain(given_)["1"] == expected


def test_an_overdue_job_may_end_at_any_moment() -> None:
    given_ = snapshot([waiting("1", "alice", LARGE)], [running("r", "bob", HALF, ends_by=NOW - 5)])
    assert explain(given_)["1"].waits_for == "12 GiB of memory, free at any moment"


def test_the_job_with_the_reservation_stays_first_in_its_priority() -> None:
    line = [waiting("1", "alice", LARGE), waiting("2", "bob"), waiting("3", "carol", priority=1)]
    given_ = snapshot(line, used={"alice": 1e6}, reserved="1")
    assert [job.job_id for job in in_order(given_)] == ["3", "1", "2"]


def test_a_users_small_jobs_do_not_take_the_place_of_the_users_reserved_job() -> None:
    line = [waiting("1", "alice", LARGE), waiting("2", "alice", run_time=1.0)]
    runs = [running("r", "alice"), running("s", "bob", HALF)]
    assert decide(snapshot(line, runs, max_running_per_user=2)) == Decision(start=(), reserved="1")


def test_a_user_at_the_limit_is_passed_by_others() -> None:
    line = [waiting("1", "alice"), waiting("2", "bob")]
    given_ = snapshot(line, [running("r", "alice")], max_running_per_user=1, used={"bob": 1e6})
    assert decide(given_) == Decision(start=("2",), reserved=None)
    assert explain(given_)["1"].waits_for == "one of alice's jobs to end: a user may run 1 at a time"


def test_a_job_larger_than_the_host_delays_nobody_and_has_a_reason() -> None:
    """An administrator may have lowered the capacity since the job was accepted."""
    line = [waiting("1", "alice", Room.of(cpus=9, memory_bytes=GIB)), waiting("2", "bob")]
    assert decide(snapshot(line)) == Decision(start=("2",), reserved=None)
    assert explain(snapshot(line))["1"].waits_for.startswith("9 CPUs, which is more than this host gives")


def test_fractions_of_cpus_add_up_exactly() -> None:
    tenth = Room.of(cpus=0.1, memory_bytes=2**20)
    capacity = Room.of(jobs=99, cpus=0.3, memory_bytes=GIB)
    line = [waiting(str(n), room=tenth) for n in range(4)]
    assert len(decide(snapshot(line, capacity=capacity)).start) == 3


@dataclass
class Simulation:
    """A host in simulated time: jobs arrive, run, and are charged."""

    capacity: Room = HOST
    used: dict[str, float] = field(default_factory=dict)
    now: float = NOW
    waits: list[Waiting] = field(default_factory=list)
    runs: dict[str, tuple[Running, float]] = field(default_factory=dict)
    reserved: str | None = None
    started: dict[str, float] = field(default_factory=dict)

    def submit(self, owner: str, room: Room = SMALL, run_time: float = 60.0, priority: int = 0) -> str:
        number = len(self.waits) + len(self.runs) + len(self.started) * 2
        job_id = f"{owner}-{number}-{len(self.started)}"
        self.waits.append(Waiting(job_id, owner, room, run_time, priority, number, self.now))
        return job_id

    def step(self, *, takes: float = 1.0) -> None:
        """Starts the next jobs, then goes on to the next end; jobs take this part of their run time."""
        runs = tuple(run for run, _ in self.runs.values())
        decision = decide(
            Snapshot(self.now, self.capacity, runs, tuple(self.waits), self.used, None, self.reserved)
        )
        self.reserved = decision.reserved
        for job in [job for job in self.waits if job.job_id in decision.start]:
            self.waits.remove(job)
            run = Running(job.job_id, job.owner, job.room, self.now, self.now + job.run_time)
            self.runs[job.job_id] = (run, self.now + job.run_time * takes)
            self.started[job.job_id] = self.now
        self.now = min(ends for _, ends in self.runs.values())
        for run, ends in list(self.runs.values()):
            if ends <= self.now:
                del self.runs[run.job_id]
                part = cost(run.room, self.capacity, ends - run.since)
                self.used[run.owner] = self.used.get(run.owner, 0.0) + part


@pytest.mark.parametrize("seconds", [0.2, 30.0, 600.0])
def test_three_users_with_bursts_get_equal_shares(seconds: float) -> None:
    host = Simulation()
    for owner in ("alice", "bob", "carol"):
        for _ in range(100):
            host.submit(owner, run_time=seconds)
    while len({job.owner for job in host.waits}) == 3:
        host.step()
    starts = Counter(job_id.partition("-")[0] for job_id in host.started)
    assert max(starts.values()) - min(starts.values()) <= 3


def test_a_user_with_longer_jobs_gets_the_same_time_in_fewer_jobs() -> None:
    host = Simulation()
    for _ in range(300):
        host.submit("alice", run_time=100)
    for _ in range(60):
        host.submit("bob", run_time=500)
    while len({job.owner for job in host.waits}) == 2:
        host.step()
    assert host.used["alice"] == pytest.approx(host.used["bob"], rel=0.1)


def test_a_large_job_starts_while_others_keep_submitting_small_ones() -> None:
    host = Simulation()
    large = host.submit("alice", Room.of(cpus=1, memory_bytes=15 * GIB))
    host.used = {"alice": 100.0}
    for _ in range(400):
        for owner in ("alice", "bob", "carol"):
            while sum(job.owner == owner for job in host.waits) < 3:
                host.submit(owner, replace(SMALL, memory_bytes=4 * GIB))
        host.step(takes=0.5)
        if large in host.started:
            break
    assert large in host.started


def test_a_job_of_lowered_priority_starts_while_others_keep_submitting() -> None:
    host = Simulation()
    last = host.submit("alice", priority=-10)
    while last not in host.started:
        while len(host.waits) < 8:
            host.submit("bob", run_time=600)
        host.step()
        assert host.now < NOW + 12 * AGEING_SECONDS
