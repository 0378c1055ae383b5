"""From marks, units and managers to the state of a job."""

import os
from datetime import timedelta
from functools import partial

import pytest

from agent.errors import AgentError, Problem
from agent.host.machine import Room
from agent.host.systemd import NoSuchUnitError, UnitState
from agent.model.base import now
from agent.model.job import JobState, Reason
from agent.model.paths import CLAIMED, ENDED, OVER, STARTED
from agent.runtime.outcome import ExitRecord
from tests.support.job_scene import INVOCATION, Scene, driving, end_of, submit
from tests.support.small_site import make_settings, with_jobs
from tests.support.waiting import until


async def test_jobs_start_oldest_first_and_only_while_there_is_room(scene: Scene) -> None:
    scene.settings = make_settings(
        scene.settings.state_directory.parent / "small",
        runtime=scene.settings.runtime_directory,
        repository=scene.settings.scripts.repository,
        max_running=2,
    )
    async with driving(scene.jobs()) as jobs:
        waiting = [await submit(jobs) for _ in range(5)]
        await until(lambda: len(scene.units.started) == 2)
        await until(lambda: not jobs.registry.wake.is_set())  # the next to start has been decided
        assert {job.unit for job in jobs.registry.started(None)} == {job.unit for job in waiting[:2]}
        scene.ends(jobs, waiting[0])
        await until(lambda: len(scene.units.started) == 3)
        assert scene.units.started == [job.unit for job in waiting[:3]]


async def test_exit_record_and_marks_reach_the_jobs_record(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.start(jobs)
        scene.ends(jobs, job, "exit-code exited 3")
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason, ended.exit_status) == (JobState.FAILED, Reason.EXIT_CODE, 3)
    assert ended.invocation_id == INVOCATION
    assert ended.started_at is not None
    assert ended.finished_at is not None


@pytest.mark.parametrize(
    ("started", "ended"), [(timedelta(hours=1), timedelta()), (-timedelta(hours=1), -timedelta(hours=1))]
)
async def test_times_stay_in_order_when_the_clock_is_set_back(
    scene: Scene, started: timedelta, ended: timedelta
) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.start(jobs)
        scene.mark(job, CLAIMED)
        for name, text, moment in (
            (STARTED, "", job.created_at + started),
            (ENDED, f"success exited 0 {INVOCATION}", job.created_at + ended),
        ):
            scene.mark(job, name, text)
            os.utime(scene.attempt(job).mark(name), (moment.timestamp(),) * 2)
        jobs.reconciler.look_at(job.unit)
        over = await end_of(jobs, job)
    assert over.status is JobState.COMPLETED
    assert over.started_at is not None
    assert over.finished_at is not None
    assert over.created_at <= over.started_at <= over.finished_at


async def test_the_next_agent_reads_the_outcome_from_the_exit_record(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.start(jobs)
    scene.mark(job, CLAIMED)
    scene.mark(job, STARTED)
    scene.mark(job, ENDED, f"success exited 0 {INVOCATION}")
    async with driving(scene.jobs()) as jobs:
        assert (await end_of(jobs, job)).status is JobState.COMPLETED


async def test_a_job_without_exit_record_and_journal_entry_is_interrupted(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.start(jobs)
        scene.mark(job, CLAIMED)
        scene.mark(job, STARTED)
        jobs.reconciler.look_at(job.unit)
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason) == (JobState.FAILED, Reason.INTERRUPTED)


@pytest.mark.parametrize(
    ("words", "reason", "status"),
    [
        (("exit-code", "exited", "3"), Reason.EXIT_CODE, 3),
        (("oom-kill", "killed", "KILL"), Reason.OOM_KILL, 137),
        (("timeout", "exited", "143"), Reason.TIMEOUT, 143),
        (("core-dump", "dumped", "SEGV"), Reason.SIGNAL, 139),
        # The unit's end is not the script's.
        (("success", "-", "-"), Reason.INTERRUPTED, None),
        (("exit-code", "-", "-"), Reason.INTERRUPTED, None),
        (("success", "exited", "0"), Reason.INTERRUPTED, 0),
    ],
)
async def test_without_an_exit_record_the_journal_decides_but_never_on_completed(
    scene: Scene, words: tuple[str, str, str], reason: Reason, status: int | None
) -> None:
    scene.journalled = ExitRecord(*words, INVOCATION, now())
    async with driving(scene.jobs()) as jobs:
        job = await scene.start(jobs)
        scene.mark(job, CLAIMED)
        scene.mark(job, STARTED)
        jobs.reconciler.look_at(job.unit)
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason, ended.exit_status) == (JobState.FAILED, reason, status)
    assert ended.invocation_id == INVOCATION


