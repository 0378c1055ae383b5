"""How a job ended according to systemd's journal entries: the second source, if the exit record is missing.

The user manager logs the result of a unit, and the exit of its main process unless that succeeded
(systemd.journal-fields(7), the catalog of `journalctl -x`).
"""

import asyncio
import os
import signal
from collections.abc import Collection
from datetime import UTC, datetime

from ..errors import AgentError
from ..logs.journalctl import read_entries
from .outcome import ExitRecord

SUCCEEDED = "7ad2d189f7e94e70a38c781354912448"  # SD_MESSAGE_UNIT_SUCCESS
FAILED = "d9b373ed55a64feb8242e02dbe79a49c"  # SD_MESSAGE_UNIT_FAILURE_RESULT
PROCESS_EXITED = "98e322203f7a4ed290d09fe03c09fe15"  # SD_MESSAGE_UNIT_PROCESS_EXIT
FIELDS = ("MESSAGE_ID", "USER_INVOCATION_ID", "UNIT_RESULT", "COMMAND", "EXIT_CODE", "EXIT_STATUS")

LOOKS = 10  # the manager's entries reach the journal after its signals reach the agent
LOOK_INTERVAL = 0.3  # seconds


async def exit_of(unit: str, invocation_id: str | None, others: Collection[str]) -> ExitRecord | None:
    """How one invocation of a unit ended, or None if the journal does not tell.

    Without an id, it is the newest invocation that is not one of the `others`. A record without the exit of
    the main process ("-") tells how the unit ended, but not how the job did: a hook may have failed.
    """
    for _ in range(LOOKS):
        entries = await _entries(unit)
        if record := record_in(entries, invocation_id, others):
            return record
        await asyncio.sleep(LOOK_INTERVAL)
    return None


def record_in(
    entries: list[dict[str, str]], invocation_id: str | None, others: Collection[str]
) -> ExitRecord | None:
    """The exit record in the entries of one unit, which are in order."""
    ends = [entry for entry in entries if entry.get("MESSAGE_ID") in (SUCCEEDED, FAILED)]
    ends = [entry for entry in ends if entry.get("USER_INVOCATION_ID") not in others]
    if invocation_id is not None:
        ends = [entry for entry in ends if entry.get("USER_INVOCATION_ID") == invocation_id]
    if not ends:
        return None
    end = ends[-1]
    code, status = "-", "-"
    for entry in entries:
        # The processes of ExecStopPost= and others exit too.
        main = entry.get("MESSAGE_ID") == PROCESS_EXITED and entry.get("COMMAND") == "ExecStart"
        if main and entry.get("USER_INVOCATION_ID") == end["USER_INVOCATION_ID"]:
            code, status = entry["EXIT_CODE"], _status(entry["EXIT_CODE"], entry["EXIT_STATUS"])
    return ExitRecord(
        result="success" if end["MESSAGE_ID"] == SUCCEEDED else end["UNIT_RESULT"],
        code=code,
        status=status,
        invocation_id=end["USER_INVOCATION_ID"],
        ended_at=datetime.fromtimestamp(int(end["__REALTIME_TIMESTAMP"]) // 1000 / 1e3, UTC),
    )


def _status(code: str, status: str) -> str:
    """The value of `$EXIT_STATUS`, which names a signal; the journal has its number."""
    try:
        return status if code == "exited" else signal.Signals(int(status)).name.removeprefix("SIG")
    except ValueError:
        return status


async def _entries(unit: str) -> list[dict[str, str]]:
    """The manager's entries about the unit; none if the journal cannot be read."""
    matches = [f"USER_UNIT={unit}", f"_UID={os.getuid()}"]
    matches += [f"MESSAGE_ID={message_id}" for message_id in (SUCCEEDED, FAILED, PROCESS_EXITED)]
    try:
        entries = await read_entries([f"--output-fields={','.join(FIELDS)}", *matches])
    except AgentError:
        return []
    return [{name: value.decode("utf-8", "replace") for name, value in entry.items()} for entry in entries]
