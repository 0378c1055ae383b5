"""What systemd's journal entries say of an end. The entries are those of systemd 257, fields left out."""

from datetime import UTC, datetime
from typing import Any

import pytest

from agent.runtime.exit_journal import FAILED, PROCESS_EXITED, SUCCEEDED, read
from agent.runtime.outcome import ExitRecord

FIRST, SECOND = "1" * 32, "2" * 32
TIME = "1767225600123999"
WHEN = datetime(2026, 1, 1, 0, 0, 0, 123000, tzinfo=UTC)


def entry(message_id: str, invocation: str = FIRST, **fields: str) -> dict[str, Any]:
    common = {"MESSAGE_ID": message_id, "USER_INVOCATION_ID": invocation, "__REALTIME_TIMESTAMP": TIME}
    return common | fields


def exited(code: str, status: str, invocation: str = FIRST, command: str = "ExecStart") -> dict[str, Any]:
    return entry(PROCESS_EXITED, invocation, COMMAND=command, EXIT_CODE=code, EXIT_STATUS=status)


def failed(result: str, invocation: str = FIRST) -> dict[str, Any]:
    return entry(FAILED, invocation, UNIT_RESULT=result)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([exited("exited", "3"), failed("exit-code")], ("exit-code", "exited", "3")),
        ([exited("killed", "9"), failed("oom-kill")], ("oom-kill", "killed", "KILL")),
        ([exited("dumped", "11"), failed("core-dump")], ("core-dump", "dumped", "SEGV")),
        ([exited("killed", "37"), failed("signal")], ("signal", "killed", "37")),
        ([entry(SUCCEEDED)], ("success", "-", "-")),
        ([exited("exited", "1", command="ExecStopPost"), failed("exit-code")], ("exit-code", "-", "-")),
        ([exited("exited", "4", SECOND), failed("timeout")], ("timeout", "-", "-")),
    ],
)
def test_the_entries_of_an_end_are_a_record(
    entries: list[dict[str, Any]], words: tuple[str, str, str]
) -> None:
    assert read(entries, FIRST, ()) == ExitRecord(*words, FIRST, WHEN)


def test_a_unit_that_has_not_ended_has_no_record() -> None:
    assert read([], FIRST, ()) is None
    assert read([exited("exited", "3")], FIRST, ()) is None
    assert read([failed("exit-code", SECOND)], FIRST, ()) is None


def test_an_invocation_that_nobody_saw_is_the_newest_that_is_no_earlier_attempts() -> None:
    entries = [failed("timeout", FIRST), failed("exit-code", SECOND)]
    for others, invocation in (((), SECOND), ({SECOND}, FIRST)):
        record = read(entries, None, others)
        assert record is not None
        assert record.invocation_id == invocation
    assert read(entries, None, {FIRST, SECOND}) is None
