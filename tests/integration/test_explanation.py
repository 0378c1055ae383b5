"""Jobs that are made to wait, to fail and to end, and what `ml-job explain` says of each."""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent.cli.job.profile import config_directory
from agent.config_files import load
from tests.support.git_repository import git

from .conftest import Client, run, wait_for

pytestmark = [
    pytest.mark.host,
    pytest.mark.skipif(
        not (config_directory() / "alice.crt").exists(),
        reason="no agent is installed (tests/host/host install)",
    ),
]

REF = "refs/heads/test/explained"  # tests/host/install-account.sh lets such branches run
ENDED = ("COMPLETED", "FAILED", "CANCELLED")
BEGUN = "print('begun', flush=True)\n"
SLEEPS = f"{BEGUN}import time; time.sleep(120)\n"
DECLARES = '# /// ml-job\n# artifacts = ["model.joblib"]\n# ///\n'


@dataclass(frozen=True)
class Cause:
    """A script, what its submission says besides, and what the explanation must say."""

    source: str
    summary: str
    fields: dict[str, Any] = field(default_factory=dict)


LITTLE = {"limits": {"memory_bytes": 128 * 2**20}}
CAUSES = {
    "module": Cause("import lightgbm", "imports lightgbm, which the image has not"),
    "name": Cause("from sklearn import nonesuch", "could not import a module: cannot import name 'nonesuch'"),
    "parameter": Cause(
        "import os; os.environ['HP_ALPHA']", "reads HP_ALPHA, and the job has no such hyperparameter"
    ),
    "secret": Cause(
        "open('/run/secrets/snowflake/connections.toml')",
        "reads the secret snowflake, which the job did not get",
    ),
    "read_only": Cause("open('/scripts/out.csv', 'w')", "wrote to /scripts/out.csv, which is read-only"),
    "permission": Cause(
        "import os\nopen('/tmp/x', 'w').close()\nos.chmod('/tmp/x', 0)\nopen('/tmp/x')", "may not open /tmp/x"
    ),
    "tmp_full": Cause(
        "file = open('/tmp/x', 'wb', 0)\nwhile True: file.write(bytes(2**20))",
        "file system of the job was full",
        LITTLE,
    ),
    "no_file": Cause("open('train.csv')", "opens train.csv, which does not exist in the job"),
    "program": Cause(
        "import subprocess; subprocess.run(['nonesuch'])", "opens nonesuch, which does not exist"
    ),
    "memory_error": Cause("bytearray(2**62)", "asked for more memory than it could get"),
    "array": Cause("import numpy; numpy.ones(10**15)", "asked for more memory than it could get"),
    "worker": Cause(
        "import os\nfrom concurrent.futures import ProcessPoolExecutor\n"
        "ProcessPoolExecutor(1).submit(os.abort).result()",
        "A worker process of the script was killed",
    ),
    "joblib_worker": Cause(
        "import os, joblib\njoblib.Parallel(2)(joblib.delayed(os.abort)() for _ in range(2))",
        "A worker process of the script was killed",
    ),
    "threads": Cause(
        "import threading, time\n"
        "for _ in range(500): threading.Thread(target=time.sleep, args=(9,), daemon=True).start()",
        "more processes or threads than its limit",
        {"limits": {"tasks": 20}},
    ),
    "no_network": Cause(
        "import socket; socket.getaddrinfo('example.com', 443)", "used the network, and the job has none"
    ),
    "nobody_listens": Cause(
        "import socket; socket.create_connection(('127.0.0.1', 9))", "on which nothing listens"
    ),
    "syntax": Cause("print((1)", "is no valid Python: '(' was never closed"),
    "arguments": Cause(
        "import argparse; argparse.ArgumentParser(prog='train.py').parse_args(['--depth'])",
        "refused its arguments: unrecognized arguments: --depth",
    ),
    "value": Cause(
        "raise ValueError('no rows since Monday')", "ended with ValueError: no rows since Monday."
    ),
    "key": Cause("{}['tenure']", "ended with KeyError: 'tenure'."),
    "table": Cause("import io, pandas; pandas.read_csv(io.StringIO(''))", "ended with EmptyDataError"),
    "nan": Cause(
        "from sklearn.linear_model import LogisticRegression\n"
        "LogisticRegression().fit([[1.0], [float('nan')]], [0, 1])",
        "ended with ValueError: Input X contains NaN.",
    ),
    "decoding": Cause("b'\\xff'.decode()", "ended with UnicodeDecodeError"),
    "recursion": Cause("def f(): f()\nf()", "ended with RecursionError"),
    "interrupt": Cause("raise KeyboardInterrupt", "killed by SIGINT"),
    "chained": Cause(
        "try:\n    {}['a']\nexcept KeyError as error:\n    raise RuntimeError('no column a') from error",
        "ended with RuntimeError: no column a.",
    ),
    "says_why": Cause("raise SystemExit('the table is empty')", "its last words were: the table is empty."),
    "says_nothing": Cause("raise SystemExit(3)", "ended itself with status 3, and said nothing"),
    "crash": Cause("import ctypes; ctypes.string_at(0)", "killed by SIGSEGV"),
    "abort": Cause("import os; os.abort()", "killed by SIGABRT"),
    "oom": Cause(
        "data = []\nwhile True: data.append(b'x' * 2**20)",
        "needed more memory than its limit of 128 MiB",
        LITTLE,
    ),
    "timeout": Cause(SLEEPS, "ran for longer than its limit of 2 s", {"limits": {"run_time_seconds": 2}}),
    "no_artifact": Cause(f"{DECLARES}print('done')", "left no file model.joblib in /artifacts"),
    "large_artifact": Cause(
        "open('/artifacts/x', 'wb').write(bytes(4 * 2**20))",
        "larger than a job's files may be",
        {"limits": {"artifact_bytes": 2**20}},
    ),
    "many_artifacts": Cause(
        f"for n in range(3): open(f'/artifacts/{{n}}', 'wb').write(bytes(700 * 2**10))\n{SLEEPS}",
        "/artifacts",
        {"limits": {"artifact_bytes": 2**20}},
    ),
    "again": Cause(
        "raise ValueError('twice')",
        "ended with ValueError: twice.",
        {"max_attempts": 2, "retry_on": ["exit-code"]},
    ),
    "good": Cause("print('done')", "Nothing is wrong: the script ended with status 0."),
}
# A host in a container has no cgroup controllers, and so no limits: there these would take all of its memory.
NEED_LIMITS = ("oom", "threads")
MANAGER = Path(f"/sys/fs/cgroup/user.slice/user-{os.getuid()}.slice/user@{os.getuid()}.service")
ENFORCED = MANAGER / "cgroup.controllers"
if not ENFORCED.exists() or not {"memory", "pids"} <= set(ENFORCED.read_text("ascii").split()):
    for needed in NEED_LIMITS:
        del CAUSES[needed]

