"""What a job left behind: the manifest, and the files with ranges and strong entity tags."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import BinaryIO

from aiohttp import web

from ...errors import AgentError, Problem
from ...host.sockets import break_off
from ...jobs.artifacts import Published
from ..access import JOB, check_again
from ..server.identity import Holder
from ..server.problems import respond
from .jobs import JOBS, answer

CHUNK = 1 << 18  # bytes


async def list_artifacts(request: web.Request) -> web.Response:
    """The manifest with sizes and SHA-256; final once the job has ended."""
    return answer(await request.app[JOBS].artifacts(request[JOB]))


async def get_artifact(request: web.Request) -> web.StreamResponse:
    """One file: always an attachment, whatever its name says that it is."""
    published = await request.app[JOBS].artifact(request[JOB], request.match_info["path"])
    with contextlib.closing(published.file):
        return await _serve(request, published)


async def _serve(request: web.Request, published: Published) -> web.StreamResponse:
    tag = f'"{published.sha256}"'
    headers = {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Content-Type": published.media_type,
        "Content-Disposition": "attachment",
        "Cache-Control": "private, no-cache",
    }
    # RFC 9110, section 13.2.2: in this order, and before ranges.
    if request.if_match is not None and not any(
        each.value in (published.sha256, "*") and not each.is_weak for each in request.if_match
    ):
        return respond(
            AgentError(
                Problem.PRECONDITION_FAILED,
                "The artifact is not the one that If-Match names.",
                "Leave the If-Match header out to get it as it is now.",
            ),
            {"ETag": tag},
        )
    if any(each.value in (published.sha256, "*") for each in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    start, stop = _range(request, published.size, tag)
    if start >= stop and published.size:
        return respond(
            AgentError(
                Problem.RANGE_NOT_SATISFIABLE,
                f"The artifact has {published.size} bytes, and none in this range.",
                "Leave the Range header out to get all of it.",
            ),
            {"Content-Range": f"bytes */{published.size}"},
        )
    partial = (start, stop) != (0, published.size)
    if partial:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{published.size}"
    response = web.StreamResponse(status=206 if partial else 200, headers=headers)
    response.content_length = stop - start
    await response.prepare(request)
    if request.method != "HEAD":
        holder = Holder(request, check_again)
        for count in _chunks(published.file, start, stop):
            await holder.check()
            data = await asyncio.to_thread(published.file.read, count)
            if not data:
                # The file became shorter. What comes next would be taken for the bytes that are missing.
                break_off(request.transport)
                break
            await response.write(data)
    return response


def _range(request: web.Request, size: int, tag: str) -> tuple[int, int]:
    """The half-open range of bytes that is asked for; all of them without one single valid range."""
    if request.method != "GET":
        return 0, size  # RFC 9110, section 14.2: no other method has ranges
    if request.headers.get("If-Range", tag) != tag:
        return 0, size
    try:
        wanted = request.http_range
    except ValueError:
        return 0, size
    start, stop, _ = wanted.indices(size)
    return start, stop


def _chunks(file: BinaryIO, start: int, stop: int) -> Iterator[int]:
    file.seek(start)
    while start < stop:
        yield min(CHUNK, stop - start)
        start += CHUNK
