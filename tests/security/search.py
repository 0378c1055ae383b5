"""Looks for values wherever they could have leaked to, and says how much was looked at.

    python -m tests.security.search SINCE UID VALUE...

SINCE is in seconds since 1970, UID the service account's, each VALUE hexadecimal and backwards, so that this
very command is not found. The answer is JSON: see `Found`. As root it sees everything there is.
"""

import base64
import gzip
import json
import os
import pwd
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

CHUNK = 1 << 20  # bytes
BYTES = ", bytes"  # behind a kind: how much was looked at
NOT_ENTERED = ("/proc", "/sys", "/dev/pts", "/dev/hugepages")


@dataclass
class Found:
    """Where values were found, and how many things of which kind were looked at."""

    hits: list[str] = field(default_factory=list)
    looked_at: Counter[str] = field(default_factory=Counter)


def shapes(value: bytes) -> list[bytes]:
    """How a value may look: as it is, hexadecimal, and in base 64 at any of the three alignments."""
    found = [value, value.hex().encode(), value.hex().upper().encode()]
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + value)
        # What depends on the neighbours is left out.
        found.append(encoded[4 if shift else 0 : len(encoded) - 4])
    return found


class Search:
    """One look at the whole host."""

    def __init__(self, values: Iterable[bytes], *, since: float, uid: int, root: Path = Path("/")) -> None:
        self._needles = [shape for value in values for shape in shapes(value)]
        self._overlap = max(map(len, self._needles)) - 1
        self._since = since
        self._uid = uid
        self._root = root
        self.found = Found()

    def everywhere(self) -> Found:
        """Files, processes, units, the journal, Podman."""
        self.files()
        self.processes()
        for kind, command in self._commands():
            self._command(kind, command)
        return self.found

    def _see(self, kind: str, place: str, chunks: Iterable[bytes]) -> None:
        self.found.looked_at[kind] += 1
        last = b""
        for chunk in chunks:
            self.found.looked_at[kind + BYTES] += len(chunk)
            window = last + chunk
            if any(needle in window for needle in self._needles):
                self.found.hits.append(f"{kind}: {place}")
                return
            last = window[-self._overlap :]

    def files(self) -> None:
        """Every file of every file system that was written since; one that was not cannot have it."""
        for directory, names, files in os.walk(self._root):
            names[:] = [name for name in names if os.path.join(directory, name) not in NOT_ENTERED]
            for path in (Path(directory, name) for name in files):
                try:
                    status = path.lstat()
                    if path.is_symlink() or not path.is_file() or status.st_ctime < self._since:
                        self.found.looked_at["older files"] += 1
                        continue
                    self._see("file", str(path), _chunks(path))
                    self._see("file's name", str(path), [os.fsencode(path)])
                    if path.suffix == ".gz":
                        self._see("file, unpacked", str(path), _unpacked(path))
                except OSError:
                    self.found.looked_at["unreadable files"] += 1

    def processes(self) -> None:
        """What is said of each process."""
        for process in Path("/proc").glob("[0-9]*"):
            for name in ("environ", "cmdline", "comm", "mountinfo"):
                try:
                    self._see("process", f"{process}/{name}", [(process / name).read_bytes()])
                except OSError:
                    self.found.looked_at["unreadable processes"] += 1

    def _commands(self) -> Iterator[tuple[str, list[str]]]:
        """What is said of units, by journald and by Podman."""
        account = [] if os.getuid() == self._uid else _as(self._uid)
        yield "systemd", [*account, "systemctl", "--user", "show", "--all", "*"]
        yield "systemd", [*account, "systemctl", "--user", "cat", "ml-*", "podman*"]
        yield "systemd", [*account, "systemctl", "--user", "show-environment"]
        yield "journal", ["journalctl", "--no-pager", "--all", "--output=export"]
        yield "journal", ["journalctl", "--no-pager", "--all", "--merge", "--output=json"]
        podman = [*account, "podman"]
        for listing, inspect in (
            (["ps", "--all", "--quiet"], ["inspect"]),
            (["secret", "ls", "--quiet"], ["secret", "inspect"]),
            (["volume", "ls", "--quiet"], ["volume", "inspect"]),
            (["network", "ls", "--quiet"], ["network", "inspect"]),
        ):
            yield "podman", [*podman, *listing, "--no-trunc"] if "ps" in listing else [*podman, *listing]
            if names := subprocess.run([*podman, *listing], capture_output=True, text=True).stdout.split():
                yield "podman", [*podman, *inspect, *names]
        yield "podman", [*podman, "info", "--format=json"]

    def _command(self, kind: str, command: list[str]) -> None:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            output = process.stdout
            assert output is not None
            self._see(kind, " ".join(command[-6:]), iter(lambda: output.read(CHUNK), b""))
            output.close()


def _as(uid: int) -> list[str]:
    runtime = f"/run/user/{uid}"
    return [
        *("setpriv", f"--reuid={uid}", f"--regid={uid}", "--init-groups", "env"),
        *(f"XDG_RUNTIME_DIR={runtime}", f"DBUS_SESSION_BUS_ADDRESS=unix:path={runtime}/bus"),
        f"HOME={pwd.getpwuid(uid).pw_dir}",
    ]


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _unpacked(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path) as file:
            while chunk := file.read(CHUNK):
                yield chunk
    except (EOFError, gzip.BadGzipFile, zlib.error):
        return


def main() -> None:
    """Prints what was found."""
    since, uid, *backwards = sys.argv[1:]
    values = [bytes.fromhex(value[::-1]) for value in backwards]
    found = Search(values, since=float(since), uid=int(uid)).everywhere()
    json.dump({"hits": found.hits, "looked_at": found.looked_at}, sys.stdout)


if __name__ == "__main__":
    main()
