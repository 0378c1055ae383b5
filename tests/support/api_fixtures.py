"""Fixtures of those who ask the API: servers, and clients with certificates."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.config_fleet import FleetSettings
from agent.model.certificate import Role

from .api_client import Client
from .fleet_record import empty_record
from .job_scene import driving
from .openapi import Document
from .redis_server import RedisServer
from .served import (
    AnyServed,
    Authorities,
    Served,
    served_by_the_agent,
    served_from_memory,
    use_stand_in_journalctl,
)
from .served_fleet import joined_host, served_by_a_front
from .small_site import make_repository, make_settings

BOUNDS = {
    "max_connections": 100,
    "max_connections_per_user": 50,
    "max_followers": 10,
    "max_followers_per_user": 10,
    "max_secrets_per_user": 3,
    # A quick machine sends a test's requests at once; the tests of the rate set one of their own.
    "requests_per_second": 1000.0,
    "request_burst": 20_000,
}

# A test that this marks concerns HTTP alone: it runs once more with another backend behind the same routes.
over_any_backend = pytest.mark.parametrize(
    "backend", ["agent", "memory", pytest.param("front", marks=pytest.mark.host)]
)

# The same for what a front has not: sweeps.
over_any_host = pytest.mark.parametrize("backend", ["agent", "memory"])


@pytest.fixture(scope="session")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Authorities:
    """Keys are slow to make, and no test changes them."""
    return Authorities.make(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts' repository, which no test changes."""
    path = tmp_path_factory.mktemp("repository")
    make_repository(path)
    return path


@pytest.fixture(scope="session")
def document() -> Document:
    """The OpenAPI document, which checks answers."""
    return Document.load()


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server for tests that do not harm it."""
    with RedisServer.running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def backend() -> str:
    """What stands behind the API."""
    return "agent"


@pytest.fixture
async def serve(
    backend: str,
    tmp_path: Path,
    authorities: Authorities,
    repository: Path,
    document: Document,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Callable[..., Any]]:
    """Starts a server. `site` are sections of the settings; the other options are fields of `http`.

    They may have values that a configuration may not have. With `drive`, jobs are started. `host` is the name
    in a fleet.
    """
    use_stand_in_journalctl(monkeypatch, tmp_path / "journal")
    usual = make_settings(tmp_path, runtime=tmp_path / "runtime", repository=repository)
    async with contextlib.AsyncExitStack() as stack:

        async def start(
            *,
            drive: bool = False,
            site: dict[str, dict[str, Any]] | None = None,
            host: str = "",
            **options: Any,
        ) -> AnyServed:
            sections = {"http": BOUNDS | options} | (site or {})
            settings = usual.model_copy(
                update={
                    name: getattr(usual, name).model_copy(update=section)
                    for name, section in sections.items()
                }
            )
            if host:
                settings = settings.model_copy(update={"fleet": FleetSettings(host=host)})
            if backend == "memory":
                serving = served_from_memory(settings.http, authorities, document, tmp_path)
                return await stack.enter_async_context(serving)
            if backend == "front":
                shared: RedisServer = request.getfixturevalue("shared_redis")
                record = await stack.enter_async_context(empty_record(shared, half_life=0.001))
                in_fleet = settings.model_copy(update={"http": usual.http.model_copy(update=BOUNDS)})
                where = (authorities, document, tmp_path)
                member = await stack.enter_async_context(joined_host("h1", record, in_fleet, *where))
                front = served_by_a_front(
                    record,
                    [member],
                    settings.http,
                    settings,
                    *where[:2],
                    tmp_path / "front",
                    when_looked_at=True,
                )
                return await stack.enter_async_context(front)
            served = await stack.enter_async_context(
                served_by_the_agent(settings, authorities, document, tmp_path)
            )
            if drive:
                await stack.enter_async_context(driving(served.jobs))
            return served

        yield start


@pytest.fixture
async def served(serve: Callable[..., Any]) -> Served:
    """A server over an agent in which no job is started: all of them wait."""
    started: Served = await serve()
    return started


@pytest.fixture
async def alice(served: AnyServed) -> Client:
    return await served.known("alice")


@pytest.fixture
async def bob(served: AnyServed) -> Client:
    return await served.known("bob")


@pytest.fixture
async def operator(served: AnyServed) -> Client:
    return await served.known("oscar", Role.OPERATOR)


@pytest.fixture
async def administrator(served: AnyServed) -> Client:
    return await served.known("root", Role.ADMINISTRATOR)
