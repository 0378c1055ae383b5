"""The jobs that have not ended, and the only writer of jobs to the store."""

import asyncio
import contextlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from ..audit.chain import Caller, Deed
from ..config import Settings
from ..errors import AgentError, Problem
from ..host.tasks import in_thread, to_its_end
from ..host.trees import measure
from ..model.base import new_job_id, now, unit_name
from ..model.host import QueuePlace
from ..model.job import Job, JobPage, JobState, Reason, no_such_job
from ..scheduling.queue import Queue
from ..store.jobs import Given, IdTaken, JobStore, id_taken

WITHDRAWN = "The fleet has withdrawn the job from this host."


@dataclass
class ActiveJob:
    """A job that has not ended. `job` is its record as last committed."""

    job: Job
    hint: asyncio.Event = field(default_factory=asyncio.Event)  # set when the job should be looked at
    looked: asyncio.Event = field(default_factory=asyncio.Event)  # set once it has been looked at
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # held while a revision is committed
    manager: str | None = None  # the systemd manager that was asked to start it, if this agent recorded that
    start_requests: int = 0  # how often systemd was asked to start the attempt
    refusal: str = ""  # why it refused the last time


@dataclass(frozen=True)
class Asked:
    """How a request for a job is known when it comes again: by its content, and a key or the fleet's wish."""

    fingerprint: str
    key: str | None = None
    given: Given | None = None


