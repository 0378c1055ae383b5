"""What the tests of `ml-job` start from."""

import pytest

from tests.support.job_fixtures import agent, home, host_keys
from tests.support.ml_job import Home

__all__ = ["agent", "home", "host_keys"]


@pytest.fixture
def dumb(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that takes only lines."""
    monkeypatch.setenv("TERM", "dumb")
