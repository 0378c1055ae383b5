"""What goes into the fleet's record, and what the record answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ..scheduling.policy import Room

NOTHING = Room(0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A job that the fleet accepts. `need` names the tickets that announce it.

    `key` is the idempotency key, or empty. `digest` is the image that it must have, or empty, and `secrets`
    are the versions of those that it gets. `run_time` is its limit in seconds, `longest` the time after which
    it has surely ended. `again` says whether it is tried again where its host is lost.
    """

    id: str
    owner: str
    key: str = ""
    fingerprint: str = ""
    max_waiting: int
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

    These have all ended within `ends_in` seconds. `digests` are its images, `secrets` the versions it has.
    """

    host: str
    epoch: str
    capacity: Room
    others: Room = NOTHING
    ends_in: float = 0.0
    needs: tuple[str, ...]
    digests: tuple[str, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """A job that a host has claimed. `fence` is of this claim: an older one counts for nothing."""

    job_id: str
    fence: str
    attempt: int
    owner: str
    request: str


class NoClaim(StrEnum):
    """Why a host has claimed nothing."""

    EMPTY = "empty"  # nothing waits for what it offers
    NONE_FITS = "none-fits"  # what waits does not fit now
    FULL = "full"
    DRAINING = "draining"
    FENCED = "fenced"  # the fleet has forgotten the host


class Step(StrEnum):
    """The answer to a host's word about a job that it has claimed."""

    OK = "ok"
    CANCELLED = "cancelled"  # its end was asked for
    OLD = "old"  # the record knows this revision, or a later one
    STALE = "stale"  # the job is another host's now, or has ended


class Ending(StrEnum):
    """What became of a request to end a job."""

    ENDED = "ended"
    ON_HOST = "on"  # its host must end it
    OVER = "over"
    ABSENT = "absent"


@dataclass(frozen=True)
class HostRow:
    """A host as the record has it; `seen` and `gone` are in seconds since 1970 by the clock of Redis."""

    name: str
    epoch: str
    seen: float
    gone: float | None
    draining: bool
    capacity: Room
    jobs: int
