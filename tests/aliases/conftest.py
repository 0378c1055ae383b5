"""A store with jobs that have COMPLETED, and agents over it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.config import Settings
from agent.store.store import Store
from tests.support.alias_scene import AliasScene
from tests.support.small_site import make_repository, make_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    make_repository(tmp_path / "repository")
    return make_settings(tmp_path, runtime=tmp_path / "runtime")


@pytest.fixture
async def scene(settings: Settings) -> AsyncIterator[AliasScene]:
    async with Store.open(settings.database) as store:
        yield AliasScene(settings, store)
