"""A sweep makes its trials as there is room, records their results, and ends."""

import asyncio

import pytest

from agent.errors import AgentError, Problem
from agent.host.systemd import UnitState
from agent.model.job import Job, JobState, Reason
from agent.model.sweep import SweepReason, SweepRerun, SweepState
from agent.store.sweeps import Step
from agent.sweeps.optimizer import Optimizer
from tests.support.sweep_scene import ALICE, SweepScene, end_of, loss, submit, suggested_by_itself
from tests.support.waiting import until


@pytest.mark.parametrize("strategy", ["random", "tpe"])
async def test_a_strategy_suggests_what_optuna_suggests_by_itself(scene: SweepScene, strategy: str) -> None:
    async with scene.driving() as jobs:
        sweep = await end_of(jobs, await submit(jobs, strategy=strategy, trials=25, at_once=1))
    trials = await scene.trials(sweep)
    assert [each.hyperparameters for each in trials] == suggested_by_itself(strategy, 25)
    assert [each.value for each in trials] == [loss(each.hyperparameters) for each in trials]
    best = min(trials, key=lambda each: each.value or 0)
    assert sweep.best is not None
    assert (sweep.best.trial, sweep.best.value) == (best.trial, best.value)
    assert (sweep.status, sweep.made, sweep.completed, sweep.unfinished) == ("COMPLETED", 25, 25, 0)


async def test_trials_are_ordinary_jobs_with_their_sweep_in_the_record(scene: SweepScene) -> None:
    async with scene.driving() as jobs:
        sweep = await submit(
            jobs, hyperparameters={"seed": "3"}, labels={"team": "a"}, name="fit", priority=-2
        )
        sweep = await end_of(jobs, sweep)
        for trial in await scene.trials(sweep):
            job = await jobs.registry.get(trial.job_id)
            assert (job.sweep, job.trial, job.owner) == (sweep.sweep_id, trial.trial, "alice")
            assert job.hyperparameters == {"seed": "3", **trial.hyperparameters}
            assert (job.labels, job.name, job.priority, job.commit) == (
                {"team": "a"},
                "fit",
                -2,
                sweep.commit,
            )


async def test_a_sweep_never_has_more_jobs_than_it_may_have_at_once(scene: SweepScene) -> None:
    most = 0

    def ends(job: Job) -> str | None:
        nonlocal most
        most = max(most, len(jobs.registry.all_active()))
        return "success exited 0" if most >= 3 else None

    scene.ends = ends
    async with scene.driving() as jobs:
        await end_of(jobs, await submit(jobs, trials=20, at_once=3))
    assert most == 3


