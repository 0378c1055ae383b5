"""A host's member of the fleet: claims jobs for which the host has room, and gives them to the host's agent.

The order of its steps is a promise: claim, acknowledge the ticket, confirm, submit. Submitted before they are
claimed, jobs would run twice; with the ticket acknowledged before the claim, they would wait for ever. A
member can end between any two steps: the next one takes up what the record says that the host has.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from .. import __version__
from ..errors import AgentError, Problem
from ..host.tasks import background
from ..model.fleet import Room
from ..model.host import Resources
from ..model.job import Job
from ..scheduling import policy
from .entries import Claim, HostReport, NoClaim, Offer, Revision, Step
from .parts import Agent, Fleet, Ticket, Tickets
from .secret_sync import SecretSync

log = logging.getLogger("ml-fleet")

T = TypeVar("T")

# Within so many seconds of its confirmation a job begins, or never: the host's agent refuses it later, and a
# host is not forgotten before it has been silent for longer.
LEASE = 8.0
BEAT = 2.0  # seconds between two words that the host is there
PAUSE = 0.5  # seconds after a failure, and where nothing fits
MAX_TOLD = 10_000  # jobs of which a member remembers that it has told the agent
TICKET_WAIT = 30.0  # seconds to wait for a ticket
# With these answers, the host's agent does not have the job and will not have it: another host may.
REFUSALS = frozenset(
    {
        Problem.DRAINING,
        Problem.JOB_ID_TAKEN,
        Problem.INVALID_REQUEST,
        Problem.SCRIPT_NOT_FOUND,
        Problem.REF_NOT_FOUND,
        Problem.COMMIT_REFUSED,
        Problem.SECRET_MISSING,
        Problem.IMAGE_MISSING,
        Problem.TOO_MANY_JOBS,
        Problem.FORBIDDEN,
    }
)


class Member:
    """One host's member. `run` it until it is cancelled, or killed."""

    def __init__(
        self,
        host: str,
        fleet: Fleet,
        agent: Agent,
        tickets: Tickets,
        *,
        url: str = "",
        secrets: SecretSync | None = None,
        last_seconds: float = 0.0,
    ) -> None:
        """`url` is the address of the host's agent, as fronts reach it. `secrets` is run beside all else.

        When it is cancelled, jobs that are being handed over have `last_seconds` left.
        """
        self._host = host
        self._url = url
        self._secrets = secrets
        self._last_seconds = last_seconds
        self._fleet = fleet
        self._agent = agent
        self._tickets = tickets
        self._epoch = ""
        self._room: Room | None = None  # as the agent said last
        self._fences: dict[str, str] = {}  # of the jobs that the host has, by id
        self._told: set[str] = set()  # jobs of which the agent knows that the record has their end
        self._has_jobs = asyncio.Event()
        self._ended = asyncio.Event()  # a job of the fleet has ended: there may be room
        self._handing_over: set[asyncio.Task[None]] = set()
        self._unsure = False  # a claim was sent, and its answer lost
        self._said = ""  # why something failed, as it was logged last

    async def run(self) -> None:
        """Joins, takes up what the host has, and works until it is cancelled."""
        await self._until_it_works(self._join)
        try:
            await self._until_it_works(self._recover)
            async with background(self._beat()), background(self._follow()), background(self._sync()):
                while True:
                    await self._until_it_works(self._work)
        finally:
            if self._handing_over and self._last_seconds:
                await asyncio.wait(self._handing_over, timeout=self._last_seconds)
            for task in self._handing_over:
                task.cancel()

    async def _sync(self) -> None:
        if self._secrets is not None:
            await self._secrets.run()

    async def _until_it_works(self, work: Callable[[], Awaitable[T]]) -> T:
        """Does what needs the record, the broker or the agent, again until none of them is away."""
        while True:
            try:
                return await work()
            except AgentError as error:
                if str(error) != self._said:  # once, and not twice a second for as long as it is so
                    self._said = str(error)
                    log.info("%s: %s", self._host, error)
                await asyncio.sleep(PAUSE)

    # Joining

    async def _join(self) -> None:
        # The agent is not asked each time: it may be idle, and has ended then.
        self._room = self._room or await self._agent.room()
        joined = await self._fleet.join(self._host, _report(self._room, self._url))
        self._epoch = joined.epoch
        if not joined.known:
            await self._begin_as_new()
        for job_id in joined.stop:
            await self._stop(job_id)

    async def _stop(self, job_id: str) -> None:
        """Ends a job whose end was asked for, wherever the front that was asked has ended since."""
        job = await self._agent.job(job_id)
        if job is not None and not job.cancel_requested and not job.status.terminal:
            await self._agent.cancel(job)

    async def _begin_as_new(self) -> None:
        """The fleet has forgotten this host, and runs its jobs elsewhere: they must end here first.

        Nothing that was confirmed earlier can begin any more: a host is forgotten when its lease is over.
        """
        log.warning("%s was forgotten: its jobs end before it claims again", self._host)
        self._forget_fences(*self._fences)
        while jobs := await self._agent.jobs():
            for job in jobs:
                if not job.cancel_requested:
                    await self._agent.cancel(job)
            await asyncio.sleep(PAUSE)
        if await self._fleet.back(self._host, self._epoch):
            await self._join()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            await self._until_it_works(self._join)

    # Claiming

    async def _work(self) -> None:
        """Waits for a ticket, and claims with it."""
        assert self._room is not None
        if self._unsure:
            await self._recover()
            self._unsure = False
        ticket = await self._tickets.take(tuple(self._room.networks), TICKET_WAIT)
        if ticket is not None:
            await self._claim_with(ticket)

    async def _claim_with(self, ticket: Ticket) -> None:
        try:
            claim = await self._claim()
        except AgentError:
            await ticket.give_back()
            raise
        if isinstance(claim, Claim):
            try:
                await ticket.acknowledge()
            finally:  # the record has the claim, whatever becomes of the ticket
                self._start(claim)
        elif claim is NoClaim.EMPTY:
            await ticket.acknowledge()
        else:
            await ticket.give_back()
            await self._join()
            await self._room_or_pause()

    async def _claim(self) -> Claim | NoClaim:
        self._room = room = await self._agent.room()
        if self._secrets is not None:
            self._secrets.noticed(room.secrets)
        if room.draining:
            return NoClaim.DRAINING
        if not room.image_digest:
            return NoClaim.NO_IMAGE
        self._unsure = True
        claim = await self._fleet.claim_next(
            Offer(
                host=self._host,
                epoch=self._epoch,
                capacity=_amount(room.capacity),
                others=_amount(room.others),
                ends_in=room.ends_in_seconds,
                needs=tuple(room.networks),
                digests=(room.image_digest,),
                closes_in=room.closes_in_seconds,
            )
        )
        self._unsure = False
        return claim

    async def _room_or_pause(self) -> None:
        self._ended.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PAUSE):
                await self._ended.wait()

    def _start(self, claim: Claim) -> None:
        """Hands a job over beside everything else."""
        self._fences[claim.job_id] = claim.fence
        self._has_jobs.set()
        task = asyncio.create_task(self._hand_over(claim))
        self._handing_over.add(task)
        task.add_done_callback(self._handing_over.discard)

    def _forget_fences(self, *job_ids: str) -> None:
        for job_id in job_ids:
            self._fences.pop(job_id, None)
        if not self._fences:
            self._has_jobs.clear()

    # Giving jobs to the host's agent

    async def _recover(self) -> None:
        """Takes up every claim of this host that is not known, whether the agent has heard of it or not."""
        for claim in await self._fleet.claims_of(self._host):
            if self._fences.get(claim.job_id) != claim.fence:
                self._start(claim)

    async def _hand_over(self, claim: Claim) -> None:
        job = await self._until_it_works(lambda: self._given(claim))
        if job is None:
            self._forget_fences(claim.job_id)
            return
        step = await self._until_it_works(
            lambda: self._fleet.acknowledge(claim.job_id, self._host, claim.fence)
        )
        if step is Step.CANCELLED:
            await self._until_it_works(lambda: self._agent.cancel(job))
        # What has happened while nobody followed.
        await self._until_it_works(lambda: self._tell(claim.job_id))

    async def _given(self, claim: Claim) -> Job | None:
        """Confirms the claim and submits the job; None where it is not to begin here.

        A job that the agent has already, from a member that ended right after its submission, needs no
        confirmation: the record would take it for one that can be cancelled without the agent.
        """
        if (known := await self._agent.job(claim.job_id)) is not None:
            return known
        # Before the record is asked: what it says is true of some moment after this one.
        deadline = time.clock_gettime(time.CLOCK_BOOTTIME) + LEASE
        step = await self._fleet.confirm(claim.job_id, self._host, self._epoch, claim.fence)
        if step is Step.GIVEN:
            return await self._given_before(claim)
        if step is not Step.OK:
            return None
        try:
            return await self._agent.take(claim, deadline)
        except AgentError as error:
            if error.problem not in REFUSALS:
                raise
            log.warning("%s does not take job %s: %s", self._host, claim.job_id, error)
            await self._fleet.release(claim.job_id, self._host, claim.fence, elsewhere=True)
            return None

    async def _given_before(self, claim: Claim) -> Job | None:
        """The job that the agent has had, by the record; None where it has lost it: it is not begun anew.

        So it is after a restore from an old backup. A second member of this host may just have given it.
        """
        if (known := await self._agent.job(claim.job_id)) is not None:
            return known
        log.warning("%s has lost job %s, which it once had", self._host, claim.job_id)
        await self._fleet.release(claim.job_id, self._host, claim.fence, elsewhere=True)
        return None

    # Telling the record

    async def _follow(self) -> None:
        """Follows only while the host has jobs of the fleet: an open stream keeps the agent from ending."""
        while True:
            await self._has_jobs.wait()
            await self._until_it_works(self._follow_once)
            await asyncio.sleep(PAUSE)

    async def _follow_once(self) -> None:
        async with contextlib.aclosing(self._agent.changes()) as changes:
            async for job in changes:
                await self._until_it_works(partial(self._project, job))
                if not self._has_jobs.is_set():
                    return

    async def _tell(self, job_id: str) -> None:
        if (job := await self._agent.job(job_id)) is not None:
            await self._project(job)

    async def _project(self, job: Job) -> None:
        fence = self._fences.get(job.job_id)
        if fence is None:  # of an earlier claim, or not claimed as far as this member has come
            if not self._unsure:
                await self._tell_agent(job)
            return
        await self._fleet.project(job.job_id, self._host, fence, Revision.of(job))
        if job.status.terminal:
            self._forget_fences(job.job_id)
            self._ended.set()
            await self._tell_agent(job)

    async def _tell_agent(self, job: Job) -> None:
        """The record has the end of a job, or wants nothing of it: the host's retention need not wait."""
        if job.status.terminal and job.job_id not in self._told:
            await self._agent.tell(job.job_id)
            if len(self._told) >= MAX_TOLD:
                self._told.clear()
            self._told.add(job.job_id)


def _report(room: Room, url: str) -> HostReport:
    return HostReport(
        capacity=_amount(room.capacity),
        url=url,
        image=room.image,
        image_digest=room.image_digest,
        networks=tuple(room.networks),
        secrets_key=room.secrets_key.model_dump_json() if room.secrets_key else "",
        versions={"agent": __version__},
        others=_amount(room.others),
        draining=room.draining,
    )


def _amount(resources: Resources) -> policy.Room:
    return policy.Room.of(jobs=resources.jobs, cpus=resources.cpus, memory_bytes=resources.memory_bytes)
