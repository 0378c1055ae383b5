"""The one exception that the clients raise."""

import contextlib
from collections.abc import Iterator

from agent.cli.failure import Failure, Refused
from agent.errors import FieldError


class ClientError(Exception):
    """What went wrong, as the agent's problem document (RFC 9457) says it.

    `status` and `code` are those of the answer, such as 422 and `invalid-request`. They are 0 and empty if
    there was none: no agent answered, or a file of this machine cannot be used.

    `detail` is a sentence, `hint` says what helps or is empty, `errors` names each refused value.
    `retry_after` is in seconds, 0 if the agent named no time.
    """

    def __init__(
        self,
        detail: str,
        hint: str = "",
        *,
        status: int = 0,
        code: str = "",
        errors: tuple[FieldError, ...] = (),
        retry_after: float = 0,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.status = status
        self.code = code
        self.errors = errors
        self.retry_after = retry_after

    def __str__(self) -> str:
        fields = [f"  {each.field}: {each.message}" for each in self.errors]
        return "\n".join(filter(None, [self.detail, *fields, self.hint]))


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Raises what fails inside as `ClientError`."""
    try:
        yield
    except Failure as failure:
        answer = failure if isinstance(failure, Refused) else None
        raise ClientError(
            failure.message,
            failure.hint,
            status=answer.status if answer else 0,
            code=answer.code if answer else "",
            errors=failure.fields,
            retry_after=failure.retry_after,
        ) from failure
