"""A program that ends between two steps of replacing files."""

from pathlib import Path

import pytest

from agent.host import files
from agent.identity import key_files


class Crash(Exception):
    """The program is gone."""


def crash_after(steps: int, monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
    """Lets so many files be put in their places, then raises `error`, a `Crash` by default."""
    sync, left = files.sync, steps

    def sync_and_count(directory: Path) -> None:
        nonlocal left
        sync(directory)
        left -= 1
        if left == 0:
            raise error or Crash

    for module in (files, key_files):
        monkeypatch.setattr(module, "sync", sync_and_count)
