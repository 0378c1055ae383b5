"""A small backend in memory: everything that the API needs, and nothing of how the agent does it."""

import asyncio
import contextlib
import hashlib
import mimetypes
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from agent import __version__
from agent.audit.chain import Caller, Deed
from agent.backend import Backend
from agent.comparison.differences import difference
from agent.comparison.table import columns, csv_pieces
from agent.errors import AgentError, FieldError, Problem
from agent.jobs.requests import labels_with
from agent.logs.lines import Item, Line, Position, job_output
from agent.model.alias import NamedModel
from agent.model.artifact import Artifact, ArtifactManifest
from agent.model.base import new_job_id, now, unit_name
from agent.model.certificate import Certificate, Invitation
from agent.model.comparison import ComparedJob, Comparison, JobDifference, MeasuredJob
from agent.model.event import Change, History
from agent.model.host import Host, QueuePlace, Resources, Usage, UserQueue, Versions
from agent.model.job import Job, JobPage, JobRequest, JobState, Reason, Rerun, RunRequest, no_such_job
from agent.model.log import LogSource
from agent.model.metric import JobMetrics, MetricPoint, Progress
from agent.model.monitoring import Live
from agent.model.schedule import (
    MAX_SCHEDULES,
    RunState,
    Schedule,
    SchedulePage,
    SchedulePreview,
    ScheduleRequest,
    ScheduleRun,
    ScheduleRunPage,
    ScheduleState,
    no_such_schedule,
)
from agent.model.script import Parameter, ParameterType, Script, ScriptList
from agent.model.search import JobSearch, Order
from agent.model.secret import SecretChange, SecretEntry
from agent.model.sweep import (
    Objective,
    Sweep,
    SweepPage,
    SweepReason,
    SweepRequest,
    SweepRerun,
    SweepState,
    TrialPage,
    no_such_sweep,
)
from agent.model.usage import Period, UsageKey, UsageReport
from agent.sweeps.space import first_point, resolve
from agent.sweeps.trials import sweep_like, trial_job

from .memory_models import MemoryModels
from .memory_shares import MemoryShares

COMMIT = "c" * 40
DEPTH = Parameter(name="depth", type=ParameterType.INTEGER, maximum=10)
SCRIPTS = {
    script.script_name: script
    for script in (
        Script(script_name="declared.py", sha256="1" * 64, parameters=[DEPTH], secrets=["warehouse"]),
        Script(script_name="fail.py", sha256="2" * 64, any_parameters=True),
        Script(script_name="succeed.py", sha256="3" * 64, any_parameters=True),
    )
}
CALENDARS = ("hourly", "*:00")
CHUNK = 1 << 16  # bytes
MAX_SECRETS = 3  # of each user


