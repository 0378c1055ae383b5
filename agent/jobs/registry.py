"""A job's life, from the request to its outcome. The sole writer of jobs to the store.

Everything here is level-triggered: a signal, a request or a restart only says that a job should be looked
at. What is done follows from the store, from systemd and from the marks that the unit leaves in the job's
directory, so that the agent may die between any two lines and go on from there.
"""

import asyncio
import contextlib
import hashlib
import json
import logging
import shutil
import threading
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from pydantic import TypeAdapter, ValidationError

from .. import __version__
from ..audit.chain import Caller, Deed, Detail
from ..config import Settings, shipped
from ..errors import AgentError, FieldError, Problem
from ..host.podman import Mounted, Podman, by_digest
from ..host.systemd import Units, UnitState
from ..host.tasks import to_its_end
from ..logs import archive
from ..logs.job_log import check_not_removed
from ..model.artifact import ArtifactManifest
from ..model.base import format_number, job_id_of, new_job_id, now, unit_name
from ..model.host import Host, QueuePlace, Usage, Versions
from ..model.inputs import MAX_PARAMETERS, MAX_PARAMETERS_SIZE, Limits, Parameters, same_variable
from ..model.job import Attempt, Job, JobPage, JobRequest, JobState, Reason, Rerun
from ..model.script import Script, ScriptList
from ..runtime import exit_journal
from ..runtime.outcome import (
    CLAIMED,
    ENDED,
    MAX_MARK,
    OVER,
    STARTED,
    STOPPING,
    ExitRecord,
    Outcome,
    interrupted,
    mark_time,
    outcome,
    read_excess,
    read_mark,
    read_record,
    stopped_by_hand,
)
from ..runtime.quadlet import EGRESS_PLACE, SECCOMP, Compiler, Egress, Plan
from ..scheduling.queue import Schedule
from ..scripts.declaration import check_parameters
from ..scripts.snapshots import Snapshots
from ..store.database import IdTaken, Store
from .artifacts import ENDS, REQUESTS, Published, manifest, open_artifact
from .quota import Taken, measure

PARAMETERS: TypeAdapter[dict[str, str]] = TypeAdapter(Parameters)
ExitOf = Callable[[str, str | None, Collection[str]], Awaitable[ExitRecord | None]]

log = logging.getLogger("ml-agent")

MAX_START_REQUESTS = 3  # how often systemd is asked to start a unit that then does not even begin
LOOK_DELAY = 2.0  # seconds before a job is looked at again after the host failed to answer
NOT_THE_JOBS_FAULT = (Problem.STORAGE_FULL, Problem.HOST)  # what keeps a job from being prepared, for now


# What a job that is run again has from the one before it, whatever its request changes.
RERUN_AS_IT_WAS = (
    "script_name",
    "name",
    "labels",
    "commit",
    "script_sha256",
    "image",
    "image_digest",
    "secrets",
    "network",
)

# What the record of a job says of its attempt, and forgets when another one is to come.
OF_AN_ATTEMPT = ("reason", "message", "invocation_id", "exit_status", "started_at", "finished_at")


@dataclass
class _Active:
    """A job that has not ended: its record as last committed, and who waits for something to happen to it."""

    job: Job
    hint: asyncio.Event = field(default_factory=asyncio.Event)
    looked: asyncio.Event = field(default_factory=asyncio.Event)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    driver: asyncio.Task[None] | None = None
    start_requests: int = 0
    refusal: str = ""
    manager: str | None = None  # the systemd manager that was asked to start it, if this agent recorded that


