"""`ml-agent` itself: its version, and how an error ends a command."""

from pathlib import Path

import pytest

from agent import __version__
from agent.cli.admin import secrets
from agent.cli.failure import EXIT_CONFIGURATION, EXIT_FAILURE
from tests.support.ml_agent import Run


@pytest.mark.parametrize("form", ["version", "--version"])
def test_both_forms_print_the_version(run: Run, form: str) -> None:
    assert (shown := run(form)).status == 0
    assert shown.out == f"ml-agent {__version__}\n"


def test_a_missing_configuration_exits_with_its_own_status(run: Run) -> None:
    refused = run("issue", "alice")
    assert refused.status == EXIT_CONFIGURATION
    assert "config.toml" in refused.err
    assert "ml-agent init --scripts REPOSITORY" in refused.err


def test_an_unknown_egress_proxy_is_an_error_of_the_configuration(ready: Run) -> None:
    refused = ready("egress", "nowhere")
    assert refused.status == EXIT_CONFIGURATION
    assert "There is no egress.nowhere." in refused.err


def test_an_unusable_file_is_named_without_a_traceback(ready: Run, home: Path) -> None:
    (home / "file").write_text("")
    refused = ready("audit", "--archive", str(home / "file/old.jsonl"), "--before", "0s")
    assert refused.status == EXIT_FAILURE
    assert f"error: {home}/file cannot be used: File exists." in refused.err
    assert "hint: Check the path" in refused.err


@pytest.mark.parametrize("error", [OSError(9, "Bad file descriptor"), TimeoutError()])
def test_a_bug_keeps_its_traceback(ready: Run, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def broken() -> None:
        raise error

    monkeypatch.setattr(secrets, "load", broken)
    with pytest.raises(OSError) as raised:  # noqa: PT011 (this very one)
        ready("secret", "list")
    assert raised.value is error
