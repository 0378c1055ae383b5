"""Problem documents (RFC 9457)."""

from .base import Model


class FieldProblem(Model):
    """One refused value of a request."""

    field: str
    message: str


class ProblemDocument(Model):
    """RFC 9457. `type` ends in a stable code, `detail` says what is wrong, `hint` what to do about it."""

    type: str
    title: str
    status: int
    detail: str
    hint: str | None = None
    errors: list[FieldProblem] = []
