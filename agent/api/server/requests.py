"""What a client sent, parsed once, at the edge, into a model."""

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from pydantic import BaseModel, ValidationError

from ...errors import AgentError, FieldError, Problem
from ...model.refusal import Location, refusals
from .connections import awaiting_body

M = TypeVar("M", bound=BaseModel)

BYTES = "application/octet-stream"
MAX_REPORTED = 20  # refused fields that one answer names
MAX_IDEMPOTENCY_KEY = 255  # characters
# Printable ASCII. Spaces around a header's value are not part of it (RFC 9110, section 5.5).
IDEMPOTENCY_KEY = re.compile("[!-~]([ -~]*[!-~])?")


def bodies(max_bytes: int, seconds: float) -> Middleware:
    """Has a request's body there, whole and within bounds, before anything else looks at the request."""

    @web.middleware
    async def complete(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.body_exists:
            if (request.content_length or 0) > max_bytes:
                raise web.HTTPRequestEntityTooLarge(max_bytes)
            try:
                with awaiting_body(request):
                    async with asyncio.timeout(seconds):
                        await request.read()
            except TimeoutError as error:
                raise AgentError(
                    Problem.REQUEST_TIMEOUT,
                    f"The request's body did not arrive within {seconds:g} seconds.",
                    "Send the request anew.",
                ) from error
            except web.RequestPayloadError as error:
                raise AgentError(
                    Problem.MALFORMED_REQUEST, "The body is not what its header says, or not in chunks."
                ) from error
        return await handler(request)

    return complete


async def read_body(request: web.Request, model: type[M]) -> M:
    """The JSON body as a model. Raises `AgentError` that names what is wrong with it."""
    if request.content_type != "application/json":
        raise AgentError(
            Problem.UNSUPPORTED_MEDIA_TYPE,
            f"The body is {request.content_type}; this call takes application/json.",
            "Send the header Content-Type: application/json.",
        )
    values = _parse(await request.read())
    if nulls := list(islice(_nulls(values), MAX_REPORTED)):
        raise _refused(tuple(FieldError(_path(place), "must not be null; leave it out") for place in nulls))
    return validate(model, values)


def _nulls(values: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Where there is a member without a value, in the body or in an object of it."""
    for name, value in values.items():
        if value is None:
            yield (name,)
        elif isinstance(value, dict):
            yield from ((name, inner) for inner, of_it in value.items() if of_it is None)


async def read_bytes(request: web.Request) -> bytes:
    """The body as it is. Raises `AgentError` that says nothing of what it contains."""
    if request.content_type != BYTES:
        raise AgentError(
            Problem.UNSUPPORTED_MEDIA_TYPE,
            f"The body is {request.content_type}; this call takes {BYTES}.",
            f"Send the header Content-Type: {BYTES}.",
        )
    return await request.read()


def read_query(request: web.Request, model: type[M]) -> M:
    """The query string as a model; a repeated name is an error, as is an unknown one."""
    values: dict[str, str] = {}
    for name, value in request.query.items():
        if name in values:
            raise _refused((FieldError(name, "must not be given twice"),))
        values[name] = value
    return validate(model, values)


def header(request: web.Request, name: str) -> str | None:
    """A header's value, or None. Raises `AgentError` where there are two: one would be overlooked."""
    values = request.headers.getall(name, ())
    if len(values) > 1:
        raise _refused((FieldError(name, "must not be given twice"),))
    return values[0] if values else None


def idempotency_key(request: web.Request) -> str | None:
    """The Idempotency-Key header, if there is one."""
    key = header(request, "Idempotency-Key")
    if key is not None and not (len(key) <= MAX_IDEMPOTENCY_KEY and IDEMPOTENCY_KEY.fullmatch(key)):
        raise _refused(
            (FieldError("Idempotency-Key", f"must be 1 to {MAX_IDEMPOTENCY_KEY} printable ASCII characters"),)
        )
    return key


def validate(model: type[M], values: Mapping[str, Any]) -> M:
    """The values as a model. Raises `AgentError` (invalid-request) with a field error for each refusal."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        refused = refusals(error, unknown="is not known")[:MAX_REPORTED]
        raise _refused(tuple(FieldError(_path(loc), why) for loc, why in refused)) from error


def _parse(body: bytes) -> dict[str, Any]:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _no_json(f"it is not UTF-8 (byte {error.start})") from error
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except ValueError as error:
        raise _no_json(str(error)) from error
    except RecursionError as error:
        raise _no_json("it is nested too deeply") from error
    if not isinstance(value, dict):
        raise _no_json("it must be an object")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the name {json.dumps(name)[:80]} appears twice in an object")
        found[name] = value
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _no_json(why: str) -> AgentError:
    return AgentError(
        Problem.INVALID_JSON,
        f"The body cannot be read as JSON: {why}.",
        'Send an object such as {"script_name": "hello.py", "hyperparameters": {}}.',
    )


def _refused(errors: tuple[FieldError, ...]) -> AgentError:
    return AgentError(Problem.INVALID_REQUEST, "The request is not valid.", fields=errors)


def _path(location: Location) -> str:
    """`hyperparameters.depth`; "body" where the whole body is refused.

    JSON can name a field with half a character (`"\\ud800"`), which no answer could repeat.
    """
    parts = [str(part)[:80] for part in location]
    return ".".join(parts).encode("utf-8", "backslashreplace").decode() or "body"
