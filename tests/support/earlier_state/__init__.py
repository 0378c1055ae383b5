"""The state directory of an earlier agent, that of commit 50d85d9, with jobs in every state.

`jobs.sql` is its database, `files.json` has its files and those of its runtime directory, and `read.json` has
what its own code read from the database. `generate.py` wrote them.
"""

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def read_by_itself() -> dict[str, Any]:
    """What the earlier agent itself read: `kinds` names the jobs by what became of them."""
    read: dict[str, Any] = json.loads((HERE / "read.json").read_text())
    return read


def make_database(path: Path) -> None:
    """Makes the earlier agent's database."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as database:
        database.executescript((HERE / "jobs.sql").read_text())


def make_files(state: Path, runtime: Path) -> None:
    """Makes the files of its state and runtime directories, with their modes, times and links."""
    roots = {"STATE": state, "RUNTIME": runtime}
    entries = json.loads((HERE / "files.json").read_text())

    def place(text: str) -> Path:
        root, _, rest = text.partition("/")
        return roots[root] / rest

    for root in roots.values():
        root.mkdir(parents=True, exist_ok=True)
    for entry in entries:
        path = place(entry["path"])
        if "link" in entry:
            path.symlink_to(place(entry["link"]))
        elif "text" in entry or "blanks" in entry:
            path.write_text(entry.get("text", " " * entry.get("blanks", 0)))
        else:
            path.mkdir(exist_ok=True)
    for entry in reversed(entries):  # a directory may be closed to its owner
        if "mode" in entry:
            os.chmod(place(entry["path"]), entry["mode"])
            os.utime(place(entry["path"]), ns=(entry["mtime_ns"],) * 2)
