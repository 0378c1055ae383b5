"""Drives every job to its end: makes the record true, and does what is due.

Everything here is level-triggered. A signal, a request or a restart only says that a job should be looked at.
What is done follows from the record, from systemd and from the marks of the unit. So the agent may die
between any two lines, and the next one goes on from there.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from ..config import Settings
from ..errors import AgentError, Problem
from ..host.podman import Podman
from ..host.systemd import Units, UnitState
from ..log import log
from ..model.base import container_name, job_id_of, now, one_line
from ..model.job import Attempt, Job, JobState, Reason
from ..model.paths import ENDED, OVER, STOPPING
from ..runtime.outcome import STOPPED_BY_HAND, UNKNOWN, ExitRecord, Outcome, interrupted
from ..runtime.quadlet import Compiler
from ..scheduling.queue import Queue
from .admission import Admission, shortage
from .attempt import AttemptFiles, put, storage_full
from .inputs import Inputs
from .leftovers import Leftovers
from .preparation import Preparation
from .quota import Taken
from .registry import ActiveJob, Registry, not_before
from .results import Results

ExitOf = Callable[[str, str | None, Collection[str]], Awaitable[ExitRecord | None]]

MAX_START_REQUESTS = 3  # how often systemd is asked to start a unit that then does not even begin
LOOK_DELAY = 2.0  # seconds until a job is looked at again after the host failed to answer
NOT_THE_JOBS_FAULT = (Problem.STORAGE_FULL, Problem.HOST)  # what keeps a job from being prepared, for now
MAY_NOT_RUN = (Problem.COMMIT_REFUSED, Problem.REF_NOT_FOUND)  # what no further attempt would change

# What an attempt may leave that is tried again. A job that waits is in no bound of retention: it must not
# hold its quota, and once for each attempt.
KEPT = Taken(bytes=2**20, files=100)

# What the record of a job says of its attempt, and forgets when another one is to come.
OF_AN_ATTEMPT = ("reason", "message", "invocation_id", "exit_status", "started_at", "finished_at")


@dataclass(eq=False)
class Reconciler:
    """`run` starts and drives jobs; `look_at` and `order_end` tell it that one needs attention."""

    _settings: Settings
    _registry: Registry
    _results: Results
    _inputs: Inputs
    _admission: Admission
    _queue: Queue
    _preparation: Preparation
    _leftovers: Leftovers
    _compiler: Compiler
    _units: Units
    _podman: Podman
    _exit_of: ExitOf
    _manager: str = ""
    _begun: list[ActiveJob] = field(default_factory=list)
    _taken_up: list[ActiveJob] = field(default_factory=list)

    async def load(self) -> None:
        """Takes up every job that had not ended when an agent last wrote the store."""
        await self._registry.load()
        await self._admission.look()
        active = self._registry.all_active()
        self._begun = [each for each in active if each.job.status is not JobState.PENDING]
        self._taken_up = list(self._begun)

    async def wait_until_reconciled(self) -> None:
        """Returns when each job that an earlier agent began has been looked at: its record is true again."""
        for active in self._taken_up:
            await active.looked.wait()
        self._taken_up.clear()

    async def run(self) -> None:
        """Starts jobs as there is room and drives each to its end; runs until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._registry.wake.clear()
                for active in self._to_drive():
                    group.create_task(self._drive(active))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._queue.next_retry()):
                        await self._registry.wake.wait()

    def look_at(self, unit: str | None) -> None:
        """Has the job of a unit looked at; None for all jobs, and for the manager itself."""
        if unit is None:
            self._manager = ""
            for active in self._registry.all_active():
                active.hint.set()
        elif (job_id := job_id_of(unit)) and (one := self._registry.active(job_id)):
            one.hint.set()

    def order_end(self, job: Job, reason: Reason, message: str) -> None:
        """Ends a running job: it takes too much of the disk, say. A later agent goes on with it.

        Does nothing where the job's attempt is over. Raises `OSError`.
        """
        active = self._registry.active(job.job_id)
        if active is None or active.job.attempt != job.attempt:
            return
        self._files(job).order_end(reason, message)
        active.hint.set()

    def _to_drive(self) -> Iterable[ActiveJob]:
        """The jobs that need a driver: those whose turn it is, and those that an earlier agent began."""
        begun, self._begun = self._begun, []
        yield from begun
        for job_id in self._queue.start_next():
            if active := self._registry.active(job_id):
                yield active

    async def _drive(self, active: ActiveJob) -> None:
        """Looks at one job, does what is due, and waits for the next hint, until its attempt has ended.

        Or until it is back in the queue.
        """
        active.start_requests, active.refusal = 0, ""
        attempt = active.job.attempt
        while self._is_driven(active, attempt):
            active.hint.clear()
            try:
                await self._step(active)
            except Exception as error:
                # The host does not answer, or a disk is full: the job is not to blame and may be running.
                # An unforeseen error must not end the drivers of the other jobs, nor the agent at each start.
                foreseen = isinstance(error, AgentError)
                log.warning("job %s: %s", active.job.job_id, error, exc_info=None if foreseen else error)
                asyncio.get_running_loop().call_later(LOOK_DELAY, active.hint.set)
            active.looked.set()
            if self._is_driven(active, attempt):
                await active.hint.wait()

    def _is_driven(self, active: ActiveJob, attempt: int) -> bool:
        job = active.job
        return not job.status.terminal and job.attempt == attempt and not self._queue.waits(job.job_id)

    async def _step(self, active: ActiveJob) -> None:
        # Kept for this step: a reconnection may forget the agent's own copy at any moment.
        manager = self._manager = self._manager or await self._units.manager_identity()
        if active.job.status is JobState.PENDING and not await self._admission.admit(active, manager):
            return
        # The order matters: each is looked at before what could have followed from it.
        files = self._files(active.job)
        ended = files.has(ENDED)
        begun = ended or files.has_begun()
        # Once there is a record, systemd's state no longer counts, and systemd need not be asked.
        state = UnitState() if ended else await self._units.state(active.job.unit)
        if record := files.record():
            await self._finish_with_record(active, files, record, manager)
        elif not state.ended:
            await self._follow(active, files, state, begun=begun)
        elif begun:
            if ended:
                log.warning("job %s: its exit record is damaged", active.job.job_id)
            await self._finish_without_record(active, files, state, manager)
        elif active.job.cancel_requested:
            await self._finish(active, Outcome(JobState.CANCELLED, Reason.CANCELLED))
        elif await self._manager_left(active, manager):
            await self._finish(active, interrupted("The host was restarted before the job began."))
        elif self._units.called_off(active.job.unit):
            await self._finish(active, STOPPED_BY_HAND)
        else:
            await self._start(active)

    async def _start(self, active: ActiveJob) -> None:
        """Makes the job's unit and asks systemd to start it. A unit that was claimed never starts again."""
        if not await self._admission.still_open(active):
            return
        job = active.job
        if active.start_requests >= MAX_START_REQUESTS:
            message = f"systemd did not start the unit. {active.refusal}".rstrip()
            await self._finish(active, Outcome(JobState.FAILED, Reason.START_FAILED, message))
            return
        try:
            text = await self._compiler.compile(await self._preparation.prepare(job))
        except AgentError as error:
            if error.problem in NOT_THE_JOBS_FAULT:
                raise
            missing = error.problem is Problem.INPUT_MISSING
            reason = Reason.INPUT if missing else Reason.START_FAILED
            refused = Outcome(JobState.FAILED, reason, str(error))
            await self._finish(active, refused, again=error.problem not in MAY_NOT_RUN)
            return
        with storage_full():
            put(self._settings.paths_of(job.job_id).unit_file, text)
        if job.attempt > 1:
            # systemd still knows the unit of the attempt before, which is claimed and would never start.
            await self._units.forget(job.unit)
            await self._leftovers.clear(job.job_id)
        active.start_requests += 1
        try:
            await self._units.start(job.unit)
        except AgentError as error:
            active.refusal = str(error)
            raise

    async def _follow(self, active: ActiveJob, files: AttemptFiles, state: UnitState, *, begun: bool) -> None:
        """Records what is new of a live unit, and stops it if its job is to end.

        Until the attempt has begun, the live unit is the rest of an earlier one, or waits in systemd's queue.
        """
        update: dict[str, Any] = {}
        if begun and state.invocation_id:
            update["invocation_id"] = state.invocation_id
        if started_at := files.started_at():
            update |= {"status": JobState.RUNNING, "started_at": not_before(active.job, started_at)}
        if begun and (container_id := files.container_id()):
            update["container_id"] = container_id
        await self._registry.change(active, lambda job: job.model_copy(update=update))
        over = files.has(OVER)
        if state.active_state != "deactivating":
            if active.job.cancel_requested or over:
                await self._units.stop(active.job.unit)
        elif over and files.has(STOPPING):
            # A job that exceeds its quota gets no grace in which to take more. conmon notes how it ended.
            await self._podman.kill(container_name(active.job.job_id))

    async def _finish_with_record(
        self, active: ActiveJob, files: AttemptFiles, record: ExitRecord, manager: str
    ) -> None:
        result = self._outcome(active.job, files, record)
        if result.reason is Reason.STOPPED and await self._manager_left(active, manager):
            result = interrupted("The host was shut down while the job ran.")
        elif result.reason is Reason.INTERRUPTED and (why := shortage(self._settings.runtime_directory)):
            result = interrupted(f"{result.message} {why}")
        await self._finish(
            active,
            result,
            exit_status=record.exit_status,
            invocation_id=record.invocation_id,
            finished_at=record.ended_at,
        )

    async def _finish_without_record(
        self, active: ActiveJob, files: AttemptFiles, state: UnitState, manager: str
    ) -> None:
        """Ends a job that began, is gone, and left no record: as the journal says, but never COMPLETED."""
        job = active.job
        if await self._manager_left(active, manager):
            await self._finish(active, interrupted("The host went down while the job ran."))
            return
        others = {each.invocation_id for each in job.attempts if each.invocation_id}
        told = await self._exit_of(job.unit, job.invocation_id, others)
        if told is None and state.result == "oom-kill":
            result = Outcome(JobState.FAILED, Reason.OOM_KILL, "The job needed more memory than its limit.")
        elif told is None:
            result = interrupted(f"The unit ended ({state.result}) without a record of how the script ended.")
        else:
            if told.code == "exited" and files.container_id():
                # Its container is still there, so conmon may have exited with another status than that of the
                # script (units/ml-job-ended).
                told = replace(told, container=UNKNOWN)
            result = _without_record(self._outcome(job, files, told), told)
        facts: dict[str, Any] = (
            {"invocation_id": told.invocation_id, "exit_status": told.exit_status} if told else {}
        )
        await self._finish(active, result, **facts)

    def _outcome(self, job: Job, files: AttemptFiles, record: ExitRecord) -> Outcome:
        return files.outcome(
            record, cancelled=job.cancel_requested, called_off=self._units.called_off(job.unit)
        )

    async def _finish(self, active: ActiveJob, result: Outcome, *, again: bool = True, **facts: Any) -> None:
        """Publishes the artifacts, commits the terminal state once, and makes room for the next job.

        A job that wants another attempt waits for that instead, if it may run `again`.
        """
        job, files, seen_at = active.job, self._files(active.job), now()
        files.bar()
        taken = await self._results.measure(job)
        if taken.excess:
            # Noted before the excess is deleted: then the next agent would find none.
            with storage_full():
                files.order_end(Reason.ARTIFACT_QUOTA, taken.excess)
        noted = files.ordered_end()
        if result.status is JobState.COMPLETED and noted and noted.reason is Reason.ARTIFACT_QUOTA:
            result = noted
        missing = await self._results.publish(job, delete_others=bool(taken.excess))
        if result.status is JobState.COMPLETED and missing:
            result = Outcome(JobState.FAILED, Reason.ARTIFACT_MISSING, missing)
        update = {"finished_at": seen_at, **facts, "status": result.status, "reason": result.reason}
        update["message"] = one_line(result.message) if result.message else None
        if started_at := files.started_at():
            update["started_at"] = not_before(job, started_at)
        update["finished_at"] = max(update["finished_at"], update.get("started_at", job.created_at))
        after = partial(self._after_attempt, update=update, again=again)
        await self._registry.change(active, after, left=await self._results.left(job, taken))
        if active.job.attempt > job.attempt and job.inputs:
            await self._inputs.drop(job)
        if active.job.attempt > job.attempt and (taken.bytes > KEPT.bytes or taken.files > KEPT.files):
            await self._results.delete(job)
        log.info("job %s, attempt %d: %s %s", job.job_id, job.attempt, result.status, result.reason or "")
        self._registry.wake.set()
        self._leftovers.look()

    def _after_attempt(self, job: Job, *, update: dict[str, Any], again: bool) -> Job:
        """The job after its attempt: in its final state, or waiting to be tried again."""
        ended = job.model_copy(update=update)
        assert ended.finished_at is not None
        same = Attempt.model_fields.keys() - {"number"}  # as the job has them
        attempt = Attempt(number=ended.attempt, **{name: getattr(ended, name) for name in same})
        ended = ended.model_copy(update={"attempts": [*ended.attempts, attempt]})
        wanted = again and ended.reason in ended.retry_on and not ended.cancel_requested
        if not wanted or ended.attempt >= ended.max_attempts:
            return ended
        anew = dict.fromkeys(OF_AN_ATTEMPT) | {
            "status": JobState.PENDING,
            "attempt": ended.attempt + 1,
            "container_id": "",
            "not_before": now() + self._queue.retry_delay(ended.attempt),
        }
        return ended.model_copy(update=anew)

    async def _manager_left(self, active: ActiveJob, manager: str) -> bool:
        """Whether the systemd manager that was asked to start the job is gone, or about to go.

        `manager` is the identity of the one that is there.
        """
        asked = await self._registry.manager_asked(active)
        return asked != manager or await self._units.manager_stopping()

    def _files(self, job: Job) -> AttemptFiles:
        return AttemptFiles(self._settings.paths_of(job.job_id), job.attempt)


def _without_record(result: Outcome, told: ExitRecord) -> Outcome:
    """What systemd's journal proves, where it says how the script ended; it never proves a success."""
    # That the unit was stopped, a mark or a signal has told. Otherwise the script's own end must be known.
    if result.status is JobState.CANCELLED or (
        result.status is JobState.FAILED and told.exit_status is not None
    ):
        return result
    return interrupted(
        f"The unit's exit record is missing. systemd's journal has the unit's result, {told.result}, but not"
        " how the script ended."
    )