async def test_a_grid_without_a_pruner_needs_no_optuna(
    scene: SweepScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.sweeps.optimizer.is_installed", lambda: False)
    space = {"x": {"type": "number", "low": 0, "high": 0.3, "step": 0.1}, "n": {"values": ["1", "3"]}}
    async with scene.driving() as jobs:
        sweep = await end_of(jobs, await submit(jobs, space=space, strategy="grid", trials=None))
    points = [(each.hyperparameters["x"], each.hyperparameters["n"]) for each in await scene.trials(sweep)]
    assert points == [(x, n) for x in ("0.0", "0.1", "0.2", "0.3") for n in ("1", "3")]
    assert sweep.completed == 8


async def test_what_needs_optuna_is_refused_where_it_is_missing(
    scene: SweepScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.sweeps.optimizer.is_installed", lambda: False)
    grid = {"space": {"n": {"values": ["1"]}}, "strategy": "grid", "trials": None}
    for fields, wrong in (({}, "strategy"), (grid | {"pruner": "median"}, "pruner")):
        with pytest.raises(AgentError, match="no Optuna") as caught:
            await submit(scene.jobs(), **fields)
        assert [each.field for each in caught.value.fields] == [wrong]
    assert await scene.scene.store.sweeps.active() == []


async def test_the_program_that_asks_optuna_ends_with_the_last_sweep_that_needs_it(scene: SweepScene) -> None:
    async with scene.driving() as jobs:
        await end_of(jobs, await submit(jobs))
        await until(lambda: jobs.sweeping.idle)
        await until(lambda: jobs.sweeping._optimizer._process is None)


async def test_an_objective_that_no_trial_reports_ends_the_sweep(scene: SweepScene) -> None:
    scene.metrics.points_of = lambda _: {"accuracy": [0.9], "auc": [0.8]}
    async with scene.driving() as jobs:
        sweep = await end_of(jobs, await submit(jobs, trials=100, at_once=2))
    assert (sweep.status, sweep.reason) == (SweepState.FAILED, SweepReason.METRIC_MISSING)
    assert sweep.message is not None
    assert "reported the metric loss. Trial 0 reported accuracy, auc." in sweep.message
    assert 5 <= sweep.made <= 7


async def test_trials_that_all_fail_end_the_sweep(scene: SweepScene) -> None:
    scene.ends = lambda _: "exit-code exited 3"
    async with scene.driving() as jobs:
        sweep = await end_of(jobs, await submit(jobs, trials=100, at_once=2))
    assert (sweep.status, sweep.reason) == (SweepState.FAILED, SweepReason.TRIALS_FAILED)
    assert sweep.message is not None
    assert "exit-code: The script exited with status 3." in sweep.message
    assert 5 <= sweep.made <= 7


async def test_a_short_sweep_without_a_value_has_failed(scene: SweepScene) -> None:
    scene.metrics.points_of = lambda _: {}
    async with scene.driving() as jobs:
        sweep = await end_of(jobs, await submit(jobs, trials=2))
    assert (sweep.status, sweep.reason, sweep.made) == ("FAILED", "metric-missing", 2)


async def test_some_failed_trials_do_not_end_a_sweep(scene: SweepScene) -> None:
    scene.ends = lambda job: "exit-code exited 3" if (job.trial or 0) % 2 else "success exited 0"
    async with scene.driving() as jobs:
        sweep = await end_of(jobs, await submit(jobs, trials=20, strategy="tpe"))
    assert (sweep.status, sweep.completed, sweep.failed) == ("COMPLETED", 10, 10)


async def test_a_cancelled_sweep_cancels_its_trials(scene: SweepScene) -> None:
    scene.ends = lambda _: None
    async with scene.driving() as jobs:
        sweep = await submit(jobs, at_once=8)
        await until(lambda: len(scene.scene.units.started) == 4)  # the others wait
        assert (await jobs.sweeps.cancel(sweep.sweep_id, by=ALICE)).status is SweepState.ENDING
        sweep = await end_of(jobs, sweep)
        assert (sweep.status, sweep.reason) == ("CANCELLED", "cancelled")
        assert sweep.cancelled == sweep.made >= 4
        again = await jobs.sweeps.cancel(sweep.sweep_id, by=ALICE)
        assert again == sweep


async def test_a_paused_sweep_makes_no_trials_until_it_is_resumed(scene: SweepScene) -> None:
    scene.ends = lambda _: None
    async with scene.driving() as jobs:
        sweep = await submit(jobs)
        await until(lambda: len(scene.scene.units.started) == 2)
        await jobs.sweeps.pause(sweep.sweep_id, by=ALICE)
        scene.ends = lambda _: "success exited 0"
        await until(lambda: jobs.sweeping.idle)
        paused = await jobs.sweeps.get(sweep.sweep_id)
        assert (paused.status, paused.made, paused.completed) == ("PAUSED", 2, 2)
        await jobs.sweeps.resume(sweep.sweep_id, by=ALICE)
        assert (await end_of(jobs, sweep)).completed == 8


async def test_a_sweep_is_extended_while_it_runs_and_after_its_end(scene: SweepScene) -> None:
    async with scene.driving() as jobs:
        sweep = await end_of(jobs, await submit(jobs, trials=3, at_once=1, strategy="tpe"))
        for _ in range(2):  # a repeated request changes nothing
            extended = await jobs.sweeps.extend(sweep.sweep_id, 12, by=ALICE)
        assert extended.trials == 12
        sweep = await end_of(jobs, sweep)
        assert (sweep.completed, sweep.status) == (12, "COMPLETED")
        with pytest.raises(AgentError) as caught:
            await jobs.sweeps.extend(sweep.sweep_id, 11, by=ALICE)
        assert caught.value.problem is Problem.INVALID_REQUEST
    found = [each.hyperparameters for each in await scene.trials(sweep)]
    assert found == suggested_by_itself("tpe", 12)


async def test_what_has_failed_is_neither_paused_resumed_nor_extended(scene: SweepScene) -> None:
    scene.metrics.points_of = lambda _: {}
    async with scene.driving() as jobs:
        sweep = await end_of(jobs, await submit(jobs, trials=1))
        for ask in (
            jobs.sweeps.pause(sweep.sweep_id, by=ALICE),
            jobs.sweeps.resume(sweep.sweep_id, by=ALICE),
            jobs.sweeps.extend(sweep.sweep_id, 9, by=ALICE),
        ):
            with pytest.raises(AgentError) as caught:
                await ask
            assert caught.value.problem is Problem.SWEEP_ENDED


async def test_a_sweep_that_is_run_again_has_the_same_suggestions(scene: SweepScene) -> None:
    async with scene.driving() as jobs:
        sweep = await end_of(jobs, await submit(jobs, at_once=1, strategy="tpe", trials=12))
        again = await jobs.sweeps.rerun("bob", sweep, SweepRerun(), idempotency_key=None, by=ALICE)
        assert (again.owner, again.rerun_of, again.commit) == ("bob", sweep.sweep_id, sweep.commit)
        again = await end_of(jobs, again)
    assert [each.hyperparameters for each in await scene.trials(again)] == [
        each.hyperparameters for each in await scene.trials(sweep)
    ]


async def test_a_trial_that_is_worse_than_the_median_is_pruned(scene: SweepScene) -> None:
    """The first five set the measure; of the sixth on, those that begin badly and go on are ended."""

    def points_of(job: Job) -> dict[str, list[float]]:
        return {"loss": [0.5, 0.4] if (job.trial or 0) < 5 else [9.0, 9.0]}

    def ends(job: Job) -> str | None:
        return "success exited 0" if (job.trial or 0) < 5 else None

    scene.metrics.points_of, scene.ends = points_of, ends
    async with scene.driving() as jobs:
        sweep = await submit(jobs, trials=6, at_once=1, pruner="median")
        stopped = scene.scene.units.stopped

        async def sixth() -> Job | None:
            trials = await scene.trials(sweep)
            job = await jobs.registry.get(trials[-1].job_id) if len(trials) == 6 else None
            return job if job and job.unit in scene.scene.units.started else None

        job = await until(sixth)
        assert job
        scene.scene.mark(job, "claimed")
        scene.scene.mark(job, "input/started")
        scene.scene.units.states[job.unit] = UnitState(active_state="active", invocation_id="0" * 32)
        jobs.reconciler.look_at(job.unit)
        await until(lambda: job.unit in stopped)
        scene.scene.units.states[job.unit] = UnitState()
        scene.scene.mark(job, "stopping", "success")
        scene.scene.mark(job, "ended", "success killed TERM " + "0" * 32)
        jobs.reconciler.look_at(job.unit)
        sweep = await end_of(jobs, sweep)
        ended = await jobs.registry.get(job.job_id)
    assert (ended.status, ended.reason) == (JobState.CANCELLED, Reason.PRUNED)
    assert (sweep.status, sweep.completed, sweep.pruned) == ("COMPLETED", 5, 1)
    assert (await scene.trials(sweep))[5].value == 9.0
    assert sweep.best is not None
    assert sweep.best.value == 0.4


async def test_an_agent_that_stops_while_the_program_ends_leaves_no_process(scene: SweepScene) -> None:
    async def steps_of(_: str, after: int) -> list[Step]:
        return []

    optimizer = Optimizer(steps_of)
    sweep = await submit(scene.jobs())
    await optimizer.ask(sweep)
    process = optimizer._process
    assert process is not None
    ending = asyncio.create_task(optimizer.forget(sweep.sweep_id))
    await asyncio.sleep(0)  # it has killed the process, and waits for its end
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert process.returncode is not None
