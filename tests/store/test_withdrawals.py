"""Withdrawals: recorded with their row of the audit, replaced, and removed."""

from agent.audit.chain import Caller
from agent.model.base import now
from agent.model.ref import Withdrawal
from agent.store.store import Store
from tests.support.jobs import make_job

ML = Caller(actor="ml", role="account", source="this host")


def withdrawal(commit: str = "a" * 40, **fields: object) -> Withdrawal:
    usual: dict[str, object] = {"commit": commit, "reason": "It leaks.", "by": "ml", "at": now()}
    return Withdrawal.model_validate(usual | fields)


async def actions(store: Store) -> list[tuple[str, str]]:
    rows = [row.content() for row in await store.audit.rows(0, 100)]
    return [(row["action"], row["subject"]) for row in rows]


async def test_a_withdrawal_is_read_back_with_its_row_of_the_audit(store: Store) -> None:
    first, second = withdrawal(stop_running=True), withdrawal("b" * 40)
    for each in (first, second):
        await store.withdrawals.withdraw(each, deed=ML.did("withdrawCommit", each.commit))
    assert await store.withdrawals.get(first.commit) == first
    assert await store.withdrawals.get("c" * 40) is None
    assert await store.withdrawals.all() == [first, second]
    assert await actions(store) == [("withdrawCommit", "a" * 40), ("withdrawCommit", "b" * 40)]


async def test_a_commit_has_one_withdrawal_at_most(store: Store) -> None:
    await store.withdrawals.withdraw(withdrawal())
    again = withdrawal(reason="It leaks more.", stop_running=True)
    await store.withdrawals.withdraw(again)
    assert await store.withdrawals.all() == [again]


async def test_restoring_removes_it_once(store: Store) -> None:
    known = withdrawal()
    await store.withdrawals.withdraw(known)
    deed = ML.did("restoreCommit", known.commit)
    assert await store.withdrawals.restore(known.commit, deed=deed) == known
    assert await store.withdrawals.restore(known.commit, deed=deed) is None
    assert await store.withdrawals.all() == []
    assert await actions(store) == [("restoreCommit", known.commit)]


async def test_the_commits_of_jobs_are_each_named_once(store: Store) -> None:
    for commit in ("b" * 40, "a" * 40, "b" * 40):
        await store.jobs.add(make_job(commit=commit), max_waiting=9)
    assert await store.withdrawals.commits_of_jobs() == ["a" * 40, "b" * 40]
