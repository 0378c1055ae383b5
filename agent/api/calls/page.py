"""The OpenAPI document as a page for people: Swagger UI, which is a part of the agent."""

import functools
import hashlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from ...errors import AgentError, Problem
from .artifacts import send

DIRECTORY = Path(__file__).parents[1] / "page"
INDEX = "index.html"
ASSETS = {
    "favicon-32x32.png": "image/png",
    "page.js": "text/javascript",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
}
PIECE = 64 * 1024  # bytes
# Everything comes from this host, and only from files: no script or style in the text of a page counts. The
# style sheet has its images in itself. No other page shows this one in a frame.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class PageFile:
    """A file of the page, and its entity tag."""

    content: bytes
    tag: str


async def get_docs(request: web.Request) -> web.StreamResponse:
    """Shows this document as a page in a browser that has the client certificate."""
    return await _send(request, INDEX, "text/html; charset=utf-8")


async def get_docs_asset(request: web.Request) -> web.StreamResponse:
    """Gives a script, style sheet or image of the page."""
    name = request.match_info["asset"]
    if (media_type := ASSETS.get(name)) is None:
        raise AgentError(Problem.NO_SUCH_ROUTE, "The page has no such file.", "Open /docs in a browser.")
    return await _send(request, name, media_type)


@functools.cache
def _file(name: str) -> PageFile:
    """The file, read once: it does not change while the program runs."""
    content = (DIRECTORY / name).read_bytes()
    return PageFile(content, hashlib.sha256(content).hexdigest())


async def _send(request: web.Request, name: str, media_type: str) -> web.StreamResponse:
    """Sends the file at the pace of the client, unless the client has it."""
    file = _file(name)
    headers = {
        "Cache-Control": "private, no-cache",
        "Content-Security-Policy": POLICY,
        "ETag": f'"{file.tag}"',
        "Referrer-Policy": "no-referrer",
    }
    if any(each.value in (file.tag, "*") for each in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    response = web.StreamResponse(headers=headers | {"Content-Type": media_type})
    response.content_length = len(file.content)
    await response.prepare(request)
    await send(request, response, _pieces(file.content), counts=True)
    return response


async def _pieces(content: bytes) -> AsyncGenerator[bytes]:
    for start in range(0, len(content), PIECE):
        yield content[start : start + PIECE]
