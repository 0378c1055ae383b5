"""Canaries: values of secrets that jobs use in every way to end, looked for everywhere but where they belong.

    python -m tests.security.canary

Runs as root on a host with an installed agent, becomes the service account at once, and keeps a child that is
root for the search. Prints what was looked at; exit status 1 where a canary was found. `test_canary.py` does
a part of it, as the account alone.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.api.routes import ROUTES
from agent.config_files import load
from tests.faults.privilege import become
from tests.integration.conftest import Client, run, wait_for

from .search import BYTES, Found, Search

REF = "refs/heads/test/canary"
CONNECTION = '[default]\naccount = "canary"\nuser = "canary"\nhost = "127.0.0.1"\npassword = "{password}"\n'

# Holds both secrets in its memory, says their digests, waits to be looked at, and ends as it is told.
SCRIPT = """# /// ml-job
# secrets = ["snowflake-canary", "canary"]
# [[parameters]]
# name = "end"
# ///
import ctypes, faulthandler, hashlib, os, pathlib, resource, sys, time

mounted = pathlib.Path("/run/secrets")
held = [(mounted / name / "connections.toml").read_bytes() for name in ("canary", "snowflake-canary")]
print("holds", *(hashlib.sha256(each).hexdigest() for each in held))
open("/artifacts/held", "w").close()
while not os.path.exists("/artifacts/go"):
    time.sleep(0.05)
match os.environ["HP_END"]:
    case "fail":
        import snowflake.connector
        snowflake.connector.connect(connection_name="default", login_timeout=1, network_timeout=1)
    case "crash":
        # Whatever could help a core dump to be written, and to where somebody can fetch it.
        resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
        os.chdir("/artifacts")
        faulthandler.enable()
        ctypes.string_at(0)
    case "timeout" | "cancel":
        time.sleep(600)
"""
ENDS = {
    "succeed": "COMPLETED",
    "fail": "FAILED",
    "crash": "FAILED",
    "timeout": "FAILED",
    "cancel": "CANCELLED",
}
USERS = {end: Client("bob" if end == "succeed" else "alice") for end in ENDS}
RUN_TIME = 30  # seconds that the job has whose time is to be over


@dataclass
class Canaries:
    """The values: alice's own by HTTP, everybody's and bob's by the operator's command."""

    since: float = field(default_factory=lambda: time.time() - 1)
    alices: str = field(default_factory=lambda: secrets.token_hex(16))
    everybodys: str = field(default_factory=lambda: secrets.token_hex(16))
    bobs: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def values(self) -> list[bytes]:
        """What is looked for."""
        return [self.alices.encode(), self.everybodys.encode(), self.bobs.encode()]

    def are_in(self, text: str) -> bool:
        """Whether a text has any of them."""
        return any(value.decode() in text for value in self.values)

    def connection(self, password: str) -> bytes:
        """A value that is taken for a Snowflake secret."""
        return CONNECTION.format(password=password).encode()

    def held_by(self, user: str) -> str:
        """What a job of the user says that it holds: its own canary, and everybody's connection."""
        own = {"alice": self.alices, "bob": self.bobs}[user].encode()
        shared = self.connection(self.everybodys)
        return f"holds {hashlib.sha256(own).hexdigest()} {hashlib.sha256(shared).hexdigest()}"


OCTETS = ("--header", "Content-Type: application/octet-stream")
JSON = ("--header", "Content-Type: application/json")
Looker = Callable[[Canaries], Found]


def look(canaries: Canaries) -> Found:
    """A search as whoever this is."""
    return Search(canaries.values, since=canaries.since, uid=os.getuid()).everywhere()


def leaks(found: Found, *, running: bool) -> list[str]:
    """The places where no value belongs.

    It belongs into Podman's file of secrets and, while the job runs, into the copies that are mounted for it.
    """
    storage = Path.home() / ".local/share/containers/storage"
    kept = f"file: {storage}/secrets/filedriver/secretsdata.json"
    mounted = re.compile(
        rf"file: {storage}/overlay-containers/[0-9a-f]{{64}}/userdata/secrets/ml-agent\.[a-z.-]+"
    )
    return [hit for hit in found.hits if hit != kept and not (running and mounted.fullmatch(hit))]


