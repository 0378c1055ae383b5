"""A job's life. Pure accidents against stand-ins; every ending against real systemd, Podman and journald."""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import pytest

from agent.config import Settings, shipped
from agent.errors import AgentError, Problem
from agent.host.podman import Image, Podman
from agent.host.systemd import NoSuchUnitError, Units, UnitState, UnitUsage
from agent.jobs import registry as jobs_module
from agent.jobs.registry import Jobs
from agent.logs.journal import Journal
from agent.logs.lines import Item, Line, LineNumbering, Position
from agent.model.base import new_job_id, now
from agent.model.inputs import Limits, RequestedLimits
from agent.model.job import Job, JobRequest, JobState, Reason, Rerun, RetryReason
from agent.model.log import LogSource
from agent.runtime.outcome import CLAIMED, ENDED, OVER, STARTED, STOPPING, ExitRecord
from agent.runtime.quadlet import TEMPLATE, Compiler, Plan
from agent.scripts.snapshots import Snapshots
from agent.store.database import Store
from tests.support.git_repository import drop_last_commit
from tests.support.small_site import IMAGE, import_image, make_repository, make_settings
from tests.support.waiting import run, until

DIGEST = "sha256:" + "d" * 64
INVOCATION = "0123456789abcdef" * 2


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    make_repository(tmp_path / "repository")
    return make_settings(tmp_path, runtime=tmp_path / "runtime")


@dataclass
class StandInUnits:
    """A manager whose units do what the test says."""

    states: dict[str, UnitState] = field(default_factory=dict)
    usages: dict[str, UnitUsage] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    identity: str = "boot:1"
    stopping: bool = False
    calls_off: set[str] = field(default_factory=set)
    forgotten: list[str] = field(default_factory=list)
    refuses: AgentError | None = None
    while_looked_at: Callable[[], None] = lambda: None

    async def start(self, name: str) -> None:
        if self.refuses:
            raise self.refuses
        self.started.append(name)

    async def stop(self, name: str) -> None:
        self.stopped.append(name)

    async def forget(self, name: str) -> None:
        self.forgotten.append(name)

    async def state(self, name: str) -> UnitState:
        self.while_looked_at()
        return self.states.get(name, UnitState())

    async def usage(self, name: str) -> UnitUsage:
        return self.usages.get(name, UnitUsage())

    def called_off(self, name: str) -> bool:
        return name in self.calls_off

    async def version(self) -> str:
        return "257"

    async def manager_identity(self) -> str:
        return self.identity

    async def manager_stopping(self) -> bool:
        return self.stopping


class StandInPodman:
    """A Podman that has the image and one shared secret."""

    secrets = frozenset({"warehouse"})

    async def version(self) -> str:
        return "5.4.2"

    async def image(self, name: str) -> Image | None:
        return Image("sha256:" + "1" * 64, DIGEST)

    kept_image = image

    def __init__(self) -> None:
        self.killed: list[str] = []

    async def kill(self, container: str) -> None:
        self.killed.append(container)

    async def secret_for(self, name: str, user: str) -> str | None:
        return f"ml-agent.{name}" if name in self.secrets else None


class StandInCompiler:
    """A compiler that notes what it was asked for."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self.refuses: Exception | None = None

    async def compile(self, plan: Plan) -> str:
        if self.refuses:
            raise self.refuses
        self.plans.append(plan)
        return "[Service]\n"


def attempt_of(settings: Settings, job: Job) -> Path:
    """The directory of the attempt that a job is at."""
    return settings.state_directory / "jobs" / job.job_id / "attempts" / str(job.attempt)


@dataclass
class Scene:
    """`Jobs` among stand-ins, over a real store and real snapshots."""

    settings: Settings
    store: Store
    units: StandInUnits = field(default_factory=StandInUnits)
    podman: StandInPodman = field(default_factory=StandInPodman)
    compiler: StandInCompiler = field(default_factory=StandInCompiler)

    journalled: ExitRecord | None = None

    async def exit_of(
        self, unit: str, invocation_id: str | None, others: Collection[str]
    ) -> ExitRecord | None:
        """What the journal says of the only unit that it is asked about."""
        return self.journalled

    def jobs(self) -> Jobs:
        """A new agent's view of the same store."""
        parts: dict[str, Any] = {"podman": self.podman, "compiler": self.compiler, "units": self.units}
        scripts = self.settings.scripts
        return Jobs(
            settings=self.settings,
            store=self.store,
            exit_of=self.exit_of,
            snapshots=Snapshots(
                scripts.repository, scripts.directory, self.settings.state_directory / "snapshots"
            ),
            hooks=shipped("units"),
            **parts,
        )

    def mark(self, job: Job, name: str, text: str = "") -> None:
        """Leaves a mark as the job's unit would."""
        path = attempt_of(self.settings, job) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            path.readlink().mkdir(parents=True)
        else:
            path.write_text(text)

    async def begun(self, jobs: Jobs, **fields: Any) -> Job:
        """A job that systemd was asked to start."""
        job = await jobs.submit("alice", JobRequest(script_name="succeed.py", **fields))

        async def asked() -> bool:
            return job.unit in self.units.started

        await until(asked)
        return job


@pytest.fixture
async def scene(settings: Settings) -> AsyncIterator[Scene]:
    async with Store.open(settings.database) as store:
        yield Scene(settings, store)


@contextlib.asynccontextmanager
async def driving(jobs: Jobs) -> AsyncIterator[Jobs]:
    """Runs what drives the jobs."""
    await jobs.load()
    task = asyncio.create_task(jobs.run())
    try:
        yield jobs
        assert not task.done()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def end_of(jobs: Jobs, job: Job) -> Job:
    async with asyncio.timeout(10):
        await jobs.ended(job)
    return await jobs.get(job.job_id)


async def test_a_job_records_what_runs(scene: Scene) -> None:
    jobs = scene.jobs()
    job = await jobs.submit("alice", JobRequest(script_name="succeed.py", hyperparameters={"a": "1"}))
    assert (job.status, job.owner, job.container_id) == (JobState.PENDING, "alice", "")
    assert (job.image, job.image_digest, len(job.commit), len(job.script_sha256)) == (IMAGE, DIGEST, 40, 64)
    assert job.limits == Limits(
        memory_bytes=64 * 2**20,
        cpus=1.0,
        tasks=512,
        run_time_seconds=60,
        artifact_bytes=8 * 2**30,
        artifact_files=10_000,
    )


