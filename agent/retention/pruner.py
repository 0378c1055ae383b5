"""Carries out retention: measures finished jobs, and removes what `retention` says is due, in small steps.

Of each job the record comes first: it says "removed" before the first file goes, and names the directory as
`leaving` until the last one has gone. Whoever is killed in between leaves the rest to the next one. The agent
and `ml-agent prune` may be at it at the same time: each step is one transaction that looks again.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial
from pathlib import Path

from ..config import Settings
from ..errors import AgentError
from ..host.podman import Podman, kept_name
from ..host.systemd import Units
from ..host.tasks import in_thread
from ..host.trees import measure, remove
from ..model.base import job_id_of, now, unit_name
from ..model.job import Removal, RetentionRule
from ..model.paths import LEFT, UNITS
from ..model.retention import Totals
from ..scripts.snapshots import Snapshots
from ..store.store import Store
from .rules import Due, files_due, records_due, units_due

log = logging.getLogger("ml-agent")

START_DELAY = 5.0  # seconds after the agent's start, which somebody waits for
INTERVAL = 30.0  # seconds from the end of one round to the next
UNITS_ALONE = 19  # rounds between two that are about everything
STEP_JOBS = 25  # jobs of a transaction
STEP_NAMES = 2000  # names deleted before others have their turn
MAX_PAUSE = 0.5  # seconds; a pause is as long as the step before it


class Stage(StrEnum):
    """What of a job goes: systemd's memory of it, its artifacts and log, or all of it.

    Or what jobs of the record need: a snapshot, an image that its name has gone from.
    """

    UNIT = "unit"
    FILES = "files"
    JOB = "job"
    SNAPSHOT = "snapshot"
    IMAGE = "image"


@dataclass(frozen=True)
class Pruned:
    """Something that goes, or went: `name` is a job's id, a snapshot's commit, or an image's digest."""

    stage: Stage
    name: str
    rule: RetentionRule | None = None
    finished_at: datetime | None = None
    bytes: int = 0


