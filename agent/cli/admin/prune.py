"""`ml-agent prune`: retention by hand, beside a running agent or without one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from ...config import Settings
from ...host.podman import Podman
from ...host.systemd import Units
from ...model.base import ID_PREFIX_LENGTH, format_time, now
from ...model.job import RetentionRule
from ...model.retention import Totals
from ...retention.pruner import Pruned, Pruner, Stage
from ...scripts.snapshots import Snapshots
from ...store.store import Store
from ..quantities import format_age, format_size
from ..terminal import Column, Screen

COLUMNS = (
    Column("WHAT"),
    Column("OF", style="bold"),
    Column("FINISHED"),
    Column("WHY"),
    Column("BYTES", justify="right"),
)
WHAT = {
    Stage.UNIT: "unit",
    Stage.FILES: "artifacts and log",
    Stage.JOB: "job",
    Stage.SNAPSHOT: "snapshot",
    Stage.IMAGE: "image",
}
NAMED = {Stage.SNAPSHOT: "commit", Stage.IMAGE: "image_digest"}  # in a document; a job by its id


async def prune(settings: Settings, *, dry_run: bool) -> tuple[list[Pruned], Totals]:
    """Removes what is due, or only finds it out; and what is kept then."""
    async with _pruner(settings) as pruner:
        went = await pruner.plan() if dry_run else [one async for one in pruner.prune()]
        return went, await pruner.kept()


@contextlib.asynccontextmanager
async def _pruner(settings: Settings) -> AsyncIterator[Pruner]:
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


def show(screen: Screen, went: list[Pruned], kept: Totals, *, dry_run: bool) -> None:
    """A row for each thing that went, or would; what it is in all, as a remark."""
    if went or not screen.person:
        screen.table(COLUMNS, [_row(one, person=screen.person) for one in went])
    freed = format_size(sum(one.bytes for one in went))
    screen.remark(f"{'Would remove' if dry_run else 'Removed'} {len(went)} things: {freed}.")
    left = f"{kept.jobs} finished jobs, {format_size(kept.bytes)}"
    pinned = f"{kept.pinned} pinned ones, {format_size(kept.pinned_bytes)}"
    screen.remark(f"There are {left}, and {pinned}.")


def _row(one: Pruned, *, person: bool) -> list[str]:
    finished = ""
    if one.finished_at is not None:
        finished = format_age(one.finished_at, now()) if person else format_time(one.finished_at)
    return [
        WHAT[one.stage] if person else one.stage,
        one.name.removeprefix("sha256:")[:ID_PREFIX_LENGTH] if person else one.name,
        finished,
        _why(one) if person else one.rule or "",
        format_size(one.bytes) if person else str(one.bytes),
    ]


def _why(one: Pruned) -> str:
    match one.rule:
        case RetentionRule.AGE:
            return "too old"
        case RetentionRule.COUNT:
            return "too many"
        case RetentionRule.BYTES:
            return "too much"
    return "no job needs it"


def document(went: list[Pruned], kept: Totals, *, dry_run: bool) -> dict[str, object]:
    """The same for a program."""
    return {
        "dry_run": dry_run,
        "removed": [_entry(one) for one in went],
        "freed_bytes": sum(one.bytes for one in went),
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
