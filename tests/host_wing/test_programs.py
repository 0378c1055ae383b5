"""What other programs say, whatever becomes of them."""

import asyncio
from pathlib import Path

import pytest

from agent.host import programs
from tests.support.ml_agent import put_on_path


def test_a_program_that_is_missing_or_too_slow_prints_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_path(tmp_path / "bin", "slow", "echo begun; exec sleep 60", monkeypatch)
    put_on_path(tmp_path / "bin", "failing", "echo said; echo why >&2; exit 3", monkeypatch)
    monkeypatch.setattr(programs, "TIMEOUT", 0.2)
    assert asyncio.run(programs.output("slow")) == ""
    assert asyncio.run(programs.output("not-a-program")) == ""
    assert asyncio.run(programs.output("failing")) == "said\n"
    assert asyncio.run(programs.output("failing", errors=True)) == "said\nwhy\n"


@pytest.mark.parametrize(("said", "follows"), [("yes", True), ("no", False), ("", None), ("n/a", None)])
def test_the_clock_is_synchronised_only_if_systemd_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, follows: bool | None
) -> None:
    put_on_path(
        tmp_path / "bin",
        "timedatectl",
        f'[ "$2" = --property=NTPSynchronized ] && echo "{said}"',
        monkeypatch,
    )
    assert asyncio.run(programs.synchronised()) is follows
    assert asyncio.run(programs.read_clocks()).synchronised is (follows is True)
    assert asyncio.run(programs.read_clocks(ask=False)).synchronised is False
