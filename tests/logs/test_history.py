"""What the journal has of a unit: by a journalctl that misbehaves, and read in one go."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from agent.errors import AgentError
from agent.logs import history as history_module
from agent.logs import journal, journal_files
from agent.logs.entries import Fields
from agent.logs.journal import Journal
from agent.logs.lines import Gap, Item, Line, LineNumbering, Position
from agent.logs.sdjournal import JournalError
from tests.support.log_entries import BEGINNING, CURSOR, entry, restarts, texts
from tests.support.stand_in_journal import StandInEntries


def item(cursor: str, text: str, **fields: str) -> str:
    """An entry for printf(1), as journalctl exports it."""
    lines = {"__CURSOR": cursor, "_TRANSPORT": "stdout", "MESSAGE": text} | fields
    return "".join(f"{name}={value}\\n" for name, value in lines.items()) + "\\n"


def history(position: Position) -> AsyncIterator[list[Item]]:
    return Journal().history("ml-job@x.service", LineNumbering(position))


async def test_a_failing_journalctl_is_an_error(journalctl: Callable[[str], None]) -> None:
    journalctl("echo 'Bad message' >&2; exit 1")
    with pytest.raises(AgentError, match="Bad message"):
        await texts(history(Position()))


async def test_another_entry_in_place_of_the_requested_one_is_a_gap(
    journalctl: Callable[[str], None],
) -> None:
    journalctl(f"printf '{item('other', 'later')}'")
    assert await texts(history(Position(5, CURSOR))) == ["gap after 5", "later"]


async def test_a_journal_without_the_requested_entry_is_a_gap(
    journalctl: Callable[[str], None],
) -> None:
    journalctl("true")
    assert await texts(history(Position(5, CURSOR))) == ["gap after 5"]


async def test_an_incomplete_entry_is_read_again(journalctl: Callable[[str], None], tmp_path: Path) -> None:
    torn = item("b", "torn").partition("_TRANSPORT")[0]
    whole = "".join(item(name, text) for name, text in (("b", "torn"), ("c", "next")))
    journalctl(
        f"""test -e {tmp_path}/again && exec printf '{item(CURSOR, "seen")}{whole}'
        touch {tmp_path}/again
        printf '{item(CURSOR, "seen")}{torn}{item("c", "next")}'"""
    )
    assert await texts(history(Position(5, CURSOR))) == ["torn", "next"]


async def test_an_entry_that_stays_unreadable_is_a_gap(
    journalctl: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "TORN_PAUSE", 0.0)
    monkeypatch.setattr(journal, "TORN_LOOKS", 2)
    torn = item("b", "torn").partition("_TRANSPORT")[0]
    journalctl(
        f"""case "$*" in
        *--cursor=b*) exec printf '{torn}{item("c", "next")}' ;;
        *) exec printf '{item(CURSOR, "seen")}{torn}{item("c", "next")}' ;;
        esac"""
    )
    assert await texts(history(Position(5, CURSOR))) == ["gap after 5", "next"]


async def test_the_requested_entry_is_not_repeated(journalctl: Callable[[str], None]) -> None:
    journalctl(f"printf '{item(CURSOR, 'seen')}{item('next', 'new')}'")
    assert await texts(history(Position(5, CURSOR))) == ["new"]


async def test_a_forgotten_beginning_is_a_gap(journalctl: Callable[[str], None]) -> None:
    journalctl(f"printf '{item('a', 'later')}'")
    assert await texts(history(Position())) == ["gap after 0", "later"]
    journalctl(f"printf '{item('a', 'Starting', MESSAGE_ID=BEGINNING.decode())}{item('b', 'first')}'")
    assert await texts(history(Position())) == ["Starting", "first"]


@pytest.mark.parametrize(
    ("kinds", "gaps"),
    [
        ("bl", []),
        ("lbl", []),  # journald reads what a job prints and what systemd says from two sockets
        ("ubl", []),
        ("blebl", []),
        ("lle", [0]),
        ("llebl", [0]),  # of the first attempt, the beginning is gone
        ("ebl", [0]),
        ("llfbl", [0]),
    ],
)
async def test_a_forgotten_beginning_is_a_gap_even_if_later_attempts_have_theirs(
    kinds: str,
    gaps: list[int],
    journal_has: Callable[[list[Fields]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entries = restarts(kinds)
    journal_has(entries)
    monkeypatch.setattr(history_module, "Entries", lambda *groups: StandInEntries(lambda: entries))
    long = [item async for items in history(Position()) for item in items]
    assert [item.after for item in long if isinstance(item, Gap)] == gaps
    assert await Journal().short("x.service", LineNumbering(Position())) == long


@pytest.mark.parametrize(
    ("texts", "then", "is_short"),
    [
        ([b"1", b"2"], "nothing", True),
        ([b"1"] * history_module.SHORT_ENTRIES, "nothing", True),
        ([b"1"] * (history_module.SHORT_ENTRIES + 1), "nothing", False),
        ([b"1" * history_module.SHORT_BYTES, b"2", b"3"], "nothing", False),
        ([b"1", b""], "nothing", False),
        ([b"1", b"2"], "an error", False),
        ([b"1", b"2"], "a file goes", False),
    ],
)
async def test_only_a_short_and_stable_log_is_read_in_one_go(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, texts: list[bytes], then: str, is_short: bool
) -> None:
    file = tmp_path / "machine/user.journal"
    file.parent.mkdir()
    file.touch()
    monkeypatch.setattr(journal_files, "DIRECTORIES", (tmp_path,))
    entries = [entry(text, __CURSOR=b"c") for text in texts]
    for each in entries:
        if not each["MESSAGE"]:
            del each["MESSAGE"]  # as of one that is being written

    def look() -> list[Fields]:
        if then == "a file goes":
            file.unlink(missing_ok=True)
        if then == "an error":
            raise JournalError("Bad message")
        return entries

    monkeypatch.setattr(history_module, "Entries", lambda *groups: StandInEntries(look))
    numbering = LineNumbering(Position())
    items = await Journal().short("x.service", numbering)
    assert (items is not None) == is_short
    if items is None:
        assert numbering.position == Position()
    else:
        # The beginning is not among them.
        assert isinstance(items[0], Gap)
        assert [item.text for item in items[1:] if isinstance(item, Line)] == texts
