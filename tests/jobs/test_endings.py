"""Every ending of a job against real systemd, Podman and journald."""

import asyncio
import os
import resource
import shutil
import signal
from pathlib import Path

import pytest

from agent.config import Settings, shipped
from agent.host.tasks import background
from agent.model.base import new_job_id
from agent.model.inputs import RequestedLimits
from agent.model.job import Job, JobState, Reason, Rerun
from agent.model.log import LogSource
from agent.model.paths import CLAIMED
from tests.support.artifacts import list_of
from tests.support.job_host import Host, real_host, real_parts
from tests.support.small_site import IMAGE, import_image, make_repository, make_settings, with_jobs
from tests.support.waiting import run, until


@pytest.mark.host
async def test_a_successful_job_leaves_log_and_artifacts_and_no_container(host: Host) -> None:
    job = await host.submit("succeed.py")
    ended = await host.end_of(job)
    assert (ended.status, ended.reason, ended.exit_status) == (JobState.COMPLETED, None, 0)
    assert ended.started_at is not None
    assert ended.finished_at is not None
    assert ended.created_at <= ended.started_at <= ended.finished_at
    log = await host.whole_log(job)
    assert ("hello", LogSource.JOB) in log
    manifest = await list_of(host.jobs.results, ended)
    assert [(artifact.path, artifact.size) for artifact in manifest.artifacts] == [("result.txt", 7)]
    assert manifest.complete
    await host.has_no_container(job)


@pytest.mark.host
@pytest.mark.parametrize(
    ("script", "reason", "status"),
    [("fail.py", Reason.EXIT_CODE, 3), ("crash.py", Reason.SIGNAL, 128 + signal.SIGSEGV)],
)
async def test_a_failed_job_has_reason_and_exit_status(
    host: Host, script: str, reason: Reason, status: int
) -> None:
    ended = await host.end_of(await host.submit(script))
    assert (ended.status, ended.reason, ended.exit_status) == (JobState.FAILED, reason, status)


@pytest.mark.host
async def test_a_status_that_conmon_cannot_record_is_not_given_as_the_scripts(host: Host) -> None:
    job = await host.submit("wait.py")
    running = await host.running(job)
    # As on a full runtime directory: conmon then exits with 1, whatever the script's status.
    shutil.rmtree(host.settings.runtime_directory / "libpod/tmp/persist" / running.container_id)
    (host.attempt(job).artifacts / "go").touch()
    ended = await host.end_of(job)
    assert (ended.status, ended.reason, ended.exit_status) == (JobState.FAILED, Reason.INTERRUPTED, None)
    journal = await run("journalctl", "--user", "--quiet", "--output=cat", f"--unit={job.unit}")
    assert "Failed to write 0 to container exit file" in journal
    await host.has_no_container(job)


@pytest.mark.host
@pytest.mark.parametrize(
    ("limit", "value"),
    [
        (resource.RLIMIT_NOFILE, 3),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_AS, 0),
        (resource.RLIMIT_NPROC, 0),
    ],
    ids=["files", "size", "memory", "processes"],
)
async def test_what_conmon_lacks_at_the_end_does_not_change_the_outcome(
    host: Host, limit: int, value: int
) -> None:
    async with background(host.jobs.leftovers.run()):
        job = await host.submit("wait.py")
        await host.running(job)
        conmon = int(await run("systemctl", "--user", "show", "--property=MainPID", "--value", job.unit))
        resource.prlimit(conmon, limit, (value, value))
        (host.attempt(job).artifacts / "go").touch()
        ended = await host.end_of(job)
        assert (ended.status, ended.reason, ended.exit_status) in (
            (JobState.COMPLETED, None, 0),
            (JobState.FAILED, Reason.INTERRUPTED, None),
        )
        await host.has_no_container(job)


