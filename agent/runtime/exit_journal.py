"""The second source of how a job ended, where its exit record is missing: systemd's own journal entries.

The user manager notes the exit of a unit's main process, unless that was a success, and the unit's result
(systemd.journal-fields(7), the catalog of `journalctl -x`).
"""

import asyncio
import json
import os
import signal
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from .outcome import ExitRecord

SUCCEEDED = "7ad2d189f7e94e70a38c781354912448"  # SD_MESSAGE_UNIT_SUCCESS
FAILED = "d9b373ed55a64feb8242e02dbe79a49c"  # SD_MESSAGE_UNIT_FAILURE_RESULT
PROCESS_EXITED = "98e322203f7a4ed290d09fe03c09fe15"  # SD_MESSAGE_UNIT_PROCESS_EXIT
FIELDS = ("MESSAGE_ID", "USER_INVOCATION_ID", "UNIT_RESULT", "COMMAND", "EXIT_CODE", "EXIT_STATUS")

LOOKS = 10  # the manager's entries come to the journal after its signals come to the agent
LOOK_INTERVAL = 0.3  # seconds


async def exit_of(unit: str, invocation_id: str | None, others: Collection[str]) -> ExitRecord | None:
    """What the journal says of the end of one invocation, or None where it says nothing.

    Where the id is not known, it is the newest invocation that is none of the `others`. A record without the
    main process's own exit ("-") says how the unit ended, not how the job did: a hook may have failed.
    """
    for _ in range(LOOKS):
        entries = await _entries(unit)
        if record := read(entries, invocation_id, others):
            return record
        await asyncio.sleep(LOOK_INTERVAL)
    return None


def read(
    entries: list[dict[str, Any]], invocation_id: str | None, others: Collection[str]
) -> ExitRecord | None:
    """The record in the entries, oldest first, of one unit. Pure."""
    ends = [entry for entry in entries if entry.get("MESSAGE_ID") in (SUCCEEDED, FAILED)]
    ends = [entry for entry in ends if entry.get("USER_INVOCATION_ID") not in others]
    if invocation_id is not None:
        ends = [entry for entry in ends if entry.get("USER_INVOCATION_ID") == invocation_id]
    if not ends:
        return None
    end = ends[-1]
    code, status = "-", "-"
    for entry in entries:
        # ExecStopPost= and the others exit, too.
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
    """As `$EXIT_STATUS` has it: the journal has a signal's number, that variable its name."""
    try:
        return status if code == "exited" else signal.Signals(int(status)).name.removeprefix("SIG")
    except ValueError:
        return status


async def _entries(unit: str) -> list[dict[str, Any]]:
    """The manager's entries on the unit; none where the journal cannot be read."""
    matches = [f"USER_UNIT={unit}", f"_UID={os.getuid()}"]
    matches += [f"MESSAGE_ID={message_id}" for message_id in (SUCCEEDED, FAILED, PROCESS_EXITED)]
    try:
        process = await asyncio.create_subprocess_exec(
            *("journalctl", "--quiet", "--no-pager", "--output=json", f"--output-fields={','.join(FIELDS)}"),
            *matches,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return []
    output, _ = await process.communicate()
    return [json.loads(line) for line in output.splitlines()]
