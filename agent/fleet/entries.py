"""What goes into the fleet's record, and what the record answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from ..model.job import Job, to_json
from ..scheduling.policy import Room

NOTHING = Room(0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A job that the fleet accepts. `need` names the tickets that announce it.

    `key` is the idempotency key, or empty. `digest` is the image that it must have, or empty. `secrets` says,
    by name, whether "any" secret will do, or only the owner's "own". The owner has at most `max_waiting`
    waiting jobs, and `max_record_bytes` of ended ones. `run_time` is its limit in seconds, `longest` the time
    after which it has surely ended. `again` says whether it is tried again where its host is lost.
    """

    id: str
    owner: str
    key: str = ""
    fingerprint: str = ""
    max_waiting: int
    max_record_bytes: int = 2**31
    script: str = ""
    rerun_of: str = ""
    need: str
    priority: int = 0
    millicpus: int
    memory_bytes: int
    run_time: float
    longest: float
    digest: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict)
    max_attempts: int = 1
    again: bool = False
    document: str
    request: str


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What a host offers in a claim. `others` is taken by jobs that the fleet did not give to it.

    These have all ended within `ends_in` seconds. `digests` are its images. The host is drained in
    `closes_in` seconds: jobs that could still run then are for others.
    """

    host: str
    epoch: str
    capacity: Room
    others: Room = NOTHING
    ends_in: float = 0.0
    needs: tuple[str, ...]
    digests: tuple[str, ...] = ()
    closes_in: float | None = None


@dataclass(frozen=True)
class Claim:
    """A job that a host has claimed. `fence` is of this claim: an older one counts for nothing."""

    job_id: str
    fence: str
    attempt: int
    owner: str
    request: str


@dataclass(frozen=True)
class Revision:
    """A revision of a job as its host's agent has committed it; `document` is the job in JSON.

    `attempt` is the host's own count, from 1.
    """

    number: int
    status: str
    reason: str
    ended: bool
    document: str
    attempt: int = 1

    @classmethod
    def of(cls, job: Job) -> Self:
        """The job's revision."""
        ended = job.status.terminal
        return cls(job.revision, job.status, job.reason or "", ended, to_json(job), job.attempt)


class NoClaim(StrEnum):
    """Why a host has claimed nothing."""

    EMPTY = "empty"  # nothing waits for what it offers
    NONE_FITS = "none-fits"  # what waits does not fit now
    FULL = "full"
    DRAINING = "draining"
    NO_IMAGE = "no-image"  # the host lacks the image of jobs, and each of them would fail
    FENCED = "fenced"  # the fleet has forgotten the host

    @classmethod
    def _missing_(cls, value: object) -> "NoClaim":
        """What a front of a later version says: the host asks again, as for what does not fit now."""
        return cls.NONE_FITS


class Step(StrEnum):
    """The answer to a host's word about a job that it has claimed."""

    OK = "ok"
    CANCELLED = "cancelled"  # its end was asked for
    GIVEN = "given"  # the host's agent has had the job
    OLD = "old"  # the record knows this revision, or a later one
    STALE = "stale"  # the job is another host's now, or has ended


class Ending(StrEnum):
    """What became of a request to end a job."""

    ENDED = "ended"
    ON_HOST = "on"  # its host must end it
    OVER = "over"
    ABSENT = "absent"


@dataclass(frozen=True, kw_only=True)
class HostReport:
    """What a host says of itself when it joins, and again whenever that changes.

    `url` is the address of its agent, `networks` are the needs that it serves, `versions` those of its
    programs. `secrets_key` is the key for which secrets are sealed, a `HostKey` in JSON. `others` is taken by
    jobs that the fleet did not give to it. A host that is `draining` by its own agent's word claims nothing.
    """

    capacity: Room
    url: str = ""
    image: str = ""
    image_digest: str = ""
    networks: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    secrets_key: str = ""
    others: Room = NOTHING
    draining: bool = False


@dataclass(frozen=True)
class Joined:
    """The answer to a host that joins: its epoch, and which of its jobs it must end.

    A host that was forgotten meanwhile is not `known`: it must end what it has, and then call `back`.
    """

    known: bool
    epoch: str
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class HostRow:
    """A host as the record has it; `seen` and `gone` are in seconds since 1970 by the clock of Redis.

    A `barred` host is answered nothing, whatever its certificate.
    """

    name: str
    epoch: str
    seen: float
    gone: float | None
    draining: bool
    jobs: int
    report: HostReport
    barred: bool = False

    @property
    def belongs(self) -> bool:
        """Whether the host is of the fleet now: neither forgotten nor barred."""
        return self.gone is None and not self.barred

    @property
    def capacity(self) -> Room:
        """What the host gives to jobs."""
        return self.report.capacity
