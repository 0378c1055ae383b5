"""What was revoked and withdrawn, kept beside the state: restoring an older database does not bring it back.

A file of JSON lines next to the state directory, to which lines are only ever added. `authority` names an
authority whose certificates the file is about, `revoked` a certificate's serial number, `withdrawn` and
`readmitted` a commit of the scripts.
"""

import fcntl
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..host.files import sync
from ..model.base import format_time
from ..model.certificate import Certificate
from ..model.ref import Withdrawal

MAX_LINE = 4096  # characters; longer lines are none of ours


def path_of(state_directory: Path) -> Path:
    """The file that belongs to a state directory."""
    return state_directory.with_name(state_directory.name + ".revoked")


@dataclass
class Kept:
    """What the file says. `unreadable` is how many lines are none of ours."""

    authorities: set[str] = field(default_factory=set)
    serials: dict[str, str] = field(default_factory=dict)  # with the user
    withdrawn: dict[str, Withdrawal] = field(default_factory=dict)
    unreadable: int = 0

    def take(self, line: str) -> None:
        """Takes a line up."""
        try:
            entry = json.loads(line)
            if "authority" in entry:
                self.authorities.add(str(entry["authority"]))
            elif "revoked" in entry:
                self.serials[str(entry["revoked"])] = str(entry.get("user", ""))
            elif "withdrawn" in entry:
                withdrawal = Withdrawal.model_validate(entry["withdrawn"])
                self.withdrawn[withdrawal.commit] = withdrawal
            else:
                self.withdrawn.pop(str(entry["readmitted"]), None)
        except (ValueError, TypeError, KeyError, ValidationError):
            self.unreadable += 1


def read(path: Path) -> Kept | None:
    """What a file says; None if there is none. Raises `OSError`."""
    try:
        text = path.read_text("utf-8", "replace")
    except FileNotFoundError:
        return None
    kept = Kept()
    for line in text.splitlines():
        if line.strip():
            kept.take(line[:MAX_LINE])
    return kept


def keep(
    path: Path,
    authorities: Iterable[str],
    certificates: Iterable[Certificate],
    withdrawals: Iterable[Withdrawal],
    *,
    readmitted: str | None = None,
) -> None:
    """Adds what the file lacks; it is on the disk when this returns. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "r+b", buffering=0) as file:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        known = read(path) or Kept()
        entries: list[dict[str, Any]] = []
        entries += [{"authority": each} for each in authorities if each not in known.authorities]
        entries += [
            {"revoked": each.serial, "user": each.user, "at": format_time(each.revoked_at)}
            for each in certificates
            if each.revoked_at is not None and each.serial not in known.serials
        ]
        entries += [
            {"withdrawn": each.model_dump(mode="json")}
            for each in withdrawals
            if known.withdrawn.get(each.commit) != each
        ]
        if readmitted in known.withdrawn:
            entries.append({"readmitted": readmitted})
        if not entries:
            return
        size = os.fstat(descriptor).st_size
        # A line that a full disk has cut off stays alone in its line.
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        data = ("\n" if torn else "") + "".join(json.dumps(each) + "\n" for each in entries)
        rest = memoryview(data.encode())
        while rest:
            rest = rest[file.write(rest) :]
        os.fsync(descriptor)
    sync(path.parent)