@pytest.mark.parametrize(
    ("request_", "problem", "name"),
    [
        (JobRequest(script_name="absent.py"), Problem.SCRIPT_NOT_FOUND, "script_name"),
        (JobRequest(script_name="succeed.py", ref="no-such"), Problem.REF_NOT_FOUND, "ref"),
        (JobRequest(script_name="networked.py"), Problem.INVALID_REQUEST, "script_name"),
        (
            JobRequest(script_name="declared.py", hyperparameters={"depth": "11"}),
            Problem.INVALID_REQUEST,
            "hyperparameters.depth",
        ),
        (
            JobRequest(script_name="succeed.py", limits=RequestedLimits(tasks=100_000)),
            Problem.INVALID_REQUEST,
            "limits.tasks",
        ),
        (
            JobRequest(script_name="succeed.py", limits=RequestedLimits(grace_seconds=301)),
            Problem.INVALID_REQUEST,
            "limits.grace_seconds",
        ),
    ],
)
async def test_what_is_refused_leaves_no_row_and_no_directory(
    scene: Scene, request_: JobRequest, problem: Problem, name: str
) -> None:
    jobs = scene.jobs()
    with pytest.raises(AgentError) as caught:
        await jobs.submit("alice", request_)
    assert (caught.value.problem, caught.value.fields[0].field) == (problem, name)
    assert (await jobs.page()).jobs == []
    assert not (scene.settings.state_directory / "jobs").exists()
    assert jobs.idle


async def test_the_grace_that_is_asked_for_reaches_the_unit(scene: Scene) -> None:
    request = JobRequest(script_name="succeed.py", limits=RequestedLimits(grace_seconds=90))
    async with driving(scene.jobs()) as jobs:
        job = await jobs.submit("alice", request)

        async def planned() -> list[Plan]:
            return scene.compiler.plans

        (plan,) = await until(planned)
    assert (job.limits.grace_seconds, plan.limits.grace_seconds) == (90, 90)


async def test_a_secret_that_is_not_set_is_missed_before_the_job_is_accepted(scene: Scene) -> None:
    scene.podman.secrets = frozenset()
    with pytest.raises(AgentError) as caught:
        await scene.jobs().submit("alice", JobRequest(script_name="declared.py"))
    assert caught.value.problem is Problem.SECRET_MISSING
    assert "ml-agent secret set warehouse" in caught.value.hint


async def test_a_repeated_key_is_the_same_job_even_when_the_script_is_gone(scene: Scene) -> None:
    jobs, request = scene.jobs(), JobRequest(script_name="succeed.py")
    job = await jobs.submit("alice", request, idempotency_key="k")
    repository = scene.settings.scripts.repository
    await run("git", "-C", str(repository), "update-ref", "-d", "HEAD")
    assert await jobs.submit("alice", request, idempotency_key="k") == job
    with pytest.raises(AgentError) as caught:
        await jobs.submit("alice", JobRequest(script_name="fail.py"), idempotency_key="k")
    assert caught.value.problem is Problem.IDEMPOTENCY_MISMATCH


async def test_a_job_runs_again_although_the_repository_has_dropped_its_commit(scene: Scene) -> None:
    job = await scene.jobs().submit("alice", JobRequest(script_name="succeed.py"))
    drop_last_commit(scene.settings.scripts.repository)
    again = await scene.jobs().rerun("alice", job, Rerun())
    assert (again.commit, again.script_sha256) == (job.commit, job.script_sha256)
    async with driving(scene.jobs()):

        async def both() -> bool:
            return {job.unit, again.unit} == set(scene.units.started)

        await until(both)


@pytest.mark.parametrize("later", [False, True])
async def test_a_job_whose_commit_is_gone_for_good_says_so_in_words_of_its_own(
    scene: Scene, later: bool
) -> None:
    first = scene.jobs()
    job = await first.submit("alice", JobRequest(script_name="succeed.py"))
    drop_last_commit(scene.settings.scripts.repository)
    first._snapshots.retire(job.commit)
    jobs = scene.jobs() if later else first  # which has the catalogue in memory
    with pytest.raises(AgentError) as caught:
        await jobs.rerun("alice", job, Rerun())
    assert (caught.value.problem, caught.value.fields) == (Problem.REF_NOT_FOUND, ())
    assert job.commit in caught.value.message
    assert "Submit the script anew" in caught.value.hint
    assert len((await jobs.page()).jobs) == 1
    async with driving(jobs):
        ended = await end_of(jobs, job)
    assert (ended.reason, ended.message) == (Reason.START_FAILED, str(caught.value))


async def test_a_job_runs_although_its_client_hung_up_while_it_was_committed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    committing = asyncio.Event()
    add_job = scene.store.add_job

    async def slow(*arguments: Any, **options: Any) -> Job:
        committing.set()
        await asyncio.sleep(0.05)
        return await add_job(*arguments, **options)

    monkeypatch.setattr(scene.store, "add_job", slow)
    async with driving(scene.jobs()) as jobs:
        call = asyncio.create_task(jobs.submit("alice", JobRequest(script_name="succeed.py")))
        await committing.wait()
        call.cancel()

        async def started() -> list[str]:
            return scene.units.started

        (unit,) = await until(started)
        assert [job.unit for job in (await jobs.page()).jobs] == [unit]


async def test_a_cancellation_whose_client_hung_up_does_not_stop_the_jobs_record(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.begun(jobs)
        scene.units.states[job.unit] = UnitState(active_state="active", invocation_id=INVOCATION)
        committing, update_job = asyncio.Event(), scene.store.update_job

        async def slow(changed: Job, **options: Any) -> bool:
            committing.set()
            await asyncio.sleep(0.05)
            return await update_job(changed, **options)

        monkeypatch.setattr(scene.store, "update_job", slow)
        call = asyncio.create_task(jobs.cancel(job.job_id))
        await committing.wait()
        call.cancel()

        async def recorded() -> bool:
            return (await jobs.get(job.job_id)).cancel_requested

        await until(recorded)
        scene.mark(job, CLAIMED)
        scene.mark(job, STARTED)
        scene.mark(job, STOPPING, "success")
        scene.mark(job, ENDED, f"success exited 143 {INVOCATION}")
        scene.units.states[job.unit] = UnitState()
        jobs.look_at(job.unit)
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason) == (JobState.CANCELLED, Reason.CANCELLED)


async def test_a_waiting_job_that_is_cancelled_never_starts(scene: Scene) -> None:
    jobs = scene.jobs()
    job = await jobs.submit("alice", JobRequest(script_name="succeed.py"))
    cancelled = await jobs.cancel(job.job_id)
    assert (cancelled.status, cancelled.reason) == (JobState.CANCELLED, Reason.CANCELLED)
    assert await jobs.cancel(job.job_id) == cancelled
    async with driving(scene.jobs()):
        await asyncio.sleep(0.1)
    assert scene.units.started == []


