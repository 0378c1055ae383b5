"""What explains a job: why it waits, why it ended as it did, and what would help."""

from enum import StrEnum

from .base import JobId, Model
from .job import JobState


class EvidenceSource(StrEnum):
    """Where a piece of evidence was found."""

    RECORD = "record"
    QUEUE = "queue"
    LOG = "log"
    USAGE = "usage"


class Evidence(Model):
    """One thing that an explanation rests on. `line` is the number of a line of the log."""

    source: EvidenceSource
    text: str
    line: int | None = None


class Explanation(Model):
    """One true sentence, what would help, and the evidence, the most telling first.

    Nothing may help, and nothing need be wrong: then `advice` is empty.
    """

    job_id: JobId
    status: JobState
    summary: str
    advice: list[str] = []
    evidence: list[Evidence] = []