class MemoryChanges:
    """The newest change of each job, in the order of their numbers."""

    def __init__(self) -> None:
        self._newest = 0
        self._changes: dict[str, Change] = {}
        self._wake = asyncio.Event()

    def add(self, job: Job) -> None:
        self._newest += 1
        self._changes.pop(job.job_id, None)
        self._changes[job.job_id] = Change(seq=self._newest, job_id=job.job_id, owner=job.owner, job=job)
        self.wake()

    def wake(self) -> None:
        """Wakes everybody who waits."""
        self._wake.set()
        self._wake = asyncio.Event()

    async def woken(self) -> None:
        await self._wake.wait()

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        yield

    async def history(self) -> History:
        return History(epoch="a" * 8, forgotten=0, newest=self._newest)

    async def current(self, *, owner: str | None, ended: int) -> tuple[History, AsyncIterator[list[Change]]]:
        _, changes = await self.after(0, owner=owner)
        terminal = [each for each in changes if each.job and each.job.status.terminal]
        left_out = terminal[: max(0, len(terminal) - ended)]

        async def portions() -> AsyncIterator[list[Change]]:
            yield [each for each in changes if each not in left_out]

        return await self.history(), portions()

    async def missed(self, seq: int, *, owner: str | None, limit: int) -> int:
        return min(limit, len((await self.after(seq, owner=owner))[1]))

    async def after(self, seq: int, *, owner: str | None) -> tuple[int, list[Change]]:
        changes = (each for each in self._changes.values() if each.seq > seq)
        return max(seq, self._newest), [each for each in changes if owner in (None, each.owner)]

    async def of(self, job_id: str, seq: int) -> tuple[int, Change | None]:
        change = self._changes.get(job_id)
        return max(seq, self._newest), change if change and change.seq > seq else None

    async def changed(self, seen: int, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._newest <= seen:
                    await self.woken()

    async def newer(self, job: Job) -> Job:
        while True:
            newest = self._changes[job.job_id].job
            assert newest
            if newest.revision > job.revision or newest.status.terminal:
                return newest
            await self.woken()

    async def ended(self, job: Job) -> Job:
        while not job.status.terminal:
            job = await self.newer(job)
        return job


class MemoryJobs:
    """Jobs that wait for ever, oldest first: nothing starts them."""

    def __init__(self, changes: MemoryChanges, deeds: list[Deed]) -> None:
        self.records: dict[str, Job] = {}
        self.shares = MemoryShares(deeds)
        self.shares.job_records = self.records
        self._changes = changes
        self._deeds = deeds
        self._keys: dict[tuple[str, str | None], tuple[str, str]] = {}

    def put(self, job: Job) -> Job:
        self.records[job.job_id] = job
        self._changes.add(job)
        return self._placed(job)

    # Submissions

    async def submit(
        self,
        owner: str,
        request: JobRequest,
        *,
        idempotency_key: str | None,
        by: Caller,
        may_read: Callable[[Job | NamedModel], bool],
    ) -> Job:
        for number, job_id in enumerate(request.after):
            self.check_named(f"after.{number}", job_id, may_read)
        job = self.plan(owner, request, may_read)
        deed = by.did("submitJob", job.job_id)
        return self._accept(job, idempotency_key, request.model_dump_json(), deed)

    def script(self, request: RunRequest) -> Script:
        if request.ref not in (None, COMMIT):
            raise refused(Problem.REF_NOT_FOUND, "There are no scripts at this ref.", "ref")
        if script := SCRIPTS.get(request.script_name):
            return script
        raise refused(Problem.SCRIPT_NOT_FOUND, "There is no such script.", "script_name")

    def check_named(self, field: str, job_id: str, may_read: Callable[[Job | NamedModel], bool]) -> None:
        """Raises `AgentError` for a job that the client may not name."""
        if job_id not in self.records or not may_read(self.records[job_id]):
            raise refused(Problem.INVALID_REQUEST, "There is no such job.", field)

    def plan(
        self, owner: str, request: RunRequest, may_read: Callable[[Job | NamedModel], bool] | None = None
    ) -> Job:
        """The job that a request asks for; without `may_read`, it names jobs of its owner."""
        may_read = may_read or (lambda job: job.owner == owner)
        for name, each in request.inputs.items():
            if each.job_id is None:
                raise refused(Problem.INVALID_REQUEST, "There is no such model.", f"inputs.{name}.model")
            self.check_named(f"inputs.{name}.job_id", each.job_id, may_read)
        script, job_id = self.script(request), new_job_id()
        return Job(
            job_id=job_id,
            status=JobState.PENDING,
            owner=owner,
            commit=COMMIT,
            script_sha256=script.sha256,
            secrets=script.secrets,
            network=script.network,
            image="localhost/ml-runner",
            image_digest="",
            unit=unit_name(job_id),
            created_at=now(),
            **request.model_dump(include=JobRequest.model_fields.keys() - {"ref"}),
        )

    async def rerun(
        self, owner: str, earlier: Job, changes: Rerun, *, idempotency_key: str | None, by: Caller
    ) -> Job:
        job_id = new_job_id()
        update = {
            "job_id": job_id,
            "status": JobState.PENDING,
            "owner": owner,
            "unit": unit_name(job_id),
            "rerun_of": earlier.job_id,
            "name": earlier.name if changes.name is None else changes.name,
            "labels": labels_with(earlier.labels, changes.labels),
            "hyperparameters": earlier.hyperparameters | changes.hyperparameters,
        }
        job = earlier.model_copy(update=update)
        fingerprint = f"{earlier.job_id} {changes.model_dump_json()}"
        return self._accept(job, idempotency_key, fingerprint, by.did("rerunJob", job_id))

    def _accept(self, job: Job, idempotency_key: str | None, fingerprint: str, deed: Deed) -> Job:
        known = self._keys.setdefault((job.owner, idempotency_key), (job.job_id, fingerprint))
        if idempotency_key is not None and known[0] != job.job_id:
            if known[1] != fingerprint:
                raise refused(Problem.IDEMPOTENCY_MISMATCH, "The key has another body.", "Idempotency-Key")
            return self._placed(self.records[known[0]])
        self._deeds.append(deed)
        return self.put(job)

    # Records

    async def get(self, job_id: str) -> Job:
        if job_id not in self.records:
            raise no_such_job()
        return self._placed(self.records[job_id])

    async def page(
        self,
        *,
        owner: str | None,
        status: JobState | None,
        script: str | None,
        cursor: str | None,
        limit: int,
    ) -> JobPage:
        jobs = (self._placed(job) for job in reversed(self.records.values()) if owner in (None, job.owner))
        found = [job for job in jobs if status in (None, job.status) and script in (None, job.script_name)]
        if cursor and not cursor.isdecimal():
            raise refused(Problem.INVALID_REQUEST, "The cursor is not one of a page.", "cursor")
        start = int(cursor or 0)
        more = len(found) > start + limit
        return JobPage(jobs=found[start : start + limit], next_cursor=str(start + limit) if more else None)

    async def cancel(self, job_id: str, *, by: Caller) -> Job:
        job = self.records[job_id]
        if not job.status.terminal:
            update = {
                "status": JobState.CANCELLED,
                "reason": Reason.CANCELLED,
                "cancel_requested": True,
                "finished_at": now(),
            }
            self._change(job, update, by.did("cancelJob", job_id))
        return await self.get(job_id)

    async def pin(self, job_id: str, *, pinned: bool, by: Caller) -> Job:
        job = self.records[job_id]
        if job.pinned != pinned:
            self._change(job, {"pinned": pinned}, by.did("pinJob" if pinned else "unpinJob", job_id))
        return await self.get(job_id)

    def _change(self, job: Job, update: dict[str, object], deed: Deed) -> None:
        self._deeds.append(deed)
        self.put(job.model_copy(update=update | {"revision": job.revision + 1}))

    async def with_place(self, job: Job) -> Job:
        return self._placed(job)

    def _placed(self, job: Job) -> Job:
        place = self._places(None, len(self.records)).get(job.job_id)
        return job.model_copy(update={"queue": place, "readers": self.shares.of(job.job_id)})

    async def running(self, owner: str | None) -> list[Job]:
        states = (JobState.CREATED, JobState.RUNNING)
        return [job for job in self.records.values() if job.status in states and owner in (None, job.owner)]

    async def places(self, owner: str | None, limit: int) -> dict[str, QueuePlace]:
        return self._places(owner, limit)

    def _places(self, owner: str | None, limit: int) -> dict[str, QueuePlace]:
        waiting = [job for job in self.records.values() if job.status is JobState.PENDING]
        places = {
            job.job_id: QueuePlace(position=number, waits_for="the jobs before it")
            for number, job in enumerate(waiting, 1)
            if owner in (None, job.owner)
        }
        return dict(list(places.items())[:limit])

    # Scripts and the host

    async def scripts(self, ref: str | None) -> ScriptList:
        if ref not in (None, COMMIT):
            raise refused(Problem.REF_NOT_FOUND, "There are no scripts at this ref.", "ref")
        return ScriptList(commit=COMMIT, scripts=list(SCRIPTS.values()))

    async def overview(self, user: str | None) -> Host:
        owners = [job.owner for job in self.records.values() if job.status is JobState.PENDING]
        return Host(
            versions=Versions(agent=__version__),
            capacity=Resources(jobs=4, cpus=4, memory_bytes=2**32),
            in_use=Resources(jobs=0, cpus=0, memory_bytes=0),
            waiting=len(owners),
            running=0,
            users=[
                UserQueue(user=owner, waiting=owners.count(owner), running=0, recent_use_seconds=0)
                for owner in sorted(set(owners))
                if user in (None, owner)
            ],
        )

    async def usage(self, job: Job) -> Usage:
        return Usage(job_id=job.job_id, at=now())


class MemorySweeps:
    """Sweeps, oldest first: nothing makes their trials."""

    def __init__(self, jobs: MemoryJobs, deeds: list[Deed]) -> None:
        self.records: dict[str, Sweep] = {}
        jobs.shares.sweep_records = self.records
        self._changes: list[str] = []
        self._jobs = jobs
        self._deeds = deeds
        self._keys: dict[tuple[str, str | None], tuple[str, str]] = {}

    async def submit(
        self,
        owner: str,
        request: SweepRequest,
        *,
        idempotency_key: str | None,
        by: Caller,
        may_read: Callable[[Job | NamedModel], bool],
    ) -> Sweep:
        space, trials = resolve(request, self._jobs.script(request))
        same = ("hyperparameters", "strategy", "at_once", "objective", "pruner")
        fields = {name: getattr(request, name) for name in same}
        job = self._jobs.plan(owner, request, may_read)
        sweep = sweep_like(job, space=space, trials=trials, seed=request.seed or 0, **fields)
        return self._accept(sweep, idempotency_key, request.model_dump_json(), by.did("submitSweep"))

    async def rerun(
        self, owner: str, earlier: Sweep, changes: SweepRerun, *, idempotency_key: str | None, by: Caller
    ) -> Sweep:
        job = trial_job(earlier, first_point(earlier.space)).model_copy(update={"owner": owner})
        same = ("hyperparameters", "space", "trials", "strategy", "at_once", "objective", "pruner", "seed")
        fields = {name: getattr(earlier, name) for name in same}
        sweep = sweep_like(job, rerun_of=earlier.sweep_id, **fields)
        update = changes.model_dump(exclude_none=True)
        sweep = sweep.model_copy(update=update | {"labels": labels_with(earlier.labels, changes.labels)})
        fingerprint = f"{earlier.sweep_id} {changes.model_dump_json()}"
        return self._accept(sweep, idempotency_key, fingerprint, by.did("rerunSweep"))

    def _accept(self, sweep: Sweep, idempotency_key: str | None, fingerprint: str, deed: Deed) -> Sweep:
        known = self._keys.setdefault((sweep.owner, idempotency_key), (sweep.sweep_id, fingerprint))
        if idempotency_key is not None and known[0] != sweep.sweep_id:
            if known[1] != fingerprint:
                raise refused(Problem.IDEMPOTENCY_MISMATCH, "The key has another body.", "Idempotency-Key")
            return self.records[known[0]]
        return self._put(sweep, deed.about(sweep.sweep_id))

    def _put(self, sweep: Sweep, deed: Deed) -> Sweep:
        self._deeds.append(deed)
        self.records[sweep.sweep_id] = sweep
        self._changes.append(sweep.sweep_id)
        return sweep

    async def get(self, sweep_id: str) -> Sweep:
        if sweep_id not in self.records:
            raise no_such_sweep()
        return self.records[sweep_id].model_copy(update={"readers": self._jobs.shares.of(sweep_id)})

    async def page(
        self, *, owner: str | None, status: SweepState | None, before: int | None, limit: int
    ) -> SweepPage:
        numbered = enumerate(self.records.values())
        found = [
            (number, sweep)
            for number, sweep in reversed(list(numbered))
            if owner in (None, sweep.owner)
            and status in (None, sweep.status)
            and (before is None or number < before)
        ]
        more = str(found[limit - 1][0]) if len(found) > limit else None
        return SweepPage(sweeps=[sweep for _, sweep in found[:limit]], next_cursor=more)

    async def trials(self, sweep_id: str, *, after: int, limit: int) -> TrialPage:
        return TrialPage(trials=[])

    async def newest(self, *, owner: str | None, limit: int) -> list[Sweep]:
        return (await self.page(owner=owner, status=None, before=None, limit=limit)).sweeps[::-1]

    async def changed(self, after: int, *, owner: str | None, limit: int) -> tuple[int, list[Sweep]]:
        changed = [self.records[each] for each in self._changes[after:]]
        return len(self._changes), [sweep for sweep in changed if owner in (None, sweep.owner)]

    async def newest_change(self) -> int:
        return len(self._changes)

    async def cancel(self, sweep_id: str, *, by: Caller) -> Sweep:
        ended = {"status": SweepState.CANCELLED, "reason": SweepReason.CANCELLED, "finished_at": now()}
        sweep = await self.get(sweep_id)
        return sweep if sweep.status.terminal else self._change(sweep, ended, by.did("cancelSweep", sweep_id))

    async def pause(self, sweep_id: str, *, by: Caller) -> Sweep:
        return await self._turn(sweep_id, SweepState.PAUSED, by.did("pauseSweep", sweep_id))

    async def resume(self, sweep_id: str, *, by: Caller) -> Sweep:
        return await self._turn(sweep_id, SweepState.RUNNING, by.did("resumeSweep", sweep_id))

    async def _turn(self, sweep_id: str, status: SweepState, deed: Deed) -> Sweep:
        sweep = await self.get(sweep_id)
        if sweep.status.terminal:
            raise AgentError(Problem.SWEEP_ENDED, f"The sweep is {sweep.status}.")
        return self._change(sweep, {"status": status}, deed)

    async def extend(self, sweep_id: str, trials: int, *, by: Caller) -> Sweep:
        sweep = await self.get(sweep_id)
        if trials < sweep.trials:
            raise refused(Problem.INVALID_REQUEST, "A sweep gets no shorter.", "trials")
        return self._change(sweep, {"trials": trials}, by.did("extendSweep", sweep_id))

    async def pin(self, sweep_id: str, *, pinned: bool, by: Caller) -> Sweep:
        deed = by.did("pinSweep" if pinned else "unpinSweep", sweep_id)
        return self._change(await self.get(sweep_id), {"pinned": pinned}, deed)

    def _change(self, sweep: Sweep, update: dict[str, object], deed: Deed) -> Sweep:
        changed = sweep.model_copy(update=update)
        if changed == sweep:
            return sweep
        return self._put(changed.model_copy(update={"revision": sweep.revision + 1}), deed)


class MemoryComparisons:
    """Jobs that have reported nothing."""

    def __init__(self, jobs: MemoryJobs) -> None:
        self._jobs = jobs

    async def jobs(self, job_ids: Sequence[str]) -> list[MeasuredJob]:
        return [
            MeasuredJob(await self._jobs.get(job_id)) for job_id in job_ids if job_id in self._jobs.records
        ]

    async def search(self, search: JobSearch) -> JobPage:
        jobs = list(self._jobs.records.values())
        found = [
            job
            for job in (jobs if search.order is Order.OLDEST else reversed(jobs))
            if search.owner in (None, job.owner) and search.labels.items() <= job.labels.items()
        ]
        return JobPage(
            jobs=[] if search.metric else found[: search.limit], values={} if search.metric else None
        )

    async def trials(self, sweep_id: str) -> list[MeasuredJob]:
        return [MeasuredJob(job) for job in self._jobs.records.values() if job.sweep == sweep_id]

    async def compared(self, jobs: Sequence[MeasuredJob], objective: Objective | None) -> Comparison:
        same = ComparedJob.model_fields.keys() & Job.model_fields.keys()
        rows = [ComparedJob(**{name: getattr(each.job, name) for name in same}, metrics={}) for each in jobs]
        return Comparison(objective=objective, jobs=rows)

    async def difference(self, a: MeasuredJob, b: MeasuredJob) -> JobDifference:
        return difference(a.job, b.job, {}, {}, None)

    async def csv(self, comparison: Comparison) -> AsyncGenerator[bytes]:
        return csv_pieces(columns(comparison), len(comparison.jobs))

    async def parquet(self, comparison: Comparison) -> bytes:
        raise AgentError(Problem.NOT_ACCEPTABLE, "There is no Parquet here.")


@dataclass(frozen=True)
class MemoryFile:
    """An open artifact."""

    content: bytes
    artifact: Artifact
    final: bool = True

    @property
    def size(self) -> int:
        return self.artifact.size

    @property
    def sha256(self) -> str | None:
        return self.artifact.sha256 if self.final else None

    @property
    def media_type(self) -> str:
        return self.artifact.media_type

    async def read(self, start: int, stop: int) -> AsyncGenerator[bytes]:
        for first in range(start, stop, CHUNK):
            yield self.content[first : min(first + CHUNK, stop)]


class MemorySchedules:
    """Schedules, oldest first, of jobs at each full hour, whatever their calendar. Nothing makes runs."""

    def __init__(self, jobs: MemoryJobs, deeds: list[Deed]) -> None:
        self.records: dict[str, Schedule] = {}
        self._runs: dict[str, list[ScheduleRun]] = {}
        self._changes: list[Schedule] = []
        self._jobs = jobs
        self._deeds = deeds
        self._keys: dict[tuple[str, str | None], tuple[str, str]] = {}

    async def preview(self, owner: str, request: ScheduleRequest) -> SchedulePreview:
        self._jobs.plan(owner, request.submission)
        if request.calendar not in CALENDARS:
            raise refused(Problem.INVALID_REQUEST, "The calendar is not one of these.", "calendar")
        hour = now().replace(minute=0, second=0, microsecond=0)
        times = [hour + timedelta(hours=each) for each in range(1, 6)]
        return SchedulePreview(expression=f"*-*-* *:00:00 {request.time_zone}", next=times)

    async def create(
        self, owner: str, request: ScheduleRequest, *, idempotency_key: str | None, by: Caller
    ) -> Schedule:
        preview, fingerprint = await self.preview(owner, request), request.model_dump_json()
        schedule_id = new_job_id()
        known = self._keys.setdefault((owner, idempotency_key), (schedule_id, fingerprint))
        if idempotency_key is not None and known[0] != schedule_id:
            if known[1] != fingerprint:
                raise refused(Problem.IDEMPOTENCY_MISMATCH, "The key has another body.", "Idempotency-Key")
            return self.records[known[0]]
        mine = [each for each in self.records.values() if each.owner == owner]
        if len(mine) >= MAX_SCHEDULES:
            raise AgentError(Problem.TOO_MANY_SCHEDULES, f"You have {MAX_SCHEDULES} schedules.")
        schedule = Schedule(
            schedule_id=schedule_id,
            status=ScheduleState.ACTIVE,
            owner=owner,
            next=preview.next,
            expression=preview.expression,
            created_at=now(),
            active_since=now(),
            **request.model_dump(exclude_none=True),
        )
        self._runs[schedule_id] = []
        return self._put(schedule, by.did("createSchedule", schedule_id))

    def _put(self, schedule: Schedule, deed: Deed) -> Schedule:
        self._deeds.append(deed)
        self.records[schedule.schedule_id] = schedule
        self._changes.append(schedule)
        return schedule

    async def get(self, schedule_id: str) -> Schedule:
        if schedule_id not in self.records:
            raise no_such_schedule()
        return self.records[schedule_id]

    async def page(self, *, owner: str | None, before: int | None, limit: int) -> SchedulePage:
        found = [
            (number, each)
            for number, each in reversed(list(enumerate(self.records.values())))
            if owner in (None, each.owner) and (before is None or number < before)
        ]
        more = str(found[limit - 1][0]) if len(found) > limit else None
        return SchedulePage(schedules=[each for _, each in found[:limit]], next_cursor=more)

    async def runs(self, schedule_id: str, *, before: int | None, limit: int) -> ScheduleRunPage:
        numbered = reversed(list(enumerate(self._runs[schedule_id])))
        found = [(number, run) for number, run in numbered if before is None or number < before]
        more = str(found[limit - 1][0]) if len(found) > limit else None
        return ScheduleRunPage(runs=[run for _, run in found[:limit]], next_cursor=more)

    async def newest(self, *, owner: str | None, limit: int) -> list[Schedule]:
        return (await self.page(owner=owner, before=None, limit=limit)).schedules[::-1]

    async def newest_change(self) -> int:
        return len(self._changes)

    async def changed(self, after: int, *, owner: str | None, limit: int) -> tuple[int, list[Schedule]]:
        return len(self._changes), [each for each in self._changes[after:] if owner in (None, each.owner)]

    async def pause(self, schedule_id: str, *, by: Caller) -> Schedule:
        return self._turn(schedule_id, ScheduleState.PAUSED, by.did("pauseSchedule", schedule_id))

    async def resume(self, schedule_id: str, *, by: Caller) -> Schedule:
        return self._turn(schedule_id, ScheduleState.ACTIVE, by.did("resumeSchedule", schedule_id))

    def _turn(self, schedule_id: str, status: ScheduleState, deed: Deed) -> Schedule:
        known = self.records[schedule_id]
        if known.status is status:
            return known
        update = {"status": status, "revision": known.revision + 1}
        return self._put(known.model_copy(update=update), deed)

    async def run(self, schedule_id: str, *, by: Caller) -> ScheduleRun:
        known = self.records[schedule_id]
        planned = self._jobs.plan(known.owner, known.submission)
        job = self._jobs.put(planned.model_copy(update={"schedule": schedule_id}))
        run = ScheduleRun(slot=now(), manual=True, status=RunState.SUBMITTED, job_id=job.job_id, at=now())
        self._runs[schedule_id].append(run)
        update = {"last": run, "revision": known.revision + 1}
        self._put(known.model_copy(update=update), by.did("runSchedule", schedule_id))
        return run

    async def remove(self, schedule_id: str, *, by: Caller) -> Schedule:
        self._deeds.append(by.did("removeSchedule", schedule_id))
        return self.records.pop(schedule_id)


class MemoryArtifacts:
    """The artifacts of each job, by path."""

    def __init__(self) -> None:
        self._files: dict[str, dict[str, MemoryFile]] = {}

    def add(self, job_id: str, path: str, content: bytes) -> None:
        kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
        digest = hashlib.sha256(content).hexdigest()
        artifact = Artifact(path=path, size=len(content), sha256=digest, media_type=kind)
        self._files.setdefault(job_id, {})[path] = MemoryFile(content, artifact)

    @contextlib.asynccontextmanager
    async def manifest(self, job: Job) -> AsyncIterator[AsyncGenerator[bytes]]:
        files = sorted(self._files.get(job.job_id, {}).items())
        manifest = ArtifactManifest(
            job_id=job.job_id,
            complete=job.status.terminal,
            artifacts=[file.artifact for _, file in files],
        )

        async def pieces() -> AsyncGenerator[bytes]:
            yield manifest.model_dump_json().encode()

        yield pieces()

    @contextlib.asynccontextmanager
    async def opened(self, job: Job, path: str) -> AsyncIterator[MemoryFile]:
        file = self._files.get(job.job_id, {}).get(path)
        if file is None:
            raise AgentError(Problem.ARTIFACT_NOT_FOUND, "There is no such artifact.")
        yield replace(file, final=job.status.terminal)


class MemoryLogs:
    """One log for all jobs."""

    def __init__(self, changes: MemoryChanges) -> None:
        self.items: list[Item] = []
        self.changes = changes

    def add(self, *lines: str) -> None:
        for text in lines:
            number = len(self.items) + 1
            source = LogSource.SYSTEM if text == "END" else LogSource.JOB
            cursor = f"s={'a' * 32};i={number:x};b={'b' * 32};m=1;t=1;x=1"
            self.items.append(Line(number, number * 1000, source, text.encode(), cursor))
        self.changes.wake()

    async def reader(self, job: Job, after: Position) -> "MemoryLogReader":
        return MemoryLogReader(self, job, after.number)


@dataclass
class MemoryLogReader:
    """A reader that has read the first `number` lines."""

    logs: MemoryLogs
    job: Job
    number: int

    async def history(self, *, newest: int | None = None) -> AsyncGenerator[list[Item]]:
        items = self.logs.items[self.number :]
        self.number = len(self.logs.items)
        yield items

    async def follow(self) -> AsyncGenerator[list[Item]]:
        ending = asyncio.create_task(self.logs.changes.ended(self.job))
        try:
            while True:
                woken, ended = asyncio.create_task(self.logs.changes.woken()), ending.done()
                try:
                    async for items in self.history():
                        yield items
                    if ended:
                        return
                    await asyncio.wait([woken, ending], return_when=asyncio.FIRST_COMPLETED)
                finally:
                    woken.cancel()
        finally:
            ending.cancel()

    async def output(self) -> AsyncGenerator[bytes]:
        yield job_output(self.logs.items)


class MemoryMetrics:
    """Of jobs that report nothing."""

    async def metrics(self, job: Job) -> JobMetrics:
        return JobMetrics(job_id=job.job_id, complete=job.status.terminal)

    @contextlib.asynccontextmanager
    async def followed(self, job: Job) -> AsyncIterator["MemoryReported"]:
        yield MemoryReported()


class MemoryReported:
    """No report."""

    progress: Progress | None = None

    @property
    def newest(self) -> dict[str, MetricPoint]:
        return {}


class MemorySecrets:
    """When each secret of each user was set."""

    def __init__(self, deeds: list[Deed]) -> None:
        self._set_at: dict[tuple[str, str], tuple[datetime, datetime]] = {}
        self._deeds = deeds

    async def of(self, user: str) -> list[SecretEntry]:
        return [self._entry(name, owner) for name, owner in sorted(self._set_at) if owner == user]

    async def set(self, name: str, value: bytes, *, by: Caller) -> SecretChange:
        others = [key for key in self._set_at if key[1] == by.actor and key != (name, by.actor)]
        if len(others) >= MAX_SECRETS:
            raise AgentError(Problem.TOO_MANY_SECRETS, f"You have {MAX_SECRETS} secrets.")
        rotated = (name, by.actor) in self._set_at
        created = self._set_at[name, by.actor][0] if rotated else now()
        self._set_at[name, by.actor] = created, now()
        self._deeds.append(by.did("setSecret", name))
        entry = self._entry(name, by.actor)
        return SecretChange(**entry.model_dump(), rotated=rotated, earlier_value_in=[])

    async def remove(self, name: str, *, by: Caller) -> SecretEntry:
        if (name, by.actor) not in self._set_at:
            raise AgentError(Problem.SECRET_NOT_FOUND, "There is no such secret.")
        entry = self._entry(name, by.actor)
        del self._set_at[name, by.actor]
        self._deeds.append(by.did("removeSecret", name))
        return entry

    def _entry(self, name: str, user: str) -> SecretEntry:
        created, updated = self._set_at[name, user]
        return SecretEntry(name=name, user=user, created_at=created, updated_at=updated, age_seconds=0)


class MemoryCertificates:
    """The certificates that this host knows."""

    def __init__(self, deeds: list[Deed]) -> None:
        self._known: dict[str, Certificate] = {}
        self._deeds = deeds

    def add(self, certificate: Certificate) -> None:
        self._known[certificate.serial] = certificate

    async def get(self, serial: str) -> Certificate | None:
        return self._known.get(serial)

    async def mark_used(self, serial: str, at: datetime) -> None:
        self._known[serial] = self._known[serial].model_copy(update={"used_at": at})

    async def renew(self, renewed: Certificate, *, limit: int, deed: Deed | None = None) -> None:
        if sum(each.user == renewed.user for each in self._known.values()) >= limit:
            raise AgentError(Problem.TOO_MANY_CERTIFICATES, f"You have {limit} certificates.")
        self.add(renewed)
        if deed:
            self._deeds.append(deed)


class MemoryInvitations:
    """The invitations by their digests."""

    def __init__(self, certificates: MemoryCertificates, deeds: list[Deed]) -> None:
        self.known: dict[str, Invitation] = {}
        self._certificates = certificates
        self._deeds = deeds

    async def get(self, digest: str) -> Invitation | None:
        return self.known.get(digest)

    async def use(self, digest: str, key: str, pem: str, certificate: Certificate, *, deed: Deed) -> bool:
        invited = self.known[digest]
        if invited.certificate is not None:
            return False
        self.known[digest] = invited.model_copy(update={"key": key, "certificate": pem})
        self._certificates.add(certificate)
        self._deeds.append(deed)
        return True


class MemoryMonitoring:
    """One number, in the form that is always there."""

    async def exposition(self, accept: str, live: Live | None = None) -> tuple[bytes, str]:
        return b"ml_agent_jobs 0\n", "text/plain; version=0.0.4; charset=utf-8"


class MemoryUsage:
    """A ledger without an entry: in this backend nothing runs."""

    async def report(self, period: Period, *, by: UsageKey, owner: str | None) -> UsageReport:
        return UsageReport(by=by, since=period.since, until=period.until, rows=[])

    async def csv(self, report: UsageReport) -> AsyncGenerator[bytes]:
        yield b"month,jobs\r\n"


class MemoryParts:
    """The parts, made for one another. `deeds` is the audit."""

    def __init__(self) -> None:
        self.deeds: list[Deed] = []
        self.changes = MemoryChanges()
        self.jobs = MemoryJobs(self.changes, self.deeds)
        self.artifacts = MemoryArtifacts()
        self.logs = MemoryLogs(self.changes)
        self.certificates = MemoryCertificates(self.deeds)
        self.invitations = MemoryInvitations(self.certificates, self.deeds)
        self.backend = Backend(
            submissions=self.jobs,
            scripts=self.jobs,
            jobs=self.jobs,
            host=self.jobs,
            artifacts=self.artifacts,
            logs=self.logs,
            metrics=MemoryMetrics(),
            changes=self.changes,
            secrets=MemorySecrets(self.deeds),
            sweeps=MemorySweeps(self.jobs, self.deeds),
            comparisons=MemoryComparisons(self.jobs),
            schedules=MemorySchedules(self.jobs, self.deeds),
            models=MemoryModels(self.artifacts, self.deeds),
            shares=self.jobs.shares,
            monitoring=MemoryMonitoring(),
            usage=MemoryUsage(),
        )

    async def audit(self, deed: Deed) -> None:
        self.deeds.append(deed)


def refused(problem: Problem, message: str, field: str) -> AgentError:
    """An error about one field."""
    return AgentError(problem, message, fields=(FieldError(field, "is refused"),))
