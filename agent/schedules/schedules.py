"""What clients ask of schedules: makes them, changes their course, and reads them."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from ..audit.chain import Caller
from ..errors import AgentError, FieldError, invalid_request
from ..host.calendars import Calendars
from ..host.tasks import to_its_end
from ..jobs.requests import fingerprint_of, readable_by
from ..jobs.submission import Submission
from ..model.base import new_job_id, now
from ..model.schedule import (
    MAX_SCHEDULES,
    MIN_INTERVAL,
    NEXT,
    RunState,
    Schedule,
    ScheduledJob,
    ScheduledSweep,
    SchedulePage,
    SchedulePreview,
    ScheduleRequest,
    ScheduleRun,
    ScheduleRunPage,
    ScheduleState,
)
from ..store.schedules import ScheduleStore
from ..sweeps.sweeps import Sweeps
from .controller import Controller


@dataclass(eq=False)
class Schedules:
    """The schedules of one host. Each deed is in the audit, in its own transaction."""

    _store: ScheduleStore
    _submission: Submission
    _sweeps: Sweeps
    _calendars: Calendars
    _controller: Controller

    async def preview(self, owner: str, request: ScheduleRequest) -> SchedulePreview:
        """The next times of a schedule; nothing is committed. Raises what `create` raises."""
        expression = await self._calendars.expression(request.calendar, request.time_zone)
        times = await self._calendars.next(expression, now(), NEXT)
        _check_times(times, request.randomized_delay_seconds)
        try:
            if request.sweep is not None:
                await self._sweeps.check(owner, request.sweep)
            elif request.job is not None:
                # At each time, too, it names its owner's jobs.
                await self._submission.check(owner, request.job, may_read=readable_by(owner))
        except AgentError as error:
            within = "job" if request.sweep is None else "sweep"
            fields = tuple(replace(each, field=f"{within}.{each.field}") for each in error.fields)
            raise replace(error, fields=fields) from error
        return SchedulePreview(expression=expression, next=times)

    async def create(
        self, owner: str, request: ScheduleRequest, *, idempotency_key: str | None, by: Caller
    ) -> Schedule:
        """Checks the request, commits the schedule, starts its timer and returns it.

        Raises `AgentError`: what its job or sweep would raise now, invalid-request for a calendar without a
        next time or with too many of them, too-many-schedules, host where systemd does not answer.
        """
        fingerprint = fingerprint_of(request.model_dump(mode="json"))
        if idempotency_key and (known := await self._store.by_key(owner, idempotency_key, fingerprint)):
            return await self._with_next(known)
        preview, made_at = await self.preview(owner, request), now()
        job, sweep = request.job, request.sweep
        schedule = Schedule(
            schedule_id=new_job_id(),
            status=ScheduleState.ACTIVE,
            owner=owner,
            expression=preview.expression,
            job=ScheduledJob.model_validate(_plain(job)) if job else None,
            sweep=ScheduledSweep.model_validate(_plain(sweep)) if sweep else None,
            created_at=made_at,
            active_since=made_at,
            **request.model_dump(exclude={"job", "sweep"}),
        )
        details = {"calendar": schedule.expression, "script": request.submission.script_name}
        deed = by.did("createSchedule", schedule.schedule_id, **details)
        return await self._with_next(
            await to_its_end(self._add(schedule, idempotency_key, fingerprint, deed))
        )

    async def _add(self, schedule: Schedule, key: str | None, fingerprint: str, deed: Any) -> Schedule:
        committed = await self._store.add(
            schedule, key=key, fingerprint=fingerprint, limit=MAX_SCHEDULES, deed=deed
        )
        await self._controller.keep_timer(committed.schedule_id)
        return committed

    async def get(self, schedule_id: str) -> Schedule:
        """The schedule with its next times. Raises `AgentError` (schedule-not-found)."""
        return await self._with_next(await self._store.get(schedule_id))

    async def page(self, *, owner: str | None, before: int | None, limit: int) -> SchedulePage:
        """At most `limit` schedules, newest first; `before` is an earlier page's `next_cursor`."""
        page = await self._store.page(owner=owner, before=before, limit=limit)
        return page.model_copy(update={"schedules": [await self._with_next(each) for each in page.schedules]})

    async def runs(self, schedule_id: str, *, before: int | None, limit: int) -> ScheduleRunPage:
        """At most `limit` runs, newest first; `before` is an earlier page's `next_cursor`."""
        return await self._store.runs(schedule_id, before=before, limit=limit)

    async def newest(self, *, owner: str | None, limit: int) -> list[Schedule]:
        """The schedules that were made last, the newest one last."""
        return (await self.page(owner=owner, before=None, limit=limit)).schedules[::-1]

    async def changed(self, after: int, *, owner: str | None, limit: int) -> tuple[int, list[Schedule]]:
        """The first schedules that have changed after that number, and the number of the last of them."""
        seen, changed = await self._store.changed(after, owner=owner, limit=limit)
        return seen, [await self._with_next(each) for each in changed]

    async def newest_change(self) -> int:
        """The number of the newest change of any schedule."""
        return await self._store.newest_change()

    async def pause(self, schedule_id: str, *, by: Caller) -> Schedule:
        """Makes no more runs, and skips those that wait. Jobs and sweeps go on."""
        return await self._turn(schedule_id, ScheduleState.PAUSED, "pauseSchedule", by)

    async def resume(self, schedule_id: str, *, by: Caller) -> Schedule:
        """Makes runs again, from the next time on."""
        return await self._turn(schedule_id, ScheduleState.ACTIVE, "resumeSchedule", by)

    async def _turn(self, schedule_id: str, status: ScheduleState, action: str, by: Caller) -> Schedule:
        owner, moment = (await self._store.get(schedule_id)).owner, now()

        def turn(schedule: Schedule) -> Schedule:
            if schedule.status is status:
                return schedule
            update: dict[str, Any] = {"status": status, "reason": None, "message": None}
            if status is ScheduleState.ACTIVE:
                update["active_since"] = moment
            return schedule.model_copy(update=update)

        async def turned() -> Schedule:
            deed = by.did(action, schedule_id, owner=owner)
            changed = await self._store.change(schedule_id, turn, deed=deed)
            await self._controller.keep_timer(schedule_id)
            return changed

        return await self._with_next(await to_its_end(turned()))

    async def run(self, schedule_id: str, *, by: Caller) -> ScheduleRun:
        """Makes a run now, also of a schedule that is not ACTIVE, and returns what became of it so far.

        Its overlap with earlier runs counts as at any other time.
        """
        owner, moment = (await self._store.get(schedule_id)).owner, now()
        deed = by.did("runSchedule", schedule_id, owner=owner)
        run = ScheduleRun(slot=moment, manual=True, status=RunState.WAITING, at=moment)
        # Runs are known by their times, and two within a millisecond need two.
        while not await to_its_end(self._store.begin(schedule_id, run, deed=deed)):
            run = run.model_copy(update={"slot": run.slot + timedelta(milliseconds=1)})
        await self._controller.advance(schedule_id)
        return await self._store.run(schedule_id, run.slot)

    async def remove(self, schedule_id: str, *, by: Caller) -> Schedule:
        """Removes a schedule, its timer and the record of its runs. Jobs and sweeps stay."""
        owner = (await self._store.get(schedule_id)).owner

        async def removed() -> Schedule:
            deed = by.did("removeSchedule", schedule_id, owner=owner)
            schedule = await self._store.remove(schedule_id, deed=deed)
            await self._controller.keep_timer(schedule_id)
            return schedule

        return await to_its_end(removed())

    async def _with_next(self, schedule: Schedule) -> Schedule:
        if schedule.status is not ScheduleState.ACTIVE:
            return schedule
        times = await self._calendars.next(schedule.expression, now(), NEXT)
        return schedule.model_copy(update={"next": times})


def _plain(request: Any) -> dict[str, Any]:
    plain: dict[str, Any] = request.model_dump(exclude_none=True)
    return plain


def _check_times(times: list[datetime], delay: int) -> None:
    """Raises `AgentError` (invalid-request) for times that a schedule cannot have.

    An expression is a product of days, hours, minutes and seconds: two times that are too close come early.
    """
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
    if not times:
        why = FieldError("calendar", "never comes again")
    elif min(gaps, default=MIN_INTERVAL) < MIN_INTERVAL:
        why = FieldError("calendar", f"must leave {MIN_INTERVAL} s between two times")
    elif gaps and delay >= min(gaps):
        why = FieldError(
            "randomized_delay_seconds", f"must be less than the {min(gaps):g} s between two times"
        )
    else:
        return
    raise invalid_request("The request is not valid.", fields=(why,))