@pytest.mark.host
async def test_a_job_beyond_its_run_time_is_ended(host: Host) -> None:
    ended = await host.end_of(await host.submit("run.py", limits=RequestedLimits(run_time_seconds=1)))
    assert (ended.status, ended.reason) == (JobState.FAILED, Reason.TIMEOUT)


@pytest.mark.host
async def test_a_job_runs_only_where_its_limits_are_enforced(host_settings: Settings) -> None:
    seen = await run("podman", "info", "--format={{range .Host.CgroupControllers}}{{.}} {{end}}")
    enforced = {"cpu", "memory", "pids"} <= set(seen.split())
    async with real_host(with_jobs(host_settings, unenforced_limits="refuse")) as host:
        ended = await host.end_of(await host.submit("succeed.py"))
        begun = await run("journalctl", "--user", "--quiet", "--output=cat", f"--user-unit={ended.unit}")
    assert ended.status is (JobState.COMPLETED if enforced else JobState.FAILED)
    assert ended.reason is (None if enforced else Reason.START_FAILED)
    assert bool(begun) == enforced


@pytest.mark.host
async def test_a_missing_image_fails_the_start_and_podmans_message_is_in_the_log(
    host_settings: Settings,
) -> None:
    async with real_host(with_jobs(host_settings, image="localhost/absent:latest")) as host:
        job = await host.submit("succeed.py")
        ended = await host.end_of(job)
        assert (ended.status, ended.reason) == (JobState.FAILED, Reason.START_FAILED)
        lines = await host.whole_log(job)
    assert any("localhost/absent" in text and source is LogSource.SYSTEM for text, source in lines)


@pytest.mark.host
async def test_a_running_job_has_a_container_id_and_can_be_cancelled(host: Host) -> None:
    job = await host.submit("run.py")
    running = await host.running(job)
    assert (running.status, len(running.container_id)) == (JobState.RUNNING, 64)
    assert running.container_id == await run("podman", "inspect", "--format={{.Id}}", f"ml-job-{job.job_id}")
    await host.jobs.registry.cancel(job.job_id)
    ended = await host.end_of(job)
    assert (ended.status, ended.reason) == (JobState.CANCELLED, Reason.CANCELLED)
    await host.has_no_container(job)


@pytest.mark.host
async def test_a_job_can_be_cancelled_while_it_starts(host: Host) -> None:
    for pause in (0.0, 0.05, 0.1, 0.15, 0.2, 0.3):
        job = await host.submit("run.py")
        await asyncio.sleep(pause)
        await host.jobs.registry.cancel(job.job_id)
        ended = await host.end_of(job)
        assert (ended.status, ended.reason) == (JobState.CANCELLED, Reason.CANCELLED)
        await host.has_no_container(job)


@pytest.mark.host
async def test_waiting_jobs_and_reruns_keep_their_image_when_it_is_rebuilt(tmp_path: Path) -> None:
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
        again = await jobs.submission.rerun("alice", ended, Rerun())
        newer = await host.submit("succeed.py")
        await jobs.registry.cancel(running.job_id)
        for job in (waiting, again, newer):
            assert (await host.end_of(job)).status is JobState.COMPLETED
        assert ended.image_digest == waiting.image_digest == again.image_digest != newer.image_digest
    images = await run("podman", "images", "--quiet", "--no-trunc", name.partition(":")[0])
    await run("podman", "rmi", "--force", *set(images.split()))


@pytest.mark.host
async def test_a_unit_stopped_in_systemds_queue_never_begins(host: Host) -> None:
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
async def test_a_job_that_ignores_sigterm_is_killed_after_the_grace(host: Host) -> None:
    job = await host.submit("ignore.py")
    await host.running(job)
    await host.jobs.registry.cancel(job.job_id)
    ended = await host.end_of(job)
    assert (ended.status, ended.reason) == (JobState.CANCELLED, Reason.CANCELLED)
    await host.has_no_container(job)


