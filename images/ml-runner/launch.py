"""Becomes the job that /run/ml-job/job.json describes:

    {"job_id": "…", "script_name": "train.py", "hyperparameters": {"n_estimators": "50"},
     "starts_after": "/run/ml-job/started"}

`starts_after`, if it is there, is a file that appears when systemd watches this container; a script that
ended before would leave no exit status. The script gets JOB_ID and HP_<NAME> in its environment. Values are
data: no shell, no unit file and no command line sees them. Exits with 78 (EX_CONFIG of sysexits.h) when the
description is missing or malformed.
"""

import json
import os
import sys
import time

JOB = "/run/ml-job/job.json"
SCRIPTS = "/scripts"
EX_CONFIG = 78
PAUSE = 0.002  # seconds between two looks for the file that is waited for


class MalformedError(Exception):
    """The description is not what it should be; the message says where."""


def text(name: str, value: object) -> str:
    """The value, which must be a string."""
    if not isinstance(value, str):
        raise MalformedError(f"{name} must be a string")
    return value


def read(job: object) -> tuple[str, dict[bytes, bytes]]:
    """The path of the script, and its variables in UTF-8, whatever the locale."""
    if not isinstance(job, dict):
        raise MalformedError("must be an object")
    for key in ("job_id", "script_name", "hyperparameters"):
        if key not in job:
            raise MalformedError(f"{key} is missing")
    if not isinstance(job["hyperparameters"], dict):
        raise MalformedError("hyperparameters must be an object")
    variables = {"JOB_ID": text("job_id", job["job_id"])}
    for name, value in job["hyperparameters"].items():
        variables[f"HP_{name.upper()}"] = text(name, value)
    script = os.path.join(SCRIPTS, text("script_name", job["script_name"]))
    return script, {name.encode(): value.encode() for name, value in variables.items()}


def wait(job: dict[str, object]) -> None:
    """Returns when the job may start; systemd ends it where that takes too long (TimeoutStartSec=)."""
    if "starts_after" in job:
        path = text("starts_after", job["starts_after"])
        while not os.path.exists(path):
            time.sleep(PAUSE)


def main() -> None:
    """Never returns: it is the script from here on, or it exits."""
    try:
        with open(JOB, encoding="utf-8") as file:
            job = json.load(file)
        script, variables = read(job)
        os.chdir(SCRIPTS)
        wait(job)
        # -u: a line is in the log when it is printed, not when a buffer is full.
        command = [sys.executable, "-u", script]
        os.execve(command[0], command, dict(os.environb) | variables)  # noqa: S606 (no shell on purpose)
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}"
    except (MalformedError, ValueError) as error:
        reason = f"{JOB}: {error}"
    print(f"ml-runner: {reason}", file=sys.stderr)
    sys.exit(EX_CONFIG)


if __name__ == "__main__":
    main()
