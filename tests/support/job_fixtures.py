"""What tests of `ml-job` and of the Python client start from: an agent that answers by script."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.identity import tls
from agent.identity.authority import Authority
from tests.support.ml_job import Home, HostKeys, make_home
from tests.support.stand_in_agent import StandIn, serving


@pytest.fixture(scope="session")
def host_keys(tmp_path_factory: pytest.TempPathFactory) -> HostKeys:
    """Made once: keys take long."""
    directory = tmp_path_factory.mktemp("pki")
    authority = Authority.create(directory, "the host's authority")
    server = authority.issue_server(["localhost"])
    (directory / "server.crt").write_bytes(server.certificate_pem())
    (directory / "server.key").write_bytes(server.key_pem())
    return HostKeys(directory, authority)


@pytest.fixture
def home(tmp_path: Path, host_keys: HostKeys, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Alice's configuration directory, with nothing but her certificate."""
    return make_home(tmp_path, host_keys.authority, monkeypatch)


@pytest.fixture
def agent(home: Home, host_keys: HostKeys, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """The agent that ML_JOB_SERVER names."""
    stand_in = StandIn()
    with serving(stand_in, tls.server_context(host_keys.directory)) as url:
        monkeypatch.setenv("ML_JOB_SERVER", url)
        yield stand_in
