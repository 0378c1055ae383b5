"""Artifacts written into a directory: never outside it, and complete and verified before they appear."""

import asyncio
import hashlib
import itertools
import os
import re
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from ...model.alias import Alias
from ...model.artifact import Artifact, ArtifactManifest
from ..failure import Failure, broken
from ..terminal import visible
from .http import Api, decode

CHUNK_BYTES = 256 * 1024
MAX_NAME_BYTES = 255  # of a file, on nearly every file system
MAX_NAMED = 5  # paths in a message
# A part of a path that begins with a dot, also behind joiners, which some file systems ignore.
HIDDEN = re.compile("(^|/)[\u200c\u200d]*\\.")
ELSEWHERE = "Choose another directory with --output."
TWO_NAMES = "Another program made it, or this file system takes the names of two artifacts for the same."
REPLACE = "Choose another directory with --output, or replace them with --force."
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


def places_of(artifacts: list[Artifact], wanted: list[str], output: str, *, force: bool) -> list[Path]:
    """The file that each artifact is written to: below `output`, or `output` itself.

    It is itself the file if one file was `wanted` by its path, and no directory is there or meant (`out/`).
    Without `force`, raises Failure for a hidden name: `.git/config` and the like make programs run code.
    """
    place = Path(output)
    one_file = len(artifacts) == 1 and wanted == [artifacts[0].path]
    if one_file and not place.is_dir() and not output.endswith(("/", "/.", "/..")):
        return [target(place.parent, place.name)]
    places = [target(place, artifact.path) for artifact in artifacts]
    hidden = [artifact.path for artifact in artifacts if HIDDEN.search(artifact.path)]
    if hidden and not force:
        raise Failure(
            f"Hidden files can change what programs do: {_first(hidden)}.",
            "Name the files that you want, or write these, too, with --force.",
        )
    return places


def still_to_fetch(artifacts: list[Artifact], places: list[Path], *, force: bool) -> list[bool]:
    """Whether each artifact is not in its place already, with the same bytes.

    Without `force`, raises Failure if there is anything else in one of the places.
    """
    missing = [not _is_there(artifact, place) for artifact, place in zip(artifacts, places, strict=True)]
    others = [
        str(place) for place, fetch in zip(places, missing, strict=True) if fetch and os.path.lexists(place)
    ]
    if others and not force:
        raise Failure(f"There are other files in the place of artifacts: {_first(others)}.", REPLACE)
    return missing


def _is_there(artifact: Artifact, place: Path) -> bool:
    try:
        if place.is_symlink() or not place.is_file() or place.stat().st_size != artifact.size:
            return False
        with place.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == artifact.sha256
    except OSError:
        return False


def _first(paths: list[str]) -> str:
    more = f" and {len(paths) - MAX_NAMED} more" if len(paths) > MAX_NAMED else ""
    return ", ".join(visible(path) for path in paths[:MAX_NAMED]) + more


def target(directory: Path, path: str) -> Path:
    """The file that an artifact is written to.

    Raises Failure if that is outside `directory`, also by way of links, or if a directory is in its place.
    """
    parts = [_local_name(part) for part in PurePosixPath(path).parts]
    place = directory.joinpath(*parts)
    root = directory.resolve()
    outside = not parts or path.startswith("/") or ".." in parts or "\0" in path
    if outside or not place.parent.resolve().is_relative_to(root):
        raise broken(f"The artifact {path!r} would be written outside {directory}.")
    if os.path.isdir(place) and not os.path.islink(place):
        raise Failure(f"{place} is a directory, but the artifact is a file.", ELSEWHERE)
    for above in place.parents[: len(parts)]:
        if os.path.lexists(above) and not os.path.isdir(above):
            raise Failure(f"{above} is not a directory.", ELSEWHERE)
    return place


def _local_name(part: str) -> str:
    """A part of a path; cut, with a digest, if it is too long for a file system because it is escaped."""
    if "%" not in part or len(part.encode("utf-8", "replace")) <= MAX_NAME_BYTES:
        return part
    digest = hashlib.sha256(part.encode("utf-8", "replace")).hexdigest()[:16]
    return f"{part.encode('utf-8', 'replace')[: MAX_NAME_BYTES - 17].decode('utf-8', 'ignore')}~{digest}"


def identity(place: Path) -> tuple[int, int] | None:
    """The device and inode of a file; None if there is none."""
    try:
        status = place.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


async def download_all(
    api: Api,
    job_id: str,
    artifacts: list[Artifact],
    places: list[Path],
    *,
    force: bool,
    begin: Callable[[Artifact], Callable[[int], None]] = lambda _: lambda _: None,
) -> None:
    """Writes each artifact to its place, unless it is there already; `begin` gives its `progress`.

    Without `force`, raises Failure before the first byte if there is anything else in one of the places.
    """
    missing = still_to_fetch(artifacts, places, force=force)
    written = set[tuple[int, int] | None]()
    for artifact, place in itertools.compress(zip(artifacts, places, strict=True), missing):
        replace = force and identity(place) not in written - {None}
        await download(
            api, address_of(job_id, artifact), artifact, place, replace=replace, progress=begin(artifact)
        )
        written.add(identity(place))


def address_of(job_id: str, artifact: Artifact) -> str:
    """The path of a job's artifact, percent-encoded."""
    return f"/jobs/{job_id}/artifacts/{quote(artifact.path, safe='/')}"


def model_address(model: str, alias: str | None = None) -> str:
    """The path of a model, or of one of its aliases, percent-encoded."""
    path = f"/models/{quote(model, safe='')}"
    return path if alias is None else f"{path}/aliases/{quote(alias, safe='')}"


async def download_alias(api: Api, model: str, alias: str, output: str | None = None, *, force: bool) -> Path:
    """Writes what an alias points at to `output`, a file or a directory, by default the file's own name.

    Raises Failure as `download_all` does, also where somebody moves the alias meanwhile.
    """
    address = model_address(model, alias)
    found = decode(Alias, await api.get(address))
    name = PurePosixPath(found.path).name
    artifact = Artifact(path=name, size=found.size, sha256=found.sha256, media_type=found.media_type)
    (place,) = places = places_of([artifact], [name], output or name, force=force)
    if all(still_to_fetch([artifact], places, force=force)):
        await download(api, f"{address}/artifact", artifact, place, replace=force, progress=lambda _: None)
    return place


async def download(
    api: Api,
    address: str,
    artifact: Artifact,
    place: Path,
    *,
    replace: bool,
    progress: Callable[[int], None],
) -> None:
    """Writes the artifact at an address to `place`, whole or not at all.

    Calls `progress` with the size of each chunk.

    Raises Failure, and leaves the earlier file, if the bytes do not match the manifest or cannot be written,
    or if there is an earlier file and `replace` is not set.
    """
    part = place.parent / f".ml-job-{secrets.token_hex(8)}.part"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        await _fetch(api, address, artifact, part, progress=progress)
        if not replace and os.path.lexists(place):
            raise Failure(f"{place} is there by now. {TWO_NAMES}", ELSEWHERE)
        part.replace(place)
    except OSError as exc:  # its file name, if any, is the temporary one
        raise Failure(f"{place} cannot be written: {exc.strerror or exc}.", MAKE_ROOM) from exc
    finally:
        with suppress(OSError):
            part.unlink()


async def _fetch(
    api: Api, address: str, artifact: Artifact, part: Path, *, progress: Callable[[int], None]
) -> None:
    digest, size = hashlib.sha256(), 0
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
        raise broken(
            f"The artifact {artifact.path!r} does not match the manifest in size or SHA-256.",
            "Nothing was written; try again.",
        )
