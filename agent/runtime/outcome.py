"""How a job ended: from the marks that its unit left to its terminal state.

`units/ml-job-ended` and `units/ml-job-stopping` write the marks in systemd's terms (systemd.exec(5)).
"""

import os
import re
import signal
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ..model.job import JobState, Reason

UNKNOWN = "?"  # the container's status, in an exit record
RECORD = re.compile(r"(\S+) (\S+) (\S+) (\S+)(?: ([0-9]{1,3}|\?))?")
MAX_MARK = 1024  # bytes, which the agent reserves; a record has about 70
# Results of systemd that follow from conmon's own exit.
ENDED_BY_ITSELF = ("exit-code", "signal", "core-dump")
# Signals by which the kernel or a library ends a program that cannot go on: conmon, for want of memory, say.
CRASHES = ("ABRT", "BUS", "FPE", "ILL", "SEGV", "SYS", "TRAP", "XFSZ")
STOP_SIGNALS = (128 + signal.SIGTERM, 128 + signal.SIGKILL)  # exit statuses of a job that systemd stopped


@dataclass(frozen=True)
class ExitRecord:
    """What systemd recorded: `$SERVICE_RESULT`, `$EXIT_CODE`, `$EXIT_STATUS` ("-" without a main process).

    The main process is conmon, which exits with the container's status, unless it or Podman fails at the end.
    `container` is then that status as conmon recorded it, or `UNKNOWN`; it is empty where nothing failed.
    """

    result: str
    code: str
    status: str
    invocation_id: str
    ended_at: datetime
    container: str = ""

    @property
    def exit_status(self) -> int | None:
        """The exit status of the container: 128 + n after signal n, None if it is unknown, or never ran."""
        if self.container.isdigit():
            return int(self.container)
        if self.status_is_lost:
            return None
        if self.code == "exited" and self.status.isdigit():
            return int(self.status)
        number = getattr(signal, f"SIG{self.status}", None)
        return 128 + number if isinstance(number, signal.Signals) else None

    @property
    def status_is_lost(self) -> bool:
        """Whether conmon ended in a way that says nothing of the container's end."""
        return self.container == UNKNOWN and (self.code == "exited" or self.status in CRASHES)


@dataclass(frozen=True)
class Outcome:
    """A terminal state, its reason, and a sentence for people."""

    status: JobState
    reason: Reason | None = None
    message: str | None = None


STOPPED_BY_HAND = Outcome(JobState.CANCELLED, Reason.STOPPED, "Somebody stopped the job's unit on the host.")


def read_mark(path: Path) -> tuple[str, datetime] | None:
    """The text of a mark and the time when it was made; None if there is no mark."""
    try:
        with open(path, "rb", buffering=0) as file:
            text = file.read(MAX_MARK).decode("utf-8", "replace")
            return text.strip(), _modified(os.fstat(file.fileno()))
    except FileNotFoundError:
        return None


def mark_time(path: Path) -> datetime:
    """When the unit made the mark, to the millisecond."""
    return _modified(path.stat())


def _modified(state: os.stat_result) -> datetime:
    return datetime.fromtimestamp(state.st_mtime_ns // 10**6 / 1e3, UTC)


def read_record(path: Path) -> ExitRecord | None:
    """The exit record; None if it is missing or damaged."""
    mark = read_mark(path)
    if mark is None or (match := RECORD.fullmatch(mark[0])) is None:
        return None
    result, code, status, invocation_id, container = match.groups("")
    return ExitRecord(result, code, status, invocation_id, mark[1], container)


def read_excess(path: Path) -> Outcome | None:
    """Why the agent itself stopped the job; None if it did not."""
    mark = read_mark(path)
    if mark is None:
        return None
    reason, _, message = mark[0].partition(" ")
    if reason not in list(Reason):  # a power cut came after the name was on the disk, and before the text
        return None
    status = JobState.CANCELLED if reason in (Reason.STOPPED, Reason.PRUNED) else JobState.FAILED
    return Outcome(status, Reason(reason), message)


def outcome(
    record: ExitRecord, *, started: bool, stopping: str | None, cancelled: bool, excess: Outcome | None = None
) -> Outcome:
    """The terminal state that an exit record proves.

    `started`: the container ran. `stopping`: what ExecStop= wrote, "success" if somebody asked systemd to
    stop the running job. `cancelled`: a client asked for the end. `excess`: why the agent stopped the job.
    """
    # A unit that is stopped while it starts is killed, and ExecStop= does not run.
    killed_in_start = record.result in ("success", "exit-code", "signal") and (
        record.exit_status in STOP_SIGNALS and stopping is None
    )
    if stopping == "success" or ((cancelled or excess) and (not started or killed_in_start)):
        if cancelled:
            return Outcome(JobState.CANCELLED, Reason.CANCELLED)
        if excess:
            return excess
        return STOPPED_BY_HAND
    if not started and record.result == "success" and record.code == "killed":
        return STOPPED_BY_HAND
    if not started:
        return Outcome(JobState.FAILED, Reason.START_FAILED, "The container did not start; its log says why.")
    status = record.exit_status
    if record.result in ENDED_BY_ITSELF and record.status_is_lost:
        return interrupted("The script ended, but Podman could not record its exit status.")
    if status == 0 and (record.result == "success" or record.result in ENDED_BY_ITSELF):
        return Outcome(JobState.COMPLETED)
    if record.result == "timeout":
        return Outcome(JobState.FAILED, Reason.TIMEOUT, "The job ran for longer than its limit.")
    if record.result == "oom-kill":
        return Outcome(JobState.FAILED, Reason.OOM_KILL, "The job needed more memory than its limit.")
    if status is not None and status > 128 and (name := _signal_name(status - 128)):
        return Outcome(JobState.FAILED, Reason.SIGNAL, f"The job was killed by {name}.")
    by_itself = status is not None and record.result in ENDED_BY_ITSELF
    told = f"The script exited with status {status}." if by_itself else record.result
    return Outcome(JobState.FAILED, Reason.EXIT_CODE, told)


def interrupted(message: str) -> Outcome:
    """The end of a job whose processes have gone without an exit record."""
    return Outcome(JobState.FAILED, Reason.INTERRUPTED, message)


def _signal_name(number: int) -> str | None:
    try:
        return signal.Signals(number).name
    except ValueError:
        return None
