"""A PKI directory, and the authority in it."""

from pathlib import Path

import pytest

from agent.identity.authority import Authority
from tests.support.pki import save


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A PKI directory as `ml-agent init` leaves it."""
    authority = Authority.create(tmp_path / "pki", "ml-agent CA test")
    save(tmp_path / "pki", "server", authority.issue_server(["localhost", "127.0.0.1", "::1"]))
    return tmp_path / "pki"


@pytest.fixture
def authority(directory: Path) -> Authority:
    """The authority in that directory."""
    return Authority.load(directory)
