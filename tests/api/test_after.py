"""`POST /jobs` that names other jobs: which ones a client may name, and what it is told of others."""

from typing import Any

from tests.support.api_client import Client
from tests.support.api_fixtures import over_any_host
from tests.support.every_call import BODIES
from tests.support.served import AnyServed, Served

ABSENT = "a" * 12


async def submit_after(client: Client, *job_ids: str, **headers: str) -> Any:
    return await client.post("/jobs", {"script_name": "succeed.py", "after": list(job_ids)}, **headers)


@over_any_host
async def test_the_job_has_what_it_waits_for_in_its_record(served: AnyServed, alice: Client) -> None:
    first = await alice.submit()
    answer = await submit_after(alice, first["job_id"])
    assert (answer.status, answer.json["after"]) == (202, [first["job_id"]])
    assert (await alice("GET", f"/jobs/{answer.json['job_id']}")).json["after"] == [first["job_id"]]
    assert first["after"] == []


@over_any_host
async def test_others_jobs_are_refused_as_missing_ones_are(
    served: AnyServed, alice: Client, bob: Client
) -> None:
    theirs = (await bob.submit())["job_id"]
    refusals = [await submit_after(alice, job_id) for job_id in (theirs, ABSENT)]
    texts = [
        refusal.body.decode().replace(job_id, "ID")
        for refusal, job_id in zip(refusals, (theirs, ABSENT), strict=True)
    ]
    assert [refusal.status for refusal in refusals] == [422, 422]
    assert refusals[0].json["errors"][0]["field"] == "after.0"
    assert texts[0] == texts[1]


async def test_a_role_that_sees_others_jobs_may_name_them(
    served: Served, alice: Client, operator: Client
) -> None:
    job = await alice.submit()
    answer = await submit_after(operator, job["job_id"])
    assert (answer.status, answer.json["owner"]) == (202, "oscar")


async def test_the_queue_says_for_which_job_it_waits(served: Served, alice: Client) -> None:
    first = await alice.submit()
    second = (await submit_after(alice, first["job_id"])).json
    assert second["queue"]["waits_for"] == f"job {first['job_id']} to complete"
    await alice.post(f"/jobs/{first['job_id']}/cancel", {})
    assert (await submit_after(alice, first["job_id"])).json["errors"] == [
        {
            "field": "after.0",
            "message": f"must be a job that can still complete; {first['job_id']} is CANCELLED",
        }
    ]


async def test_the_audit_names_what_a_job_waits_for(served: Served, alice: Client) -> None:
    first = await alice.submit()
    second = (await submit_after(alice, first["job_id"])).json
    rows = [row.content() for row in await served.scene.store.audit.newest(limit=2)]
    (row,) = [row for row in rows if row["subject"] == second["job_id"]]
    assert row["details"]["after"] == [first["job_id"]]


@over_any_host
async def test_others_artifacts_are_refused_as_missing_ones_are(
    served: AnyServed, alice: Client, bob: Client
) -> None:
    theirs = (await bob.submit())["job_id"]
    refusals = []
    for job_id in (theirs, ABSENT):
        inputs = {"model": {"job_id": job_id, "path": "model.joblib"}}
        refusals.append(await alice.post("/jobs", {"script_name": "succeed.py", "inputs": inputs}))
    assert [refusal.status for refusal in refusals] == [422, 422]
    assert refusals[0].fields == ["inputs.model.job_id"]
    assert refusals[0].body.decode().replace(theirs, "ID") == refusals[1].body.decode().replace(ABSENT, "ID")


@over_any_host
async def test_a_sweep_names_only_artifacts_of_jobs_that_its_owner_may_read(
    served: AnyServed, alice: Client, bob: Client
) -> None:
    inputs = {"model": {"job_id": (await bob.submit())["job_id"], "path": "model.joblib"}}
    answer = await alice.post("/sweeps", BODIES["submitSweep"] | {"inputs": inputs})
    assert (answer.status, answer.fields) == (422, ["inputs.model.job_id"])


async def test_an_alias_that_is_not_shared_is_refused_as_a_missing_one(
    served: Served, alice: Client, bob: Client
) -> None:
    job = await alice.submit()
    served.add_artifact(job, "model.joblib", b"model")
    await served.finish(job)
    target = {"job_id": job["job_id"], "path": "model.joblib"}
    assert (await alice("PUT", "/models/churn/aliases/champion", json=target)).status == 200
    refusals = []
    for model in ("churn", "absent"):
        inputs = {"m": {"model": model, "alias": "champion"}}
        refusals.append(await bob.post("/jobs", {"script_name": "succeed.py", "inputs": inputs}))
    assert [refusal.fields for refusal in refusals] == [["inputs.m.model"]] * 2
    assert refusals[0].body == refusals[1].body.replace(b"absent", b"churn")
    inputs = {"m": {"model": "churn", "alias": "champion"}}
    mine = await alice.post("/jobs", {"script_name": "succeed.py", "inputs": inputs})
    assert (mine.status, mine.json["inputs"]["m"]["job_id"]) == (202, job["job_id"])
