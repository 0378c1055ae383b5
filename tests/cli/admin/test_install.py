"""`ml-agent install` and `uninstall`: shown with --dry-run, carried out, recorded in the audit."""

import json
from pathlib import Path

import pytest

from agent.cli.admin import installation
from agent.cli.admin.installation import Installation
from agent.cli.failure import EXIT_CONFIGURATION
from agent.config_files import load
from tests.support.ml_agent import Run


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
    ready("uninstall")
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
    assert f"rm -f {home}/.config/systemd/user/{installation.SOCKET}" in removed.out
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
    assert f"removed  {installation.JOURNALD_DROP_IN}\n" in removed