async def test_no_more_jobs_start_than_there_is_room_for_and_the_oldest_first(scene: Scene) -> None:
    scene.settings = make_settings(
        scene.settings.state_directory.parent / "small",
        runtime=scene.settings.runtime_directory,
        repository=scene.settings.scripts.repository,
        max_running=2,
    )
    async with driving(scene.jobs()) as jobs:
        waiting = [await jobs.submit("alice", JobRequest(script_name="succeed.py")) for _ in range(5)]

        async def two() -> bool:
            return len(scene.units.started) == 2

        await until(two)
        await asyncio.sleep(0.1)
        assert scene.units.started == [job.unit for job in waiting[:2]]
        scene.mark(waiting[0], CLAIMED)
        scene.mark(waiting[0], STARTED)
        scene.mark(waiting[0], ENDED, f"success exited 0 {INVOCATION}")
        jobs.look_at(waiting[0].unit)

        async def three() -> bool:
            return len(scene.units.started) == 3

        await until(three)
        assert scene.units.started[2] == waiting[2].unit


async def test_the_record_says_all_that_the_marks_say(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.begun(jobs)
        scene.mark(job, CLAIMED)
        scene.mark(job, STARTED)
        scene.mark(job, ENDED, f"exit-code exited 3 {INVOCATION}")
        jobs.look_at(job.unit)
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason, ended.exit_status) == (JobState.FAILED, Reason.EXIT_CODE, 3)
    assert ended.invocation_id == INVOCATION
    assert ended.started_at is not None
    assert ended.finished_at is not None


@pytest.mark.parametrize(
    ("started", "ended"), [(timedelta(hours=1), timedelta()), (-timedelta(hours=1), -timedelta(hours=1))]
)
async def test_a_clock_that_was_set_back_makes_no_time_negative(
    scene: Scene, started: timedelta, ended: timedelta
) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.begun(jobs)
        scene.mark(job, CLAIMED)
        for name, text, moment in (
            (STARTED, "", job.created_at + started),
            (ENDED, f"success exited 0 {INVOCATION}", job.created_at + ended),
        ):
            scene.mark(job, name, text)
            os.utime(attempt_of(scene.settings, job) / name, (moment.timestamp(),) * 2)
        jobs.look_at(job.unit)
        over = await end_of(jobs, job)
    assert over.status is JobState.COMPLETED
    assert over.started_at is not None
    assert over.finished_at is not None
    assert over.created_at <= over.started_at <= over.finished_at


async def test_an_agent_that_comes_later_reads_the_outcome_from_the_record(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.begun(jobs)
    scene.mark(job, CLAIMED)
    scene.mark(job, STARTED)
    scene.mark(job, ENDED, f"success exited 0 {INVOCATION}")
    async with driving(scene.jobs()) as jobs:
        assert (await end_of(jobs, job)).status is JobState.COMPLETED


async def test_a_job_that_vanished_without_record_is_never_completed(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.begun(jobs)
        scene.mark(job, CLAIMED)
        scene.mark(job, STARTED)
        jobs.look_at(job.unit)
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
async def test_without_a_record_a_job_failed_as_the_journal_says_and_is_never_completed(
    scene: Scene, words: tuple[str, str, str], reason: Reason, status: int | None
) -> None:
    scene.journalled = ExitRecord(*words, INVOCATION, now())
    async with driving(scene.jobs()) as jobs:
        job = await scene.begun(jobs)
        scene.mark(job, CLAIMED)
        scene.mark(job, STARTED)
        jobs.look_at(job.unit)
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason, ended.exit_status) == (JobState.FAILED, reason, status)
    assert ended.invocation_id == INVOCATION


async def test_without_a_record_a_job_that_was_stopped_is_not_tried_again(soon: Scene) -> None:
    soon.journalled = ExitRecord("success", "-", "-", INVOCATION, now())
    async with driving(soon.jobs()) as jobs:
        job = await soon.begun(jobs, max_attempts=3)
        for mark, text in ((CLAIMED, ""), (STARTED, ""), (STOPPING, "success")):
            soon.mark(job, mark, text)
        jobs.look_at(job.unit)
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason, ended.attempt) == (JobState.CANCELLED, Reason.STOPPED, 1)


async def test_a_job_of_an_earlier_boot_is_interrupted_and_not_started_again(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.begun(jobs)
    scene.units.identity = "boot:2"
    async with driving(scene.jobs()) as jobs:
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason) == (JobState.FAILED, Reason.INTERRUPTED)
    assert scene.units.started == [job.unit]


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_script_that_began_before_a_boot_was_interrupted(scene: Scene, cancelled: bool) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.begun(jobs)
        scene.mark(job, STARTED)  # the claim went with the boot
        scene.units.states[job.unit] = UnitState(active_state="active")
        if cancelled:
            await jobs.cancel(job.job_id)
    scene.units.identity, scene.units.states = "boot:2", {}
    async with driving(scene.jobs()) as jobs:
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason) == (JobState.FAILED, Reason.INTERRUPTED)
    assert ended.message == "The host went down while the job ran."


async def test_the_claim_of_an_attempt_that_is_over_stays_on_disk_and_not_in_memory(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.begun(jobs)
        for mark in (CLAIMED, STARTED):
            scene.mark(job, mark)
        scene.mark(job, ENDED, f"success exited 0 {INVOCATION}")
        jobs.look_at(job.unit)
        await end_of(jobs, job)
    claimed = attempt_of(scene.settings, job) / CLAIMED
    assert claimed.is_file()
    assert not claimed.is_symlink()
    assert list((scene.settings.runtime_directory / "ml-agent/claims").iterdir()) == []


async def test_a_reload_in_the_middle_of_a_look_interrupts_nothing(scene: Scene) -> None:
    jobs = scene.jobs()
    scene.units.while_looked_at = lambda: None if scene.units.started else jobs.look_at(None)
    async with driving(jobs):
        job = await scene.begun(jobs)
        assert (await jobs.get(job.job_id)).status is JobState.CREATED


async def test_a_job_stopped_with_its_host_was_interrupted_and_one_stopped_by_hand_was_not(
    scene: Scene,
) -> None:
    async with driving(scene.jobs()) as jobs:
        for stopping, status, reason in (
            (False, JobState.CANCELLED, Reason.STOPPED),
            (True, JobState.FAILED, Reason.INTERRUPTED),
        ):
            job = await scene.begun(jobs)
            scene.units.stopping = stopping
            for mark, text in ((CLAIMED, ""), (STARTED, ""), (STOPPING, "success")):
                scene.mark(job, mark, text)
            scene.mark(job, ENDED, f"success exited 143 {INVOCATION}")
            jobs.look_at(job.unit)
            ended = await end_of(jobs, job)
            assert (ended.status, ended.reason) == (status, reason)


async def test_a_start_that_systemd_refuses_fails_the_job_in_systemds_words_and_bars_the_unit(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "LOOK_DELAY", 0.01)
    scene.units.refuses = NoSuchUnitError(Problem.HOST, "Unit is masked.")
    async with driving(scene.jobs()) as jobs:
        job = await jobs.submit("alice", JobRequest(script_name="succeed.py"))
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason) == (JobState.FAILED, Reason.START_FAILED)
    assert "Unit is masked." in (ended.message or "")
    assert (attempt_of(scene.settings, job) / CLAIMED).exists()


