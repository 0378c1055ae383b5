"""What schemathesis, which loads this, is told of the API while it runs, and what it counts."""

import atexit
import contextlib
import json
import os
import random
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import schemathesis

from agent.api.server.requests import IDEMPOTENCY_KEY

ENDED = os.environ["ENDED"].split()
CASES: Counter[str] = Counter()
STATUSES: Counter[int] = Counter()
PASSED_OVER: Counter[str] = Counter()

# No schema can say these: a request of the right form that asks for what is not there, or not together. The
# problem's code, the field, and how the message begins.
BEYOND_A_SCHEMA = (
    ("script-not-found", "script_name", "is no script"),
    ("ref-not-found", "ref", "is no "),  # branch, tag or commit that is there, or name that git allows
    ("idempotency-mismatch", "Idempotency-Key", "was used for a different body"),
    ("invalid-request", "hyperparameters", "must have "),  # so many bytes at the most, together
    ("invalid-request", "body", "hyperparameters "),  # two that differ in case would be one variable
    ("invalid-request", "hyperparameters.", "sets the same variable as "),  # likewise, in a rerun
    ("invalid-request", "after", "must be a job that "),  # you may read, or can still complete
    ("invalid-request", "inputs.", ""),  # artifacts that are not there
    ("invalid-request", "space", ""),  # what contradicts itself, or the script
    ("invalid-request", "trials", ""),  # fewer than before, or more than a grid has
    ("invalid-request", "strategy", "needs Optuna"),
    ("invalid-request", "metric", "must be there where sort"),
    ("invalid-request", "label", "must not name a label twice"),
    ("invalid-request", "job", "must name at least one job"),  # or a sweep, and not both
    ("invalid-request", "minimize", "must be left out"),  # where there is maximize
    ("invalid-request", "from", "must be "),  # a day that there is, soon enough before `to`
    ("invalid-request", "to", "must be "),
    ("invalid-request", "calendar", ""),  # what systemd does not read, and times that never or always come
    ("invalid-request", "time_zone", "must be a time zone of this host"),
    ("invalid-request", "randomized_delay_seconds", "must be less than"),
    ("invalid-request", "body", "must have either job or sweep"),
    ("invalid-request", "pruner", "needs Optuna"),
    ("invalid-request", "grep", "must be a regular expression"),
    ("invalid-request", "grep", "must have "),  # so many characters at the most, with its counts written out
    ("invalid-request", "since", "must be an event id of this log, or a time"),
    ("invalid-request", "until", "must be left out of a log that is followed"),
    ("invalid-request", "shared", "must be left out where"),
    ("invalid-request", "cursor", "must be the next_cursor of an earlier page"),
    ("invalid-request", "Last-Event-ID", "must be an id of this stream"),
    ("invalid-request", "csr", ""),  # what a signing request is, and of which key
    ("invalid-request", "value", ""),  # what a connections.toml is
)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """What is followed without events, which would be left after one, is the log of a job that has ended."""
    if case.operation.path.endswith("/logs") and (case.query or {}).get("follow"):
        case.path_parameters["job_id"] = random.choice(ENDED)


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Counts."""
    CASES[f"{case.operation.method.upper()} {case.operation.path}"] += 1
    STATUSES[response.status_code] += 1


@schemathesis.hook
def map_headers(context: Any, headers: dict[str, Any]) -> dict[str, Any]:
    """A key of the right form is another one each time: it belongs to one request."""
    key = (headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and IDEMPOTENCY_KEY.fullmatch(key):
        return {**headers, "Idempotency-Key": str(uuid.uuid4())}
    return headers


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Whether a failure is one: what no schema can say is no reason to take a request."""
    code = _code(response)
    if case.operation.path == "/enrolment" and code in ("invitation-refused", "too-many-requests"):
        PASSED_OVER[code] += 1  # there is no invitation, and strangers may send one request a second
        return False
    if case.operation.path.startswith("/sweeps") and code in ("too-many-jobs", "sweep-ended"):
        PASSED_OVER[code] += 1  # others wait for the only place, or the one that is known was cancelled
        return False
    if case.operation.path.startswith("/schedules") and code in ("too-many-schedules", "schedule-not-found"):
        PASSED_OVER[code] += 1  # others were made before it, or removed
        return False
    of_models = ("too-many-models", "too-many-pinned", "not-completed")
    if case.operation.path.startswith("/models") and code in of_models:
        PASSED_OVER[code] += 1  # each other name makes one, and some of the known jobs have not ended
        return False
    if code == "foreign-origin" and {"origin", "sec-fetch-site"} & {
        each.lower() for each in case.headers or {}
    }:
        PASSED_OVER[code] += 1  # refused before anything else is looked at
        return False
    if type(failure).__name__ != "RejectedPositiveData":
        return True
    problem = response.json()
    for error in problem.get("errors", []):
        for known, field, message in BEYOND_A_SCHEMA:
            name = error["field"].removeprefix("job.").removeprefix("sweep.")  # in a schedule
            if known == code and name.startswith(field) and error["message"].startswith(message):
                PASSED_OVER[f"{code} {field}"] += 1
                return False
    return True


def _code(response: Any) -> str:
    """That of a problem document; empty for another answer."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(response.json()["type"]).rpartition(":")[2]
    return ""


@atexit.register
def write() -> None:
    """Leaves the counts for whoever started this."""
    Path(os.environ["COUNTS"]).write_text(
        json.dumps({"cases": CASES, "statuses": STATUSES, "passed_over": PASSED_OVER})
    )
