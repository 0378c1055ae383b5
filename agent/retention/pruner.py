"""Carries out retention: measures finished jobs, and removes what `rules` say is due, in small steps.

The record changes before the files do: a removal is committed together with a pending deletion of the job's
directory, which stays until the last file is deleted. After a crash the next run goes on with the pending
deletions. The agent and `ml-agent prune` may run at once: each step is one transaction that checks again.
"""

import asyncio
import contextlib
import math
import os
import sys
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial
from types import MappingProxyType

from ..config import Settings
from ..errors import AgentError
from ..host.images import kept_name
from ..host.machine import read_clocks
from ..host.podman import Podman
from ..host.systemd import Units
from ..host.tasks import in_thread
from ..host.trees import measure, remove
from ..log import log
from ..model.base import job_id_of, now, unit_name
from ..model.job import Removal, RetentionRule
from ..model.paths import UNITS
from ..model.retention import FinishedJob, Totals
from ..scripts.snapshots import Snapshots
from ..store.store import Store
from .rules import DAY, Bound, Due, Rules, doubt, held, without

START_DELAY = 5.0  # seconds; a client may be waiting for the agent to start
INTERVAL = 30.0  # seconds from the end of one round to the next
UNIT_ROUNDS = 19  # rounds that remove only units, between two that remove everything
STEP_JOBS = 25  # jobs in one transaction
STEP_NAMES = 2000  # names deleted without a pause
HOUR = 3600.0  # seconds
UNTOLD_DAYS = 7  # for which a job is kept of whose end its fleet was not told
GIVEN_IDS = 100_000  # newest ids of a fleet's jobs that never run here again, although their records are gone
MAX_PAUSE = 0.5  # seconds; a pause is as long as the step before it


class Stage(StrEnum):
    """What is removed: a job's unit, its artifacts and log, or its record.

    Or what no recorded job needs any more: a snapshot of the scripts, an image that has lost its name.
    """

    UNIT = "unit"
    FILES = "files"
    JOB = "job"
    SNAPSHOT = "snapshot"
    IMAGE = "image"


@dataclass(frozen=True)
class Pruned:
    """Something removed or due: `name` is a job's id, a snapshot's commit, or an image's digest."""

    stage: Stage
    name: str
    rule: RetentionRule | None = None
    finished_at: datetime | None = None
    bytes: int = 0


