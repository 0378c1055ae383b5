"""Schedules over HTTP: bodies, pages, refusals and events. What a schedule does is in tests/schedules."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from agent.api.keys import BACKEND
from agent.model.schedule import MAX_SCHEDULES
from tests.support.api_client import Client, events
from tests.support.api_fixtures import over_any_host
from tests.support.served import AnyServed, Served

SCHEDULE: dict[str, Any] = {
    "name": "nightly",
    "calendar": "hourly",
    "job": {"script_name": "declared.py", "hyperparameters": {"depth": "3"}},
}
SWEEP = {
    "script_name": "declared.py",
    "space": {"depth": {"low": 1, "high": 9}},
    "strategy": "random",
    "trials": 12,
    "objective": {"metric": "auc", "direction": "maximize"},
}


async def create(client: Client, **fields: Any) -> Any:
    answer = await client.post("/schedules", SCHEDULE | fields)
    assert answer.status == 201, answer.body
    return answer.json


@over_any_host
async def test_a_schedule_is_made_once_for_a_key(alice: Client) -> None:
    first = await alice.post("/schedules", SCHEDULE, **{"Idempotency-Key": "k"})
    assert first.headers["Location"] == f"/schedules/{first.json['schedule_id']}"
    assert (first.json["status"], len(first.json["next"])) == ("ACTIVE", 5)
    assert first.json["job"]["hyperparameters"] == {"depth": "3"}
    assert (await alice.post("/schedules", SCHEDULE, **{"Idempotency-Key": "k"})).json == first.json
    other = await alice.post("/schedules", SCHEDULE | {"name": "other"}, **{"Idempotency-Key": "k"})
    assert (other.status, other.problem) == (422, "idempotency-mismatch")
    assert (await alice.get(f"/schedules/{first.json['schedule_id']}")).json == first.json


@over_any_host
async def test_a_preview_makes_nothing(served: AnyServed, alice: Client) -> None:
    answer = await alice.post("/schedules/preview", SCHEDULE)
    assert (answer.status, len(answer.json["next"])) == (200, 5)
    assert answer.json["expression"] == "*-*-* *:00:00 UTC"
    assert (await alice.get("/schedules")).json == {"schedules": []}
    assert await served.audited("alice") == []


@pytest.mark.parametrize("call", ["/schedules", "/schedules/preview"])
@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"calendar": "each night"}, "calendar"),
        ({"calendar": "2020-01-01"}, "calendar"),
        ({"calendar": "*:*:0,30"}, "calendar"),
        ({"calendar": "daily UTC"}, "calendar"),
        ({"calendar": "--version"}, "calendar"),
        ({"calendar": "x" * 129}, "calendar"),
        ({"calendar": "daily\n"}, "calendar"),
        ({"time_zone": "Europe/Atlantis"}, "time_zone"),
        ({"time_zone": "../zone"}, "time_zone"),
        ({"overlap": "both"}, "overlap"),
        ({"randomized_delay_seconds": 3600}, "randomized_delay_seconds"),
        ({"randomized_delay_seconds": -1}, "randomized_delay_seconds"),
        ({"randomized_delay_seconds": 86401}, "randomized_delay_seconds"),
        ({"sweep": SWEEP}, "body"),
        ({"name": ""}, "name"),
        (
            {"job": {"script_name": "declared.py", "hyperparameters": {"depth": "11"}}},
            "job.hyperparameters.depth",
        ),
        ({"job": {"script_name": "declared.py", "ref": "no-such-branch"}}, "job.ref"),
        ({"job": {"script_name": "none.py"}}, "job.script_name"),
        ({"surprise": 1}, "surprise"),
    ],
    ids=str,
)
async def test_a_wrong_schedule_is_refused_with_the_field(
    served: AnyServed, alice: Client, call: str, change: dict[str, Any], field: str
) -> None:
    answer = await alice.post(call, SCHEDULE | change)
    assert answer.status == 422
    assert answer.fields == [field]
    assert (await alice.get("/schedules")).json == {"schedules": []}
    assert [row for row in await served.audited("alice") if row["result"] == "done"] == []


async def test_neither_job_nor_sweep_is_no_schedule(alice: Client) -> None:
    nothing = {name: value for name, value in SCHEDULE.items() if name != "job"}
    answer = await alice.post("/schedules", nothing)
    assert (answer.status, answer.fields) == (422, ["body"])
    of_sweeps = nothing | {"sweep": SWEEP | {"space": {"depth": {"low": 1, "high": 11}}}}
    answer = await alice.post("/schedules", of_sweeps)
    assert (answer.status, answer.fields) == (422, ["sweep.space.depth"])
    made = await alice.post("/schedules", nothing | {"sweep": SWEEP})
    assert (made.status, made.json["sweep"]["trials"]) == (201, 12)


@over_any_host
async def test_pages_lead_to_all_schedules_newest_first(alice: Client) -> None:
    made = [(await create(alice))["schedule_id"] for _ in range(5)]
    seen, cursor = [], ""
    while True:
        page = (await alice.get(f"/schedules?limit=2{cursor}")).json
        seen += [each["schedule_id"] for each in page["schedules"]]
        if "next_cursor" not in page:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == made[::-1]
    wrong = await alice.get("/schedules?cursor=" + "A" * 22)
    assert (wrong.problem, wrong.fields) == ("invalid-request", ["cursor"])


@over_any_host
async def test_owners_filter(alice: Client, operator: Client) -> None:
    mine, theirs = await create(alice), await create(operator)

    async def listed(client: Client, query: str) -> list[str]:
        page = (await client.get(f"/schedules?{query}")).json
        return [each["schedule_id"] for each in page["schedules"]]

    assert await listed(operator, "") == [theirs["schedule_id"], mine["schedule_id"]]
    assert await listed(operator, "owner=alice") == [mine["schedule_id"]]
    assert await listed(alice, "") == [mine["schedule_id"]]
    assert (await alice.get("/schedules?owner=oscar")).status == 403


@over_any_host
async def test_a_schedule_is_paused_resumed_run_and_removed(alice: Client) -> None:
    made = await create(alice)
    path = f"/schedules/{made['schedule_id']}"
    assert (await alice.post(f"{path}/pause")).json["status"] == "PAUSED"
    assert (await alice.post(f"{path}/resume")).json["status"] == "ACTIVE"
    run = await alice.post(f"{path}/run")
    assert (run.status, run.json["status"], run.json["manual"]) == (202, "SUBMITTED", True)
    assert (await alice.get(f"/jobs/{run.json['job_id']}")).json["script_name"] == "declared.py"
    assert (await alice.get(f"{path}/runs")).json == {"runs": [run.json]}
    assert (await alice.get(path)).json["last"] == run.json
    removed = await alice("DELETE", path)
    assert (removed.status, removed.json["schedule_id"]) == (200, made["schedule_id"])
    for answer in (await alice.get(path), await alice("DELETE", path), await alice.get(f"{path}/runs")):
        assert (answer.status, answer.problem) == (404, "schedule-not-found")
    assert (await alice.get(f"/jobs/{run.json['job_id']}")).status == 200


@over_any_host
async def test_pages_of_runs_lead_to_all_newest_first(alice: Client) -> None:
    path = f"/schedules/{(await create(alice))['schedule_id']}"
    made = [(await alice.post(f"{path}/run")).json["slot"] for _ in range(3)]
    first = (await alice.get(f"{path}/runs?limit=2")).json
    second = (await alice.get(f"{path}/runs?limit=2&cursor={first['next_cursor']}")).json
    assert [run["slot"] for run in first["runs"] + second["runs"]] == made[::-1]
    assert "next_cursor" not in second


@over_any_host
async def test_a_user_has_so_many_schedules(alice: Client, bob: Client) -> None:
    made = [await create(alice) for _ in range(MAX_SCHEDULES)]
    refused = await alice.post("/schedules", SCHEDULE)
    assert (refused.status, refused.problem) == (409, "too-many-schedules")
    await create(bob)
    await alice("DELETE", f"/schedules/{made[0]['schedule_id']}")
    await create(alice)


@over_any_host
async def test_only_administrators_schedule_jobs_before_others(alice: Client, administrator: Client) -> None:
    first = {"job": {"script_name": "declared.py", "priority": 1}}
    for call in ("/schedules", "/schedules/preview"):
        refused = await alice.post(call, SCHEDULE | first)
        assert (refused.status, refused.fields) == (403, ["job.priority"])
    assert (await create(administrator, **first))["job"]["priority"] == 1


@over_any_host
async def test_events_have_each_schedule_and_each_change_of_ones_own(alice: Client, bob: Client) -> None:
    await create(bob)
    mine = (await create(alice))["schedule_id"]
    told = []
    async with alice.stream("/events") as response, asyncio.timeout(20):
        async for name, data, event_id in events(response):
            if name != "schedule":
                continue
            assert event_id == ""
            told.append((data["schedule_id"], data["status"]))
            if len(told) == 1:
                await create(bob)
                await alice.post(f"/schedules/{mine}/pause")
            else:
                break
    assert told == [(mine, "ACTIVE"), (mine, "PAUSED")]


async def test_a_backend_without_schedules_says_so(serve: Callable[..., Any]) -> None:
    served: Served = await serve()
    alice = await served.known("alice")
    served.app._state[BACKEND] = replace(served.backend, schedules=None)
    for answer in (
        await alice.post("/schedules", SCHEDULE),
        await alice.post("/schedules/preview", SCHEDULE),
        await alice.get("/schedules"),
    ):
        assert (answer.status, answer.problem) == (404, "no-such-route")
        assert "There are no schedules here." in answer.json["detail"]


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
async def test_a_preview_has_no_other_method(alice: Client, method: str) -> None:
    answer = await alice(method, "/schedules/preview")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