@dataclass(eq=False)
class Registry:
    """Adds, changes and lists jobs. Each of `on_end` is called with each job that ends.

    `wake` is set when a job may have to be started: one was added, or one gave its room back.
    """

    _settings: Settings
    _store: JobStore
    _queue: Queue
    on_end: list[Callable[[Job], None]]
    _active: dict[str, ActiveJob] = field(default_factory=dict)
    # By owner, of active jobs.
    _commits: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    _charging: asyncio.Lock = field(default_factory=asyncio.Lock)
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    async def load(self) -> None:
        """Takes up every job that had not ended when an agent last wrote the store."""
        self._active = {job.job_id: ActiveJob(job) for job in await self._store.active()}
        for active in self._active.values():
            self._commits[active.job.owner][active.job.commit] += 1
        self._queue.load((active.job for active in self._active.values()), await self._store.uses())
        for job_id in await self._store.with_unmet():
            if (one := self._active.get(job_id)) and await self.unmet(one.job):
                self._queue.give_up(job_id)
        self.wake.set()

    # What clients ask for

    async def get(self, job_id: str) -> Job:
        """The job as last committed, and its place in the queue. Raises `AgentError` (job-not-found)."""
        active = self._active.get(job_id)
        job = active.job if active else await self._store.get(job_id)
        if job is None:
            raise no_such_job()
        return self._queue.with_place(await self._store.with_readers(job))

    async def page(self, **filters: Any) -> JobPage:
        """A page of jobs, newest first; takes what `Store.page` takes."""
        page = await self._store.page(**filters)
        return page.model_copy(update={"jobs": [self._queue.with_place(job) for job in page.jobs]})

    async def with_place(self, job: Job) -> Job:
        """A job that was read from the store, with its place in the queue if it waits."""
        return self._queue.with_place(job) if job.status is JobState.PENDING else job

    def started(self, owner: str | None) -> list[Job]:
        """The jobs of one owner, or of all, that systemd has been asked to start and that have not ended."""
        active = (active.job for active in self._active.values())
        return [job for job in active if job.status is not JobState.PENDING and owner in (None, job.owner)]

    async def running(self, owner: str | None) -> list[Job]:
        """The same, for clients."""
        return self.started(owner)

    async def places(self, owner: str | None, limit: int) -> dict[str, QueuePlace]:
        """The places of the first `limit` waiting jobs, of one owner or of all, in their order."""
        return self._queue.places(owner, limit)

    async def cancel(self, job_id: str, *, by: Caller | None = None) -> Job:
        """Asks for the job's end. A job that waits ends at once. Cancelling again changes nothing."""
        active = self._active.get(job_id)
        if active is not None:
            deed = by.did("cancelJob", job_id, owner=active.job.owner) if by else None
            await self.change(active, _cancellation, deed=deed)
            active.hint.set()
            self.wake.set()
        return await self.get(job_id)

    async def withdraw(self, job_id: str, *, by: Caller) -> Job:
        """Ends a job that has never begun, so that it can run elsewhere. Doing it again changes nothing.

        Raises `AgentError` (not-waiting) for every other job.
        """
        active = self._active.get(job_id)
        if active is not None:
            deed = by.did("withdrawJob", job_id, owner=active.job.owner)
            await self.change(active, _withdrawal, deed=deed)
            self.wake.set()
        job = await self.get(job_id)
        if job.message != WITHDRAWN:
            raise AgentError(
                Problem.NOT_WAITING, f"Job {job_id} has begun or ended here.", "Cancel it, or let it end."
            )
        return job

    async def tell(self, job_ids: Sequence[str]) -> None:
        """The fleet has heard of the ends of these jobs; those that have not ended do not count."""
        await self._store.tell(job_ids)

    async def pin(self, job_id: str, *, pinned: bool, by: Caller | None = None) -> Job:
        """Keeps the job from retention, or leaves it to it again; doing it again changes nothing.

        Raises `AgentError`: too-many-pinned, job-not-found where retention was faster.
        """
        deed = None
        if by:
            owner = (await self.get(job_id)).owner
            deed = by.did("pinJob" if pinned else "unpinJob", job_id, owner=owner)
        await to_its_end(self._pin(job_id, pinned=pinned, deed=deed))
        return await self.get(job_id)

    async def _pin(self, job_id: str, *, pinned: bool, deed: Deed | None) -> None:
        active = self._active.get(job_id)
        async with active.lock if active else contextlib.nullcontext():
            retention, size = self._settings.retention, None
            if pinned and not active:
                size, _ = await in_thread(partial(measure, self._settings.paths_of(job_id).directory))
            job = await self._store.pin(
                job_id,
                pinned=pinned,
                limit=retention.max_pinned_per_user,
                max_bytes=retention.pin_limit(os.statvfs(self._settings.state_directory)),
                size=size,
                deed=deed,
            )
            if active and job:
                active.job = job

    @property
    def draining(self) -> bool:
        """Whether no job may start."""
        return self._queue.draining

    @property
    def idle(self) -> bool:
        """Whether every job has ended."""
        return not self._active

    # What the other parts of this wing ask for

    def active(self, job_id: str) -> ActiveJob | None:
        """The job, unless it has ended."""
        return self._active.get(job_id)

    def all_active(self) -> Collection[ActiveJob]:
        """Every job that has not ended, oldest first."""
        return self._active.values()

    async def accepted(self, owner: str, asked: Asked) -> Job | None:
        """The job that this request has made before.

        Raises `AgentError`: idempotency-mismatch, and job-id-taken for a job that is `given`.
        """
        known = None
        if asked.given is not None:
            known = await self._store.given(asked.given, asked.fingerprint)
        elif asked.key is not None:
            known = await self._store.by_key(owner, asked.key, asked.fingerprint)
        return await self.get(known.job_id) if known else None

    @property
    def _shares(self) -> dict[str, int]:
        """What a user may have on record."""
        return {
            "max_waiting": self._settings.jobs.max_waiting_per_user,
            "max_record_bytes": self._settings.retention.record_limit_per_user,
        }

    async def check_share(self, owner: str) -> None:
        """Raises `AgentError` (too-many-jobs) where a job of this owner would be refused."""
        await self._store.check_share(owner, **self._shares)

    def commits_of(self, owner: str) -> set[str]:
        """The commits of the owner's jobs that have not ended."""
        return set(self._commits[owner]) if owner in self._commits else set()

    def commits(self) -> set[str]:
        """The commits of all jobs that have not ended."""
        return {commit for commits in self._commits.values() for commit in commits}

    async def add(self, job: Job, asked: Asked, deed: Deed | None) -> Job:
        """Commits a new job, under another id where its own is taken, with the `deed` that it is.

        Returns the job that a request with the same key has made meanwhile instead, if there is one.
        Raises `AgentError`: idempotency-mismatch, too-many-jobs, storage-full. A job that is `given` gets no
        other id: for it, this also raises job-id-taken and deadline-passed.
        """
        while True:
            try:
                return await to_its_end(self._add(job, asked, deed))
            except IdTaken as error:
                if asked.given is not None:
                    raise id_taken(job.job_id, "another job has its first eight characters") from error
            job_id = new_job_id()
            job = job.model_copy(update={"job_id": job_id, "unit": unit_name(job_id)})

    async def _add(self, job: Job, asked: Asked, deed: Deed | None) -> Job:
        committed = await self._store.add(
            job,
            idempotency_key=asked.key,
            fingerprint=asked.fingerprint,
            **self._shares,
            deed=deed.about(job.job_id) if deed else None,
            given=asked.given,
        )
        if committed.job_id != job.job_id:
            return await self.get(committed.job_id)
        self._active[job.job_id] = ActiveJob(committed)
        self._commits[job.owner][job.commit] += 1
        self._queue.update(committed)
        if await self.unmet(committed):  # since the request was checked
            self._queue.give_up(job.job_id)
        self.wake.set()
        return self._queue.with_place(committed)

    def chain_with(self, others: Sequence[str]) -> int:
        """How many jobs in a row would wait for one another, with one that waits for these."""
        return self._queue.chain_with(others)

    async def unmet(self, job: Job) -> str:
        """Why a job that waits for others can never start, in a sentence; "" if it can, or has begun."""
        if not job.after or job.attempt > 1:
            return ""
        for needed, status in await self._store.unmet(job.job_id):
            if needed not in job.after:
                continue  # an input of which there may be a copy
            how = f"is {status}" if status else "is no longer on record"
            return f"Job {needed}, which had to complete first, {how}."
        return ""

    async def manager_asked(self, active: ActiveJob) -> str:
        """The systemd manager that was asked to start the job, or "" if none was."""
        return active.manager or await self._store.manager_of(active.job.job_id)

    async def change(
        self,
        active: ActiveJob,
        change: Callable[[Job], Job],
        **facts: Any,
    ) -> None:
        """Commits `change(job)` as the next revision; `facts` are what `JobStore.update` takes.

        Does nothing where nothing changes, or where the job has ended. Raises what `JobStore.update` raises.
        """
        await to_its_end(self._commit(active, change, facts))

    async def _commit(self, active: ActiveJob, change: Callable[[Job], Job], facts: dict[str, Any]) -> None:
        async with active.lock:
            job = active.job
            changed = change(job)
            if changed == job or job.status.terminal:
                return
            changed = changed.model_copy(update={"revision": job.revision + 1})
            await self._record(changed, facts)
            active.job = changed
            active.manager = facts.get("manager") or active.manager
            self._queue.update(changed)
            if changed.status.terminal:
                self._active.pop(job.job_id, None)
                self._commits[job.owner] -= Counter([job.commit])  # without those that none is left of
                if not self._commits[job.owner]:
                    del self._commits[job.owner]
                for tell in self.on_end:
                    tell(changed)

    async def _record(self, changed: Job, facts: dict[str, Any]) -> None:
        """Writes the revision; with one that gives room back, also what its owner has used of the host."""
        gives_back = changed.status.terminal or changed.status is JobState.PENDING
        # Each use is added to the one before it.
        async with self._charging if gives_back else contextlib.nullcontext():
            use = self._queue.use_after(changed) if gives_back else None
            if not await self._store.update(changed, use=use, **facts):
                raise AgentError(Problem.INTERNAL, f"Another agent has changed job {changed.job_id}.")
            if use is not None:
                self._queue.charge(use)


def not_before(job: Job, moment: datetime) -> datetime:
    """The moment, or the job's acceptance if that is later: the clock may have been set back."""
    return max(moment, job.created_at)


def _withdrawal(job: Job) -> Job:
    """The job withdrawn; the same job if an attempt has begun."""
    if job.status is not JobState.PENDING or job.attempts:
        return job
    return _cancellation(job).model_copy(update={"message": WITHDRAWN})


def _cancellation(job: Job) -> Job:
    update: dict[str, Any] = {"cancel_requested": True}
    if job.status is JobState.PENDING:
        update |= {"status": JobState.CANCELLED, "reason": Reason.CANCELLED, "not_before": None}
        update["finished_at"] = not_before(job, now())
    return job.model_copy(update=update)
