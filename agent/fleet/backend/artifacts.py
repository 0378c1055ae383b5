"""Artifacts, passed on from the hosts that have them, piece by piece."""

import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from urllib.parse import quote

from ...backend import ArtifactFile
from ...errors import AgentError, Problem
from ...model.artifact import ArtifactManifest
from ...model.job import Job, check_not_removed
from .hosts import Hosts
from .logs import check_there

TAG = re.compile(r'"([0-9a-f]{64})"')
TOTAL = re.compile(r"bytes 0-0/([0-9]{1,18})")  # Content-Range of the first byte


@dataclass(frozen=True)
class HostsFile:
    """Implements `backend.ArtifactFile`."""

    hosts: Hosts
    host: str
    address: str
    size: int
    sha256: str | None
    media_type: str

    async def read(self, start: int, stop: int) -> AsyncGenerator[bytes]:
        """The bytes from `start` up to `stop`, as the host sends them."""
        if start >= stop:
            return
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        if self.sha256 is not None:
            headers["If-Match"] = f'"{self.sha256}"'
        async with self.hosts.open(self.host, "GET", self.address, headers=headers) as response:
            with self.hosts.answered(self.host):
                async for chunk in response.content.iter_any():
                    yield chunk


class FleetArtifacts:
    """Implements `backend.Artifacts`. A job that no host has yet has none."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts

    @contextlib.asynccontextmanager
    async def manifest(self, job: Job) -> AsyncIterator[AsyncGenerator[bytes]]:
        """The JSON of the host's manifest, in pieces."""
        check_not_removed(job)
        if job.host is None:
            yield _pieces(_nothing(job))
            return
        async with contextlib.AsyncExitStack() as stack:
            try:
                opening = self._hosts.open(job.host, "GET", f"/jobs/{job.job_id}/artifacts")
                response = await stack.enter_async_context(opening)
            except AgentError as error:
                check_there(job, error)
                yield _pieces(_nothing(job))
                return

            async def pieces(host: str = job.host) -> AsyncGenerator[bytes]:
                with self._hosts.answered(host):
                    async for chunk in response.content.iter_any():
                        yield chunk

            yield pieces()

    @contextlib.asynccontextmanager
    async def opened(self, job: Job, path: str) -> AsyncIterator[ArtifactFile]:
        """One of these files. Its first byte is asked for, to know how large it is."""
        check_not_removed(job)
        if job.host is None or any(part in ("", ".", "..") for part in path.split("/")):
            raise _no_such_artifact(path)
        address = f"/jobs/{job.job_id}/artifacts/{quote(path)}"
        async with self._hosts.open(job.host, "GET", address, headers={"Range": "bytes=0-0"}) as response:
            tag = TAG.fullmatch(response.headers.get("ETag", ""))
            total = TOTAL.fullmatch(response.headers.get("Content-Range", ""))
            size = int(total[1]) if total else response.content_length or 0
            media_type = response.headers.get("Content-Type", "application/octet-stream")
        yield HostsFile(self._hosts, job.host, address, size, tag[1] if tag else None, media_type)


def _nothing(job: Job) -> bytes:
    manifest = ArtifactManifest(job_id=job.job_id, complete=job.status.terminal, artifacts=[])
    return manifest.model_dump_json(exclude_none=True).encode()


async def _pieces(whole: bytes) -> AsyncGenerator[bytes]:
    yield whole


def _no_such_artifact(path: str) -> AgentError:
    shown = path if len(path) <= 300 else path[:300] + "…"
    return AgentError(
        Problem.ARTIFACT_NOT_FOUND,
        f"There is no artifact {shown!a}.",
        "GET /jobs/{id}/artifacts, or `ml-job artifacts`, shows what there is.",
    )
