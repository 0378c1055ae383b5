"""The host's capacity, its queue, and what a unit uses."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from .base import HostName, JobId, Model, Text, Time, UserName

MAX_DRAIN_REASON = 200  # characters


class QueuePlace(Model):
    """The place of a waiting job: `position` in the queue, from 1, and a sentence on what it waits for."""

    position: int
    waits_for: str


class Use(Model):
    """A user's recent use in seconds of the whole host, decayed to the time `at`."""

    owner: UserName
    seconds: float
    at: datetime


class Versions(Model):
    """The versions of what runs jobs. One that does not answer is absent."""

    agent: str
    systemd: str | None = None
    podman: str | None = None


class Resources(Model):
    """How many jobs, and the sums of their limits."""

    jobs: int
    cpus: float
    memory_bytes: int


class UserQueue(Model):
    """How many jobs of a user wait and run, and the user's recent use in seconds of the whole host."""

    user: UserName
    waiting: int
    running: int
    recent_use_seconds: float


class HostEntry(Model):
    """One host of a fleet. `reachable`: it was heard of lately, the last time at `seen_at`.

    It starts no jobs while it is `draining`. A `forgotten` host counts no more, until it comes back.
    """

    name: HostName
    reachable: bool
    seen_at: Time
    draining: bool
    forgotten: bool = False
    capacity: Resources
    in_use: Resources
    versions: Versions | None = None


class Drain(Model):
    """When the host runs no jobs: from `begins_at` until `ends_at`, or until its operator resumes it."""

    begins_at: Time
    ends_at: Time | None = None
    reason: Annotated[Text, Field(max_length=MAX_DRAIN_REASON)] = ""

    def over(self, moment: datetime) -> bool:
        """Whether it has ended by itself."""
        return self.ends_at is not None and self.ends_at <= moment


class HostList(Model):
    """The hosts of a fleet, by name. An agent that is no front of a fleet has none to list."""

    hosts: list[HostEntry]


class Host(Model):
    """Capacity, use and queue. `users` lists users with jobs or recent use, or only the one who asks.

    `drain` is there while the host is drained, or a drain is planned. For a fleet, the numbers are sums over
    its `hosts`.
    """

    versions: Versions
    capacity: Resources
    in_use: Resources
    waiting: int
    running: int
    users: list[UserQueue]
    drain: Drain | None = None
    hosts: list[HostEntry] | None = None


class Usage(Model):
    """What a job's unit uses now, by systemd's count. What the host does not count is absent.

    `cpu_seconds` is the CPU time since the unit's start, summed over CPUs.
    """

    job_id: JobId
    at: Time
    cpu_seconds: float | None = None
    memory_bytes: int | None = None
    memory_peak_bytes: int | None = None
    tasks: int | None = None
