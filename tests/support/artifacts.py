"""Lists of artifacts, read as a client reads them."""

from collections.abc import AsyncGenerator

from agent.backend import Artifacts
from agent.jobs.manifest import Record
from agent.model.artifact import ArtifactManifest
from agent.model.job import Job


async def _whole(pieces: AsyncGenerator[bytes]) -> ArtifactManifest:
    return ArtifactManifest.model_validate_json(b"".join([piece async for piece in pieces]))


async def list_of(artifacts: Artifacts, job: Job) -> ArtifactManifest:
    """The list that a client gets of a job."""
    async with artifacts.manifest(job) as pieces:
        return await _whole(pieces)


async def list_in(record: Record) -> ArtifactManifest:
    """The list in an open record, which is closed."""
    try:
        return await _whole(record.pieces())
    finally:
        record.close()
