"""Fixtures of the fleet's wing: a real Redis, and records in it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agent.fleet.record import Record
from tests.support.api_fixtures import authorities, backend, document, repository, serve, shared_redis  # noqa: F401
from tests.support.fleet_record import empty_record
from tests.support.hosts_and_fronts import fleet  # noqa: F401
from tests.support.rabbit_server import RabbitServer
from tests.support.redis_server import RedisServer, free_port


@pytest.fixture(scope="session")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """A broker, which each test leaves as it was."""
    with RabbitServer.running(tmp_path_factory.mktemp("rabbit") / "node") as server:
        yield server


@pytest.fixture
def own_rabbit(tmp_path: Path) -> Iterator[RabbitServer]:
    """A broker that the test may kill."""
    with RabbitServer.running(tmp_path / "rabbit") as server:
        yield server


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that the test may kill."""
    with RedisServer.running(tmp_path / "redis", port=free_port()) as server:
        yield server


@pytest.fixture
async def record(shared_redis: RedisServer) -> AsyncIterator[Record]:  # noqa: F811
    """An empty record."""
    async with empty_record(shared_redis) as record:
        yield record
