"""Errors that are shown to a person or a client."""

from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Self


class Problem(StrEnum):
    """Stable machine codes: the last part of a problem document's `type` (RFC 9457), each with its status."""

    status: int

    def __new__(cls, code: str, status: int = 500) -> Self:
        """A code, which is the member's value, and the status code of HTTP for it."""
        problem = str.__new__(cls, code)
        problem._value_, problem.status = code, status
        return problem

    MALFORMED_REQUEST = "malformed-request", 400
    INVALID_REQUEST = "invalid-request", 422
    INVALID_JSON = "invalid-json", 400
    BODY_TOO_LARGE = "body-too-large", 413
    REQUEST_TIMEOUT = "request-timeout", 408
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type", 415
    NOT_ACCEPTABLE = "not-acceptable", 406
    CERTIFICATE_REFUSED = "certificate-refused", 403
    INVITATION_REFUSED = "invitation-refused", 401
    FORBIDDEN = "forbidden", 403
    FOREIGN_ORIGIN = "foreign-origin", 403
    JOB_NOT_FOUND = "job-not-found", 404
    SWEEP_NOT_FOUND = "sweep-not-found", 404
    SWEEP_ENDED = "sweep-ended", 409
    SCHEDULE_NOT_FOUND = "schedule-not-found", 404
    TOO_MANY_SCHEDULES = "too-many-schedules", 409
    MODEL_NOT_FOUND = "model-not-found", 404
    ALIAS_NOT_FOUND = "alias-not-found", 404
    TOO_MANY_MODELS = "too-many-models", 409
    NOT_COMPLETED = "not-completed", 409
    SCRIPT_NOT_FOUND = "script-not-found", 422
    REF_NOT_FOUND = "ref-not-found", 422
    COMMIT_REFUSED = "commit-refused", 422
    ARTIFACT_NOT_FOUND = "artifact-not-found", 404
    REMOVED_BY_RETENTION = "removed-by-retention", 410
    TOO_MANY_PINNED = "too-many-pinned", 409
    TOO_MANY_CERTIFICATES = "too-many-certificates", 409
    PRECONDITION_FAILED = "precondition-failed", 412
    RANGE_NOT_SATISFIABLE = "range-not-satisfiable", 416
    NO_SUCH_ROUTE = "no-such-route", 404
    METHOD_NOT_ALLOWED = "method-not-allowed", 405
    IDEMPOTENCY_MISMATCH = "idempotency-mismatch", 422
    JOB_ID_TAKEN = "job-id-taken", 409
    DEADLINE_PASSED = "deadline-passed", 409
    NOT_WAITING = "not-waiting", 409
    DRAINING = "draining", 409
    IMAGE_MISSING = "image-missing", 422
    INPUT_MISSING = "input-missing", 422
    SECRET_MISSING = "secret-missing", 422
    SECRET_NOT_FOUND = "secret-not-found", 404
    SECRET_OUTDATED = "secret-outdated", 409
    TOO_MANY_SECRETS = "too-many-secrets", 409
    TOO_MANY_JOBS = "too-many-jobs", 429
    TOO_MANY_STREAMS = "too-many-streams", 429
    TOO_MANY_REQUESTS = "too-many-requests", 429
    TOO_MANY_CONNECTIONS = "too-many-connections", 429
    TOO_MUCH_UNREAD = "too-much-unread", 429
    BUSY = "busy", 503
    SLOW_READER = "slow-reader", 503
    STOPPING = "stopping", 503
    STORAGE_FULL = "storage-full", 507
    CONFIGURATION = "configuration", 500
    HOST = "host", 503
    INTERNAL = "internal", 500


@dataclass(frozen=True)
class FieldError:
    """One wrong value. `field` is a path such as `hyperparameters.depth`, `message` says what is expected."""

    field: str
    message: str


@dataclass
class AgentError(Exception):
    """What went wrong (`message`, one sentence) and what to do about it (`hint`, one sentence or empty).

    The API maps `problem` to a status code, and the commands map it to an exit status.
    """

    problem: Problem
    message: str
    hint: str = ""
    fields: tuple[FieldError, ...] = field(default=())

    def __str__(self) -> str:
        lines = [f"{self.message} {self.hint}".strip()]
        lines += [f"{error.field}: {error.message}" for error in self.fields]
        return "\n".join(lines)


# The kinds of which there are many.
misconfigured = partial(AgentError, Problem.CONFIGURATION)
host_failed = partial(AgentError, Problem.HOST)
invalid_request = partial(AgentError, Problem.INVALID_REQUEST)


def key_reused() -> AgentError:
    """For an Idempotency-Key that comes again with another request."""
    return AgentError(
        Problem.IDEMPOTENCY_MISMATCH,
        "This Idempotency-Key was used for a different request.",
        "Send a new key with a new request; repeat a key only with the same body.",
        (FieldError("Idempotency-Key", "was used for a different body"),),
    )
