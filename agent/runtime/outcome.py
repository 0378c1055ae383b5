"""How a job ended: from the marks that its unit left to the state that is true. Pure but for reading them.

`units/ml-job-ended` and `units/ml-job-stopping` write the marks with systemd's own words (systemd.exec(5)).
"""

import os
import signal
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ..model.job import JobState, Reason

MAX_MARK = 1024  # bytes, as the agent sets them aside; a record is about 70
STOP_SIGNALS = (128 + signal.SIGTERM, 128 + signal.SIGKILL)  # exit statuses of a job that systemd stopped


@dataclass(frozen=True)
class ExitRecord:
    """systemd's word: `$SERVICE_RESULT`, `$EXIT_CODE`, `$EXIT_STATUS` ("-" where no main process ended)."""

    result: str
    code: str
    status: str
    invocation_id: str
    ended_at: datetime

    @property
    def exit_status(self) -> int | None:
        """The main process' exit status, 128 + n after signal n, None where there was no process."""
        if self.code == "exited" and self.status.isdigit():
            return int(self.status)
        number = getattr(signal, f"SIG{self.status}", None)
        return 128 + number if isinstance(number, signal.Signals) else None


@dataclass(frozen=True)
class Outcome:
    """A terminal state, why, and a sentence for people."""

    status: JobState
    reason: Reason | None = None
    message: str | None = None


def read_mark(path: Path) -> tuple[str, datetime] | None:
    """A mark's text and the time when it was made, or None where there is none."""
    try:
        with open(path, "rb", buffering=0) as file:
            text = file.read(MAX_MARK).decode("ascii", "replace")
            return text.strip(), _modified(os.fstat(file.fileno()))
    except FileNotFoundError:
        return None


def mark_time(path: Path) -> datetime:
    """When the unit made the mark, to the millisecond."""
    return _modified(path.stat())


def _modified(state: os.stat_result) -> datetime:
    return datetime.fromtimestamp(state.st_mtime_ns // 10**6 / 1e3, UTC)


def read_record(path: Path) -> ExitRecord | None:
    """The exit record, or None where there is none, or one that is damaged."""
    mark = read_mark(path)
    if mark is None:
        return None
    text, ended_at = mark
    words = text.split()
    if len(words) != 4:
        return None
    result, code, status, invocation_id = words
    return ExitRecord(result, code, status, invocation_id, ended_at)


def read_excess(path: Path) -> Outcome | None:
    """Why the agent itself stopped the job: a reason and a sentence; None where it did not."""
    mark = read_mark(path)
    if mark is None:
        return None
    reason, _, message = mark[0].partition(" ")
    if reason not in list(Reason):  # its name was on the disk before its text, and the power was cut
        return None
    return Outcome(JobState.FAILED, Reason(reason), message)


def outcome(
    record: ExitRecord, *, started: bool, stopping: str | None, cancelled: bool, excess: Outcome | None = None
) -> Outcome:
    """The state that the record proves.

    `started` tells whether the container was ever up, `stopping` what ExecStop= noted ("success" where
    somebody asked systemd to stop a live job), `cancelled` whether it was a client who asked, `excess` for
    what the agent did.
    """
    # systemd kills a unit that it is told to stop while it starts, without ExecStop=.
    killed_in_start = record.result in ("success", "exit-code", "signal") and (
        record.exit_status in STOP_SIGNALS and stopping is None
    )
    if stopping == "success" or (cancelled and (not started or killed_in_start)):
        if cancelled:
            return Outcome(JobState.CANCELLED, Reason.CANCELLED)
        if excess:
            return excess
        return stopped_by_hand()
    if not started:
        return Outcome(JobState.FAILED, Reason.START_FAILED, "The container did not start; its log says why.")
    status = record.exit_status
    if record.result == "success" and status == 0:
        return Outcome(JobState.COMPLETED)
    if record.result == "timeout":
        return Outcome(JobState.FAILED, Reason.TIMEOUT, "The job ran for longer than its limit.")
    if record.result == "oom-kill":
        return Outcome(JobState.FAILED, Reason.OOM_KILL, "The job needed more memory than its limit.")
    if status is not None and status > 128 and (name := _signal_name(status - 128)):
        return Outcome(JobState.FAILED, Reason.SIGNAL, f"The job was killed by {name}.")
    return Outcome(
        JobState.FAILED,
        Reason.EXIT_CODE,
        f"The script exited with status {status}." if record.result == "exit-code" else record.result,
    )


def stopped_by_hand() -> Outcome:
    """The end of a job whose unit somebody told systemd to stop."""
    return Outcome(JobState.CANCELLED, Reason.STOPPED, "Somebody stopped the job's unit on the host.")


def interrupted(message: str) -> Outcome:
    """The end of a job whose processes are gone and that left no record of how."""
    return Outcome(JobState.FAILED, Reason.INTERRUPTED, message)


def _signal_name(number: int) -> str | None:
    try:
        return signal.Signals(number).name
    except ValueError:
        return None
