"""Each bound takes from whoever has most, oldest first, no more than it must; age is the same for all."""

from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.job import RetentionRule
from agent.model.retention import NEVER_RAN, RAN, FinishedJob, Holding
from agent.retention.rules import AMOUNTS, Bound, Due, Rules, held, without

OWNERS = ("alice", "bob", "carol", "dan")
HOURS = st.integers(0, 400)

histories = st.lists(
    st.tuples(st.sampled_from(OWNERS), st.sampled_from((NEVER_RAN, RAN)), HOURS, st.integers(0, 100)),
    max_size=30,
).map(
    lambda jobs: [
        FinishedJob(
            record_bytes=1 + size % 7,
            bytes=size,
            files=1 + size % 5,
            job_id=f"job-{number}",
            owner=owner,
            held_as=kind,
            ages_from=float(ended),
        )
        for number, (owner, kind, ended, size) in enumerate(sorted(jobs, key=lambda job: job[2]))
    ]
)
bounds = st.sampled_from(AMOUNTS).flatmap(
    lambda amount: st.builds(Bound, st.just(amount), st.integers(0, 300), st.just(RetentionRule.COUNT))
)
rules = st.builds(
    Rules, st.integers(-1, 200), st.integers(200, 500), st.lists(bounds, max_size=2, unique=True).map(tuple)
)


def sums(jobs: Iterable[FinishedJob]) -> list[Holding]:
    """What these jobs are together."""
    totals: dict[tuple[str, str], Counter[str]] = {}
    for job in jobs:
        amounts = totals.setdefault((job.owner, job.held_as), Counter())
        amounts.update({name: getattr(job, name) for name in AMOUNTS})
    return [
        Holding(**{name: amounts[name] for name in AMOUNTS}, owner=owner, held_as=kind)
        for (owner, kind), amounts in totals.items()
    ]


def total(jobs: Iterable[FinishedJob], bound: Bound, *, owner: str = "", kind: str = "") -> int:
    chosen = (job for job in jobs if owner in ("", job.owner) and kind in ("", job.held_as))
    return sum(getattr(job, bound.amount) for job in chosen)


def kept(jobs: list[FinishedJob], due: list[Due]) -> list[FinishedJob]:
    gone = {each.job.job_id for each in due}
    return [job for job in jobs if job.job_id not in gone]


@given(histories, rules)
def test_age_is_the_same_for_all_and_what_is_untouchable_stays(jobs: list[FinishedJob], rule: Rules) -> None:
    due = rule.due(jobs, sums(jobs))
    for each in due:
        assert each.job.ages_from <= rule.untouchable
        assert (each.rule is RetentionRule.AGE) == (each.job.ages_from <= rule.expired)
    assert all(job.ages_from > rule.expired for job in kept(jobs, due))


@given(histories, rules)
def test_within_an_owner_the_oldest_of_a_kind_go_first(jobs: list[FinishedJob], rule: Rules) -> None:
    due = rule.due(jobs, sums(jobs))
    for owner in OWNERS:
        for kind in (NEVER_RAN, RAN):
            mine = [job for job in jobs if (job.owner, job.held_as) == (owner, kind)]
            gone = [each.job for each in due if each.job in mine]
            assert gone == mine[: len(gone)]


@given(histories, rules)
def test_the_bounds_hold_but_for_what_is_untouchable(jobs: list[FinishedJob], rule: Rules) -> None:
    left = kept(jobs, rule.due(jobs, sums(jobs)))
    if all(job.ages_from <= rule.untouchable for job in jobs):
        for bound in rule.bounds:
            assert total(left, bound) <= bound.most


@given(histories, bounds, st.integers(0, 400))
def test_nobody_loses_anything_within_an_equal_share(
    jobs: list[FinishedJob], bound: Bound, untouchable: int
) -> None:
    """The share is of the bound, among those who have anything, whatever the others have or hide."""
    due = Rules(-1, untouchable, (bound,)).due(jobs, sums(jobs))
    owners = {job.owner for job in jobs}
    for owner in owners:
        if total(jobs, bound, owner=owner, kind=RAN) * len(owners) <= bound.most:
            assert not [each for each in due if (each.job.owner, each.job.held_as) == (owner, RAN)]


