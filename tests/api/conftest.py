"""Servers and clients."""

import shutil

import pytest

from tests.support.api_fixtures import (  # noqa: F401
    administrator,
    alice,
    authorities,
    backend,
    bob,
    document,
    operator,
    repository,
    serve,
    served,
    shared_redis,
)


@pytest.fixture(scope="session", autouse=True)
def redis_for_fronts(request: pytest.FixtureRequest) -> None:
    """Starts Redis before each test looks for children that it leaves, if tests ask a front."""
    callspecs = (getattr(item, "callspec", None) for item in request.session.items)
    asks = any(callspec is not None and callspec.params.get("backend") == "front" for callspec in callspecs)
    if asks and shutil.which("redis-server"):
        request.getfixturevalue("shared_redis")
