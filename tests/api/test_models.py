"""Models over HTTP: conditions, pages, readers and bytes. What a move does is in tests/aliases."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from agent.api.keys import BACKEND
from tests.support.api_client import Answer, Client
from tests.support.api_fixtures import over_any_host
from tests.support.served import AnyServed, Served

ALIAS = "/models/churn/aliases/champion"
CONTENT = bytes(range(256)) * 1024
TAG = f'"{hashlib.sha256(CONTENT).hexdigest()}"'


async def completed(served: AnyServed, client: Client, content: bytes = CONTENT) -> dict[str, str]:
    """What an alias can point at."""
    job = await client.submit()
    served.add_artifact(job, "model.bin", content)
    await served.finish(job)
    return {"job_id": job["job_id"], "path": "model.bin"}


async def point(client: Client, to: object, path: str = ALIAS, **headers: str) -> Answer:
    return await client("PUT", path, json=to, headers=headers)


@over_any_host
async def test_an_alias_is_made_moved_and_removed_on_a_condition(served: AnyServed, alice: Client) -> None:
    first, second = [await completed(served, alice, text) for text in (b"one", b"two")]
    made = await point(alice, first, **{"If-None-Match": "*"})
    assert (made.status, made.headers["Etag"]) == (200, f'"{made.json["version"]}"')
    assert made.json["sha256"] == hashlib.sha256(b"one").hexdigest()
    assert (await alice.get(ALIAS)).json == made.json
    assert (await alice.get(ALIAS)).headers["Etag"] == made.headers["Etag"]

    for stale in (
        {"If-None-Match": "*"},
        {"If-Match": '"aaaaaaaaaaaa"'},
        {"If-Match": "W/" + made.headers["Etag"]},
    ):
        refused = await point(alice, second, **stale)
        assert (refused.status, refused.problem) == (412, "precondition-failed")
    moved = await point(alice, second, **{"If-Match": made.headers["Etag"]})
    assert (moved.json["number"], moved.json["job_id"]) == (2, second["job_id"])
    assert (await alice.get(f"{ALIAS}/history")).json == {"moves": [moved.json, made.json]}
    assert (await alice.get("/models/churn")).json["aliases"] == [moved.json]

    stale = {"If-Match": made.headers["Etag"]}
    assert (await alice("DELETE", ALIAS, json={}, headers=stale)).status == 412
    assert (await alice("DELETE", ALIAS)).json == moved.json
    for path, problem in ((ALIAS, "model-not-found"), ("/models/churn", "model-not-found")):
        assert (await alice.get(path)).problem == problem


@over_any_host
async def test_what_an_alias_points_at_is_served_as_the_artifact_is(served: AnyServed, alice: Client) -> None:
    await point(alice, await completed(served, alice))
    path = f"{ALIAS}/artifact"
    whole = await alice.get(path)
    assert (whole.status, whole.body, whole.headers["Etag"]) == (200, CONTENT, TAG)
    assert f'"{hashlib.sha256(whole.body).hexdigest()}"' == TAG
    assert (await alice.get(path, Range="bytes=10-19")).body == CONTENT[10:20]
    assert (await alice.get(path, **{"If-None-Match": TAG})).status == 304
    assert (await alice.get(path, **{"If-Match": '"other"'})).problem == "precondition-failed"
    head = await alice("HEAD", path)
    assert (head.status, head.headers["Content-Length"], head.body) == (200, str(len(CONTENT)), b"")


async def test_bytes_that_are_others_than_the_digest_says_are_not_served(
    served: Served, alice: Client
) -> None:
    to = await completed(served, alice)
    await point(alice, to)
    (served.artifacts(to) / "model.bin").write_bytes(b"others")
    for kept in served.artifacts(to).parent.glob("manifest.json"):
        kept.unlink()
    refused = await alice.get(f"{ALIAS}/artifact")
    assert (refused.status, refused.problem) == (404, "artifact-not-found")


@over_any_host
async def test_what_cannot_be_pointed_at_is_refused(served: AnyServed, alice: Client, bob: Client) -> None:
    his, waiting = await completed(served, bob), await alice.submit()
    mine = await completed(served, alice)
    for to, status, problem in (
        (his, 404, "job-not-found"),
        (his | {"job_id": "a" * 12}, 404, "job-not-found"),
        ({"job_id": waiting["job_id"], "path": "model.bin"}, 409, "not-completed"),
        (mine | {"path": "nothing"}, 404, "artifact-not-found"),
        (mine | {"path": ""}, 422, "invalid-request"),
        (mine | {"path": "x" * 8001}, 422, "invalid-request"),
        ({"path": "model.bin"}, 422, "invalid-request"),
        (mine | {"surprise": 1}, 422, "invalid-request"),
    ):
        refused = await point(alice, to)
        assert (refused.status, refused.problem) == (status, problem)
    for path, field in (
        ("/models/Churn/aliases/champion", "model"),
        ("/models/churn/aliases/_", "alias"),
        (f"/models/{'a' * 64}/aliases/champion", "model"),
    ):
        refused = await point(alice, mine, path)
        assert (refused.problem, refused.fields) == ("invalid-request", [field])
    assert (await alice.get("/models")).json == {"models": []}
    rows = [row for row in await served.audited("alice") if row["action"] == "setAlias"]
    expected = {("refused", his["job_id"]), ("refused", "a" * 12)}
    assert (len(rows), {(row["result"], row["subject"]) for row in rows}) == (2, expected)


@over_any_host
async def test_named_users_or_everybody_may_read_and_nobody_else(
    served: AnyServed, alice: Client, bob: Client
) -> None:
    await point(alice, await completed(served, alice))
    paths = ("/models/churn", ALIAS, f"{ALIAS}/history", f"{ALIAS}/artifact")

    async def may_read(client: Client) -> bool:
        answers = [await client.get(path) for path in paths]
        listed = (await client.get("/models")).json["models"] != []
        found = {answer.status for answer in answers} | {200 if listed else 404}
        assert len(found) == 1
        return found == {200}

    dora = await served.known("dora")
    for body, expected in (
        ({}, (False, False)),
        ({"users": ["bob", "bob"]}, (True, False)),
        ({"everybody": True}, (True, True)),
        ({"users": ["dora"], "everybody": False}, (False, True)),
    ):
        answer = await alice("PUT", "/models/churn/readers", json=body)
        users = sorted(set(body.get("users", [])))  # type: ignore[call-overload]
        assert answer.json["readers"] == {"users": users, "everybody": body.get("everybody", False)}
        assert (await may_read(bob), await may_read(dora)) == expected
    for refused in (
        await dora("PUT", "/models/churn/readers", json={"everybody": True}),
        await dora("DELETE", ALIAS),
        await point(dora, await completed(served, dora)),
        await point(bob, await completed(served, bob)),
    ):
        assert (refused.status, refused.problem) == (403, "forbidden")
    await alice("PUT", "/models/churn/readers", json={"users": ["dora"]})  # which changes nothing
    rows = [row for row in await served.audited("alice") if row["action"] == "setModelReaders"]
    assert len(rows) == 3
    too_many = {"users": [f"u{number}" for number in range(51)]}
    assert (await alice("PUT", "/models/churn/readers", json=too_many)).fields == ["users"]


@over_any_host
async def test_an_operator_moves_an_alias_and_its_owner_stays(
    served: AnyServed, alice: Client, operator: Client
) -> None:
    await point(alice, await completed(served, alice, b"one"))
    moved = await point(operator, await completed(served, alice, b"two"))
    assert (moved.status, moved.json["moved_by"]) == (200, "oscar")
    assert (await alice.get("/models/churn")).json["owner"] == "alice"


@over_any_host
async def test_pages_lead_to_all_models_newest_first(served: AnyServed, alice: Client) -> None:
    to = await completed(served, alice)
    for number in range(5):
        await point(alice, to, f"/models/m{number}/aliases/champion")
    seen, cursor = [], ""
    while True:
        page = (await alice.get(f"/models?limit=2{cursor}")).json
        seen += [each["model"] for each in page["models"]]
        if "next_cursor" not in page:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == ["m4", "m3", "m2", "m1", "m0"]
    wrong = await alice.get("/models?cursor=" + "A" * 22)
    assert (wrong.problem, wrong.fields) == ("invalid-request", ["cursor"])


async def test_a_backend_without_models_says_so(serve: Callable[..., Any]) -> None:
    served: Served = await serve()
    alice = await served.known("alice")
    served.app._state[BACKEND] = replace(served.backend, models=None)
    for answer in (await alice.get("/models"), await point(alice, {"job_id": "a" * 12, "path": "x"})):
        assert (answer.status, answer.problem) == (404, "no-such-route")
