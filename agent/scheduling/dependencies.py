"""Waiting jobs that are held back until others have ended.

An end costs what depends on that job, however many jobs wait.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .policy import Waiting


@dataclass(frozen=True, slots=True)
class _Held:
    """A held job. `left` are the jobs that it waits for; `depth` counts it and those before it in a row."""

    job: Waiting
    left: dict[str, None]
    depth: int


class Dependencies:
    """The held jobs, oldest first, and which of them wait for a job."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}
        self._dependents: defaultdict[str, dict[str, None]] = defaultdict(dict)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._held

    def held(self, job_id: str) -> Waiting:
        """A held job. Raises `KeyError` for others."""
        return self._held[job_id].job

    def jobs(self) -> Iterator[Waiting]:
        """The held jobs, oldest first."""
        return (held.job for held in self._held.values())

    def depth(self, others: Iterable[str]) -> int:
        """How many jobs in a row would wait for one another, with one that waits for these."""
        return 1 + max((self._held[each].depth for each in others if each in self._held), default=0)

    def hold(self, job: Waiting, others: Iterable[str]) -> None:
        """Holds a job back until `release` was called for each of the others, which have not ended."""
        left = dict.fromkeys(others)
        self._held[job.job_id] = _Held(job, left, self.depth(left))
        for other in left:
            self._dependents[other][job.job_id] = None

    def drop(self, job_id: str) -> None:
        """Holds a job no longer, if it was held: it has ended."""
        if held := self._held.pop(job_id, None):
            for other in held.left:
                del self._dependents[other][job_id]
                if not self._dependents[other]:
                    del self._dependents[other]

    def release(self, other: str) -> list[Waiting]:
        """The jobs that wait for none any more, now that the other one has COMPLETED."""
        released = []
        for job_id in self._dependents.pop(other, ()):
            held = self._held[job_id]
            del held.left[other]
            if not held.left:
                released.append(self._held.pop(job_id).job)
        return released

    def give_up(self, other: str) -> list[str]:
        """The ids of the jobs that waited for the other one, which has ended without having COMPLETED."""
        given_up = list(self._dependents.get(other, ()))
        for job_id in given_up:
            self.drop(job_id)
        return given_up

    def reasons(self) -> Iterator[tuple[str, str]]:
        """What each held job waits for, by its id, oldest first: completes "it waits for"."""
        for job_id, held in self._held.items():
            first, *others = held.left
            more = f" and {len(others)} more" if others else ""
            yield job_id, f"job {first}{more} to complete"
