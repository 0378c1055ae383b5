"""The list of jobs that an event stream describes."""

from dataclasses import dataclass, field

from ...model.event import JobProgress, JobQueuePlace, JobRemoved
from ...model.host import QueuePlace
from ...model.job import Job, JobState
from ...model.metric import Progress
from .http import decode, parse
from .stream import Event

RUNNING = (JobState.CREATED, JobState.RUNNING)


@dataclass
class JobList:
    """The jobs as of the last event. A snapshot takes effect when it is complete."""

    jobs: dict[str, Job] = field(default_factory=dict)
    progress: dict[str, Progress] = field(default_factory=dict)
    complete: bool = False
    _snapshot: dict[str, Job] | None = None

    def apply(self, event: Event) -> list[Job]:
        """Applies an event; returns the jobs that it changed, in the order of their rows."""
        value = parse(event.data)
        match event.name:
            case "reset":
                self._snapshot = {}
            case "job":
                job = decode(Job, value)
                if self._snapshot is None:
                    self._put(job)
                    return [job]
                self._snapshot[job.job_id] = job
            case "removed":
                self._drop(decode(JobRemoved, value).job_id)
            case "current":
                return self._complete_snapshot()
            case "queue":
                self._move(decode(JobQueuePlace, value))
            case "progress":
                progress = decode(JobProgress, value)
                self.progress[progress.job_id] = progress
            case _:
                pass  # an event of a newer agent
        return []

    def discard_snapshot(self) -> None:
        """Forgets a partial snapshot after a lost connection: the agent sends a whole one if it is needed."""
        self._snapshot = None

    def _complete_snapshot(self) -> list[Job]:
        self.complete = True
        if self._snapshot is None:
            return []
        known, self.jobs, self._snapshot = self.jobs, self._snapshot, None
        rows = (*reversed(self.ended()), *self.running(), *self.waiting())
        return [job for job in rows if not _same(job, known.get(job.job_id))]

    def _put(self, job: Job) -> None:
        self.jobs.pop(job.job_id, None)
        self.jobs[job.job_id] = job
        if job.status not in RUNNING:
            self.progress.pop(job.job_id, None)

    def _drop(self, job_id: str) -> None:
        self.jobs.pop(job_id, None)
        self.progress.pop(job_id, None)

    def _move(self, place: JobQueuePlace) -> None:
        if waiting := self.jobs.get(place.job_id):
            queue = QueuePlace(position=place.position, waits_for=place.waits_for)
            self.jobs[place.job_id] = waiting.model_copy(update={"queue": queue})

    def running(self) -> list[Job]:
        """The jobs that run or are being started, oldest first."""
        jobs = (job for job in self.jobs.values() if job.status in RUNNING)
        return sorted(jobs, key=lambda job: (job.started_at or job.created_at, job.job_id))

    def waiting(self) -> list[Job]:
        """The waiting jobs, in the order of the queue."""
        jobs = (job for job in self.jobs.values() if job.status is JobState.PENDING)
        return sorted(
            jobs, key=lambda job: (job.queue.position if job.queue else 1 << 30, job.created_at, job.job_id)
        )

    def ended(self, count: int | None = None) -> list[Job]:
        """The `count` jobs that ended last, or all that ended; newest first."""
        jobs = (job for job in self.jobs.values() if job.status.terminal)
        by_end = sorted(jobs, key=lambda job: (job.finished_at or job.created_at, job.job_id), reverse=True)
        return by_end[:count]


def _same(job: Job, known: Job | None) -> bool:
    return known is not None and known.revision == job.revision
