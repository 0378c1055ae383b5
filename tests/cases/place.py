"""The place where the cases are made: the installed agent, with a repository of scripts of their own."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from agent.config import user_file
from tests.faults.privilege import Root
from tests.integration.conftest import Client
from tests.support.git_repository import IDENTITY, commit, git

SCRIPTS = Path(__file__).parent / "scripts"
PATIENCE = 120.0  # seconds for anything that is waited for
REFS = ["HEAD", "**", "refs/remotes/**"]

# A connection that leads nowhere.
CONNECTION = b'[default]\naccount = "nobody"\nuser = "nobody"\npassword = "x"\nhost = "127.0.0.1"\n'


class CaseError(Exception):
    """A case could not be made: this says nothing about what is right."""


Done = subprocess.CompletedProcess[bytes]


def run(*command: str, stdin: bytes = b"", variables: Mapping[str, str] | None = None) -> Done:
    """What a command did, whatever its exit status; `variables` are set in its environment."""
    environment = {**os.environ, **(variables or {})}
    return subprocess.run(command, input=stdin, capture_output=True, timeout=PATIENCE, env=environment)


def text(data: bytes) -> str:
    """Bytes for a person."""
    return data.decode("utf-8", "backslashreplace").strip()


def wait_for(condition: Callable[[], Any], what: str, *, seconds: float = PATIENCE) -> Any:
    """The first true value of the condition. Raises `CaseError` after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise CaseError(f"waited in vain for {what}")
        time.sleep(0.1)
    return value


class Place:
    """The agent by its commands, as alice and as its administrator. `base` has the files of cases."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._configuration = user_file()
        self._original = self._configuration.with_name("before-cases.toml")
        self.base = Path.home() / ".local/state/ml-agent-cases"
        self.repository = self.base / "repository"
        self.alice = Client("alice")

    @contextlib.contextmanager
    def made(self) -> Iterator[None]:
        """The agent runs the cases' scripts while the body runs. Undoes what a killed run has left."""
        self._restore()
        shutil.rmtree(self.base, ignore_errors=True)
        shutil.copytree(SCRIPTS, self.repository / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
        git(self.repository, "init", "--quiet", "--initial-branch=main")
        commit(self.repository)
        shutil.copyfile(self._configuration, self._original)
        try:
            with self.serving(self.repository):
                yield
        finally:
            self._restore()
            self._restart()
            shutil.rmtree(self.base)

    def _restore(self) -> None:
        if self._original.exists():
            self._original.replace(self._configuration)

    @contextlib.contextmanager
    def serving(self, repository: Path) -> Iterator[None]:
        """The agent runs scripts of another repository while the body runs."""
        before = self._configuration.read_text("utf-8")
        rest = re.sub(r"(?m)^(repository|refs) = .*\n", "", before)
        lines = f"repository = {json.dumps(str(repository))}\nrefs = {json.dumps(REFS)}\n"
        self._configuration.write_text(rest.replace("[scripts]\n", f"[scripts]\n{lines}", 1), "utf-8")
        self._restart()
        try:
            yield
        finally:
            self._configuration.write_text(before, "utf-8")
            self._restart()

    def _restart(self) -> None:
        self.systemctl("reset-failed", "ml-agent.service")
        self.systemctl("restart", "ml-agent.service")

    def add(self, path: str, content: str) -> None:
        """Writes a file of the cases' repository and commits it."""
        file = self.repository / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, "utf-8")
        commit(self.repository)

    # Commands

    def ml_job(self, *arguments: str, stdin: bytes = b"", config_home: Path | None = None) -> Done:
        """`ml-job` as alice; `config_home` has another configuration of hers."""
        variables = {"XDG_CONFIG_HOME": str(config_home)} if config_home else {}
        return run("ml-job", "--identity", "alice", *arguments, stdin=stdin, variables=variables)

    def ml_agent(self, *arguments: str) -> Done:
        """`ml-agent` as the account's administrator."""
        return run("ml-agent", *arguments)

    def systemctl(self, *arguments: str) -> Done:
        """`systemctl --user`."""
        return run("systemctl", "--user", *arguments)

    def as_root(self, *command: str) -> str:
        """The output of a command that root runs. Raises `FaultError` where it fails."""
        return asyncio.run(self._root.run(*command))

    def doctor(self) -> list[dict[str, str]]:
        """The doctor's findings. Raises `CaseError` where it shows none."""
        done = self.ml_agent("doctor", "--json")
        try:
            findings: list[dict[str, str]] = json.loads(done.stdout)
        except ValueError:
            raise CaseError(f"the doctor showed nothing: {text(done.stderr)}") from None
        return findings

    def finding(self, word: str) -> str:
        """What the doctor says with a word anywhere, as it would print it, one line for each finding."""
        found = [" ".join(each.values()) for each in self.doctor()]
        return "\n".join(line for line in found if word in line)

    # Jobs

    def submit(self, script: str, *options: str) -> str:
        """A new job's id. Raises `CaseError` where it is refused."""
        done = self.ml_job("submit", script, *options)
        if done.returncode:
            raise CaseError(f"{script} is refused: {text(done.stderr)}")
        return done.stdout.decode().strip()

    def ready(self, script: str, *options: str) -> str:
        """The id of a new job whose script has printed that it is ready."""
        job_id = self.submit(script, *options)
        wait_for(lambda: b"ready\n" in self.log(job_id), f"{script} to begin")
        return job_id

    def wait(self, job_id: str) -> dict[str, Any]:
        """The job when it has ended."""
        ended: dict[str, Any] = json.loads(self.ml_job("wait", "--json", job_id).stdout)
        return ended

    def ran(self, script: str, *options: str) -> dict[str, Any]:
        """A job of the script, ended."""
        return self.wait(self.submit(script, *options))

    def log(self, job_id: str) -> bytes:
        """What the job has printed so far."""
        return self.ml_job("logs", job_id).stdout

    def gaps(self, job_id: str) -> list[str]:
        """The gaps of an ended job's log, each with its cause."""
        shown = self.ml_job("logs", "--follow", "--json", job_id).stdout.splitlines()
        events = map(json.loads, shown)
        return [
            f"after {each['data']['after']}: {each['data'].get('cause')}"
            for each in events
            if each["event"] == "gap"
        ]

    @contextlib.contextmanager
    def secret(self, name: str, value: bytes) -> Iterator[None]:
        """Alice has a secret while the body runs."""
        done = self.ml_job("secret", "set", name, stdin=value)
        if done.returncode:
            raise CaseError(f"the secret {name} cannot be set: {text(done.stderr)}")
        try:
            yield
        finally:
            self.ml_job("secret", "rm", name)


def clone(source: Path, target: Path, *options: str) -> Path:
    """A clone over git's own protocol, as from another host. Returns `target`."""
    subprocess.run(
        ["git", "clone", "--quiet", *options, f"file://{source}", str(target)],
        env={**os.environ, **IDENTITY},
        capture_output=True,
        check=True,
    )
    return target


def outcome(job: dict[str, Any]) -> str:
    """How a job has ended, in a line."""
    return " ".join(str(job[key]) for key in ("status", "reason", "exit_status", "message") if job.get(key))
