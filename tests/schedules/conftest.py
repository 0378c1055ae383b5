"""Scenes for the tests of schedules."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.store.store import Store
from tests.support.job_scene import Scene
from tests.support.schedule_scene import ScheduleScene
from tests.support.small_site import make_repository, make_settings


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[ScheduleScene]:
    """A site whose clock shows Monday, 9:30, and which knows alice."""
    make_repository(tmp_path / "repository")
    settings = make_settings(tmp_path, runtime=tmp_path / "runtime")
    async with Store.open(settings.database) as store:
        scene = ScheduleScene(Scene(settings, store))
        await scene.knows("alice")
        with scene.clock.shown():
            yield scene
