"""Scenes and hosts for the tests of jobs."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.config import Settings
from agent.store.store import Store
from tests.support.job_host import Host, real_host
from tests.support.job_scene import Scene
from tests.support.small_site import import_image, make_repository, make_settings, with_jobs


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    make_repository(tmp_path / "repository")
    return make_settings(tmp_path, runtime=tmp_path / "runtime")


@pytest.fixture
async def scene(settings: Settings) -> AsyncIterator[Scene]:
    async with Store.open(settings.database) as store:
        yield Scene(settings, store)


@pytest.fixture
def soon(scene: Scene) -> Scene:
    """A scene whose jobs are tried again at once."""
    scene.settings = with_jobs(scene.settings, retry_delay_seconds=0.01)
    return scene


@pytest.fixture
async def host_settings(tmp_path: Path) -> Settings:
    """A site on the real host."""
    await asyncio.to_thread(import_image)
    make_repository(tmp_path / "repository")
    return make_settings(tmp_path, runtime=Path(os.environ["XDG_RUNTIME_DIR"]))


@pytest.fixture
async def host(host_settings: Settings) -> AsyncIterator[Host]:
    async with real_host(host_settings) as host:
        yield host
