"""Fixtures of the fleet's wing: a real Redis, and records in it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agent.fleet.record import Record
from tests.support.api_fixtures import authorities, backend, document, repository, serve  # noqa: F401
from tests.support.fleet_record import connected
from tests.support.rabbit_server import RabbitServer
from tests.support.redis_server import RedisServer, free_port


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server for tests that do not harm it."""
    with RedisServer.running(tmp_path_factory.mktemp("redis")) as server:
        yield server


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
async def record(shared_redis: RedisServer) -> AsyncIterator[Record]:
    """An empty record."""
    shared_redis.cli("flushall")
    shared_redis.cli("function", "flush")
    async with connected(shared_redis) as record:
        await record.load()
        yield record
