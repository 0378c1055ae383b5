"""Which job is ended when the disk is almost full. tests/security fills a real disk."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.config import Settings
from agent.host.machine import Room
from agent.host.tasks import background
from agent.jobs import guards
from agent.jobs.guards import MIN_GROWTH, DiskGuard
from agent.jobs.quota import Taken
from agent.model.base import now
from agent.model.inputs import Limits
from agent.model.job import Job, JobState, Reason
from tests.support.small_site import make_settings
from tests.support.waiting import until

MIB = 2**20
FLOOR = Room(100 * MIB, 10_000)


class Scene:
    """Running jobs, by number: what each has in /artifacts, and what the kernel counts as written."""

    def __init__(self, directory: Path) -> None:
        self.settings = make_settings(directory, runtime=directory)
        self.free = 200 * MIB
        self.free_files = 20_000
        self.running: list[Job] = []
        self.taken_: dict[str, Taken] = {}
        self.written_: dict[str, int] = {}
        self.ended: list[tuple[str, Reason]] = []

    def run(self, job_id: str) -> None:
        moment = now() + timedelta(seconds=len(self.running))
        self.running.append(
            Job(
                job_id=job_id,
                status=JobState.RUNNING,
                owner="alice",
                script_name="x.py",
                hyperparameters={},
                limits=Limits(),
                commit="",
                script_sha256="",
                image="",
                image_digest="",
                network="none",
                unit=f"ml-job@{job_id}.service",
                created_at=moment,
                started_at=moment,
            )
        )

    # What the disk guard asks of the other parts.

    def started(self, owner: str | None) -> list[Job]:
        return self.running

    async def measure(self, job: Job) -> Taken:
        return self.taken_.get(job.job_id, Taken())

    async def written(self, unit: str) -> int | None:
        return self.written_.get(unit.removeprefix("ml-job@").removesuffix(".service"))

    def order_end(self, job: Job, reason: Reason, message: str) -> None:
        self.ended.append((job.job_id, reason))


OLD, NEW = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
Look = Callable[[], Any]


def guard(scene: Scene) -> DiskGuard:
    parts: Any = scene
    return DiskGuard(scene.settings, parts, parts, parts, parts)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    made = Scene(tmp_path)
    monkeypatch.setattr(guards, "room_left", lambda _: (Room(made.free, made.free_files), FLOOR))
    for job_id in (OLD, NEW):
        made.run(job_id)
    return made


@pytest.fixture
def look(scene: Scene) -> Look:
    return guard(scene).look


async def test_a_job_over_its_quota_is_ended(scene: Scene, look: Look) -> None:
    scene.taken_[OLD] = Taken(1, 1, "too much")
    await look()
    assert scene.ended == [(OLD, Reason.ARTIFACT_QUOTA)]


async def test_no_job_is_ended_while_there_is_room(scene: Scene, look: Look) -> None:
    scene.taken_[OLD] = Taken(50 * MIB, 1)
    await look()
    assert scene.ended == []


async def test_the_job_that_grew_most_since_the_last_look_is_ended(scene: Scene, look: Look) -> None:
    scene.taken_ = {OLD: Taken(500 * MIB, 1), NEW: Taken(1 * MIB, 1)}
    await look()
    scene.free = 99 * MIB
    scene.taken_[NEW] = Taken(90 * MIB, 1)
    await look()
    assert scene.ended == [(NEW, Reason.STORAGE_FULL)]


async def test_deleted_open_files_count_by_the_kernels_figure(scene: Scene, look: Look) -> None:
    scene.taken_ = {NEW: Taken(5 * MIB, 1)}
    await look()
    scene.free = 99 * MIB
    scene.taken_ = {NEW: Taken(7 * MIB, 1)}
    scene.written_ = {OLD: 100 * MIB}
    await look()
    assert scene.ended == [(OLD, Reason.STORAGE_FULL)]


async def test_growth_before_the_first_look_does_not_count(scene: Scene, look: Look) -> None:
    scene.free = 90 * MIB
    scene.taken_ = {OLD: Taken(500 * MIB, 1)}
    await look()
    assert scene.ended == []
    scene.taken_[NEW] = Taken(5 * MIB, 1)
    await look()
    assert scene.ended == [(NEW, Reason.STORAGE_FULL)]


async def test_without_visible_growth_the_newest_job_is_ended_below_half_of_the_floor(
    scene: Scene, look: Look
) -> None:
    await look()
    scene.free = 51 * MIB
    scene.taken_ = {OLD: Taken(MIN_GROWTH.bytes - 1, 1)}
    await look()
    assert scene.ended == []
    scene.free = 49 * MIB
    await look()
    assert scene.ended == [(NEW, Reason.STORAGE_FULL)]


async def test_the_job_that_made_most_files_since_the_last_look_is_ended(scene: Scene, look: Look) -> None:
    scene.taken_ = {OLD: Taken(500 * MIB, 9_000), NEW: Taken(1, 1)}
    await look()
    scene.free_files = 9_999
    scene.taken_ = {OLD: Taken(550 * MIB, 9_100), NEW: Taken(2, 9_000)}
    await look()
    assert scene.ended == [(NEW, Reason.STORAGE_FULL)]


async def test_without_new_files_the_newest_job_is_ended_below_half_of_the_floor(
    scene: Scene, look: Look
) -> None:
    scene.free_files = 5_001
    for _ in range(2):
        await look()
    assert scene.ended == []
    scene.free_files = 4_999
    await look()
    assert scene.ended == [(NEW, Reason.STORAGE_FULL)]


async def test_an_error_while_looking_ends_no_job_and_is_retried(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(_: Settings) -> None:
        raise OSError("no such disk")

    monkeypatch.setattr(guards, "room_left", fails)
    monkeypatch.setattr(guards, "INTERVAL", 0.01)
    async with background(guard(scene).run()):
        await until(lambda: caplog.text.count("no such disk") >= 2)
    assert scene.ended == []
