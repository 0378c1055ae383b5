"""What the API asks of the parts of a fleet: of one host, of its secrets, and of the members' front."""

from typing import Protocol

from ..audit.chain import Caller
from ..model.base import SecretName
from ..model.fleet import (
    GivenJob,
    HeldSecret,
    HeldSecrets,
    RemovedSecret,
    Reseal,
    Resealed,
    Room,
    SealedSecret,
    SecretNews,
    ToldJobs,
)
from ..model.job import Job, JobRequest
from ..model.member import (
    MemberClaimed,
    MemberClaims,
    MemberConfirmation,
    MemberHold,
    MemberJoined,
    MemberOffer,
    MemberProjection,
    MemberRelease,
    MemberReport,
    MemberSecret,
    MemberSecretOf,
    MemberSecrets,
    MemberStep,
)


class FleetHost(Protocol):
    """What the programs of a fleet ask of one of its hosts."""

    async def take(self, owner: str, job: GivenJob, *, by: Caller) -> Job:
        """Accepts a job under the fleet's id. The same id and key again return the job that is known."""

    async def check(self, owner: str, request: JobRequest) -> Job:
        """The job that the request would become. Nothing is accepted."""

    async def withdraw(self, job_id: str, *, by: Caller) -> Job:
        """Ends a job that has never begun. Raises not-waiting."""

    async def tell(self, told: ToldJobs) -> None:
        """The fleet has heard of the ends of these jobs: the host's retention may remove them."""
        ...

    async def room(self) -> Room:
        """What the host can still give."""

    async def drain(self, *, draining: bool, by: Caller) -> Room:
        """Starts no more jobs, or does so again."""


class FleetSecrets(Protocol):
    """The secrets that a fleet brings to one of its hosts, sealed. They are those of the user `by`."""

    async def held(self) -> HeldSecrets:
        """Every secret that this host has."""

    async def take(self, name: SecretName, sealed: SealedSecret, *, by: Caller) -> HeldSecret:
        """Opens and stores a secret. Raises secret-outdated for an older version than the newest known."""

    async def remove(self, name: SecretName, removed: RemovedSecret, *, by: Caller) -> None:
        """Removes a secret that the fleet set. Raises secret-outdated."""

    async def reseal(self, asked: Reseal, *, by: Caller) -> Resealed:
        """Seals keys of secrets for another host of the fleet. Raises forbidden for any other."""


class FleetMembers(Protocol):
    """What the members of a fleet ask of a front. `host` is the one that the member's certificate names.

    What a member says of a job that its host does not have is answered "stale", and changes nothing.
    """

    async def check(self, host: str) -> None:
        """Asked before each call. Raises `AgentError` (certificate-refused) for a host that is barred."""

    async def join(self, host: str, report: MemberReport) -> MemberJoined:
        """A host's word that it is there, and what it offers."""

    async def back(self, host: str, epoch: str) -> bool:
        """A host that was forgotten has ended what it had; False where it was forgotten once more."""

    async def claim_next(self, host: str, offer: MemberOffer) -> MemberClaimed:
        """Claims the job whose turn it is among those that the host can run now."""

    async def claims_of(self, host: str, after: str) -> MemberClaims:
        """The host's claims with ids behind `after`, as many as one answer may have."""

    async def confirm(self, host: str, asked: MemberConfirmation) -> MemberStep:
        """Whether a claim still holds, right before the job is given to the host's agent."""

    async def acknowledge(self, host: str, hold: MemberHold) -> MemberStep:
        """The host's agent has the job."""

    async def release(self, host: str, release: MemberRelease) -> MemberStep:
        """The host's agent will never have the job."""

    async def project(self, host: str, told: MemberProjection) -> MemberStep:
        """A revision of a job. Raises forbidden for a job that names another host or owner."""

    async def secret_news(self, host: str, after: int) -> SecretNews:
        """What has changed of users' secrets after a number. Waits a little for something new."""
        ...

    async def sealed_secret(self, host: str, asked: MemberSecretOf) -> MemberSecret:
        """A user's secret in its newest version, sealed for the host."""
        ...

    async def share_keys(self, asked: Reseal) -> int:
        """Keys that one host has sealed for another one; how many of them were still wanted."""
        ...

    async def tell_secrets(self, host: str, told: MemberSecrets) -> None:
        """Which secrets the host has."""
        ...
