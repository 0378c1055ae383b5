"""Records and files of jobs, for tests that need one and care for few of its fields."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agent.host.machine import read_clocks
from agent.model.base import new_job_id, now, unit_name
from agent.model.inputs import Limits
from agent.model.job import Job, JobRequest, JobState
from agent.model.paths import JobPaths
from agent.store.store import Store


def make_job(owner: str = "alice", **fields: object) -> Job:
    """A job that waits, with the given fields instead of the usual ones."""
    job_id = str(fields.get("job_id", new_job_id()))
    usual: dict[str, object] = {
        "job_id": job_id,
        "status": JobState.PENDING,
        "owner": owner,
        "script_name": "hello.py",
        "hyperparameters": {"n": "1"},
        "limits": Limits(),
        "commit": "0" * 40,
        "script_sha256": "1" * 64,
        "image": "localhost/ml-runner:latest",
        "image_digest": "sha256:" + "2" * 64,
        "network": "none",
        "unit": unit_name(job_id),
        "created_at": now(),
    }
    return Job.model_validate(usual | fields)


def old_job(**fields: Any) -> Job:
    """A job of alice's that ended a hundred days ago."""
    ended = now() - timedelta(days=100)
    return make_job(status=JobState.CANCELLED, created_at=ended, finished_at=ended, **fields)


async def let_ages_begin(store: Store) -> None:
    """Leaves the store as an agent does that saw every job end, on a host with a synchronised clock."""
    moment = replace(await read_clocks(ask=False), synchronised=True)
    await store.retention.advance_clock(moment)
    age = "UPDATE jobs SET ages_from = (julianday(finished_at) - 2440587.5) * 86400 WHERE NOT active"
    await store.database.run(lambda db: db.execute(age))


def paths_below(directory: Path) -> Callable[[str], JobPaths]:
    """Finds the files of each job in a directory of the job's name."""
    return lambda job_id: JobPaths(directory, directory / "runtime", job_id)


def refused_fields(**body: object) -> list[str]:
    """The fields that are refused in a request for a job, for example `limits.cpus`."""
    with pytest.raises(ValidationError) as caught:
        JobRequest.model_validate({"script_name": "train.py"} | body)
    return [".".join(map(str, error["loc"])) for error in caught.value.errors()]
