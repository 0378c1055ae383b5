"""What a front answers to members: the record's steps, each for the host that asks and no other."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from pydantic import TypeAdapter

from ..errors import AgentError, FieldError, Problem
from ..model.fleet import HeldSecret, Reseal, SecretNews
from ..model.member import (
    MemberClaim,
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
from .entries import Claim, HostReport, Offer, Revision, Step
from .record import Record
from .secret_record import held_name

MAX_REQUESTS = 2**20  # characters of the requests in one answer; more than any single one has
MAX_CLAIMS = 500  # in one answer
NEWS_LOOKS, NEWS_PAUSE = 8, 0.5  # looks for news of secrets, and seconds between two; a member waits longer

_REPORT = TypeAdapter(HostReport)
_OFFER = TypeAdapter(Offer)


class RecordMembers:
    """Implements `backend.FleetMembers` over the record."""

    def __init__(self, record: Record) -> None:
        self._record = record

    async def check(self, host: str) -> None:
        """Raises `AgentError` (certificate-refused) for a host that an operator has barred."""
        if await self._record.is_barred(host):
            raise AgentError(
                Problem.CERTIFICATE_REFUSED,
                f"The fleet answers {host} nothing: an operator has barred it.",
                f"`ml-fleet bar --undo {host}` on the machine of a front takes that back.",
            )

    async def join(self, host: str, report: MemberReport) -> MemberJoined:
        """A host's word that it is there, and what it offers."""
        joined = await self._record.join(host, _REPORT.validate_python(report.model_dump()))
        return MemberJoined.model_validate(asdict(joined))

    async def back(self, host: str, epoch: str) -> bool:
        """A host that was forgotten has ended what it had."""
        return await self._record.back(host, epoch)

    async def claim_next(self, host: str, offer: MemberOffer) -> MemberClaimed:
        """Claims the job whose turn it is among those that the host can run now."""
        claim = await self._record.claim_next(_OFFER.validate_python({**offer.model_dump(), "host": host}))
        if isinstance(claim, Claim):
            return MemberClaimed(claim=MemberClaim(**asdict(claim)))
        return MemberClaimed(why=claim)

    async def claims_of(self, host: str, after: str) -> MemberClaims:
        """The host's claims with ids behind `after`, as many as one answer may have."""
        claims = sorted(await self._record.claims_of(host), key=lambda claim: claim.job_id)
        left = [claim for claim in claims if claim.job_id > after]
        shown = [MemberClaim(**asdict(claim)) for claim in _first(left)]
        return MemberClaims(claims=shown, more=len(shown) < len(left))

    async def confirm(self, host: str, asked: MemberConfirmation) -> MemberStep:
        """Whether a claim still holds, right before the job is given to the host's agent."""
        return _step(await self._record.confirm(asked.job_id, host, asked.epoch, asked.fence))

    async def acknowledge(self, host: str, hold: MemberHold) -> MemberStep:
        """The host's agent has the job."""
        return _step(await self._record.acknowledge(hold.job_id, host, hold.fence))

    async def release(self, host: str, release: MemberRelease) -> MemberStep:
        """The host's agent will never have the job."""
        return _step(
            await self._record.release(release.job_id, host, release.fence, elsewhere=release.elsewhere)
        )

    async def project(self, host: str, told: MemberProjection) -> MemberStep:
        """A revision of a job. What it says of status and end is read from the job itself.

        Raises `AgentError` (forbidden) where it names another host, or another owner than the record does.
        """
        job = told.job
        known = await self._record.job(job.job_id)
        if known is None or known.get("host") != host:
            return _step(Step.STALE)
        for name, value, right in (("host", job.host, host), ("owner", job.owner, known["owner"])):
            if value != right:
                wrong = FieldError(f"job.{name}", "must be what the record has")
                raise AgentError(Problem.FORBIDDEN, "A job of the fleet changes neither.", "", (wrong,))
        return _step(await self._record.project(job.job_id, host, told.fence, Revision.of(job)))

    async def secret_news(self, host: str, after: int) -> SecretNews:
        """What has changed of users' secrets, as soon as something has, or nothing after a while."""
        for _ in range(NEWS_LOOKS):
            if await self._record.has_secret_news(after):
                break
            await asyncio.sleep(NEWS_PAUSE)
        return await self._record.secret_news(host, after)

    async def sealed_secret(self, host: str, asked: MemberSecretOf) -> MemberSecret:
        """A user's secret in its newest version, sealed for the host."""
        return MemberSecret(secret=await self._record.sealed_secret(host, asked.user, asked.name))

    async def share_keys(self, asked: Reseal) -> int:
        """Keys that one host has sealed for another one; how many of them were still wanted."""
        return await self._record.share_keys(asked.to, asked.secrets)

    async def tell_secrets(self, host: str, told: MemberSecrets) -> None:
        """Which secrets the host has."""
        held: dict[str, HeldSecret | None] = {held_name(each.user, each.name): each for each in told.secrets}
        held |= dict.fromkeys(held_name(each.user, each.name) for each in told.gone)
        await self._record.tell_secrets(host, held, whole=told.whole)


def _step(step: Step) -> MemberStep:
    return MemberStep(step=step)


def _first(claims: Sequence[Claim]) -> Iterator[Claim]:
    """The first one, and as many more as fit into one answer."""
    size = 0
    for number, claim in enumerate(claims):
        size += len(claim.request)
        if number and (size > MAX_REQUESTS or number >= MAX_CLAIMS):
            return
        yield claim
