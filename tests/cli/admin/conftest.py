"""What the tests of `ml-agent` start from."""

from pathlib import Path

import pytest

from tests.support.ml_agent import Run, make_account, runner


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An account of its own, with a git repository of scripts in ~/repository."""
    make_account(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture
def run(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `ml-agent` with arguments."""
    return runner(monkeypatch, capsys)


@pytest.fixture
def ready(run: Run, home: Path) -> Run:
    """The same, after `ml-agent init`."""
    assert run("init", "--scripts", str(home / "repository"), "--san", "ml.example.org").status == 0
    return run
