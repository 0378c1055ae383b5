"""Errors as problem documents (RFC 9457), each with the status code that fits it."""

import logging
import weakref

from aiohttp import web
from aiohttp.typedefs import Handler

from ...errors import AgentError, FieldError, Problem
from ...host.sockets import break_off
from ...model.problem import FieldProblem, ProblemDocument

log = logging.getLogger("ml-agent")

SERVER = "ml-agent"  # what answers call it, without the versions of what it is made of
# An answer is what its type says, and no page, whatever somebody has made a log or an artifact of.
NO_GUESSING = {"X-Content-Type-Options": "nosniff"}
TYPE_PREFIX = "urn:ml-agent:problem:"
CONTENT_TYPE = "application/problem+json"
# Weak: a response refers to its request.
BEGUN = web.RequestKey[weakref.ReferenceType[web.StreamResponse]]("begun")

STATUS = {
    Problem.MALFORMED_REQUEST: 400,
    Problem.INVALID_REQUEST: 422,
    Problem.INVALID_JSON: 400,
    Problem.BODY_TOO_LARGE: 413,
    Problem.REQUEST_TIMEOUT: 408,
    Problem.UNSUPPORTED_MEDIA_TYPE: 415,
    Problem.NOT_ACCEPTABLE: 406,
    Problem.CERTIFICATE_REFUSED: 403,
    Problem.FORBIDDEN: 403,
    Problem.JOB_NOT_FOUND: 404,
    Problem.SCRIPT_NOT_FOUND: 422,
    Problem.REF_NOT_FOUND: 422,
    Problem.ARTIFACT_NOT_FOUND: 404,
    Problem.REMOVED_BY_RETENTION: 410,
    Problem.TOO_MANY_PINNED: 409,
    Problem.TOO_MANY_CERTIFICATES: 409,
    Problem.PRECONDITION_FAILED: 412,
    Problem.RANGE_NOT_SATISFIABLE: 416,
    Problem.NO_SUCH_ROUTE: 404,
    Problem.METHOD_NOT_ALLOWED: 405,
    Problem.IDEMPOTENCY_MISMATCH: 422,
    Problem.IMAGE_MISSING: 422,
    Problem.SECRET_MISSING: 422,
    Problem.SECRET_NOT_FOUND: 404,
    Problem.TOO_MANY_SECRETS: 409,
    Problem.TOO_MANY_JOBS: 429,
    Problem.TOO_MANY_STREAMS: 429,
    Problem.TOO_MANY_REQUESTS: 429,
    Problem.TOO_MANY_CONNECTIONS: 429,
    Problem.BUSY: 503,
    Problem.SLOW_READER: 503,
    Problem.STOPPING: 503,
    Problem.STORAGE_FULL: 507,
    Problem.CONFIGURATION: 500,
    Problem.HOST: 503,
    Problem.INTERNAL: 500,
}
RETRY_AFTER = {429: "10", 503: "5", 507: "60"}  # seconds
# After these, the connection is of no more use.
LAST_ANSWERS = (Problem.REQUEST_TIMEOUT, Problem.TOO_MANY_CONNECTIONS, Problem.BUSY)

# What aiohttp itself refuses, before a handler is found or while it reads a body.
OF_STATUS = {
    404: Problem.NO_SUCH_ROUTE,
    405: Problem.METHOD_NOT_ALLOWED,
    413: Problem.BODY_TOO_LARGE,
}


def document(error: AgentError) -> ProblemDocument:
    """What a client is told of an error."""
    return ProblemDocument(
        type=TYPE_PREFIX + error.problem,
        title=error.problem.replace("-", " ").capitalize(),
        status=STATUS[error.problem],
        detail=error.message,
        hint=error.hint or None,
        errors=[FieldProblem(field=each.field, message=each.message) for each in error.fields],
    )


def respond(error: AgentError, headers: dict[str, str] | None = None) -> web.Response:
    """The response that carries the error."""
    problem = document(error)
    response = web.Response(
        status=problem.status,
        text=problem.model_dump_json(exclude_none=True),
        content_type=CONTENT_TYPE,
        headers={**NO_GUESSING, **(headers or {})},
    )
    if retry := RETRY_AFTER.get(problem.status):
        response.headers.setdefault("Retry-After", retry)
    if error.problem in LAST_ANSWERS:
        response.force_close()
    return response


async def note_begun(request: web.Request, response: web.StreamResponse) -> None:
    """Remembers that a response has begun; to be connected to `on_response_prepare`."""
    request[BEGUN] = weakref.ref(response)


def _begun(request: web.Request) -> web.StreamResponse | None:
    return request[BEGUN]() if BEGUN in request else None


def _respond_or_break_off(
    request: web.Request, error: AgentError, headers: dict[str, str] | None = None
) -> web.StreamResponse:
    """The error's response; or, in the middle of a body, a break that nobody takes for the body's end."""
    begun = _begun(request)
    if begun is None:
        return respond(error, headers)
    break_off(request.transport)
    return begun


@web.middleware
async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers every error of a handler as a problem document; the unforeseen ones are logged, not told."""
    try:
        return await handler(request)
    except AgentError as error:
        if STATUS[error.problem] >= 500:
            log.error("%s %s: %s", request.method, request.rel_url.raw_path, error)
        return _respond_or_break_off(request, error)
    except web.HTTPException as error:
        problem = OF_STATUS.get(error.status, Problem.INVALID_REQUEST)
        allow = error.headers.get("Allow")
        return _respond_or_break_off(
            request,
            AgentError(problem, _REFUSALS.get(problem, error.reason), "GET /openapi.json lists every call."),
            {"Allow": allow} if allow else None,
        )
    except Exception as error:
        begun = _begun(request)
        if isinstance(error, ConnectionError) and begun is not None:
            return begun  # the client is gone, or was broken off: aiohttp ends what is left
        log.exception("%s %s failed", request.method, request.rel_url.raw_path)
        return _respond_or_break_off(
            request, AgentError(Problem.INTERNAL, "The agent failed to answer; its journal says why.")
        )


_REFUSALS = {
    Problem.NO_SUCH_ROUTE: "There is nothing at this path.",
    Problem.METHOD_NOT_ALLOWED: "This path does not take that method.",
    Problem.BODY_TOO_LARGE: "The body is too large.",
}


def invalid(field: str, message: str) -> AgentError:
    """One refused value of a request."""
    return AgentError(
        Problem.INVALID_REQUEST, "The request is not valid.", fields=(FieldError(field, message),)
    )
