"""Containers that outlive their jobs, between stand-ins, and on a real host."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.errors import AgentError
from agent.host.podman import Podman
from agent.host.systemd import UnitState
from agent.host.tasks import background
from agent.jobs import leftovers
from agent.model.base import container_name, new_job_id
from agent.model.job import Job, JobState, Reason
from agent.model.paths import CLAIMED, STARTED, SWEPT
from agent.service import JobParts
from tests.support.job_host import Host
from tests.support.job_scene import FAILURE, INVOCATION, Scene, driving, end_of, starts_again
from tests.support.waiting import run, until


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "START_DELAY", 0.0)
    monkeypatch.setattr(leftovers, "INTERVAL", 0.01)


@contextlib.asynccontextmanager
async def sweeping(jobs: JobParts) -> AsyncIterator[JobParts]:
    """The reconciler, and the removal of leftovers."""
    async with driving(jobs), background(jobs.leftovers.run()):
        yield jobs


def leave(scene: Scene, job: Job, ending: str = "cid") -> Path:
    """A container of the job that its unit has left, with its mark."""
    scene.podman.left.append(container_name(job.job_id))
    mark = scene.settings.runtime_directory / f"ml-job@{job.job_id}.{ending}"
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text("0" * 64)
    return mark


@pytest.mark.parametrize("ending", ["cid", "left"])
async def test_what_a_unit_leaves_is_removed_when_its_job_has_ended(scene: Scene, ending: str) -> None:
    async with sweeping(scene.jobs()) as jobs:
        job = await scene.start(jobs)
        mark = leave(scene, job, ending)
        scene.podman.failures = 1  # as where conmon was killed
        scene.ends(jobs, job, FAILURE)
        await end_of(jobs, job)
        await until(lambda: not mark.exists())
        assert scene.podman.left == []
        assert scene.podman.removals == [container_name(job.job_id)] * 2
        assert jobs.leftovers.idle


async def test_a_removal_that_fails_is_tried_again_and_keeps_the_agent(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    async with sweeping(scene.jobs()) as jobs:
        job = await scene.start(jobs)
        mark = leave(scene, job)
        scene.podman.failures = 7
        scene.ends(jobs, job)
        await end_of(jobs, job)
        assert not jobs.leftovers.idle
        await until(lambda: not mark.exists())
        assert len(scene.podman.removals) == 8
        assert caplog.text.count("its container stays for now: It could not be stopped.") == 3
        assert jobs.leftovers.idle


async def test_a_live_job_keeps_its_container(scene: Scene) -> None:
    async with sweeping(scene.jobs()) as jobs:
        job, other = await scene.start(jobs), await scene.start(jobs)
        marks = [leave(scene, each) for each in (job, other)]
        for mark in (CLAIMED, STARTED):
            scene.mark(job, mark)
        scene.units.states[job.unit] = UnitState("active", invocation_id=INVOCATION)
        # The other one has its record, and its unit still ends.
        scene.units.states[other.unit] = UnitState("deactivating", invocation_id=INVOCATION)
        scene.ends(jobs, other)
        await end_of(jobs, other)
        looks = scene.units.looks
        await until(lambda: scene.units.looks > looks + 5)
        assert all(mark.exists() for mark in marks)
        assert scene.podman.removals == []
        scene.units.states.pop(other.unit)
        await until(lambda: not marks[1].exists())
        assert marks[0].exists()
        assert scene.podman.left == [container_name(job.job_id)]
        assert jobs.leftovers.idle


async def test_the_next_attempt_waits_until_the_container_of_the_last_one_is_gone(soon: Scene) -> None:
    async with driving(soon.jobs()) as jobs:
        job = await soon.start(jobs, max_attempts=2, retry_on=[Reason.EXIT_CODE])
        mark = leave(soon, job)
        soon.ends(jobs, job, FAILURE)
        await starts_again(soon, jobs, job)
        assert soon.podman.left == []
        assert not mark.exists()


async def test_no_attempt_begins_while_the_container_of_the_last_one_is_removed(soon: Scene) -> None:
    async with sweeping(soon.jobs()) as jobs:
        job = await soon.start(jobs, max_attempts=2, retry_on=[Reason.EXIT_CODE])
        leave(soon, job)
        soon.podman.may_remove.clear()
        soon.ends(jobs, job, FAILURE)
        await until(lambda: soon.podman.removals)
        await until(lambda: soon.units.forgotten)  # the next attempt is prepared
        assert soon.units.started == [job.unit]
        soon.podman.may_remove.set()
        await starts_again(soon, jobs, job)
        assert soon.podman.removals == [container_name(job.job_id)]


async def test_after_a_boot_podman_is_asked_once_which_containers_there_are(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        first, second = await scene.start(jobs), await scene.start(jobs)
        for job in (first, second):
            scene.ends(jobs, job)
            await end_of(jobs, job)
    others = [container_name(new_job_id()), "ml-job-warehouse"]  # of another agent, and none of a job's
    left = [container_name(first.job_id), *others]
    scene.podman.left = list(left)
    async with sweeping(scene.jobs()):
        await until(lambda: scene.podman.left == others)
    assert (scene.settings.runtime_directory / SWEPT).exists()
    # The next agent of the same boot looks at the marks alone.
    scene.podman.left = list(left)
    mark = leave(scene, second)
    async with sweeping(scene.jobs()):
        await until(lambda: not mark.exists())
    assert scene.podman.left == left


async def test_containers_are_looked_for_again_at_the_next_start_if_podman_did_not_answer(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.podman.failures = -1
    async with sweeping(scene.jobs()):
        await until(lambda: "looked for at the next start: Podman does not answer." in caplog.text)
    assert not (scene.settings.runtime_directory / SWEPT).exists()


async def test_a_container_that_cannot_be_removed_delays_the_next_attempt(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.start(jobs)
        leave(scene, job)
        scene.podman.failures = 2
        with pytest.raises(AgentError, match="could not be stopped"):
            await jobs.leftovers.clear(job.job_id)
        await jobs.leftovers.clear(job.job_id)
        assert scene.podman.left == []


# --- a real host ----------------------------------------------------------------------------------------


@pytest.mark.host
async def test_a_killed_unit_leaves_no_container_no_secret_and_no_mount(host: Host) -> None:
    async with background(host.jobs.leftovers.run()):
        job = await host.submit("run.py")
        running = await host.running(job)
        storage = Path(await run("podman", "info", "--format={{.Store.GraphRoot}}"))
        container = storage / "overlay-containers" / running.container_id
        assert container.exists()
        mounts = await run("podman", "unshare", "cat", "/proc/self/mountinfo")
        await run("systemctl", "--user", "kill", "--signal=KILL", job.unit)
        ended = await host.end_of(job)
        assert (ended.status, ended.reason) == (JobState.FAILED, Reason.SIGNAL)
        await host.has_no_container(job)
    assert not container.exists()
    after = await run("podman", "unshare", "cat", "/proc/self/mountinfo")
    assert after.count(" - overlay ") == mounts.count(" - overlay ") - 1


CANARY = b"what no file may keep"


@pytest.fixture
async def with_secret(host: Host) -> AsyncIterator[Host]:
    """A host with a secret for `secret.py`, which looks for what jobs leave."""
    async with Podman(host.settings.podman_socket) as podman, background(host.jobs.leftovers.run()):
        await podman.set_secret("canary", None, CANARY)
        yield host
        await podman.remove_secret("canary", None)


async def copies() -> list[str]:
    """The files of Podman's containers that have the secret."""
    storage = Path(await run("podman", "info", "--format={{.Store.GraphRoot}}"))
    found = await run(
        *("podman", "unshare", "grep", "--recursive", "--files-with-matches", "--text", CANARY.decode()),
        str(storage / "overlay-containers"),
        check=False,
    )
    return found.split()