async def test_without_an_exit_record_a_status_that_may_be_conmons_is_not_the_scripts(scene: Scene) -> None:
    scene.journalled = ExitRecord("exit-code", "exited", "1", INVOCATION, now())
    async with driving(scene.jobs()) as jobs:
        job = await scene.start(jobs)
        scene.mark(job, CLAIMED)
        scene.mark(job, STARTED)
        container_id = scene.settings.paths_of(job.job_id).container_id
        container_id.parent.mkdir(parents=True, exist_ok=True)
        container_id.write_text("f" * 64)
        jobs.reconciler.look_at(job.unit)
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason, ended.exit_status) == (JobState.FAILED, Reason.INTERRUPTED, None)


@pytest.mark.parametrize("full", [True, False])
async def test_a_status_that_could_not_be_recorded_names_the_cause(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.start(jobs)
        if full:
            monkeypatch.setattr("agent.jobs.admission.room", lambda _: Room(bytes=4096, inodes=7))
        scene.ends(jobs, job, "exit-code exited 1", f"{INVOCATION} ?")
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason, ended.exit_status) == (JobState.FAILED, Reason.INTERRUPTED, None)
    why = f" {scene.settings.runtime_directory} has only 0.0 MiB and 7 inodes free." if full else ""
    assert ended.message == f"The script ended, but Podman could not record its exit status.{why}"


@pytest.mark.parametrize("left", [Room(0, None), Room(2**30, 12)])
async def test_a_job_starts_once_the_runtime_directory_has_room(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, left: Room
) -> None:
    monkeypatch.setattr("agent.jobs.reconciler.LOOK_DELAY", 0.01)
    monkeypatch.setattr("agent.jobs.admission.room", lambda _: left)
    async with driving(scene.jobs()) as jobs:
        job = await submit(jobs)
        await until(lambda: caplog.text.count("The job waits. ") > 2)
        assert (await jobs.registry.get(job.job_id)).status is JobState.PENDING
        left = Room(2**30, None)
        await until(lambda: job.unit in scene.units.started)


async def test_a_job_of_an_earlier_boot_is_interrupted_and_not_restarted(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.start(jobs)
    scene.units.identity = "boot:2"
    async with driving(scene.jobs()) as jobs:
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason) == (JobState.FAILED, Reason.INTERRUPTED)
    assert scene.units.started == [job.unit]


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_script_that_ran_before_a_boot_is_interrupted(scene: Scene, cancelled: bool) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.start(jobs)
        scene.mark(job, STARTED)  # the claim went with the boot
        scene.units.states[job.unit] = UnitState(active_state="active")
        if cancelled:
            await jobs.registry.cancel(job.job_id)
    scene.units.identity, scene.units.states = "boot:2", {}
    async with driving(scene.jobs()) as jobs:
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason) == (JobState.FAILED, Reason.INTERRUPTED)
    assert ended.message == "The host went down while the job ran."


async def test_a_reconnection_during_a_step_interrupts_no_job(scene: Scene) -> None:
    jobs = scene.jobs()
    scene.units.while_looked_at = lambda: None if scene.units.started else jobs.reconciler.look_at(None)
    async with driving(jobs):
        job = await scene.start(jobs)
        assert (await jobs.registry.get(job.job_id)).status is JobState.CREATED


async def test_a_stop_by_shutdown_is_interrupted_and_a_stop_by_hand_is_stopped(
    scene: Scene,
) -> None:
    async with driving(scene.jobs()) as jobs:
        for stopping, status, reason in (
            (False, JobState.CANCELLED, Reason.STOPPED),
            (True, JobState.FAILED, Reason.INTERRUPTED),
        ):
            job = await scene.start(jobs)
            scene.units.stopping = stopping
            scene.ends(jobs, job, "success exited 143", stopping="success")
            ended = await end_of(jobs, job)
            assert (ended.status, ended.reason) == (status, reason)


async def test_a_start_that_systemd_refuses_fails_the_job_and_bars_its_unit(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.jobs.reconciler.LOOK_DELAY", 0.01)
    scene.units.refuses = NoSuchUnitError(Problem.HOST, "Unit is masked.")
    async with driving(scene.jobs()) as jobs:
        job = await submit(jobs)
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason) == (JobState.FAILED, Reason.START_FAILED)
    assert "Unit is masked." in (ended.message or "")
    assert scene.attempt(job).mark(CLAIMED).exists()


