"""The host as users and its fleet see it: what it gives to jobs, what they take of it, and who waits."""

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass

from .. import __version__
from ..audit.chain import Caller
from ..config import Settings
from ..errors import AgentError
from ..host.podman import Podman
from ..host.systemd import Units
from ..model.base import now
from ..model.fleet import GivenJob, Room, ToldJobs
from ..model.host import Drain, Host, Resources, Usage, Versions
from ..model.job import Job, JobRequest
from ..scheduling.queue import Queue
from ..secrets.fleet import FleetSecrets
from ..store.jobs import Given
from .admission import Admission
from .registry import Registry
from .submission import Submission

FAR = 1e9  # seconds
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

    @property
    def drain(self) -> Drain | None:
        """When the host runs no jobs, unless that is over."""
        return self._queue.drain

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
            drain=self.drain,
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


@dataclass(eq=False)
class FleetHost:
    """A host that is named `name` in its fleet."""

    _name: str
    _settings: Settings
    _registry: Registry
    _admission: Admission
    _submission: Submission
    _queue: Queue
    _podman: Podman
    _secrets: FleetSecrets

    async def take(self, owner: str, job: GivenJob, *, by: Caller) -> Job:
        """Accepts a job of the fleet under the fleet's id: `Submission.take`."""
        given = Given(job.job_id, job.key, job.not_after)
        return await self._submission.take(owner, job.request, given, self._name, by=by)

    async def check(self, owner: str, request: JobRequest) -> Job:
        """The job that the host would accept now; nothing is committed: `Submission.check`."""
        return await self._submission.check(owner, request)

    async def withdraw(self, job_id: str, *, by: Caller) -> Job:
        """Ends a job that has never begun: `Registry.withdraw`."""
        return await self._registry.withdraw(job_id, by=by)

    async def tell(self, told: ToldJobs) -> None:
        """The fleet has heard of the ends of these jobs."""
        await self._registry.tell(told.job_ids)

    async def drain(self, *, draining: bool, by: Caller) -> Room:
        """Starts no more jobs, or does so again."""
        await self._admission.drain(draining=draining, by=by)
        return await self.room()

    def _closes_in(self) -> float | None:
        """Seconds until a drain begins that is planned; jobs run for less than `FAR`."""
        drain, moment = self._queue.drain, now()
        left = (drain.begins_at - moment).total_seconds() if drain else 0.0
        return round(left, 3) if 0 < left < FAR else None

    def _others(self) -> Resources:
        wanted = [active.job.limits for active in self._registry.all_active() if active.job.host is None]
        limits = [self._settings.jobs.resolve(each) for each in wanted]
        return Resources(
            jobs=len(limits),
            cpus=sum(each.cpus for each in limits),
            memory_bytes=sum(each.memory_bytes for each in limits),
        )

    async def room(self) -> Room:
        """What the host can still give."""
        image = await self._podman.image(self._settings.jobs.image)
        return Room(
            host=self._name,
            draining=self._queue.draining,
            capacity=self._queue.capacity,
            free=self._queue.free,
            others=self._others(),
            ends_in_seconds=round(self._queue.ends_in(), 3),
            closes_in_seconds=self._closes_in(),
            networks=["none", *sorted({*self._settings.networks, *self._settings.egress})],
            image=self._settings.jobs.image,
            image_digest=image.digest if image else "",
            secrets=(await self._secrets.held()).revision,
            secrets_key=await self._secrets.key(),
        )
