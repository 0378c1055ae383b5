"""From a sweep to the job of a trial, and from such a job to a sweep. Pure functions."""

from collections.abc import Mapping
from typing import Any

from ..model.base import new_job_id, now, unit_name
from ..model.job import Job, JobState
from ..model.sweep import Sweep, SweepState

# What all trials of a sweep have in common, as a job has it.
COMMON = (
    "owner",
    "script_name",
    "name",
    "labels",
    "inputs",
    "limits",
    "priority",
    "max_attempts",
    "retry_on",
    "commit",
    "script_sha256",
    "image",
    "image_digest",
    "secrets",
    "network",
    "artifacts",
)


def trial_job(sweep: Sweep, chosen: dict[str, str]) -> Job:
    """The job of the sweep's next trial, with these hyperparameters of the space."""
    job_id = new_job_id()
    return Job(
        job_id=job_id,
        status=JobState.PENDING,
        unit=unit_name(job_id),
        created_at=now(),
        hyperparameters=sweep.hyperparameters | chosen,
        sweep=sweep.sweep_id,
        trial=sweep.made,
        **{name: getattr(sweep, name) for name in COMMON},
    )


def fixed(job: Job, space: Mapping[str, Any]) -> dict[str, str]:
    """The hyperparameters of a trial that all trials have."""
    return {name: value for name, value in job.hyperparameters.items() if name not in space}


def sweep_like(job: Job, **fields: Any) -> Sweep:
    """A new sweep whose trials are like a job."""
    return Sweep(
        sweep_id=new_job_id(),
        status=SweepState.RUNNING,
        created_at=now(),
        **{name: getattr(job, name) for name in COMMON},
        **fields,
    )
