"""Which waiting job starts next: pure functions of the host's capacity, the running and the waiting jobs.

Order: priority, then the user with the least recent use of the host, then age. The first job that does not
fit gets a reservation. A job behind it may start only if that does not delay the reservation (EASY backfill:
Lifka, "The ANL/IBM SP Scheduling System", 1995). A drain of the host reserves all of it: no job starts that
could still hold its room when that begins. Times are seconds since the epoch.
"""

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter

# The least that a job counts for. Starting a job costs the host, however short the job is. And because it
# counts as soon as it starts, users whose jobs start together take turns.
LEAST_SECONDS = 10.0
# A lowered priority rises one step towards 0 each time the job has waited this long, so it starts some day.
AGEING_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Room:
    """An amount of each resource that jobs take. CPUs are in thousandths, so that sums are exact."""

    jobs: int
    millicpus: int
    memory_bytes: int

    @classmethod
    def of(cls, *, cpus: float, memory_bytes: int, jobs: int = 1) -> "Room":
        """The room of one job, or of `jobs` jobs."""
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
        """Whether there is enough of each resource."""
        return (
            self.jobs >= other.jobs
            and self.millicpus >= other.millicpus
            and self.memory_bytes >= other.memory_bytes
        )

    def share_of(self, capacity: "Room") -> float:
        """The share of the host that this takes: the largest of its shares of each resource.

        Dominant resource fairness (Ghodsi and others, NSDI 2011): a job that takes all memory leaves no CPU
        that others could use.
        """
        return max(
            self.jobs / capacity.jobs,
            self.millicpus / capacity.millicpus,
            self.memory_bytes / capacity.memory_bytes,
        )


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job in the queue. `sequence` is the order of acceptance, `since` the time of acceptance.

    `longest` is the most seconds that it can hold its room: to start, to run and to stop.
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
        """The priority; a lowered one rises with age."""
        if self.priority >= 0:
            return self.priority
        return min(0, self.priority + int(max(0.0, now - self.since) // AGEING_SECONDS))


@dataclass(frozen=True, slots=True)
class Running:
    """A job that has held room since `since`, and must end by `ends_by`, its run-time limit.

    It counts for at most `longest` seconds, even if the clock was set forward.
    """

    job_id: str
    owner: str
    room: Room
    since: float
    ends_by: float
    longest: float = math.inf

    def had(self, now: float) -> float:
        """How many seconds it has held its room."""
        return min(now - self.since, self.longest)


@dataclass(frozen=True, slots=True)
class Window:
    """When no job may hold room: from `begins` until `ends`, or until somebody ends it; and why, in words."""

    begins: float
    ends: float = math.inf
    reason: str = ""

    def hinders(self, now: float, ends_by: float) -> bool:
        """Whether a job may not start now that holds its room until `ends_by` at the latest."""
        return now < self.ends and ends_by > self.begins

    def waits_for(self, now: float, why: str) -> str:
        """What jobs wait for that it hinders: completes "it waits for". `why` it is so before it begins."""
        because = f" ({self.reason})" if self.reason else ""
        if self.begins > now:
            until = "" if math.isinf(self.ends) else f" to {_time(self.ends)}"
            return f"the end of the maintenance from {_time(self.begins)}{until}{because}: {why}"
        if math.isinf(self.ends):
            return f"this host to take up work again: its operator has drained it{because}"
        return f"the end of the maintenance, planned for {_time(self.ends)}{because}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that a decision depends on.

    `used` is each user's recent use without running jobs, in seconds of the whole host, decayed to `now`.
    `reserved` is the job that the last decision reserved room for. `window` is when all room is reserved.
    """

    now: float
    capacity: Room
    running: Sequence[Running]
    waiting: Sequence[Waiting]
    used: Mapping[str, float] = field(default_factory=dict)
    max_running_per_user: int | None = None
    reserved: str | None = None
    window: Window | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The jobs that start now, in this order, and the job that room is reserved for."""

    start: tuple[str, ...]
    reserved: str | None


@dataclass(frozen=True, slots=True)
class Turn:
    """A waiting job's place, from 1, and what it waits for: a text that completes "it waits for"."""

    position: int
    waits_for: str


@dataclass(slots=True)
class _Reservation:
    """Room reserved for a job: what it lacks now, by when that is free, and what else is free then."""

    job: Waiting
    lacks: str
    at: float
    spare: Room


def decide(snapshot: Snapshot) -> Decision:
    """The waiting jobs that start now. Deterministic; never exceeds the capacity or a user's limit."""
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
    """The waiting jobs in order: by priority, then by each user's use, then by age.

    Each job further ahead counts for its user, so that users take turns. The job with the reservation stays
    first in its priority: otherwise other users' small jobs could push it back for ever.
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
    """Orders jobs of one priority, given oldest first, by their owners' loads, and adds to these."""
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
    """What a job that has run for so long counts for, in seconds of the whole host."""
    return room.share_of(capacity) * max(seconds, LEAST_SECONDS)


class _Walk:
    """One pass over the waiting jobs in order: what is still free, and who has the reservation."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._running = list(snapshot.running)
        self._counts = Counter(running.owner for running in snapshot.running)
        self.free = snapshot.capacity
        for running in snapshot.running:
            self.free -= running.room
        self.reservation: _Reservation | None = None

    def obstacle(self, job: Waiting) -> str | None:
        """What keeps the job from starting now, in words; None if it starts."""
        snapshot, kept = self._snapshot, self.reservation
        if not snapshot.capacity.holds(job.room):
            wanted = difference(job.room, snapshot.capacity)
            return (
                f"{wanted}, which is more than this host gives to jobs; it never starts unless that changes"
            )
        if self._hindered(job, snapshot.now):
            return self._waits_for_window("it could run into that, by its run-time limit")
        if self._at_limit(job):
            return (
                f"one of {job.owner}'s jobs to end: a user may run {snapshot.max_running_per_user} at a time"
            )
        if not self.free.holds(job.room):
            if kept is None:
                kept = self._reserve(job)
                if self._hindered(job, kept.at):
                    # It cannot count on a start before the window, so it keeps nobody from the room.
                    return self._waits_for_window(f"{kept.lacks} may not be free early enough before that")
                self.reservation = kept
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

    def _hindered(self, job: Waiting, at: float) -> bool:
        """Whether the window hinders a start at that time."""
        window = self._snapshot.window
        return window is not None and window.hinders(at, at + job.longest)

    def _waits_for_window(self, why: str) -> str:
        assert self._snapshot.window is not None
        return self._snapshot.window.waits_for(self._snapshot.now, why)

    def _at_limit(self, job: Waiting) -> bool:
        """Whether the user is at the limit of running jobs; a reserved job of the user counts as running."""
        limit, kept = self._snapshot.max_running_per_user, self.reservation
        if limit is None:
            return False
        return self._counts[job.owner] + (kept is not None and kept.job.owner == job.owner) >= limit

    def _reserve(self, job: Waiting) -> _Reservation:
        """Goes from one running job's latest end to the next, until the job fits."""
        free, at = self.free, self._snapshot.now
        lacks = difference(job.room, free)
        ending = sorted(self._running, key=lambda running: (max(at, running.ends_by), running.job_id))
        for running in ending:
            if free.holds(job.room):
                break
            free += running.room
            at = max(at, running.ends_by)
        return _Reservation(job, lacks, at, free - job.room)


def difference(wanted: Room, free: Room) -> str:
    """The resources that are short, such as `4 GiB of memory and 2 CPUs`."""
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
    return f"at the latest at {_time(at)}"


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
