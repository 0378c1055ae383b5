"""`ml-fleet install`: the units of what the configuration has here."""

import re
from pathlib import Path

from agent.cli.failure import EXIT_CONFIGURATION
from agent.cli.fleet import install
from agent.config import user_file
from agent.config_files import load
from tests.support.ml_agent import Run

MEMBER = """
[fleet]
host = "h1"
authority = "/f/ca.crt"
[fleet.broker]
url = "amqps://mq"
[fleet.member]
fronts = ["https://front:8443"]
agent_url = "https://h1:8443"
certificate = "/f/member.crt"
key = "/f/member.key"
"""


def names(files: object) -> set[str]:
    return {path.name for path in files}  # type: ignore[attr-defined]


def test_a_front_gets_its_units_and_a_member_its_own(run: Run, agent: Run, home: Path) -> None:
    assert run("init", "--san", "localhost").status == 0
    files = install.of_account(load()).files
    assert names(files) == {"ml-fleet.socket", "ml-fleet.service"}
    text = b"".join(content or b"" for content in files.values()).decode()
    assert "ListenStream=8443\n" in text
    assert f"ReadWritePaths={home}/.local/state/ml-fleet\n" in text
    assert not re.search("@[A-Z_]+@", text)
    user_file().unlink()
    assert agent("init", "--scripts", str(home / "repository")).status == 0
    with user_file().open("a") as file:
        file.write(MEMBER)
    change = install.of_account(load())
    assert names(change.files) == {"ml-fleet-member.service"}
    (content,) = change.files.values()
    assert f"TemporaryFileSystem={home}/.local/state/ml-agent:ro\n".encode() in (content or b"")
    assert ["systemctl", "--user", "try-restart", "ml-agent.service"] in change.after
    assert not re.search(b"@[A-Z_]+@", content or b"")


def test_a_dry_run_changes_nothing(run: Run, home: Path) -> None:
    run("init", "--san", "localhost")
    shown = run("install", "--dry-run")
    assert (shown.status, "ml-fleet.service" in shown.out) == (0, True)
    assert not (home / ".config/systemd").exists()


def test_a_machine_without_a_program_of_a_fleet_is_told_how(run: Run, agent: Run, home: Path) -> None:
    assert agent("init", "--scripts", str(home / "repository")).status == 0
    refused = run("install")
    assert refused.status == EXIT_CONFIGURATION
    assert "ml-fleet init" in refused.err


def test_what_was_placed_is_removed(run: Run, home: Path) -> None:
    run("init", "--san", "localhost")
    for path, content in install.of_account(load()).files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content or b"")
    removal = install.removal(load())
    assert names(removal.files) == {"ml-fleet.socket", "ml-fleet.service"}
    assert removal.before == [
        ["systemctl", "--user", "disable", "--now", "ml-fleet.socket", "ml-fleet.service"]
    ]
