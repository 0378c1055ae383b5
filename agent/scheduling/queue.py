"""The queue: which jobs wait, which take room, and how much each user had; `policy` decides on it."""

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from operator import attrgetter

from ..config import JobSettings
from ..model.base import now
from ..model.host import Drain, QueuePlace, Resources, Use, UserQueue
from ..model.job import Job, JobState
from . import policy
from .dependencies import Dependencies
from .policy import Room, Running, Snapshot, Turn, Waiting, Window

# More than a unit takes to start and, by its template, to stop. A job that seems to have had its room for
# longer than this and its own limits has seen the clock set forward.
START_AND_STOP_SECONDS = 240
MAX_BACK_OFF = 300.0  # seconds between two attempts of a job
NEGLIGIBLE = 0.5  # seconds of the whole host; less recent use is not shown


@dataclass(frozen=True, slots=True)
class _BackingOff:
    """A job that waits for its next attempt: `due` is a monotonic time, `not_before` is what clients see."""

    due: float
    not_before: datetime
    job: Waiting


class Queue:
    """Holds the jobs that have not ended: `update` takes each change of a job, `start_next` gives room."""

    def __init__(self, settings: JobSettings) -> None:
        self._settings = settings
        self._capacity = Room.of(
            jobs=settings.max_running, cpus=settings.cpus, memory_bytes=settings.memory_bytes
        )
        self._waiting: dict[str, Waiting] = {}
        self._running: dict[str, Running] = {}
        self._backing_off: dict[str, _BackingOff] = {}
        self._dependencies = Dependencies()
        self._given_up: dict[str, None] = {}  # jobs that never start: one that they waited for has failed
        self._sequences: dict[str, int] = {}
        self._accepted = 0
        self._uses: dict[str, Use] = {}
        self._reserved: str | None = None
        self._turns: dict[str, Turn] | None = None
        self._drain: Drain | None = None
        self._drained = False  # whether it had begun when the queue was told last

    def load(self, jobs: Iterable[Job], uses: Iterable[Use]) -> None:
        """Sets the jobs that have not ended, oldest first, and what users had of the host before."""
        self._uses = {use.owner: use for use in uses}
        for job in jobs:
            self.update(job)

    def update(self, job: Job) -> None:
        """Takes the job as last committed: it waits, takes room, or has ended."""
        self._turns = None
        job_id = job.job_id
        self._backing_off.pop(job_id, None)
        if job.status.terminal:
            self._waiting.pop(job_id, None)
            self._running.pop(job_id, None)
            self._sequences.pop(job_id, None)
            self._given_up.pop(job_id, None)
            self._settle(job)
            return
        if job_id not in self._sequences:
            self._accepted += 1
            self._sequences[job_id] = self._accepted
            self._hold(job)
        if job_id in self._dependencies:
            return
        if job.status is JobState.PENDING:
            self._running.pop(job_id, None)
            if job.not_before is not None and job.not_before > now() and job_id not in self._waiting:
                # Measured by a clock that is never set: setting one back must not delay the job for long.
                left = min((job.not_before - now()).total_seconds(), MAX_BACK_OFF)
                due = time.monotonic() + left
                self._backing_off[job_id] = _BackingOff(due, job.not_before, self._waiting_job(job))
            else:
                self._waiting[job_id] = self._waiting_job(job)
        else:
            waited = self._waiting.pop(job_id, None) or self._waiting_job(job)
            known = self._running.get(job_id)
            since = known.since if known else (job.started_at or now()).timestamp()
            self._run(waited, since, started=job.started_at)

    def _hold(self, job: Job) -> None:
        """Holds a new job back while others that it waits for have not ended."""
        others = [each for each in job.after if each in self._sequences]
        if others and job.status is JobState.PENDING and job.attempt == 1:
            self._dependencies.hold(self._waiting_job(job), others)

    def _settle(self, ended: Job) -> None:
        """Lets go of the jobs that have waited for this one."""
        self._dependencies.drop(ended.job_id)
        if ended.status is JobState.COMPLETED:
            released = self._dependencies.release(ended.job_id)
            self._waiting.update({job.job_id: job for job in released})
        else:
            self._given_up.update(dict.fromkeys(self._dependencies.give_up(ended.job_id)))

    def give_up(self, job_id: str) -> None:
        """Has `start_next` name a job that can never start, so that it is ended; unless it has its turn."""
        if job_id in self._waiting or job_id in self._dependencies:
            self._turns = None
            self._dependencies.drop(job_id)
            self._waiting.pop(job_id, None)
            self._given_up[job_id] = None

    def chain_with(self, others: Iterable[str]) -> int:
        """How many jobs in a row would wait for one another, with one that waits for these."""
        return self._dependencies.depth(others)

    def start_next(self) -> Iterator[str]:
        """The ids of the jobs whose turn it is now; from here on they take room.

        And those of jobs that are given up, which take none.
        """
        given_up, self._given_up = self._given_up, {}
        yield from given_up
        moment = now()
        for job_id, backing_off in list(self._backing_off.items()):
            if backing_off.due <= time.monotonic():
                del self._backing_off[job_id]
                self._waiting[job_id] = backing_off.job
                self._turns = None
        decision = policy.decide(self._snapshot(moment))
        if decision.start or decision.reserved != self._reserved:
            self._turns = None
        self._reserved = decision.reserved
        for job_id in decision.start:
            self._run(self._waiting.pop(job_id), moment.timestamp())
            yield job_id

    @property
    def drain(self) -> Drain | None:
        """When no job may run, unless that is over."""
        return self._drain if self._drain and not self._drain.over(now()) else None

    @property
    def draining(self) -> bool:
        """Whether no job may start now."""
        return self.drain is not None and self.drain.begins_at <= now()

    def set_drain(self, drain: Drain | None) -> bool:
        """Sets when no job may run, as last committed. Returns whether jobs may have their turn by that.

        To be called again and again: what jobs wait for also changes as time passes.
        """
        self._drain, before = drain, (self._drain, self._drained)
        self._drained = self.draining
        if drain is not None or before[0] is not None:
            self._turns = None
        return (self._drain, self._drained) != before

    def ends_by(self, job: Job) -> datetime:
        """Until when the job may hold room if it starts now: to start, to run and to stop."""
        return now() + timedelta(seconds=longest(self._settings, job))

    def waits(self, job_id: str) -> bool:
        """Whether the job waits for its turn."""
        return job_id in self._waiting

    def retry_delay(self, attempts: int) -> timedelta:
        """How long a job waits after this many attempts until it queues again."""
        return timedelta(seconds=min(self._settings.retry_delay_seconds * 2 ** (attempts - 1), MAX_BACK_OFF))

    def next_retry(self) -> float | None:
        """Seconds until `start_next` must be called for the next retry; None where no job waits for one."""
        if not self._backing_off:
            return None
        return max(0.0, min(each.due for each in self._backing_off.values()) - time.monotonic())

    def use_after(self, job: Job) -> Use | None:
        """What the owner has had of the host when this job gives its room back; None if it has no room."""
        running = self._running.get(job.job_id)
        if running is None:
            return None
        moment = now()
        # A job that is to be tried again has not finished, but its attempt has.
        ended = (job.finished_at or (job.attempts[-1].finished_at if job.attempts else moment)).timestamp()
        cost = policy.cost(running.room, self._capacity, running.had(ended))
        return Use(owner=job.owner, seconds=self._used(job.owner, moment) + cost, at=moment)

    def charge(self, use: Use) -> None:
        """Sets the owner's use, which was committed."""
        self._uses[use.owner] = use

    def with_place(self, job: Job) -> Job:
        """The job with its place in the queue, if it waits."""
        job_id = job.job_id
        if not any(job_id in each for each in (self._waiting, self._backing_off, self._dependencies)):
            return job
        return job.model_copy(update={"queue": self._place(job.job_id, self._all_turns()[job.job_id])})

    def places(self, owner: str | None, limit: int) -> dict[str, QueuePlace]:
        """The places of the first `limit` waiting jobs, of one owner or of all, in order."""
        turns = self._all_turns().items()
        seen = (item for item in turns if owner is None or self._owner(item[0]) == owner)
        return {job_id: self._place(job_id, turn) for job_id, turn in islice(seen, limit)}

    def _place(self, job_id: str, turn: Turn) -> QueuePlace:
        return QueuePlace(position=turn.position, waits_for=turn.waits_for)

    def _all_turns(self) -> dict[str, Turn]:
        if self._turns is None:
            self._turns = policy.explain(self._snapshot(now()))
            # Jobs that cannot start yet come last: for now they take nobody's place.
            for each in sorted(self._backing_off.values(), key=attrgetter("due")):
                what = f"its next attempt, at the earliest at {each.not_before:%Y-%m-%dT%H:%M:%SZ}"
                self._turns[each.job.job_id] = Turn(len(self._turns) + 1, what)
            for job_id, what in self._dependencies.reasons():
                self._turns[job_id] = Turn(len(self._turns) + 1, what)
        return self._turns

    def _owner(self, job_id: str) -> str:
        if backing_off := self._backing_off.get(job_id):
            return backing_off.job.owner
        return (self._waiting.get(job_id) or self._dependencies.held(job_id)).owner

    def _all_waiting(self) -> Iterator[Waiting]:
        """Also the jobs that cannot start yet."""
        yield from self._waiting.values()
        yield from (each.job for each in self._backing_off.values())
        yield from self._dependencies.jobs()

    @property
    def capacity(self) -> Resources:
        """What the host gives to jobs."""
        return _resources(self._capacity)

    @property
    def in_use(self) -> Resources:
        """What running jobs take of it, including jobs that are about to start."""
        return _resources(self._taken())

    @property
    def free(self) -> Resources:
        """What running jobs leave of it; nothing is negative, even where the site has become smaller."""
        left = self._capacity - self._taken()
        return _resources(Room(max(0, left.jobs), max(0, left.millicpus), max(0, left.memory_bytes)))

    def _taken(self) -> Room:
        return sum((running.room for running in self._running.values()), start=Room(0, 0, 0))

    def ends_in(self) -> float:
        """Within how many seconds all that runs now must have ended, by its run-time limits."""
        moment = now().timestamp()
        return max(0.0, *(running.ends_by - moment for running in self._running.values()), 0.0)

    def users(self) -> list[UserQueue]:
        """Users with jobs that have not ended or with recent use worth showing, by name."""
        moment = now()
        waiting = Counter(job.owner for job in self._all_waiting())
        running = Counter(job.owner for job in self._running.values())
        recent = {owner: self._used(owner, moment) for owner in self._uses}
        names = {*waiting, *running, *(owner for owner, used in recent.items() if used > NEGLIGIBLE)}
        return [
            UserQueue(
                user=name,
                waiting=waiting[name],
                running=running[name],
                recent_use_seconds=round(recent.get(name, 0.0), 1),
            )
            for name in sorted(names)
        ]

    def _snapshot(self, moment: datetime) -> Snapshot:
        return Snapshot(
            now=moment.timestamp(),
            capacity=self._capacity,
            running=tuple(self._running.values()),
            waiting=tuple(self._waiting.values()),
            used={owner: self._used(owner, moment) for owner in self._uses},
            max_running_per_user=self._settings.max_running_per_user,
            reserved=self._reserved,
            window=_window(self.drain),
        )

    def _used(self, owner: str, moment: datetime) -> float:
        """What the owner had, halved with each half-life. Setting the clock back changes nothing."""
        use = self._uses.get(owner)
        if use is None:
            return 0.0
        elapsed = max(0.0, (moment - use.at).total_seconds())
        return use.seconds * math.exp2(-elapsed / self._settings.fair_share_half_life_seconds)

    def _waiting_job(self, job: Job) -> Waiting:
        limits = self._settings.resolve(job.limits)
        return Waiting(
            job_id=job.job_id,
            owner=job.owner,
            room=Room.of(cpus=limits.cpus, memory_bytes=limits.memory_bytes),
            run_time=float(limits.run_time_seconds),
            priority=job.priority,
            sequence=self._sequences[job.job_id],
            since=job.created_at.timestamp(),
            longest=longest(self._settings, job),
        )

    def _run(self, job: Waiting, since: float, *, started: datetime | None = None) -> None:
        begun = started.timestamp() if started else since
        ends_by = begun + job.run_time
        self._running[job.job_id] = Running(job.job_id, job.owner, job.room, since, ends_by, job.longest)


def longest(settings: JobSettings, job: Job) -> float:
    """The most seconds that a job can hold its room: to start, to run and to stop."""
    limits = settings.resolve(job.limits)
    return float(limits.run_time_seconds + (limits.grace_seconds or 0) + START_AND_STOP_SECONDS)


def _window(drain: Drain | None) -> Window | None:
    if drain is None:
        return None
    ends = drain.ends_at.timestamp() if drain.ends_at else math.inf
    return Window(drain.begins_at.timestamp(), ends, drain.reason)


def _resources(room: Room) -> Resources:
    return Resources(jobs=room.jobs, cpus=room.millicpus / 1000, memory_bytes=room.memory_bytes)
