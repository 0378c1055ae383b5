"""Drives every sweep to its end: makes trials as there is room, and records how they ended.

Level-triggered as the reconciler is: what is done follows from the record. A trial and its job are committed
together, and so are a trial's result and the sweep's counts. So the agent may die between any two lines.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from ..errors import AgentError, Problem
from ..jobs.preparation import Commits
from ..jobs.registry import Registry
from ..jobs.submission import Submission
from ..log import log
from ..logs.metrics import Collector
from ..model.base import now
from ..model.job import Job, JobState, Reason
from ..model.metric import JobMetrics, MetricPoint
from ..model.sweep import MAX_AT_ONCE, Strategy, Sweep, SweepReason, SweepState, TrialResult
from ..store.sweeps import SweepStore, Untold
from .optimizer import Optimizer, StrategyError
from .space import grid_point
from .trials import trial_job

LOOK_DELAY = 2.0  # seconds until a sweep is looked at again that waits for room, or that failed to go on
PRUNE_INTERVAL = 1.0  # seconds at least between two looks at what running trials report
MAX_PRUNE_INTERVAL = 10.0
PRUNE_SHARE = 0.05  # of the time that they have run: a pruner that looks later wastes no more
PROBATION = 5  # trials; where none of the first ones reports the objective, the others would not either
MAX_FAILURES = 3  # of the strategy, in a row
MAY_NOT_RUN = (Problem.COMMIT_REFUSED, Problem.REF_NOT_FOUND)
OrderEnd = Callable[[Job, Reason, str], None]


class Metrics(Protocol):
    """What jobs report about themselves."""

    async def metrics(self, job: Job) -> JobMetrics:
        """Everything that the job has reported."""

    async def so_far(self, job: Job) -> Collector:
        """What a running job has reported until now."""


class Controller:
    """`run` drives sweeps; `look_at` tells it that one needs attention. `metrics` is set before that."""

    metrics: Metrics

    def __init__(
        self,
        store: SweepStore,
        registry: Registry,
        submission: Submission,
        commits: Commits,
        order_end: OrderEnd,
    ) -> None:
        self._store = store
        self._registry = registry
        self._submission = submission
        self._commits = commits
        self._order_end = order_end
        self._optimizer = Optimizer(store.steps)
        self._hints: dict[str, asyncio.Event] = {}  # of the sweeps that are driven
        self._waiting: set[str] = set()  # sweeps that need a driver
        self._wake = asyncio.Event()
        self._failures: dict[str, int] = {}
        registry.on_end.append(self._job_ended)

    @property
    def idle(self) -> bool:
        """Whether no sweep needs the agent: each has ended, or is paused."""
        return not self._hints and not self._waiting

    async def load(self) -> None:
        """Takes up every sweep that had not ended when an agent last wrote the store."""
        for sweep in await self._store.active():
            self.look_at(sweep.sweep_id)

    def look_at(self, sweep_id: str) -> None:
        """Has a sweep looked at."""
        if hint := self._hints.get(sweep_id):
            hint.set()
        else:
            self._waiting.add(sweep_id)
            self._wake.set()

    def _job_ended(self, job: Job) -> None:
        if job.sweep is not None:
            self.look_at(job.sweep)

    async def run(self) -> None:
        """Drives sweeps until it is cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    self._wake.clear()
                    while self._waiting:
                        sweep_id = self._waiting.pop()
                        self._hints[sweep_id] = asyncio.Event()
                        group.create_task(self._drive(sweep_id))
                    await self._wake.wait()
        finally:
            await self._optimizer.close()

    async def _drive(self, sweep_id: str) -> None:
        """Looks at one sweep again and again, until only a client's request can change it."""
        hint, reports = self._hints[sweep_id], _Reports(self.metrics)
        try:
            while (delay := await self._look_safely(sweep_id, reports)) is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay or None):
                        await hint.wait()
                hint.clear()
        finally:
            del self._hints[sweep_id]
            self._failures.pop(sweep_id, None)
            if hint.is_set():
                self.look_at(sweep_id)
            await self._optimizer.forget(sweep_id)

    async def _look_safely(self, sweep_id: str, reports: "_Reports") -> float | None:
        try:
            return await self._look(sweep_id, reports)
        except Exception as error:
            # An unforeseen error must not end the drivers of other sweeps, nor the agent at each start.
            foreseen = isinstance(error, AgentError | OSError | StrategyError)
            log.warning("sweep %s: %s", sweep_id, error, exc_info=None if foreseen else error)
            if isinstance(error, AgentError) and error.problem is Problem.SWEEP_NOT_FOUND:
                return None
            if isinstance(error, StrategyError):
                await self._strategy_failed(sweep_id, error)
            return LOOK_DELAY

    async def _look(self, sweep_id: str, reports: "_Reports") -> float | None:
        """Does what is due. Returns the seconds until the next look, 0 for a hint, None for neither."""
        left = await self._tell_results(sweep_id)
        sweep = await self._store.get(sweep_id)
        if sweep.status is SweepState.RUNNING and _none_reports(sweep):
            sweep = await self._fail(sweep_id, *await self._why_none_reports(sweep))
        if sweep.status is SweepState.ENDING:
            for job in left.values():
                if not job.cancel_requested:
                    await self._registry.cancel(job.job_id)
        if sweep.status.terminal or (sweep.status is SweepState.PAUSED and not left):
            return None
        if sweep.pruner and reports.due <= time.monotonic():
            await self._prune(sweep, left, reports)
        while sweep.status is SweepState.RUNNING and _has_room(sweep):
            if not await self._make_trial(sweep):
                return LOOK_DELAY
            sweep = await self._store.get(sweep_id)
        return reports.wait if sweep.pruner and sweep.unfinished else 0.0

    # Results

    async def _tell_results(self, sweep_id: str) -> dict[int, Job]:
        """Records the results of trials that have ended; returns the jobs of those that have not."""
        left = {}
        for untold in await self._store.untold(sweep_id):
            job = await self._job_of(untold)
            if job is None or job.status.terminal:
                await self._store.tell(sweep_id, untold.trial, await self._result(sweep_id, job))
            else:
                left[untold.trial] = job
        return left

    async def _job_of(self, untold: Untold) -> Job | None:
        try:
            return await self._registry.get(untold.job_id)
        except AgentError as error:
            if error.problem is Problem.JOB_NOT_FOUND:
                return None  # an operator has changed the store by hand: the sweep goes on
            raise

    async def _result(self, sweep_id: str, job: Job | None) -> TrialResult:
        if job is None:
            return TrialResult(status=JobState.FAILED, reason=Reason.INTERRUPTED)
        ended = TrialResult(status=job.status, reason=job.reason)
        if job.status is not JobState.COMPLETED and job.reason is not Reason.PRUNED:
            return ended
        sweep = await self._store.get(sweep_id)
        reported = await self._reported(job)
        series = next((each for each in reported.series if each.name == sweep.objective.metric), None)
        if series is None:
            return ended
        points = [(point.step, point.value) for point in series.points] if sweep.pruner else []
        return ended.model_copy(update={"value": series.points[-1].value, "points": points})

    async def _reported(self, job: Job) -> JobMetrics:
        try:
            return await self.metrics.metrics(job)
        except AgentError as error:
            if error.problem is Problem.REMOVED_BY_RETENTION:
                return JobMetrics(job_id=job.job_id, complete=True)
            raise

    async def _why_none_reports(self, sweep: Sweep) -> tuple[SweepReason, str]:
        page = await self._store.trials(sweep.sweep_id, limit=MAX_AT_ONCE + PROBATION)
        trials = [each for each in page.trials if each.status.terminal]
        silent = next((each for each in trials if each.status is JobState.COMPLETED), None)
        if silent is None:
            first = await self._registry.get(trials[0].job_id)
            why = ": ".join(filter(None, (first.reason or first.status, first.message)))
            return SweepReason.TRIALS_FAILED, f"None of the first {len(trials)} trials has COMPLETED: {why}"
        reported = await self._reported(await self._registry.get(silent.job_id))
        names = ", ".join(series.name for series in reported.series) or "no metric"
        message = f"None of the first {len(trials)} trials reported the metric {sweep.objective.metric}. "
        message += f"Trial {silent.trial} reported {names}."
        if ignored := reported.ignored:
            message += f" Its line {ignored.line} is no mark: {ignored.reason}."
        return SweepReason.METRIC_MISSING, message

    # Pruning

    async def _prune(self, sweep: Sweep, left: Mapping[int, Job], reports: "_Reports") -> None:
        """Ends trials that are not worth going on."""
        running = {trial: job for trial, job in left.items() if job.status is JobState.RUNNING}
        live = await reports.new_points(sweep.objective.metric, running)
        for trial in await self._optimizer.to_prune(sweep, live) if live else ():
            self._order_end(running[trial], Reason.PRUNED, f"The pruner {sweep.pruner} has ended the trial.")

    # Trials

    async def _make_trial(self, sweep: Sweep) -> bool:
        """Makes the next trial; returns whether the sweep can be looked at again at once."""
        try:
            await self._registry.check_share(sweep.owner)
            await self._commits.standing(sweep.commit)
            chosen = await self._suggest(sweep)
        except AgentError as error:
            return await self._not_made(sweep, error)
        try:
            await self._submission.add_trial(trial_job(sweep, chosen))
        except AgentError as error:
            # The strategy counts on a trial that there is not.
            await self._optimizer.forget(sweep.sweep_id)
            return await self._not_made(sweep, error)
        self._failures.pop(sweep.sweep_id, None)
        return True

    async def _suggest(self, sweep: Sweep) -> dict[str, str]:
        if sweep.strategy is Strategy.GRID:
            return grid_point(sweep.space, sweep.made)
        return await self._optimizer.ask(sweep)

    async def _not_made(self, sweep: Sweep, error: AgentError) -> bool:
        if error.problem is Problem.SWEEP_ENDED:  # paused or cancelled meanwhile
            return True
        if error.problem in MAY_NOT_RUN:
            await self._fail(sweep.sweep_id, SweepReason.COMMIT_REFUSED, str(error))
            return True
        if error.problem is not Problem.TOO_MANY_JOBS:
            raise error
        waits = f"It waits. {error.message}"
        await self._store.change(sweep.sweep_id, lambda now: now.model_copy(update={"message": waits}))
        return False

    async def _strategy_failed(self, sweep_id: str, error: StrategyError) -> None:
        self._failures[sweep_id] = self._failures.get(sweep_id, 0) + 1
        if self._failures[sweep_id] >= MAX_FAILURES:
            await self._fail(sweep_id, SweepReason.STRATEGY_FAILED, str(error))
            self.look_at(sweep_id)

    async def _fail(self, sweep_id: str, reason: SweepReason, message: str) -> Sweep:
        update = {"status": SweepState.ENDING, "reason": reason, "message": message}

        def fail(sweep: Sweep) -> Sweep:
            going_on = sweep.status in (SweepState.RUNNING, SweepState.PAUSED)
            return sweep.model_copy(update=update) if going_on else sweep

        return await self._store.change(sweep_id, fail)


