"""A journalctl that shows the entries of a test."""

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.logs.entries import Fields
from tests.support.stand_in_journal import exported


@pytest.fixture
def journal_has(journalctl: Callable[[str], None], tmp_path: Path) -> Callable[[list[Fields]], None]:
    """Lets journalctl show these entries: all, from a cursor on, or the newest with a message id."""

    def place(entries: list[Fields]) -> None:
        marks = [each for each in entries if "MESSAGE_ID" in each]
        shown = {"all": entries, "newest": marks[-1:]}
        shown |= {f"from{number:x}": entries[number:] for number in range(len(entries))}
        for name, some in shown.items():
            (tmp_path / name).write_bytes(b"".join(map(exported, some)))
        journalctl(
            f"""cd {tmp_path}
            for argument; do
                case $argument in
                --cursor=*) exec cat "from${{argument##*x=}}" ;;
                --lines=1) exec cat newest ;;
                esac
            done
            exec cat all"""
        )

    return place
