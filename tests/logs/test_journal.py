"""Numbering and positions for what is pure, the host's journald for the rest."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from agent.errors import AgentError, Problem
from agent.logs import journal, journal_files
from agent.logs.entries import JOURNALD_STARTED, JOURNALD_STOPPED, SUPPRESSED, Fields
from agent.logs.journal import Journal
from agent.logs.lines import ENDED, Gap, Item, Line, LineNumbering, Position
from agent.logs.sdjournal import JournalError
from agent.logs.tail import Subscription
from agent.model.log import LogSource
from tests.support.stand_in_journal import StandInEntries, exported
from tests.support.waiting import run, until

BEGINNING = b"7d4958e842da4a758f6c1cdc7b36dcc5"
CURSOR = f"s={'a' * 32};i=1f;b={'0' * 32};m=1;t=2;x=3"


def test_a_position_reads_back_as_it_was_written() -> None:
    position = Position(42, CURSOR)
    assert Position.parse(str(position)) == position


@pytest.mark.parametrize(
    "event_id",
    [
        "",
        "1",
        "1:",
        f":{CURSOR}",
        f"-1:{CURSOR}",
        f"1.5:{CURSOR}",
        f"٣:{CURSOR}",
        f"{'9' * 19}:{CURSOR}",
        f"1:{CURSOR}\n",
        f"1:{CURSOR} --file=/etc/passwd",
        f"1:{CURSOR.upper()}",
        f"1:{CURSOR};z=1",
        "1:--output=json",
        "1:../../x",
        "1:" + "a" * 5000,
    ],
)
def test_an_event_id_that_journald_cannot_have_made_is_refused(event_id: str) -> None:
    with pytest.raises(AgentError) as caught:
        Position.parse(event_id)
    assert caught.value.problem is Problem.INVALID_REQUEST
    assert caught.value.fields[0].field == "Last-Event-ID"


UNITS_OWN = (
    b"/user.slice/user-1000.slice/user@1000.service/ml.slice/ml-jobs.slice/ml-job@abcdefghij23.service"
)
RUNTIME = UNITS_OWN + b"/runtime"
PAYLOAD = UNITS_OWN + b"/libpod-payload-" + b"0123456789abcdef" * 4


def entry(message: bytes = b"text", **fields: bytes) -> Fields:
    return {
        "__CURSOR": CURSOR.encode(),
        "__REALTIME_TIMESTAMP": b"1767225600123456",
        "_TRANSPORT": b"stdout",
        "_COMM": b"python3",
        "MESSAGE": message,
    } | fields


def test_lines_are_numbered_from_the_position_on() -> None:
    numbering = LineNumbering(Position(7, "earlier"))
    lines = numbering.take([entry(b"a"), entry(b"b")])
    assert [(line.number, line.text) for line in lines if isinstance(line, Line)] == [(8, b"a"), (9, b"b")]
    assert numbering.position == Position(9, CURSOR)


@pytest.mark.parametrize(
    ("fields", "source"),
    [
        ({}, LogSource.JOB),
        ({"_COMM": b"podman", "_SYSTEMD_CGROUP": RUNTIME}, LogSource.SYSTEM),
        ({"_COMM": b"crun", "_SYSTEMD_CGROUP": RUNTIME}, LogSource.SYSTEM),
        ({"_COMM": b"podman", "_SYSTEMD_CGROUP": RUNTIME.removesuffix(b"/runtime")}, LogSource.SYSTEM),
        # A job's process that calls itself so, in a cgroup that it called so, or that has ended by now.
        ({"_COMM": b"podman", "_SYSTEMD_CGROUP": PAYLOAD}, LogSource.JOB),
        ({"_COMM": b"podman", "_SYSTEMD_CGROUP": PAYLOAD + b"/x.service/runtime"}, LogSource.JOB),
        ({"_COMM": b"podman"}, LogSource.JOB),
        ({"_TRANSPORT": b"journal", "_COMM": b"systemd"}, LogSource.SYSTEM),
    ],
)
def test_a_line_says_whose_it_is(fields: dict[str, bytes], source: LogSource) -> None:
    (line,) = LineNumbering(Position()).take([entry(**fields)])
    assert isinstance(line, Line)
    assert line.source is source


def test_the_container_id_that_podman_prints_takes_no_number() -> None:
    numbering = LineNumbering(Position())
    assert numbering.take([entry(b"0123456789abcdef" * 4, _COMM=b"podman", _SYSTEMD_CGROUP=RUNTIME)]) == []
    assert numbering.position == Position(0, CURSOR)
    assert len(numbering.take([entry(b"Error: no such image", _COMM=b"podman")])) == 1


def test_a_job_that_prints_what_looks_like_a_container_id_keeps_its_line() -> None:
    assert len(LineNumbering(Position()).take([entry(b"0123456789abcdef" * 4)])) == 1


@pytest.mark.parametrize(("dropped", "count"), [(b"17", 17), (b"", None), (b"many", None)])
def test_what_journald_dropped_is_a_gap_with_its_count(dropped: bytes, count: int | None) -> None:
    numbering = LineNumbering(Position(3, "earlier"))
    (gap,) = numbering.take([entry(MESSAGE_ID=SUPPRESSED, N_DROPPED=dropped, _TRANSPORT=b"driver")])
    assert isinstance(gap, Gap)
    assert (gap.after, gap.dropped) == (3, count)
    assert numbering.position == Position(3, CURSOR)


def restarts(kinds: str, boot: str = "0" * 32) -> list[Fields]:
    """Entries of a unit or of journald, one a letter: Begin, line, Up, Down, End."""
    meanings = {
        "b": {"MESSAGE_ID": BEGINNING, "_TRANSPORT": b"journal", "_COMM": b"systemd"},
        "l": {},
        "u": {"MESSAGE_ID": JOURNALD_STARTED},
        "d": {"MESSAGE_ID": JOURNALD_STOPPED},
        "e": {"MESSAGE_ID": ENDED, "_TRANSPORT": b"journal"},
    }
    head = f"s={'a' * 32};i=1;b={boot};m=1;t=2;x="
    return [
        entry(**meanings[kind], __CURSOR=f"{head}{number:x}".encode()) for number, kind in enumerate(kinds)
    ]


@pytest.mark.parametrize(
    ("kinds", "gaps"),
    [
        ("blul", [2]),  # journald was killed
        ("bluulu", [2, 2, 3]),
        ("bldul", []),  # it was restarted in order
        ("ubl", []),  # before the job
        ("blul" + "eu", [2]),  # after it
        ("bleu" + "blu", [5]),  # in its second attempt alone
    ],
)
def test_a_journald_that_was_killed_may_have_lost_lines_of_a_job_that_ran(
    kinds: str, gaps: list[int]
) -> None:
    taken = LineNumbering(Position()).take(restarts(kinds))
    lines = [item for item in taken if isinstance(item, Line) and item.source is LogSource.JOB]
    assert len(lines) == kinds.count("l")
    assert [item.after for item in taken if isinstance(item, Gap)] == gaps


def test_a_host_that_lost_its_power_leaves_one_gap_however_often_it_boots_again() -> None:
    numbering = LineNumbering(Position())
    taken = [*numbering.take(restarts("bl")), *numbering.take(restarts("uu", boot="1" * 32))]
    taken += numbering.take(restarts("u", boot="2" * 32))
    assert [type(item) for item in taken] == [Line, Line, Gap]


def test_a_line_has_the_very_bytes() -> None:
    (line,) = LineNumbering(Position()).take([entry(b"a\xff\x1b[31m\rb")])
    assert isinstance(line, Line)
    assert line.text == b"a\xff\x1b[31m\rb"


def test_a_line_that_journald_cut_says_so() -> None:
    cut, rest = LineNumbering(Position()).take([entry(b"a", _LINE_BREAK=b"line-max"), entry(b"b")])
    assert isinstance(cut, Line)
    assert isinstance(rest, Line)
    assert (cut.continued, rest.continued) == (True, False)


def test_the_closing_entry_is_noticed() -> None:
    numbering = LineNumbering(Position())
    numbering.take([entry()])
    assert not numbering.closed
    numbering.take([entry(MESSAGE_ID=ENDED, _TRANSPORT=b"journal", _COMM=b"logger")])
    assert numbering.closed


def test_a_job_that_is_tried_again_is_not_closed() -> None:
    numbering = LineNumbering(Position())
    numbering.take([entry(MESSAGE_ID=ENDED), entry(MESSAGE_ID=BEGINNING)])
    assert not numbering.closed


def test_a_closing_entry_cannot_be_printed() -> None:
    numbering = LineNumbering(Position())
    numbering.take([entry(b"MESSAGE_ID=" + ENDED)])
    assert not numbering.closed


# --- a journalctl that misbehaves ---------------------------------------------------------------------


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


def item(cursor: str, text: str, **fields: str) -> str:
    """An entry for printf(1), as journalctl exports it."""
    lines = {"__CURSOR": cursor, "_TRANSPORT": "stdout", "MESSAGE": text} | fields
    return "".join(f"{name}={value}\\n" for name, value in lines.items()) + "\\n"


async def texts(batches: AsyncIterator[list[Item]]) -> list[str]:
    return [
        item.text.decode() if isinstance(item, Line) else f"gap after {item.after}"
        async for items in batches
        for item in items
    ]


def history(position: Position) -> AsyncIterator[list[Item]]:
    return Journal().history("ml-job@x.service", LineNumbering(position))


async def test_a_journal_that_cannot_be_read_is_no_short_log(journalctl: Callable[[str], None]) -> None:
    journalctl("echo 'Bad message' >&2; exit 1")
    with pytest.raises(AgentError, match="Bad message"):
        await texts(history(Position()))


async def test_an_entry_that_is_not_the_one_asked_for_means_that_lines_are_gone(
    journalctl: Callable[[str], None],
) -> None:
    journalctl(f"printf '{item('other', 'later')}'")
    assert await texts(history(Position(5, CURSOR))) == ["gap after 5", "later"]


async def test_a_journal_without_the_entry_asked_for_means_that_lines_are_gone(
    journalctl: Callable[[str], None],
) -> None:
    journalctl("true")
    assert await texts(history(Position(5, CURSOR))) == ["gap after 5"]


async def test_an_entry_that_journald_is_just_writing_is_looked_at_again(
    journalctl: Callable[[str], None], tmp_path: Path
) -> None:
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


async def test_the_entry_asked_for_is_not_told_again(journalctl: Callable[[str], None]) -> None:
    journalctl(f"printf '{item(CURSOR, 'seen')}{item('next', 'new')}'")
    assert await texts(history(Position(5, CURSOR))) == ["new"]


async def test_a_log_without_its_beginning_has_a_gap_there(journalctl: Callable[[str], None]) -> None:
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
    ],
)
async def test_a_gap_is_where_an_attempts_beginning_is_gone_whatever_began_later(
    kinds: str,
    gaps: list[int],
    journal_has: Callable[[list[Fields]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entries = restarts(kinds)
    journal_has(entries)
    monkeypatch.setattr(journal, "Entries", lambda *groups: StandInEntries(lambda: entries))
    long = [item async for items in history(Position()) for item in items]
    assert [item.after for item in long if isinstance(item, Gap)] == gaps
    assert await Journal().short("x.service", LineNumbering(Position())) == long


@pytest.mark.parametrize(
    ("kinds", "gaps"),
    [("", [0]), ("bl", [2]), ("ble", []), ("blel", []), ("blu", [2]), ("bleb", [4])],
)
async def test_a_log_without_its_closing_entry_says_that_its_end_may_be_missing(
    kinds: str, gaps: list[int], journal_has: Callable[[list[Fields]], None]
) -> None:
    entries = restarts(kinds)
    journal_has(entries)
    numbering = LineNumbering(Position())
    taken = numbering.take(entries)
    for _ in range(2):
        taken += await Journal().unclosed("x.service", numbering)
    assert [item.after for item in taken if isinstance(item, Gap)] == gaps


@pytest.mark.parametrize(("kinds", "gaps"), [("ble", 0), ("blel", 0), ("bl", 1), ("blebl", 1)])
async def test_who_goes_on_behind_the_closing_entry_is_told_of_no_gap(
    kinds: str, gaps: int, journal_has: Callable[[list[Fields]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "SETTLE_LIMIT", 0)
    entries = restarts(kinds)
    journal_has(entries)
    for back in (1, 2):
        numbering = LineNumbering(Position(3, entries[-back]["__CURSOR"].decode()))
        items = [item async for batch in Journal().rest("x.service", numbering) for item in batch]
        assert [type(item) for item in items[back - 1 :]] == [Gap] * gaps


async def test_a_closed_log_behind_which_systemd_says_more_is_whole_at_the_second_look(
    journal_has: Callable[[list[Fields]], None],
) -> None:
    entries = restarts("blel")
    journal_has(entries)
    numbering = LineNumbering(Position())
    items = [item async for batch in Journal().rest("x.service", numbering) for item in batch]
    assert [item.position.number for item in items] == list(range(1, len(items) + 1))
    assert numbering.closed


@pytest.mark.parametrize(
    ("texts", "then", "is_short"),
    [
        ([b"1", b"2"], "nothing", True),
        ([b"1"] * journal.SHORT_ENTRIES, "nothing", True),
        ([b"1"] * (journal.SHORT_ENTRIES + 1), "nothing", False),
        ([b"1" * journal.SHORT_BYTES, b"2", b"3"], "nothing", False),
        ([b"1", b""], "nothing", False),
        ([b"1", b"2"], "an error", False),
        ([b"1", b"2"], "a file goes", False),
    ],
)
async def test_what_is_read_at_once_is_short_and_beyond_doubt(
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

    monkeypatch.setattr(journal, "Entries", lambda *groups: StandInEntries(look))
    numbering = LineNumbering(Position())
    items = await Journal().short("x.service", numbering)
    assert (items is not None) == is_short
    if items is None:
        assert numbering.position == Position()
    else:
        # The beginning is not among them.
        assert isinstance(items[0], Gap)
        assert [item.text for item in items[1:] if isinstance(item, Line)] == texts


# --- the host's journald ------------------------------------------------------------------------------


class Unit:
    """A transient unit that logs as a job's unit does, closing entry included."""

    def __init__(self) -> None:
        self.identifier = f"ml-job@{''.join(secrets.choice('abcdefgh') for _ in range(12))}"
        self.name = self.identifier + ".service"
        self._started = asyncio.Event()
        self._process: asyncio.subprocess.Process

    async def start(self, script: str) -> None:
        """Starts it and returns; `ended` tells when it is over."""
        end = (
            f"printf 'MESSAGE_ID={ENDED.decode()}\\nSYSLOG_IDENTIFIER={self.identifier}\\nMESSAGE=Ended\\n'"
            " | logger --journald"
        )
        self._process = await asyncio.create_subprocess_exec(
            *("systemd-run", "--user", "--quiet", "--wait", "--collect", f"--unit={self.name}"),
            *(f"--property=SyslogIdentifier={self.identifier}", "--property=SyslogLevelPrefix=false"),
            *(f"--property=ExecStopPost=/bin/sh -c {_quoted(end)}", "/bin/sh", "-c", script),
        )
        self._started.set()

    async def ended(self) -> bool:
        """Returns when the unit has ended."""
        await self._started.wait()
        await self._process.wait()
        return True


