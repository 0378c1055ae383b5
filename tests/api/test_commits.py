"""Commits that may not run: what a client is told, and what the audit has of it."""

from pathlib import Path
from typing import Any

import pytest

from agent.model.base import now
from agent.model.ref import Withdrawal
from tests.support.api_client import Client
from tests.support.git_repository import git
from tests.support.served import Served


@pytest.fixture
def unreviewed(repository: Path) -> str:
    """A commit that no branch and no tag leads to."""
    return git(repository, "commit-tree", "-m", "unreviewed", "HEAD^{tree}")


async def audited(served: Served) -> list[dict[str, Any]]:
    return [row.content() for row in await served.scene.store.audit.rows(0, 1000)]


async def test_an_unreviewed_commit_is_refused_by_its_field_and_audited(
    served: Served, alice: Client, unreviewed: str
) -> None:
    request = {"script_name": "succeed.py", "hyperparameters": {}, "ref": unreviewed}
    answer = await alice.post("/jobs", request)
    assert (answer.status, answer.problem, answer.fields) == (422, "commit-refused", ["ref"])
    assert answer.json["hint"]
    (row,) = await audited(served)
    assert (row["actor"], row["action"], row["result"]) == ("alice", "submitJob", "refused")
    assert row["details"]["problem"] == "commit-refused"
    assert unreviewed[:12] in row["details"]["why"]
    listed = await alice.get(f"/scripts?ref={unreviewed}")
    assert (listed.status, listed.problem, listed.fields) == (422, "commit-refused", ["ref"])
    assert len(await audited(served)) == 1


async def test_a_withdrawn_commit_is_refused_with_the_reason(served: Served, alice: Client) -> None:
    job = await alice.submit()
    withdrawn = Withdrawal(commit=job["commit"], reason="It leaks.", by="ml", at=now())
    await served.scene.store.withdrawals.withdraw(withdrawn)
    answers = [
        await alice.post("/jobs", {"script_name": "succeed.py", "hyperparameters": {}}),
        await alice.post(f"/jobs/{job['job_id']}/rerun", {}),
        await alice.get("/scripts"),
    ]
    for answer in answers:
        assert (answer.status, answer.problem) == (422, "commit-refused")
        assert answer.json["detail"] == f"Commit {job['commit'][:12]} was withdrawn: It leaks."
    assert [row["action"] for row in await audited(served) if row["result"] == "refused"] == [
        "submitJob",
        "rerunJob",
    ]
    assert (await alice.get(f"/jobs/{job['job_id']}")).status == 200