class Pruner:
    """`plan` says what is due, `prune` removes it, `run` does that again and again."""

    def __init__(
        self, settings: Settings, store: Store, units: Units, snapshots: Snapshots, podman: Podman
    ) -> None:
        self._settings = settings
        self._rules = settings.retention
        self._store = store
        self._units = units
        self._snapshots = snapshots
        self._podman = podman
        self._stuck: set[str] = set()  # left to the next agent, and told once

    @property
    def idle(self) -> bool:
        """Whether no container of a job that has ended is left: it has copies of the job's secrets."""
        return not self._left()

    async def run(self) -> None:
        """Prunes until it is cancelled; where the host does not let it, it tries again.

        Most rounds are about units: each file of one costs systemd some microseconds whenever a job starts.
        """
        await asyncio.sleep(START_DELAY)
        while True:
            await self._round(self.prune())
            for _ in range(UNITS_ALONE):
                await asyncio.sleep(INTERVAL)
                await self._round(self._remove_units())
            await asyncio.sleep(INTERVAL)

    async def _round(self, removed: AsyncGenerator[Pruned]) -> None:
        count = freed = 0
        try:
            async with contextlib.aclosing(removed):
                async for one in removed:
                    count, freed = count + 1, freed + one.bytes
        except Exception as error:
            # What nobody foresaw here must not end the agent: nobody waits for this.
            log.warning("retention: %s", error, exc_info=None if isinstance(error, AgentError) else error)
        if count:
            log.info("retention removed %d things of finished jobs, %d bytes", count, freed)

    async def plan(self) -> list[Pruned]:
        """What `prune` would remove now. Measures what was not measured, and changes nothing else."""
        await self._measure()
        at, kept = now(), await self._store.retention.totals()
        oldest = await self._store.retention.oldest_removable(-1, with_files=False)
        jobs = records_due(oldest, self._rules, count=kept.jobs, now=at)
        gone = {due.job.job_id for due in jobs}
        with_files = await self._store.retention.oldest_removable(-1, with_files=True)
        freed = sum(job.bytes for job in with_files if job.job_id in gone)
        files = files_due(
            (job for job in with_files if job.job_id not in gone),
            self._rules,
            surplus=kept.bytes - freed - self._max_bytes(),
            now=at,
        )
        gone |= {due.job.job_id for due in files}
        units = [due for due in await self._units_due(at) if due.job.job_id not in gone]
        found = await self._store.retention.images_used_only_by([due.job.job_id for due in jobs])
        images = [each for each in found if await self._podman.is_only_kept(*each)]
        return [
            *(_pruned(Stage.UNIT, due) for due in units),
            *(_pruned(Stage.FILES, due) for due in files),
            *(_pruned(Stage.JOB, due) for due in jobs),
            *[Pruned(Stage.IMAGE, digest) for _, digest in images],
        ]

    async def kept(self) -> Totals:
        """What there is now."""
        return await self._store.retention.totals()

    async def prune(self) -> AsyncGenerator[Pruned]:
        """Removes what is due and says what went; a step is bounded, and may be the last one."""
        await self._delete_leaving()
        await self._measure()
        async for one in self._remove_jobs():
            yield one
        async for one in self._remove_files():
            yield one
        async for one in self._remove_units():
            yield one
        async for one in self._remove_snapshots():
            yield one

    async def _measure(self) -> None:
        while job_ids := await self._store.retention.unmeasured(STEP_JOBS):
            began = time.monotonic()
            sizes = {job_id: await self._size(job_id) for job_id in job_ids}
            await self._store.retention.record_sizes(sizes)
            await _pause(began)

    async def _size(self, job_id: str) -> int:
        try:
            return await in_thread(partial(measure, self._settings.paths_of(job_id).directory))
        except OSError as error:
            log.warning("retention: the files of job %s cannot be measured: %s", job_id, error)
            return 0

    # Units

    async def _remove_units(self) -> AsyncGenerator[Pruned]:
        await self._remove_containers()
        for due in await self._units_due(now()):
            if await self._forget_unit(due.job.job_id):
                yield _pruned(Stage.UNIT, due)

    async def _remove_containers(self) -> None:
        """Removes what units could not remove when their jobs ended, as there was no room on the disk."""
        for mark, job_id in self._left():
            job = await self._store.jobs.get(job_id)
            if job is not None and not job.status.terminal:
                continue  # its next attempt replaces it
            try:
                await self._podman.remove_container(f"ml-job-{job_id}")
                mark.unlink(missing_ok=True)
            except (AgentError, OSError) as error:
                log.warning("retention: the container of job %s stays for now: %s", job_id, error)

    def _left(self) -> list[tuple[Path, str]]:
        """The marks of containers that are left, and whose; another agent's jobs are not this one's."""
        found = [
            (mark, job_id_of(f"{mark.stem}.service")) for mark in self._settings.runtime_directory.glob(LEFT)
        ]
        return [
            (mark, job_id)
            for mark, job_id in found
            if job_id and self._settings.paths_of(job_id).directory.exists()
        ]

    async def _units_due(self, at: datetime) -> list[Due]:
        """By the unit files that are there: a boot has removed them all."""
        directory = self._settings.runtime_directory / UNITS
        try:
            names = await asyncio.to_thread(os.listdir, directory)
        except FileNotFoundError:
            return []
        job_ids = [job_id for name in names if (job_id := job_id_of(name))]
        # Units of another agent of this account are not in this one's store.
        jobs = await self._store.retention.removable(job_ids)
        return units_due(jobs, self._rules, count=len(jobs), now=at)

    async def _forget_unit(self, job_id: str) -> bool:
        """Removes a unit file, and systemd's memory of a failure before that; False where it has to wait.

        In this order, as only the file tells that there is something to forget.
        """
        unit = unit_name(job_id)
        file = self._settings.paths_of(job_id).unit_file
        if not file.exists():
            return True
        try:
            if not (await self._units.state(unit)).ended:
                return False
            await self._units.forget(unit)
            file.unlink(missing_ok=True)
        except (AgentError, OSError) as error:
            log.warning("retention: %s stays for now: %s", unit, error)
            return False
        return True

    # Files and records

    async def _remove_jobs(self) -> AsyncGenerator[Pruned]:
        while True:
            began = time.monotonic()
            oldest = await self._store.retention.oldest_removable(STEP_JOBS, with_files=False)
            found = records_due(oldest, self._rules, count=0, now=now())
            if len(found) < len(oldest):  # to count them takes longer than to find the old ones
                count = (await self._store.retention.totals()).jobs
                found = records_due(oldest, self._rules, count=count, now=now())
            due = await self._without_units(found)
            if not due:
                return
            job_ids = [each.job.job_id for each in due]
            images = await self._store.retention.images_used_only_by(job_ids)
            done = set(await self._store.retention.remove_jobs(job_ids))
            if not done:
                return
            await self._delete_leaving()
            for each in due:
                if each.job.job_id in done:
                    yield _pruned(Stage.JOB, each)
            if done.issuperset(job_ids):
                async for one in self._remove_images(images):
                    yield one
            await _pause(began)

    async def _remove_files(self) -> AsyncGenerator[Pruned]:
        while True:
            began, at = time.monotonic(), now()
            oldest = await self._store.retention.oldest_removable(STEP_JOBS, with_files=True)
            found = files_due(oldest, self._rules, surplus=0, now=at)
            if len(found) < len(oldest):
                surplus = (await self._store.retention.totals()).bytes - self._max_bytes()
                found = files_due(oldest, self._rules, surplus=surplus, now=at)
            due = await self._without_units(found)
            removals = {each.job.job_id: Removal(at=at, rule=each.rule) for each in due}
            done = set(await self._store.retention.remove_files(removals)) if due else set()
            if not done:
                return
            await self._delete_leaving()
            for each in due:
                if each.job.job_id in done:
                    yield _pruned(Stage.FILES, each)
            await _pause(began)

    async def _without_units(self, due: Sequence[Due]) -> list[Due]:
        """Those that have no unit any more: its file leads to marks that go with the job's files."""
        return [each for each in due if await self._forget_unit(each.job.job_id)]

    async def _delete_leaving(self) -> None:
        """Deletes the directories of jobs whose record says that they are gone, or is gone itself."""
        done = []
        for job_id in set(await self._store.retention.pending_deletions()) - self._stuck:
            directory = self._settings.paths_of(job_id).directory
            try:
                began = time.monotonic()
                while not await asyncio.to_thread(remove, directory, STEP_NAMES):
                    await _pause(began)
                    began = time.monotonic()
                done.append(job_id)
            except OSError as error:
                # Another user's, say, where the site's drop-ins have a user namespace of another kind.
                self._stuck.add(job_id)
                log.warning(
                    "retention: %s cannot be deleted (%s); try `podman unshare rm -r`", directory, error
                )
        if done:
            await self._store.retention.confirm_deleted(done)

    async def _remove_images(self, images: Iterable[tuple[str, str]]) -> AsyncGenerator[Pruned]:
        """Of images that no job in the record ran those that are there for its sake alone."""
        for name, digest in images:
            try:
                if await self._podman.is_only_kept(name, digest):
                    await self._podman.drop_kept(name, digest)
                    yield Pruned(Stage.IMAGE, digest)
            except AgentError as error:
                log.warning("retention: the image %s stays: %s", kept_name(name, digest), error)

    async def _remove_snapshots(self) -> AsyncGenerator[Pruned]:
        for commit in await asyncio.to_thread(self._snapshots.commits):
            if await self._store.retention.retire_unused(commit, partial(self._snapshots.retire, commit)):
                yield Pruned(Stage.SNAPSHOT, commit)
        await self._snapshots.sweep()

    def _max_bytes(self) -> int:
        if self._rules.max_bytes is not None:
            return self._rules.max_bytes
        system = os.statvfs(self._settings.state_directory)
        return system.f_blocks * system.f_frsize // 2


def _pruned(stage: Stage, due: Due) -> Pruned:
    size = 0 if stage is Stage.UNIT else due.job.bytes
    return Pruned(stage, due.job.job_id, due.rule, due.job.finished_at, size)


async def _pause(began: float) -> None:
    """Lets others have as much time as the step took."""
    await asyncio.sleep(min(time.monotonic() - began, MAX_PAUSE))