async def test_a_job_that_is_stopped_by_hand_before_it_began_is_not_started_again(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.begun(jobs)
        scene.units.calls_off.add(job.unit)
        jobs.look_at(job.unit)
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason) == (JobState.CANCELLED, Reason.STOPPED)
    assert scene.units.started == [job.unit]


async def test_a_shutdown_that_calls_a_waiting_start_off_interrupts_the_job(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.begun(jobs)
        scene.units.calls_off.add(job.unit)
        scene.units.stopping = True
        jobs.look_at(job.unit)
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason) == (JobState.FAILED, Reason.INTERRUPTED)


async def test_a_damaged_exit_record_is_none_and_never_a_reason_to_begin_anew(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.begun(jobs)
        scene.mark(job, ENDED, " " * 1024)
        scene.mark(job, OVER, " " * 1024)
        jobs.look_at(job.unit)
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason) == (JobState.FAILED, Reason.INTERRUPTED)
    assert scene.units.started == [job.unit]


async def test_a_start_that_waits_in_systemds_queue_is_not_asked_for_again(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.begun(jobs)
        scene.units.states[job.unit] = UnitState(queued=True)
        for _ in range(10):
            jobs.look_at(job.unit)
            await asyncio.sleep(0.01)
        assert scene.units.started == [job.unit]
        assert (await jobs.get(job.job_id)).invocation_id is None


@pytest.mark.parametrize("problem", [Problem.CONFIGURATION, Problem.SECRET_MISSING])
async def test_a_unit_that_cannot_be_compiled_fails_the_job_and_says_why(
    scene: Scene, problem: Problem
) -> None:
    scene.compiler.refuses = AgentError(problem, "The drop-in is no good.")
    async with driving(scene.jobs()) as jobs:
        job = await jobs.submit("alice", JobRequest(script_name="succeed.py"))
        ended = await end_of(jobs, job)
    assert (ended.reason, ended.message) == (Reason.START_FAILED, "The drop-in is no good.")


@pytest.mark.parametrize(
    "error",
    [
        OSError("disk"),
        AgentError(Problem.STORAGE_FULL, "full"),
        AgentError(Problem.HOST, "no answer"),
        KeyError("x"),
    ],
)
async def test_an_error_that_is_not_the_jobs_fault_is_tried_again_and_ends_nobody(
    scene: Scene, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "LOOK_DELAY", 0.01)
    scene.compiler.refuses = error
    async with driving(scene.jobs()) as jobs:
        job = await jobs.submit("alice", JobRequest(script_name="succeed.py"))
        await asyncio.sleep(0.2)
        scene.compiler.refuses = None

        async def asked() -> list[str]:
            return scene.units.started

        await until(asked)
        assert (await jobs.get(job.job_id)).status is JobState.CREATED


async def test_client_values_reach_the_jobs_input_file_and_nothing_else(scene: Scene) -> None:
    values = {"a": '$(id) %n \\x41 "; [Service]', "b": "ä\u202e"}
    async with driving(scene.jobs()) as jobs:
        job = await jobs.submit("alice", JobRequest(script_name="succeed.py", hyperparameters=values))

        async def asked() -> list[str]:
            return scene.units.started

        await until(asked)
    directory = attempt_of(scene.settings, job)
    assert '"hyperparameters"' in (directory / "input/job.json").read_text()
    (plan,) = scene.compiler.plans
    assert not any(value in repr(plan) for value in values.values())


async def test_who_waits_for_a_change_is_told_of_the_end(scene: Scene) -> None:
    jobs = scene.jobs()
    job = await jobs.submit("alice", JobRequest(script_name="succeed.py"))
    waiting = [asyncio.create_task(jobs.changed(job)) for _ in range(3)]
    await asyncio.sleep(0)
    await jobs.cancel(job.job_id)
    assert {(await task).status for task in waiting} == {JobState.CANCELLED}
    assert (await jobs.changed(job)).status is JobState.CANCELLED
    assert jobs._waiters == {}


# --- attempts -----------------------------------------------------------------------------------------


@pytest.fixture
def soon(scene: Scene) -> Scene:
    """A scene whose jobs are tried again at once."""
    jobs = scene.settings.jobs.model_copy(update={"retry_delay_seconds": 0.01})
    scene.settings = scene.settings.model_copy(update={"jobs": jobs})
    return scene


async def starts_again(scene: Scene, jobs: Jobs, job: Job, times: int = 2) -> Job:
    """The job when systemd was asked so often to start it."""

    async def asked() -> bool:
        return scene.units.started.count(job.unit) == times

    await until(asked)
    return await jobs.get(job.job_id)


def fail(scene: Scene, job: Job, words: str = "exit-code exited 3", invocation: str = INVOCATION) -> None:
    """Leaves the marks of a job that ran and failed."""
    for mark in (CLAIMED, STARTED):
        scene.mark(job, mark)
    scene.mark(job, ENDED, f"{words} {invocation}")


async def test_a_job_is_tried_again_for_a_reason_that_was_given_and_ends_once(soon: Scene) -> None:
    async with driving(soon.jobs()) as jobs:
        job = await soon.begun(jobs, max_attempts=2, retry_on=[Reason.EXIT_CODE])
        fail(soon, job)
        jobs.look_at(job.unit)
        second = await starts_again(soon, jobs, job)
        assert (second.status, second.attempt, second.not_before) == (JobState.CREATED, 2, None)
        assert (second.reason, second.exit_status, second.invocation_id) == (None, None, None)
        fail(soon, second, "success exited 0", "f" * 32)
        jobs.look_at(job.unit)
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason, ended.attempt, ended.exit_status) == (JobState.COMPLETED, None, 2, 0)
    assert [(each.number, each.reason, each.exit_status, each.invocation_id) for each in ended.attempts] == [
        (1, Reason.EXIT_CODE, 3, INVOCATION),
        (2, None, 0, "f" * 32),
    ]
    assert [plan.directory.name for plan in soon.compiler.plans] == ["1", "2"]
    assert soon.units.forgotten == [job.unit]


