"""What the agent may have in memory at the most: the sum of its bounds, which is `MemoryMax=` of its unit.

    python -m tests.security.memory [--write]

Prints the table; with --write, puts it into docs/limits.md and the sum into the unit. Each bound is the
code's own. What one thing of a kind takes is measured (`tests.security.test_memory`), and rounded up.
"""

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

from agent.api.server.connection import NOT_SENT, UNREAD
from agent.api.server.connections import MAX_UNANSWERED, MAX_UNREAD
from agent.comparison.parquet import MEMORY as PARQUET
from agent.config_base import HttpSettings
from agent.host import calendars
from agent.logs.tail import MAX_WAITING
from agent.sweeps.study import MEMORY

CHECKOUT = Path(__file__).parents[2]
PAGE = CHECKOUT / "docs/limits.md"
UNIT = CHECKOUT / "units/ml-agent.service"
BEGIN, END = "<!-- the sum, generated -->\n", "<!-- the end of the sum -->\n"
KIB, MIB = 2**10, 2**20

PROGRAM = 160 * MIB  # Python, libraries, what the database keeps, and what the allocator does not give back
CONNECTION = 96 * KIB  # TLS and its read buffer, asyncio, aiohttp
HANDSHAKE = 96 * KIB
STREAM = 128 * KIB  # its task, its reader, and a piece of at most 64 KiB
REQUEST = 16 * MIB  # that is being answered (tests.security.cost)
AT_ONCE = 8  # requests that use a thread or the event loop at the same moment
TIMES = 4  # what a byte of a request takes: as it came, decoded, parsed, and as objects
JOURNALCTL = 3 * MIB // 2  # its own memory; the journal's pages belong to the kernel's cache
GIT = 64 * MIB
ANALYZE = 8 * MIB
GITS = 4  # a snapshot is read, another one is written, a commit is reviewed, two are compared


@dataclass(frozen=True)
class Term:
    """So many things of a kind, of so many bytes each."""

    what: str
    count: int
    each: int

    @property
    def bytes(self) -> int:
        """All of them."""
        return self.count * self.each


def terms(http: HttpSettings) -> list[Term]:
    """The sum's terms, with these settings."""
    return [
        Term("the program", 1, PROGRAM),
        Term("connections (`max_connections`)", http.connections, CONNECTION),
        Term(
            "answers on them that wait in the agent, and in the kernel",
            http.connections,
            UNREAD + NOT_SENT,
        ),
        Term("bytes of larger answers that wait", MAX_UNREAD, 1),
        Term("bytes of printed lines that wait for followers", MAX_WAITING, 1),
        Term("handshakes (`max_handshakes`)", http.max_handshakes, HANDSHAKE),
        Term("bytes of requests that are not answered", MAX_UNANSWERED, TIMES),
        Term("requests that are being answered at the same moment", AT_ONCE, REQUEST),
        Term("streams (`max_followers`)", http.max_followers, STREAM),
        Term("processes of `journalctl`, one for each of them", http.max_followers, JOURNALCTL),
        Term("processes of `git`", GITS, GIT),
        Term("the process that asks Optuna", 1, MEMORY),
        Term("the process that writes Parquet", 1, PARQUET),
        Term("processes of `systemd-analyze`", calendars.AT_ONCE, ANALYZE),
    ]


def total(http: HttpSettings) -> int:
    """Bytes, in whole MiB."""
    return -(-sum(term.bytes for term in terms(http)) // MIB) * MIB


def limit() -> int:
    """MiB that the unit allows."""
    found = re.search(r"^MemoryMax=([0-9]+)M$", UNIT.read_text("utf-8"), re.MULTILINE)
    assert found, f"{UNIT} has no MemoryMax="
    return int(found[1])


def peak(pid: int) -> int:
    """The most KiB that a process had in memory since it began, or since `forget_peak` (proc(5), VmHWM)."""
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


class Watched:
    """A process whose memory is looked at."""

    pid: int

    def memory(self) -> dict[str, int]:
        """What the process has in memory, in KiB: `Rss` and `Pss` of proc_pid_smaps(5)."""
        lines = Path(f"/proc/{self.pid}/smaps_rollup").read_text("ascii").splitlines()[1:]
        fields = dict(line.split(":", 1) for line in lines)
        return {name: int(fields[name].split()[0]) for name in ("Rss", "Pss")}

    def peak(self) -> int:
        """The most that it had in memory, in KiB, since it began or `forget_peak` was called (VmHWM)."""
        return peak(self.pid)

    def forget_peak(self) -> int:
        """Begins to look for the peak anew (proc(5), clear_refs); returns what it has in memory now."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        return self.peak()


def judged(most: int) -> bool:
    """Prints the agent's peak, in KiB, beside the limit; whether it is below."""
    most = -(-most // KIB)
    print(f"the agent had at the most {most} MiB in memory, of MemoryMax={limit()}M")
    return most <= limit()


def table(http: HttpSettings) -> str:
    """In Markdown."""
    rows = [
        f"| {term.what} | {term.count:,} | {_size(term.each)} | {term.bytes / MIB:,.0f} MiB |"
        for term in terms(http)
    ]
    head = ["| what | how many | each | together |", "| --- | --- | --- | --- |"]
    return "\n".join([*head, *rows, f"| `MemoryMax=` | | | {total(http) // MIB:,} MiB |", ""])


def _size(size: int) -> str:
    if size < KIB:
        return f"{size} bytes"
    return f"{size / MIB:g} MiB" if size >= MIB else f"{size / KIB:g} KiB"


def page(text: str, http: HttpSettings) -> str:
    """The page with the table as it is now."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table(http)}\n{END}{tail}"


def unit(text: str, http: HttpSettings) -> str:
    """The unit with the sum as it is now."""
    return re.sub(r"^MemoryMax=.*$", f"MemoryMax={total(http) // MIB}M", text, flags=re.MULTILINE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        PAGE.write_text(page(PAGE.read_text("utf-8"), HttpSettings()), "utf-8")
        UNIT.write_text(unit(UNIT.read_text("utf-8"), HttpSettings()), "utf-8")
    print(table(HttpSettings()))
