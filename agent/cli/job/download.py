"""Artifacts written into a directory: never outside it, and complete and verified before they appear."""

import asyncio
import hashlib
import os
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from ...model.artifact import Artifact, ArtifactManifest
from ..failure import EXIT_FAILURE, Failure
from .http import Api

CHUNK_BYTES = 256 * 1024
ELSEWHERE = "Choose another directory with --output."
MAKE_ROOM = "Make room there, or choose another directory with --output."


def select(manifest: ArtifactManifest, wanted: Iterable[str]) -> list[Artifact]:
    """The artifacts whose path, or a directory above it, is in `wanted`; all if that is empty."""
    paths = [path.rstrip("/") for path in wanted]
    for path in paths:
        if not any(_within(artifact.path, path) for artifact in manifest.artifacts):
            raise Failure(
                f"Job {manifest.job_id} has no artifact {path!r}.",
                f"`ml-job artifacts {manifest.job_id}` lists its artifacts.",
            )
    return [
        artifact
        for artifact in manifest.artifacts
        if not paths or any(_within(artifact.path, path) for path in paths)
    ]


def _within(path: str, wanted: str) -> bool:
    return path == wanted or path.startswith(f"{wanted}/")


def places_of(artifacts: list[Artifact], wanted: list[str], output: str) -> list[Path]:
    """The file that each artifact is written to: below `output`, or `output` itself.

    It is itself the file if one file was `wanted` by its path, and no directory is there or meant (`out/`).
    """
    place = Path(output)
    one_file = len(artifacts) == 1 and wanted == [artifacts[0].path]
    if one_file and not place.is_dir() and not output.endswith(("/", "/.", "/..")):
        return [target(place.parent, place.name)]
    return [target(place, artifact.path) for artifact in artifacts]


def target(directory: Path, path: str) -> Path:
    """The file that an artifact is written to.

    Raises Failure if that is outside `directory`, also by way of links, or if something else is in its place.
    """
    parts = PurePosixPath(path).parts
    place = directory.joinpath(*parts)
    root = directory.resolve()
    outside = not parts or path.startswith("/") or ".." in parts or "\0" in path
    if outside or not place.parent.resolve().is_relative_to(root):
        raise Failure(
            f"The artifact {path!r} would be written outside {directory}.", exit_status=EXIT_FAILURE
        )
    if os.path.isdir(place) and not os.path.islink(place):
        raise Failure(f"{place} is a directory, but the artifact is a file.", ELSEWHERE)
    for above in place.parents[: len(parts)]:
        if os.path.lexists(above) and not os.path.isdir(above):
            raise Failure(f"{above} is not a directory.", ELSEWHERE)
    return place


async def download(
    api: Api, job_id: str, artifact: Artifact, place: Path, *, progress: Callable[[int], None]
) -> None:
    """Writes one artifact to `place`, whole or not at all. Calls `progress` with the size of each chunk.

    Raises Failure, and leaves the earlier file, if the bytes do not match the manifest or cannot be written.
    """
    part = place.parent / f".ml-job-{secrets.token_hex(8)}.part"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        await _fetch(api, job_id, artifact, part, progress=progress)
        part.replace(place)
    except OSError as exc:  # its file name, if any, is the temporary one
        raise Failure(f"{place} cannot be written: {exc.strerror or exc}.", MAKE_ROOM) from exc
    finally:
        with suppress(OSError):
            part.unlink()


async def _fetch(
    api: Api, job_id: str, artifact: Artifact, part: Path, *, progress: Callable[[int], None]
) -> None:
    digest, size = hashlib.sha256(), 0
    address = f"/jobs/{job_id}/artifacts/{quote(artifact.path, safe='/')}"
    with part.open("xb") as file:
        async with api.open(address, accept="*/*") as response:
            async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                size += len(chunk)
                if size > artifact.size:
                    break
                digest.update(chunk)
                await asyncio.to_thread(file.write, chunk)
                progress(len(chunk))
        file.flush()
        os.fsync(file.fileno())
    if size != artifact.size or digest.hexdigest() != artifact.sha256:
        raise Failure(
            f"The artifact {artifact.path!r} does not match the manifest in size or SHA-256.",
            "Nothing was written; try again.",
            exit_status=EXIT_FAILURE,
        )
