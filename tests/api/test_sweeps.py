"""Sweeps over HTTP: bodies, pages, refusals and events. What a sweep does is in tests/sweeps."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from agent.api.keys import BACKEND
from tests.support.api_client import Client, events
from tests.support.api_fixtures import over_any_host
from tests.support.served import AnyServed, Served

SWEEP: dict[str, Any] = {
    "script_name": "declared.py",
    "space": {"depth": {"low": 1, "high": 9}},
    "strategy": "random",
    "trials": 12,
    "objective": {"metric": "auc", "direction": "maximize"},
}


async def submit(client: Client, **fields: Any) -> Any:
    answer = await client.post("/sweeps", SWEEP | fields)
    assert answer.status == 202, answer.body
    return answer.json


@over_any_host
async def test_a_sweep_is_accepted_once_for_a_key(alice: Client) -> None:
    first = await alice.post("/sweeps", SWEEP, **{"Idempotency-Key": "k"})
    assert first.headers["Location"] == f"/sweeps/{first.json['sweep_id']}"
    assert (await alice.post("/sweeps", SWEEP, **{"Idempotency-Key": "k"})).json == first.json
    other = await alice.post("/sweeps", SWEEP | {"trials": 3}, **{"Idempotency-Key": "k"})
    assert (other.status, other.problem) == (422, "idempotency-mismatch")
    assert (await alice.get(f"/sweeps/{first.json['sweep_id']}")).json == first.json


@over_any_host
@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"space": {}}, "space"),
        ({"space": {"depth": {"low": 1, "high": 11}}}, "space.depth"),
        ({"space": {"depth": {"values": ["deep"]}}}, "space.depth"),
        ({"space": {"depth": {"values": ["1"], "low": 1}}}, "space.depth"),
        ({"space": {"depht": {"low": 1, "high": 2}}}, "space.depht"),
        ({"space": {"no name": {}}}, "space.no name"),
        ({"space": {"depth": {"low": None}}}, "space.depth.low"),
        ({"trials": 1001}, "trials"),
        ({"strategy": "guess"}, "strategy"),
        ({"objective": {"metric": "a b", "direction": "maximize"}}, "objective.metric"),
        ({"surprise": 1}, "surprise"),
    ],
    ids=str,
)
async def test_a_wrong_sweep_is_refused_with_the_field(
    served: AnyServed, alice: Client, change: dict[str, Any], field: str
) -> None:
    answer = await alice.post("/sweeps", SWEEP | change)
    assert (answer.status, answer.problem) == (422, "invalid-request")
    assert field in [each.removesuffix(".[key]") for each in answer.fields], answer.fields
    assert (await alice.get("/sweeps")).json == {"sweeps": []}
    assert await served.audited("alice") == []


async def test_nan_and_infinity_are_no_json(alice: Client) -> None:
    for word in (b"NaN", b"Infinity", b"-Infinity", b"1e999"):
        body = (
            b'{"script_name": "declared.py", "strategy": "random", "trials": 1, "space": {"depth": {"low": '
        )
        body += word + b', "high": 2}}, "objective": {"metric": "auc", "direction": "maximize"}}'
        assert (await alice.post("/sweeps", body)).status in (400, 422)
    assert (await alice.get("/sweeps")).json == {"sweeps": []}


@over_any_host
async def test_pages_lead_to_all_sweeps_newest_first(alice: Client) -> None:
    made = [(await submit(alice))["sweep_id"] for _ in range(5)]
    seen, cursor = [], ""
    while True:
        page = (await alice.get(f"/sweeps?limit=2{cursor}")).json
        seen += [each["sweep_id"] for each in page["sweeps"]]
        if "next_cursor" not in page:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == made[::-1]
    wrong = await alice.get("/sweeps?cursor=" + "A" * 22)
    assert (wrong.problem, wrong.fields) == ("invalid-request", ["cursor"])


@over_any_host
async def test_states_and_owners_filter(alice: Client, operator: Client) -> None:
    first, second = await submit(alice), await submit(operator)
    await alice.post(f"/sweeps/{first['sweep_id']}/pause")

    async def listed(client: Client, query: str) -> list[str]:
        return [each["sweep_id"] for each in (await client.get(f"/sweeps?{query}")).json["sweeps"]]

    assert await listed(operator, "status=PAUSED") == [first["sweep_id"]]
    assert await listed(operator, "owner=oscar") == [second["sweep_id"]]
    assert await listed(alice, "") == [first["sweep_id"]]
    assert (await alice.get("/sweeps?owner=oscar")).status == 403


@over_any_host
async def test_a_sweep_is_paused_resumed_extended_pinned_and_cancelled(alice: Client) -> None:
    path = f"/sweeps/{(await submit(alice, labels={'team': 'risk'}))['sweep_id']}"
    assert (await alice.post(f"{path}/pause")).json["status"] == "PAUSED"
    assert (await alice.post(f"{path}/resume")).json["status"] == "RUNNING"
    assert (await alice.post(f"{path}/extend", {"trials": 20})).json["trials"] == 20
    assert (await alice.post(f"{path}/extend", {"trials": 3})).fields == ["trials"]
    assert (await alice("PUT", f"{path}/pin")).json["pinned"]
    assert not (await alice("DELETE", f"{path}/pin")).json["pinned"]
    ended = await alice.post(f"{path}/cancel")
    assert (ended.status, ended.json["status"], ended.json["reason"]) == (202, "CANCELLED", "cancelled")
    late = await alice.post(f"{path}/resume")
    assert (late.status, late.problem) == (409, "sweep-ended")
    again = await alice.post(f"{path}/rerun", {"seed": 9, "name": "again", "labels": {"a": "2"}})
    assert (again.status, again.json["seed"], again.json["trials"]) == (202, 9, 20)
    assert again.json["rerun_of"] == ended.json["sweep_id"]
    assert (again.json["name"], again.json["labels"]) == ("again", {"a": "2", "team": "risk"})
    many = {f"l{number}": "" for number in range(32)}
    assert (await alice.post(f"{path}/rerun", {"labels": many})).fields == ["labels"]


@over_any_host
async def test_only_administrators_put_a_sweep_before_others(alice: Client, administrator: Client) -> None:
    refused = await alice.post("/sweeps", SWEEP | {"priority": 1})
    assert (refused.status, refused.fields) == (403, ["priority"])
    assert (await submit(administrator, priority=1))["priority"] == 1


@over_any_host
async def test_events_have_each_sweep_and_each_change_of_ones_own(alice: Client, bob: Client) -> None:
    await submit(bob)
    mine = (await submit(alice))["sweep_id"]
    told = []
    async with alice.stream("/events") as response, asyncio.timeout(20):
        async for name, data, event_id in events(response):
            if name != "sweep":
                continue
            assert event_id == ""
            told.append((data["sweep_id"], data["status"]))
            if len(told) == 1:
                await submit(bob)
                await alice.post(f"/sweeps/{mine}/pause")
            else:
                break
    assert told == [(mine, "RUNNING"), (mine, "PAUSED")]


async def test_a_backend_without_sweeps_says_so(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    served: Served = await serve()
    alice = await served.known("alice")
    without = replace(served.backend, sweeps=None)
    served.app._state[BACKEND] = without
    for answer in (await alice.post("/sweeps", SWEEP), await alice.get("/sweeps")):
        assert (answer.status, answer.problem) == (404, "no-such-route")
        assert "There are no sweeps here." in answer.json["detail"]
