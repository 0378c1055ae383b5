"""`ml-job enrol` against the real application: a key that is made here, or nothing that is changed."""

# ruff: noqa: F811  (fixtures are arguments of the same name)

import asyncio
import shutil
import stat
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner, Result

from agent.cli.job.main import app
from agent.identity import tls
from agent.identity.certificates import admit_until
from agent.identity.key_files import certificates
from agent.identity.subject import fingerprint
from agent.model.base import now
from tests.support.api_fixtures import authorities as shared_authorities  # noqa: F401
from tests.support.api_fixtures import backend, document, repository, serve, served  # noqa: F401
from tests.support.served import Authorities, Served


@pytest.fixture
def authorities(
    shared_authorities: Authorities, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Authorities:
    """A copy of the host's authorities, with a server that looks at each connection."""
    directory = tmp_path / "authorities"
    shutil.copytree(shared_authorities.directory, directory)
    monkeypatch.setattr(tls, "LOOK_INTERVAL", 0.0)
    return Authorities(directory, shared_authorities.own, shared_authorities.foreign)


class Laptop:
    """A user's machine, which has nothing yet."""

    def __init__(self, served: Served, path: Path) -> None:
        self.served = served
        self.path = path

    async def link(self, user: str = "alice", *, ca: str = "", **fields: object) -> str:
        """The link of a new invitation."""
        code = await self.served.invite(user, **fields)
        admit_until(self.served.authorities.directory, now() + timedelta(hours=1))
        port = urlsplit(self.served.base).port
        ca = ca or fingerprint(self.served.authorities.own.certificate)
        return f"ml-job://localhost:{port}/enrol?code={code}&ca={ca}"

    async def run(self, *arguments: str) -> Result:
        """Runs `ml-job` beside the agent."""
        return await asyncio.to_thread(CliRunner().invoke, app, arguments)

    def files(self) -> dict[str, bytes]:
        """What the configuration directory has."""
        return {path.name: path.read_bytes() for path in self.path.glob("*")}


@pytest.fixture
def laptop(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Laptop:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("ML_JOB_SERVER", "ML_JOB_IDENTITY"):
        monkeypatch.delenv(name, raising=False)
    return Laptop(served, tmp_path / "config/ml-job")


async def test_one_command_from_nothing_to_the_list_of_jobs(laptop: Laptop) -> None:
    result = await laptop.run("enrol", await laptop.link())
    assert result.exit_code == 0, result.stderr
    assert "You are alice" in result.stdout
    assert laptop.files().keys() == {"ca.crt", "alice.crt", "alice.key", "config.toml"}
    assert stat.S_IMODE((laptop.path / "alice.key").stat().st_mode) == 0o600
    listed = await laptop.run("list")
    assert listed.exit_code == 0, listed.stderr


async def test_the_key_never_leaves_the_laptop(laptop: Laptop) -> None:
    await laptop.run("enrol", await laptop.link())
    key = (laptop.path / "alice.key").read_bytes().split(b"\n")[1]
    state = laptop.served.scene.settings.state_directory
    files = [path for path in state.rglob("*") if path.is_file()]
    assert files
    assert [path for path in files if key in path.read_bytes()] == []


async def test_a_host_with_another_authority_is_sent_nothing(laptop: Laptop) -> None:
    link = await laptop.link(ca="0" * 64)
    result = await laptop.run("enrol", link)
    assert result.exit_code == 1
    assert "its authority is another one" in result.stderr
    assert laptop.files() == {}
    # The code was not sent: it still works.
    good = link.replace("0" * 64, fingerprint(laptop.served.authorities.own.certificate))
    assert (await laptop.run("enrol", good)).exit_code == 0


async def test_the_files_of_another_agent_are_not_overwritten(laptop: Laptop) -> None:
    laptop.path.mkdir(parents=True)
    (laptop.path / "ca.crt").write_bytes(laptop.served.authorities.foreign.certificate_pem())
    before = laptop.files()
    link = await laptop.link()
    result = await laptop.run("enrol", link)
    assert result.exit_code == 2
    assert "is of another agent" in result.stderr
    assert laptop.files() == before
    elsewhere = laptop.path.parent / "elsewhere"
    assert (await laptop.run("enrol", link, "--output", str(elsewhere))).exit_code == 0
    assert certificates(elsewhere / "alice.crt")


async def test_who_was_interrupted_enrols_again_with_the_same_link(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = await laptop.link()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(laptop.path / "alice.crt"))

    with monkeypatch.context() as patch:
        patch.setattr("agent.cli.job.certificates.replace_files", full)
        assert (await laptop.run("enrol", link)).exit_code != 0
    assert not (laptop.path / "alice.crt").exists()
    again = await laptop.run("enrol", link)
    assert again.exit_code == 0, again.stderr
    assert (await laptop.run("list")).exit_code == 0
    assert (
        len([each for each in await laptop.served.scene.store.certificates.all() if each.user == "alice"])
        == 1
    )


async def test_a_used_or_expired_link_says_so_and_what_to_do(laptop: Laptop) -> None:
    link = await laptop.link()
    await laptop.run("enrol", link)
    used = await laptop.run("enrol", link, "--output", str(laptop.path.parent / "elsewhere"))
    assert used.exit_code == 2
    assert "was used for another key" in used.stderr
    assert "ml-agent invite" in used.stderr
    expired = await laptop.run("enrol", await laptop.link("bob", expires_at=now() - timedelta(seconds=1)))
    assert expired.exit_code == 2
    assert "expired at" in expired.stderr


@pytest.mark.parametrize(
    "link",
    [
        "",
        "https://localhost:8443/enrol?code=aaaaaaaaaaaa&ca=" + "0" * 64,
        "ml-job://localhost:8443/enrol",
        "ml-job://localhost:8443/enrol?code=aaaaaaaaaaaa",
        "ml-job://localhost:8443/enrol?code=aaaaaaaaaaaa&ca=00",
        "ml-job://localhost:99999999/enrol?code=aaaaaaaaaaaa&ca=" + "0" * 64,
        "ml-job:///enrol?code=aaaaaaaaaaaa&ca=" + "0" * 64,
        "ml-job://[::1/enrol?code=aaaaaaaaaaaa&ca=" + "0" * 64,
        "ml-job://localhost:8443/enrol?code=aaaaaaaaaaaa&code=b&ca=" + "0" * 64,
    ],
)
def test_what_is_no_link_is_refused_without_a_traceback(link: str) -> None:
    result = CliRunner().invoke(app, ["enrol", link])
    assert result.exit_code == 2
    assert "not an invitation" in result.stderr


def test_a_host_that_is_down_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    result = CliRunner().invoke(app, ["enrol", "ml-job://localhost:1/enrol?code=aaaaaaaaaaaa&ca=" + "0" * 64])
    assert result.exit_code == 69
    assert "https://localhost:1 cannot be reached" in result.stderr
