"""`ml-agent install` and `uninstall`: shown with --dry-run, carried out, recorded in the audit."""

import json
import os
import pwd
import re
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest

from agent.cli import installation
from agent.cli.admin import install
from agent.cli.failure import EXIT_CONFIGURATION
from agent.cli.installation import Installation
from agent.config import shipped
from agent.config_files import load
from agent.errors import AgentError
from agent.host.images import MAX_PACKAGES
from tests.support.ml_agent import USER_RUNTIME_DIRECTORY, Run, needs_a_user_manager


@pytest.fixture
def harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Carries nothing out, and is root."""
    monkeypatch.setattr(Installation, "carry_out", lambda _: None)
    monkeypatch.setattr("os.geteuid", lambda: 0)


def actions(ready: Run) -> list[str]:
    """The actions in the audit."""
    return [row["action"] for row in json.loads(ready("audit", "--json").out)]


def test_a_dry_run_shows_the_changes_and_makes_none(ready: Run, home: Path) -> None:
    shown = ready("install", "--dry-run")
    assert "systemctl --user daemon-reload" in shown.out
    assert not (home / ".config/systemd").exists()


@pytest.mark.usefixtures("harmless")
def test_a_dry_run_leaves_no_row_in_the_audit_and_an_installation_one(ready: Run) -> None:
    for command in (("install", "--dry-run"), ("uninstall", "--dry-run"), ("prune", "--dry-run")):
        ready(*command)
    assert actions(ready) == ["init"]
    assert ready("install").out == "ml-agent.socket listens on port 8443.\n"
    removed = ready("uninstall").out
    assert "ran      systemctl --user daemon-reload\n" in removed
    assert f"stays    {load().state_directory}\n" in removed
    assert f"stays    {load().state_directory}.revoked\n" in removed
    assert actions(ready) == ["init", "install", "uninstall"]


@pytest.mark.parametrize("variable", ["ML_AGENT_HTTP__PORT", "ml_agent_http__port"])
def test_a_setting_that_the_service_would_not_inherit_is_refused(
    ready: Run, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "9443")
    assert load().http.port == 9443
    refused = ready("install", "--dry-run")
    assert refused.status == EXIT_CONFIGURATION
    assert f"does not inherit these environment variables: {variable}." in refused.err
    assert "ml-agent/config.toml" in refused.err
    assert refused.out == ""
    assert ready("uninstall", "--dry-run").status == 0


def test_uninstall_needs_no_configuration(ready: Run, home: Path) -> None:
    (home / ".config/ml-agent/config.toml").unlink()
    removed = ready("uninstall", "--dry-run")
    assert removed.status == 0
    assert f"rm -f {home}/.config/systemd/user/{install.SOCKET}" in removed.out
    assert "The audit will have no row of this: " in removed.err


def test_the_hosts_part_is_for_one_account_and_needs_root(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run("install", "--system", "--account", "root", "--dry-run")
    assert "/etc/systemd/system/user@0.service.d/50-ml-agent.conf" in shown.out
    assert "loginctl enable-linger root" in shown.out
    assert "usermod --append --groups systemd-journal root" in shown.out
    assert "no account nobody-here" in run("install", "--system", "--account", "nobody-here").err
    assert "--account" in run("install", "--system").err
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "needs root" in run("install", "--system", "--account", "root").err


@pytest.mark.usefixtures("harmless")
def test_the_hosts_part_prints_what_was_done_and_when_it_takes_effect(run: Run) -> None:
    said = run("install", "--system", "--account", "root").out
    assert "made     /etc/systemd/system/user@0.service.d/50-ml-agent.conf\n" in said
    assert "ran      loginctl enable-linger root\n" in said
    assert said.endswith("after a reboot.\n")
    removed = run("uninstall", "--system", "--account", "root").out
    assert f"removed  {install.JOURNALD_DROP_IN}\n" in removed


def test_the_units_are_part_of_the_package() -> None:
    assert (shipped("units") / install.SERVICE).is_file()


def test_every_placeholder_of_the_units_is_filled_in(ready: Run, home: Path) -> None:
    files = {path.name: content for path, content in install.of_user(load()).files.items() if content}
    assert f"ExecStart={installation.executable('ml-agent')} serve".encode() in files[install.SERVICE]
    assert f"ReadWritePaths={home}/.local/state/ml-agent %t".encode() in files[install.SERVICE]
    assert b"ListenStream=8443\n" in files[install.SOCKET]
    for name, content in files.items():
        assert not re.search(rb"@[A-Z_]+@", content), name


def test_the_accounts_of_a_host_are_those_with_a_delegation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "SYSTEM", tmp_path)
    for uid in (os.getuid(), 999_999_999):
        path = install.delegation(uid)
        path.parent.mkdir(parents=True)
        path.touch()
    assert install.accounts() == [pwd.getpwuid(os.getuid()).pw_name]


def test_the_image_says_each_package_of_its_lock() -> None:
    locked = dict(each.split("@") for each in install.packages().split(":"))
    assert {"numpy", "pandas", "scikit-learn", "snowflake-connector-python"} <= locked.keys()
    assert all(version[0].isdigit() for version in locked.values())
    assert len(install.packages()) < MAX_PACKAGES


def test_the_recipe_of_the_image_changes_with_each_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "images"
    shutil.copytree(shipped("images"), copy)
    recipe = install.recipe()
    monkeypatch.setattr(install, "shipped", lambda _: copy)
    assert install.recipe() == recipe
    seen = {recipe}
    files = [path for path in (copy / "ml-runner").iterdir() if path.is_file()]
    for path in files:
        path.write_bytes(path.read_bytes() + b"\n")
        seen.add(install.recipe())
    assert len(seen) == 1 + len(files)


def test_an_upgrade_keeps_the_base_of_the_image(ready: Run, home: Path) -> None:
    def base(option: str | None = None) -> bytes:
        content = install.of_user(load(), base=option).files[placed]
        assert content is not None
        return content.partition(b"BASE=")[2].split()[0]

    placed = home / ".config/containers/systemd" / install.RUNNER
    assert base() == install.DEFAULT_BASE.encode()
    placed.parent.mkdir(parents=True)
    placed.write_bytes(install.of_user(load(), base="registry.example.com/python:3.13").files[placed] or b"")
    assert base() == b"registry.example.com/python:3.13"
    assert b"registry.example.com/python:3.13" in ready("install", "--dry-run").out.encode()
    assert base("localhost/other:1") == b"localhost/other:1"


def test_the_socket_is_stopped_only_if_its_port_changes(ready: Run, home: Path) -> None:
    def stops() -> bool:
        return any("stop" in command for command in install.of_user(load()).before)

    assert not stops()
    placed = home / ".config/systemd/user" / install.SOCKET
    placed.parent.mkdir(parents=True)
    placed.write_bytes(install.of_user(load()).files[placed] or b"")
    assert not stops()
    placed.write_text("[Socket]\nListenStream=1\n")
    assert stops()


def test_a_configuration_elsewhere_is_passed_to_the_service(
    ready: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".config/ml-agent/config.toml").rename(home / "other.toml")
    monkeypatch.setenv("ML_AGENT_CONFIG", str(home / "other.toml"))
    files = install.of_user(load()).files
    drop_in = files[home / ".config/systemd/user" / install.CONFIG_DROP_INS[0]]
    assert drop_in == f"[Service]\nEnvironment=ML_AGENT_CONFIG={home}/other.toml\n".encode()


def test_a_path_with_a_special_character_of_systemd_is_refused(ready: Run) -> None:
    settings = load().model_copy(update={"state_directory": Path("/srv/100% state")})
    with pytest.raises(AgentError, match="cannot be written into a unit file"):
        install.of_user(settings)


def test_a_removal_is_the_reverse_of_an_installation(ready: Run) -> None:
    settings = load()
    for runtime in (False, True):
        placed = install.of_user(settings, runtime=runtime).files
        removed = install.user_removal(settings.runtime_directory, runtime=runtime).files
        assert set(placed) == set(removed)
        assert set(removed.values()) == {None}


@pytest.mark.parametrize("jobs_run", [True, False])
def test_services_of_jobs_are_stopped_only_if_no_job_runs(ready: Run, home: Path, jobs_run: bool) -> None:
    def removal() -> Installation:
        return install.user_removal(load().runtime_directory, jobs_run=jobs_run)

    assert not removal().before
    (home / ".config/systemd/user").mkdir(parents=True)
    (home / ".config/systemd/user" / install.SOCKET).touch()
    stopped = [pattern for command in removal().before if "stop" in command for pattern in command]
    assert any(fnmatch("ml-podman.service", pattern) for pattern in stopped) is not jobs_run


def test_a_failed_command_is_reported_with_its_output() -> None:
    failing = Installation(files={}, after=[["sh", "-c", "echo no such unit >&2; exit 5"]])
    with pytest.raises(AgentError, match="no such unit"):
        failing.carry_out()


def _analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "--user", *arguments]
    environment = {**os.environ, "XDG_RUNTIME_DIR": USER_RUNTIME_DIRECTORY}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.host
@needs_a_user_manager
def test_systemd_accepts_every_line_of_the_units(ready: Run, tmp_path: Path) -> None:
    directory = _placed(tmp_path)
    verified = _analyze("verify", *(str(directory / name) for name in install.UNITS))
    assert (verified.returncode, verified.stderr) == (0, "")


@pytest.mark.host
@needs_a_user_manager
def test_the_agents_sandbox_scores_at_most_2_0(ready: Run, tmp_path: Path) -> None:
    service = _placed(tmp_path) / install.SERVICE
    scored = _analyze("security", "--offline=yes", "--threshold=20", str(service))
    assert scored.returncode == 0, scored.stdout[-200:] + scored.stderr


def _placed(tmp_path: Path) -> Path:
    """The rendered units in a directory that no manager reads, with a program that exists."""
    directory = tmp_path / "units"
    directory.mkdir()
    for path, content in install.of_user(load()).files.items():
        if content and path.name in install.UNITS:
            text = content.decode().replace(f"{installation.executable('ml-agent')} serve", "/bin/true serve")
            (directory / path.name).write_text(text)
    return directory
