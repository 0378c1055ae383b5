"""What lies between two commits: the commits that lead to one of them alone, and a script's changes."""

import subprocess
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ..errors import AgentError
from ..model.base import one_line
from ..model.comparison import CommitDifference, LoggedCommit
from .git import TIMEOUT, Repository

MAX_LOG = 50  # commits
MAX_DIFF = 2**18  # bytes
NEWEST = 253_402_300_799  # seconds since 1970: the last that a `datetime` can be
MAX_SUBJECT = 200  # characters
# Neither a program nor a driver that the repository names is run, and every blob is text.
PLAIN = ("--no-ext-diff", "--no-textconv", "--no-renames", "--no-color", "--text", "--full-index")
FIELDS = "%m%x00%H%x00%an%x00%ct%x00%s"


@dataclass
class Changes:
    """Asks the repository, one question at a time. `directory` is the one with the scripts."""

    repository: Path
    directory: str
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def between(self, a: str, b: str, script_name: str) -> CommitDifference:
        """What lies between two commits. Blocks. Raises `AgentError` (host) if git does not answer."""
        with self._turn:
            git = Repository(self.repository)
            missing = [commit for commit in (a, b) if not git.peel(commit)[0]]
            if missing:
                return CommitDifference(a=a, b=b, unknown=f"The repository no longer has {missing[0]}.")
            log, longer = self._log(git, a, b)
            path = f"{self.directory.strip('/')}/{script_name}"
            diff, more = _printed(git, "diff-tree", "-p", *PLAIN, a, b, "--", f":(literal,top){path}")
        return CommitDifference(a=a, b=b, log=log, diff=diff.decode("utf-8", "replace"), cut=longer or more)

    def _log(self, git: Repository, a: str, b: str) -> tuple[list[LoggedCommit], bool]:
        listed, cut = _printed(
            git,
            "rev-list",
            f"--max-count={MAX_LOG + 1}",
            "--left-right",
            "--no-commit-header",
            f"--format={FIELDS}",
            f"{a}...{b}",
        )
        whole, _, _ = listed.rpartition(b"\n")  # the last line may be cut
        commits = [_commit(line) for line in whole.decode("utf-8", "replace").split("\n") if line]
        return commits[:MAX_LOG], cut or len(commits) > MAX_LOG


def _commit(line: str) -> LoggedCommit:
    side, commit, author, seconds, subject = line.split("\0", 4)
    return LoggedCommit(
        of="a" if side == "<" else "b",
        commit=commit,
        author=one_line(author)[:MAX_SUBJECT],
        time=datetime.fromtimestamp(min(int(seconds), NEWEST), UTC),
        subject=one_line(subject)[:MAX_SUBJECT],
    )


def _printed(git: Repository, *arguments: str) -> tuple[bytes, bool]:
    """The first bytes that a command prints, and whether there were more. Raises `AgentError` (host)."""
    with git.start(*arguments, stderr=subprocess.DEVNULL) as process:
        watchdog = threading.Timer(TIMEOUT, process.kill)
        watchdog.start()
        try:
            assert process.stdout is not None
            data = process.stdout.read(MAX_DIFF + 1)
            more = len(data) > MAX_DIFF
            if more:
                process.kill()
            failed = process.wait() != 0
        finally:
            watchdog.cancel()
    if failed and not more:
        raise _failed(git, arguments[0])
    return data[:MAX_DIFF], more


def _failed(git: Repository, command: str) -> AgentError:
    return git.damaged(f"git {command} ended early")