async def test_the_last_attempts_end_is_the_jobs(soon: Scene) -> None:
    async with driving(soon.jobs()) as jobs:
        job = await soon.begun(jobs, max_attempts=3, retry_on=[Reason.EXIT_CODE])
        for number in (1, 2, 3):
            fail(soon, await starts_again(soon, jobs, job, number))
            jobs.look_at(job.unit)
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason, ended.attempt) == (JobState.FAILED, Reason.EXIT_CODE, 3)
    assert [each.number for each in ended.attempts] == [1, 2, 3]


@pytest.mark.parametrize(
    ("fields", "words", "reason"),
    [
        ({}, "exit-code exited 3", Reason.EXIT_CODE),
        ({"max_attempts": 3}, "exit-code exited 3", Reason.EXIT_CODE),
        ({"max_attempts": 3, "retry_on": ["exit-code"]}, "timeout exited 143", Reason.TIMEOUT),
        ({"max_attempts": 3}, "success exited 0", None),
    ],
)
async def test_a_job_that_did_not_ask_for_it_is_not_tried_again(
    soon: Scene, fields: dict[str, Any], words: str, reason: Reason | None
) -> None:
    async with driving(soon.jobs()) as jobs:
        job = await soon.begun(jobs, **fields)
        fail(soon, job, words)
        jobs.look_at(job.unit)
        ended = await end_of(jobs, job)
    assert (ended.reason, ended.attempt, len(ended.attempts)) == (reason, 1, 1)


async def test_what_somebody_stopped_is_not_tried_again(soon: Scene) -> None:
    everything = list(get_args(RetryReason))
    async with driving(soon.jobs()) as jobs:
        for cancel, reason in ((True, Reason.CANCELLED), (False, Reason.STOPPED)):
            job = await soon.begun(jobs, max_attempts=3, retry_on=everything)
            soon.mark(job, STOPPING, "success")
            fail(soon, job, "success exited 143")
            if cancel:
                await jobs.cancel(job.job_id)
            jobs.look_at(job.unit)
            ended = await end_of(jobs, job)
            assert (ended.status, ended.reason, ended.attempt) == (JobState.CANCELLED, reason, 1)


async def test_a_job_that_waits_to_be_tried_again_says_so_gives_its_room_back_and_can_be_cancelled(
    scene: Scene,
) -> None:
    scene.settings = make_settings(
        scene.settings.state_directory.parent / "small",
        runtime=scene.settings.runtime_directory,
        repository=scene.settings.scripts.repository,
        max_running=1,
    )
    async with driving(scene.jobs()) as jobs:
        job = await scene.begun(jobs, max_attempts=2, retry_on=[Reason.EXIT_CODE])
        fail(scene, job)
        jobs.look_at(job.unit)
        waiting = await jobs.changed(await jobs.get(job.job_id))
        assert (waiting.status, waiting.attempt) == (JobState.PENDING, 2)
        assert waiting.queue is not None
        assert waiting.queue.waits_for.startswith("its next attempt, at the earliest at 2")
        other = await scene.begun(jobs)
        assert (await jobs.artifacts(waiting)).artifacts == []
        cancelled = await jobs.cancel(job.job_id)
        assert (cancelled.status, cancelled.reason) == (JobState.CANCELLED, Reason.CANCELLED)
        assert (cancelled.attempt, len(cancelled.attempts), cancelled.not_before) == (2, 1, None)
        assert scene.units.started == [job.unit, other.unit]


