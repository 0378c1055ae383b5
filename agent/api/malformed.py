"""Bytes that are no HTTP request: answered as everything else is, and no news for the journal.

aiohttp answers them itself, before any handler or middleware is asked: with text that names the versions of
what the agent is made of, and with a traceback in the journal, whose rate limit all jobs share.
"""

import logging

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from ..errors import AgentError, Problem
from .problems import SERVER, respond

log = logging.getLogger("ml-agent")

MAX_REASON = 100  # characters


def install() -> None:
    """Takes the place of aiohttp's answer, in every server of this process."""
    RequestHandler.handle_error = refuse  # type: ignore[method-assign,assignment]  # no other way


def refuse(
    handler: RequestHandler,
    request: web.BaseRequest,
    status: int = 500,
    exc: BaseException | None = None,
    message: str | None = None,
) -> web.StreamResponse:
    """The answer to what has no handler; it ends the connection. See `RequestHandler.handle_error`."""
    if request.writer.output_size > 0:
        raise ConnectionError("an answer has begun already")
    if status < 500:
        error = AgentError(
            Problem.MALFORMED_REQUEST,
            f"This is no HTTP request: {_reason(message)}.",
            "Send no control characters in the request line and in headers, and less than 8 KiB of each.",
        )
    else:
        log.error("a request failed outside of its handler", exc_info=exc)
        error = AgentError(Problem.INTERNAL, "The agent failed to answer; its journal says why.")
    response = respond(error, {"Connection": "close", "Server": SERVER})
    response.force_close()
    return response


def _reason(message: str | None) -> str:
    """The parser's own words without the bytes that it complains of, which follow in further lines."""
    first = (message or "").strip().partition("\n")[0].rstrip(":. ")
    return ascii(first)[1:-1][:MAX_REASON] or "it cannot be read"
