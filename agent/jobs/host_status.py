"""What the host gives to jobs, what they take of it, and who waits."""

import asyncio
import time
from collections.abc import Awaitable

from .. import __version__
from ..errors import AgentError
from ..host.podman import Podman
from ..host.systemd import Units
from ..model.base import now
from ..model.host import Host, Usage, Versions
from ..model.job import Job
from ..scheduling.queue import Queue

VERSIONS_KEPT = 60.0  # seconds; asking systemd and Podman anew takes 0.1 s, and starts Podman


class HostStatus:
    """The host as jobs and their users see it."""

    def __init__(self, queue: Queue, units: Units, podman: Podman) -> None:
        self._queue = queue
        self._units = units
        self._podman = podman
        self._versions = Versions(agent=__version__)
        self._versions_until = 0.0
        self._asking = asyncio.Lock()

    async def overview(self, user: str | None) -> Host:
        """Capacity, use, queue and versions; `users` has one user only, or, with None, all."""
        users = self._queue.users()
        return Host(
            versions=await self._current_versions(),
            capacity=self._queue.capacity,
            in_use=self._queue.in_use,
            waiting=sum(each.waiting for each in users),
            running=sum(each.running for each in users),
            users=[each for each in users if user in (None, each.user)],
        )

    async def _current_versions(self) -> Versions:
        """As of at most a minute ago; what did not answer is asked again."""
        async with self._asking:
            if time.monotonic() >= self._versions_until:
                systemd, podman = await asyncio.gather(
                    _if_it_answers(self._units.version()), _if_it_answers(self._podman.version())
                )
                self._versions = Versions(agent=__version__, systemd=systemd, podman=podman)
                if systemd and podman:
                    self._versions_until = time.monotonic() + VERSIONS_KEPT
            return self._versions

    async def usage(self, job: Job) -> Usage:
        """What the job's unit uses now."""
        used = await self._units.usage(job.unit)
        return Usage(
            job_id=job.job_id,
            at=now(),
            cpu_seconds=None if used.cpu_nanoseconds is None else round(used.cpu_nanoseconds / 1e9, 3),
            memory_bytes=used.memory_bytes,
            memory_peak_bytes=used.memory_peak_bytes,
            tasks=used.tasks,
        )


async def _if_it_answers(question: Awaitable[str]) -> str | None:
    """The answer, or None where there is none now."""
    try:
        return await question
    except AgentError:
        return None
