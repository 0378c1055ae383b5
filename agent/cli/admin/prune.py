"""`ml-agent prune`: retention by hand, with or without a running agent."""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator
from typing import Annotated

import typer

from ...config import Settings
from ...config_files import load
from ...host.podman import Podman
from ...host.systemd import Units
from ...model.base import ID_PREFIX_LENGTH, format_time
from ...model.job import RetentionRule
from ...model.retention import Totals
from ...retention.pruner import Pruned, Pruner, Stage
from ...scripts.snapshots import Snapshots
from ...store.store import Store
from ..program import JsonOption
from ..quantities import format_duration, format_moment, format_size
from ..terminal import Screen, bold, right
from . import shared

COLUMNS = ("WHAT", bold("OF"), "FINISHED", "WHY", right("BYTES"))
WHAT = {
    Stage.UNIT: "unit",
    Stage.FILES: "artifacts and log",
    Stage.JOB: "job",
    Stage.SNAPSHOT: "snapshot",
    Stage.IMAGE: "image",
}
WHY = {
    RetentionRule.AGE: "too old",
    RetentionRule.COUNT: "too many",
    RetentionRule.BYTES: "too large",
    None: "no job needs it",
}
NAMED = {Stage.SNAPSHOT: "commit", Stage.IMAGE: "image_digest"}  # in JSON; a job by its id

app = typer.Typer()


@app.command("prune")
def prune_finished(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be removed, and why; remove nothing.")
    ] = False,
    trust_clock: Annotated[
        bool,
        typer.Option("--trust-clock", help="First count all days that the clock shows: `date` is right."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove what retention no longer keeps. The agent does so by itself from time to time."""
    if dry_run and trust_clock:
        raise typer.BadParameter("--trust-clock changes what is removed; --dry-run changes nothing.")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")  # what could not be removed
    if trust_clock:
        shared.record(load(), "trustClock")
    removed, kept = asyncio.run(prune(load(), dry_run=dry_run, trust_clock=trust_clock))
    if removed and not dry_run:
        shared.record(load(), "prune", things=len(removed), bytes=sum(one.bytes for one in removed))
    screen = Screen()
    if as_json:
        screen.json(document(removed, kept, dry_run=dry_run))
    else:
        show(screen, removed, kept, dry_run=dry_run)
        if above := still_above(load(), removed if dry_run else [], kept):
            screen.remark(above)


async def prune(
    settings: Settings, *, dry_run: bool, trust_clock: bool = False
) -> tuple[list[Pruned], Totals]:
    """What retention removes, or with `dry_run` would remove; and what it keeps."""
    async with opened(settings) as pruner:
        if trust_clock:
            await pruner.trust_clock()
        removed = await pruner.plan() if dry_run else [one async for one in pruner.prune()]
        return removed, await pruner.kept()


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Pruner]:
    """A pruner with its connections to systemd, to Podman and to the database."""
    units = Units(f"unix:path={settings.runtime_directory}/bus")
    scripts = settings.scripts
    snapshots = Snapshots(scripts.repository, scripts.directory, settings.snapshots_directory)
    async with Store.open(settings.database) as store, Podman(settings.podman_socket) as podman:
        connection = asyncio.create_task(units.run(lambda _: None))
        try:
            yield Pruner(settings, store, units, snapshots, podman)
        finally:
            connection.cancel()
            await asyncio.gather(connection, return_exceptions=True)


def show(screen: Screen, removed: list[Pruned], kept: Totals, *, dry_run: bool) -> None:
    """A row for each removed thing on stdout, the sums on stderr."""
    if removed or not screen.person:
        screen.table(COLUMNS, [_row(one, person=screen.person) for one in removed])
    freed = format_size(sum(one.bytes for one in removed))
    screen.remark(f"{'Would remove' if dry_run else 'Removed'} {len(removed)} things: {freed}.")
    finished = f"{kept.jobs} finished jobs ({format_size(kept.bytes)})"
    pinned = f"{kept.pinned} pinned jobs ({format_size(kept.pinned_bytes)})"
    screen.remark(f"Totals: {finished} and {pinned}.")


def still_above(settings: Settings, planned: list[Pruned], kept: Totals) -> str:
    """A sentence if finished jobs exceed a bound even without what is `planned`; else empty."""
    size = kept.bytes - sum(one.bytes for one in planned)
    jobs = kept.jobs - sum(one.stage is Stage.JOB for one in planned)
    most = settings.retention.byte_limit(os.statvfs(settings.state_directory))
    bounds = {
        f"retention.max_bytes ({format_size(most)})": size > most,
        f"retention.max_jobs ({settings.retention.max_jobs})": jobs > settings.retention.max_jobs,
    }
    exceeded = " and ".join(bound for bound, above in bounds.items() if above)
    hours = settings.retention.at_least_hours
    protected = f"what has ended within {format_duration(hours * 3600)} stays (retention.at_least_hours)"
    return f"Still above {exceeded}: {protected}." if exceeded else ""


def _row(one: Pruned, *, person: bool) -> list[str]:
    return [
        WHAT[one.stage] if person else one.stage,
        one.name.removeprefix("sha256:")[:ID_PREFIX_LENGTH] if person else one.name,
        "" if one.finished_at is None else format_moment(one.finished_at, person=person),
        WHY[one.rule] if person else one.rule or "",
        format_size(one.bytes) if person else str(one.bytes),
    ]


def document(removed: list[Pruned], kept: Totals, *, dry_run: bool) -> dict[str, object]:
    """The same as a JSON object."""
    return {
        "dry_run": dry_run,
        "removed": [_entry(one) for one in removed],
        "freed_bytes": sum(one.bytes for one in removed),
        "kept": {
            "jobs": kept.jobs,
            "bytes": kept.bytes,
            "pinned_jobs": kept.pinned,
            "pinned_bytes": kept.pinned_bytes,
        },
    }


def _entry(one: Pruned) -> dict[str, object]:
    entry: dict[str, object] = {
        "what": one.stage,
        NAMED.get(one.stage, "job_id"): one.name,
        "bytes": one.bytes,
    }
    if one.rule is not None:
        entry["rule"] = one.rule
    if one.finished_at is not None:
        entry["finished_at"] = format_time(one.finished_at)
    return entry
