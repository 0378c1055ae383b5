"""`ml-job renew` against the real application: new files that work, or the old ones as they were."""

# ruff: noqa: F811  (fixtures are arguments of the same name)

import asyncio
import errno
import os
import shutil
import stat
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from agent.cli.job import certificates as commands
from agent.cli.job.main import app
from agent.host.files import write_file
from agent.identity import authority, rotation, tls
from agent.identity.certificates import recorded
from agent.identity.key_files import certificates
from agent.model.base import now
from agent.model.certificate import Principal, Role
from tests.support.api_fixtures import authorities as shared_authorities  # noqa: F401
from tests.support.api_fixtures import backend, document, repository, serve, served  # noqa: F401
from tests.support.crashing import Crash, crash_after
from tests.support.served import Authorities, Served


@pytest.fixture
def authorities(shared_authorities: Authorities, tmp_path: Path) -> Authorities:
    """A copy of the host's authorities, which a test may replace."""
    directory = tmp_path / "authorities"
    shutil.copytree(shared_authorities.directory, directory)
    return Authorities(directory, shared_authorities.own, shared_authorities.foreign)


class Home:
    """A client's configuration directory, and `ml-job` with it."""

    def __init__(self, served: Served, path: Path) -> None:
        self.served = served
        self.store = served.scene.store
        self.authorities = served.authorities.directory
        self.path = path

    async def add(self, days: float) -> None:
        """Puts a certificate of alice's there that is valid for so long."""
        issued = self.served.authorities.own.issue_client("alice", timedelta(days=days))
        row = recorded(issued.certificate, issued.issuer, Principal(user="alice", role=Role.ANALYST))
        await self.store.certificates.add(row)
        for name, data in (("alice.crt", issued.certificate_pem()), ("alice.key", issued.key_pem())):
            write_file(self.path / name, data, mode=0o600, replace=True)

    async def run(self, *arguments: str) -> Result:
        """Runs `ml-job` beside the agent."""
        return await asyncio.to_thread(CliRunner().invoke, app, arguments)

    def files(self) -> dict[str, bytes]:
        """What the files there hold."""
        return {path.name: path.read_bytes() for path in self.path.iterdir()}

    @property
    def serial(self) -> str:
        """The serial number of alice's certificate."""
        return f"{certificates(self.path / 'alice.crt')[0].serial_number:x}"


@pytest.fixture
async def home(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Alice's configuration directory, with a certificate for 30 days."""
    path = tmp_path / "config/ml-job"
    path.mkdir(parents=True)
    (path / "ca.crt").write_bytes((served.authorities.directory / "ca.crt").read_bytes())
    monkeypatch.setenv("XDG_CONFIG_HOME", str(path.parent))
    monkeypatch.setenv("ML_JOB_SERVER", served.base)
    made = Home(served, path)
    await made.add(30)
    return made


async def test_renewing_replaces_key_and_certificate_and_both_certificates_are_valid(home: Home) -> None:
    before, old = home.files(), home.serial
    result = await home.run("renew")
    assert result.exit_code == 0, result.stderr
    assert f"serial {home.serial}" in " ".join(result.stdout.split())
    after = home.files()
    assert after.keys() == before.keys() == {"ca.crt", "alice.crt", "alice.key"}
    assert after["alice.key"] != before["alice.key"]
    assert after["ca.crt"] == before["ca.crt"]
    assert stat.S_IMODE((home.path / "alice.key").stat().st_mode) == 0o600
    assert (await home.run("list")).exit_code == 0
    rows = {each.serial: each for each in await home.store.certificates.all()}
    assert rows[home.serial].renews == old
    assert rows[home.serial].used_at is not None
    assert rows[old].revoked_at is None


async def test_during_a_rotation_renewing_brings_both_authorities(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotation.begin(home.authorities, "the next CA")
    monkeypatch.setenv("ML_JOB_SERVER", await home.served.http.listen(home.authorities))
    assert (await home.run("renew", "--json")).exit_code == 0
    assert certificates(home.path / "ca.crt") == authority.authorities(home.authorities)
    assert len(authority.authorities(home.authorities)) == 2
    assert (await home.run("list")).exit_code == 0


async def test_a_certificate_that_does_not_work_replaces_nothing(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from an agent that issues with an authority which it does not trust yet itself."""
    monkeypatch.setattr(commands, "BETWEEN_TRIALS", 0.01)
    monkeypatch.setattr(tls, "LOOK_INTERVAL", 3600.0)
    for name in ("ca.crt", "ca.key"):
        shutil.copy(home.authorities / "foreign" / name, home.authorities / name)
    before = home.files()
    result = await home.run("renew")
    assert result.exit_code == 69, result.stderr
    assert home.files() == before
    assert (await home.run("list")).exit_code == 0


async def test_no_certificate_is_requested_that_could_not_be_kept(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(home.path))

    known = await home.store.certificates.all()
    monkeypatch.setattr(tempfile, "TemporaryDirectory", refuse)
    result = await home.run("renew")
    assert result.exit_code == 2
    assert f"{home.path} cannot be used: Read-only file system" in " ".join(result.stderr.split())
    assert len(await home.store.certificates.all()) == len(known)


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "alice.crt")


@pytest.mark.parametrize("error", [Crash(), FULL], ids=["crash", "full disk"])
@pytest.mark.parametrize("steps", [1, 2, 3, 4])
async def test_after_a_crash_or_a_full_disk_while_files_are_replaced_the_client_still_works(
    home: Home, steps: int, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_files = commands.replace_files

    def crashing(profile: Any, *arguments: Any) -> None:
        if profile.certificate.parent != home.path:
            return replace_files(profile, *arguments)
        with monkeypatch.context() as patch:
            crash_after(steps, patch, error)
            replace_files(profile, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(commands, "replace_files", crashing)
        result = await home.run("renew")
    if error is FULL:
        assert (result.exit_code, "No space left on device" in result.stderr) == (2, True)
    else:
        assert result.exception is error
    assert (await home.run("list")).exit_code == 0
    assert (await home.run("renew")).exit_code == 0
    assert home.files().keys() == {"ca.crt", "alice.crt", "alice.key"}
    assert (await home.run("list")).exit_code == 0


async def test_a_certificate_that_expires_within_a_week_is_reported_once(home: Home) -> None:
    assert "expires at" not in (await home.run("list")).stderr
    await home.add(6)
    said = await home.run("list")
    assert said.exit_code == 0
    assert " ".join(said.stderr.split()).count("`ml-job renew` renews it") == 1
    assert "expires at" not in said.stdout
    renewed = await home.run("renew")
    assert (renewed.exit_code, renewed.stderr) == (0, "")
    assert (await home.run("list")).stderr.count("expires at") == 0


async def test_a_revoked_certificate_is_not_renewed_and_the_reason_is_printed(home: Home) -> None:
    await home.store.certificates.revoke([home.serial], now())
    before = home.files()
    result = await home.run("renew")
    assert result.exit_code == 2
    assert "was revoked" in result.stderr
    assert home.files() == before
