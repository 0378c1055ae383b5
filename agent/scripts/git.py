"""Read-only plumbing over a git repository that may belong to another user.

Nothing that the repository's configuration names is run: plumbing commands use no hook, filter, pager or
attribute, and transports are switched off. So blobs are exactly the bytes that were committed.
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
# A plain name: no revision syntax (`^ ~ : @{} ..`), and nothing that could be an option.
REF_PATTERN = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._/-]{0,254}")

# What HEAD says while a branch is checked out whose name is safe as a path below the repository.
BRANCH = re.compile(r"ref: (refs/heads(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)+)")
MAX_LINE = 4096  # bytes

TIMEOUT = 60.0  # seconds for one answer from git; exceeded only if a file system hangs


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of `git ls-tree -r -l`. `mode` is octal, as git writes it; `size` is 0 if it is no blob.

    `path` is relative to the listed directory, decoded as Python decodes file names.
    """

    path: str
    mode: str
    oid: str
    size: int


class Repository:
    """The repository whose work tree or bare directory is `path` itself. Every method blocks.

    All methods raise `AgentError` (host) if the repository cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._head: str | None = None

    def commit(self, ref: str) -> str | None:
        """The id of the commit that a branch, a tag, `HEAD` or a (short) commit id refers to, or None.

        For `HEAD`, git is not run again while the repository's files plainly name the same commit.
        """
        if ref != "HEAD":
            return self._resolve(ref)
        commit = self.plain_head()
        if commit is None or commit != self._head:
            commit = self._head = self._resolve(ref)
        return commit

    def plain_head(self) -> str | None:
        """The commit id in HEAD, or in its branch's file (gitrepository-layout(5)); None if in neither."""
        directory = self._path / ".git"
        if not os.path.lexists(directory):
            directory = self._path
        line = _read_line(directory / "HEAD")
        if branch := BRANCH.fullmatch(line):
            line = _read_line(directory / branch[1])
        return line if COMMIT_PATTERN.fullmatch(line) else None

    def _resolve(self, ref: str) -> str | None:
        if not REF_PATTERN.fullmatch(ref):
            return None
        found = self._run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
        commit = found.stdout.decode("ascii", "replace").strip()
        if found.returncode == 0 and COMMIT_PATTERN.fullmatch(commit):
            return commit
        self._require()
        return None

    def entries(self, commit: str, directory: str) -> list[Entry] | None:
        """Everything below a directory at a commit, except directories; None if it does not exist."""
        if not COMMIT_PATTERN.fullmatch(commit):
            return None
        tree = f"{commit}:{directory.strip('/')}"
        listed = self._run("ls-tree", "-r", "-z", "-l", "--full-tree", "--end-of-options", tree)
        if listed.returncode != 0:
            self._require()
            return None
        return [_entry(record) for record in listed.stdout.split(b"\0") if record]

    def blobs(self, oids: Iterable[str]) -> Generator[bytes]:
        """The bytes of these blobs, in order; one blob at a time is in memory.

        The caller may take as long as it likes between two blobs.
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
        """A complete environment: no GIT_DIR, configuration or replacement of the caller applies."""
        path = self._path.resolve()
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            # Git asks for consent to read another user's repository: the administrator named this one.
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": str(path),
            "GIT_CEILING_DIRECTORIES": str(path.parent),  # never a repository that encloses it
            "GIT_NO_REPLACE_OBJECTS": "1",  # a commit id stands for its content
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_ALLOW_PROTOCOL": "none",
            "GIT_TERMINAL_PROMPT": "0",
        }

    def _require(self) -> None:
        """Raises `AgentError` (host) if not the ref but the repository is missing."""
        probe = self._run("rev-parse", "--git-dir")
        if probe.returncode != 0:
            raise self._unreadable(probe.stderr.decode("utf-8", "replace").strip().split("\n")[0])

    def _unreadable(self, why: str) -> AgentError:
        return AgentError(
            Problem.HOST,
            f"The scripts' repository {self._path} cannot be read: {why}.",
            "Set scripts.repository to a git work tree, or a bare repository, that the agent may read.",
        )


def _read_line(path: Path) -> str:
    """The single line of a regular file; empty if there is none."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return file.read(MAX_LINE).decode("ascii", "replace").removesuffix("\n")
    return ""


def _entry(record: bytes) -> Entry:
    """`<mode> <type> <object> <size>\\t<path>`: the size padded, or `-` for a submodule (git-ls-tree(1))."""
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
    # Unbuffered: if git is gone, unwritten bytes in a buffer would make closing the pipe fail.
    os.write(process.stdin.fileno(), f"{oid}\n".encode("ascii"))
    head = process.stdout.readline().split()
    if len(head) != 3 or head[1] != b"blob":
        raise EOFError(f"no blob {oid}")
    size = int(head[2])
    data = process.stdout.read(size + 1)
    if len(data) != size + 1:
        raise EOFError(f"blob {oid} ends early")
    return data[:size]
