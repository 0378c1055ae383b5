"""Whose turn it is: pure functions of what the host gives, what runs and what waits.

Order: priority, then the user who had least of the host of late, then age. The first job that does not fit
gets a reservation; a job behind it may pass only where that does not delay it (EASY backfill: Lifka, "The
ANL/IBM SP Scheduling System", 1995). Times are seconds since the epoch.
"""

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter

# What a job counts for at the least. To start one costs the host, however short it is; and since it counts
# from its start on, users whose jobs start together take turns.
LEAST_SECONDS = 10.0
# A lowered priority comes one step nearer to 0 each time the job has waited so long: it waits, not for ever.
AGEING_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Room:
    """An amount of each thing that jobs take. CPUs are thousandths: sums of them must be exact."""

    jobs: int
    millicpus: int
    memory_bytes: int

    @classmethod
    def of(cls, *, cpus: float, memory_bytes: int, jobs: int = 1) -> "Room":
        """The room of one job, or of as many as given."""
        return cls(jobs, round(cpus * 1000), memory_bytes)

    def __add__(self, other: "Room") -> "Room":
        return Room(
            self.jobs + other.jobs, self.millicpus + other.millicpus, self.memory_bytes + other.memory_bytes
        )

    def __sub__(self, other: "Room") -> "Room":
        return Room(
            self.jobs - other.jobs, self.millicpus - other.millicpus, self.memory_bytes - other.memory_bytes
        )

    def holds(self, other: "Room") -> bool:
        """Whether there is enough of everything."""
        return (
            self.jobs >= other.jobs
            and self.millicpus >= other.millicpus
            and self.memory_bytes >= other.memory_bytes
        )

    def share_of(self, capacity: "Room") -> float:
        """The part of the host that this keeps from others: that of the thing it takes most of.

        Dominant resource fairness (Ghodsi and others, NSDI 2011): whoever takes all memory leaves no CPU
        to anybody either.
        """
        return max(
            self.jobs / capacity.jobs,
            self.millicpus / capacity.millicpus,
            self.memory_bytes / capacity.memory_bytes,
        )


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job in the queue. `sequence` is the order of acceptance, `since` when it was accepted.

    `longest` is the most seconds that it can have its room: besides its run time, to start and to stop.
    """

    job_id: str
    owner: str
    room: Room
    run_time: float
    priority: int
    sequence: int
    since: float
    longest: float = math.inf

    def level(self, now: float) -> int:
        """The priority, a lowered one aged."""
        if self.priority >= 0:
            return self.priority
        return min(0, self.priority + int(max(0.0, now - self.since) // AGEING_SECONDS))


@dataclass(frozen=True, slots=True)
class Running:
    """A job that takes room since `since`, until `ends_by` at the latest: its run-time limit.

    Where the clock was set on, it counts for `longest` seconds at the most.
    """

    job_id: str
    owner: str
    room: Room
    since: float
    ends_by: float
    longest: float = math.inf

    def had(self, now: float) -> float:
        """How many seconds it has had its room."""
        return min(now - self.since, self.longest)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a decision rests on.

    `used` is what each user had of late, in seconds of the whole host, decayed to `now`, without what runs.
    `reserved` is the job that the last decision kept room for.
    """

    now: float
    capacity: Room
    running: Sequence[Running]
    waiting: Sequence[Waiting]
    used: Mapping[str, float] = field(default_factory=dict)
    max_running_per_user: int | None = None
    reserved: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Who starts now, in this order, and which job room is kept for."""

    start: tuple[str, ...]
    reserved: str | None


@dataclass(frozen=True, slots=True)
class Turn:
    """A waiting job's place, from 1, and what it waits for as the end of a sentence."""

    position: int
    waits_for: str


@dataclass(slots=True)
class _Reservation:
    """Room kept for a job: what it lacks, when that is surely free, and what else is free by then."""

    job: Waiting
    lacks: str
    at: float
    spare: Room


def decide(snapshot: Snapshot) -> Decision:
    """The waiting jobs that start now. Deterministic; never over the capacity or a user's limit."""
    walk = _Walk(snapshot)
    start = []
    if walk.free.jobs > 0:
        for job in in_order(snapshot):
            if walk.obstacle(job) is None:
                start.append(job.job_id)
                if walk.free.jobs <= 0:
                    break
    if walk.reservation is not None:
        return Decision(tuple(start), walk.reservation.job.job_id)
    return Decision(tuple(start), None if snapshot.reserved in start else snapshot.reserved)


def explain(snapshot: Snapshot) -> dict[str, Turn]:
    """The turn of every waiting job, by its id."""
    walk = _Walk(snapshot)
    return {
        job.job_id: Turn(position, walk.obstacle(job) or "the agent, which is about to start it")
        for position, job in enumerate(in_order(snapshot), start=1)
    }


