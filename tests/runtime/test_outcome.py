import os
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import pytest

from agent.model.job import JobState, Reason
from agent.runtime.outcome import ExitRecord, Outcome, outcome, read_excess, read_mark, read_record

COMPLETED, FAILED, CANCELLED = JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED
WHEN = datetime(2026, 1, 1, tzinfo=UTC)

# $SERVICE_RESULT, $EXIT_CODE, $EXIT_STATUS as systemd.exec(5) pairs them, and what a job ended as that was
# started and that nobody stopped.
RECORDS = {
    ("success", "exited", "0"): (COMPLETED, None),
    ("exit-code", "exited", "1"): (FAILED, Reason.EXIT_CODE),
    ("exit-code", "exited", "125"): (FAILED, Reason.EXIT_CODE),
    ("exit-code", "exited", "255"): (FAILED, Reason.EXIT_CODE),
    ("exit-code", "exited", "139"): (FAILED, Reason.SIGNAL),
    ("exit-code", "exited", "137"): (FAILED, Reason.SIGNAL),
    ("exit-code", "exited", "143"): (FAILED, Reason.SIGNAL),
    ("signal", "killed", "KILL"): (FAILED, Reason.SIGNAL),
    ("core-dump", "dumped", "SEGV"): (FAILED, Reason.SIGNAL),
    ("success", "killed", "TERM"): (FAILED, Reason.SIGNAL),
    ("timeout", "exited", "143"): (FAILED, Reason.TIMEOUT),
    ("timeout", "killed", "KILL"): (FAILED, Reason.TIMEOUT),
    ("timeout", "exited", "0"): (FAILED, Reason.TIMEOUT),
    ("timeout", "-", "-"): (FAILED, Reason.TIMEOUT),
    ("oom-kill", "exited", "137"): (FAILED, Reason.OOM_KILL),
    ("oom-kill", "killed", "KILL"): (FAILED, Reason.OOM_KILL),
    ("resources", "-", "-"): (FAILED, Reason.EXIT_CODE),
    ("protocol", "exited", "0"): (FAILED, Reason.EXIT_CODE),
    ("success", "-", "-"): (FAILED, Reason.EXIT_CODE),
}


def record(result: str, code: str, status: str) -> ExitRecord:
    return ExitRecord(result, code, status, "0" * 32, WHEN)


def expected(words: tuple[str, str, str], started: bool, stopping: str | None, cancelled: bool) -> object:
    """The rules: a requested stop counts first, then a failed start, then the record."""
    if stopping == "success":
        return (CANCELLED, Reason.CANCELLED if cancelled else Reason.STOPPED)
    if not started and cancelled:
        return (CANCELLED, Reason.CANCELLED)
    if not started:
        by_hand = words[:2] == ("success", "killed")
        return (CANCELLED, Reason.STOPPED) if by_hand else (FAILED, Reason.START_FAILED)
    killed = record(*words).exit_status in (137, 143) and words[0] not in ("oom-kill", "timeout")
    if cancelled and killed and stopping is None:
        return (CANCELLED, Reason.CANCELLED)
    return RECORDS[words]


@pytest.mark.parametrize("words", RECORDS, ids=" ".join)
def test_each_record_has_one_outcome(words: tuple[str, str, str]) -> None:
    for started, stopping, cancelled in product((True, False), (None, "success", "timeout"), (True, False)):
        result = outcome(record(*words), started=started, stopping=stopping, cancelled=cancelled)
        assert (result.status, result.reason) == expected(words, started, stopping, cancelled)


def test_only_a_started_job_with_status_0_that_was_not_stopped_is_completed() -> None:
    for words, started, stopping in product(RECORDS, (True, False), (None, "success", "timeout")):
        result = outcome(record(*words), started=started, stopping=stopping, cancelled=False)
        if result.status is COMPLETED:
            assert (words, started) == (("success", "exited", "0"), True)
            assert stopping != "success"


def test_a_job_that_ended_just_before_it_was_cancelled_is_completed() -> None:
    result = outcome(record("success", "exited", "0"), started=True, stopping=None, cancelled=True)
    assert result == Outcome(COMPLETED)


@pytest.mark.parametrize(
    ("stopping", "cancelled", "ends"),
    [
        ("success", False, Reason.ARTIFACT_QUOTA),
        ("success", True, Reason.CANCELLED),
        (None, False, None),
        ("timeout", False, None),
    ],
)
def test_the_agents_own_reason_counts_unless_the_job_ended_otherwise(
    tmp_path: Path, stopping: str | None, cancelled: bool, ends: Reason | None
) -> None:
    (tmp_path / "over").write_text(f"artifact-quota The job left too much.{' ' * 900}")
    excess = read_excess(tmp_path / "over")
    assert excess is not None
    assert excess.message == "The job left too much."
    ended = record("success", "exited", "0")
    result = outcome(ended, started=True, stopping=stopping, cancelled=cancelled, excess=excess)
    assert result.reason is ends


def test_a_job_that_the_agent_did_not_stop_has_no_reason_of_the_agent(tmp_path: Path) -> None:
    assert read_excess(tmp_path / "over") is None


