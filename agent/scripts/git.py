"""Commits, files and links of the scripts' repository, as they were committed.

The repository may belong to another user. Nothing that its configuration names is run: git's plumbing
commands use no hook, filter, pager or attribute, and transports are switched off. So blobs are exactly the
bytes that were committed.
"""

import contextlib
import os
import re
import stat
import subprocess
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import AgentError, FieldError, Problem, host_failed
from ..model.ref import is_object_id, is_ref_name

TIMEOUT = 60.0  # seconds for one answer from git; exceeded only if a file system hangs

# What HEAD says while a branch is checked out whose name is safe as a path below the repository.
BRANCH = re.compile(r"ref: (refs/heads(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)+)")
MAX_LINE = 4096  # bytes
SHORT_ID = re.compile(r"[0-9a-f]{4,63}")

BROKEN = re.compile(r"(?m)^warning: ignoring broken ref (.*)$")
UNKNOWN_SIZE = "BAD"  # as some versions of git write the size of an object that is missing


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of `git ls-tree -r -l`. `mode` is octal, as git writes it; `size` is 0 if it is no blob.

    `path` is relative to the listed directory, decoded as Python decodes file names.
    """

    path: str
    mode: str
    oid: str
    size: int


@dataclass(frozen=True, slots=True)
class CheckedOut:
    """What HEAD says, by the repository's files alone: a branch's full name, and a commit's id."""

    branch: str | None = None
    commit: str | None = None