def in_order(snapshot: Snapshot) -> Iterator[Waiting]:
    """The line: by priority, then by what each user had, then by age.

    Each job that goes before counts for its user, so that users take turns. The job that room is kept for
    stays ahead of its priority: otherwise small jobs of others could push it back for ever.
    """
    now = snapshot.now
    loads = defaultdict(float, snapshot.used)
    for running in snapshot.running:
        loads[running.owner] += cost(running.room, snapshot.capacity, running.had(now))
    by_age = sorted(snapshot.waiting, key=attrgetter("sequence"))
    levels = groupby(sorted(by_age, key=lambda job: -job.level(now)), key=lambda job: job.level(now))
    for _, jobs in levels:
        yield from _take_turns(snapshot, loads, list(jobs))


def _take_turns(snapshot: Snapshot, loads: dict[str, float], jobs: Sequence[Waiting]) -> Iterator[Waiting]:
    """Jobs of one priority, oldest first, so that whoever has the least load goes next; adds to `loads`."""
    queues: dict[str, list[Waiting]] = defaultdict(list)
    for job in reversed(jobs):
        if job.job_id == snapshot.reserved:
            loads[job.owner] += cost(job.room, snapshot.capacity)
            yield job
        else:
            queues[job.owner].append(job)
    heads = [(loads[owner], queue[-1].sequence, owner) for owner, queue in queues.items()]
    heapq.heapify(heads)
    while heads:
        owner = heads[0][2]
        queue = queues[owner]
        job = queue.pop()
        loads[owner] += cost(job.room, snapshot.capacity)
        yield job
        if queue:
            heapq.heapreplace(heads, (loads[owner], queue[-1].sequence, owner))
        else:
            heapq.heappop(heads)


def cost(room: Room, capacity: Room, seconds: float = 0.0) -> float:
    """What a job that has run so long counts for, in seconds of the whole host."""
    return room.share_of(capacity) * max(seconds, LEAST_SECONDS)


class _Walk:
    """One walk along the line: what is still free, and for whom room is kept."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._running = list(snapshot.running)
        self._counts = Counter(running.owner for running in snapshot.running)
        self.free = snapshot.capacity
        for running in snapshot.running:
            self.free -= running.room
        self.reservation: _Reservation | None = None

    def obstacle(self, job: Waiting) -> str | None:
        """What keeps the job from starting now, in words; None lets it start."""
        snapshot, kept = self._snapshot, self.reservation
        if not snapshot.capacity.holds(job.room):
            wanted = _difference(job.room, snapshot.capacity)
            return (
                f"{wanted}, which is more than this host gives to jobs; it never starts unless that changes"
            )
        if self._at_limit(job):
            return (
                f"one of {job.owner}'s jobs to end: a user may run {snapshot.max_running_per_user} at a time"
            )
        if not self.free.holds(job.room):
            if kept is None:
                kept = self.reservation = self._reserve(job)
                return f"{kept.lacks}, free {_moment(kept.at, snapshot.now)}"
            return "the jobs before it"
        ends_by = snapshot.now + job.run_time
        if kept is not None and ends_by > kept.at:
            if not kept.spare.holds(job.room):
                moment = _moment(kept.at, snapshot.now)
                return f"a larger job before it, which it would delay and which starts {moment}"
            kept.spare -= job.room
        self.free -= job.room
        self._counts[job.owner] += 1
        self._running.append(Running(job.job_id, job.owner, job.room, snapshot.now, ends_by))
        return None

    def _at_limit(self, job: Waiting) -> bool:
        """Whether the user runs as many jobs as a user may, one place kept for a job with a reservation."""
        limit, kept = self._snapshot.max_running_per_user, self.reservation
        if limit is None:
            return False
        return self._counts[job.owner] + (kept is not None and kept.job.owner == job.owner) >= limit

    def _reserve(self, job: Waiting) -> _Reservation:
        """Goes forward in time, from one running job's latest end to the next, until the job fits."""
        free, at = self.free, self._snapshot.now
        lacks = _difference(job.room, free)
        ending = sorted(self._running, key=lambda running: (max(at, running.ends_by), running.job_id))
        for running in ending:
            if free.holds(job.room):
                break
            free += running.room
            at = max(at, running.ends_by)
        return _Reservation(job, lacks, at, free - job.room)


def _difference(wanted: Room, free: Room) -> str:
    """What of `wanted` there is not enough of, such as `4 GiB of memory and 2 CPUs`."""
    parts = []
    if wanted.memory_bytes > free.memory_bytes:
        parts.append(f"{_size(wanted.memory_bytes)} of memory")
    if wanted.millicpus > free.millicpus:
        parts.append("1 CPU" if wanted.millicpus == 1000 else f"{wanted.millicpus / 1000:g} CPUs")
    if wanted.jobs > free.jobs:
        parts.append("a place among the running jobs")
    return " and ".join(parts)


def _size(count: int) -> str:
    return f"{count / 2**30:.3g} GiB" if count >= 2**30 else f"{count / 2**20:.3g} MiB"


def _moment(at: float, now: float) -> str:
    if at <= now:
        return "at any moment"
    return f"at the latest at {datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
