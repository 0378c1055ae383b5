"""What a host and the programs of its fleet tell each other."""

from typing import Annotated

from pydantic import Field

from .base import HostName, JobId, Model, NetworkName, SecretName, Time, UserName
from .host import Resources
from .job import JobRequest

# The names in certificates of the fleet's authority, which clients ask for by SNI. Users' clients ask for the
# machine's own name, and are shown a certificate that they trust.
FRONT_SERVER_NAME = "front.fleet.internal"


def host_server_name(host: str) -> str:
    """The name in the certificate with which a host's agent answers the fleet's programs."""
    return f"{host}.hosts.fleet.internal"


class GivenJob(Model):
    """The body of `POST /fleet/jobs`: a job that a fleet gives to this host, under the fleet's own id.

    `key` names one attempt of the fleet to run it. `not_after` is a deadline in seconds of the host's boot
    clock (CLOCK_BOOTTIME of clock_gettime(2)): a member that was asleep meanwhile comes too late.
    """

    job_id: JobId
    key: Annotated[str, Field(pattern=r"^[!-~]{1,64}$")]
    not_after: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    request: JobRequest


# Bytes of base64, and their bounds: a key of X25519, a signature of ECDSA, a certificate, a sealed key.
Base64 = r"^[A-Za-z0-9+/]*={0,2}$"
SealedKey = Annotated[str, Field(pattern=Base64, max_length=128)]
# Microseconds since 1970, and a random part.
SecretVersion = Annotated[str, Field(pattern=r"^[0-9]{16}-[0-9a-f]{16}$")]

MAX_SECRET_BYTES = 65_536  # of a value that is set at a fleet: a body of a host's agent holds it sealed
MAX_RESEALED = 100  # keys in one request


class HostKey(Model):
    """The public key (X25519, base64) for which a host's secrets are sealed.

    `signature` (ECDSA with SHA-256, DER in base64) is by the key of the host's server certificate
    (`certificate`, DER in base64).
    """

    host: HostName
    public_key: Annotated[str, Field(pattern=Base64, max_length=44)]
    certificate: Annotated[str, Field(pattern=Base64, max_length=8192)]
    signature: Annotated[str, Field(pattern=Base64, max_length=256)]


class SealedSecret(Model):
    """A version of a user's secret: the value, encrypted with a `key` that is sealed for this host."""

    version: SecretVersion
    key: SealedKey
    value: Annotated[str, Field(pattern=Base64, max_length=(MAX_SECRET_BYTES + 30) // 3 * 4)]


class RemovedSecret(Model):
    """A user's secret was removed: what this host has of it up to `version` is to go."""

    version: SecretVersion


class SealedFor(Model):
    """The key of one version of a user's secret, sealed for a host."""

    user: UserName
    name: SecretName
    version: SecretVersion
    key: SealedKey


class Reseal(Model):
    """Keys that are sealed for this host, and the host `to` for which it is to seal them."""

    to: HostKey
    secrets: Annotated[list[SealedFor], Field(max_length=MAX_RESEALED)]


class Resealed(Model):
    """The same keys, sealed for the other host. One that this host cannot open is left out."""

    secrets: list[SealedFor]


class OwnersSecrets(Model):
    """The newest versions of a user's secrets, by name; what is not there was removed.

    `as_of` is the version of the newest change, which is later than all before, and `by` who made it: user,
    role and source.
    """

    owner: UserName
    as_of: SecretVersion
    by: str
    versions: dict[SecretName, SecretVersion]


class SecretNews(Model):
    """What has changed of the fleet's secrets up to a `number`; `more` says whether to ask again at once.

    `time` is the record's, in microseconds since 1970. The host is asked to `reseal` what it can open.
    """

    number: int
    time: int
    owners: list[OwnersSecrets]
    more: bool
    reseal: Reseal | None = None


class SealedForHost(SealedSecret):
    """A secret in its newest version, which `by` has set. `key` is empty until it is sealed for the host."""

    by: str


class HeldSecret(Model):
    """A secret that this host has. One for everybody has no `user`, one that was set here no `version`."""

    name: SecretName
    user: UserName | None = None
    version: SecretVersion | None = None
    created_at: Time
    updated_at: Time


class HeldSecrets(Model):
    """Every secret that this host has. `revision` changes with the list."""

    revision: str
    secrets: list[HeldSecret]


class ToldJobs(Model):
    """The body of `POST /fleet/told`: jobs of whose end the fleet has heard."""

    job_ids: Annotated[list[JobId], Field(min_length=1, max_length=100)]


class Room(Model):
    """What a host can still give to jobs of its fleet.

    `others` is what jobs that the fleet did not give to the host take of its capacity, or wait for.
    `ends_in_seconds` is within how many seconds everything that runs now must have ended. While it is
    `draining`, a host starts nothing; a drain that is planned begins in `closes_in_seconds`. `secrets` is the
    revision of its `HeldSecrets`, and `secrets_key` the key for which secrets are sealed for it.
    """

    host: HostName
    draining: bool
    capacity: Resources
    free: Resources
    others: Resources
    ends_in_seconds: float
    closes_in_seconds: float | None = None
    networks: list[NetworkName]
    image: str
    image_digest: str
    secrets: str = ""
    secrets_key: HostKey | None = None
