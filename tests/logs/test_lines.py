"""Positions in a log, and the lines and gaps that a unit's entries become."""

import pytest

from agent.errors import AgentError, Problem
from agent.logs.entries import SUPPRESSED
from agent.logs.lines import ENDED, Gap, Line, LineNumbering, Position
from agent.model.log import GapCause, LogSource, LogStream
from tests.support.log_entries import BEGINNING, CURSOR, entry, restarts


def test_a_position_is_read_back() -> None:
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
def test_an_event_id_that_no_stream_has_is_refused(event_id: str) -> None:
    with pytest.raises(AgentError) as caught:
        Position.parse(event_id)
    assert caught.value.problem is Problem.INVALID_REQUEST
    assert caught.value.fields[0].field == "Last-Event-ID"


UNITS_OWN = (
    b"/user.slice/user-1000.slice/user@1000.service/ml.slice/ml-jobs.slice/ml-job@abcdefghij23.service"
)
RUNTIME = UNITS_OWN + b"/runtime"
PAYLOAD = UNITS_OWN + b"/libpod-payload-" + b"0123456789abcdef" * 4


def test_lines_are_numbered_from_the_position_on() -> None:
    numbering = LineNumbering(Position(7, "earlier"))
    lines = numbering.number([entry(b"a"), entry(b"b")])
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
def test_a_line_has_its_source(fields: dict[str, bytes], source: LogSource) -> None:
    (line,) = LineNumbering(Position()).number([entry(**fields)])
    assert isinstance(line, Line)
    assert line.source is source


@pytest.mark.parametrize(
    ("fields", "stream"),
    [
        ({"PRIORITY": b"6"}, LogStream.STDOUT),
        ({"PRIORITY": b"5"}, LogStream.STDERR),
        ({"PRIORITY": b"5", "_COMM": b"podman", "_SYSTEMD_CGROUP": RUNTIME}, None),
        ({"PRIORITY": b"6", "_COMM": b"systemd-cat", "_SYSTEMD_CGROUP": UNITS_OWN}, None),
        ({"PRIORITY": b"5", "_TRANSPORT": b"journal"}, None),
    ],
)
def test_a_line_of_the_job_has_its_stream(fields: dict[str, bytes], stream: LogStream | None) -> None:
    (line,) = LineNumbering(Position()).number([entry(**fields)])
    assert isinstance(line, Line)
    assert line.stream is stream


def test_podmans_container_id_is_not_a_line() -> None:
    numbering = LineNumbering(Position())
    assert numbering.number([entry(b"0123456789abcdef" * 4, _COMM=b"podman", _SYSTEMD_CGROUP=RUNTIME)]) == []
    assert numbering.position == Position(0, CURSOR)
    assert len(numbering.number([entry(b"Error: no such image", _COMM=b"podman")])) == 1


def test_a_job_may_print_what_looks_like_a_container_id() -> None:
    assert len(LineNumbering(Position()).number([entry(b"0123456789abcdef" * 4)])) == 1


@pytest.mark.parametrize(("dropped", "count"), [(b"17", 17), (b"", None), (b"many", None)])
def test_dropped_messages_are_a_gap_with_their_count(dropped: bytes, count: int | None) -> None:
    numbering = LineNumbering(Position(3, "earlier"))
    (gap,) = numbering.number([entry(MESSAGE_ID=SUPPRESSED, N_DROPPED=dropped, _TRANSPORT=b"driver")])
    assert isinstance(gap, Gap)
    assert (gap.after, gap.dropped, gap.cause) == (3, count, GapCause.RATE_LIMIT)
    assert numbering.position == Position(3, CURSOR)


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
def test_a_killed_journald_is_a_gap_in_a_running_job(kinds: str, gaps: list[int]) -> None:
    taken = LineNumbering(Position()).number(restarts(kinds))
    lines = [item for item in taken if isinstance(item, Line) and item.source is LogSource.JOB]
    assert len(lines) == kinds.count("l")
    found = [item for item in taken if isinstance(item, Gap)]
    assert [(gap.after, gap.cause) for gap in found] == [(each, GapCause.JOURNALD_KILLED) for each in gaps]


def test_a_power_cut_is_one_gap_however_often_the_host_boots() -> None:
    numbering = LineNumbering(Position())
    taken = [*numbering.number(restarts("bl")), *numbering.number(restarts("uu", boot="1" * 32))]
    taken += numbering.number(restarts("u", boot="2" * 32))
    assert [type(item) for item in taken] == [Line, Line, Gap]


def test_a_line_has_the_exact_bytes() -> None:
    (line,) = LineNumbering(Position()).number([entry(b"a\xff\x1b[31m\rb")])
    assert isinstance(line, Line)
    assert line.text == b"a\xff\x1b[31m\rb"


def test_a_line_that_journald_cut_is_marked() -> None:
    cut, rest = LineNumbering(Position()).number([entry(b"a", _LINE_BREAK=b"line-max"), entry(b"b")])
    assert isinstance(cut, Line)
    assert isinstance(rest, Line)
    assert (cut.continued, rest.continued) == (True, False)


def test_the_closing_entry_closes_the_log() -> None:
    numbering = LineNumbering(Position())
    numbering.number([entry()])
    assert not numbering.closed
    numbering.number([entry(MESSAGE_ID=ENDED, _TRANSPORT=b"journal", _COMM=b"logger")])
    assert numbering.closed


def test_systemds_last_word_closes_the_log() -> None:
    numbering = LineNumbering(Position())
    numbering.number(restarts("blf"))
    assert numbering.closed


def test_a_unit_that_is_skipped_does_not_open_its_log_again() -> None:
    numbering = LineNumbering(Position())
    numbering.number(restarts("blefs"))
    assert numbering.closed


def test_another_attempt_opens_the_log_again() -> None:
    numbering = LineNumbering(Position())
    numbering.number([entry(MESSAGE_ID=ENDED), entry(MESSAGE_ID=BEGINNING)])
    assert not numbering.closed


def test_a_closing_entry_cannot_be_printed() -> None:
    numbering = LineNumbering(Position())
    numbering.number([entry(b"MESSAGE_ID=" + ENDED)])
    assert not numbering.closed
