"""What `/events` sends besides jobs themselves."""

from .base import JobId, Model, UserName
from .host import QueuePlace
from .job import Job
from .metric import MetricName, MetricPoint, Progress


class JobQueuePlace(QueuePlace):
    """The place of a waiting job, in an event of its own."""

    job_id: JobId


class JobRemoved(Model):
    """A job that is no more: its record was removed."""

    job_id: JobId


class Reset(Model):
    """Why a watcher begins anew: what was known before counts no more, and what there is follows."""

    why: str


class Current(Model):
    """Everything up to here has been told: `jobs` of them in the snapshot, where there was one."""

    jobs: int | None = None


class Change(Model):
    """The newest change of a job: its number, and the job as it is since then, or None once removed."""

    seq: int
    job_id: JobId
    owner: UserName
    job: Job | None


class History(Model):
    """Which changes are known: those after `forgotten`, up to `newest`, of one store (`epoch`)."""

    epoch: str
    forgotten: int
    newest: int


class JobProgress(Progress):
    """A job's progress, in an event of its own."""

    job_id: JobId


class JobMetric(MetricPoint):
    """A metric's newest value, in an event of its own."""

    job_id: JobId
    name: MetricName
