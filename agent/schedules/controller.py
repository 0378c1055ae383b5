"""Turns the times of schedules into jobs and sweeps: for each time one, or the reason why there is none.

Level-triggered: what is due follows from the record and the clock, and a timer is only a hint. A run is
committed before its job, and the job in one transaction with the run's row. So the agent may die between any
two lines.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Protocol
from weakref import WeakValueDictionary

from ..audit.chain import Caller
from ..errors import AgentError, Problem
from ..host.calendars import Calendars
from ..jobs.registry import Registry
from ..jobs.submission import Occasion, Submission
from ..log import log
from ..model.base import format_time, now
from ..model.certificate import MAY_GO_FIRST, Role
from ..model.job import Job
from ..model.schedule import (
    Overlap,
    RunReason,
    RunState,
    Schedule,
    ScheduleReason,
    ScheduleRun,
    ScheduleState,
)
from ..model.sweep import Sweep, SweepRequest
from ..store.schedules import ScheduleStore
from .timers import UNIT, Timers

LOOK_DELAY = 2.0  # seconds until a schedule is looked at again that waits for a sweep, or after a failure
PATIENCE = timedelta(minutes=10)  # how long a run waits for a host that fails
HOST_FAILS = (Problem.HOST, Problem.STORAGE_FULL, Problem.INTERNAL)
SUSPENDS = {
    Problem.CERTIFICATE_REFUSED: ScheduleReason.OWNER_REVOKED,
    Problem.COMMIT_REFUSED: ScheduleReason.COMMIT_REFUSED,
    Problem.REF_NOT_FOUND: ScheduleReason.COMMIT_REFUSED,
}
GONE = (Problem.NOT_WAITING, Problem.SCHEDULE_NOT_FOUND)  # the run was skipped, or its schedule removed


class Sweeps(Protocol):
    """What schedules ask of sweeps."""

    async def submit(
        self,
        owner: str,
        request: SweepRequest,
        *,
        idempotency_key: str | None,
        by: Caller,
        occasion: Occasion | None = None,
    ) -> Sweep:
        """Accepts a sweep for a time of a schedule."""

    async def cancel(self, sweep_id: str, *, by: Caller) -> Sweep:
        """Ends a sweep and cancels its trials."""


RoleOf = Callable[[str, datetime], Awaitable[Role | None]]
CheckShare = Callable[[str], Awaitable[None]]


class Controller:
    """`run` keeps timers and makes runs; `look_at` tells it of a unit that has changed.

    `role_of` is the role that a user has now, or None. `check_share` raises where a user's share of the audit
    is full.
    """

    def __init__(
        self,
        store: ScheduleStore,
        timers: Timers,
        calendars: Calendars,
        registry: Registry,
        submission: Submission,
        sweeps: Sweeps,
        role_of: RoleOf,
        check_share: CheckShare,
    ) -> None:
        self._store = store
        self.timers = timers
        self._calendars = calendars
        self._registry = registry
        self._submission = submission
        self._sweeps = sweeps
        self._role_of = role_of
        self._check_share = check_share
        self._hints: dict[str, asyncio.Event] = {}  # of the schedules that are driven
        self._waiting: set[str] = set()  # schedules that need a driver
        self._wake = asyncio.Event()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._lacking = True  # whether an active schedule may have no timer
        self._doubt = asyncio.Event()  # whether timers and record may not agree
        self._doubt.set()
        registry.on_end.append(self._job_ended)

    @property
    def idle(self) -> bool:
        """Whether no schedule needs the agent: timers run, none is due, and no run waits."""
        return not self._lacking and not self._hints and not self._waiting

    def look_at(self, unit: str | None) -> None:
        """Looks for what is due after a unit has changed, or any may have (None)."""
        match = UNIT.fullmatch(unit or "")
        if unit is None or match:
            self._wake.set()

    def want(self, schedule_id: str) -> None:
        """Has a schedule looked at."""
        if hint := self._hints.get(schedule_id):
            hint.set()
        else:
            self._waiting.add(schedule_id)
            self._wake.set()

    def _job_ended(self, job: Job) -> None:
        if job.schedule is not None:
            self.want(job.schedule)

    async def run(self) -> None:
        """Keeps timers as the record says, and makes runs as they are due, until it is cancelled."""
        for schedule_id in await self._store.waiting():
            self.want(schedule_id)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_timers())
            while True:
                self._wake.clear()
                self._want_due()
                while self._waiting:
                    schedule_id = self._waiting.pop()
                    self._hints[schedule_id] = asyncio.Event()
                    group.create_task(self._drive(schedule_id))
                await self._wake.wait()

    def _want_due(self) -> None:
        """Has each schedule looked at that left a mark; again soon, where marks cannot be read."""
        try:
            for schedule_id in self.timers.due():
                self.want(schedule_id)
        except OSError as error:
            log.warning("marks of schedules: %s", error)
            asyncio.get_running_loop().call_later(LOOK_DELAY, self._wake.set)

    async def _keep_timers(self) -> None:
        """Makes timers and record agree, at first and after each time that systemd did not answer."""
        while True:
            await self._doubt.wait()
            self._doubt.clear()
            try:
                await self._agree()
            except (AgentError, OSError) as error:
                log.warning("timers of schedules: %s", error)
                self._look_at_timers()
                await asyncio.sleep(LOOK_DELAY)

    async def _agree(self) -> None:
        active = {schedule.schedule_id for schedule in await self._store.active()}
        self._lacking = bool(active)
        for schedule_id in active ^ await self.timers.running():
            await self._keep_timer(schedule_id)
            self.want(schedule_id)  # without a timer, as after a boot, nothing has told what is due
        self._lacking = self._doubt.is_set()

    def _look_at_timers(self) -> None:
        self._lacking = True
        self._doubt.set()

    async def keep_timer(self, schedule_id: str) -> None:
        """Starts or stops the timer, as the record says now; later, where systemd does not answer."""
        try:
            await self._keep_timer(schedule_id)
        except (AgentError, OSError) as error:
            log.warning("schedule %s: %s", schedule_id, error)
            self._look_at_timers()

    async def _keep_timer(self, schedule_id: str) -> None:
        async with self._turns.setdefault(schedule_id, asyncio.Lock()):
            try:
                schedule = await self._store.get(schedule_id)
            except AgentError as error:
                if error.problem is not Problem.SCHEDULE_NOT_FOUND:
                    raise
                await self.timers.stop(schedule_id, forget=True)
                return
            if schedule.status is ScheduleState.ACTIVE:
                await self.timers.start(schedule)
            else:
                await self.timers.stop(schedule_id)

    async def _drive(self, schedule_id: str) -> None:
        """Looks at one schedule again and again, until only a timer or a client can change it."""
        hint = self._hints[schedule_id]
        try:
            while (delay := await self._look_safely(schedule_id)) is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay or None):
                        await hint.wait()
                hint.clear()
        finally:
            del self._hints[schedule_id]
            if hint.is_set():
                self.want(schedule_id)

    async def _look_safely(self, schedule_id: str) -> float | None:
        try:
            return await self.look(schedule_id)
        except Exception as error:
            # An unforeseen error must not end the other schedules, nor the agent at each start.
            foreseen = isinstance(error, AgentError | OSError)
            log.warning("schedule %s: %s", schedule_id, error, exc_info=None if foreseen else error)
            if isinstance(error, AgentError) and error.problem is Problem.SCHEDULE_NOT_FOUND:
                self.timers.settle(schedule_id)
                return None
            return LOOK_DELAY

    async def look(self, schedule_id: str) -> float | None:
        """Does what is due. Returns the seconds until the next look, 0 for a hint, None for neither."""
        async with self._turns.setdefault(schedule_id, asyncio.Lock()):
            await self._begin_due(schedule_id)
            while self.timers.settle(schedule_id):  # it may have elapsed once more meanwhile
                await self._begin_due(schedule_id)
            while True:
                schedule = await self._store.get(schedule_id)
                run, going_on = await self._store.next_waiting(schedule_id)
                if run is None:
                    return None
                if going_on:
                    return await self._wait_for(schedule, going_on)
                if not await self._submit(schedule, run):
                    return LOOK_DELAY

    async def advance(self, schedule_id: str) -> None:
        """Does at once what a run that a client has asked for needs, as far as it can."""
        await self._look_safely(schedule_id)
        self.want(schedule_id)

    # Times

    async def _begin_due(self, schedule_id: str) -> None:
        """Commits a run for the newest time that has come, unless it has one. Earlier ones were missed."""
        schedule, moment = await self._store.get(schedule_id), now()
        if schedule.status is not ScheduleState.ACTIVE:
            return
        begun = await self._store.begun(schedule_id, moment)
        after = max(begun, schedule.active_since) if begun else schedule.active_since
        slot = await self._calendars.newest(schedule.expression, after, moment)
        if slot is None:
            return
        first = (await self._calendars.next(schedule.expression, after, 1))[0]
        missed = f"Earlier times were missed, from {format_time(first)} on." if first < slot else None
        run = ScheduleRun(slot=slot, status=RunState.WAITING, message=missed, at=moment)
        await self._store.begin(schedule_id, run)

    async def _wait_for(self, schedule: Schedule, going_on: list[tuple[str, str]]) -> float:
        if schedule.overlap is Overlap.REPLACE:
            by = _caller(schedule)
            for job_id, sweep_id in going_on:
                if sweep_id:
                    await self._sweeps.cancel(sweep_id, by=by)
                elif not (await self._registry.get(job_id)).cancel_requested:
                    await self._registry.cancel(job_id, by=by)
        return LOOK_DELAY if any(sweep_id for _, sweep_id in going_on) else 0.0

    # Submissions

    async def _submit(self, schedule: Schedule, run: ScheduleRun) -> bool:
        """Submits what a run is for, or settles that it has nothing; returns whether the next may come."""
        try:
            await self._submitted(schedule, run)
        except AgentError as error:
            if error.problem in GONE:
                return True
            if reason := SUSPENDS.get(error.problem):
                await self._suspend(schedule, run, reason, error.message)
            elif error.problem not in HOST_FAILS or now() - run.at > PATIENCE:
                await self._store.skip(schedule.schedule_id, run.slot, RunReason.REFUSED, why_refused(error))
            else:
                log.warning("schedule %s waits for the host: %s", schedule.schedule_id, error)
                return False
        return True

    async def _submitted(self, schedule: Schedule, run: ScheduleRun) -> None:
        owner = schedule.owner
        role = await self._role_of(owner, now())
        if role is None:
            raise AgentError(Problem.CERTIFICATE_REFUSED, f"The certificate of {owner} was revoked.")
        request = schedule.submission
        if request.priority > 0 and role not in MAY_GO_FIRST:
            raise AgentError(Problem.FORBIDDEN, f"{owner} may no longer put jobs before others.")
        await self._check_share(owner)
        by, which = _caller(schedule), Occasion(schedule.schedule_id, run.slot)
        if isinstance(request, SweepRequest):
            await self._sweeps.submit(owner, request, idempotency_key=None, by=by, occasion=which)
        else:
            await self._submission.submit(owner, request, by=by, occasion=which)

    async def _suspend(
        self, schedule: Schedule, run: ScheduleRun, reason: ScheduleReason, message: str
    ) -> None:
        update = {"status": ScheduleState.SUSPENDED, "reason": reason, "message": message}
        schedule_id = schedule.schedule_id
        deed = _caller(schedule).did("suspendSchedule", schedule_id, owner=schedule.owner, why=message)
        await self._store.skip(schedule_id, run.slot, RunReason.REFUSED, message)
        await self._store.change(schedule_id, lambda known: known.model_copy(update=update), deed=deed)
        self._look_at_timers()


def why_refused(error: AgentError) -> str:
    """An error in one sentence or more, with the fields that it is about."""
    fields = [f"{field.field}: {field.message}" for field in error.fields]
    return " ".join([error.message, *fields])


def _caller(schedule: Schedule) -> Caller:
    """Who acts where nobody asks: the owner, by the schedule."""
    return Caller(actor=schedule.owner, role="schedule", source=f"schedule {schedule.schedule_id}")
