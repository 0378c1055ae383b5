"""The calls about one's own secrets. No answer has a value."""

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from agent.host import podman
from agent.model.job import JobState
from tests.support.api_client import Answer, Client
from tests.support.served import Served
from tests.support.waiting import until

CANARY = b"hunter2-do-not-show"
OCTETS = {"Content-Type": "application/octet-stream"}


async def put(client: Client, name: str, value: bytes = b"x", **headers: str) -> Answer:
    return await client("PUT", f"/secrets/{name}", data=value, headers=OCTETS | headers)


async def test_a_secret_is_set_listed_rotated_and_removed(served: Served, alice: Client) -> None:
    answer = await put(alice, "api", bytes(range(256)))
    assert (answer.status, answer.json["name"], answer.json["user"]) == (200, "api", "alice")
    assert (answer.json["rotated"], answer.json["earlier_value_in"]) == (False, [])
    assert served.podman.values == {"ml-agent.api.alice": bytes(range(256))}
    assert (await put(alice, "api", b"new")).json["rotated"] is True
    (listed,) = (await alice.get("/secrets")).json["secrets"]
    assert listed.keys() == {"name", "user", "created_at", "updated_at", "age_seconds"}
    removed = await alice("DELETE", "/secrets/api")
    assert (removed.status, removed.json["name"]) == (200, "api")
    assert (await alice.get("/secrets")).json == {"secrets": []}
    again = await alice("DELETE", "/secrets/api")
    assert (again.status, again.problem) == (404, "secret-not-found")


async def test_every_role_sees_and_changes_only_its_own_secrets(
    served: Served, alice: Client, bob: Client, administrator: Client
) -> None:
    await put(alice, "api", b"alice's")
    served.podman.add("api", None, b"everybody's")
    for client in (bob, administrator):
        assert [each.get("user") for each in (await client.get("/secrets")).json["secrets"]] == [None]
        assert (await client("DELETE", "/secrets/api")).status == 404
        assert (await put(client, "api", b"other")).json["rotated"] is False
    assert served.podman.values == {
        "ml-agent.api": b"everybody's",
        "ml-agent.api.alice": b"alice's",
        "ml-agent.api.bob": b"other",
        "ml-agent.api.root": b"other",
    }


async def test_running_jobs_with_the_earlier_value_are_named(served: Served, alice: Client) -> None:
    served.podman.add("warehouse", None, b"everybody's")
    running = await alice.submit("declared.py")
    waiting = await alice.submit("declared.py")
    known = await served.jobs.registry.get(running["job_id"])
    begun = {"status": JobState.RUNNING, "queue": None, "revision": 2}
    assert await served.scene.store.jobs.update(known.model_copy(update=begun))
    await served.jobs.reconciler.load()
    answer = await put(alice, "warehouse")
    assert answer.json["earlier_value_in"] == [running["job_id"]]
    assert waiting["status"] == "PENDING"


async def test_the_number_of_secrets_of_a_user_is_bounded(alice: Client, bob: Client) -> None:
    for number in range(3):
        assert (await put(alice, f"api-{number}")).status == 200
    answer = await put(alice, "api-3")
    assert (answer.status, answer.problem) == (409, "too-many-secrets")
    assert (await put(alice, "api-2")).status == 200
    assert (await put(bob, "api-3")).status == 200


async def test_users_are_told_if_only_operators_may_set_secrets(serve: Callable[..., Any]) -> None:
    served = await serve(max_secrets_per_user=0)
    answer = await put(await served.known("alice"), "api")
    assert (answer.status, answer.problem) == (409, "too-many-secrets")
    assert "ml-agent secret set" in answer.json["hint"]


@pytest.mark.parametrize("name", ["Api", "1", "a.b", "a_b", "n" * 64, "a%2fb", "a%00", "%F0%9F%98%80"])
async def test_an_invalid_secret_name_is_refused(alice: Client, name: str) -> None:
    for answer in (await put(alice, name), await alice("DELETE", f"/secrets/{name}")):
        assert (answer.status, answer.fields) == (422, ["name"])


