"""What a job left behind: the manifest, and the files with ranges and strong entity tags."""

import contextlib

from aiohttp import web

from ...backend import ArtifactFile
from ...errors import AgentError, Problem
from ...host.sockets import break_off
from ..access import JOB, check_again
from ..keys import BACKEND
from ..server.identity import Holder
from ..server.problems import respond
from .jobs import answer


async def list_artifacts(request: web.Request) -> web.Response:
    """The manifest with sizes and SHA-256; final once the job has ended."""
    return answer(await request.app[BACKEND].artifacts.manifest(request[JOB]))


async def get_artifact(request: web.Request) -> web.StreamResponse:
    """One file: always an attachment, whatever its name says that it is."""
    artifacts, path = request.app[BACKEND].artifacts, request.match_info["path"]
    async with artifacts.opened(request[JOB], path) as file:
        return await _serve(request, file)


async def _serve(request: web.Request, file: ArtifactFile) -> web.StreamResponse:
    tag = f'"{file.sha256}"'
    headers = {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Content-Type": file.media_type,
        "Content-Disposition": "attachment",
        "Cache-Control": "private, no-cache",
    }
    # RFC 9110, section 13.2.2: in this order, and before ranges.
    if request.if_match is not None and not any(
        each.value in (file.sha256, "*") and not each.is_weak for each in request.if_match
    ):
        return respond(
            AgentError(
                Problem.PRECONDITION_FAILED,
                "The artifact is not the one that If-Match names.",
                "Leave the If-Match header out to get it as it is now.",
            ),
            {"ETag": tag},
        )
    if any(each.value in (file.sha256, "*") for each in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    start, stop = _range(request, file.size, tag)
    if start >= stop and file.size:
        return respond(
            AgentError(
                Problem.RANGE_NOT_SATISFIABLE,
                f"The artifact has {file.size} bytes, and none in this range.",
                "Leave the Range header out to get all of it.",
            ),
            {"Content-Range": f"bytes */{file.size}"},
        )
    partial = (start, stop) != (0, file.size)
    if partial:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{file.size}"
    response = web.StreamResponse(status=206 if partial else 200, headers=headers)
    response.content_length = stop - start
    await response.prepare(request)
    if request.method != "HEAD":
        await _send(request, response, file, start, stop)
    return response


async def _send(
    request: web.Request, response: web.StreamResponse, file: ArtifactFile, start: int, stop: int
) -> None:
    holder = Holder(request, check_again)
    async with contextlib.aclosing(file.read(start, stop)) as chunks:
        async for data in chunks:
            await holder.check()
            await response.write(data)
            start += len(data)
    if start < stop:
        # The file became shorter. The client would take what comes next for the missing bytes.
        break_off(request.transport)


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
