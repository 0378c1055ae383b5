"""Which finished jobs are due for removal: pure functions of the jobs and the site's rules.

A job is removed in three stages: its unit (what systemd remembers of it), its files (artifacts and log) and
its record. Each stage has an age, and bounds that all users share. `docs/retention.md` says why.
"""

import sys
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace

from ..model.job import RetentionRule
from ..model.retention import NEVER_RAN, RAN, AgeClock, Amounts, FinishedJob, Holding, Moment

Kind = tuple[str, str]  # an owner, and how the jobs are held
DAY = 24 * 3600.0  # seconds
DOUBTFUL_DAYS = 0.5

AMOUNTS = [field.name for field in fields(Amounts)]


@dataclass(frozen=True)
class Due:
    """A job that is due for a stage of removal, and the rule that applies."""

    job: FinishedJob
    rule: RetentionRule


@dataclass(frozen=True)
class Bound:
    """At most so much of `amount`, a field of `Amounts`, for all finished jobs together."""

    amount: str
    most: int
    rule: RetentionRule


@dataclass(frozen=True)
class Rules:
    """When jobs are due for a stage, in seconds of the clock of ages: those from before `expired` are.

    Those from after `untouchable` never are.
    """

    expired: float
    untouchable: float
    bounds: tuple[Bound, ...]

    def due(
        self, jobs: Iterable[FinishedJob], holdings: Iterable[Holding], *, limit: int = sys.maxsize
    ) -> list[Due]:
        """The first `limit` jobs that are due. `jobs` are the oldest of each owner and kind, oldest first.

        First the expired ones. Then each bound takes one job after the other from whoever has most, the
        oldest first, until it holds; and from jobs that never ran before any other. So nobody loses anything
        within an equal share. What is untouchable counts as if it could go: others do not make up for it.
        """
        old = [job for job in jobs if job.ages_from <= self.untouchable]
        due = [Due(job, RetentionRule.AGE) for job in old if job.ages_from <= self.expired]
        left = without(holdings, [one.job for one in due])
        amounts = {
            bound: {(each.owner, each.held_as): int(getattr(each, bound.amount)) for each in left}
            for bound in self.bounds
        }
        waiting: defaultdict[Kind, deque[FinishedJob]] = defaultdict(deque)
        for job in old[len(due) :]:
            waiting[job.owner, job.held_as].append(job)
        for bound in self.bounds:
            while len(due) < limit and (kind := _next(amounts[bound], bound.most, waiting)):
                job = waiting[kind].popleft()
                due.append(Due(job, bound.rule))
                for other in self.bounds:
                    amounts[other][kind] -= getattr(job, other.amount)
        return due[:limit]


def held(jobs: Iterable[FinishedJob]) -> list[Holding]:
    """What these jobs are together, by owner and kind."""
    counts = Counter((job.owner, job.held_as) for job in jobs)
    return [Holding(jobs=count, owner=owner, held_as=kind) for (owner, kind), count in counts.items()]


def without(holdings: Iterable[Holding], jobs: Iterable[FinishedJob]) -> list[Holding]:
    """What is held once these jobs are gone."""
    gone: defaultdict[Kind, Counter[str]] = defaultdict(Counter)
    for job in jobs:
        gone[job.owner, job.held_as].update({name: getattr(job, name) for name in AMOUNTS})
    return [
        replace(
            each, **{name: getattr(each, name) - gone[each.owner, each.held_as][name] for name in AMOUNTS}
        )
        for each in holdings
    ]


def _next(amounts: Mapping[Kind, int], most: int, waiting: Mapping[Kind, deque[FinishedJob]]) -> Kind | None:
    """Whose oldest job must go, so that all have `most` at most; None where nobody's must."""
    ran = {kind: amount for kind, amount in amounts.items() if kind[1] == RAN}
    never_ran = {kind: amount for kind, amount in amounts.items() if kind[1] == NEVER_RAN}
    for some, room in ((never_ran, max(0, most - sum(ran.values()))), (ran, most)):
        level = _level(some.values(), room)
        over = [kind for kind, amount in some.items() if amount > level and kind in waiting and waiting[kind]]
        if over:
            return max(over, key=lambda kind: (some[kind], kind))
    return None


def _level(amounts: Iterable[int], most: int) -> int:
    """What each may have at most, so that all fit: an equal share, and of what some do not take."""
    ascending = sorted(amounts)
    for number, amount in enumerate(ascending):
        share = most // (len(ascending) - number)
        if amount > share:
            return share
        most -= amount
    return max(ascending, default=0)


def doubt(clock: AgeClock, moment: Moment) -> str:
    """What the wall clock says and nothing confirms, in a sentence; empty where it is little."""
    days = clock.unconfirmed(moment) / DAY
    if moment.synchronised or abs(days) < DOUBTFUL_DAYS:
        return ""
    if days < 0:
        return f"The clock was set back by {-days:.1f} days, which retention has counted already."
    return f"Nothing confirms {days:.1f} days that the clock has passed: retention does not count them."
