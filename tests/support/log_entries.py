"""Journal entries of a unit, for tests of what the agent makes of them."""

from collections.abc import AsyncIterator

from agent.logs.entries import JOURNALD_STARTED, JOURNALD_STOPPED, Fields
from agent.logs.lines import ENDED, Item, Line

BEGINNING = b"7d4958e842da4a758f6c1cdc7b36dcc5"
SKIPPED = b"39f53479d3a045ac8e11786248231fbf"  # as of a unit that started
FAILED = b"d9b373ed55a64feb8242e02dbe79a49c"
MANAGER_STARTED = b"eed00a68ffd84e31882105fd973abdd1"
CURSOR = f"s={'a' * 32};i=1f;b={'0' * 32};m=1;t=2;x=3"


def entry(message: bytes = b"text", **fields: bytes) -> Fields:
    """A line that a job printed, with other fields if they are given."""
    return {
        "__CURSOR": CURSOR.encode(),
        "__REALTIME_TIMESTAMP": b"1767225600123456",
        "_TRANSPORT": b"stdout",
        "_COMM": b"python3",
        "MESSAGE": message,
    } | fields


def restarts(kinds: str, boot: str = "0" * 32) -> list[Fields]:
    """Entries of a unit or of journald, one a letter: Begin, line, Up, Down, End, Failed, skipped."""
    systemd = {"_TRANSPORT": b"journal", "_COMM": b"systemd"}
    meanings = {
        "b": {"MESSAGE_ID": BEGINNING, **systemd},
        "f": {"MESSAGE_ID": FAILED, **systemd},
        "s": {"MESSAGE_ID": SKIPPED, **systemd},
        "l": {},
        "u": {"MESSAGE_ID": JOURNALD_STARTED},
        "d": {"MESSAGE_ID": JOURNALD_STOPPED},
        "e": {"MESSAGE_ID": ENDED, "_TRANSPORT": b"journal"},
    }
    head = f"s={'a' * 32};i=1;b={boot};m=1;t=2;x="
    return [
        entry(**meanings[kind], __CURSOR=f"{head}{number:x}".encode()) for number, kind in enumerate(kinds)
    ]


async def texts(batches: AsyncIterator[list[Item]]) -> list[str]:
    """The texts of the lines, with a word for each gap."""
    return [
        item.text.decode() if isinstance(item, Line) else f"gap after {item.after}"
        async for items in batches
        for item in items
    ]
