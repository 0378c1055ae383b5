"""The calls about artifacts: the manifest, and each file with ranges and, once it is final, an entity tag."""

import contextlib
from collections.abc import AsyncGenerator

from aiohttp import web

from ...backend import ArtifactFile
from ...errors import AgentError, Problem
from ...host.sockets import break_off
from ..access import JOB, check_still_allowed
from ..keys import BACKEND
from ..server.connections import turn
from ..server.identity import ClientCheck
from ..server.problems import respond
from ..server.rates import WRITTEN


async def list_artifacts(request: web.Request) -> web.StreamResponse:
    """Lists the artifacts with their sizes and SHA-256. The list is final once the job has ended."""
    async with request.app[BACKEND].artifacts.manifest(request[JOB]) as pieces:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await send(request, response, pieces, counts=True)
    return response


async def get_artifact(request: web.Request) -> web.StreamResponse:
    """Downloads one artifact, always as an attachment. Until the job has ended, it has no entity tag."""
    artifacts, path = request.app[BACKEND].artifacts, request.match_info["path"]
    async with artifacts.opened(request[JOB], path) as file:
        return await serve(request, file)


async def serve(request: web.Request, file: ArtifactFile) -> web.StreamResponse:
    """Sends an open artifact, or what its conditions and its range leave of it."""
    tag = {"ETag": f'"{file.sha256}"'} if file.sha256 else {}
    headers = tag | {
        "Accept-Ranges": "bytes",
        "Content-Type": file.media_type,
        "Content-Disposition": "attachment",
        "Cache-Control": "private, no-cache",
    }
    # In the order of RFC 9110, section 13.2.2, and before ranges.
    if request.if_match is not None and not any(
        each.value in (file.sha256, "*") and not each.is_weak for each in request.if_match
    ):
        why = (
            "The artifact is not the version that If-Match names."
            if file.sha256
            else "The job has not ended, so the artifact has no version that If-Match could name."
        )
        remedy = "Leave out the If-Match header to get the present version."
        return respond(AgentError(Problem.PRECONDITION_FAILED, why, remedy), tag)
    if any(each.value in (file.sha256, "*") for each in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    start, stop = _range(request, file)
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
    if request.method != "HEAD" and await send(request, response, file.read(start, stop)) < stop - start:
        # The file has changed. The client would take what comes next for the missing bytes.
        break_off(request.transport)
    return response


async def send(
    request: web.Request, response: web.StreamResponse, chunks: AsyncGenerator[bytes], *, counts: bool = False
) -> int:
    """Sends the chunks at the pace of the client. Returns how many bytes they had.

    `counts` says whether they count for the rate of the client's requests.
    """
    client, sent = ClientCheck(request, check_still_allowed), 0
    async with contextlib.aclosing(chunks):
        async for data in chunks:
            await client.check()
            await turn(request)
            await response.write(data)
            sent += len(data)
            if counts:
                request[WRITTEN] = sent
    return sent


def _range(request: web.Request, file: ArtifactFile) -> tuple[int, int]:
    """The half-open range that the request asks for; the whole file unless it asks for one valid range."""
    whole = 0, file.size
    if request.method != "GET":
        return whole  # RFC 9110, section 14.2: Range is for GET alone
    if_range = request.headers.get("If-Range")
    if if_range is not None and (file.sha256 is None or if_range != f'"{file.sha256}"'):
        return whole
    try:
        wanted = request.http_range
    except ValueError:
        return whole
    start, stop, _ = wanted.indices(file.size)
    return start, stop
