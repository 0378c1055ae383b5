"""The calls about artifacts: the manifest, and each file with ranges and a strong entity tag."""

import contextlib

from aiohttp import web

from ...backend import ArtifactFile
from ...errors import AgentError, Problem
from ...host.sockets import break_off
from ..access import JOB, check_still_allowed
from ..keys import BACKEND
from ..server.identity import ClientCheck
from ..server.problems import respond
from ..server.requests import json_response


async def list_artifacts(request: web.Request) -> web.Response:
    """Lists the artifacts with their sizes and SHA-256. The list is final once the job has ended."""
    return json_response(await request.app[BACKEND].artifacts.manifest(request[JOB]))


async def get_artifact(request: web.Request) -> web.StreamResponse:
    """Downloads one artifact, always as an attachment."""
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
    # In the order of RFC 9110, section 13.2.2, and before ranges.
    if request.if_match is not None and not any(
        each.value in (file.sha256, "*") and not each.is_weak for each in request.if_match
    ):
        return respond(
            AgentError(
                Problem.PRECONDITION_FAILED,
                "The artifact is not the version that If-Match names.",
                "Leave out the If-Match header to get the present version.",
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
                f"The artifact has {file.size} bytes, and none of them is in this range.",
                "Leave out the Range header to get the whole artifact.",
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
    client = ClientCheck(request, check_still_allowed)
    async with contextlib.aclosing(file.read(start, stop)) as chunks:
        async for data in chunks:
            await client.check()
            await response.write(data)
            start += len(data)
    if start < stop:
        # The file became shorter. The client would take what comes next for the missing bytes.
        break_off(request.transport)


def _range(request: web.Request, size: int, tag: str) -> tuple[int, int]:
    """The half-open range that the request asks for; the whole file unless it asks for one valid range."""
    if request.method != "GET":
        return 0, size  # RFC 9110, section 14.2: Range is for GET alone
    if request.headers.get("If-Range", tag) != tag:
        return 0, size
    try:
        wanted = request.http_range
    except ValueError:
        return 0, size
    start, stop, _ = wanted.indices(size)
    return start, stop
