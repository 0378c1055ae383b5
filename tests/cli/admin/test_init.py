"""`ml-agent init`: what it makes, keeps, renews and refuses."""

import ssl
import stat
from pathlib import Path

import pytest

from agent.cli.admin import init, install
from agent.cli.failure import EXIT_CONFIGURATION
from agent.config_files import load
from agent.identity import tls
from agent.identity.authority import server_names
from agent.identity.key_files import certificates
from tests.support.ml_agent import Run


def test_init_makes_configuration_authority_and_server_certificate(ready: Run, home: Path) -> None:
    settings = load()
    assert settings.scripts.repository == home / "repository"
    assert stat.S_IMODE(settings.state_directory.stat().st_mode) == 0o700
    names = server_names(certificates(settings.pki_directory / "server.crt")[0])
    assert names[0] == "ml.example.org"
    assert {"localhost", "127.0.0.1", "::1"} < set(names)
    assert tls.server_context(settings.pki_directory).verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    ("accounts", "shell"), [(["ml"], "machinectl shell ml@"), ([], "machinectl shell ACCOUNT@")]
)
def test_root_is_refused_and_told_the_service_account(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch, accounts: list[str], shell: str
) -> None:
    monkeypatch.setattr(init, "is_root", lambda: True)
    monkeypatch.setattr(install, "accounts", lambda: accounts)
    refused = run("init", "--scripts", str(home / "repository"))
    assert refused.status == EXIT_CONFIGURATION
    assert shell in refused.err
    assert not (home / ".config").exists()
    assert not (home / ".local").exists()


def test_a_second_init_keeps_everything_and_says_so(ready: Run) -> None:
    directory = load().pki_directory
    before = {path: path.read_bytes() for path in directory.iterdir()}
    again = ready("init")
    assert [line.split()[0] for line in again.out.splitlines()] == ["kept"] * 3
    assert {path: path.read_bytes() for path in directory.iterdir()} == before


def test_init_with_another_name_renews_only_the_server_certificate(ready: Run) -> None:
    directory = load().pki_directory
    authority = (directory / "ca.crt").read_bytes()
    assert ready("init", "--san", "2001:DB8:0::7").out.count("made") == 1
    assert (directory / "ca.crt").read_bytes() == authority
    assert "2001:db8::7" in server_names(certificates(directory / "server.crt")[0])
    assert ready("init", "--san", "2001:DB8:0::7").out.count("made") == 0


def test_init_without_a_repository_names_the_option(run: Run) -> None:
    refused = run("init")
    assert refused.status == EXIT_CONFIGURATION
    assert "--scripts" in refused.err


def test_init_refuses_a_directory_that_is_not_a_repository(run: Run, home: Path) -> None:
    assert "cannot be read" in run("init", "--scripts", str(home)).err
    assert not (home / ".config").exists()


def test_init_does_not_change_an_existing_configuration(ready: Run) -> None:
    refused = ready("init", "--port", "9000")
    assert refused.status == EXIT_CONFIGURATION
    assert "http.port is configured as 8443, not 9000" in refused.err


def test_init_completes_what_a_crash_interrupted(ready: Run) -> None:
    directory = load().pki_directory
    key = directory / "server.key"
    key.rename(directory / "server.key.next")
    assert ready("init").out.count("made") == 0
    assert key.exists()
    (directory / "ca.key").rename(directory / "ca.key.next")
    assert ready("init").status == 0
    assert (directory / "ca.key").exists()