class Jobs:
    """Submit, look, cancel; and `run`, which drives every job to its end."""

    def __init__(
        self,
        *,
        settings: Settings,
        store: Store,
        snapshots: Snapshots,
        podman: Podman,
        compiler: Compiler,
        units: Units,
        hooks: Path,
        on_end: Callable[[Job], None] = lambda _: None,
        exit_of: ExitOf = exit_journal.exit_of,
    ) -> None:
        self._on_end = on_end
        self._exit_of = exit_of
        self._settings = settings
        self._store = store
        self._snapshots = snapshots
        self._podman = podman
        self._compiler = compiler
        self._units = units
        self._hooks = hooks
        self._schedule = Schedule(settings.jobs)
        self._charging = asyncio.Lock()
        self._active: dict[str, _Active] = {}
        self._wake = asyncio.Event()
        self._waiters: dict[str, asyncio.Event] = {}
        self._turns = WeakValueDictionary[str, asyncio.Lock]()
        self._manager = ""
        self._begun: list[_Active] = []
        self._taken_up: list[_Active] = []

    # What clients ask for

    async def submit(
        self, owner: str, request: JobRequest, *, idempotency_key: str | None = None, by: Caller | None = None
    ) -> Job:
        """Checks the request, commits the job and returns it. Nothing is left behind where this raises.

        `by` is who asks, for the audit; here as everywhere.

        Raises `AgentError`: invalid-request, script-not-found, ref-not-found, secret-missing,
        idempotency-mismatch, too-many-jobs, storage-full.
        """
        fingerprint = _fingerprint(request.model_dump(mode="json"))
        if known := await self._answered(owner, idempotency_key, fingerprint):
            return known
        commit = await self._snapshots.resolve(request.ref)
        script = await self._snapshots.script(commit, request.script_name)
        check_parameters(script, request.hyperparameters)
        limits = self._limits(request.limits.over(script.limits))
        self._check_network(script)
        await self._secrets(script.secrets, owner)
        image = await self._podman.kept_image(self._settings.jobs.image)
        await self._snapshots.tree(commit)
        job_id = new_job_id()
        job = Job(
            job_id=job_id,
            status=JobState.PENDING,
            owner=owner,
            script_name=script.script_name,
            hyperparameters=request.hyperparameters,
            name=request.name,
            labels=request.labels,
            limits=limits,
            priority=request.priority,
            max_attempts=request.max_attempts,
            retry_on=request.retry_on,
            commit=commit,
            script_sha256=script.sha256,
            image=self._settings.jobs.image,
            image_digest=image.digest if image else "",
            secrets=script.secrets,
            network=script.network,
            unit=unit_name(job_id),
            created_at=now(),
        )
        deed = by.did("submitJob", **_audited(job, script)) if by else None
        return await self._accept_new(job, idempotency_key, fingerprint, deed)

    async def rerun(
        self,
        owner: str,
        earlier: Job,
        changes: Rerun,
        *,
        idempotency_key: str | None = None,
        by: Caller | None = None,
    ) -> Job:
        """A new job of `owner` that runs what `earlier` ran: commit, image, parameters, limits, or `changes`.

        Its secrets are the owner's, its priority is never above 0. Raises what `submit` raises, and
        `AgentError` (image-missing) where the image with that digest is not on the host any more.
        """
        fingerprint = _fingerprint({"rerun_of": earlier.job_id, **changes.model_dump(mode="json")})
        if known := await self._answered(owner, idempotency_key, fingerprint):
            return known
        with _scripts_of(earlier):
            script = await self._snapshots.script(earlier.commit, earlier.script_name)
        hyperparameters = _with_changes(earlier, changes)
        check_parameters(script, hyperparameters)
        limits = self._limits(changes.limits.over(earlier.limits))
        self._check_network(script)
        await self._secrets(script.secrets, owner)
        await self._check_image(earlier)
        with _scripts_of(earlier):
            await self._snapshots.tree(earlier.commit)
        job_id = new_job_id()
        anew = Job(
            job_id=job_id,
            status=JobState.PENDING,
            unit=unit_name(job_id),
            created_at=now(),
            owner=owner,
            hyperparameters=hyperparameters,
            limits=limits,
            priority=min(earlier.priority, 0),
            max_attempts=changes.max_attempts or earlier.max_attempts,
            retry_on=changes.retry_on or earlier.retry_on,
            rerun_of=earlier.job_id,
            **{name: getattr(earlier, name) for name in RERUN_AS_IT_WAS},
        )
        deed = by.did("rerunJob", **_audited(anew, script), rerun_of=earlier.job_id) if by else None
        return await self._accept_new(anew, idempotency_key, fingerprint, deed)

    async def _answered(self, owner: str, idempotency_key: str | None, fingerprint: str) -> Job | None:
        """The job that this very request has made before, whatever has changed on the host since."""
        if idempotency_key is None:
            return None
        known = await self._store.job_of_key(owner, idempotency_key, fingerprint)
        return await self.get(known.job_id) if known else None

    async def _accept_new(
        self, job: Job, idempotency_key: str | None, fingerprint: str, deed: Deed | None
    ) -> Job:
        while True:
            with contextlib.suppress(IdTaken):
                return await to_its_end(self._accept(job, idempotency_key, fingerprint, deed))
            job_id = new_job_id()
            job = job.model_copy(update={"job_id": job_id, "unit": unit_name(job_id)})

    async def _accept(
        self, job: Job, idempotency_key: str | None, fingerprint: str, deed: Deed | None
    ) -> Job:
        committed = await self._store.add_job(
            job,
            idempotency_key=idempotency_key,
            fingerprint=fingerprint,
            max_waiting=self._settings.jobs.max_waiting_per_user,
            deed=deed.about(job.job_id) if deed else None,
        )
        if committed.job_id != job.job_id:
            return await self.get(committed.job_id)
        self._active[job.job_id] = _Active(committed)
        self._schedule.note(committed)
        self._wake.set()
        return self._schedule.place(committed)

    async def get(self, job_id: str) -> Job:
        """The job as last committed, and its place in the queue. Raises `AgentError` (job-not-found)."""
        active = self._active.get(job_id)
        job = active.job if active else await self._store.job(job_id)
        if job is None:
            raise no_such_job()
        return self._schedule.place(job)

    async def page(self, **filters: Any) -> JobPage:
        """A page of jobs, newest first; takes what `Store.page` takes."""
        page = await self._store.page(**filters)
        return page.model_copy(update={"jobs": [self._schedule.place(job) for job in page.jobs]})

    async def usage(self, job: Job) -> Usage:
        """What the job's unit uses now."""
        used = await self._units.usage(job.unit)
        return Usage(
            job_id=job.job_id,
            at=now(),
            cpu_seconds=None if used.cpu_nanoseconds is None else round(used.cpu_nanoseconds / 1e9, 3),
            memory_bytes=used.memory_bytes,
            memory_peak_bytes=used.memory_peak_bytes,
            tasks=used.tasks,
        )

    def placed(self, job: Job) -> Job:
        """A job that was read from the store, with its place in the queue if it waits."""
        return self._schedule.place(job) if job.status is JobState.PENDING else job

    def begun(self, owner: str | None) -> list[Job]:
        """The jobs of one owner, or of all, that systemd has been asked to start and that have not ended."""
        active = (active.job for active in self._active.values())
        return [job for job in active if job.status is not JobState.PENDING and owner in (None, job.owner)]

    def line(self, owner: str | None, limit: int) -> dict[str, QueuePlace]:
        """The places of the first `limit` waiting jobs, of one owner or of all, in their order."""
        return self._schedule.line(owner, limit)

    async def cancel(self, job_id: str, *, by: Caller | None = None) -> Job:
        """Asks for the job's end; a job that waits ends here and now. Cancelling again changes nothing."""
        active = self._active.get(job_id)
        if active is not None:
            deed = by.did("cancelJob", job_id, owner=active.job.owner) if by else None
            await self._change(active, self._cancellation, deed=deed)
            active.hint.set()
            self._wake.set()
        return await self.get(job_id)

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
        limit = self._settings.retention.max_pinned_per_user
        async with active.lock if active else contextlib.nullcontext():
            job = await self._store.pin(job_id, pinned=pinned, limit=limit, deed=deed)
            if active and job:
                active.job = job
        if waiter := self._waiters.pop(job_id, None):
            waiter.set()

    async def scripts(self, ref: str | None) -> ScriptList:
        """What can be run at a ref of the scripts' repository."""
        return await self._snapshots.catalogue(await self._snapshots.resolve(ref))

    async def artifacts(self, job: Job) -> ArtifactManifest:
        """What the job has left so far; final once it has ended. Raises what `check_files` raises."""
        async with self._turn(job):
            found = await self._manifest(job, REQUESTS, complete=job.status.terminal)
        # Looked at afterwards: what retention removes meanwhile must not be a shorter list.
        await self.check_files(job)
        return found

    async def artifact(self, job: Job, path: str) -> Published:
        """One file of these, open; the caller closes it. Raises as `open_artifact` and `check_files` do."""
        try:
            async with self._turn(job):
                return await open_artifact(self.artifacts_directory(job), path)
        except AgentError:
            await self.check_files(job)
            raise

    def _turn(self, job: Job) -> contextlib.AbstractAsyncContextManager[Any]:
        """One at a time of each owner's jobs that are not over, whose files are hashed for whoever asks."""
        if job.status.terminal:
            return contextlib.nullcontext()
        return self._turns.setdefault(job.owner, asyncio.Lock())

    async def check_files(self, job: Job) -> None:
        """Raises `AgentError` (removed-by-retention) if the job's artifacts, log and metrics are gone."""
        check_not_removed(await self.get(job.job_id))

    def artifacts_directory(self, job: Job) -> Path:
        """Where the /artifacts of the job's attempt is on the host; what earlier ones left is beside it."""
        return self._attempt(job) / "artifacts"

    async def _manifest(self, job: Job, pool: Executor, *, complete: bool) -> ArtifactManifest:
        """No more of it than its quota: what is hashed at a job's end holds its room."""
        most = job.limits.over(self._settings.jobs.default_limits).artifact_bytes
        directory = self.artifacts_directory(job)
        return await manifest(job.job_id, directory, complete=complete, max_bytes=most, pool=pool)

    async def taken(self, job: Job) -> Taken:
        """What the job's attempt has in /artifacts now, and whether that is more than its limits say."""
        limits = job.limits.over(self._settings.jobs.default_limits)
        stop = threading.Event()
        try:
            return await asyncio.to_thread(measure, self.artifacts_directory(job), limits, stop)
        finally:
            stop.set()

    def end(self, job: Job, reason: Reason, message: str) -> None:
        """Ends a running job because of what it took of the disk; its mark tells why, also a later agent."""
        active = self._active.get(job.job_id)
        if active is None or active.job.attempt != job.attempt:
            return
        over = self._attempt(job) / OVER
        with contextlib.suppress(FileNotFoundError):  # it has been made before
            # Over the blanks that were left there: a full disk has no room for it.
            with over.with_name(f"{OVER}.new").open("r+b") as file:
                file.write(f"{reason} {message}".encode().ljust(MAX_MARK))
            over.with_name(f"{OVER}.new").rename(over)
        active.hint.set()

    def log_file(self, job: Job) -> Path:
        """Where the log of a job that has ended is kept, once it is."""
        return self._directory(job) / archive.NAME

    async def changed(self, job: Job) -> Job:
        """Waits for a revision newer than the one given, and returns the newest."""
        while True:
            waiter = self._waiters.setdefault(job.job_id, asyncio.Event())
            newest = await self.get(job.job_id)
            if newest.status.terminal:
                self._waiters.pop(job.job_id, None)
            if newest.revision > job.revision or newest.status.terminal:
                return newest
            await waiter.wait()

    async def ended(self, job: Job) -> None:
        """Returns when the job has ended."""
        while not job.status.terminal:
            job = await self.changed(job)

    async def host(self, user: str | None) -> Host:
        """What the host gives to jobs, what is taken of it, and who waits: one user, or, with None, all."""
        systemd, podman = await asyncio.gather(
            _if_it_answers(self._units.version()), _if_it_answers(self._podman.version())
        )
        users = self._schedule.users()
        return Host(
            versions=Versions(agent=__version__, systemd=systemd, podman=podman),
            capacity=self._schedule.capacity,
            in_use=self._schedule.in_use,
            waiting=sum(each.waiting for each in users),
            running=sum(each.running for each in users),
            users=[each for each in users if user in (None, each.user)],
        )

    @property
    def idle(self) -> bool:
        """Whether there is no job that has not ended."""
        return not self._active

    def look_at(self, unit: str | None) -> None:
        """A hint that a unit changed; None that any may have."""
        if unit is None:
            self._manager = ""
            for active in self._active.values():
                active.hint.set()
        elif (job_id := job_id_of(unit)) and (one := self._active.get(job_id)):
            one.hint.set()

    # What drives them

    async def load(self) -> None:
        """Takes up every job that had not ended when an agent last wrote the store."""
        self._active = {job.job_id: _Active(job) for job in await self._store.active_jobs()}
        self._schedule.load((active.job for active in self._active.values()), await self._store.uses())
        self._begun = [
            active for active in self._active.values() if active.job.status is not JobState.PENDING
        ]
        self._taken_up = list(self._begun)
        self._wake.set()

    async def reconciled(self) -> None:
        """Returns when each job that an earlier agent began has been looked at: its record is true again."""
        for active in self._taken_up:
            await active.looked.wait()
        self._taken_up.clear()

    async def run(self) -> None:
        """Starts jobs as there is room and drives each to its end; runs until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                for active in self._to_drive():
                    active.driver = group.create_task(self._drive(active))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._schedule.next_due()):
                        await self._wake.wait()

    def _to_drive(self) -> Iterable[_Active]:
        """The jobs that need a driver: those whose turn it is, and those that were begun before."""
        begun, self._begun = self._begun, []
        yield from begun
        for job_id in self._schedule.take():
            yield self._active[job_id]

    async def _drive(self, active: _Active) -> None:
        """Looks at one job, does what is due, and waits for the next hint, until its attempt has ended."""
        active.start_requests, active.refusal = 0, ""
        attempt = active.job.attempt
        while not active.job.status.terminal and active.job.attempt == attempt:
            active.hint.clear()
            try:
                await self._step(active)
            except Exception as error:
                # The host does not answer, or a disk is full: the job is not to blame and may be running.
                # What nobody foresaw must not end the other jobs' drivers, nor the agent at each new start.
                foreseen = isinstance(error, AgentError)
                log.warning("job %s: %s", active.job.job_id, error, exc_info=None if foreseen else error)
                asyncio.get_running_loop().call_later(LOOK_DELAY, active.hint.set)
            active.looked.set()
            if not active.job.status.terminal and active.job.attempt == attempt:
                await active.hint.wait()

    async def _step(self, active: _Active) -> None:
        # Kept for this step: a reconnection may forget the agent's own copy at any moment.
        manager = self._manager = self._manager or await self._units.manager_identity()
        if active.job.status is JobState.PENDING:
            if active.job.attempt > 1 and await self._units.manager_stopping():
                # What took the attempt before down would take this one down, too.
                raise AgentError(
                    Problem.HOST, "The host is shutting down; the next boot tries the job again."
                )
            self._check_room()
            await self._change(active, _admission, manager=manager)
            if active.job.status.terminal:
                return
        # The order matters: each is looked at before what could have followed from it.
        directory = self._attempt(active.job)
        ended = (directory / ENDED).exists()
        # The claim itself does not outlive the host; what only a claimed unit does, does.
        claimed = (directory / CLAIMED).exists() or (directory / STARTED).exists() or ended
        # Where there is a record, what systemd says does not count any more, and it need not be asked.
        state = UnitState() if ended else await self._units.state(active.job.unit)
        if record := read_record(directory / ENDED):
            result = self._outcome(active.job, record)
            if result.reason is Reason.STOPPED and await self._manager_left(active, manager):
                result = interrupted("The host was shut down while the job ran.")
            await self._finish(
                active,
                result,
                exit_status=record.exit_status,
                invocation_id=record.invocation_id,
                finished_at=record.ended_at,
            )
        elif not state.ended:
            await self._follow(active, state, claimed=claimed)
        elif claimed:
            if ended:
                log.warning("job %s: its exit record is damaged", active.job.job_id)
            await self._finish_without_record(active, state, manager)
        elif active.job.cancel_requested:
            await self._finish(active, Outcome(JobState.CANCELLED, Reason.CANCELLED))
        elif await self._manager_left(active, manager):
            await self._finish(active, interrupted("The host was restarted before the job began."))
        elif self._units.called_off(active.job.unit):
            await self._finish(active, stopped_by_hand())
        else:
            await self._start(active)

    def _check_room(self) -> None:
        """Raises `AgentError` (storage-full) while the state's file system has too little for another job."""
        disk = shutil.disk_usage(self._settings.state_directory)
        if disk.free < (floor := self._settings.jobs.free_floor(disk.total)):
            raise AgentError(
                Problem.STORAGE_FULL,
                f"It waits until {self._settings.state_directory} has {floor} bytes free.",
            )

    async def _start(self, active: _Active) -> None:
        """Makes the job's unit and asks systemd for it. A unit that was claimed never starts again."""
        job = active.job
        if active.start_requests >= MAX_START_REQUESTS:
            message = f"systemd did not begin to start the unit. {active.refusal}".rstrip()
            await self._finish(active, Outcome(JobState.FAILED, Reason.START_FAILED, message))
            return
        try:
            text = await self._compiler.compile(await self._plan(job))
        except AgentError as error:
            if error.problem in NOT_THE_JOBS_FAULT:
                raise
            await self._finish(active, Outcome(JobState.FAILED, Reason.START_FAILED, str(error)))
            return
        with _disk():
            _replace(self._settings.runtime_directory / "systemd/user" / job.unit, text)
        if job.attempt > 1:
            # What systemd still has of an earlier attempt would never start: that is claimed.
            await self._units.forget(job.unit)
        active.start_requests += 1
        try:
            await self._units.start(job.unit)
        except AgentError as error:
            active.refusal = str(error)
            raise

    async def _plan(self, job: Job) -> Plan:
        directory = self._attempt(job)
        with _disk():
            for part in ("input", "artifacts"):
                (directory / part).mkdir(mode=0o700, parents=True, exist_ok=True)
            _replace(directory / "input/job.json", _input(job, proxied=job.network in self._settings.egress))
            # A disk that is full when the job ends has room for how it ended: the blocks are its own by then.
            for mark in (STOPPING, ENDED, OVER):
                (directory / f"{mark}.new").write_bytes(b" " * MAX_MARK)
            (directory / f"{CLAIMED}.new").touch(mode=0o600)
            if not (directory / CLAIMED).is_symlink():
                (directory / CLAIMED).symlink_to(self._settings.runtime_directory / _claim(job))
        network = self._settings.network(job.network)
        if network is None:
            raise AgentError(
                Problem.CONFIGURATION, f"The site's configuration has no network {job.network} any more."
            )
        with _scripts_of(job):
            snapshot = await self._snapshots.tree(job.commit)
        return Plan(
            job_id=job.job_id,
            # Without a digest the image was not there; Podman will say so in the job's log.
            image=_by_digest(job) if job.image_digest else job.image,
            network=network,
            # A job of an earlier version may lack some.
            limits=job.limits.over(self._settings.jobs.default_limits),
            snapshot=snapshot,
            directory=directory,
            claim=_claim(job),
            hooks=self._hooks,
            seccomp=shipped("quadlets") / SECCOMP,
            state=self._settings.state_directory,
            egress=self._egress(job.network),
            secrets=await self._secrets(job.secrets, job.owner),
        )

    def _egress(self, network: str) -> Egress | None:
        if network not in self._settings.egress:
            return None
        return Egress(f"ml-egress@{network}.socket", self._settings.egress_directory(network))

    async def _follow(self, active: _Active, state: UnitState, *, claimed: bool) -> None:
        """Records what is new of a unit that lives, and stops one that was cancelled.

        Until the attempt is claimed, what lives is the rest of an earlier one, or waits in systemd's queue.
        """
        started = self._attempt(active.job) / STARTED
        update: dict[str, Any] = {}
        if claimed and state.invocation_id:
            update["invocation_id"] = state.invocation_id
        if started.exists():
            update |= {"status": JobState.RUNNING, "started_at": _not_before(active.job, mark_time(started))}
        if claimed and (container_id := self._container_id(active.job)):
            update["container_id"] = container_id
        await self._change(active, lambda job: job.model_copy(update=update))
        over = (self._attempt(active.job) / OVER).exists()
        if state.active_state != "deactivating":
            if active.job.cancel_requested or over:
                await self._units.stop(active.job.unit)
        elif over and (self._attempt(active.job) / STOPPING).exists():
            # What takes more than it may gets no grace to take still more in. Its conmon notes how it ended.
            await self._podman.kill(f"ml-job-{active.job.job_id}")

    async def _finish_without_record(self, active: _Active, state: UnitState, manager: str) -> None:
        """A job that began, is gone, and left no record: FAILED as the journal says, but never COMPLETED."""
        job = active.job
        if await self._manager_left(active, manager):
            await self._finish(active, interrupted("The host went down while the job ran."))
            return
        others = {each.invocation_id for each in job.attempts if each.invocation_id}
        told = await self._exit_of(job.unit, job.invocation_id, others)
        if told is None and state.result == "oom-kill":
            result = Outcome(JobState.FAILED, Reason.OOM_KILL, "The job needed more memory than its limit.")
        elif told is None:
            result = interrupted(f"The unit ended ({state.result}) and left no record of how the script did.")
        else:
            result = self._without_record(job, told)
        facts = {"invocation_id": told.invocation_id, "exit_status": told.exit_status} if told else {}
        await self._finish(active, result, **facts)

    def _outcome(self, job: Job, record: ExitRecord) -> Outcome:
        """What the record proves, with the other marks of the attempt."""
        marks = self._attempt(job)
        stopping = read_mark(marks / STOPPING)
        called_off = self._units.called_off(job.unit)
        return outcome(
            record,
            started=(marks / STARTED).exists(),
            stopping=stopping[0] if stopping else "success" if called_off else None,
            cancelled=job.cancel_requested,
            excess=read_excess(marks / OVER),
        )

    def _without_record(self, job: Job, told: ExitRecord) -> Outcome:
        """What systemd's journal says, where it says how the script ended; a success it never proves."""
        result = self._outcome(job, told)
        # That it was stopped, a mark or a signal has said; else it must be known how the script itself ended.
        if result.status is JobState.CANCELLED or (
            result.status is JobState.FAILED and told.exit_status is not None
        ):
            return result
        return interrupted(
            f"The unit's exit record is missing; systemd's journal has its result, {told.result}, and not"
            " how the script ended."
        )

    async def _finish(self, active: _Active, result: Outcome, **facts: Any) -> None:
        """Publishes the artifacts, commits the terminal state, once, and makes room for the next job.

        A job that wants another attempt after this one waits for it instead.
        """
        job = active.job
        self._bar(job)
        if result.status is JobState.COMPLETED and (taken := await self.taken(job)).excess:
            result = Outcome(JobState.FAILED, Reason.ARTIFACT_QUOTA, taken.excess)
        started = self._attempt(job) / STARTED
        update = {"finished_at": now(), **facts, "status": result.status, "reason": result.reason}
        update["message"] = result.message
        if started.exists():
            update["started_at"] = _not_before(job, mark_time(started))
        update["finished_at"] = max(update["finished_at"], update.get("started_at", job.created_at))
        await self._manifest(job, ENDS, complete=True)
        await self._change(active, lambda latest: self._after_attempt(latest.model_copy(update=update)))
        log.info("job %s, attempt %d: %s %s", job.job_id, job.attempt, result.status, result.reason or "")
        self._wake.set()

    def _after_attempt(self, ended: Job) -> Job:
        """The job with the attempt that has ended: in its final state, or waiting to be tried again."""
        assert ended.finished_at is not None
        attempt = Attempt(
            number=ended.attempt,
            invocation_id=ended.invocation_id,
            container_id=ended.container_id,
            exit_status=ended.exit_status,
            reason=ended.reason,
            message=ended.message,
            started_at=ended.started_at,
            finished_at=ended.finished_at,
        )
        ended = ended.model_copy(update={"attempts": [*ended.attempts, attempt]})
        wanted = ended.reason in ended.retry_on and not ended.cancel_requested
        if not wanted or ended.attempt >= ended.max_attempts:
            return ended
        anew = dict.fromkeys(OF_AN_ATTEMPT) | {
            "status": JobState.PENDING,
            "attempt": ended.attempt + 1,
            "container_id": "",
            "not_before": now() + self._schedule.back_off(ended.attempt),
        }
        return ended.model_copy(update=anew)

    async def _change(
        self,
        active: _Active,
        change: Callable[[Job], Job],
        *,
        manager: str | None = None,
        deed: Deed | None = None,
    ) -> None:
        """Commits `change(job)` as the next revision, with the `deed` that it is, unless nothing changes."""
        await to_its_end(self._commit(active, change, manager, deed))

    async def _commit(
        self, active: _Active, change: Callable[[Job], Job], manager: str | None, deed: Deed | None
    ) -> None:
        async with active.lock:
            job = active.job
            changed = change(job)
            if changed == job or job.status.terminal:
                return
            changed = changed.model_copy(update={"revision": job.revision + 1})
            await self._record(changed, manager, deed)
            active.job = changed
            active.manager = manager or active.manager
            self._schedule.note(changed)
            if changed.status.terminal:
                self._active.pop(job.job_id, None)
                self._on_end(changed)
        if waiter := self._waiters.pop(job.job_id, None):
            waiter.set()

    async def _record(self, changed: Job, manager: str | None, deed: Deed | None) -> None:
        """Writes the revision; with the one that gives room back, also what its owner has had of the host."""
        gives_back = changed.status.terminal or changed.status is JobState.PENDING
        # A use counts on from the one before it.
        async with self._charging if gives_back else contextlib.nullcontext():
            use = self._schedule.use(changed) if gives_back else None
            if not await self._store.update_job(changed, manager=manager, use=use, deed=deed):
                raise AgentError(Problem.INTERNAL, f"Job {changed.job_id} was changed by another agent.")
            if use is not None:
                self._schedule.charge(use)

    @staticmethod
    def _cancellation(job: Job) -> Job:
        update: dict[str, Any] = {"cancel_requested": True}
        if job.status is JobState.PENDING:
            update |= {"status": JobState.CANCELLED, "reason": Reason.CANCELLED, "not_before": None}
            update["finished_at"] = _not_before(job, now())
        return job.model_copy(update=update)

    # Looking things up

    async def _manager_left(self, active: _Active, manager: str) -> bool:
        """Whether the systemd manager that was asked to start the job is gone, or about to go.

        `manager` is the identity of the one that is there.
        """
        asked = active.manager or await self._store.manager_of(active.job.job_id)
        return asked != manager or await self._units.manager_stopping()

    async def _secrets(self, names: Iterable[str], owner: str) -> list[Mounted]:
        mounted = []
        for name in names:
            podman_secret = await self._podman.secret_for(name, owner)
            if podman_secret is None:
                raise AgentError(
                    Problem.SECRET_MISSING,
                    f"The script needs the secret {name}, which is not set for {owner}.",
                    f"Set your own, `ml-job secret set {name}`, or ask the operator to run"
                    f" `ml-agent secret set {name}`.",
                    (FieldError("script_name", f"needs the secret {name}"),),
                )
            mounted.append(Mounted(name, podman_secret))
        return mounted

    def _check_network(self, script: Script) -> None:
        if self._settings.network(script.network) is None:
            raise AgentError(
                Problem.INVALID_REQUEST,
                f"The script asks for the network {script.network}, which this host does not offer.",
                f"Ask the operator to define networks.{script.network} in the agent's configuration.",
                (FieldError("script_name", f"needs the network {script.network}"),),
            )

    async def _check_image(self, job: Job) -> None:
        if job.image_digest and await self._podman.image(_by_digest(job)) is None:
            raise AgentError(
                Problem.IMAGE_MISSING,
                f"The image that job {job.job_id} ran, {_by_digest(job)}, is not on the host any more.",
                "Submit the script anew: the job will run the image of today.",
            )

    def _limits(self, wanted: Limits) -> Limits:
        """What is wanted, over the site's defaults.

        None is above the site's maximum, nor above what all jobs together may have: it would never start.
        """
        settings = self._settings.jobs
        limits = wanted.over(settings.default_limits)
        maximum = settings.maximum_limits.model_dump()
        for name in ("cpus", "memory_bytes"):
            maximum[name] = min(maximum[name], getattr(settings, name))
        errors = tuple(
            FieldError(
                f"limits.{name}",
                f"must be at most {format_number(maximum[name])} on this host, not {format_number(value)}",
            )
            for name, value in limits.model_dump().items()
            if value is not None and value > maximum[name]
        )
        if errors:
            raise AgentError(Problem.INVALID_REQUEST, "The job asks for too much.", fields=errors)
        return limits

    def _directory(self, job: Job) -> Path:
        return self._settings.directory_of(job.job_id)

    def _attempt(self, job: Job) -> Path:
        """What belongs to one invocation: its input, its artifacts, and the marks that its unit leaves."""
        return self._directory(job) / "attempts" / str(job.attempt)

    def _bar(self, job: Job) -> None:
        """Makes sure that an attempt that is over never starts, not even by an operator's hand."""
        claimed = self._attempt(job) / CLAIMED
        with _disk(), contextlib.suppress(FileNotFoundError):
            claimed.with_name(f"{CLAIMED}.new").replace(claimed)
        # The claim itself is in memory: it is not kept for every job there ever was.
        with contextlib.suppress(OSError):
            (self._settings.runtime_directory / _claim(job)).rmdir()

    def _container_id(self, job: Job) -> str:
        try:
            return (self._settings.runtime_directory / f"ml-job@{job.job_id}.cid").read_text("ascii").strip()
        except OSError:
            return ""


