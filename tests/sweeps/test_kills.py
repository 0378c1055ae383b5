"""An agent that dies between two steps of a sweep: no trial lost or made twice, and the same suggestions.

A step is a transaction of the store. An agent is killed before or after the n-th of them, for each n, and the
next one goes on. `tests.faults.sweeps` does the same to a real agent, by SIGKILL.
"""

from pathlib import Path
from typing import Any

import pytest

from agent.model.sweep import Sweep
from agent.store.store import Store
from tests.support.job_scene import Scene
from tests.support.killing import killed_in
from tests.support.small_site import make_repository, make_settings
from tests.support.sweep_scene import SweepScene, end_of, loss, submit, suggested_by_itself


async def driven(scene: SweepScene, sweep: dict[str, Any], *, kill_at: int, after: bool = False) -> bool:
    """Submits the sweep, or does so again, and drives it to its end. Whether the agent was killed."""
    database = scene.scene.store.database

    async def work() -> None:
        async with scene.driving() as jobs:
            known = await submit(jobs, key="once", **sweep)
            await end_of(jobs, known)

    return await killed_in(database, work, kill_at, after=after)


async def judge(scene: SweepScene, sweep: Sweep) -> list[dict[str, str]]:
    """The hyperparameters of the trials. Fails where a trial is lost, or was made or ran twice."""
    trials, made = await scene.trials(sweep), sweep.made
    assert [each.trial for each in trials] == list(range(sweep.trials))
    jobs = (await scene.scene.store.jobs.page(limit=100)).jobs
    assert sorted(job.job_id for job in jobs) == sorted(each.job_id for each in trials)
    assert sorted(job.trial for job in jobs if job.trial is not None) == list(range(sweep.trials))
    assert (sweep.status, made, sweep.completed, sweep.unfinished) == ("COMPLETED", made, made, 0)
    assert all(each.value == loss(each.hyperparameters) for each in trials)
    return [each.hyperparameters for each in trials]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_kill_at_any_step_loses_no_trial_and_makes_none_twice(tmp_path: Path, after: bool) -> None:
    """A grid of three, whose agent is killed once: at its first step, at its second, and so on."""
    make_repository(tmp_path / "repository")
    grid: dict[str, Any] = {"space": {"n": {"values": ["1", "2", "3"]}}, "strategy": "grid", "trials": None}
    step, killed = 0, True
    while killed:
        step += 1
        settings = make_settings(
            tmp_path / str(step), runtime=tmp_path / str(step) / "run", repository=tmp_path / "repository"
        )
        async with Store.open(settings.database) as store:
            scene = SweepScene(Scene(settings, store))
            killed = await driven(scene, grid, kill_at=step, after=after)
            if killed:
                assert not await driven(scene, grid, kill_at=0)
            (sweep,) = (await store.sweeps.page(limit=2)).sweeps
            assert [each["n"] for each in await judge(scene, sweep)] == ["1", "2", "3"]
    assert step > 20


async def test_kills_again_and_again_change_no_suggestion(scene: SweepScene) -> None:
    """The n-th agent is killed at its n-th step, now before and now after it, until the sweep has ended."""
    tpe: dict[str, Any] = {"strategy": "tpe", "trials": 14, "at_once": 1}
    kills = 0
    while await driven(scene, tpe, kill_at=kills + 1, after=kills % 2 == 0):
        kills += 1
    (sweep,) = (await scene.scene.store.sweeps.page(limit=2)).sweeps
    assert await judge(scene, sweep) == suggested_by_itself("tpe", 14)
    assert kills >= 8