@pytest.mark.host
async def test_an_operators_stop_during_the_start_is_recorded_as_stopped(host: Host) -> None:
    for pause in (0.02, 0.05, 0.1, 0.15):
        job = await host.submit("run.py")
        await until(host.attempt(job).mark(CLAIMED).exists)
        await asyncio.sleep(pause)
        await run("systemctl", "--user", "stop", job.unit)
        ended = await host.end_of(job)
        assert (ended.status, ended.reason) == (JobState.CANCELLED, Reason.STOPPED)
        await host.has_no_container(job)


@pytest.mark.host
async def test_an_operators_stop_is_recorded_as_stopped(host: Host) -> None:
    job = await host.submit("run.py")
    await host.running(job)
    await run("systemctl", "--user", "stop", job.unit)
    ended = await host.end_of(job)
    assert (ended.status, ended.reason) == (JobState.CANCELLED, Reason.STOPPED)


@pytest.mark.host
async def test_a_unit_runs_once_even_if_it_is_started_again(host: Host) -> None:
    job = await host.submit("count.py")
    ended = await host.end_of(job)
    for _ in range(3):
        await run("systemctl", "--user", "start", job.unit)
    assert (host.attempt(job).artifacts / "runs").read_text() == "once\n"
    assert await host.jobs.registry.get(job.job_id) == ended


@pytest.mark.host
async def test_a_cancelled_waiting_job_cannot_be_started_by_hand(host: Host) -> None:
    job = await host.submit("count.py")
    await host.jobs.registry.cancel(job.job_id)
    await host.end_of(job)
    await run("systemctl", "--user", "start", job.unit, check=False)
    assert not (host.attempt(job).artifacts / "runs").exists()


@pytest.mark.host
async def test_a_job_that_closes_its_artifacts_directory_ends_normally(host: Host) -> None:
    ended = await host.end_of(await host.submit("hide.py"))
    assert ended.status is JobState.COMPLETED
    assert (await list_of(host.jobs.results, ended)).artifacts == []
    host.attempt(ended).artifacts.chmod(0o700)


@pytest.mark.host
async def test_no_outcome_is_lost_when_bus_and_manager_restart(host: Host) -> None:
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
async def test_limits_become_properties_of_the_unit(host: Host) -> None:
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
    await host.jobs.registry.cancel(job.job_id)
    await host.end_of(job)


@pytest.mark.host
async def test_attempts_have_own_invocations_and_artifacts_and_share_one_log(
    host_settings: Settings,
) -> None:
    async with real_host(with_jobs(host_settings, retry_delay_seconds=0.1)) as host:
        job = await host.submit("again.py", max_attempts=3, retry_on=[Reason.EXIT_CODE])
        # What a container leaves that was killed with all around it does not keep the next one from starting.
        cid_file = host.settings.paths_of(job.job_id).container_id

        async def second() -> bool:
            return (await host.jobs.registry.get(job.job_id)).attempt == 2

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
        paths = host.settings.paths_of(ended.job_id)
        for number in (1, 2, 3):
            assert (paths.attempt(number).artifacts / "runs").read_text() == "once\n"
        log = await host.whole_log(job)
        assert log.count(("trying", LogSource.JOB)) == 3
        await host.has_no_container(job)


@pytest.mark.host
async def test_an_operators_stop_is_not_retried(host: Host) -> None:
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
async def test_without_an_exit_record_the_journal_tells_how_a_job_failed(
    host_settings: Settings, tmp_path: Path, script: str, reason: Reason, status: int | None
) -> None:
    hooks = tmp_path / "hooks"
    shutil.copytree(shipped("units"), hooks)
    (hooks / "ml-job-ended").write_text("#!/bin/sh\nexit 1\n")
    async with real_host(host_settings, hooks=hooks) as host:
        ended = await host.end_of(await host.submit(script, limits=RequestedLimits(run_time_seconds=2)))
    assert (ended.status, ended.reason, ended.exit_status) == (JobState.FAILED, reason, status)
    assert ended.invocation_id is not None
