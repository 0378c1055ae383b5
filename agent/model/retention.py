"""Finished jobs as retention sees them."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class FinishedJob:
    """A job that has ended. `bytes` is the size of its directory on the disk when it was measured."""

    job_id: str
    finished_at: datetime
    bytes: int = 0


@dataclass(frozen=True)
class Totals:
    """Finished jobs that are not pinned: their number and the bytes of their files; then pinned jobs."""

    jobs: int
    bytes: int
    pinned: int
    pinned_bytes: int
