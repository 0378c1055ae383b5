"""The host's capacity, its queue, and what a unit uses."""

from datetime import datetime

from .base import JobId, Model, Time, UserName


class QueuePlace(Model):
    """Where a waiting job stands: `position` in the line, from 1, and what it `waits_for`, for people."""

    position: int
    waits_for: str


class Use(Model):
    """What a user had of the host of late: seconds of the whole of it, decayed to the time `at`."""

    owner: UserName
    seconds: float
    at: datetime


class Versions(Model):
    """Of what runs the jobs; one that does not answer is absent."""

    agent: str
    systemd: str | None = None
    podman: str | None = None


class Resources(Model):
    """What jobs take of the host: places, and the sums of their limits."""

    jobs: int
    cpus: float
    memory_bytes: int


class UserQueue(Model):
    """A user's jobs that have not ended, and what they had of late, in seconds of the whole host."""

    user: UserName
    waiting: int
    running: int
    recent_use_seconds: float


class Host(Model):
    """The host's capacity and its queue. `users` are those with jobs or recent use: oneself, or all."""

    versions: Versions
    capacity: Resources
    in_use: Resources
    waiting: int
    running: int
    users: list[UserQueue]


class Usage(Model):
    """What a job's unit uses now, as systemd counts it; what the host does not count is absent.

    `cpu_seconds` are since its start, of all its CPUs together.
    """

    job_id: JobId
    at: Time
    cpu_seconds: float | None = None
    memory_bytes: int | None = None
    memory_peak_bytes: int | None = None
    tasks: int | None = None
