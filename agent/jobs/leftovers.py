"""Removes containers that have outlived their jobs: each holds a mount, and copies of the job's secrets.

A unit removes its own container (`units/ml-job-ended`). But that program may be killed with the unit, or
Podman may refuse. Podman's id file, or the mark of that program, then stays in the runtime directory. After a
boot, which clears that directory, Podman is asked once which containers there are.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

from ..config import Settings
from ..errors import AgentError
from ..host.podman import Podman
from ..host.systemd import Units
from ..log import log
from ..model.base import container_name, job_id_of, job_id_of_container, unit_name
from ..model.job import JobState
from ..model.paths import CONTAINER_ID, LEFT, SWEPT
from .registry import Registry

START_DELAY = 1.0  # seconds; a client may be waiting for the agent to start
INTERVAL = 1.0  # seconds between two looks while something is left; twice as long after each failure
MAX_INTERVAL = 60.0


class Leftovers:
    """`run` removes what is left, `clear` does so for one job, `look` says that a job's attempt has ended."""

    def __init__(self, settings: Settings, registry: Registry, units: Units, podman: Podman) -> None:
        self._settings = settings
        self._registry = registry
        self._units = units
        self._podman = podman
        self._ended = asyncio.Event()
        # Held while a container is removed, so that none of a job's next attempt is.
        self._removing = asyncio.Lock()

    @property
    def idle(self) -> bool:
        """Whether nothing is left that this agent knows of."""
        return next(self._marks(), None) is None

    def look(self) -> None:
        """Has `run` look soon."""
        self._ended.set()

    async def run(self) -> None:
        """Looks once, and again whenever an attempt has ended, until it is cancelled."""
        await asyncio.sleep(START_DELAY)
        while True:
            self._ended.clear()
            pause = INTERVAL
            while not await self._sweep():
                await asyncio.sleep(pause)
                pause = min(2 * pause, MAX_INTERVAL)
            await self._ended.wait()

    async def clear(self, job_id: str) -> None:
        """Removes what an earlier attempt of a job has left. Raises `AgentError` (host) if it cannot."""
        async with self._removing:
            if any(marked == job_id for _, marked in self._all_marks()):
                await self._delete(job_id)

    async def _sweep(self) -> bool:
        """Looks once; False if something is left."""
        complete = True
        for job_id in {job_id for _, job_id in self._marks()} | await self._unmarked():
            try:
                async with self._removing:
                    complete &= await self._removed_if_ended(job_id)
            except (AgentError, OSError) as error:
                log.warning("job %s: its container stays for now: %s", job_id, error)
                complete = False
        return complete

    async def _removed_if_ended(self, job_id: str) -> bool:
        """Removes the container of a job unless its unit is at work; False if it still ends."""
        if self._is_live(job_id):
            return True
        if not (await self._units.state(unit_name(job_id))).ended:
            return False
        # Meanwhile its next attempt may have begun, which clears the way for itself.
        if not self._is_live(job_id):
            await self._delete(job_id)
        return True

    async def _delete(self, job_id: str) -> None:
        name = container_name(job_id)
        try:
            await self._podman.remove_container(name)
        except AgentError:
            # Where conmon was killed, the first attempt finds that out and fails; the second one succeeds.
            await self._podman.remove_container(name)
        for mark, marked in self._all_marks():
            if marked == job_id:
                mark.unlink(missing_ok=True)
        log.info("job %s: removed the container that it had left", job_id)

    async def _unmarked(self) -> set[str]:
        """The jobs of this agent that have a container, if Podman has not been asked since the boot."""
        swept = self._settings.runtime_directory / SWEPT
        if swept.exists():
            return set()
        try:
            names = await self._podman.containers()
            with contextlib.suppress(OSError):
                swept.parent.mkdir(mode=0o700, exist_ok=True)
                swept.touch()
        except AgentError as error:
            log.warning("containers of earlier jobs are looked for at the next start: %s", error)
            return set()
        found = filter(None, map(job_id_of_container, names))
        return {job_id for job_id in found if self._is_ours(job_id) and not self._is_live(job_id)}

    def _marks(self) -> Iterator[tuple[Path, str]]:
        """The marks of jobs that are not at work, and the jobs' ids."""
        return ((mark, job_id) for mark, job_id in self._all_marks() if not self._is_live(job_id))

    def _all_marks(self) -> Iterator[tuple[Path, str]]:
        for pattern in (CONTAINER_ID, LEFT):
            for mark in self._settings.runtime_directory.glob(pattern):
                job_id = job_id_of(f"{mark.stem}.service")
                if job_id and self._is_ours(job_id):
                    yield mark, job_id

    def _is_live(self, job_id: str) -> bool:
        """Whether the reconciler drives the job: systemd was asked to start it, and it has not ended."""
        active = self._registry.active(job_id)
        return active is not None and active.job.status is not JobState.PENDING

    def _is_ours(self, job_id: str) -> bool:
        """Another agent of the same account looks after its own jobs."""
        return self._settings.paths_of(job_id).directory.exists()
