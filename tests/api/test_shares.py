"""Jobs and sweeps that are shared: who reads them, in which lists they are, and when that ends."""

import asyncio
from typing import Any

import pytest

from agent.api.server import identity
from tests.support.api_client import Client, events
from tests.support.api_fixtures import over_any_host
from tests.support.every_call import BODIES
from tests.support.served import AnyServed, Served


async def share(client: Client, path: str, **readers: Any) -> Any:
    answer = await client("PUT", f"{path}/readers", json=readers)
    assert answer.status == 200, answer.body
    return answer.json


@over_any_host
async def test_a_shared_job_is_read_and_nothing_else_is_done_with_it(
    served: AnyServed, alice: Client, bob: Client
) -> None:
    job = await alice.submit()
    path = f"/jobs/{job['job_id']}"
    assert (await bob.get(path)).status == 404
    shared = await share(alice, path, users=["bob", "dora"])
    assert shared["readers"] == {"users": ["bob", "dora"], "everybody": False}
    assert shared["revision"] == job["revision"]
    assert (await bob.get(path)).json == (await alice.get(path)).json
    for call in ("", "/logs", "/artifacts", "/metrics", "/usage"):
        assert (await bob.get(path + call)).status == 200
    refused = await bob.post(f"{path}/cancel")
    assert (refused.status, refused.problem) == (403, "forbidden")
    assert (await bob.get("/jobs")).json == {"jobs": []}
    assert [each["job_id"] for each in (await bob.get("/jobs?shared=true")).json["jobs"]] == [job["job_id"]]
    assert (await alice.get("/jobs?shared=true")).json == {"jobs": []}

    assert "readers" not in await share(alice, path)
    assert (await bob.get(path)).status == 404
    assert (await bob.get("/jobs?shared=true")).json == {"jobs": []}
    await share(alice, path)  # which changes nothing
    rows = [row for row in await served.audited("alice") if row["action"] == "setJobReaders"]
    assert sorted(row["details"]["readers"] for row in rows) == [[], ["bob", "dora"]]


async def test_a_shared_sweep_is_read_with_all_its_trials(served: Served, alice: Client, bob: Client) -> None:
    sweep = (await alice.post("/sweeps", BODIES["submitSweep"])).json
    path = f"/sweeps/{sweep['sweep_id']}"
    await served.jobs.sweeping.load()
    trial = await alice.submit()
    known = await served.scene.store.jobs.get(trial["job_id"])
    assert known is not None
    document = known.model_copy(update={"sweep": sweep["sweep_id"], "trial": 0}).model_dump_json(
        exclude_none=True
    )
    await served.scene.store.database.run(
        lambda db: db.execute("UPDATE jobs SET document = ? WHERE id = ?", (document, known.job_id))
    )
    await served.jobs.reconciler.load()
    of_trial = f"/jobs/{trial['job_id']}"
    assert [(await bob.get(each)).status for each in (path, f"{path}/trials", of_trial)] == [404] * 3
    await share(alice, path, everybody=True)
    assert [(await bob.get(each)).status for each in (path, f"{path}/trials", of_trial)] == [200] * 3
    assert (await bob.post(f"{path}/pause")).status == (await bob.post(f"{of_trial}/cancel")).status == 403
    listed = (await bob.get("/sweeps?shared=true")).json["sweeps"]
    assert [each["sweep_id"] for each in listed] == [sweep["sweep_id"]]
    assert (await bob.get("/jobs?shared=true")).json == {"jobs": []}
    compared = await bob.get(f"/comparison?job={trial['job_id']}")
    assert compared.status == 200


async def test_pages_of_what_is_shared(served: Served, alice: Client, bob: Client) -> None:
    jobs = [await alice.submit() for _ in range(3)]
    for job in jobs:
        await share(alice, f"/jobs/{job['job_id']}", users=["bob"])
    first = (await bob.get("/jobs?shared=true&limit=2")).json
    rest = (await bob.get(f"/jobs?shared=true&limit=2&cursor={first['next_cursor']}")).json
    assert [each["job_id"] for each in (*first["jobs"], *rest["jobs"])] == [each["job_id"] for each in jobs][
        ::-1
    ]
    assert (await bob.get(f"/jobs?cursor={first['next_cursor']}")).fields == ["cursor"]
    assert (await bob.get("/jobs?shared=true&status=RUNNING")).json == {"jobs": []}


async def test_a_stream_ends_when_the_share_does(
    served: Served, alice: Client, bob: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "INTERVAL", 0.1)
    job = await alice.submit()
    path = f"/jobs/{job['job_id']}"
    await share(alice, path, users=["bob"])
    for call, last in (("/events", "removed"), ("/logs?follow=true", "error")):
        await share(alice, path, users=["bob"])
        seen: list[str] = []
        async with bob.stream(path + call) as response, asyncio.timeout(60):
            async for name, _, _ in events(response):
                if not seen:
                    await share(alice, path)
                seen.append(name)
        assert last in seen


async def test_readers_go_with_what_is_removed(served: Served, alice: Client) -> None:
    job = await alice.submit()
    await share(alice, f"/jobs/{job['job_id']}", users=["bob"], everybody=True)
    await served.finish(job)
    store = served.scene.store
    await store.jobs.mark_archived(job["job_id"])
    await store.retention.record_sizes({job["job_id"]: (1, 1)}, ages_from=0.0)
    assert await store.retention.remove_jobs([job["job_id"]]) == [job["job_id"]]
    left = await store.database.run(lambda db: db.execute("SELECT * FROM readers").fetchall())
    assert left == []


async def test_what_is_shared_is_not_searched(alice: Client) -> None:
    refused = await alice.get("/jobs?shared=true&sort=oldest")
    assert (refused.problem, refused.fields) == ("invalid-request", ["shared"])
