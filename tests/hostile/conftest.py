"""The same agents and clients as in the tests of the API, and a client that sends bytes as they are."""

from collections.abc import AsyncIterator, Callable

import pytest

from tests.support.api_client import Client
from tests.support.api_fixtures import (  # noqa: F401
    alice,
    authorities,
    backend,
    document,
    repository,
    serve,
    served,
)
from tests.support.served import Served

from .extent import FULL
from .wire import Wire

COUNTS = pytest.StashKey[list[str]]()


@pytest.fixture
def told(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Takes a line for the end of the run: what was tried, and what came of it."""
    return request.config.stash.setdefault(COUNTS, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Shows the lines, where everything was tried."""
    for line in config.stash.get(COUNTS, []) if FULL else []:
        terminalreporter.write_line(line)


@pytest.fixture
async def wire(served: Served, alice: Client) -> AsyncIterator[Wire]:  # noqa: F811
    """Alice's own connection."""
    made = Wire(int(served.base.rpartition(":")[2]), alice.tls)
    yield made
    await made.close()
