"""Runs git's plumbing commands on a repository that may belong to another user.

Nothing that the repository's configuration names is run: plumbing commands use no hook, filter, pager or
attribute, and transports are switched off. So blobs are exactly the bytes that were committed.
"""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from ..errors import AgentError, Problem

TIMEOUT = 60.0  # seconds for one answer from git; exceeded only if a file system hangs


class Plumbing:
    """The repository whose work tree or bare directory is `path` itself. Every method blocks.

    All methods raise `AgentError` (host) if the repository cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

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
            raise AgentError(Problem.HOST, "git is not installed.", "Install the package git.") from error

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
        return AgentError(
            Problem.HOST,
            f"The scripts' repository {self.path} cannot be read: {why}.",
            "Set scripts.repository to a git work tree, or a bare repository, that the agent may read.",
        )

    def too_slow(self, command: str) -> AgentError:
        """The error for a git that does not answer."""
        return self.unreadable(f"git {command} took longer than {TIMEOUT:g} s")

    def damaged(self, why: str) -> AgentError:
        """The error for a repository that lacks something, or has something that git cannot read."""
        return AgentError(
            Problem.HOST,
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


def complaint(ran: subprocess.CompletedProcess[bytes]) -> str:
    """Why a command failed, in git's words: its first error, which may come after warnings."""
    lines = ran.stderr.decode("utf-8", "replace").strip().split("\n")
    errors = [line for line in lines if line.startswith(("fatal: ", "error: "))] or lines
    return errors[0].partition(": ")[2].rstrip(".") or errors[0]
