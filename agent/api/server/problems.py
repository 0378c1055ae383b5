"""Errors as problem documents (RFC 9457), each with its status code."""

import weakref
from collections.abc import Iterable

from aiohttp import web
from aiohttp.typedefs import Handler

from ...errors import AgentError, FieldError, Problem, invalid_request
from ...host.sockets import break_off
from ...log import log
from ...model.problem import FieldProblem, ProblemDocument

# The Server header, instead of aiohttp's own with its version; and no browser takes a log for a web page.
COMMON_HEADERS = {"Server": "ml-agent", "X-Content-Type-Options": "nosniff"}
# A client prefers (RFC 7240) a refusal with status 400: macOS hides an answer with 403 on a connection with a
# client certificate, and tells its program that the server requires one (error -1206, openradar 41009229).
NO_403 = "no-403"
TYPE_PREFIX = "urn:ml-agent:problem:"
CONTENT_TYPE = "application/problem+json"
# A weak reference: a response refers to its request, and both would be a cycle.
BEGUN = web.RequestKey[weakref.ReferenceType[web.StreamResponse]]("begun")

RETRY_AFTER = {429: "10", 503: "5", 507: "60"}  # seconds
# The connection closes after these.
LAST_ANSWERS = (Problem.REQUEST_TIMEOUT, Problem.TOO_MANY_CONNECTIONS, Problem.BUSY)

# The problems of what aiohttp itself refuses: before it finds a handler, or while it reads a body.
OF_STATUS = {
    404: (Problem.NO_SUCH_ROUTE, "There is nothing at this path."),
    405: (Problem.METHOD_NOT_ALLOWED, "This path does not support this method."),
    413: (Problem.BODY_TOO_LARGE, "The body is too large."),
}


def document(error: AgentError, status: int | None = None) -> ProblemDocument:
    """The problem document of an error; `status` is another one than the problem's own."""
    return ProblemDocument(
        type=TYPE_PREFIX + error.problem,
        title=error.problem.replace("-", " ").capitalize(),
        status=status or error.problem.status,
        detail=_encodable(error.message),
        hint=_encodable(error.hint) or None,
        errors=[
            FieldProblem(field=_encodable(each.field), message=_encodable(each.message))
            for each in error.fields
        ],
    )


def _encodable(text: str) -> str:
    """The text without surrogates, which stand for bytes of a header that are no UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def respond(
    error: AgentError, headers: dict[str, str] | None = None, *, status: int | None = None
) -> web.Response:
    """The response with the problem document."""
    problem = document(error, status)
    response = web.Response(
        status=problem.status,
        text=problem.model_dump_json(exclude_none=True),
        content_type=CONTENT_TYPE,
        headers={**COMMON_HEADERS, **(headers or {})},
    )
    if retry := RETRY_AFTER.get(problem.status):
        response.headers.setdefault("Retry-After", retry)
    if problem.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"  # RFC 9110, section 15.5.2
    if error.problem in LAST_ANSWERS:
        response.force_close()
    return response


async def set_common_headers(_: web.Request, response: web.StreamResponse) -> None:
    """Sets the headers of every response; a signal handler for `on_response_prepare`."""
    response.headers.update(COMMON_HEADERS)


async def remember_begun(request: web.Request, response: web.StreamResponse) -> None:
    """Remembers that the response has begun; a signal handler for `on_response_prepare`."""
    request[BEGUN] = weakref.ref(response)


def _begun(request: web.Request) -> web.StreamResponse | None:
    return request[BEGUN]() if BEGUN in request else None


def _respond_or_break_off(
    request: web.Request, error: AgentError, headers: dict[str, str] | None = None
) -> web.StreamResponse:
    """The error's response. In the middle of a body, a reset: no client takes that for the end."""
    begun = _begun(request)
    if begun is None and error.problem.status == 403 and NO_403 in request.headers.get("Prefer", ""):
        return respond(error, {**(headers or {}), "Preference-Applied": NO_403}, status=400)
    if begun is None:
        return respond(error, headers)
    break_off(request.transport)
    return begun


@web.middleware
async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers every error with a problem document. An unexpected error is logged and not shown."""
    try:
        return await handler(request)
    except AgentError as error:
        if error.problem.status >= 500:
            log.error("%s %s: %s", request.method, request.rel_url.raw_path, error)
        return _respond_or_break_off(request, error)
    except web.HTTPException as error:
        problem, why = OF_STATUS.get(error.status, (Problem.INVALID_REQUEST, error.reason))
        allow = error.headers.get("Allow")
        return _respond_or_break_off(
            request,
            AgentError(problem, why, "GET /openapi.json has every call."),
            {"Allow": allow} if allow else None,
        )
    except Exception as error:
        begun = _begun(request)
        if isinstance(error, ConnectionError) and begun is not None:
            return begun  # the client is gone, or its connection was reset: aiohttp cleans up
        log.exception("%s %s failed", request.method, request.rel_url.raw_path)
        return _respond_or_break_off(
            request, AgentError(Problem.INTERNAL, "The agent failed to answer. Its journal has the reason.")
        )


def invalid(field: str, message: str) -> AgentError:
    """The error for one value of a request."""
    return all_invalid([FieldError(field, message)])


def all_invalid(fields: Iterable[FieldError]) -> AgentError:
    """The error for several values of a request."""
    return invalid_request("The request is not valid.", fields=tuple(fields))
