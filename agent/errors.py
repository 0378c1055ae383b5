"""Errors that are shown to a person or a client."""

from dataclasses import dataclass, field
from enum import StrEnum


class Problem(StrEnum):
    """Stable machine codes: the last part of a problem document's `type` (RFC 9457)."""

    MALFORMED_REQUEST = "malformed-request"
    INVALID_REQUEST = "invalid-request"
    INVALID_JSON = "invalid-json"
    BODY_TOO_LARGE = "body-too-large"
    REQUEST_TIMEOUT = "request-timeout"
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type"
    NOT_ACCEPTABLE = "not-acceptable"
    CERTIFICATE_REFUSED = "certificate-refused"
    INVITATION_REFUSED = "invitation-refused"
    FORBIDDEN = "forbidden"
    FOREIGN_ORIGIN = "foreign-origin"
    JOB_NOT_FOUND = "job-not-found"
    SCRIPT_NOT_FOUND = "script-not-found"
    REF_NOT_FOUND = "ref-not-found"
    COMMIT_REFUSED = "commit-refused"
    ARTIFACT_NOT_FOUND = "artifact-not-found"
    REMOVED_BY_RETENTION = "removed-by-retention"
    TOO_MANY_PINNED = "too-many-pinned"
    TOO_MANY_CERTIFICATES = "too-many-certificates"
    PRECONDITION_FAILED = "precondition-failed"
    RANGE_NOT_SATISFIABLE = "range-not-satisfiable"
    NO_SUCH_ROUTE = "no-such-route"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    IDEMPOTENCY_MISMATCH = "idempotency-mismatch"
    JOB_ID_TAKEN = "job-id-taken"
    DEADLINE_PASSED = "deadline-passed"
    NOT_WAITING = "not-waiting"
    DRAINING = "draining"
    IMAGE_MISSING = "image-missing"
    SECRET_MISSING = "secret-missing"  # noqa: S105 (a code, not a secret)
    SECRET_NOT_FOUND = "secret-not-found"  # noqa: S105 (a code)
    SECRET_OUTDATED = "secret-outdated"  # noqa: S105 (a code)
    TOO_MANY_SECRETS = "too-many-secrets"
    TOO_MANY_JOBS = "too-many-jobs"
    TOO_MANY_STREAMS = "too-many-streams"
    TOO_MANY_REQUESTS = "too-many-requests"
    TOO_MANY_CONNECTIONS = "too-many-connections"
    TOO_MUCH_UNREAD = "too-much-unread"
    BUSY = "busy"
    SLOW_READER = "slow-reader"
    STOPPING = "stopping"
    STORAGE_FULL = "storage-full"
    CONFIGURATION = "configuration"
    HOST = "host"
    INTERNAL = "internal"


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
