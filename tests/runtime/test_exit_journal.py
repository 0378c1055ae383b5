"""What systemd's journal entries tell about an end. They are those of systemd 257, with fewer fields."""

from datetime import UTC, datetime

import pytest

from agent.runtime.exit_journal import FAILED, PROCESS_EXITED, SUCCEEDED, record_in
from agent.runtime.outcome import ExitRecord

FIRST, SECOND = "1" * 32, "2" * 32
TIME = "1767225600123999"
WHEN = datetime(2026, 1, 1, 0, 0, 0, 123000, tzinfo=UTC)


def entry(message_id: str, invocation: str = FIRST, **fields: str) -> dict[str, str]:
    common = {"MESSAGE_ID": message_id, "USER_INVOCATION_ID": invocation, "__REALTIME_TIMESTAMP": TIME}
    return common | fields


def exited(code: str, status: str, invocation: str = FIRST, command: str = "ExecStart") -> dict[str, str]:
    return entry(PROCESS_EXITED, invocation, COMMAND=command, EXIT_CODE=code, EXIT_STATUS=status)


def failed(result: str, invocation: str = FIRST) -> dict[str, str]:
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
def test_the_entries_of_an_end_give_a_record(
    entries: list[dict[str, str]], words: tuple[str, str, str]
) -> None:
    assert record_in(entries, FIRST, ()) == ExitRecord(*words, FIRST, WHEN)


def test_a_unit_that_has_not_ended_has_no_record() -> None:
    assert record_in([], FIRST, ()) is None
    assert record_in([exited("exited", "3")], FIRST, ()) is None
    assert record_in([failed("exit-code", SECOND)], FIRST, ()) is None


def test_an_unknown_invocation_is_the_newest_one_of_no_earlier_attempt() -> None:
    entries = [failed("timeout", FIRST), failed("exit-code", SECOND)]
    for others, invocation in (((), SECOND), ({SECOND}, FIRST)):
        record = record_in(entries, None, others)
        assert record is not None
        assert record.invocation_id == invocation
    assert record_in(entries, None, {FIRST, SECOND}) is None
