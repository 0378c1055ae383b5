"""What a host and the programs of its fleet tell each other."""

from typing import Annotated

from pydantic import Field

from .base import HostName, JobId, Model, NetworkName
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


class Room(Model):
    """What a host can still give to jobs of its fleet.

    `others` is what jobs that the fleet did not give to the host take of its capacity, or wait for.
    `ends_in_seconds` is within how many seconds everything that runs now must have ended. While it is
    `draining`, a host starts nothing.
    """

    host: HostName
    draining: bool
    capacity: Resources
    free: Resources
    others: Resources
    ends_in_seconds: float
    networks: list[NetworkName]
    image: str
    image_digest: str