@pytest.mark.parametrize("words", RECORDS, ids=" ".join)
def test_a_failed_job_has_a_message(words: tuple[str, str, str]) -> None:
    result = outcome(record(*words), started=True, stopping=None, cancelled=False)
    assert bool(result.message) == (result.status is FAILED)


@pytest.mark.parametrize(
    ("code", "status", "number"),
    [
        ("exited", "0", 0),
        ("exited", "255", 255),
        ("killed", "KILL", 137),
        ("dumped", "SEGV", 139),
        ("killed", "RTMIN+3", None),
        ("killed", "_DFL", None),
        ("-", "-", None),
        ("exited", "-1", None),
    ],
)
def test_an_exit_status_is_the_number_that_a_shell_reports(
    code: str, status: str, number: int | None
) -> None:
    assert record("x", code, status).exit_status == number


def test_a_record_has_the_time_when_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "ended"
    path.write_text("exit-code exited 3 0123456789abcdef0123456789abcdef\n")
    os.utime(path, ns=(0, 1_767_225_600_123_999_999))
    assert read_record(path) == ExitRecord(
        "exit-code", "exited", "3", "0123456789abcdef" * 2, datetime(2026, 1, 1, 0, 0, 0, 123000, tzinfo=UTC)
    )


def test_a_missing_record_is_none(tmp_path: Path) -> None:
    assert read_record(tmp_path / "ended") is None
    assert read_mark(tmp_path / "stopping") is None


@pytest.mark.parametrize(("word", "container"), [("0", "0"), ("137", "137"), ("?", "?")])
def test_a_record_may_have_the_containers_own_status(tmp_path: Path, word: str, container: str) -> None:
    path = tmp_path / "ended"
    path.write_text(f"exit-code exited 1 {'0' * 32} {word}" + " " * 900 + "\n")
    found = read_record(path)
    assert found is not None
    assert (found.status, found.container) == ("1", container)


# What conmon recorded while it or Podman failed, and what the job ended as.
LOST = {
    # conmon could not record the status: it exits with 1.
    ("exit-code", "exited", "1", "?"): (FAILED, Reason.INTERRUPTED, None),
    # Podman could not remove the container: conmon exits with its status.
    ("exit-code", "exited", "125", "?"): (FAILED, Reason.INTERRUPTED, None),
    ("exit-code", "exited", "125", "0"): (COMPLETED, None, 0),
    ("exit-code", "exited", "125", "3"): (FAILED, Reason.EXIT_CODE, 3),
    ("exit-code", "exited", "137", "0"): (COMPLETED, None, 0),
    ("exit-code", "exited", "1", "139"): (FAILED, Reason.SIGNAL, 139),
    # conmon was killed, before or after it recorded the status.
    ("signal", "killed", "KILL", "?"): (FAILED, Reason.SIGNAL, 137),
    ("signal", "killed", "KILL", "0"): (COMPLETED, None, 0),
    ("core-dump", "dumped", "SEGV", "3"): (FAILED, Reason.EXIT_CODE, 3),
    # conmon crashed.
    ("core-dump", "dumped", "SEGV", "?"): (FAILED, Reason.INTERRUPTED, None),
    ("signal", "killed", "XFSZ", "?"): (FAILED, Reason.INTERRUPTED, None),
    # The limits of the job count, however its container ended.
    ("oom-kill", "killed", "KILL", "?"): (FAILED, Reason.OOM_KILL, 137),
    ("oom-kill", "exited", "125", "137"): (FAILED, Reason.OOM_KILL, 137),
    ("timeout", "exited", "125", "?"): (FAILED, Reason.TIMEOUT, None),
    ("timeout", "exited", "125", "143"): (FAILED, Reason.TIMEOUT, 143),
}


@pytest.mark.parametrize("words", LOST, ids=" ".join)
def test_an_exit_status_of_conmon_or_podman_is_not_given_as_the_scripts(
    words: tuple[str, str, str, str],
) -> None:
    result, code, status, container = words
    ended = ExitRecord(result, code, status, "0" * 32, WHEN, container)
    told = outcome(ended, started=True, stopping=None, cancelled=False)
    assert (told.status, told.reason, ended.exit_status) == LOST[words]
    if told.message:
        assert f"status {status}" not in told.message
    # A stop that somebody asked for counts first, as ever.
    stopped = outcome(ended, started=True, stopping="success", cancelled=True)
    assert stopped == Outcome(CANCELLED, Reason.CANCELLED)


@pytest.mark.parametrize(
    "text",
    ["", "\n", "success exited 0", "a b c d e", "a b c d 1234", "a b c d -1", "a b c d 0 0", "\0" * 4096],
)
def test_a_damaged_record_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ended"
    path.write_text(text)
    assert read_record(path) is None


@pytest.mark.parametrize("text", ["", " " * 1024, "no-such-reason text"])
def test_a_damaged_reason_of_the_agent_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "over"
    path.write_text(text)
    assert read_excess(path) is None
