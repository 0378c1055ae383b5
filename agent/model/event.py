"""The events of `/events`, except jobs themselves."""

from .base import JobId, Model, UserName
from .host import QueuePlace
from .job import Job
from .metric import MetricName, MetricPoint, Progress


class JobQueuePlace(QueuePlace):
    """The place of a waiting job."""

    job_id: JobId


class JobRemoved(Model):
    """A job whose record was removed."""

    job_id: JobId


class Reset(Model):
    """Discard what you know; a complete list follows. `why` says why."""

    why: str


class Current(Model):
    """You are up to date. `jobs` is how many were in the complete list, if there was one."""

    jobs: int | None = None


class Change(Model):
    """The newest change of a job: its number, and the job after it, or None if it was removed."""

    seq: int
    job_id: JobId
    owner: UserName
    job: Job | None


class History(Model):
    """The changes that are known: those after `forgotten` up to `newest`, of the store `epoch`."""

    epoch: str
    forgotten: int
    newest: int


class JobProgress(Progress):
    """The progress of a job."""

    job_id: JobId


class JobMetric(MetricPoint):
    """The newest value of a metric of a job."""

    job_id: JobId
    name: MetricName