class Pruner:
    """`plan` lists what is due, `prune` removes it, `run` prunes again and again."""

    def __init__(
        self, settings: Settings, store: Store, units: Units, snapshots: Snapshots, podman: Podman
    ) -> None:
        self._settings = settings
        self._records = store.retention
        self._units = units
        self._snapshots = snapshots
        self._podman = podman
        self._now = 0.0  # by the clock of ages
        self.doubt = ""  # about the wall clock, in a sentence
        self._stuck: set[str] = set()  # jobs whose directories cannot be deleted: each is logged once

    async def run(self) -> None:
        """Prunes until it is cancelled. An error ends only the round.

        Most rounds only measure jobs, whose age begins then, and remove units: each unit file costs systemd
        some microseconds whenever a job starts.
        """
        await asyncio.sleep(START_DELAY)
        while True:
            await self._round(self.prune())
            for _ in range(UNIT_ROUNDS):
                await asyncio.sleep(INTERVAL)
                await self._round(self._look_after_units())
            await asyncio.sleep(INTERVAL)

    async def _round(self, removed: AsyncGenerator[Pruned]) -> None:
        count = freed = 0
        try:
            async with contextlib.aclosing(removed):
                async for one in removed:
                    count, freed = count + 1, freed + one.bytes
        except Exception as error:
            # Pruning is never urgent: an unforeseen error must not end the agent.
            log.warning("retention: %s", error, exc_info=None if isinstance(error, AgentError) else error)
        if count:
            log.info("retention removed %d items of finished jobs, %d bytes", count, freed)

    async def plan(self) -> list[Pruned]:
        """What `prune` would remove now. Measures jobs that were not measured, and changes nothing else."""
        await self._advance_clock()
        await self._measure()
        jobs = await self._due(Stage.JOB)
        gone = {due.job.job_id: due.job for due in jobs}
        files = await self._due(Stage.FILES, gone=gone)
        gone |= {due.job.job_id: due.job for due in files}
        units = [due for due in await self._units_due() if due.job.job_id not in gone]
        found = await self._records.images_used_only_by([due.job.job_id for due in jobs])
        images = [each for each in found if await self._podman.is_only_kept(*each)]
        return [
            *(_pruned(Stage.UNIT, due) for due in units),
            *(_pruned(Stage.FILES, due) for due in files),
            *(_pruned(Stage.JOB, due) for due in jobs),
            *[Pruned(Stage.IMAGE, digest) for _, digest in images],
        ]

    async def kept(self) -> Totals:
        """What finished jobs take now."""
        return await self._records.totals()

    async def prune(self) -> AsyncGenerator[Pruned]:
        """Removes what is due, and yields what was removed. The caller may stop after any item."""
        await self._advance_clock()
        await self._delete_directories()
        await self._measure()
        await self._records.forget_given(untold_since=self._now - UNTOLD_DAYS * DAY, most=GIVEN_IDS)
        jobs, files = self._remove(Stage.JOB), self._remove(Stage.FILES)
        for removed in (jobs, files, self._remove_units(), self._remove_snapshots()):
            async for one in removed:
                yield one

    async def trust_clock(self) -> None:
        """Counts all time that the wall clock has passed: a person says that it is right."""
        await self._records.advance_clock(await read_clocks(), trusted=True)

    async def _advance_clock(self) -> None:
        moment = await read_clocks()
        clock, leap = await self._records.advance_clock(moment)
        self._now = clock.seconds
        if leap:
            log.info("retention: %.1f days have passed while the host was off", leap / DAY)
        before, self.doubt = self.doubt, doubt(clock, moment)
        if self.doubt and not before:
            log.warning("retention: %s `ml-agent doctor` says what to do.", self.doubt)

    async def _measure(self) -> None:
        while job_ids := await self._records.unmeasured(STEP_JOBS):
            began = time.monotonic()
            sizes = {job_id: await self._size(job_id) for job_id in job_ids}
            await self._records.record_sizes(sizes, ages_from=self._now)
            await _pause(began)

    async def _size(self, job_id: str) -> tuple[int, int]:
        try:
            return await in_thread(partial(measure, self._settings.paths_of(job_id).directory))
        except OSError as error:
            log.warning("retention: the files of job %s cannot be measured: %s", job_id, error)
            return 0, 0

    async def _due(
        self, stage: Stage, limit: int = sys.maxsize, gone: Mapping[str, FinishedJob] = MappingProxyType({})
    ) -> list[Due]:
        """The first `limit` jobs that are due for a stage, as if those in `gone` were gone."""
        jobs = await self._records.oldest_of_each(limit, with_files=stage is Stage.FILES)
        holdings = without(await self._records.holdings(), gone.values())
        left = (job for job in jobs if job.job_id not in gone)
        due = {each.job.job_id: each for each in self._rules(stage).due(left, holdings, limit=limit)}
        siblings = await self._records.siblings(due) if due else []
        rule = next((each.rule for each in due.values()), RetentionRule.AGE)
        return [*due.values(), *(Due(job, rule) for job in siblings if job.job_id not in gone)]

    def _rules(self, stage: Stage) -> Rules:
        settings, now = self._settings.retention, self._now
        untouchable = now - settings.at_least_hours * HOUR
        if stage is Stage.UNIT:
            # Units hold nothing that a job made, and many of them cost time: none is untouchable.
            number = Bound("jobs", settings.max_units, RetentionRule.COUNT)
            return Rules(now - settings.unit_hours * HOUR, math.inf, (number,))
        if stage is Stage.FILES:
            system = os.statvfs(self._settings.state_directory)
            size = Bound("bytes", settings.byte_limit(system), RetentionRule.BYTES)
            number = Bound("files", settings.file_limit(system), RetentionRule.COUNT)
            return Rules(now - settings.files_days * DAY, untouchable, (size, number))
        number = Bound("jobs", settings.max_jobs, RetentionRule.COUNT)
        size = Bound("record_bytes", settings.max_record_bytes, RetentionRule.BYTES)
        return Rules(now - settings.record_days * DAY, untouchable, (number, size))

    # Units

    async def _look_after_units(self) -> AsyncGenerator[Pruned]:
        if clock := await self._records.clock():
            self._now = clock.at(await read_clocks(ask=False))[0].seconds
        await self._measure()
        async for one in self._remove_units():
            yield one

    async def _remove_units(self) -> AsyncGenerator[Pruned]:
        for due in await self._units_due():
            if await self._forget_unit(due.job.job_id):
                yield _pruned(Stage.UNIT, due)

    async def _units_due(self) -> list[Due]:
        """Looks at the unit files that exist: a boot removes them all."""
        directory = self._settings.runtime_directory / UNITS
        try:
            names = await asyncio.to_thread(os.listdir, directory)
        except FileNotFoundError:
            return []
        job_ids = [job_id for name in names if (job_id := job_id_of(name))]
        # This agent's store does not know the units of another agent of the same account.
        jobs = await self._records.removable(job_ids)
        return self._rules(Stage.UNIT).due(jobs, held(jobs))

    async def _forget_unit(self, job_id: str) -> bool:
        """Resets the unit's failure in systemd, then removes its file; False if that must wait.

        In this order, because only the file shows that there is something to reset.
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

    async def _remove(self, stage: Stage) -> AsyncGenerator[Pruned]:
        """Removes what is due of files or of records, some jobs at a time."""
        while True:
            began, images = time.monotonic(), list[tuple[str, str]]()
            due = await self._due(stage, STEP_JOBS)
            # A unit's file refers to files that are removed with the job.
            due = [each for each in due if await self._forget_unit(each.job.job_id)]
            job_ids = [each.job.job_id for each in due]
            if stage is Stage.JOB:
                images = await self._records.images_used_only_by(job_ids)
                done = set(await self._records.remove_jobs(job_ids))
            else:
                removals = {each.job.job_id: Removal(at=now(), rule=each.rule) for each in due}
                done = set(await self._records.remove_files(removals))
            if not done:
                return
            await self._delete_directories()
            for each in due:
                if each.job.job_id in done:
                    yield _pruned(stage, each)
            if done.issuperset(job_ids):
                async for one in self._remove_images(images):
                    yield one
            await _pause(began)

    async def _delete_directories(self) -> None:
        """Carries out the pending deletions."""
        done = []
        for job_id in set(await self._records.pending_deletions()) - self._stuck:
            directory = self._settings.paths_of(job_id).directory
            try:
                began = time.monotonic()
                while not await asyncio.to_thread(remove, directory, STEP_NAMES):
                    await _pause(began)
                    began = time.monotonic()
                done.append(job_id)
            except OSError as error:
                # It may belong to another user, if the site's drop-ins use another kind of user namespace.
                self._stuck.add(job_id)
                log.warning(
                    "retention: %s cannot be deleted (%s); try `podman unshare rm -r`", directory, error
                )
        if done:
            await self._records.confirm_deleted(done)

    async def _remove_images(self, images: Iterable[tuple[str, str]]) -> AsyncGenerator[Pruned]:
        """Removes those of the images that only the agent's own name keeps."""
        for name, digest in images:
            try:
                if await self._podman.is_only_kept(name, digest):
                    await self._podman.drop_kept(name, digest)
                    yield Pruned(Stage.IMAGE, digest)
            except AgentError as error:
                log.warning("retention: the image %s stays: %s", kept_name(name, digest), error)

    async def _remove_snapshots(self) -> AsyncGenerator[Pruned]:
        for commit in await asyncio.to_thread(self._snapshots.commits):
            if await self._records.retire_unused(commit, partial(self._snapshots.retire, commit)):
                yield Pruned(Stage.SNAPSHOT, commit)
        await self._snapshots.sweep()


def _pruned(stage: Stage, due: Due) -> Pruned:
    size = 0 if stage is Stage.UNIT else due.job.bytes
    return Pruned(stage, due.job.job_id, due.rule, due.job.finished_at, size)


async def _pause(began: float) -> None:
    """Leaves the disk and the store to others for as long as the step took."""
    await asyncio.sleep(min(time.monotonic() - began, MAX_PAUSE))