@contextlib.contextmanager
def the_script() -> Iterator[str]:
    """A commit whose only script is the canaries', on a branch of its own of the site's repository."""
    repository = load().scripts.repository

    def git(*arguments: str, text: str = "") -> str:
        return subprocess.run(
            ["git", "-C", str(repository), "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments],
            input=text,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    blob = git("hash-object", "-w", "--stdin", text=SCRIPT)
    scripts = git("mktree", text=f"100644 blob {blob}\tcanary.py\n")
    tree = git("mktree", text=f"040000 tree {scripts}\tscripts\n")
    git("update-ref", REF, git("commit-tree", tree, "-m", "Canaries"))
    try:
        yield git("rev-parse", REF)
    finally:
        git("update-ref", "-d", REF)


@contextlib.contextmanager
def set_secrets(canaries: Canaries) -> Iterator[None]:
    """The canaries are set, through every door there is; afterwards they are removed."""
    alice = Client("alice")
    try:
        # Rotated: the earlier value is a canary too.
        assert put(alice, "canary", canaries.bobs.encode())[0] == 200
        told = run("ml-job", "--identity", "alice", "secret", "set", "canary", input=canaries.alices)
        assert told.stdout.startswith("Rotated: "), told
        operator("set", "canary", "--user", "bob", value=canaries.bobs.encode())
        operator("set", "snowflake-canary", value=canaries.connection(canaries.bobs))
        operator("set", "snowflake-canary", value=canaries.connection(canaries.everybodys))
        yield
    finally:
        alice.ml_job("secret", "rm", "canary")
        for arguments in (("canary", "--user", "bob"), ("snowflake-canary",)):
            run("ml-agent", "secret", "rm", *arguments)
    assert "canary" not in run("ml-agent", "secret", "list").stdout


def put(user: Client, name: str, value: bytes, *options: str) -> tuple[int, str]:
    """Sets a secret over HTTP, with the value on curl's standard input; the status and the answer."""
    return send(user, f"/secrets/{name}", value, "--request", "PUT", *(options or OCTETS))


def send(user: Client, path: str, value: bytes, *options: str) -> tuple[int, str]:
    """A request with a body that is on curl's standard input."""
    command = user.curl_command(path, "--data-binary", "@-", *options)
    shown = subprocess.run(command, input=value, capture_output=True, check=True).stdout
    body, _, status = shown.decode().rpartition("\n")
    return int(status), body


def operator(*arguments: str, value: bytes) -> None:
    """`ml-agent secret …` with the value on standard input."""
    subprocess.run(["ml-agent", "secret", *arguments], input=value, check=True, capture_output=True)


def refused_requests(canaries: Canaries) -> Iterator[tuple[int, str]]:
    """Requests that carry a canary and cannot be taken, with their answers."""
    alice, value = Client("alice"), canaries.alices.encode()
    yield put(alice, "canary", value * 20_000)
    yield put(alice, "canary", b'{"value": "' + value, *JSON)
    yield put(alice, "snowflake-canary", b'password = "' + value)
    yield put(alice, "snowflake-canary", b"\xff" + value)
    yield put(alice, "Canary", value)
    for body in (b'{"script_name": "%b', b'["%b"]', b'{"hyperparameters": {"x": ["%b"]}}', b'"%b\n"'):
        yield send(alice, "/jobs", body % value, *JSON)


def answers(user: Client, job_id: str) -> Iterator[tuple[str, str]]:
    """What every call answers that only asks."""
    for route in ROUTES:
        if route.method == "GET" and not route.path.endswith("/events"):
            path = route.path.replace("{job_id}", job_id).replace("{path}", "held")
            yield path, user.curl(path).stdout


def job(user: Client, end: str, commit: str, stack: contextlib.ExitStack) -> str:
    """A job of the script, from when it holds its secrets; its id. It ends with the stack at the latest."""
    body: dict[str, Any] = {"script_name": "canary.py", "hyperparameters": {"end": end}, "ref": commit}
    if end == "timeout":
        body["limits"] = {"run_time_seconds": RUN_TIME}
    status, made = user.call("/jobs", "--json", json.dumps(body))
    assert status == 202, made
    job_id = str(made["job_id"])
    stack.callback(user.curl, f"/jobs/{job_id}/cancel", "--json", "{}")
    wait_for(
        lambda: (artifacts(job_id) / "held").exists() or ended(user, job_id), f"{job_id} to hold its secrets"
    )
    assert (artifacts(job_id) / "held").exists(), user.curl(f"/jobs/{job_id}/logs").stdout
    return job_id


def ended(user: Client, job_id: str) -> bool:
    """Whether the job is over."""
    return user.job(job_id)["status"] in ("COMPLETED", "FAILED", "CANCELLED")


def artifacts(job_id: str) -> Path:
    """Where the job's first attempt leaves its files."""
    return load().state_directory / "jobs" / job_id / "attempts/1/artifacts"


def let_go(user: Client, job_id: str, end: str) -> dict[str, Any]:
    """Lets a job come to its end, or brings it there; the job then."""
    (artifacts(job_id) / "go").touch()
    if end == "cancel":
        user.curl(f"/jobs/{job_id}/cancel", "--json", "{}")
    return user.wait(job_id, "COMPLETED", "FAILED", "CANCELLED")


def watch(
    canaries: Canaries, looker: Looker, ends: Sequence[str]
) -> Iterator[tuple[str, list[str], Counter[str]]]:
    """What became of jobs that end so: leaks, and what was looked at for them."""
    together = min(2, load().jobs.max_running)
    with the_script() as commit, set_secrets(canaries), contextlib.ExitStack() as stack:
        for start in range(0, len(ends), together):
            some = ends[start : start + together]
            jobs = {job(USERS[end], end, commit, stack): end for end in some}
            found = looker(canaries)
            yield f"{' and '.join(some)}, during", leaks(found, running=True), found.looked_at
            told = [place for job_id, end in jobs.items() for place in to_its_end(canaries, job_id, end)]
            found = looker(canaries)
            yield f"{' and '.join(some)}, after", [*leaks(found, running=False), *told], found.looked_at


def everything(canaries: Canaries, looker: Looker) -> Iterator[tuple[str, list[str], Counter[str]]]:
    """Every way to end, and refusals."""
    yield from watch(canaries, looker, list(ENDS))
    yield watch_refusals(canaries, looker)


def watch_refusals(canaries: Canaries, looker: Looker) -> tuple[str, list[str], Counter[str]]:
    """The same of requests that are refused."""
    refused = list(refused_requests(canaries))
    assert all(400 <= code < 500 for code, _ in refused), refused
    told = [body for _, body in refused if canaries.are_in(body)]
    found = looker(canaries)
    return f"{len(refused)} refused requests", [*leaks(found, running=False), *told], found.looked_at


def to_its_end(canaries: Canaries, job_id: str, end: str) -> list[str]:
    """Brings a job to its end, and makes sure that it had its secrets; paths whose answers have canaries."""
    user = USERS[end]
    done = let_go(user, job_id, end)
    assert done["status"] == ENDS[end], done
    log = user.curl(f"/jobs/{job_id}/logs").stdout
    assert canaries.held_by(user.user) in log, f"the job did not hold what it should: {log}"
    return [path for path, body in answers(user, job_id) if canaries.are_in(body)]


def main() -> int:
    """The exit status."""
    root = become("ml")

    def as_root(canaries: Canaries) -> Found:
        backwards = [value.hex()[::-1] for value in canaries.values]
        command = [sys.executable, "-m", "tests.security.search", str(canaries.since), str(os.getuid())]
        answer = json.loads(asyncio.run(root.run(*command, *backwards)))
        return Found(answer["hits"], Counter(answer["looked_at"]))

    status = 0
    for what, places, looked_at in everything(Canaries(), as_root):
        kinds = {kind for kind in looked_at if not kind.endswith(BYTES)}
        seen = (f"{looked_at[kind]} {kind} ({looked_at[kind + BYTES]} bytes)" for kind in sorted(kinds))
        print(f"{what}: {len(places)} leaks", *seen, sep="\n    ", flush=True)
        for place in places:
            status = 1
            print(f"  leaked to {place}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
