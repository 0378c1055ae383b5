"""Sweeps between stand-ins: units that end at once, and metrics that follow from the hyperparameters."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.distributions import FloatDistribution, IntDistribution

from agent.audit.chain import Caller
from agent.logs.metrics import Collector
from agent.model.base import now
from agent.model.job import Job, JobState
from agent.model.metric import JobMetrics, MetricPoint, MetricSeries
from agent.model.sweep import Sweep, SweepRequest, Trial
from agent.service import JobParts
from tests.support.job_scene import Scene, driving
from tests.support.waiting import until

ALICE = Caller(actor="alice", role="analyst", source="192.0.2.1")
SPACE = {"x": {"type": "number", "low": -5, "high": 5}, "n": {"type": "integer", "low": 1, "high": 9}}
DISTRIBUTIONS = {"x": FloatDistribution(-5, 5), "n": IntDistribution(1, 9)}
SAMPLERS = {"random": optuna.samplers.RandomSampler, "tpe": optuna.samplers.TPESampler}
OBJECTIVE = {"metric": "loss", "direction": "minimize"}


def loss(hyperparameters: dict[str, str]) -> float:
    """A function with its least value at x = 1, n = 3."""
    return (float(hyperparameters.get("x", "0")) - 1) ** 2 + (int(hyperparameters.get("n", "3")) - 3) ** 2


def suggested_by_itself(strategy: str, trials: int) -> list[dict[str, str]]:
    """What Optuna suggests for the same seed, one trial after the other."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=SAMPLERS[strategy](seed=7))
    found = []
    for _ in range(trials):
        trial = study.ask(DISTRIBUTIONS)
        found.append({name: repr(value) for name, value in trial.params.items()})
        study.tell(trial, loss(found[-1]))
    return found


def request(**fields: Any) -> SweepRequest:
    """A sweep of eight random trials, two at once."""
    usual = {"script_name": "succeed.py", "space": SPACE, "strategy": "random", "trials": 8, "at_once": 2}
    return SweepRequest.model_validate(usual | {"objective": OBJECTIVE, "seed": 7} | fields)


@dataclass
class StandInMetrics:
    """What each job reports: by default its loss, once."""

    points_of: Callable[[Job], dict[str, list[float]]] = lambda job: {"loss": [loss(job.hyperparameters)]}

    async def metrics(self, job: Job) -> JobMetrics:
        series = [
            MetricSeries(
                name=name,
                count=len(values),
                every=1,
                points=[MetricPoint(step=step, value=value, time=now()) for step, value in enumerate(values)],
            )
            for name, values in self.points_of(job).items()
            if values
        ]
        return JobMetrics(job_id=job.job_id, complete=True, series=series)

    async def so_far(self, job: Job) -> Collector:
        collector = Collector()
        for name, values in self.points_of(job).items():
            for step, value in enumerate(values):
                collector.add(
                    b'::metric {"name": "%s", "value": %r, "step": %d}' % (name.encode(), value, step), 0, 1
                )
        return collector


@dataclass
class SweepScene:
    """The parts of one agent, whose units end as `ends` says as soon as systemd is asked to start them."""

    scene: Scene
    metrics: StandInMetrics = field(default_factory=StandInMetrics)
    ends: Callable[[Job], str | None] = lambda _: "success exited 0"  # None: it goes on running

    def jobs(self) -> JobParts:
        """The parts of a new agent over the same store."""
        parts = self.scene.jobs()
        parts.sweeping.metrics = self.metrics
        return parts

    @contextlib.asynccontextmanager
    async def driving(self) -> AsyncIterator[JobParts]:
        """An agent at work, until the context ends."""
        jobs = self.jobs()
        async with driving(jobs), asyncio.TaskGroup() as group:
            await jobs.sweeping.load()
            tasks = [group.create_task(jobs.sweeping.run()), group.create_task(self._run_units(jobs))]
            try:
                yield jobs
            finally:
                for task in tasks:
                    task.cancel()

    async def _run_units(self, jobs: JobParts) -> None:
        """Ends units, as their scripts do."""
        while True:
            for active in list(jobs.registry.all_active()):
                job = active.job
                if job.unit in self.scene.units.started and job.status is not JobState.PENDING:
                    words = self.ends(job)
                    if words and not self.scene.attempt(job).mark("ended").exists():
                        self.scene.ends(jobs, job, words)
            await asyncio.sleep(0.005)

    async def trials(self, sweep: Sweep) -> list[Trial]:
        """All trials."""
        return (await self.scene.store.sweeps.trials(sweep.sweep_id, limit=1000)).trials


async def submit(jobs: JobParts, *, key: str | None = None, **fields: Any) -> Sweep:
    """A sweep of alice's."""
    return await jobs.sweeps.submit("alice", request(**fields), idempotency_key=key, by=ALICE)


async def end_of(jobs: JobParts, sweep: Sweep, *, seconds: float = 30) -> Sweep:
    """The sweep once it has ended."""

    async def ended() -> Sweep | None:
        known = await jobs.sweeps.get(sweep.sweep_id)
        return known if known.status.terminal else None

    known = await until(ended, seconds=seconds)
    assert known
    return known