async def test_a_back_off_outlives_the_agent(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.begun(jobs, max_attempts=2, retry_on=[Reason.EXIT_CODE])
        fail(scene, job)
        jobs.look_at(job.unit)
        waiting = await jobs.changed(await jobs.get(job.job_id))
    async with driving(scene.jobs()) as jobs:
        await asyncio.sleep(0.05)
        assert await jobs.get(job.job_id) == waiting
        assert waiting.not_before is not None
        assert scene.units.started == [job.unit]


async def test_what_is_left_of_the_attempt_before_is_not_taken_for_the_next(soon: Scene) -> None:
    async with driving(soon.jobs()) as jobs:
        job = await soon.begun(jobs, max_attempts=2, retry_on=[Reason.EXIT_CODE])
        soon.units.states[job.unit] = UnitState("deactivating", invocation_id=INVOCATION)
        fail(soon, job)
        jobs.look_at(job.unit)

        async def admitted() -> bool:
            known = await jobs.get(job.job_id)
            return (known.status, known.attempt) == (JobState.CREATED, 2)

        await until(admitted)
        await asyncio.sleep(0.05)
        assert soon.units.started == [job.unit]
        assert (await jobs.get(job.job_id)).invocation_id is None
        soon.units.states[job.unit] = UnitState("failed", invocation_id=INVOCATION)
        jobs.look_at(job.unit)
        await starts_again(soon, jobs, job)


async def test_a_job_that_the_host_took_down_is_tried_again_after_the_boot(soon: Scene) -> None:
    async with driving(soon.jobs()) as jobs:
        job = await soon.begun(jobs, max_attempts=2)
        soon.mark(job, CLAIMED)
        soon.mark(job, STARTED)
    soon.units.identity = "boot:2"
    async with driving(soon.jobs()) as jobs:
        second = await starts_again(soon, jobs, job)
    assert [each.reason for each in second.attempts] == [Reason.INTERRUPTED]
    assert await soon.store.manager_of(job.job_id) == "boot:2"


async def test_a_host_that_goes_down_takes_one_attempt_and_not_the_next_as_well(
    soon: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "LOOK_DELAY", 0.01)
    async with driving(soon.jobs()) as jobs:
        job = await soon.begun(jobs, max_attempts=2)
        soon.units.stopping = True
        soon.mark(job, STOPPING, "success")
        fail(soon, job, "success exited 143")
        jobs.look_at(job.unit)

        async def waits() -> bool:
            return (await jobs.get(job.job_id)).attempt == 2

        await until(waits)
        await asyncio.sleep(0.1)
        assert (await jobs.get(job.job_id)).status is JobState.PENDING
    soon.units.stopping, soon.units.identity = False, "boot:2"
    async with driving(soon.jobs()) as jobs:
        assert (await starts_again(soon, jobs, job)).attempt == 2


async def test_each_attempts_use_is_charged_once(soon: Scene) -> None:
    charged: list[float] = []
    update_job = soon.store.update_job

    async def noted(changed: Job, **options: Any) -> bool:
        if options["use"] is not None:
            charged.append(options["use"].seconds)
        return await update_job(changed, **options)

    soon.store.update_job = noted  # type: ignore[method-assign]
    async with driving(soon.jobs()) as jobs:
        job = await soon.begun(jobs, max_attempts=2, retry_on=[Reason.EXIT_CODE])
        for number in (1, 2):
            fail(soon, await starts_again(soon, jobs, job, number))
            jobs.look_at(job.unit)
        await end_of(jobs, job)
    assert len(charged) == 2
    assert charged[1] == pytest.approx(2 * charged[0], rel=0.01)


# --- what a job takes of the disk -----------------------------------------------------------------------


async def ends_for_its_quota(scene: Scene, jobs: Jobs, job: Job) -> None:
    """The unit of a job that is ended, from SIGTERM to its record."""

    async def stopped() -> bool:
        jobs.look_at(job.unit)
        return job.unit in scene.units.stopped

    await until(stopped)
    assert scene.podman.killed == []
    scene.mark(job, STOPPING, "success")
    scene.units.states[job.unit] = UnitState("deactivating", invocation_id=INVOCATION)

    async def killed() -> bool:
        jobs.look_at(job.unit)
        return f"ml-job-{job.job_id}" in scene.podman.killed

    await until(killed)
    scene.mark(job, ENDED, f"exit-code exited 137 {INVOCATION}")
    scene.units.states.pop(job.unit)
    jobs.look_at(job.unit)
    ended = await end_of(jobs, job)
    assert (ended.status, ended.reason, ended.message) == (
        JobState.FAILED,
        Reason.ARTIFACT_QUOTA,
        "It took too much.",
    )


async def runs(scene: Scene, jobs: Jobs) -> Job:
    job = await scene.begun(jobs)
    for mark in (CLAIMED, STARTED):
        scene.mark(job, mark)
    scene.units.states[job.unit] = UnitState("active", invocation_id=INVOCATION)

    async def running() -> bool:
        jobs.look_at(job.unit)
        return (await jobs.get(job.job_id)).status is JobState.RUNNING

    await until(running)
    return job


async def test_a_job_that_takes_too_much_is_stopped_killed_and_says_why(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await runs(scene, jobs)
        jobs.end(job, Reason.ARTIFACT_QUOTA, "It took too much.")
        jobs.end(job, Reason.ARTIFACT_QUOTA, "It took still more.")
        await ends_for_its_quota(scene, jobs, job)


async def test_a_later_agent_goes_on_ending_a_job_that_takes_too_much(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await runs(scene, jobs)
    jobs.end(job, Reason.ARTIFACT_QUOTA, "It took too much.")
    scene.units.stopped.clear()
    async with driving(scene.jobs()) as later:
        await ends_for_its_quota(scene, later, job)


async def test_what_an_earlier_attempt_took_ends_no_later_one(soon: Scene) -> None:
    async with driving(soon.jobs()) as jobs:
        job = await soon.begun(jobs, max_attempts=2, retry_on=[Reason.EXIT_CODE])
        fail(soon, job)
        jobs.look_at(job.unit)
        second = await starts_again(soon, jobs, job)
        jobs.end(job, Reason.ARTIFACT_QUOTA, "It took too much.")
        assert not (attempt_of(soon.settings, second) / OVER).exists()


async def test_a_job_does_not_begin_while_there_is_too_little_room_and_does_when_there_is(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "LOOK_DELAY", 0.01)
    disk = shutil.disk_usage(scene.settings.state_directory)
    floor = {"min_free_bytes": disk.total}
    little = scene.settings.model_copy(update={"jobs": scene.settings.jobs.model_copy(update=floor)})
    enough, scene.settings = scene.settings, little
    async with driving(scene.jobs()) as jobs:
        job = await jobs.submit("alice", JobRequest(script_name="succeed.py"))
        await asyncio.sleep(0.1)
        assert (await jobs.get(job.job_id)).status is JobState.PENDING
        jobs._settings = enough

        async def asked() -> bool:
            return job.unit in scene.units.started

        await until(asked)


# --- a real host --------------------------------------------------------------------------------------


@dataclass
class Host:
    """An agent's parts on the real host, without HTTP."""

    settings: Settings
    jobs: Jobs
    submitted: list[Job]

    async def submit(self, script_name: str, **fields: Any) -> Job:
        job = await self.jobs.submit("alice", JobRequest(script_name=script_name, **fields))
        self.submitted.append(job)
        return job

    async def end_of(self, job: Job) -> Job:
        async with asyncio.timeout(60):
            await self.jobs.ended(job)
        return await self.jobs.get(job.job_id)

    async def running(self, job: Job) -> Job:
        """The job once its script has begun, and the record says so."""

        async def begun() -> bool:
            known = (await self.jobs.get(job.job_id)).status is JobState.RUNNING
            return known and ("begun", LogSource.JOB) in await self.log(job)

        await until(begun)
        return await self.jobs.get(job.job_id)

    async def has_no_container(self, job: Job) -> None:
        """Returns when nothing of the job's container is left: the exit record comes before that."""

        async def gone() -> bool:
            return job.job_id not in await run("podman", "ps", "--all", "--format={{.Names}}")

        await until(gone)

    async def log(self, job: Job) -> list[tuple[str, LogSource]]:
        return await lines_of(Journal().history(job.unit, LineNumbering(Position())))

    async def whole_log(self, job: Job) -> list[tuple[str, LogSource]]:
        return await lines_of(Journal().rest(job.unit, LineNumbering(Position())))


async def lines_of(batches: AsyncIterator[list[Item]]) -> list[tuple[str, LogSource]]:
    return [
        (item.text.decode(), item.source)
        async for items in batches
        for item in items
        if isinstance(item, Line)
    ]


@contextlib.asynccontextmanager
async def real_parts(settings: Settings) -> AsyncIterator[Jobs]:
    units = Units(f"unix:path={settings.runtime_directory}/bus")
    async with Store.open(settings.database) as store, Podman(settings.podman_socket) as podman:
        jobs = Jobs(
            settings=settings,
            store=store,
            snapshots=Snapshots(
                settings.scripts.repository, "scripts", settings.state_directory / "snapshots"
            ),
            podman=podman,
            compiler=Compiler(
                shipped("quadlets") / TEMPLATE,
                settings.policy_directories,
                settings.state_directory / "scratch",
            ),
            units=units,
            hooks=shipped("units"),
        )
        bus = asyncio.create_task(units.run(jobs.look_at))
        try:
            async with driving(jobs):
                yield jobs
        finally:
            bus.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await bus


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    await asyncio.to_thread(import_image)
    make_repository(tmp_path / "repository")
    settings = make_settings(tmp_path, runtime=Path(os.environ["XDG_RUNTIME_DIR"]))
    submitted: list[Job] = []
    async with real_parts(settings) as jobs:
        yield Host(settings, jobs, submitted)
    for job in submitted:
        await run("systemctl", "--user", "stop", job.unit, check=False)
        await run("systemctl", "--user", "reset-failed", job.unit, check=False)
        (settings.runtime_directory / "systemd/user" / job.unit).unlink(missing_ok=True)


@pytest.mark.host
async def test_a_job_that_succeeds_leaves_its_log_its_artifacts_and_no_container(host: Host) -> None:
    job = await host.submit("succeed.py")
    ended = await host.end_of(job)
    assert (ended.status, ended.reason, ended.exit_status) == (JobState.COMPLETED, None, 0)
    assert ended.started_at is not None
    assert ended.finished_at is not None
    assert ended.created_at <= ended.started_at <= ended.finished_at
    log = await host.whole_log(job)
    assert ("hello", LogSource.JOB) in log
    manifest = await host.jobs.artifacts(ended)
    assert [(artifact.path, artifact.size) for artifact in manifest.artifacts] == [("result.txt", 7)]
    assert manifest.complete
    await host.has_no_container(job)


@pytest.mark.host
@pytest.mark.parametrize(
    ("script", "reason", "status"),
    [("fail.py", Reason.EXIT_CODE, 3), ("crash.py", Reason.SIGNAL, 128 + signal.SIGSEGV)],
)
async def test_a_job_that_fails_says_how(host: Host, script: str, reason: Reason, status: int) -> None:
    ended = await host.end_of(await host.submit(script))
    assert (ended.status, ended.reason, ended.exit_status) == (JobState.FAILED, reason, status)


@pytest.mark.host
async def test_a_job_past_its_run_time_is_ended(host: Host) -> None:
    ended = await host.end_of(await host.submit("run.py", limits=RequestedLimits(run_time_seconds=1)))
    assert (ended.status, ended.reason) == (JobState.FAILED, Reason.TIMEOUT)


@pytest.mark.host
async def test_a_job_whose_image_is_missing_fails_to_start_with_podmans_words_in_its_log(host: Host) -> None:
    host.jobs._settings = host.settings.model_copy(
        update={"jobs": host.settings.jobs.model_copy(update={"image": "localhost/absent:latest"})}
    )
    job = await host.submit("succeed.py")
    ended = await host.end_of(job)
    assert (ended.status, ended.reason) == (JobState.FAILED, Reason.START_FAILED)
    lines = await host.whole_log(job)
    assert any("localhost/absent" in text and source is LogSource.SYSTEM for text, source in lines)


@pytest.mark.host
async def test_a_running_job_is_known_by_its_container_and_ends_when_it_is_cancelled(host: Host) -> None:
    job = await host.submit("run.py")
    running = await host.running(job)
    assert (running.status, len(running.container_id)) == (JobState.RUNNING, 64)
    assert running.container_id == await run("podman", "inspect", "--format={{.Id}}", f"ml-job-{job.job_id}")
    await host.jobs.cancel(job.job_id)
    ended = await host.end_of(job)
    assert (ended.status, ended.reason) == (JobState.CANCELLED, Reason.CANCELLED)
    await host.has_no_container(job)


@pytest.mark.host
async def test_a_job_that_is_cancelled_while_it_starts_is_cancelled(host: Host) -> None:
    for pause in (0.0, 0.05, 0.1, 0.15, 0.2, 0.3):
        job = await host.submit("run.py")
        await asyncio.sleep(pause)
        await host.jobs.cancel(job.job_id)
        ended = await host.end_of(job)
        assert (ended.status, ended.reason) == (JobState.CANCELLED, Reason.CANCELLED)
        await host.has_no_container(job)


@pytest.mark.host
async def test_an_image_that_is_built_anew_leaves_waiting_jobs_and_reruns_theirs(tmp_path: Path) -> None:
    await asyncio.to_thread(import_image)
    make_repository(tmp_path / "repository")
    settings = make_settings(tmp_path, runtime=Path(os.environ["XDG_RUNTIME_DIR"]), max_running=1)
    name = f"localhost/ml-agent-test-rebuilt:{new_job_id()}"
    settings = settings.model_copy(update={"jobs": settings.jobs.model_copy(update={"image": name})})

    async def build(label: str) -> None:
        (tmp_path / "Containerfile").write_text(f"FROM {IMAGE}\nLABEL built={label}\n")
        await run("podman", "build", "--quiet", f"--tag={name}", str(tmp_path))

    await build("first")
    submitted: list[Job] = []
    async with real_parts(settings) as jobs:
        host = Host(settings, jobs, submitted)
        ended = await host.end_of(await host.submit("succeed.py"))
        running = await host.running(await host.submit("run.py"))
        waiting = await host.submit("succeed.py")
        await build("second")
        again = await jobs.rerun("alice", ended, Rerun())
        newer = await host.submit("succeed.py")
        await jobs.cancel(running.job_id)
        for job in (waiting, again, newer):
            assert (await host.end_of(job)).status is JobState.COMPLETED
        assert ended.image_digest == waiting.image_digest == again.image_digest != newer.image_digest
    images = await run("podman", "images", "--quiet", "--no-trunc", name.partition(":")[0])
    await run("podman", "rmi", "--force", *set(images.split()))


@pytest.mark.host
async def test_a_unit_that_is_stopped_while_it_waits_in_the_queue_never_begins(host: Host) -> None:
    blocker = f"ml-agent-test-{new_job_id()}.service"
    drop_in = host.settings.policy_directories[0] / "ml-job@.container.d/20-wait.conf"
    drop_in.write_text(f"[Unit]\nAfter={blocker}\n")
    command = ("systemd-run", "--user", "--no-block", "--collect", f"--unit={blocker}")
    await run(*command, "--property=Type=oneshot", "--property=TimeoutStartSec=60", "sleep", "50")
    try:
        job = await host.submit("succeed.py")

        async def queued() -> bool:
            return job.unit in await run("systemctl", "--user", "list-jobs", "--no-legend", "--plain")

        await until(queued)
        await run("systemctl", "--user", "stop", job.unit)
        ended = await host.end_of(job)
    finally:
        await run("systemctl", "--user", "stop", blocker, check=False)
    assert (ended.status, ended.reason) == (JobState.CANCELLED, Reason.STOPPED)
    assert ("succeed", LogSource.JOB) not in await host.log(ended)


@pytest.mark.host
async def test_a_job_that_ignores_sigterm_is_killed_after_its_grace(host: Host) -> None:
    job = await host.submit("ignore.py")
    await host.running(job)
    await host.jobs.cancel(job.job_id)
    ended = await host.end_of(job)
    assert (ended.status, ended.reason) == (JobState.CANCELLED, Reason.CANCELLED)
    await host.has_no_container(job)


@pytest.mark.host
async def test_a_job_that_an_operator_stops_while_it_starts_was_stopped(host: Host) -> None:
    for pause in (0.02, 0.05, 0.1, 0.15):
        job = await host.submit("run.py")
        mark = attempt_of(host.settings, job) / CLAIMED

        async def claimed(mark: Path = mark) -> bool:
            return mark.exists()

        await until(claimed)
        await asyncio.sleep(pause)
        await run("systemctl", "--user", "stop", job.unit)
        ended = await host.end_of(job)
        assert (ended.status, ended.reason) == (JobState.CANCELLED, Reason.STOPPED)
        await host.has_no_container(job)


@pytest.mark.host
async def test_a_job_that_an_operator_stops_was_stopped(host: Host) -> None:
    job = await host.submit("run.py")
    await host.running(job)
    await run("systemctl", "--user", "stop", job.unit)
    ended = await host.end_of(job)
    assert (ended.status, ended.reason) == (JobState.CANCELLED, Reason.STOPPED)


@pytest.mark.host
async def test_a_unit_runs_once_however_often_it_is_started(host: Host) -> None:
    job = await host.submit("count.py")
    ended = await host.end_of(job)
    for _ in range(3):
        await run("systemctl", "--user", "start", job.unit)
    assert (host.jobs.artifacts_directory(job) / "runs").read_text() == "once\n"
    assert await host.jobs.get(job.job_id) == ended


@pytest.mark.host
async def test_a_job_that_was_cancelled_before_it_began_cannot_be_started_by_hand(host: Host) -> None:
    job = await host.submit("count.py")
    await host.jobs.cancel(job.job_id)
    await host.end_of(job)
    await run("systemctl", "--user", "start", job.unit, check=False)
    assert not (host.jobs.artifacts_directory(job) / "runs").exists()


@pytest.mark.host
async def test_a_job_that_hides_its_artifacts_ends_all_the_same(host: Host) -> None:
    ended = await host.end_of(await host.submit("hide.py"))
    assert ended.status is JobState.COMPLETED
    assert (await host.jobs.artifacts(ended)).artifacts == []
    host.jobs.artifacts_directory(ended).chmod(0o700)


@pytest.mark.host
async def test_a_restarted_bus_and_a_reexecuted_manager_lose_no_outcome(host: Host) -> None:
    jobs = [await host.submit("run.py", limits=RequestedLimits(run_time_seconds=4)) for _ in range(2)]
    for job in jobs:
        await host.running(job)
    await run("systemctl", "--user", "daemon-reexec")
    await run("systemctl", "--user", "restart", "dbus.service")
    jobs.append(await host.submit("succeed.py"))
    await run("systemctl", "--user", "daemon-reexec")
    ends = [await host.end_of(job) for job in jobs]
    assert [end.reason for end in ends] == [Reason.TIMEOUT, Reason.TIMEOUT, None]


@pytest.mark.host
async def test_limits_are_properties_of_the_unit(host: Host) -> None:
    limits = RequestedLimits(memory_bytes=32 * 2**20, cpus=0.5, tasks=50, run_time_seconds=30)
    job = await host.submit("run.py", limits=limits)
    await host.running(job)
    names = ("MemoryMax", "CPUQuotaPerSecUSec", "TasksMax", "RuntimeMaxUSec", "Slice", "OOMPolicy")
    shown = await run("systemctl", "--user", "show", job.unit, *(f"--property={name}" for name in names))
    assert dict(line.split("=") for line in shown.splitlines()) == {
        "MemoryMax": str(32 * 2**20),
        "CPUQuotaPerSecUSec": "500ms",
        "TasksMax": "50",
        "RuntimeMaxUSec": "30s",
        "Slice": "ml-jobs.slice",
        "OOMPolicy": "kill",
    }
    await host.jobs.cancel(job.job_id)
    await host.end_of(job)


@pytest.mark.host
async def test_each_attempt_is_an_invocation_with_artifacts_of_its_own_in_one_log(host: Host) -> None:
    jobs = host.settings.jobs.model_copy(update={"retry_delay_seconds": 0.1})
    host.jobs._schedule._settings = jobs
    job = await host.submit("again.py", max_attempts=3, retry_on=[Reason.EXIT_CODE])
    # What a container leaves that was killed with all around it does not keep the next one from starting.
    cid_file = host.settings.runtime_directory / f"ml-job@{job.job_id}.cid"

    async def second() -> bool:
        return (await host.jobs.get(job.job_id)).attempt == 2

    await until(second)
    cid_file.write_text("0" * 64)
    ended = await host.end_of(job)
    assert (ended.status, ended.reason, ended.exit_status) == (JobState.FAILED, Reason.EXIT_CODE, 3)
    assert [(each.number, each.reason) for each in ended.attempts] == [
        (1, Reason.EXIT_CODE),
        (2, Reason.EXIT_CODE),
        (3, Reason.EXIT_CODE),
    ]
    invocations = {each.invocation_id for each in ended.attempts}
    assert len(invocations) == 3
    attempts = host.jobs.artifacts_directory(ended).parent.parent
    for number in (1, 2, 3):
        assert (attempts / str(number) / "artifacts/runs").read_text() == "once\n"
    log = await host.whole_log(job)
    assert log.count(("trying", LogSource.JOB)) == 3
    await host.has_no_container(job)


@pytest.mark.host
async def test_an_operators_stop_ends_a_job_that_has_attempts_left(host: Host) -> None:
    job = await host.submit("run.py", max_attempts=3)
    await host.running(job)
    await run("systemctl", "--user", "stop", job.unit)
    ended = await host.end_of(job)
    assert (ended.status, ended.reason, ended.attempt) == (JobState.CANCELLED, Reason.STOPPED, 1)


@pytest.mark.host
@pytest.mark.parametrize(
    ("script", "reason", "status"),
    [
        ("fail.py", Reason.EXIT_CODE, 3),
        ("crash.py", Reason.SIGNAL, 128 + signal.SIGSEGV),
        ("run.py", Reason.TIMEOUT, 128 + signal.SIGTERM),
        ("succeed.py", Reason.INTERRUPTED, None),
    ],
)
async def test_without_a_record_the_journal_says_how_a_job_failed(
    host: Host, tmp_path: Path, script: str, reason: Reason, status: int | None
) -> None:
    hooks = tmp_path / "hooks"
    shutil.copytree(host.jobs._hooks, hooks)
    (hooks / "ml-job-ended").write_text("#!/bin/sh\nexit 1\n")
    host.jobs._hooks = hooks
    ended = await host.end_of(await host.submit(script, limits=RequestedLimits(run_time_seconds=2)))
    assert (ended.status, ended.reason, ended.exit_status) == (JobState.FAILED, reason, status)
    assert ended.invocation_id is not None
