"""What clients ask of sweeps: accepted at once and as a whole, or refused with nothing left behind."""

import time

import pytest

from agent.errors import AgentError, Problem
from agent.model.ref import Withdrawal
from agent.model.sweep import MAX_ACTIVE, SweepRerun, SweepState
from tests.support.job_scene import driving
from tests.support.job_scene import end_of as job_end
from tests.support.job_scene import submit as submit_job
from tests.support.jobs import let_ages_begin
from tests.support.small_site import with_jobs
from tests.support.sweep_scene import ALICE, SweepScene, end_of, request, submit
from tests.support.waiting import until


async def test_a_thousand_trials_are_accepted_within_a_second(scene: SweepScene) -> None:
    jobs = scene.jobs()
    began = time.monotonic()
    sweep = await submit(jobs, trials=1000, strategy="tpe")
    assert time.monotonic() - began < 1
    assert (sweep.status, sweep.trials, sweep.made) == (SweepState.RUNNING, 1000, 0)
    assert await jobs.sweeps.get(sweep.sweep_id) == sweep


async def test_a_key_names_one_sweep(scene: SweepScene) -> None:
    jobs = scene.jobs()
    first = await submit(jobs, key="k")
    assert await submit(jobs, key="k") == first
    with pytest.raises(AgentError) as caught:
        await submit(jobs, key="k", trials=9)
    assert caught.value.problem is Problem.IDEMPOTENCY_MISMATCH
    again = await jobs.sweeps.rerun("alice", first, SweepRerun(), idempotency_key="r", by=ALICE)
    assert await jobs.sweeps.rerun("alice", first, SweepRerun(), idempotency_key="r", by=ALICE) == again
    assert again.sweep_id != first.sweep_id


async def test_all_trials_have_the_inputs_of_the_sweep_and_retention_keeps_them(scene: SweepScene) -> None:
    async with driving(scene.scene.jobs()) as jobs:
        upstream = await scene.scene.start(jobs)
        place = scene.scene.attempt(upstream).artifacts
        (place / "table.parquet").write_bytes(b"rows")
        scene.scene.ends(jobs, upstream)
        await job_end(jobs, upstream)
    await scene.scene.store.jobs.mark_archived(upstream.job_id)
    await let_ages_begin(scene.scene.store)
    wanted = {"table": {"job_id": upstream.job_id, "path": "table.parquet"}}
    async with scene.driving() as jobs:
        sweep = await submit(jobs, inputs=wanted, trials=3)
        assert sweep.inputs["table"].size == 4
        assert await scene.scene.store.retention.removable([upstream.job_id]) == []
        assert (await end_of(jobs, sweep)).status is SweepState.COMPLETED
        for trial in (await jobs.sweeps.trials(sweep.sweep_id, after=-1, limit=9)).trials:
            job = await jobs.registry.get(trial.job_id)
            assert job.inputs == sweep.inputs
            assert (scene.scene.attempt(job).inputs / "table").read_bytes() == b"rows"
        assert len(await scene.scene.store.retention.removable([upstream.job_id])) == 1
        again = await jobs.sweeps.rerun("alice", sweep, SweepRerun(), idempotency_key=None, by=ALICE)
        assert again.inputs == sweep.inputs


async def test_trials_and_a_rerun_have_the_defaults_of_what_is_not_in_the_space(scene: SweepScene) -> None:
    space = {"alpha": {"low": 0.1, "high": 0.4}}
    async with scene.driving() as jobs:
        sweep = await submit(jobs, script_name="defaults.py", space=space, trials=2)
        assert sweep.hyperparameters == {"depth": "3"}
        await end_of(jobs, sweep)
        for trial in (await jobs.sweeps.trials(sweep.sweep_id, after=-1, limit=9)).trials:
            job = await jobs.registry.get(trial.job_id)
            assert job.hyperparameters == {"depth": "3", **trial.hyperparameters}
            assert trial.hyperparameters["alpha"] != "0.5"
        again = await jobs.sweeps.rerun("alice", sweep, SweepRerun(), idempotency_key=None, by=ALICE)
        assert again.hyperparameters == {"depth": "3"}


async def test_what_is_refused_leaves_nothing_behind(scene: SweepScene) -> None:
    jobs, store = scene.jobs(), scene.scene.store
    for fields, problem in (
        ({"script_name": "nothing.py"}, Problem.SCRIPT_NOT_FOUND),
        ({"ref": "nowhere"}, Problem.REF_NOT_FOUND),
        ({"script_name": "declared.py", "space": {"depth": {"low": 0, "high": 11}}}, Problem.INVALID_REQUEST),
        ({"script_name": "declared.py", "space": {"depht": {}}}, Problem.INVALID_REQUEST),
        ({"script_name": "networked.py", "space": {"n": {"values": ["1"]}}}, Problem.INVALID_REQUEST),
        ({"limits": {"cpus": 1000}}, Problem.INVALID_REQUEST),
    ):
        with pytest.raises(AgentError) as caught:
            await submit(jobs, key="k", **fields)
        assert caught.value.problem is problem, fields
    assert (await store.sweeps.page(limit=9)).sweeps == []
    assert (await store.audit.newest(actor="alice", limit=9)) == []
    await submit(jobs, key="k")  # the key is free


