"""Checks which jobs a new one may wait for.

No two jobs can wait for each other: a job names jobs that are on record before it is, and never others.
"""

from ..errors import FieldError, invalid_request
from ..model.job import MAX_CHAIN, JobRequest, JobState
from .registry import Registry
from .requests import MayRead, known_job


async def check_after(registry: Registry, request: JobRequest, may_read: MayRead) -> None:
    """Raises `AgentError` (invalid-request) where the job could never start, or may not know of another."""
    wrong = {
        f"after.{number}": await _objection(registry, job_id, may_read)
        for number, job_id in enumerate(request.after)
    }
    if (chain := registry.chain_with(request.after)) > MAX_CHAIN:
        wrong["after"] = f"would make {chain} jobs in a row that wait for one another; {MAX_CHAIN} may"
    if errors := tuple(FieldError(field, why) for field, why in wrong.items() if why):
        raise invalid_request("The job cannot wait for these jobs.", fields=errors)


async def _objection(registry: Registry, job_id: str, may_read: MayRead) -> str:
    """Why no job may wait for that one; "" if one may."""
    job = await known_job(registry.get, job_id, may_read)
    if job is None:
        return f"must be a job that you may read; {job_id} is none"
    if job.status.terminal and job.status is not JobState.COMPLETED:
        return f"must be a job that can still complete; {job_id} is {job.status}"
    return ""