class _Reports:
    """What the running trials of one sweep report. `due` is when to look again, as time.monotonic()."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._seen: dict[int, MetricPoint] = {}
        self.due = 0.0

    @property
    def wait(self) -> float:
        """Seconds until then, never 0."""
        return max(self.due - time.monotonic(), 0.01)

    async def new_points(self, metric: str, running: Mapping[int, Job]) -> dict[int, list[tuple[int, float]]]:
        """All points so far of those trials that have reported the metric since the last call."""
        self._seen = {trial: point for trial, point in self._seen.items() if trial in running}
        found = {}
        for trial, job in running.items():
            reported = await self._so_far(job)
            newest = reported.newest.get(metric)
            if newest is None or newest is self._seen.get(trial):
                continue
            self._seen[trial] = newest
            series = next(each for each in reported.series() if each.name == metric)
            found[trial] = [(point.step, point.value) for point in series.points]
        self.due = time.monotonic() + _prune_interval(running.values())
        return found

    async def _so_far(self, job: Job) -> Collector:
        try:
            return await self._metrics.so_far(job)
        except (AgentError, OSError) as error:
            log.warning("job %s: its metrics cannot be read now: %s", job.job_id, error)
            return Collector()


def _prune_interval(running: Iterable[Job]) -> float:
    """Seconds to the next look at what these jobs report: a share of the time that the youngest has run."""
    started = [job.started_at for job in running if job.started_at]
    age = (now() - max(started)).total_seconds() if started else 0.0
    return min(max(PRUNE_SHARE * age, PRUNE_INTERVAL), MAX_PRUNE_INTERVAL)


def _has_room(sweep: Sweep) -> bool:
    return sweep.made < sweep.trials and sweep.unfinished < sweep.at_once


def _none_reports(sweep: Sweep) -> bool:
    """Whether enough trials have ended, and none of them has reported the objective."""
    ended = sweep.failed >= PROBATION or (sweep.made >= sweep.trials and not sweep.unfinished)
    return ended and not sweep.completed and not sweep.pruned
