"""Parses a request into models, once, at the edge, and writes models as answers."""

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar, get_origin

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from pydantic import BaseModel, ValidationError

from ...errors import AgentError, FieldError, Problem
from ...model.base import Model
from ...model.problem import Location, refusals
from .connections import awaiting_body
from .problems import all_invalid, invalid

M = TypeVar("M", bound=BaseModel)

JSON = "application/json"
BINARY = "application/octet-stream"
NOT_OF_A_FORM = (JSON, BINARY)
READING = ("GET", "HEAD")
OWN_SITE = ("same-origin", "none")  # Sec-Fetch-Site: a page of this host, or a person without a page
MAX_DEPTH = 3  # of objects in a body; no model has deeper ones
MAX_REPORTED = 20  # refused fields in one answer
# Of each object and list in a body, twice as many as any may have: pydantic words all errors.
MAX_MEMBERS = 200
# Bytes of the request's body that have been read.
READ = web.RequestKey("read", int)
MAX_IDEMPOTENCY_KEY = 255  # characters
# Printable ASCII. Spaces around the value of a header do not belong to it (RFC 9110, section 5.5).
IDEMPOTENCY_KEY = re.compile("[!-~]([ -~]*[!-~])?")


def middleware(max_bytes: int, seconds: float) -> Middleware:
    """Reads the whole body, within bounds, before the handler runs."""

    @web.middleware
    async def complete(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.body_exists:
            if (request.content_length or 0) > max_bytes:
                raise web.HTTPRequestEntityTooLarge(max_bytes)
            try:
                with awaiting_body(request):
                    async with asyncio.timeout(seconds):
                        request[READ] = len(await request.read())
            except TimeoutError as error:
                raise AgentError(
                    Problem.REQUEST_TIMEOUT,
                    f"The request's body did not arrive within {seconds:g} seconds.",
                    "Send the request again.",
                ) from error
            except web.RequestPayloadError as error:
                raise AgentError(
                    Problem.MALFORMED_REQUEST,
                    "The body does not match its header, or its chunks are malformed.",
                ) from error
        return await handler(request)

    return complete


def is_foreign(request: web.Request) -> bool:
    """Whether a page of another site has made the request, in a browser that has the user's certificate."""
    own = f"https://{request.headers.get('Host', '')}".lower()
    origins, sites = (request.headers.getall(name, ()) for name in ("Origin", "Sec-Fetch-Site"))
    return any(each.lower() != own for each in origins) or any(each.lower() not in OWN_SITE for each in sites)


def check_no_form(request: web.Request) -> None:
    """Raises `AgentError` (unsupported-media-type) for a change that a form could send.

    A form has three media types, none of them here. A script sends another one to another site only after a
    preflight, which this agent does not allow (Fetch, section 4.8).
    """
    if request.method not in READING and _media_type(request) not in NOT_OF_A_FORM:
        raise _unexpected(request, JSON)


async def read_body(request: web.Request, model: type[M]) -> M:
    """The JSON body as a model. Raises `AgentError` that names each wrong field."""
    _check_media_type(request, JSON)
    values = _parse(await request.read())
    if nulls := list(islice(_nulls(values), MAX_REPORTED)):
        raise all_invalid(FieldError(_path(place), "must not be null; leave it out") for place in nulls)
    return validate(model, values)


def _nulls(values: dict[str, Any], place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of null members of the body and of the objects in it, as deep as a body may have them."""
    for name, value in values.items():
        if value is None:
            yield (*place, name)
        elif isinstance(value, dict) and len(place) < MAX_DEPTH:
            yield from _nulls(value, (*place, name))


async def read_bytes(request: web.Request) -> bytes:
    """The body as bytes. Raises `AgentError` that does not repeat the content."""
    _check_media_type(request, BINARY)
    return await request.read()


def _check_media_type(request: web.Request, expected: str) -> None:
    if _media_type(request) != expected:
        raise _unexpected(request, expected)


def _media_type(request: web.Request) -> str:
    """The media type of the body; empty without the header.

    aiohttp's own `content_type` runs a parser for e-mail, which needs seconds for a header of semicolons and
    fails on one of parentheses.
    """
    return (header(request, "Content-Type") or "").partition(";")[0].strip().lower()


def _unexpected(request: web.Request, expected: str) -> AgentError:
    sent = _media_type(request)[:80] or "of no media type"
    return AgentError(
        Problem.UNSUPPORTED_MEDIA_TYPE,
        f"The body is {sent}, but this call expects {expected}.",
        f"Send the header Content-Type: {expected}, also without a body.",
    )


def read_query(request: web.Request, model: type[M]) -> M:
    """The query string as a model. Unknown names are errors, and so are repeated ones, except of a list."""
    values: dict[str, str] = {}
    lists: dict[str, list[str]] = {
        name: [] for name, field in model.model_fields.items() if get_origin(field.annotation) is list
    }
    for name, value in request.query.items():
        if name in lists:
            lists[name].append(value)
        elif name in values:
            raise invalid(name, "must not be given twice")
        else:
            values[name] = value
    return validate(model, values | {name: given for name, given in lists.items() if given})


def header(request: web.Request, name: str) -> str | None:
    """The value of a header, or None. Raises `AgentError` if the header is there twice."""
    values = request.headers.getall(name, ())
    if len(values) > 1:
        raise invalid(name, "must not be given twice")
    return values[0] if values else None


def idempotency_key(request: web.Request) -> str | None:
    """The value of the Idempotency-Key header, or None."""
    key = header(request, "Idempotency-Key")
    if key is not None and not (len(key) <= MAX_IDEMPOTENCY_KEY and IDEMPOTENCY_KEY.fullmatch(key)):
        raise invalid("Idempotency-Key", f"must be 1 to {MAX_IDEMPOTENCY_KEY} printable ASCII characters")
    return key


def validate(model: type[M], values: Mapping[str, Any]) -> M:
    """The values as a model. Raises `AgentError` (invalid-request) with an error for each wrong field."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        refused = refusals(error, unknown="is not known")[:MAX_REPORTED]
        raise all_invalid(FieldError(_path(loc), why) for loc, why in refused) from error


def _parse(body: bytes) -> dict[str, Any]:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_json(f"it is not UTF-8 (byte {error.start})") from error
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except ValueError as error:
        raise _not_json(str(error)) from error
    except RecursionError as error:
        raise _not_json("it is nested too deeply") from error
    if not isinstance(value, dict):
        raise _not_json("it must be an object")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_MEMBERS:
        raise ValueError(f"an object in it has {len(pairs)} members; none may have more than {MAX_MEMBERS}")
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the name {json.dumps(name)[:80]} appears twice in an object")
        if isinstance(value, list) and len(value) > MAX_MEMBERS:
            raise ValueError(f"a list in it has {len(value)} members; none may have more than {MAX_MEMBERS}")
        found[name] = value
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _not_json(why: str) -> AgentError:
    return AgentError(
        Problem.INVALID_JSON,
        f"The body cannot be read as JSON: {why}.",
        'Send an object such as {"script_name": "hello.py", "hyperparameters": {}}.',
    )


def _path(location: Location) -> str:
    """`hyperparameters.depth`, or "body" for the whole body.

    A name in JSON may have half of a surrogate pair (`"\\ud800"`), which no answer could repeat.
    """
    parts = [str(part)[:80] for part in location]
    return ".".join(parts).encode("utf-8", "backslashreplace").decode() or "body"


def json_response(model: Model, *, status: int = 200, location: str | None = None) -> web.Response:
    """The model as JSON. An absent field is left out, never null. `location` becomes the Location header."""
    return web.Response(
        status=status,
        body=model.model_dump_json(exclude_none=True).encode(),
        content_type="application/json",
        headers={"Location": location} if location else None,
    )
