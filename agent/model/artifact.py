"""The files that a job left behind."""

from .base import JobId, Model


class Artifact(Model):
    """A file that a job left in /artifacts. `path` is relative to that directory, with `/` as separator."""

    path: str
    size: int
    sha256: str
    media_type: str


class ArtifactManifest(Model):
    """The files that a job left. `complete`: the job has ended, and the list is final."""

    job_id: JobId
    complete: bool
    artifacts: list[Artifact]
    skipped: list[str] = []
