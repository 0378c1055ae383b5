"""A site whose metrics are read."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.config import Settings
from agent.store.store import Store
from tests.support.small_site import make_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "runtime").mkdir()
    return make_settings(tmp_path, runtime=tmp_path / "runtime")


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[Store]:
    async with Store.open(settings.database) as store:
        yield store