@given(histories, bounds)
def test_whoever_loses_something_keeps_as_much_as_anybody_to_a_job(
    jobs: list[FinishedJob], bound: Bound
) -> None:
    due = Rules(-1, 500, (bound,)).due(jobs, sums(jobs))
    left = kept(jobs, due)
    for kind in (NEVER_RAN, RAN):
        for loser in {each.job.owner for each in due if each.job.held_as == kind}:
            last = [each.job for each in due if (each.job.owner, each.job.held_as) == (loser, kind)][-1]
            had = total(left, bound, owner=loser, kind=kind) + getattr(last, bound.amount)
            assert all(had >= total(left, bound, owner=other, kind=kind) for other in OWNERS)


@given(histories, bounds)
def test_no_more_goes_than_must(jobs: list[FinishedJob], bound: Bound) -> None:
    """Without its last job, each owner's loss would leave too much."""
    due = Rules(-1, 500, (bound,)).due(jobs, sums(jobs))
    losers = {(each.job.owner, each.job.held_as): each.job for each in due}  # the last one of each
    spared = kept(jobs, [each for each in due if each.job not in losers.values()])
    if due:
        assert total(spared, bound) > bound.most


@given(histories, bounds)
def test_jobs_that_never_ran_cost_no_job_that_ran(jobs: list[FinishedJob], bound: Bound) -> None:
    def that_ran(these: list[FinishedJob]) -> list[FinishedJob]:
        due = Rules(-1, 500, (bound,)).due(these, sums(these))
        return [each.job for each in due if each.job.held_as == RAN]

    assert that_ran(jobs) == that_ran([job for job in jobs if job.held_as == RAN])


@given(histories, rules, st.integers(1, 5))
def test_the_same_jobs_are_due_in_steps_and_at_once(jobs: list[FinishedJob], rule: Rules, step: int) -> None:
    """A step sees the oldest of each kind, and takes some of what is due."""
    at_once = kept(jobs, rule.due(jobs, sums(jobs)))
    left = jobs
    while True:
        seen = [
            job
            for job in left
            if [each for each in left if (each.owner, each.held_as) == (job.owner, job.held_as)].index(job)
            < step
        ]
        due = rule.due(seen, sums(left), limit=step)
        if not due:
            break
        left = kept(left, due)
    assert left == at_once


@given(histories)
def test_what_is_held_without_some_jobs_is_what_the_others_are(jobs: list[FinishedJob]) -> None:
    some, others = jobs[::2], jobs[1::2]
    assert [each for each in without(sums(jobs), some) if each.jobs] == sorted_as(sums(others), sums(jobs))
    assert {(each.owner, each.held_as): each.jobs for each in held(jobs)} == {
        (each.owner, each.held_as): each.jobs for each in sums(jobs)
    }


def sorted_as(holdings: list[Holding], order: list[Holding]) -> list[Holding]:
    """The holdings in the order of others."""
    kinds = [(each.owner, each.held_as) for each in order]
    return sorted(holdings, key=lambda each: kinds.index((each.owner, each.held_as)))


@pytest.mark.parametrize("amount", AMOUNTS)
def test_a_flood_of_jobs_deletes_nothing_of_another_user(amount: str) -> None:
    def jobs(owner: str, kind: str, count: int, size: int, since: int) -> list[FinishedJob]:
        return [
            FinishedJob(1, size, size, size, f"{owner}-{since + n}", owner, kind, ages_from=float(since + n))
            for n in range(count)
        ]

    bobs = jobs("bob", RAN, 20, 1, 0)  # the oldest of all
    cancelled = jobs("alice", NEVER_RAN, 1000, 1, 100)
    large = jobs("alice", RAN, 5, 64, 2000)
    history = [*bobs, *cancelled, *large]
    bound = Bound(amount, 100, RetentionRule.COUNT)
    due = Rules(-1.0, 10_000.0, (bound,)).due(history, sums(history))
    assert {each.job.owner for each in due} == {"alice"}
    assert total(kept(history, due), bound) <= 100
    assert kept(history, due)[:20] == bobs