@pytest.mark.parametrize(
    ("name", "value", "headers", "status", "problem"),
    [
        ("api", CANARY + b"x" * 256 * 2**10, {}, 413, "body-too-large"),
        ("api", CANARY, {"Content-Type": "application/json"}, 415, "unsupported-media-type"),
        ("api", b"", {}, 422, "invalid-request"),
        ("snowflake", b'password = "' + CANARY, {}, 422, "invalid-request"),
        ("snowflake", b"\xff" + CANARY, {}, 422, "invalid-request"),
        ("Snowflake", CANARY, {}, 422, "invalid-request"),
    ],
)
async def test_a_refusal_does_not_repeat_the_value(
    served: Served,
    alice: Client,
    caplog: pytest.LogCaptureFixture,
    name: str,
    value: bytes,
    headers: dict[str, str],
    status: int,
    problem: str,
) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = await put(alice, name, value, **headers)
    assert (answer.status, answer.problem) == (status, problem)
    assert status != 422 or answer.fields in (["value"], ["name"])
    assert CANARY not in answer.body
    assert CANARY.decode() not in caplog.text
    assert served.podman.secrets == {}


async def test_a_failure_of_the_host_does_not_repeat_the_value(
    served: Served, alice: Client, caplog: pytest.LogCaptureFixture
) -> None:
    served.podman.refuses = web.json_response({"message": "disk on fire"}, status=500)
    with caplog.at_level(logging.DEBUG):
        answer = await put(alice, "api", CANARY)
    assert (answer.status, answer.problem) == (503, "host")
    assert "disk on fire" in caplog.text
    assert CANARY.decode() not in caplog.text + answer.body.decode()


async def test_a_nearly_full_disk_answers_507_and_changes_nothing(
    served: Served, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(alice, "api", b"kept")
    monkeypatch.setattr(podman, "FREE_BYTES_FOR_SECRETS", 2**63)
    for answer in (await put(alice, "other"), await alice("DELETE", "/secrets/api")):
        assert (answer.status, answer.problem) == (507, "storage-full")
        assert "Retry-After" in answer.headers
    assert served.podman.values == {"ml-agent.api.alice": b"kept"}


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_a_change_is_audited_although_the_client_hangs_up(
    served: Served, alice: Client, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    await put(alice, "api")
    made, left, ask = asyncio.Event(), asyncio.Event(), podman.Podman._ask

    async def changes_and_waits(self: podman.Podman, verb: str, path: str, **given: Any) -> Any:
        answer = await ask(self, verb, path, **given)
        if verb == "DELETE" or path == "/secrets/create":
            made.set()
            await left.wait()
        return answer

    monkeypatch.setattr(podman.Podman, "_ask", changes_and_waits)
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(put(alice, "api") if method == "PUT" else alice(method, "/secrets/api"))
        await made.wait()
        asking.cancel()

    async def noticed() -> bool:
        return len(served.connections) == 0

    await until(noticed)
    left.set()
    expected = "setSecret" if method == "PUT" else "removeSecret"

    async def audited() -> bool:
        rows = await served.scene.store.audit.rows(0, 1000)
        return [row.content()["action"] for row in rows][1:] == [expected]

    await until(audited)


async def test_no_call_returns_the_value_of_a_secret(served: Served, alice: Client) -> None:
    await put(alice, "warehouse", CANARY)
    job = await alice.submit("declared.py", hyperparameters={"depth": "3"})
    for template, operations in served.document.content["paths"].items():
        path = template.replace("{job_id}", job["job_id"]).replace("{path}", "x")
        if "get" not in operations or path.endswith("/events"):
            continue
        answer = await alice.get(path)
        assert CANARY not in answer.body, path
    answer = await alice.get("/secrets/warehouse")
    assert (answer.status, answer.problem) == (405, "method-not-allowed")
    assert CANARY.decode() not in json.dumps(answer.json)
    # Everything that the agent has written meanwhile.
    state = served.scene.settings.state_directory
    files = [path for path in state.rglob("*") if path.is_file()]
    assert served.scene.settings.database in files
    for path in files:
        assert CANARY not in path.read_bytes(), path