async def test_a_stop_by_hand_before_the_start_is_final(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.start(jobs)
        scene.units.calls_off.add(job.unit)
        jobs.reconciler.look_at(job.unit)
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason) == (JobState.CANCELLED, Reason.STOPPED)
    assert scene.units.started == [job.unit]


async def test_a_shutdown_before_the_start_interrupts_the_job(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.start(jobs)
        scene.units.calls_off.add(job.unit)
        scene.units.stopping = True
        jobs.reconciler.look_at(job.unit)
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason) == (JobState.FAILED, Reason.INTERRUPTED)


async def test_a_damaged_exit_record_interrupts_the_job_and_does_not_restart_it(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.start(jobs)
        scene.mark(job, ENDED, " " * 1024)
        scene.mark(job, OVER, " " * 1024)
        jobs.reconciler.look_at(job.unit)
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason) == (JobState.FAILED, Reason.INTERRUPTED)
    assert scene.units.started == [job.unit]


def looked(scene: Scene, times: int) -> bool:
    """Whether the unit was looked at so often."""
    return scene.units.looks >= times


async def test_a_start_in_systemds_queue_is_not_requested_again(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.start(jobs)
        scene.units.states[job.unit] = UnitState(queued=True)
        for looks in range(scene.units.looks + 1, scene.units.looks + 10):
            jobs.reconciler.look_at(job.unit)
            await until(partial(looked, scene, looks))
        assert scene.units.started == [job.unit]
        assert (await jobs.registry.get(job.job_id)).invocation_id is None


@pytest.mark.parametrize("problem", [Problem.CONFIGURATION, Problem.SECRET_MISSING])
async def test_a_unit_that_cannot_be_compiled_fails_the_job_with_the_reason(
    scene: Scene, problem: Problem
) -> None:
    scene.compiler.refuses = AgentError(problem, "The drop-in is no good.")
    async with driving(scene.jobs()) as jobs:
        job = await submit(jobs)
        ended = await end_of(jobs, job)
    assert (ended.reason, ended.message) == (Reason.START_FAILED, "The drop-in is no good.")


@pytest.mark.parametrize("there", [set(), {"memory", "pids"}, {"cpu", "pids", "io"}, {"cpu", "memory"}])
async def test_a_job_whose_limits_would_not_be_enforced_is_refused(scene: Scene, there: set[str]) -> None:
    scene.settings = with_jobs(scene.settings, unenforced_limits="refuse")
    scene.units.controllers_there = frozenset(there)
    async with driving(scene.jobs()) as jobs:
        ended = await end_of(jobs, await submit(jobs))
    assert (ended.status, ended.reason) == (JobState.FAILED, Reason.START_FAILED)
    missing = ", ".join(sorted({"cpu", "memory", "pids"} - there))
    assert f"lacks the cgroup controllers {missing}." in (ended.message or "")
    assert "jobs.unenforced_limits" in (ended.message or "")
    assert scene.units.started == []


@pytest.mark.parametrize(
    ("policy", "there"), [("refuse", {"cpu", "memory", "pids"}), ("run", set()), ("run", {"cpu"})]
)
async def test_a_job_starts_where_its_limits_are_enforced_or_the_site_goes_without(
    scene: Scene, policy: str, there: set[str]
) -> None:
    scene.settings = with_jobs(scene.settings, unenforced_limits=policy)
    scene.units.controllers_there = frozenset(there)
    async with driving(scene.jobs()) as jobs:
        job = await submit(jobs)
        await until(lambda: job.unit in scene.units.started)


@pytest.mark.parametrize(
    "error",
    [
        OSError("disk"),
        AgentError(Problem.STORAGE_FULL, "full"),
        AgentError(Problem.HOST, "no answer"),
        KeyError("x"),
    ],
)
async def test_errors_that_are_not_the_jobs_fault_are_retried(
    scene: Scene, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.jobs.reconciler.LOOK_DELAY", 0.01)
    scene.compiler.refuses = error
    async with driving(scene.jobs()) as jobs:
        job = await submit(jobs)
        await until(lambda: scene.compiler.refused > 2)
        scene.compiler.refuses = None
        await until(lambda: scene.units.started)
        assert (await jobs.registry.get(job.job_id)).status is JobState.CREATED
