"""`ml-job artifacts`: the files that a job left, listed and fetched."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column
from typer.core import TyperGroup

from ...model.artifact import Artifact, ArtifactManifest
from ..failure import Failure
from ..program import JsonOption
from ..quantities import format_size
from ..terminal import Screen, bold, right, visible
from .download import CHUNK_BYTES, address_of, download, download_all, places_of, select
from .http import Api, decode
from .invocation import JobArgument, command, resolve
from .render import warn

if TYPE_CHECKING:
    from rich.progress import Progress


COLUMNS = (bold("PATH"), right("SIZE"), "TYPE", Column("SHA-256", style="dim"))


TO_STDOUT = "-"


class ListByDefault(TyperGroup):
    """`artifacts JOB` means `artifacts list JOB`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Adds the missing `list`. No job id is as short as `get`."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["list", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=ListByDefault, no_args_is_help=True)


@command(app, "list")
async def list_artifacts(api: Api, screen: Screen, job: JobArgument, as_json: JsonOption = False) -> None:
    """List the files that a job left in /artifacts. `ml-job artifacts JOB` does the same."""
    value = await api.get(f"/jobs/{await resolve(api, job)}/artifacts")
    manifest = decode(ArtifactManifest, value)
    if as_json:
        screen.json(value)
    else:
        artifact_table(screen, manifest)
        _remark(screen, manifest)


@command(app, "get")
async def get_artifacts(
    api: Api,
    screen: Screen,
    job: JobArgument,
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PATH]...", help="Files or directories to fetch; without any, all."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PLACE",
            help="A directory; for one file also its new name, or - for stdout.",
            show_default="the job's id",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace other files, and write hidden ones, such as .git.")
    ] = False,
) -> None:
    """Fetch a job's artifacts. Verifies the size and SHA-256 of each, and replaces nothing."""
    if output == TO_STDOUT and screen.person:
        raise Failure("An artifact is not written to a terminal.", "Name a file, or write `| cat` behind it.")
    job_id = await resolve(api, job)
    manifest = decode(ArtifactManifest, await api.get(f"/jobs/{job_id}/artifacts"))
    artifacts = select(manifest, paths or [])
    if output == TO_STDOUT:
        await _to_stdout(api, screen, job_id, artifacts)
        return
    # All before the first byte.
    places = places_of(artifacts, paths or [], output or f"{job_id}/", force=force)
    _remark(screen, manifest)
    with _progress(screen) as progress:

        def begin(artifact: Artifact) -> Callable[[int], None]:
            task = progress.add_task(visible(artifact.path), total=artifact.size)
            return partial(progress.advance, task)

        await download_all(api, job_id, artifacts, places, force=force, begin=begin)
    for place in places:
        screen.write(f"{visible(str(place)) if screen.person else place}\n".encode())


async def _to_stdout(api: Api, screen: Screen, job_id: str, artifacts: list[Artifact]) -> None:
    """Writes one artifact to stdout, after all of it was fetched and verified."""
    if len(artifacts) != 1:
        raise Failure(f"Only one file can be written to stdout, not {len(artifacts)}.", "Name one.")
    with TemporaryDirectory() as directory:
        place = Path(directory, "artifact")
        address = address_of(job_id, artifacts[0])
        await download(api, address, artifacts[0], place, replace=True, progress=lambda _: None)
        _copy_to_stdout(screen, place)


def _copy_to_stdout(screen: Screen, place: Path) -> None:
    with place.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            screen.write(chunk)


def artifact_table(screen: Screen, manifest: ArtifactManifest) -> None:
    """One row per artifact; for a program, sizes in bytes and whole digests."""
    screen.table(COLUMNS, [_row(artifact, person=screen.person) for artifact in manifest.artifacts])


def _row(artifact: Artifact, *, person: bool) -> list[str]:
    return [
        artifact.path,
        format_size(artifact.size) if person else str(artifact.size),
        artifact.media_type,
        artifact.sha256[:16] if person else artifact.sha256,
    ]


def _progress(screen: Screen) -> "Progress":
    # Slow to load, and no other command needs it.
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
    )
    return Progress(*columns, console=screen.err, transient=True, disable=not screen.watched)


def _remark(screen: Screen, manifest: ArtifactManifest) -> None:
    if not manifest.complete:
        warn(screen, "the job has not ended; its artifacts may still change")
    elif not manifest.artifacts:
        screen.remark("ml-job: the job left no artifacts")
    for each in manifest.left_out:
        warn(screen, f"{each.path} was not published: it {each.reason}")
    if not manifest.left_out:  # an earlier agent gives no reason
        for path in manifest.skipped:
            warn(screen, f"{path} was not published")
    if more := manifest.left_out_count - len(manifest.left_out):
        warn(screen, f"{more} more files were not published")
