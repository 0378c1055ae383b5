"""A script repository as its maintainer makes one, with real git."""

import os
import subprocess
from pathlib import Path

IDENTITY = {"GIT_CONFIG_GLOBAL": "/dev/null"} | {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "a"), ("EMAIL", "a@example.org"), ("DATE", "2026-01-01T00:00:00Z"))
}


def git(path: Path, *arguments: str, stdin: bytes = b"") -> str:
    """Runs git as the repository's maintainer would."""
    ran = subprocess.run(
        ["git", *arguments], cwd=path, input=stdin, env=os.environ | IDENTITY, capture_output=True, check=True
    )
    return ran.stdout.decode("utf-8", "surrogateescape").strip()


def drop_last_commit(path: Path) -> None:
    """Puts another commit in the place of the last one, of which git then keeps nothing."""
    git(path, "commit", "-q", "--amend", "--allow-empty", "-m", "amended")
    git(path, "reflog", "expire", "--expire=now", "--all")
    git(path, "gc", "-q", "--prune=now")


def commit(path: Path, message: str = "change") -> str:
    """Commits everything there is, and returns the commit's id."""
    git(path, "add", "-A")
    git(path, "commit", "-q", "--allow-empty", "-m", message)
    return git(path, "rev-parse", "HEAD")
