"""A journalctl that shows the entries of a test."""

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.logs import history, journal
from agent.logs.entries import Fields
from tests.support.stand_in_journal import StandInEntries, exported


@pytest.fixture
def journal_has(journalctl: Callable[[str], None], tmp_path: Path) -> Callable[[list[Fields]], None]:
    """Lets journalctl show these entries: all, from a cursor on, or the newest with a message id."""

    def place(entries: list[Fields]) -> None:
        marks = [each for each in reversed(entries) if "MESSAGE_ID" in each]
        shown = {"all": entries}
        shown |= {f"mark{n:02}.{mark['MESSAGE_ID'].decode()}": [mark] for n, mark in enumerate(marks)}
        shown |= {f"from{number:x}": entries[number:] for number in range(len(entries))}
        for name, some in shown.items():
            (tmp_path / name).write_bytes(b"".join(map(exported, some)))
        journalctl(
            f"""cd {tmp_path}
            for argument; do
                case $argument in
                --cursor=*) exec cat "from${{argument##*x=}}" ;;
                --lines=1)
                    for mark in mark*; do
                        case $* in *MESSAGE_ID=${{mark#*.}}*) exec cat "$mark" ;; esac
                    done
                    exit ;;
                esac
            done
            exec cat all"""
        )

    return place


@pytest.fixture(params=["at once", "by journalctl"])
def either_way_has(
    request: pytest.FixtureRequest,
    journal_has: Callable[[list[Fields]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[list[Fields]], None]:
    """The same, for entries that are read in one go or, once more, too many for that."""

    def place(entries: list[Fields]) -> None:
        journal_has(entries)
        if request.param == "at once":
            monkeypatch.setattr(history, "Entries", lambda *groups: StandInEntries(lambda: entries))
        else:
            monkeypatch.setattr(journal, "short_log", lambda unit, after: None)

    return place
