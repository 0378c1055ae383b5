"""A fleet of real hosts for its tests, which run as root on the machine and only when they are asked for.

    pytest -m fleet tests/fleet/host

The fleet must be installed (`tests/fleet/host/fleet install`); `make fleet` does both.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.host.systemd_host import instance

from . import layout, network
from .handle import Fleet
from .users import Users, connected

PATIENCE = 120.0  # seconds for one job


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks the tests of this folder, and skips them in every run that does not ask for the marker."""
    asked = "fleet" in config.option.markexpr.replace("not fleet", "").split()
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.fleet)
            if not asked:
                item.add_marker(pytest.mark.skip(reason="boots hosts: pytest -m fleet, as `make fleet` does"))


@pytest.fixture(scope="session")
def installed() -> Fleet:
    """The fleet that `fleet install` has made."""
    fleet = Fleet(layout.DEFAULT_NAME)
    assert instance.load(fleet.host_name("h1")), "run `tests/fleet/host/fleet install` first"
    return fleet


@pytest.fixture
def fleet(installed: Fleet) -> Iterator[Fleet]:
    """The same, whole before and after the test."""
    installed.repair()
    yield installed
    installed.repair()


@pytest.fixture
async def users(fleet: Fleet) -> AsyncIterator[Users]:
    """The fleet's users, in their own network: whatever the test connects to is asked from there."""
    with network.inside(fleet.name, layout.USERS.name):
        async with connected(fleet, patience=PATIENCE) as clients:
            yield clients
