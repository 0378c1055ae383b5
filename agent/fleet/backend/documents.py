"""A job of the fleet as clients see it: what its host has told last, and what the record knows better."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ...model.job import Job, JobState, Reason

# What a job that waits does not have, whatever the host told that has lost it.
NOT_BEGUN: dict[str, Any] = {
    "status": JobState.PENDING,
    "reason": None,
    "message": None,
    "container_id": "",
    "invocation_id": None,
    "exit_status": None,
    "started_at": None,
    "finished_at": None,
}


def job_of(row: Mapping[str, str]) -> Job:
    """The job that `Record.job` gives as `row`."""
    job = Job.told(json.loads(row["document"]))
    update: dict[str, Any] = {
        "revision": int(row["revision"]),
        "created_at": moment(float(row["created"])),
        "host": row.get("host") or None,
        "rerun_of": row.get("rerun_of") or None,
        # The host counts its own attempts. A record that has no such count is of before there was one.
        "attempt": int(row["attempt"]) - 1 + int(row.get("host_attempt", job.attempt)),
        "max_attempts": int(row["max_attempts"]),
        "cancel_requested": job.cancel_requested or "cancel" in row,
        "pinned": "pinned" in row,
    }
    if row["state"] in ("waiting", "claimed"):
        update |= NOT_BEGUN | {"attempt": int(row["attempt"])}
    elif row["state"] == "ended" and not job.status.terminal:
        update |= {
            "status": JobState(row["status"]),
            "reason": Reason(row["reason"]),
            "finished_at": moment(float(row["finished"])),
            "not_before": None,
        }
    return job.model_copy(update=update)


def moment(seconds: float) -> datetime:
    """Seconds since 1970 as a time in UTC, cut to milliseconds."""
    return datetime.fromtimestamp(int(seconds * 1000) / 1000, UTC)