def no_such_job() -> AgentError:
    """What is said of a job that does not exist, or not for whoever asks."""
    return AgentError(
        Problem.JOB_NOT_FOUND,
        "There is no such job, or it is not yours.",
        "GET /jobs, or `ml-job list`, shows yours.",
    )


def _audited(job: Job, script: Script) -> dict[str, Detail]:
    """What the audit has of a new job: of its hyperparameters the names, and one digest of all values.

    A value that the script calls sensitive is no part of the digest, by which it could be guessed.
    """
    sensitive = {each.name for each in script.parameters if each.sensitive} & job.hyperparameters.keys()
    values = {name: value for name, value in job.hyperparameters.items() if name not in sensitive}
    details: dict[str, Detail] = {"script": job.script_name, "commit": job.commit, "priority": job.priority}
    if job.hyperparameters:
        details |= {"parameters": sorted(job.hyperparameters), "parameters_sha256": _fingerprint(values)}
    if sensitive:
        details["sensitive"] = sorted(sensitive)
    if job.secrets:
        details["secrets"] = list(job.secrets)
    return details


async def _if_it_answers(question: Awaitable[str]) -> str | None:
    """The answer, or None from what does not answer now."""
    try:
        return await question
    except AgentError:
        return None


def _not_before(job: Job, moment: datetime) -> datetime:
    """The moment, but for a clock that was set back: no job began or ended before it was accepted."""
    return max(moment, job.created_at)