ALICE = Client("alice")


@pytest.fixture(scope="module")
def branch() -> Iterator[None]:
    """A branch of the installed agent's repository with the script of each cause, and one that sleeps."""
    repository = load().scripts.repository
    sources = {name: cause.source for name, cause in CAUSES.items()} | {"sleeps": SLEEPS}
    blobs = {
        name: git(repository, "hash-object", "-w", "--stdin", stdin=f"{source}\n".encode())
        for name, source in sources.items()
    }
    listing = "".join(f"100644 blob {blob}\t{name}.py\n" for name, blob in sorted(blobs.items()))
    scripts = git(repository, "mktree", stdin=listing.encode())
    tree = git(repository, "mktree", stdin=f"040000 tree {scripts}\t{load().scripts.directory}\n".encode())
    git(repository, "update-ref", REF, git(repository, "commit-tree", "-m", "causes", tree))
    yield
    git(repository, "update-ref", "-d", REF)


def submitted(name: str, **fields: Any) -> str:
    """The id of a job of one of the scripts."""
    body = {"script_name": f"{name}.py", "ref": "test/explained", "hyperparameters": {}} | fields
    status, job = ALICE.call("/jobs", "--json", json.dumps(body))
    assert status == 202, job
    return str(job["job_id"])


@pytest.fixture(scope="module")
def jobs(branch: None) -> dict[str, str]:
    """One job for each cause."""
    return {name: submitted(name, **cause.fields) for name, cause in CAUSES.items()}


