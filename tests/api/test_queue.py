"""What clients see of the queue."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from agent.audit.chain import Caller
from agent.errors import AgentError, Problem
from agent.model.base import format_bytes, now
from agent.model.host import Drain
from tests.support.api_client import Client
from tests.support.job_scene import end_of
from tests.support.served import Served


async def test_a_waiting_job_has_its_place_in_every_answer(served: Served, alice: Client) -> None:
    jobs = [await alice.submit() for _ in range(6)]
    assert jobs[5]["queue"] == {"position": 6, "waits_for": "the jobs before it"}
    shown = (await alice.get(f"/jobs/{jobs[4]['job_id']}")).json["queue"]
    listed = (await alice.get("/jobs")).json["jobs"][1]["queue"]
    assert shown == listed
    assert shown["position"] == 5
    assert shown["waits_for"].startswith("1 CPU and a place among the running jobs, free at the latest at ")


async def test_an_ended_job_has_no_place(served: Served, alice: Client) -> None:
    job = await alice.submit()
    cancelled = await alice.post(f"/jobs/{job['job_id']}/cancel")
    assert "queue" not in cancelled.json
    assert "queue" not in (await alice.get("/jobs")).json["jobs"][0]


async def test_a_place_is_never_stored(served: Served, alice: Client) -> None:
    await alice.submit()
    (stored,) = (await served.scene.store.jobs.page()).jobs
    assert stored.queue is None


async def test_jobs_of_other_users_count_in_the_queue_but_are_not_shown(
    served: Served, alice: Client, bob: Client
) -> None:
    for _ in range(5):
        await alice.submit()
    job = await bob.submit()
    assert job["queue"]["position"] == 2  # users take turns
    assert "alice" not in str(job)


@pytest.mark.parametrize("limits", [{"cpus": 4.5}, {"memory_bytes": 2**49}])
async def test_a_job_that_never_fits_the_host_is_refused(
    served: Served, alice: Client, limits: dict[str, float]
) -> None:
    refused = await alice.post("/jobs", {"script_name": "succeed.py", "limits": limits})
    assert (refused.status, refused.problem) == (422, "invalid-request")
    assert refused.fields == [f"limits.{name}" for name in limits]
    await served.nothing_is_left()


@pytest.mark.parametrize(("more", "written"), [(900 * 2**30, format_bytes), (1, str)])
async def test_an_exceeded_limit_is_told_in_gib_and_exactly_where_that_would_hide_it(
    served: Served, alice: Client, more: int, written: Callable[[int], str]
) -> None:
    jobs = served.scene.settings.jobs
    memory = min(jobs.memory_bytes, jobs.maximum_limits.memory_bytes or 0)
    wanted = {"memory_bytes": memory + more, "cpus": 99.5}
    refused = await alice.post("/jobs", {"script_name": "succeed.py", "limits": wanted})
    assert [error["message"] for error in refused.json["errors"]] == [
        f"must be at most {written(memory)} on this host, not {written(memory + more)}",
        "must be at most 2 on this host, not 99.5",
    ]


@pytest.mark.parametrize("priority", [11, -11, 0.5, "1", True, None])
async def test_an_invalid_priority_is_refused(served: Served, alice: Client, priority: object) -> None:
    refused = await alice.post("/jobs", {"script_name": "succeed.py", "priority": priority})
    assert (refused.status, refused.fields) == (422, ["priority"])


async def test_only_an_administrator_may_put_a_job_before_others(
    served: Served, alice: Client, administrator: Client
) -> None:
    first = await alice.submit(priority=-1)
    refused = await alice.post("/jobs", {"script_name": "succeed.py", "priority": 1})
    assert (refused.status, refused.problem, refused.fields) == (403, "forbidden", ["priority"])
    urgent = await administrator.submit(priority=1)
    assert urgent["priority"] == 1
    places = [(await administrator.get(f"/jobs/{job['job_id']}")).json["queue"] for job in (urgent, first)]
    assert [place["position"] for place in places] == [1, 2]


async def test_the_host_shows_its_capacity_and_the_share_of_each_user(
    served: Served, alice: Client, bob: Client, administrator: Client
) -> None:
    await alice.submit()
    await bob.submit()
    mine = (await alice.get("/host")).json
    assert mine["versions"] == {"agent": mine["versions"]["agent"], "systemd": "257", "podman": "5.4.2"}
    assert (mine["capacity"]["jobs"], mine["capacity"]["cpus"]) == (4, 4.0)
    assert mine["in_use"] == {"jobs": 0, "cpus": 0.0, "memory_bytes": 0}
    assert (mine["waiting"], mine["running"]) == (2, 0)
    assert mine["users"] == [{"user": "alice", "waiting": 1, "running": 0, "recent_use_seconds": 0.0}]
    everyone = (await administrator.get("/host")).json
    assert [user["user"] for user in everyone["users"]] == ["alice", "bob"]


async def test_the_host_is_shown_without_answers_of_podman_and_systemd(
    served: Served, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse() -> str:
        raise AgentError(Problem.HOST, "no answer")

    monkeypatch.setattr(served.scene.units, "version", refuse)
    monkeypatch.setattr(served.scene.podman, "version", refuse)
    assert list((await alice.get("/host")).json["versions"]) == ["agent"]


async def test_use_is_charged_to_the_user_in_the_store(serve: Callable[..., Any]) -> None:
    served: Served = await serve(drive=True)
    alice = await served.known("alice")
    job = await alice.submit()
    await alice.post(f"/jobs/{job['job_id']}/cancel")
    await end_of(served.jobs, await served.jobs.registry.get(job["job_id"]))
    (use,) = await served.scene.store.jobs.uses()
    assert use.owner == "alice"


async def test_versions_are_asked_for_once_a_minute(
    served: Served, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def version() -> str:
        asked.append("systemd")
        return "257"

    monkeypatch.setattr(served.scene.units, "version", version)
    answers = [(await alice.get("/host")).json["versions"] for _ in range(5)]
    assert all(answer["systemd"] == "257" for answer in answers)
    assert asked == ["systemd"]


async def test_a_drain_is_told_to_everybody_and_to_each_job_that_waits(
    served: Served, alice: Client, bob: Client
) -> None:
    assert "drain" not in (await alice.get("/host")).json
    begins = now() + timedelta(minutes=6)
    planned = Drain(begins_at=begins, ends_at=begins + timedelta(hours=1), reason="new kernel")
    account = Caller(actor="ml", role="account", source="this host")
    await served.scene.store.drains.set(planned, deed=account.did("drainHost"))
    await served.jobs.admission.look()
    for client in (alice, bob):
        assert (await client.get("/host")).json["drain"] == planned.model_dump(mode="json")
    long = await alice.submit(limits={"run_time_seconds": 600})
    short = await alice.submit(limits={"run_time_seconds": 20})
    assert long["queue"]["waits_for"] == (
        f"the end of the maintenance from {begins:%Y-%m-%dT%H:%M:%SZ} to {planned.ends_at:%Y-%m-%dT%H:%M:%SZ}"
        " (new kernel): it could run into that, by its run-time limit"
    )
    assert short["queue"]["waits_for"] == "the agent, which is about to start it"
    explained = (await alice.get(f"/jobs/{long['job_id']}/explanation")).json
    assert explained["summary"] == f"The job waits for {long['queue']['waits_for']}."
    assert "--time" in explained["advice"][0]
