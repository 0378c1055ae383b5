"""What a request for a job comes to: its fingerprint, and the parameters of a rerun."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import ValidationError

from ..errors import AgentError, FieldError, Problem, invalid_request
from ..model.alias import NamedModel
from ..model.inputs import PARAMETERS, PARAMETERS_BOUND, same_variable
from ..model.job import MAX_LABELS, Job, JobRequest, Rerun, RunRequest
from ..model.sweep import SweepRequest

MayRead = Callable[[Job | NamedModel], bool]  # whether a client may read what its request names
# Members that earlier versions do not know.
ADDED: dict[type[RunRequest | Rerun], tuple[str, ...]] = {
    JobRequest: ("after", "inputs"),
    SweepRequest: ("inputs",),
    Rerun: ("name", "labels"),
}


def fingerprint_of(request: dict[str, Any]) -> str:
    """The SHA-256 of a request: a repeated Idempotency-Key must come with the same one."""
    canonical = json.dumps(request, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


async def known_job(get: Callable[[str], Awaitable[Job]], job_id: str, may_read: MayRead) -> Job | None:
    """The job, or None where there is none that may be read."""
    try:
        job = await get(job_id)
    except AgentError as error:
        if error.problem is Problem.JOB_NOT_FOUND:
            return None
        raise
    return job if may_read(job) else None


def readable_by(user: str) -> MayRead:
    """What the user may name who asks for nothing else: own jobs and models, and models that are shared."""

    def may_read(named: Job | NamedModel) -> bool:
        return named.owner == user or (isinstance(named, NamedModel) and named.readers.include(user))

    return may_read


def as_asked(request: RunRequest | Rerun, **how: Any) -> dict[str, Any]:
    """A request in JSON, as an earlier version has it where it says nothing that is new."""
    added = next(names for kind, names in ADDED.items() if isinstance(request, kind))
    unsaid = {name for name in added if not getattr(request, name)}
    return request.model_dump(mode="json", exclude=unsaid, **how)


def with_changes(earlier: Job, changes: Rerun) -> dict[str, str]:
    """The earlier job's hyperparameters with the changes. Raises `AgentError` (invalid-request)."""
    hyperparameters = earlier.hyperparameters | changes.hyperparameters
    if twice := same_variable(hyperparameters):
        whose = "" if twice[0] in changes.hyperparameters else f" of job {earlier.job_id}"
        why = f"sets the same variable as {twice[0]}{whose}"
        raise invalid_request(
            "Two hyperparameters would set the same environment variable.",
            "Write each name exactly as the earlier job does.",
            (FieldError(f"hyperparameters.{twice[1]}", why),),
        )
    try:
        PARAMETERS.validate_python(hyperparameters)
    except ValidationError as error:
        raise invalid_request(
            f"Together with those of job {earlier.job_id}, the hyperparameters are too many or too large.",
            "Submit a new job with only the hyperparameters that it needs.",
            (FieldError("hyperparameters", f"must be {PARAMETERS_BOUND}"),),
        ) from error
    return hyperparameters


def labels_with(earlier: dict[str, str], changes: dict[str, str]) -> dict[str, str]:
    """The labels of an earlier job or sweep with the changes. Raises `AgentError` (invalid-request)."""
    labels = earlier | changes
    if len(labels) > MAX_LABELS:
        field = FieldError("labels", f"must be at most {MAX_LABELS} together with the earlier ones")
        raise invalid_request("The request is not valid.", fields=(field,))
    return labels
