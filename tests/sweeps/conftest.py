"""Scenes for the tests of sweeps."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.config import Settings
from agent.store.store import Store
from tests.support.job_scene import Scene
from tests.support.small_site import make_repository, make_settings
from tests.support.sweep_scene import SweepScene


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    make_repository(tmp_path / "repository")
    return make_settings(tmp_path, runtime=tmp_path / "runtime")


@pytest.fixture
async def scene(settings: Settings) -> AsyncIterator[SweepScene]:
    async with Store.open(settings.database) as store:
        yield SweepScene(Scene(settings, store))