def _quoted(script: str) -> str:
    return '"' + script.replace("\\", "\\\\").replace("%", "%%") + '"'


async def own(batches: AsyncIterator[list[Item]]) -> list[tuple[int, bytes]]:
    """What the unit itself wrote, with the numbers."""
    return [
        (item.number, item.text)
        async for items in batches
        for item in items
        if isinstance(item, Line) and item.source is LogSource.JOB
    ]


async def followed(unit: Unit) -> list[bytes]:
    items = Journal().follow(unit.name, LineNumbering(Position()), unit.ended)
    return [text for _, text in await own(items)]


@pytest.mark.host
async def test_a_follower_from_before_the_start_sees_every_line_to_the_last() -> None:
    unit = Unit()
    follower = asyncio.create_task(followed(unit))
    await asyncio.sleep(0.3)
    await unit.start("seq 1 3000")
    assert await follower == [b"%d" % number for number in range(1, 3001)]


@pytest.mark.host
async def test_a_process_that_is_gone_at_once_leaves_its_line() -> None:
    for _ in range(5):
        unit = Unit()
        await unit.start("echo only")
        assert await followed(unit) == [b"only"]


@pytest.mark.host
async def test_a_log_resumes_with_the_very_next_line_under_the_same_number() -> None:
    unit = Unit()
    await unit.start("seq 1 50")
    await unit.ended()
    batches = Journal().rest(unit.name, LineNumbering(Position()))
    lines = [item for items in [each async for each in batches] for item in items if isinstance(item, Line)]
    assert [line.number for line in lines] == list(range(1, len(lines) + 1))
    for index in (0, 20, len(lines) - 1):
        position = Position.parse(str(lines[index].position))
        rest = [items async for items in Journal().history(unit.name, LineNumbering(position))]
        assert [item for items in rest for item in items] == lines[index + 1 :]