async def test_a_user_has_a_bounded_number_of_sweeps_that_have_not_ended(scene: SweepScene) -> None:
    jobs = scene.jobs()
    sweeps = [await submit(jobs) for _ in range(MAX_ACTIVE)]
    with pytest.raises(AgentError) as caught:
        await submit(jobs)
    assert caught.value.problem is Problem.TOO_MANY_JOBS
    await jobs.sweeps.submit("bob", request(), idempotency_key=None, by=ALICE)
    await jobs.sweeps.cancel(sweeps[0].sweep_id, by=ALICE)
    await submit(jobs)


async def test_ended_sweeps_without_a_trial_are_forgotten_the_oldest_first(
    scene: SweepScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.store.sweeps.KEPT_EMPTY", 2)
    jobs = scene.jobs()
    sweeps = [await submit(jobs) for _ in range(4)]
    for sweep in sweeps[:3]:
        await jobs.sweeps.cancel(sweep.sweep_id, by=ALICE)
    newest = await submit(jobs)
    known = [each.sweep_id for each in (await scene.scene.store.sweeps.page(limit=9)).sweeps]
    assert known == [each.sweep_id for each in (newest, sweeps[3], sweeps[2], sweeps[1])]


async def test_each_deed_has_a_row_and_what_changes_nothing_has_none(scene: SweepScene) -> None:
    jobs = scene.jobs()
    sweep = await submit(jobs, hyperparameters={"secret_value": "x"})
    for _ in range(2):
        await jobs.sweeps.pause(sweep.sweep_id, by=ALICE)
    for _ in range(2):
        await jobs.sweeps.resume(sweep.sweep_id, by=ALICE)
        await jobs.sweeps.extend(sweep.sweep_id, 9, by=ALICE)
        await jobs.sweeps.pin(sweep.sweep_id, pinned=True, by=ALICE)
    for _ in range(2):
        await jobs.sweeps.pin(sweep.sweep_id, pinned=False, by=ALICE)
        await jobs.sweeps.cancel(sweep.sweep_id, by=ALICE)
    rows = [row.content() for row in await scene.scene.store.audit.newest(actor="alice", limit=99)]
    assert [row["action"] for row in rows] == [
        "submitSweep",
        "pauseSweep",
        "resumeSweep",
        "extendSweep",
        "pinSweep",
        "unpinSweep",
        "cancelSweep",
    ]
    assert {row["subject"] for row in rows} == {sweep.sweep_id}
    details = rows[0]["details"]
    assert (details["space"], details["strategy"], details["trials"]) == (["n", "x"], "random", 8)


async def test_the_commit_is_that_of_the_acceptance_and_is_reviewed_at_each_start(scene: SweepScene) -> None:
    async with scene.driving() as jobs:
        sweep = await submit(jobs, trials=100, at_once=1)
        await until_made(scene, sweep.sweep_id, 3)
        await scene.scene.store.withdrawals.withdraw(
            Withdrawal(commit=sweep.commit, reason="wrong", by="root", at=sweep.created_at)
        )
        sweep = await end_of(jobs, sweep)
    assert (sweep.status, sweep.reason) == ("FAILED", "commit-refused")
    assert sweep.message is not None
    assert "wrong" in sweep.message
    assert sweep.made < 100


async def until_made(scene: SweepScene, sweep_id: str, trials: int) -> None:
    async def made() -> bool:
        return (await scene.scene.store.sweeps.get(sweep_id)).made >= trials

    await until(made)


async def test_a_sweep_waits_while_its_owner_has_too_many_jobs(scene: SweepScene) -> None:
    scene.scene.settings = with_jobs(scene.scene.settings, max_waiting_per_user=1, max_running=1)
    scene.ends = lambda _: None
    async with scene.driving() as jobs:
        first = await submit_job(jobs)
        await until(lambda: first.unit in scene.scene.units.started)
        await submit_job(jobs)
        sweep = await submit(jobs)

        async def waits() -> str | None:
            return (await jobs.sweeps.get(sweep.sweep_id)).message

        assert await until(waits) == "It waits. You already have 1 jobs waiting."
        scene.ends = lambda _: "success exited 0"
        sweep = await end_of(jobs, sweep)
    assert (sweep.completed, sweep.message) == (8, None)


async def test_changes_are_read_in_their_order_and_of_one_owner(scene: SweepScene) -> None:
    jobs = scene.jobs()
    first = await submit(jobs)
    seen = await jobs.sweeps.newest_change()
    second = await jobs.sweeps.submit("bob", request(), idempotency_key=None, by=ALICE)
    await jobs.sweeps.pause(first.sweep_id, by=ALICE)
    newest, changed = await jobs.sweeps.changed(seen, owner=None, limit=9)
    assert [each.sweep_id for each in changed] == [second.sweep_id, first.sweep_id]
    assert (newest, await jobs.sweeps.changed(newest, owner=None, limit=9)) == (
        await jobs.sweeps.newest_change(),
        (newest, []),
    )
    _, mine = await jobs.sweeps.changed(seen, owner="alice", limit=9)
    assert [each.status for each in mine] == ["PAUSED"]


async def test_pages_have_a_bound_on_their_size(scene: SweepScene, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, store = scene.jobs(), scene.scene.store
    sweeps = [await submit(jobs) for _ in range(3)]
    monkeypatch.setattr("agent.store.database.MAX_PAGE_SIZE", 10)
    page = await store.sweeps.page(limit=9)
    assert [each.sweep_id for each in page.sweeps] == [sweeps[2].sweep_id]
    assert page.next_cursor is not None
    following = await store.sweeps.page(limit=9, before=int(page.next_cursor))
    assert [each.sweep_id for each in following.sweeps] == [sweeps[1].sweep_id]