class Repository:
    """Reads names, trees and blobs of the repository whose work tree or bare directory is `path` itself.

    Every method blocks, and raises `AgentError` (host) if the repository cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._head: str | None = None

    def run(
        self, *arguments: str | bytes, stdin: bytes = b"", config: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Runs one command to its end. `config` overrides the repository's own configuration."""
        overrides = [word for key, value in (config or {}).items() for word in ("-c", f"{key}={value}")]
        with self.start(*overrides, *arguments) as process:
            try:
                output, complaint = process.communicate(stdin, timeout=TIMEOUT)
            except subprocess.TimeoutExpired as error:
                process.kill()
                raise self.too_slow(str(arguments[0])) from error
        return subprocess.CompletedProcess(arguments, process.returncode, output, complaint)

    def start(self, *arguments: str | bytes, stderr: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
        """Starts one command with pipes to and from it."""
        command = ["git", "-C", str(self.path), *arguments]
        pipe = subprocess.PIPE
        try:
            return subprocess.Popen(command, env=self._environment(), stdin=pipe, stdout=pipe, stderr=stderr)
        except FileNotFoundError as error:
            raise host_failed("git is not installed.", "Install the package git.") from error

    def _environment(self) -> dict[str, str]:
        """A complete environment: no GIT_DIR, configuration or replacement of the caller applies."""
        path = self.path.resolve()
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

    def require(self) -> None:
        """Raises `AgentError` where there is no repository."""
        probe = self.run("rev-parse", "--git-dir")
        if probe.returncode != 0:
            raise self.unreadable(complaint(probe))

    def unreadable(self, why: str) -> AgentError:
        """The error for a repository that cannot be used at all."""
        return host_failed(
            f"The scripts' repository {self.path} cannot be read: {why}.",
            "Set scripts.repository to a git work tree, or a bare repository, that the agent may read.",
        )

    def too_slow(self, command: str) -> AgentError:
        """The error for a git that does not answer."""
        return self.unreadable(f"git {command} took longer than {TIMEOUT:g} s")

    def damaged(self, why: str) -> AgentError:
        """The error for a repository that lacks something, or has something that git cannot read."""
        return host_failed(
            f"The scripts' repository {self.path} is damaged or incomplete: {why}.",
            self._repair(),
        )

    def _repair(self) -> str:
        promisors = self.run("config", "--name-only", "--get-regexp", r"^remote\..*\.promisor$")
        git = f"git -C {self.path}"
        if remote := promisors.stdout.decode("utf-8", "replace").strip().split("\n")[0]:
            filter_key = remote.removesuffix("promisor") + "partialclonefilter"
            return (
                f"It is a partial clone; have it fetch every object: `{git} config --unset {filter_key}`,"
                f" then `{git} fetch --refetch`."
            )
        return f"`{git} fsck` says what is damaged; a fresh clone has it all."

    def commit(self, ref: str) -> str | None:
        """The id of the commit that a branch, a tag, `HEAD` or a (short) commit id refers to, or None.

        For `HEAD`, git is not run again while the repository's files plainly name the same commit.
        """
        if ref != "HEAD":
            return self._named(ref)
        commit = self.checked_out().commit
        if commit is None or commit != self._head:
            commit = self._head = self._named(ref)
        return commit

    def checked_out(self) -> CheckedOut:
        """What HEAD, and the file of the branch that it names (gitrepository-layout(5)), plainly say."""
        directory = self.path / ".git"
        if not os.path.lexists(directory):
            directory = self.path
        branch, said = None, _read_line(directory / "HEAD")
        if match := BRANCH.fullmatch(said):
            branch, said = match[1], _read_line(directory / match[1])
        return CheckedOut(branch, said if is_object_id(said) else None)

    def _named(self, ref: str) -> str | None:
        found = self._parsed(f"{ref}^{{commit}}") if is_ref_name(ref) else None
        return found if found and is_object_id(found) else None

    def _parsed(self, expression: str) -> str | None:
        """The object id that an expression of the revision syntax means."""
        found = self.run("rev-parse", "--verify", "--quiet", "--end-of-options", expression.encode())
        if found.returncode == 0:
            return found.stdout.decode("ascii", "replace").strip()
        self.require()
        if found.returncode != 1:  # 1 is git's answer to what names nothing
            raise self.damaged(complaint(found))
        return None

    def why_no_commit(self, ref: str) -> str:
        """Why a ref means no commit. Raises `AgentError` (host) where the repository is to blame."""
        if not is_ref_name(ref):
            return "is no name that git allows for a branch or a tag"
        if named := self._parsed(ref):
            kind, oid = self.peel(named)
            if kind:
                return f"names a {kind}, which is no commit"
            if oid != ref or oid == self.checked_out().commit:
                raise self.damaged(f"it lacks the object {oid} of {ref}")
        elif (
            SHORT_ID.fullmatch(ref) and len(self.run("rev-parse", f"--disambiguate={ref}").stdout.split()) > 1
        ):
            return "is the beginning of several ids; give more digits"
        self._check_name(ref)
        shallow = self.run("rev-parse", "--is-shallow-repository").stdout.strip() == b"true"
        remedy = ", which is a shallow clone (`git fetch --unshallow` completes it)" if shallow else ""
        return f"is no branch, tag or commit of the scripts' repository{remedy}"

    def peel(self, oid: str) -> tuple[str, str]:
        """The kind of an object, or of what a tag leads to, and its id; `""` where the object is missing."""
        while (kind := self.run("cat-file", "-t", oid).stdout.decode("ascii", "replace").strip()) == "tag":
            # Its first line is `object <id>` (git-mktag(1)).
            oid = self.run("cat-file", "tag", oid).stdout.split(maxsplit=2)[1].decode("ascii", "replace")
        return kind, oid

    def _check_name(self, ref: str) -> None:
        """Raises `AgentError` where git cannot read what a branch or a tag of that name says."""
        ignored = self.run("for-each-ref", "--format=%(refname)").stderr.decode("utf-8", "replace")
        for broken in BROKEN.findall(ignored):
            if f"/{broken}".endswith(f"/{ref}"):
                raise self.damaged(f"{broken} has no id of a commit")

    def why_no_head(self) -> str:
        """Why HEAD means no commit. Raises `AgentError` (host) where the repository is damaged."""
        if oid := self._parsed("HEAD"):
            raise self.damaged(f"it lacks the commit {oid}, which is checked out")
        head = self.checked_out().branch
        if head is None:  # a name that is no plain file, or none
            head = self.run("symbolic-ref", "--quiet", "HEAD").stdout.decode("utf-8", "replace").strip()
        self._check_name(head)
        if self.run("for-each-ref", "--count=1").stdout:
            return f"has checked out {head or 'nothing'}, which is no branch of it"
        return "has no commit"

    def entries(self, commit: str, directory: str) -> list[Entry] | None:
        """Everything below a directory at a commit, except directories; None if it does not exist."""
        if not is_object_id(commit):
            return None
        tree = f"{commit}:{directory.strip('/')}"
        listed = self.run("ls-tree", "-r", "-z", "-l", "--full-tree", "--end-of-options", tree)
        if listed.returncode != 0:
            if self.kind(commit, directory) == "tree":
                raise self.damaged(complaint(listed))
            return None
        return [self._entry(record) for record in listed.stdout.split(b"\0") if record]

    def kind(self, commit: str, path: str) -> str | None:
        """`tree`, `file`, `link` or `submodule`; None if there is no such path, or no such commit."""
        parts = path.strip("/").split("/")
        if not self._parsed(f"{commit}^{{commit}}") or not {"", ".", ".."}.isdisjoint(parts):
            return None
        for depth in range(1, len(parts) + 1):
            place = "/".join(parts[:depth])
            listed = self.run("ls-tree", "-z", "--full-tree", "--end-of-options", commit, "--", place)
            if listed.returncode != 0:
                raise self.damaged(complaint(listed))
            if not listed.stdout:
                return None
            mode, kind, _ = listed.stdout.decode("ascii", "replace").split(maxsplit=2)
            if kind != "tree":
                return {"120000": "link", "160000": "submodule"}.get(mode, "file")
        return "tree"

    def _entry(self, record: bytes) -> Entry:
        """`<mode> <type> <object> <size>\\t<path>`, the size padded, or `-` for a submodule."""
        head, _, path = record.partition(b"\t")
        mode, _, oid, size = head.decode("ascii").split()
        name = os.fsdecode(path)
        if size == UNKNOWN_SIZE:
            raise self.damaged(f"it lacks {name!a} (object {oid})")
        return Entry(name, mode, oid, int(size) if size != "-" else 0)

    def blobs(self, oids: Iterable[str]) -> Generator[bytes]:
        """The bytes of these blobs, in order; one blob at a time is in memory.

        The caller may take as long as it likes between two blobs.
        """
        wanted = list(oids)
        if not wanted:
            return
        with self.start("cat-file", "--batch", stderr=subprocess.DEVNULL) as process:
            try:
                for oid in wanted:
                    with _watched(process):
                        data = _exchange(process, oid)
                    yield data
            except TimeoutError as error:
                raise self.too_slow("cat-file") from error
            except LookupError as error:
                raise self.damaged(f"it lacks the object {oid}") from error
            except (OSError, EOFError) as error:
                raise self.damaged(f"git cat-file ended early, at the object {oid}") from error
            finally:
                process.kill()


def complaint(ran: subprocess.CompletedProcess[bytes]) -> str:
    """Why a command failed, in git's words: its first error, which may come after warnings."""
    lines = ran.stderr.decode("utf-8", "replace").strip().split("\n")
    errors = [line for line in lines if line.startswith(("fatal: ", "error: "))] or lines
    return errors[0].partition(": ")[2].rstrip(".") or errors[0]


def _read_line(path: Path) -> str:
    """The single line of a regular file; empty if there is none."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return file.read(MAX_LINE).decode("ascii", "replace").removesuffix("\n")
    return ""


@contextlib.contextmanager
def _watched(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Raises `TimeoutError` where the body fails because the process has been killed for being too slow."""
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        process.kill()

    watchdog = threading.Timer(TIMEOUT, expire)
    watchdog.start()
    try:
        yield
    except (OSError, EOFError) as error:
        if expired.is_set():
            raise TimeoutError from error
        raise
    finally:
        watchdog.cancel()


def _exchange(process: subprocess.Popen[bytes], oid: str) -> bytes:
    """Asks for one object and reads it: `<object> <type> <size>\\n<bytes>\\n` (git-cat-file(1))."""
    assert process.stdin is not None
    assert process.stdout is not None
    # Unbuffered: if git is gone, unwritten bytes in a buffer would make closing the pipe fail.
    os.write(process.stdin.fileno(), f"{oid}\n".encode("ascii"))
    head = process.stdout.readline().split()
    if head[1:] == [b"missing"]:
        raise LookupError(oid)
    if len(head) != 3 or head[1] != b"blob":
        raise EOFError(f"no blob {oid}")
    size = int(head[2])
    data = process.stdout.read(size + 1)
    if len(data) != size + 1:
        raise EOFError(f"blob {oid} ends early")
    return data[:size]


def no_commit(why: str) -> AgentError:
    """The error for a ref that means no commit."""
    return AgentError(
        Problem.REF_NOT_FOUND,
        "There are no scripts at this ref.",
        "Give a branch, a tag or the id of a commit, or leave `ref` out to use the current commit.",
        (FieldError("ref", why),),
    )
