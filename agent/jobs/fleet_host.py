"""What this host does for the fleet that it is in."""

from ..audit.chain import Caller
from ..config import Settings
from ..host.podman import Podman
from ..model.fleet import GivenJob, Room
from ..model.host import Resources
from ..model.job import Job, JobRequest
from ..scheduling.queue import Queue
from ..store.jobs import Given
from .registry import Registry
from .submission import Submission


class FleetHost:
    """A host that is named `name` in its fleet."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        registry: Registry,
        submission: Submission,
        queue: Queue,
        podman: Podman,
    ) -> None:
        self._name = name
        self._settings = settings
        self._registry = registry
        self._submission = submission
        self._queue = queue
        self._podman = podman

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

    async def drain(self, *, draining: bool, by: Caller) -> Room:
        """Starts no more jobs, or does so again."""
        await self._registry.drain(draining=draining, by=by)
        return await self.room()

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
            networks=["none", *sorted({*self._settings.networks, *self._settings.egress})],
            image=self._settings.jobs.image,
            image_digest=image.digest if image else "",
        )
