"""The files that a job left behind."""

from .base import JobId, Model


class Artifact(Model):
    """A file that a job left in /artifacts; `path` is relative, with `/` between its parts."""

    path: str
    size: int
    sha256: str
    media_type: str


class ArtifactManifest(Model):
    """What a job left behind; `complete` once the job has ended and nothing changes any more."""

    job_id: JobId
    complete: bool
    artifacts: list[Artifact]
    skipped: list[str] = []