@pytest.mark.host
async def test_a_short_log_that_is_read_at_once_is_what_history_shows() -> None:
    unit, other = Unit(), Unit()
    await other.start("echo other")
    await unit.start(
        r"seq 1 50; printf '\033[31mred\n\377\376\n'; head -c 60000 /dev/zero | tr '\0' x; echo; echo after"
    )
    await unit.ended()
    await other.ended()
    numberings = [LineNumbering(Position()) for _ in range(2)]
    whole = [item async for items in Journal().rest(unit.name, numberings[0]) for item in items]
    assert await Journal().short(unit.name, numberings[1]) == whole
    assert len(whole) > 55
    first, second = numberings
    assert (first.position, first.closed) == (second.position, second.closed)
    assert first.closed


@pytest.mark.host
async def test_a_long_log_is_not_read_at_once() -> None:
    unit = Unit()
    await unit.start(f"seq 1 {2 * journal.SHORT_ENTRIES}")
    await unit.ended()
    numbering = LineNumbering(Position())
    lines = await own(Journal().rest(unit.name, numbering))
    assert len(lines) == 2 * journal.SHORT_ENTRIES
    assert await Journal().short(unit.name, LineNumbering(Position())) is None


@pytest.mark.host
async def test_history_shows_what_there_is_and_does_not_wait() -> None:
    unit = Unit()
    await unit.start("echo now; sleep 30")
    lines = await until(lambda: own(Journal().history(unit.name, LineNumbering(Position()))))
    assert [text for _, text in lines] == [b"now"]
    await run("systemctl", "--user", "kill", "--signal=KILL", unit.name)
    await unit.ended()


