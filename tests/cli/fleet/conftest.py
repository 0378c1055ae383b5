"""`ml-fleet` in an account of its own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.cli.fleet import main
from tests.support import ml_agent
from tests.support.ml_agent import Run


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The account's home directory, with a repository of scripts."""
    home = tmp_path / "home"
    home.mkdir()
    ml_agent.make_account(home, monkeypatch)
    return home


@pytest.fixture
def run(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `ml-fleet`."""
    return ml_agent.runner(monkeypatch, capsys, main.main)


@pytest.fixture
def agent(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `ml-agent`."""
    return ml_agent.runner(monkeypatch, capsys)


Switch = Callable[[str], Path]


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Switch:
    """Makes another account this process's, or an earlier one again; returns its home."""

    def switch(name: str) -> Path:
        home = tmp_path / name
        if home.exists():
            monkeypatch.setenv("HOME", str(home))
        else:
            home.mkdir()
            ml_agent.make_account(home, monkeypatch)
        return home

    return switch