def processes(unit: str, name: str) -> list[int]:
    """The processes of a unit with that name."""
    listed = subprocess.run(
        ["systemctl", "--user", "show", "--property=ControlGroup", "--value", unit],
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[int] = []
    if not (cgroup := listed.stdout.strip()):
        return found
    for each in Path(f"/sys/fs/cgroup{cgroup}").rglob("cgroup.procs"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            pids = each.read_text().split()
            found += [int(pid) for pid in pids if Path(f"/proc/{pid}/comm").read_text().strip() == name]
    return found


@pytest.mark.host
@pytest.mark.parametrize("name", ["conmon", "podman-init", "sh"])
async def test_whichever_process_is_killed_nothing_is_left(with_secret: Host, name: str) -> None:
    host = with_secret
    job = await host.submit("secret.py")
    await host.running(job)
    assert await copies()
    for pid in processes(job.unit, name):
        os.kill(pid, signal.SIGKILL)
    ended = await host.end_of(job)
    assert (ended.status, ended.reason) == (JobState.FAILED, Reason.SIGNAL)
    await host.has_no_container(job)
    assert await copies() == []


@pytest.mark.host
@pytest.mark.timeout(300)
async def test_a_unit_that_is_killed_while_it_starts_leaves_nothing(with_secret: Host) -> None:
    host = with_secret
    for pause in range(12):
        job = await host.submit("secret.py")
        await until(lambda unit=job.unit: processes(unit, "podman"))
        await asyncio.sleep(pause * 0.02)
        await run("systemctl", "--user", "kill", "--signal=KILL", job.unit)
        ended = await host.end_of(job)
        assert ended.status is JobState.FAILED, (pause, ended)
        await host.has_no_container(job)
        await until(lambda: host.jobs.leftovers.idle)
        assert await copies() == []


@pytest.mark.host
async def test_a_killed_job_is_tried_again(host: Host) -> None:
    job = await host.submit("run.py", max_attempts=2, retry_on=[Reason.SIGNAL])
    await host.running(job)
    await run("systemctl", "--user", "kill", "--signal=KILL", job.unit)

    async def again() -> bool:
        known = await host.jobs.registry.get(job.job_id)
        return known.attempt == 2 and known.status is JobState.RUNNING

    await until(again, seconds=60)
    await host.jobs.registry.cancel(job.job_id)
    ended = await host.end_of(job)
    assert [attempt.reason for attempt in ended.attempts] == [Reason.SIGNAL, Reason.CANCELLED]
    await host.has_no_container(job)
