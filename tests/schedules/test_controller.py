"""From times to jobs: exactly one for each, whatever happens meanwhile."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent.errors import AgentError, Problem
from agent.host.systemd import UnitState
from agent.jobs.registry import Registry
from agent.model.certificate import Role
from agent.model.ref import Withdrawal
from agent.model.schedule import (
    MAX_QUEUED,
    MAX_RUNS,
    RunReason,
    RunState,
    ScheduleReason,
    ScheduleState,
    timer_name,
)
from tests.support.job_scene import INVOCATION
from tests.support.schedule_scene import ALICE, ScheduleScene, create, states
from tests.support.waiting import until

SUBMITTED, SKIPPED, WAITING = RunState.SUBMITTED, RunState.SKIPPED, RunState.WAITING


async def test_each_time_has_one_job_that_names_it(scene: ScheduleScene) -> None:
    async with scene.agent() as jobs:
        schedule = await create(jobs)
        assert scene.has_timer(schedule)
        for hour in (10, 11):
            scene.clock.to(hour, 0)
            for _ in range(3):  # a timer that elapses again, for a time that has its job
                scene.elapses(jobs, schedule)
                await scene.settled(jobs)
            job = (await scene.jobs_of(schedule))[-1]
            assert (job.owner, job.slot) == ("alice", scene.clock.moment)
            await scene.end(jobs, job)
        await scene.settled(jobs)
    assert len(await scene.jobs_of(schedule)) == 2
    assert states(await scene.runs(schedule)) == [("01 10:00", SUBMITTED), ("01 11:00", SUBMITTED)]
    deeds = [row.content() for row in await scene.scene.store.audit.newest(actor="alice", limit=10)]
    assert [(deed["action"], deed["role"]) for deed in deeds] == [
        ("createSchedule", "analyst"),
        ("submitJob", "schedule"),
        ("submitJob", "schedule"),
    ]
    assert deeds[-1]["source"] == f"schedule {schedule.schedule_id}"


async def test_what_was_missed_is_caught_up_once(scene: ScheduleScene) -> None:
    async with scene.agent() as jobs:
        schedule = await create(jobs)
    scene.scene.units.started.clear()  # a boot
    scene.clock.to(20, 15)
    async with scene.agent() as jobs:
        assert scene.has_timer(schedule)
        await scene.elapsed(jobs, schedule)  # as Persistent= has it
    (run,) = await scene.runs(schedule)
    assert states([run]) == [("01 20:00", SUBMITTED)]
    assert run.message == "Earlier times were missed, from 2026-06-01T10:00:00.000Z on."
    assert len(await scene.jobs_of(schedule)) == 1


@pytest.mark.parametrize("method", ["begun", "begin", "next_waiting"])
async def test_an_agent_that_dies_at_any_step_makes_one_job(
    scene: ScheduleScene, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """At the entry of each of these steps, and after the last one, no more is done by this agent."""

    async def hangs(*_: object, **__: object) -> None:
        reached.set()
        await asyncio.Event().wait()

    reached = asyncio.Event()
    async with scene.agent() as jobs:
        schedule = await create(jobs)
        scene.clock.to(10)
        with monkeypatch.context() as patched:
            patched.setattr(type(scene.scene.store.schedules), method, hangs)
            scene.elapses(jobs, schedule)
            await asyncio.wait_for(reached.wait(), 10)
    async with scene.agent() as jobs:
        await until(lambda: not jobs.timing.timers.due())
    assert states(await scene.runs(schedule)) == [("01 10:00", SUBMITTED)]
    assert len(await scene.jobs_of(schedule)) == 1


@pytest.mark.parametrize("after", [False, True], ids=["before the job", "after the job"])
async def test_an_agent_that_dies_around_the_commit_of_the_job_makes_one(
    scene: ScheduleScene, monkeypatch: pytest.MonkeyPatch, *, after: bool
) -> None:
    add = Registry.add
    reached = asyncio.Event()

    async def dies(self: Registry, *arguments: Any) -> Any:
        if after:
            await add(self, *arguments)
        reached.set()
        await asyncio.Event().wait()

    async with scene.agent() as jobs:
        schedule = await create(jobs)
        scene.clock.to(10)
        with monkeypatch.context() as patched:
            patched.setattr(Registry, "add", dies)
            scene.elapses(jobs, schedule)
            await asyncio.wait_for(reached.wait(), 10)
    async with scene.agent() as jobs:
        await until(lambda: not jobs.timing.timers.due())
    assert states(await scene.runs(schedule)) == [("01 10:00", SUBMITTED)]
    assert len(await scene.jobs_of(schedule)) == 1


async def test_a_clock_that_is_set_back_repeats_no_time(scene: ScheduleScene) -> None:
    async with scene.agent() as jobs:
        schedule = await create(jobs, overlap="queue")
        for hour in (10, 11, 12, 11, 10, 13):
            scene.clock.to(hour, 5)
            await scene.elapsed(jobs, schedule)
    assert [slot for slot, _ in states(await scene.runs(schedule))] == [
        "01 10:00",
        "01 11:00",
        "01 12:00",
        "01 13:00",
    ]


async def test_a_clock_that_was_a_year_ahead_stops_no_schedule(scene: ScheduleScene) -> None:
    async with scene.agent() as jobs:
        schedule = await create(jobs, overlap="queue")
        for hour, days in ((10, 0), (10, 365), (11, 0), (12, 0)):
            scene.clock.to(hour, 5, days=days)
            await scene.elapsed(jobs, schedule)
    slots = [run.slot for run in await scene.runs(schedule)]
    monday = datetime(2026, 6, 1, tzinfo=UTC)
    assert slots == [
        monday.replace(hour=10),
        monday.replace(hour=10) + timedelta(days=365),
        monday.replace(hour=11),
        monday.replace(hour=12),
    ]


async def test_skip_makes_no_run_while_one_goes_on(scene: ScheduleScene) -> None:
    async with scene.agent() as jobs:
        schedule = await create(jobs, overlap="skip")
        for hour in (10, 11):
            scene.clock.to(hour)
            await scene.elapsed(jobs, schedule)
        (job,) = await scene.jobs_of(schedule)
        assert states(await scene.runs(schedule))[1] == ("01 11:00", SKIPPED)
        skipped = (await scene.runs(schedule))[1]
        assert (skipped.reason, skipped.message) == (RunReason.OVERLAP, f"Job {job.job_id} has not ended.")
        await scene.end(jobs, job)
        scene.clock.to(12)
        await scene.elapsed(jobs, schedule)
    assert len(await scene.jobs_of(schedule)) == 2


async def test_queue_runs_one_after_the_other_and_is_bounded(scene: ScheduleScene) -> None:
    async with scene.agent() as jobs:
        schedule = await create(jobs, overlap="queue")
        for number in range(MAX_QUEUED + 2):
            scene.clock.to(10 + number)
            await scene.elapsed(jobs, schedule)
        found = [run.status for run in await scene.runs(schedule)]
        assert found == [SUBMITTED, *[WAITING] * MAX_QUEUED, SKIPPED]
        assert not jobs.timing.idle
        (first,) = await scene.jobs_of(schedule)
        await scene.end(jobs, first)

        async def second() -> bool:
            return len(await scene.jobs_of(schedule)) == 2

        await until(second)
    async with scene.agent(idle=False) as jobs:  # the next agent goes on where this one was
        await scene.end(jobs, (await scene.jobs_of(schedule))[1])

        async def third() -> bool:
            return len(await scene.jobs_of(schedule)) == 3

        await until(third)
    assert [job.slot and job.slot.hour for job in await scene.jobs_of(schedule)] == [10, 11, 12]


async def test_replace_cancels_what_goes_on_and_what_waits(scene: ScheduleScene) -> None:
    async with scene.agent() as jobs:
        schedule = await create(jobs, overlap="replace")
        scene.clock.to(10)
        await scene.elapsed(jobs, schedule)
        (first,) = await scene.jobs_of(schedule)
        units = scene.scene.units
        await until(lambda: first.unit in units.started)
        units.states[first.unit] = UnitState("active", invocation_id=INVOCATION)
        for hour in (11, 12):
            scene.clock.to(hour)
            await scene.elapsed(jobs, schedule)
        await until(lambda: first.unit in units.stopped)
        found = await scene.runs(schedule)
        assert [run.status for run in found] == [SUBMITTED, SKIPPED, WAITING]
        assert found[1].reason is RunReason.REPLACED
        assert len(await scene.jobs_of(schedule)) == 1, "two would overlap"
        del units.states[first.unit]
        scene.scene.ends(jobs, first, "signal killed TERM")

        async def replaced() -> bool:
            return len(await scene.jobs_of(schedule)) == 2

        await until(replaced)
    assert (await scene.jobs_of(schedule))[1].slot == scene.clock.moment


async def test_a_revoked_owner_suspends_the_schedule(scene: ScheduleScene) -> None:
    store = scene.scene.store
    async with scene.agent() as jobs:
        schedule = await create(jobs)
        await store.certificates.revoke(["1"], scene.clock.moment)
        scene.clock.to(10)
        scene.elapses(jobs, schedule)
        await until(lambda: not scene.has_timer(schedule))
        known = await jobs.schedules.get(schedule.schedule_id)
        assert (known.status, known.reason) == (ScheduleState.SUSPENDED, ScheduleReason.OWNER_REVOKED)
        assert known.message == "The certificate of alice was revoked."
        assert known.next == []
        assert states(await scene.runs(schedule)) == [("01 10:00", SKIPPED)]
    deed = (await store.audit.newest(limit=1))[0].content()
    assert (deed["action"], deed["subject"]) == ("suspendSchedule", schedule.schedule_id)


async def test_an_expired_certificate_revokes_nobody(scene: ScheduleScene) -> None:
    async with scene.agent() as jobs:
        schedule = await create(jobs)
        scene.clock.to(10, days=400)
        await scene.elapsed(jobs, schedule)
    assert [run.status for run in await scene.runs(schedule)] == [SUBMITTED]


async def test_a_withdrawn_commit_suspends_and_resuming_goes_on(scene: ScheduleScene) -> None:
    store = scene.scene.store
    async with scene.agent() as jobs:
        schedule = await create(jobs)
        commit, _ = await jobs.commits.resolve(None)
        withdrawal = Withdrawal(
            commit=commit, reason="a leak", by="root", at=scene.clock.moment, stop_running=False
        )
        await store.withdrawals.withdraw(withdrawal, deed=ALICE.did("withdrawCommit", commit))
        scene.clock.to(10)
        scene.elapses(jobs, schedule)
        await until(lambda: not scene.has_timer(schedule))
        known = await jobs.schedules.get(schedule.schedule_id)
        assert (known.status, known.reason) == (ScheduleState.SUSPENDED, ScheduleReason.COMMIT_REFUSED)
        assert known.message is not None
        assert "a leak" in known.message
        by_hand = await jobs.schedules.run(schedule.schedule_id, by=ALICE)
        assert (by_hand.status, by_hand.reason) == (SKIPPED, RunReason.REFUSED)
        await store.withdrawals.restore(commit, deed=ALICE.did("restoreCommit", commit))
        scene.clock.to(12, 30)
        resumed = await jobs.schedules.resume(schedule.schedule_id, by=ALICE)
        assert (resumed.status, resumed.reason, resumed.message) == (ScheduleState.ACTIVE, None, None)
        await scene.elapsed(jobs, schedule)  # as Persistent= has it: systemd missed times, too
        assert await scene.jobs_of(schedule) == [], "times of a suspended schedule do not count"
        scene.clock.to(13)
        await scene.elapsed(jobs, schedule)
    assert [job.slot for job in await scene.jobs_of(schedule)] == [scene.clock.moment]


async def test_what_the_owner_may_not_submit_is_skipped_with_the_reason(scene: ScheduleScene) -> None:
    await scene.knows("alice", Role.ADMINISTRATOR, serial="2")
    async with scene.agent() as jobs:
        schedule = await create(jobs, job={"script_name": "succeed.py", "priority": 1})
        await scene.scene.store.certificates.revoke(["2"], scene.clock.moment)
        scene.clock.to(10)
        await scene.elapsed(jobs, schedule)
    (run,) = await scene.runs(schedule)
    assert (run.status, run.reason) == (SKIPPED, RunReason.REFUSED)
    assert run.message == "alice may no longer put jobs before others."


async def test_a_host_that_fails_is_waited_for_but_not_for_ever(
    scene: ScheduleScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(_: str) -> None:
        raise AgentError(Problem.HOST, "Podman does not answer.")

    monkeypatch.setattr("agent.schedules.controller.LOOK_DELAY", 0.01)
    async with scene.agent() as jobs:
        schedule = await create(jobs)
        with monkeypatch.context() as patched:
            patched.setattr(scene.scene.podman, "kept_image", fails)
            scene.clock.to(10)
            await scene.elapsed(jobs, schedule)
            assert states(await scene.runs(schedule)) == [("01 10:00", WAITING)]
        await scene.settled(jobs)
        (job,) = await scene.jobs_of(schedule)
        await scene.end(jobs, job)
        with monkeypatch.context() as patched:
            patched.setattr(scene.scene.podman, "kept_image", fails)
            scene.clock.to(11)
            await scene.elapsed(jobs, schedule)
            scene.clock.to(11, 11)
            await scene.settled(jobs)
    run = (await scene.runs(schedule))[1]
    assert (run.status, run.reason, run.message) == (SKIPPED, RunReason.REFUSED, "Podman does not answer.")


async def test_a_paused_schedule_has_no_timer_and_what_waits_is_skipped(scene: ScheduleScene) -> None:
    async with scene.agent() as jobs:
        schedule = await create(jobs, overlap="queue")
        for hour in (10, 11):
            scene.clock.to(hour)
            await scene.elapsed(jobs, schedule)
        paused = await jobs.schedules.pause(schedule.schedule_id, by=ALICE)
        assert (paused.status, scene.has_timer(schedule)) == (ScheduleState.PAUSED, False)
        found = await scene.runs(schedule)
        assert [(run.status, run.reason) for run in found] == [(SUBMITTED, None), (SKIPPED, RunReason.PAUSED)]
        assert (await jobs.schedules.get(schedule.schedule_id)).last == found[1]
        scene.clock.to(12)
        await scene.elapsed(jobs, schedule)
        assert len(await scene.runs(schedule)) == 2


async def test_a_removed_schedule_leaves_its_jobs_alone(scene: ScheduleScene) -> None:
    async with scene.agent() as jobs:
        schedule = await create(jobs)
        scene.clock.to(10)
        await scene.elapsed(jobs, schedule)
        await jobs.schedules.remove(schedule.schedule_id, by=ALICE)
        assert not scene.has_timer(schedule)
        assert scene.scene.units.cleaned == [timer_name(schedule.schedule_id)]
        with pytest.raises(AgentError, match="There is no such schedule"):
            await jobs.schedules.get(schedule.schedule_id)
        scene.elapses(jobs, schedule)  # it was on its way
        await scene.settled(jobs)
        (job,) = await scene.jobs_of(schedule)
        assert (await jobs.registry.get(job.job_id)).schedule == schedule.schedule_id


async def test_timers_follow_the_record_when_an_agent_starts(scene: ScheduleScene) -> None:
    units = scene.scene.units
    async with scene.agent() as jobs:
        kept, paused = await create(jobs), await create(jobs)
        await jobs.schedules.pause(paused.schedule_id, by=ALICE)
    units.stopped.append(timer_name(kept.schedule_id))
    units.started.append(foreign := timer_name("aaaaaaaaaaaa"))
    units.stopped.remove(timer_name(paused.schedule_id))
    async with scene.agent():
        assert scene.has_timer(kept)
        assert not scene.has_timer(paused)
        assert foreign in units.stopped


async def test_a_manager_that_does_not_answer_delays_the_timer_only(
    scene: ScheduleScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.schedules.controller.LOOK_DELAY", 0.01)
    async with scene.agent() as jobs:
        scene.scene.units.refuses = AgentError(Problem.HOST, "The user manager does not answer.")
        schedule = await create(jobs)
        assert not scene.has_timer(schedule)
        scene.scene.units.refuses = None
        await until(lambda: scene.has_timer(schedule))


async def test_history_is_bounded_and_manual_runs_are_not_the_calendars(scene: ScheduleScene) -> None:
    async with scene.agent() as jobs:
        schedule = await create(jobs)
        scene.clock.to(10)
        await scene.elapsed(jobs, schedule)
        for _ in range(MAX_RUNS + 5):
            run = await jobs.schedules.run(schedule.schedule_id, by=ALICE)
            assert (run.status, run.manual) == (SKIPPED, True)
        assert len(await scene.runs(schedule)) == MAX_RUNS + 1, "with the one that goes on"
        await scene.elapsed(jobs, schedule)
    assert len(await scene.jobs_of(schedule)) == 1, "its time was not forgotten with its run"


async def test_a_sweep_is_submitted_once_and_waited_for(
    scene: ScheduleScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.schedules.controller.LOOK_DELAY", 0.01)
    sweep = {
        "script_name": "succeed.py",
        "space": {"x": {"values": ["1", "2"]}},
        "strategy": "grid",
        "objective": {"metric": "loss", "direction": "minimize"},
    }
    async with scene.agent() as jobs:
        schedule = await create(jobs, job=None, sweep=sweep, overlap="replace")
        scene.clock.to(10)
        await scene.elapsed(jobs, schedule)
        (run,) = await scene.runs(schedule)
        assert run.sweep_id is not None
        made = await jobs.sweeps.get(run.sweep_id)
        assert (made.schedule, made.slot) == (schedule.schedule_id, run.slot)
        scene.clock.to(11)
        scene.elapses(jobs, schedule)

        async def both() -> bool:
            return [each.status for each in await scene.runs(schedule)] == [SUBMITTED, SUBMITTED]

        await until(both)
        assert (await jobs.sweeps.get(run.sweep_id)).status == "CANCELLED"


async def test_marks_that_cannot_be_read_are_read_again(
    scene: ScheduleScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> list[str]:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("agent.schedules.controller.LOOK_DELAY", 0.01)
    async with scene.agent() as jobs:
        schedule = await create(jobs)
        scene.clock.to(10)
        with monkeypatch.context() as patched:
            patched.setattr(jobs.timing.timers, "due", fails)
            scene.elapses(jobs, schedule)
            await asyncio.sleep(0.05)
        await scene.settled(jobs)
    assert len(await scene.jobs_of(schedule)) == 1