def explanation(job_id: str) -> Any:
    """What the agent says about a job."""
    shown = ALICE.ml_job("explain", job_id, "--json")
    assert shown.returncode == 0, shown.stderr
    return json.loads(shown.stdout)


@pytest.mark.parametrize("name", CAUSES)
def test_a_job_is_explained_by_its_cause(jobs: dict[str, str], name: str) -> None:
    job = ALICE.wait(jobs[name], *ENDED)
    found = explanation(jobs[name])
    assert CAUSES[name].summary in found["summary"], (
        job,
        found,
        ALICE.curl(f"/jobs/{jobs[name]}/logs").stdout,
    )


@contextlib.contextmanager
def sleeping(**fields: Any) -> Iterator[str]:
    """A job that sleeps until the context ends."""
    job_id = submitted("sleeps", **fields)
    try:
        wait_for(
            lambda: "begun" in ALICE.curl(f"/jobs/{job_id}/logs?follow=false").stdout, "the script to begin"
        )
        yield job_id
    finally:
        ALICE.ml_job("cancel", job_id)
        ALICE.wait(job_id, *ENDED)


def test_a_running_job_and_one_that_a_client_cancels(branch: None) -> None:
    with sleeping() as job_id:
        assert explanation(job_id)["summary"] == "The job runs, and nothing is known to be wrong."
    assert explanation(job_id)["summary"] == "A client cancelled the job while it ran."


def test_a_job_that_is_stopped_by_hand(branch: None) -> None:
    with sleeping() as job_id:
        run("systemctl", "--user", "stop", f"ml-job@{job_id}.service")
        ALICE.wait(job_id, *ENDED)
        assert explanation(job_id)["summary"] == "Somebody stopped the job's unit on the host."


def test_a_job_that_is_killed_by_hand(branch: None) -> None:
    with sleeping() as job_id:
        run("systemctl", "--user", "kill", "--signal=KILL", f"ml-job@{job_id}.service")
        ALICE.wait(job_id, *ENDED)
        assert "killed by SIGKILL" in explanation(job_id)["summary"]


def test_jobs_that_wait_for_room_and_are_cancelled_before_they_begin(branch: None) -> None:
    status, host = ALICE.call("/host")
    assert status == 200
    whole = {"limits": {"cpus": host["capacity"]["cpus"]}}
    with sleeping(**whole):
        waiting = submitted("good", **whole)
        found = explanation(waiting)
        assert found["summary"].startswith("The job waits for "), found
        assert " CPU" in found["summary"]
        assert found["evidence"][0]["text"] == "position 1 of the queue"
        ALICE.ml_job("cancel", waiting)
        assert explanation(waiting)["summary"] == "A client cancelled the job before it began."


def test_a_job_whose_commit_may_no_longer_run(branch: None) -> None:
    repository = Path(load().scripts.repository)
    status, host = ALICE.call("/host")
    assert status == 200
    whole = {"limits": {"cpus": host["capacity"]["cpus"]}}
    with sleeping(**whole):
        waiting = submitted("good", **whole)
        known = git(repository, "rev-parse", REF)
        git(repository, "update-ref", "-d", REF)
    try:
        ALICE.wait(waiting, *ENDED)
        assert "may not run here" in explanation(waiting)["summary"]
    finally:
        git(repository, "update-ref", REF, known)


def test_the_command_prints_the_sentence_first(jobs: dict[str, str]) -> None:
    ALICE.wait(jobs["module"], *ENDED)
    shown = ALICE.ml_job("explain", jobs["module"])
    first, advice, *evidence = shown.stdout.splitlines()
    assert first == "The script imports lightgbm, which the image has not."
    assert "Add the package to the image" in advice
    assert "No module named 'lightgbm'" in evidence[0]
