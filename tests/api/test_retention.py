"""Pinning, and answers about what retention has removed."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from agent.host.trees import remove
from agent.model.base import now
from agent.model.job import Job, Removal, RetentionRule
from tests.support.api_client import Client
from tests.support.served import Served


async def removed(served: Served, job: Any) -> None:
    """Removes the files of a job, as retention does."""
    await served.scene.store.jobs.mark_archived(job["job_id"])
    removal = Removal(at=now(), rule=RetentionRule.AGE)
    assert await served.scene.store.retention.remove_files({job["job_id"]: removal}) == [job["job_id"]]
    while not remove(served.scene.settings.paths_of(job["job_id"]).directory, 1000):
        pass


async def test_a_job_can_be_pinned_and_unpinned_before_and_after_its_end(
    served: Served, alice: Client
) -> None:
    job = await alice.submit()
    path = f"/jobs/{job['job_id']}"
    assert job["pinned"] is False
    for _ in range(2):
        answer = await alice("PUT", f"{path}/pin")
        assert (answer.status, answer.json["pinned"], answer.json["revision"]) == (200, True, 2)
    await served.finish(answer.json, revision=3)
    ended = (await alice.get(path)).json
    assert ended["pinned"] is True
    for _ in range(2):
        answer = await alice("DELETE", f"{path}/pin")
        assert (answer.status, answer.json["pinned"], answer.json["revision"]) == (200, False, 4)
    assert answer.json == ended | {"pinned": False, "revision": 4}
    assert (await alice.get(path)).json == answer.json


async def test_pinning_a_job_counts_as_a_revision(served: Served, alice: Client) -> None:
    job = await alice.submit()
    await alice("PUT", f"/jobs/{job['job_id']}/pin")
    cancelled = (await alice.post(f"/jobs/{job['job_id']}/cancel")).json
    assert (cancelled["status"], cancelled["pinned"], cancelled["revision"]) == ("CANCELLED", True, 3)


async def test_a_follower_of_a_job_is_told_that_it_was_pinned(served: Served, alice: Client) -> None:
    job = await served.jobs.registry.get((await alice.submit())["job_id"])
    waits = asyncio.create_task(served.backend.changes.newer(job))
    await asyncio.sleep(0)
    await alice("PUT", f"/jobs/{job.job_id}/pin")
    async with asyncio.timeout(5):
        assert (await waits).pinned


async def test_only_an_administrator_may_pin_another_users_job(
    served: Served, alice: Client, bob: Client, administrator: Client
) -> None:
    path = f"/jobs/{(await alice.submit())['job_id']}/pin"
    for method in ("PUT", "DELETE"):
        answer = await bob(method, path)
        assert (answer.status, answer.problem) == (404, "job-not-found")
    assert (await administrator("PUT", path)).json["pinned"] is True
    assert (await administrator("PUT", "/jobs/aaaaaaaaaaaa/pin")).status == 404


async def test_the_number_of_pinned_jobs_of_a_user_is_bounded(serve: Callable[..., Any]) -> None:
    served = await serve(site={"retention": {"max_pinned_per_user": 2, "max_pinned_bytes_per_user": 2**50}})
    alice, bob = await served.known("alice"), await served.known("bob")
    paths = [f"/jobs/{(await alice.submit())['job_id']}/pin" for _ in range(3)]
    assert [(await alice("PUT", path)).status for path in paths] == [200, 200, 409]
    refused = await alice("PUT", paths[2])
    assert (refused.problem, "alice has 2 pinned jobs" in refused.json["detail"]) == ("too-many-pinned", True)
    assert "unpin" in refused.json["hint"]
    assert (await alice("PUT", paths[0])).status == 200
    await bob("PUT", f"/jobs/{(await bob.submit())['job_id']}/pin")
    await alice("DELETE", paths[0])
    assert (await alice("PUT", paths[2])).status == 200


async def test_removed_artifacts_and_logs_are_gone_and_not_empty(served: Served, alice: Client) -> None:
    job = await alice.submit()
    (served.artifacts(job) / "model").write_text("model")
    await served.finish(job)
    path = f"/jobs/{job['job_id']}"
    assert (await alice.get(f"{path}/artifacts/model")).status == 200
    await removed(served, job)
    known = (await alice.get(path)).json
    assert (known["status"], known["removed"]["rule"], known["revision"]) == ("COMPLETED", "age", 3)
    for part, accept in (
        ("artifacts", "*/*"),
        ("artifacts/model", "*/*"),
        ("artifacts/never", "*/*"),
        ("metrics", "application/json"),
        ("logs", "text/plain"),
        ("logs", "text/event-stream"),
    ):
        answer = await alice.get(f"{path}/{part}", Accept=accept)
        assert (answer.status, answer.problem) == (410, "removed-by-retention")
        assert known["removed"]["at"] in answer.json["detail"]


async def test_removal_during_a_request_is_not_taken_for_a_shorter_list(
    served: Served, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await alice.submit()
    (served.artifacts(job) / "model").write_text("model")
    await served.finish(job)
    known, get = await served.jobs.registry.get(job["job_id"]), served.jobs.registry.get
    await removed(served, job)
    for part in ("artifacts", "artifacts/model", "logs"):
        stale = [known]

        async def stale_at_first(job_id: str, stale: list[Job] = stale) -> Job:
            return stale.pop() if stale else await get(job_id)

        monkeypatch.setattr(served.jobs.registry, "get", stale_at_first)
        assert (await alice.get(f"/jobs/{job['job_id']}/{part}")).status == 410


async def test_a_job_with_removed_files_can_be_run_again(served: Served, alice: Client) -> None:
    job = await alice.submit()
    await served.finish(job)
    await removed(served, job)
    again = await alice.post(f"/jobs/{job['job_id']}/rerun", {})
    assert (again.status, again.json["rerun_of"]) == (202, job["job_id"])
    assert "removed" not in again.json
    assert again.json["pinned"] is False
