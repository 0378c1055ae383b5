"""What is right for a fleet, whatever was killed, by what agents have on disk and what the record says."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from agent.fleet.record import Record

from .agents import Start

PORTION = 500  # jobs of one answer


@dataclass
class Told:
    """What clients and operators were told."""

    accepted: dict[str, str] = field(default_factory=dict)  # by idempotency key: the id of its 202
    cancelled: set[str] = field(default_factory=set)  # jobs that had ended, CANCELLED, when that was answered
    forgotten: dict[tuple[str, str, int], float] = field(default_factory=dict)  # host, id and attempt: when


@dataclass(frozen=True)
class Verdict:
    """Each broken promise, in words, by its kind."""

    lost: list[str]
    twice: list[str]
    late: list[str]
    untrue: list[str]
    ended: Mapping[str, int]

    @property
    def good(self) -> bool:
        """Whether nothing is broken."""
        return not (self.lost or self.twice or self.late or self.untrue)

    def __str__(self) -> str:
        ends = ", ".join(f"{count} {name}" for name, count in sorted(self.ended.items()))
        counts = (f"{name} {len(getattr(self, name))}" for name in ("lost", "twice", "late", "untrue"))
        return f"{ends or 'nothing ended'}; {', '.join(counts)}"


async def judged(record: Record, told: Told, starts: Iterable[Start]) -> Verdict:
    """The verdict, when everything has settled or enough time has passed."""
    ids, rows = list(told.accepted.values()), dict[str, dict[str, str]]()
    for at in range(0, len(ids), PORTION):
        rows |= await record.jobs(ids[at : at + PORTION])
    starts = list(starts)
    known = Counter((start.job_id, start.attempt) for start in starts)
    begun = {start.job_id for start in starts}
    ends = Counter(row["status"] for row in rows.values() if row["state"] == "ended")
    return Verdict(
        lost=[job_id for job_id in ids if rows.get(job_id, {}).get("state") != "ended"],
        twice=[f"{job_id}, attempt {attempt}" for (job_id, attempt), count in known.items() if count > 1],
        late=[str(start) for start in starts if start.at > told.forgotten.get(_key(start), start.at)],
        untrue=[
            *(f"{job_id} was cancelled and has begun" for job_id in told.cancelled & begun),
            *(
                f"{job_id} has completed and never began"
                for job_id, row in rows.items()
                if row["status"] == "COMPLETED" and job_id not in begun
            ),
            *(f"{job_id} of no submission has begun" for job_id in begun - set(ids)),
        ],
        ended=ends,
    )


def _key(start: Start) -> tuple[str, str, int]:
    return start.host, start.job_id, start.attempt