@pytest.mark.host
async def test_hostile_bytes_come_back_as_one_line_each() -> None:
    unit = Unit()
    await unit.start(r"""printf '\033[31mred\033[0m\n 10%%\r 20%%\n\377\376\n<3>not a priority\nno end'""")
    assert await followed(unit) == [
        b"\x1b[31mred\x1b[0m",
        b" 10%\r 20%",
        b"\xff\xfe",
        b"<3>not a priority",
        b"no end",
    ]


@pytest.mark.host
async def test_a_line_longer_than_journalctl_shows_is_whole() -> None:
    unit = Unit()
    await unit.start("head -c 40000 /dev/zero | tr '\\0' x; echo; echo after")
    assert await followed(unit) == [b"x" * 40_000, b"after"]


@pytest.mark.host
async def test_a_unit_without_closing_entry_is_waited_for_and_then_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journal, "SETTLE_LIMIT", 0.5)
    async with asyncio.timeout(3):
        assert await own(Journal().rest(Unit().name, LineNumbering(Position()))) == []


@pytest.mark.host
async def test_another_units_lines_are_not_seen() -> None:
    one, other = Unit(), Unit()
    await one.start("echo one")
    await other.start("echo other")
    assert await followed(one) == [b"one"]
    await other.ended()


async def test_a_follower_that_is_far_behind_is_not_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SETTLE_LIMIT", 0.3)
    monkeypatch.setattr(journal, "SETTLE_INTERVAL", 0.01)
    subscription = Subscription()

    async def print_slowly() -> None:
        for number in range(1, 8):
            # Longer than a look, and all together longer than the limit.
            await asyncio.sleep(0.1)
            subscription.put([entry(b"%d" % number)])

    async def has_ended() -> bool:
        return True

    end, printing = asyncio.create_task(has_ended()), asyncio.create_task(print_slowly())
    await asyncio.wait([end])
    numbering = LineNumbering(Position())
    seen = [item async for items in journal._live(subscription, numbering, end) for item in items]
    await printing
    assert len(seen) == 7
