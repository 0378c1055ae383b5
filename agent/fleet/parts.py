"""The parts that a member works with: the fleet's record, its host's agent, and tickets."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from ..model.fleet import Room
from ..model.job import Job
from .entries import Claim, HostReport, Joined, NoClaim, Offer, Revision, Step


class Fleet(Protocol):
    """What a member asks of the fleet's record; `Record` says what each answer means."""

    async def join(self, host: str, report: HostReport) -> Joined: ...
    async def back(self, host: str, epoch: str) -> bool: ...
    async def claim_next(self, offer: Offer) -> Claim | NoClaim: ...
    async def confirm(self, job_id: str, host: str, epoch: str, fence: str) -> Step: ...
    async def acknowledge(self, job_id: str, host: str, fence: str) -> Step: ...
    async def release(self, job_id: str, host: str, fence: str, *, elsewhere: bool) -> Step: ...
    async def project(self, job_id: str, host: str, fence: str, revision: Revision) -> Step: ...
    async def claims_of(self, host: str) -> list[Claim]: ...


class Agent(Protocol):
    """What a member asks of the host's agent."""

    async def room(self) -> Room:
        """What the host can still give."""
        ...

    async def take(self, claim: Claim, not_after: float) -> Job:
        """Gives a job to the agent, as `POST /fleet/jobs` takes it."""
        ...

    async def cancel(self, job: Job) -> None:
        """Asks for a job's end."""
        ...

    async def jobs(self) -> list[Job]:
        """The fleet's jobs that have not ended."""
        ...

    async def tell(self, job_id: str) -> None:
        """The fleet has heard of the end of a job."""
        ...

    async def job(self, job_id: str) -> Job | None:
        """A job of the fleet, or None."""
        ...

    def changes(self) -> AsyncGenerator[Job]:
        """Each job of the fleet as it is, and then at each change. Ends where the connection does."""
        ...


class Ticket(Protocol):
    """A ticket of `tickets`."""

    async def acknowledge(self) -> None: ...
    async def give_back(self) -> None: ...


class Tickets(Protocol):
    """Where tickets are taken."""

    async def take(self, needs: Sequence[str], seconds: float) -> Ticket | None: ...
