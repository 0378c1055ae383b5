"""Members that are killed at any of their steps, over agents that only count what begins.

The agents are stand-ins: no real one could be asked so often, nor shows at once that a job has begun twice.
"""

import asyncio
import contextlib
import itertools
import math
import random
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from datetime import timedelta
from typing import Any

from agent.errors import AgentError, Problem
from agent.fleet.entries import Claim
from agent.fleet.member import Member
from agent.fleet.record import Record
from agent.fleet.tickets import BrokerServer, Taker
from agent.model.base import now
from agent.model.fleet import Room
from agent.model.host import Resources
from agent.model.job import Job, JobState

from .jobs import make_job

RUN_TIME = 0.05  # seconds of a job
PLACES = Resources(jobs=4, cpus=4, memory_bytes=4 * 2**30)


class CountingAgent:
    """An agent that begins what it is given at once. It outlives its members."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.begun: list[tuple[str, int]] = []  # id and attempt
        self.draining = False
        self.image_digest = "sha256:1"
        self.refuses: Problem | None = None
        self.refused: list[str] = []
        self.told: set[str] = set()
        self.took: dict[str, float] = {}  # seconds, by job
        self.clock = timedelta(0)  # by how much the host's clock is ahead
        self._jobs: dict[str, Job] = {}
        self._followers: set[asyncio.Queue[Job]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def room(self) -> Room:
        nothing = Resources(jobs=0, cpus=0, memory_bytes=0)
        return Room(
            host=self.host,
            draining=self.draining,
            capacity=PLACES,
            free=PLACES,
            others=nothing,
            ends_in_seconds=0,
            networks=["none"],
            image="i",
            image_digest=self.image_digest,
        )

    async def take(self, claim: Claim, not_after: float) -> Job:
        if claim.job_id in self._jobs:
            return self._jobs[claim.job_id]
        if self.refuses is not None:
            self.refused.append(claim.job_id)
            raise AgentError(self.refuses, "The stand-in refuses.")
        if time.clock_gettime(time.CLOCK_BOOTTIME) > not_after:
            raise AgentError(Problem.DEADLINE_PASSED, "The job came too late.")
        self.begin(claim)
        job = make_job(job_id=claim.job_id, owner=claim.owner, status=JobState.RUNNING, host=self.host)
        self._put(job)
        task = asyncio.create_task(self._run(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return job

    @property
    def run_time(self) -> float:
        """Seconds that the next job takes."""
        return RUN_TIME

    def begin(self, claim: Claim) -> None:
        """Counts a start."""
        self.begun.append((claim.job_id, claim.attempt))

    async def _run(self, job: Job) -> None:
        began, seconds = time.monotonic(), self.run_time
        await asyncio.sleep(seconds)
        self.took[job.job_id] = time.monotonic() - began
        status = self._jobs[job.job_id].status
        if not status.terminal:
            self._put(
                job.model_copy(
                    update={"status": JobState.COMPLETED, "finished_at": now() + self.clock, "revision": 2}
                )
            )

    def _put(self, job: Job) -> None:
        self._jobs[job.job_id] = job
        for follower in self._followers:
            follower.put_nowait(job)

    async def close(self) -> None:
        """Ends what runs, untold."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def cancel(self, job: Job) -> None:
        known = self._jobs[job.job_id]
        if not known.status.terminal:
            update = {
                "status": JobState.CANCELLED,
                "cancel_requested": True,
                "finished_at": now(),
                "revision": 3,
            }
            self._put(known.model_copy(update=update))

    async def tell(self, job_id: str) -> None:
        self.told.add(job_id)

    async def job(self, job_id: str) -> Job | None:
        return self._jobs.get(job_id)

    async def jobs(self) -> list[Job]:
        return [job for job in self._jobs.values() if not job.status.terminal]

    async def changes(self) -> AsyncGenerator[Job]:
        follower: asyncio.Queue[Job] = asyncio.Queue()
        self._followers.add(follower)
        try:
            for job in list(self._jobs.values()):
                yield job
            while True:
                yield await follower.get()
        finally:
            self._followers.discard(follower)


class Fuse:
    """Lets so many moments pass; from then on nothing goes on, as in a process that was killed."""

    def __init__(self, moments: float) -> None:
        self._left = moments
        self.blown = asyncio.Event()

    @classmethod
    def by_chance(cls, chance: random.Random, share: float) -> "Fuse":
        """One that blows at each moment with this probability."""
        return cls(math.ceil(math.log(1 - chance.random()) / math.log(1 - share)) if share else math.inf)

    async def burn(self) -> None:
        self._left -= 1
        if self._left <= 0:
            self.blown.set()
            await asyncio.Event().wait()


class Fragile:
    """Something whose every call passes a fuse before and after it."""

    def __init__(self, target: Any, fuse: Fuse) -> None:
        self._target = target
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)
        if name == "changes":
            return method

        async def call(*args: Any, **options: Any) -> Any:
            await self._fuse.burn()
            answer = await method(*args, **options)
            await self._fuse.burn()
            return Fragile(answer, self._fuse) if name == "take" and hasattr(answer, "give_back") else answer

        return call


async def alive(
    kind: type[Member], record: Record, broker: BrokerServer, agent: CountingAgent, deaths: Iterable[int]
) -> None:
    """One member after the other, each killed after so many moments; the last one lives until cancelled."""
    for moments in itertools.chain(deaths, (float("inf"),)):
        await life(kind, record, broker, agent, Fuse(moments))


async def life(
    kind: type[Member],
    record: Any,
    broker: BrokerServer,
    agent: Any,
    fuse: Fuse,
    *,
    over: Callable[[Taker], Any] = lambda taker: taker,
) -> None:
    """A member until its fuse is blown. It asks for tickets `over` something."""
    async with Taker.connected(broker) as taker:
        member = kind(agent.host, *(Fragile(each, fuse) for each in (record, agent, over(taker))))
        await until_blown(member.run(), fuse)


async def until_blown(work: Coroutine[Any, Any, object], fuse: Fuse) -> None:
    """Does the work until the fuse is blown; raises what the work raises."""
    running, blown = asyncio.create_task(work), asyncio.create_task(fuse.blown.wait())
    try:
        await asyncio.wait({running, blown}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
    finally:
        for task in (running, blown):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
