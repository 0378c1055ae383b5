"""What the journal has of a unit: by a journalctl that misbehaves, and read in one go."""

import os
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from agent.errors import AgentError
from agent.logs import history as history_module
from agent.logs import journal
from agent.logs.entries import Fields
from agent.logs.history import forgotten_beginning, last_lines
from agent.logs.job_log import numbering_of
from agent.logs.journal import Journal
from agent.logs.lines import Gap, Item, Line, LineNumbering, Position
from agent.logs.sdjournal import JournalError
from agent.model.base import now as time_now
from agent.model.comparison import NOT_KNOWN, Consumption
from agent.model.job import Attempt
from agent.model.log import LogSource
from tests.support.jobs import make_job
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


def lines_of_kinds(kinds: str) -> list[Fields]:
    """A unit's entries, one a letter: Job line, system line, the runtime's word of a container id."""
    runtime = {"_COMM": b"podman", "_SYSTEMD_CGROUP": b"/user.slice/ml-job@abc.service"}
    meanings = {
        "j": {},
        "s": {"_COMM": b"systemd", "_TRANSPORT": b"journal"},
        "c": {**runtime, "MESSAGE": b"a" * 64},
        "p": {**runtime, "MESSAGE": b"Error: no such container"},
        "f": {"_COMM": b"podman", "_SYSTEMD_CGROUP": b"/user.slice/ml-job@abc.service/libpod-payload-1"},
    }
    head = f"s={'a' * 32};i=1;b={'0' * 32};m=1;t=2;x="
    return [
        entry(**{**meanings[kind], "__CURSOR": f"{head}{number:x}".encode()})
        for number, kind in enumerate(kinds)
    ]


async def test_the_last_lines_of_any_log_have_the_numbers_that_the_whole_log_gives_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for seed in range(200):
        made = random.Random(seed)
        entries = lines_of_kinds("".join(made.choices("jjjscpf", k=made.randint(0, 60))))
        monkeypatch.setattr(
            history_module, "NewestFirst", lambda *groups, made=entries: StandInEntries(lambda: made[::-1])
        )
        whole = LineNumbering(Position()).number(entries)
        own = [item.position for item in whole if isinstance(item, Line) and item.source is LogSource.JOB]
        # From no place, from an earlier end of this log, or from one that the journal no longer has.
        ends = [Position(), Position(7, f"{CURSOR[:-1]}ffff"), *(item.position for item in whole)]
        lines, end = made.randint(0, 20), made.choice(ends)
        found = last_lines("x.service", lines, end)
        if len(own) <= lines:
            assert found is None
        else:
            assert found == (own[-lines - 1], whole[-1].position)


async def test_only_new_lines_are_counted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    entries, looks = lines_of_kinds("j" * 1000), 0

    class Counted(StandInEntries):
        def next(self) -> bool:
            nonlocal looks
            looks += 1
            return super().next()

    monkeypatch.setattr(history_module, "NewestFirst", lambda *groups: Counted(lambda: entries[::-1]))
    log = Journal()
    for more in range(3):
        looks, number = 0, len(entries)
        start = await log.before_last("x.service", 10)
        assert start is not None
        assert (start.number, start.cursor) == (number - 10, entries[-11]["__CURSOR"].decode())
        assert looks == (1001 if not more else 26)
        entries = lines_of_kinds("j" * (number + 25))


async def test_a_journal_that_changes_has_no_last_lines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("agent.logs.entries.DIRECTORIES", (tmp_path,))
    file = tmp_path / "machine/user.journal"
    file.parent.mkdir()
    entries = lines_of_kinds("jjjj")
    for then in ("nothing", "a file goes", "an error"):
        file.touch()

        def look(then: str = then) -> list[Fields]:
            if then == "a file goes":
                file.unlink(missing_ok=True)
            if then == "an error":
                raise JournalError("Bad message")
            return entries[::-1]

        monkeypatch.setattr(history_module, "NewestFirst", lambda *groups, look=look: StandInEntries(look))
        assert (await Journal().before_last("x.service", 2) is not None) == (then == "nothing")


@pytest.mark.parametrize(
    ("attempts", "now", "first_in_journal", "gaps"),
    [
        ([], "a", "a", 0),
        (["a"], "b", "a", 0),
        (["a"], "b", "b", 1),
        (["a", "b"], "c", "b", 1),
        ([None], "b", "b", 0),  # the first attempt did not come to a start
        ([None, "b"], "c", "c", 1),
        ([None], "b", "x", 0),  # it did, but nobody learned of it
        (["a"], None, "a", 0),
        (["a"], "a", "a", 0),
        (["a", "b"], "b", "b", 1),
        (["a"], "b", "", 0),
    ],
)
def test_the_lost_log_of_a_first_attempt_is_a_gap(
    attempts: list[str | None], now: str | None, first_in_journal: str, gaps: int
) -> None:
    ended = [
        Attempt(number=number, invocation_id=each and each * 32, finished_at=time_now())
        for number, each in enumerate(attempts, 1)
    ]
    job = make_job(attempts=ended, invocation_id=now and now * 32)
    begun, line = restarts("bl")
    entries = [begun | {"USER_INVOCATION_ID": first_in_journal.encode() * 32}, line]
    missing = forgotten_beginning(entries, numbering_of(job, Position()))
    assert len(missing) == gaps


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
    monkeypatch.setattr("agent.logs.entries.DIRECTORIES", (tmp_path,))
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


INVOCATION = "0123456789abcdef0123456789abcdef"
USED = {"CPU_USAGE_NSEC": b"1250400000", "MEMORY_PEAK": b"1073741824"}


@pytest.mark.parametrize(
    ("fields", "invocation", "expected"),
    [
        (USED, INVOCATION, Consumption(1.25, 2**30)),
        ({"CPU_USAGE_NSEC": b"0"}, INVOCATION, Consumption(0.0, None)),
        ({"CPU_USAGE_NSEC": b"nonsense", "MEMORY_PEAK": b"9" * 30}, INVOCATION, NOT_KNOWN),
        (USED, "f" * 32, NOT_KNOWN),
    ],
)
async def test_what_an_invocation_used_is_in_its_own_entry(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, bytes], invocation: str, expected: Consumption
) -> None:
    entries = [{"USER_INVOCATION_ID": INVOCATION.encode(), **fields}]
    asked: list[tuple[bytes, ...]] = []

    def newest_first(*groups: tuple[bytes, ...]) -> StandInEntries:
        asked.extend(groups)
        return StandInEntries(lambda: entries)

    monkeypatch.setattr(history_module, "NewestFirst", newest_first)
    assert await Journal().consumption("ml-job@x.service", invocation) == expected
    assert b"USER_UNIT=ml-job@x.service" in asked[0]
    assert b"_UID=%d" % os.getuid() in asked[0], "a job could not write it"


async def test_what_a_job_without_an_invocation_used_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*groups: tuple[bytes, ...]) -> StandInEntries:
        raise JournalError("sd_journal_open: Too many open files")

    monkeypatch.setattr(history_module, "NewestFirst", fails)
    assert await Journal().consumption("ml-job@x.service", None) == NOT_KNOWN
    assert await Journal().consumption("ml-job@x.service", INVOCATION) == NOT_KNOWN
