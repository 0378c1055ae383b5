"""Read-only plumbing over a git repository that may belong to somebody else.

Nothing that the repository's own configuration names is run: plumbing commands know no hook, filter, pager
or attribute, and transports are switched off. Blobs are therefore the very bytes that were committed.
"""

import contextlib
import os
import re
import stat
import subprocess
import threading
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import AgentError, Problem

COMMIT_PATTERN = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
# A name, nothing of the revision syntax (`^ ~ : @{} ..`), and nothing that could be an option.
REF_PATTERN = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._/-]{0,254}")

# What HEAD says of the branch that is checked out, where that can be a file below the repository's own.
BRANCH = re.compile(r"ref: (refs/heads(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)+)")
MAX_LINE = 4096  # bytes

TIMEOUT = 60.0  # seconds for one answer of git's; it only fires where a file system hangs


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of `git ls-tree -r -l`: `mode` is octal as git writes it, `size` 0 for what is no blob.

    `path` is relative to the listed directory, decoded as Python decodes file names.
    """

    path: str
    mode: str
    oid: str
    size: int


class Repository:
    """The repository whose work tree, or bare directory, is exactly `path`. Every method blocks.

    All raise `AgentError` (host) where the repository cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._head: str | None = None

    def commit(self, ref: str) -> str | None:
        """The id of the commit that a branch, a tag, `HEAD` or a (short) commit id means, or None.

        Of `HEAD`, git is asked where its files do not plainly say that it is the one of the last time.
        """
        if ref != "HEAD":
            return self._named(ref)
        commit = self._plain_head()
        if commit is None or commit != self._head:
            commit = self._head = self._named(ref)
        return commit

    def _plain_head(self) -> str | None:
        """The commit id in HEAD, or in the file of the branch that it names (gitrepository-layout(5))."""
        directory = self._path / ".git"
        if not os.path.lexists(directory):
            directory = self._path
        said = _line(directory / "HEAD")
        if branch := BRANCH.fullmatch(said):
            said = _line(directory / branch[1])
        return said if COMMIT_PATTERN.fullmatch(said) else None

    def _named(self, ref: str) -> str | None:
        if not REF_PATTERN.fullmatch(ref):
            return None
        found = self._run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
        commit = found.stdout.decode("ascii", "replace").strip()
        if found.returncode == 0 and COMMIT_PATTERN.fullmatch(commit):
            return commit
        self._require()
        return None

    def entries(self, commit: str, directory: str) -> list[Entry] | None:
        """Everything below a directory at a commit, directories themselves left out; None if not there."""
        if not COMMIT_PATTERN.fullmatch(commit):
            return None
        tree = f"{commit}:{directory.strip('/')}"
        listed = self._run("ls-tree", "-r", "-z", "-l", "--full-tree", "--end-of-options", tree)
        if listed.returncode != 0:
            self._require()
            return None
        return [_entry(record) for record in listed.stdout.split(b"\0") if record]

    def blobs(self, oids: Iterable[str]) -> Generator[bytes]:
        """The bytes of blobs, in the order asked, each in memory only while it is the current one.

        What is done with one before the next is asked for may take as long as it does.
        """
        wanted = list(oids)
        if not wanted:
            return
        with self._start("cat-file", "--batch", stderr=subprocess.DEVNULL) as process:
            try:
                for oid in wanted:
                    with _watched(process):
                        data = _exchange(process, oid)
                    yield data
            except (OSError, EOFError) as error:
                raise self._unreadable("git cat-file ended early") from error
            finally:
                process.kill()

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        with self._start(*arguments) as process:
            try:
                output, complaint = process.communicate(timeout=TIMEOUT)
            except subprocess.TimeoutExpired as error:
                process.kill()
                raise self._unreadable(f"git {arguments[0]} took longer than {TIMEOUT:g} s") from error
        return subprocess.CompletedProcess(arguments, process.returncode, output, complaint)

    def _start(self, *arguments: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
        command = ["git", "-C", str(self._path), *arguments]
        pipe = subprocess.PIPE
        try:
            return subprocess.Popen(command, env=self._environment(), stdin=pipe, stdout=pipe, stderr=stderr)
        except FileNotFoundError as error:
            raise AgentError(Problem.HOST, "git is not installed.", "Install the package git.") from error

    def _environment(self) -> dict[str, str]:
        """A whole environment, so that no GIT_DIR, configuration or replacement of the caller's applies."""
        path = self._path.resolve()
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            # The administrator has named this repository: that is the consent git asks for.
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": str(path),
            "GIT_CEILING_DIRECTORIES": str(path.parent),  # never a repository that happens to lie around it
            "GIT_NO_REPLACE_OBJECTS": "1",  # a commit's id is its content
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_ALLOW_PROTOCOL": "none",
            "GIT_TERMINAL_PROMPT": "0",
        }

    def _require(self) -> None:
        """Tells "no such ref" from "no such repository"."""
        probe = self._run("rev-parse", "--git-dir")
        if probe.returncode != 0:
            raise self._unreadable(probe.stderr.decode("utf-8", "replace").strip().split("\n")[0])

    def _unreadable(self, why: str) -> AgentError:
        return AgentError(
            Problem.HOST,
            f"The scripts' repository {self._path} cannot be read: {why}.",
            "Set scripts.repository to a git work tree, or a bare repository, that the agent may read.",
        )


def _line(path: Path) -> str:
    """The line that a regular file consists of, or nothing."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return file.read(MAX_LINE).decode("ascii", "replace").removesuffix("\n")
    return ""


def _entry(record: bytes) -> Entry:
    """`<mode> <type> <object> <size>\\t<path>`, the size padded, or `-` for a submodule (git-ls-tree(1))."""
    head, _, path = record.partition(b"\t")
    mode, _, oid, size = head.decode("ascii").split()
    return Entry(os.fsdecode(path), mode, oid, int(size) if size != "-" else 0)


@contextlib.contextmanager
def _watched(process: subprocess.Popen[bytes]) -> Iterator[None]:
    watchdog = threading.Timer(TIMEOUT, process.kill)
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()


def _exchange(process: subprocess.Popen[bytes], oid: str) -> bytes:
    """Asks for one object and reads it: `<object> <type> <size>\\n<bytes>\\n` (git-cat-file(1))."""
    assert process.stdin is not None
    assert process.stdout is not None
    # Past the buffer: what a git that is gone has not taken would be in the way of closing the pipe.
    os.write(process.stdin.fileno(), f"{oid}\n".encode("ascii"))
    head = process.stdout.readline().split()
    if len(head) != 3 or head[1] != b"blob":
        raise EOFError(f"no blob {oid}")
    size = int(head[2])
    data = process.stdout.read(size + 1)
    if len(data) != size + 1:
        raise EOFError(f"blob {oid} ends early")
    return data[:size]