def _admission(job: Job) -> Job:
    """A job whose turn it is: committed before systemd hears of it."""
    if job.status is not JobState.PENDING:
        return job
    return job.model_copy(update={"status": JobState.CREATED, "not_before": None})


def _fingerprint(request: dict[str, Any]) -> str:
    canonical = json.dumps(request, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _input(job: Job, *, proxied: bool) -> str:
    """What the image's launcher reads as /run/ml-job/job.json: the only way of client values into a job."""
    described = {
        "job_id": job.job_id,
        "script_name": job.script_name,
        "hyperparameters": job.hyperparameters,
        "starts_after": f"/run/ml-job/{Path(STARTED).name}",
    }
    return json.dumps(described | ({"proxy": f"{EGRESS_PLACE}/proxy"} if proxied else {}))


def _with_changes(earlier: Job, changes: Rerun) -> dict[str, str]:
    hyperparameters = earlier.hyperparameters | changes.hyperparameters
    if twice := same_variable(hyperparameters):
        raise AgentError(
            Problem.INVALID_REQUEST,
            "Two hyperparameters would be one environment variable.",
            "Write each as the job that is run again has it.",
            (FieldError(f"hyperparameters.{twice[1]}", f"is {twice[0]} of job {earlier.job_id}"),),
        )
    try:
        PARAMETERS.validate_python(hyperparameters)
    except ValidationError as error:
        raise AgentError(
            Problem.INVALID_REQUEST,
            f"With those of job {earlier.job_id} they are too many hyperparameters, or too large.",
            "Submit a new job with those that it needs.",
            (
                FieldError(
                    "hyperparameters",
                    f"must be {MAX_PARAMETERS} at most, of {MAX_PARAMETERS_SIZE} bytes together",
                ),
            ),
        ) from error
    return hyperparameters


def _claim(job: Job) -> str:
    """The directory that systemd makes when the attempt's unit begins, below $XDG_RUNTIME_DIR."""
    return f"ml-agent/claims/{job.job_id}.{job.attempt}"


def _by_digest(job: Job) -> str:
    return by_digest(job.image, job.image_digest)


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text, "utf-8")
    temporary.rename(path)


@contextlib.contextmanager
def _scripts_of(job: Job) -> Iterator[None]:
    """Has words of its own for a commit that is gone: whoever runs a job again has named no `ref`."""
    try:
        yield
    except AgentError as error:
        if error.problem is not Problem.REF_NOT_FOUND:
            raise
        raise AgentError(
            Problem.REF_NOT_FOUND,
            f"The scripts of job {job.job_id}, at commit {job.commit}, cannot be found any more.",
            "Submit the script anew: the job will run the commit of today.",
        ) from error


@contextlib.contextmanager
def _disk() -> Any:
    try:
        yield
    except OSError as error:
        raise AgentError(Problem.STORAGE_FULL, f"The job's files cannot be written: {error}.") from error
