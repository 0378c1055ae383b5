"""What members of a fleet and its fronts tell each other. No body names the host: its certificate does."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from .base import JobId, Model, NetworkName, SecretName, UserName
from .fleet import HeldSecret, SealedForHost
from .job import Job

Number = Annotated[str, Field(pattern=r"^[0-9]{1,20}$")]  # of an epoch, or of a claim
Url = Annotated[str, Field(pattern=r"^(https://[A-Za-z0-9.:\[\]-]+)?$", max_length=300)]
Word = Annotated[str, Field(pattern=r"^[!-~]*$", max_length=300)]
Name = Annotated[str, Field(pattern=r"^[!-~]+$", max_length=130)]


class Amount(Model):
    """An amount of each resource that jobs take; CPUs are in thousandths."""

    jobs: Annotated[int, Field(ge=0, le=1000)]
    millicpus: Annotated[int, Field(ge=0, le=4_096_000)]
    memory_bytes: Annotated[int, Field(ge=0, le=2**50)]


class MemberReport(Model):
    """The body of `POST /fleet/member/join`: what `fleet.entries.HostReport` says of the host."""

    capacity: Amount
    url: Url = ""
    image: Word = ""
    image_digest: Word = ""
    networks: Annotated[list[NetworkName], Field(max_length=100)] = []
    versions: Annotated[Mapping[Name, Word], Field(max_length=20)] = {}
    secrets_key: Annotated[str, Field(max_length=12_000)] = ""
    others: Amount = Amount(jobs=0, millicpus=0, memory_bytes=0)
    draining: bool = False


class MemberJoined(Model):
    """The answer: the host's epoch, whether it is known, and which of its jobs it must `stop`."""

    known: bool
    epoch: str
    stop: list[JobId] = []


class MemberOffer(Model):
    """The body of `POST /fleet/member/claim`: what `fleet.entries.Offer` says, without the host."""

    epoch: Number
    capacity: Amount
    others: Amount
    ends_in: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
    needs: Annotated[list[NetworkName], Field(min_length=1, max_length=100)]
    digests: Annotated[list[Word], Field(max_length=100)] = []
    closes_in: Annotated[float, Field(ge=0, le=1e10, allow_inf_nan=False)] | None = None


class MemberClaim(Model):
    """A job that the host has claimed, as `fleet.entries.Claim` has it; `request` is JSON."""

    job_id: JobId
    fence: str
    attempt: int
    owner: str
    request: str


class MemberClaimed(Model):
    """The answer to an offer: the claim, or `why` there is none."""

    claim: MemberClaim | None = None
    why: str = ""


class MemberClaims(Model):
    """Claims of the host in the order of their ids, and whether there are `more` behind the last one."""

    claims: list[MemberClaim]
    more: bool


class MemberEpoch(Model):
    """The body of `POST /fleet/member/back`."""

    epoch: Number


class MemberBack(Model):
    """The answer: whether the host begins as new."""

    back: bool


class MemberConfirmation(Model):
    """The body of `POST /fleet/member/confirm`."""

    job_id: JobId
    epoch: Number
    fence: Number


class MemberHold(Model):
    """The body of `POST /fleet/member/acknowledge`."""

    job_id: JobId
    fence: Number


class MemberRelease(MemberHold):
    """The body of `POST /fleet/member/release`; with `elsewhere`, the host does not get the job again."""

    elsewhere: bool


class MemberProjection(Model):
    """The body of `POST /fleet/member/project`: a revision of a job as the host's agent has committed it."""

    fence: Number
    job: Job


class MemberStep(Model):
    """The answer to a word about a claim, one of `fleet.entries.Step`."""

    step: str


class MemberSecretOf(Model):
    """The body of `POST /fleet/member/secret`."""

    user: UserName
    name: SecretName


class MemberSecret(Model):
    """The answer: the secret for the host that asks, if there is one of that name."""

    secret: SealedForHost | None = None


class MemberSecrets(Model):
    """The body of `POST /fleet/member/held`: what the host has, and what it no longer has.

    With `whole`, it has nothing else.
    """

    whole: bool
    secrets: Annotated[list[HeldSecret], Field(max_length=200)] = []
    gone: Annotated[list[MemberSecretOf], Field(max_length=200)] = []


class MemberShared(Model):
    """The answer to `POST /fleet/member/share`: how many of the keys were still wanted."""

    shared: int
