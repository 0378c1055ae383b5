"""A store in a directory of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.store.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The store's file, which is not there yet."""
    return tmp_path / "state" / "jobs.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    async with Store.open(path) as opened:
        yield opened
