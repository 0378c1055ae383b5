"""A host of a fleet: what the fleet's programs may ask of it, and what everybody else may not."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from agent.api.access import TABLE
from agent.api.access import Cell as Cell
from agent.audit.chain import Caller
from agent.model.base import ID_ALPHABET, new_job_id, now
from agent.model.certificate import PEOPLE, Role
from agent.model.fleet import HostKey
from agent.model.host import Drain
from agent.secrets.sealing import About
from tests.support.api_client import Answer, Client, events
from tests.support.every_call import BODIES, BYTES, ENDLESS, EXAMPLES, FLEET_PATHS, PATHS, filled
from tests.support.fleet_secrets import sealed, version
from tests.support.served import Served

ALICE = {"On-Behalf-Of": "alice analyst 192.0.2.7"}
EVERY_PATH = PATHS | FLEET_PATHS


@dataclass
class Fleet:
    """A host that is `h1` in its fleet, and the fleet's programs."""

    served: Served
    front: Client
    member: Client

    async def give(self, job_id: str = "", *, key: str = "1", late: float = -60, **options: Any) -> Answer:
        """Gives a job of alice's to the host, so many seconds after its deadline."""
        headers = options.pop("headers", ALICE)
        deadline = time.clock_gettime(time.CLOCK_BOOTTIME) - late
        body = {
            "job_id": job_id or new_job_id(),
            "key": key,
            "not_after": deadline,
            "request": {"script_name": "succeed.py", **options},
        }
        return await self.member.post("/fleet/jobs", body, **headers)


@pytest.fixture
async def fleet(serve: Callable[..., Any]) -> Fleet:
    served: Served = await serve(host="h1")
    return Fleet(
        served, await served.known("front-1", Role.FRONT), await served.known("member-1", Role.MEMBER)
    )


def sent(operation: str, method: str, **headers: str) -> dict[str, Any]:
    """What a plain use of a call sends."""
    if operation in BYTES:
        return {"data": BYTES[operation], "headers": headers | {"Content-Type": "application/octet-stream"}}
    body = BODIES.get(operation, None if method == "GET" else {})
    if operation == "takeJob":
        deadline = time.clock_gettime(time.CLOCK_BOOTTIME) + 60
        request = BODIES["submitJob"]
        body = {"job_id": new_job_id(), "key": "1", "not_after": deadline, "request": request}
    return {"json": body, "headers": headers}


async def ask(
    client: Client, operation: str, job_id: str, secrets: dict[str, Any] | None = None, **headers: str
) -> int:
    """The status of a call about a job. A stream that begins is left.

    `secrets` are the bodies of calls that bring sealed secrets, which each host and user has others of.
    """
    method, path, _ = EVERY_PATH[operation]
    path = filled(path, job_id)
    if operation in ENDLESS:
        async with client.session.get(client.base + path, headers=headers) as response:
            return response.status
    options = sent(operation, method, **headers)
    if secrets and operation in secrets:
        options["json"] = secrets[operation]
    return (await client(method, path, **options)).status


async def sealed_for(fleet: Fleet, user: str) -> dict[str, Any]:
    """What brings a secret of a user to the host, and what has the host seal one for another host."""
    key = HostKey.model_validate((await fleet.member.get("/fleet/room")).json["secrets_key"])
    about = About(user, EXAMPLES["name"], version(1))
    return {
        "takeSecret": sealed(b"a value", key, about).model_dump(),
        "resealSecrets": {"to": key.model_dump(), "secrets": []},
    }


OPERATIONS = [name for name in EVERY_PATH if name != "enrol"]


@pytest.mark.parametrize("peer", [Role.FRONT, Role.MEMBER])
async def test_what_a_peer_may_do_by_itself(fleet: Fleet, peer: Role) -> None:
    client = fleet.front if peer is Role.FRONT else fleet.member
    given = (await fleet.give()).json["job_id"]
    fleet.served.add_artifact({"job_id": given}, "result.txt", b"hers")
    for operation in OPERATIONS:
        status = await ask(client, operation, given, await sealed_for(fleet, "member-1"))
        allowed = TABLE[operation].grant(peer).own is Cell.YES
        assert status == (EVERY_PATH[operation][2] if allowed else 403), operation


@pytest.mark.parametrize("role", PEOPLE)
@pytest.mark.parametrize("peer", [Role.FRONT, Role.MEMBER])
async def test_what_a_peer_may_do_on_behalf_of_a_user(fleet: Fleet, peer: Role, role: Role) -> None:
    client = fleet.front if peer is Role.FRONT else fleet.member
    for operation in OPERATIONS:
        row = TABLE[operation]
        user = f"user.{operation.lower()}"
        job = (await fleet.give(headers={"On-Behalf-Of": f"{user} {role} 192.0.2.7"})).json
        if not job.get("job_id"):  # after the host was drained
            await fleet.front(
                "DELETE", "/fleet/drain", json={}, headers={"On-Behalf-Of": "oscar operator 192.0.2.9"}
            )
            job = (await fleet.give(headers={"On-Behalf-Of": f"{user} {role} 192.0.2.7"})).json
        fleet.served.add_artifact(job, "result.txt", b"hers")
        if operation == "removeSecret":
            await fleet.front(
                "PUT",
                "/secrets/api-key",
                data=b"x",
                headers={
                    "Content-Type": "application/octet-stream",
                    "On-Behalf-Of": f"{user} {role} 192.0.2.7",
                },
            )
        secrets = await sealed_for(fleet, user)
        status = await ask(
            client, operation, job["job_id"], secrets, **{"On-Behalf-Of": f"{user} {role} 192.0.2.7"}
        )
        allowed = peer in row.through and row.grant(role).own is Cell.YES
        assert status == (EVERY_PATH[operation][2] if allowed else 403), operation
        rows = await fleet.served.audited(user)
        assert all(row["via"] in ("front-1", "member-1") for row in rows)
        refused = [row for row in rows if row["result"] == "refused"]
        assert [row["action"] for row in refused] == ([] if allowed else [operation])


@pytest.mark.parametrize("role", PEOPLE)
async def test_nobody_else_may_use_the_calls_of_peers(fleet: Fleet, role: Role) -> None:
    caller = await fleet.served.known("caller", role)
    given = (await fleet.give(headers={"On-Behalf-Of": "caller analyst 192.0.2.7"})).json["job_id"]
    for operation in FLEET_PATHS:
        assert await ask(caller, operation, given) == 403, operation
        assert await ask(caller, operation, given, None, **ALICE) == 403, operation
    for operation in OPERATIONS:
        assert await ask(caller, operation, given, None, **ALICE) == 403, operation
    refused = [row for row in await fleet.served.audited("caller") if row["result"] == "refused"]
    assert refused
    assert not any("via" in row for row in refused)


async def test_a_host_outside_of_any_fleet_trusts_no_peer(serve: Callable[..., Any]) -> None:
    served: Served = await serve()
    for role in (Role.FRONT, Role.MEMBER):
        peer = await served.known("peer-1", role)
        for operation in PATHS.keys() - {"enrol"}:
            assert await ask(peer, operation, new_job_id(), None, **ALICE) == 403, operation
            assert await ask(peer, operation, new_job_id()) == 403, operation
        assert (await peer.get("/fleet/room")).problem == "no-such-route"
    await served.nothing_is_left()


async def test_a_front_of_another_fleet_does_not_get_past_the_handshake(fleet: Fleet) -> None:
    foreign = fleet.served.client(fleet.served.authorities.foreign.issue_client("front-1"))
    with pytest.raises(aiohttp.ClientError):
        await foreign.get("/jobs", **ALICE)
    unknown = fleet.served.client(fleet.served.authorities.own.issue_client("front-1"))
    answer = await unknown.get("/jobs", **ALICE)
    assert (answer.status, answer.problem) == (403, "certificate-refused")


async def test_a_member_sees_the_fleets_jobs_and_no_others(fleet: Fleet) -> None:
    given = (await fleet.give()).json
    alice = await fleet.served.known("alice")
    own = await alice.submit()
    assert (given["host"], own.get("host")) == ("h1", None)
    assert (await fleet.member.get(f"/jobs/{given['job_id']}")).json == given
    answer = await fleet.member.get(f"/jobs/{own['job_id']}")
    assert (answer.status, answer.problem) == (404, "job-not-found")
    for part in ("logs", "artifacts", "metrics", "usage", "events"):
        for job in (given, own):
            assert (await fleet.member.get(f"/jobs/{job['job_id']}/{part}")).status == 403
    async with fleet.member.stream("/events") as response:
        seen = events(response)
        names = [await anext(seen) for _ in range(3)]
        assert [name for name, _, _ in names] == ["reset", "job", "current"]
        await alice("POST", f"/jobs/{own['job_id']}/cancel")
        await alice("POST", f"/jobs/{given['job_id']}/cancel")
        name, job, _ = await anext(seen)
        assert (name, job["job_id"], job["status"]) == ("job", given["job_id"], "CANCELLED")


@pytest.mark.parametrize(
    "text",
    [
        "alice",
        "alice analyst",
        "alice root 192.0.2.7",
        "alice member 192.0.2.7",
        "Alice analyst 192.0.2.7",
        "alice analyst 192.0.2.7 more",
        "alice analyst " + "1" * 65,
        "",
    ],
)
async def test_a_user_that_cannot_be_read_is_refused(fleet: Fleet, text: str) -> None:
    answer = await fleet.front.get("/jobs", **{"On-Behalf-Of": text})
    assert (answer.status, answer.fields) == (422, ["On-Behalf-Of"])


async def test_the_audit_names_both(fleet: Fleet) -> None:
    job = (await fleet.give()).json
    await fleet.front("POST", f"/jobs/{job['job_id']}/cancel", json={}, headers=ALICE)
    rows = {row["action"]: row for row in await fleet.served.audited("alice")}
    whose = ("actor", "role", "source", "via")
    assert [rows["submitJob"][name] for name in whose] == ["alice", "analyst", "192.0.2.7", "member-1"]
    assert [rows["cancelJob"][name] for name in whose] == ["alice", "analyst", "192.0.2.7", "front-1"]


# What counts against the user.


async def test_requests_on_behalf_of_a_user_count_against_that_users_rate(serve: Callable[..., Any]) -> None:
    served: Served = await serve(host="h1", requests_per_second=0.1, request_burst=3)
    front = await served.known("front-1", Role.FRONT)
    alice = await served.known("alice")
    statuses = [(await front.get("/jobs", **ALICE)).status for _ in range(2)]
    statuses += [(await alice.get("/jobs")).status for _ in range(2)]
    assert statuses == [200, 200, 200, 429]
    assert (await front.get("/jobs", **{"On-Behalf-Of": "bob analyst 192.0.2.8"})).status == 200


async def test_streams_on_behalf_of_a_user_count_against_that_users(serve: Callable[..., Any]) -> None:
    served: Served = await serve(host="h1", max_followers_per_user=2)
    front, alice = await served.known("front-1", Role.FRONT), await served.known("alice")
    async with front.stream("/events", **ALICE), alice.stream("/events"):
        assert (await front.get("/events", **ALICE)).problem == "too-many-streams"
        async with front.stream("/events", **{"On-Behalf-Of": "bob analyst 192.0.2.8"}):
            pass


async def test_connections_on_behalf_of_a_user_count_against_that_users(serve: Callable[..., Any]) -> None:
    served: Served = await serve(host="h1", max_connections_per_user=2)
    front, alice = await served.known("front-1", Role.FRONT), await served.known("alice")
    async with front.stream("/events", **ALICE), alice.stream("/events"):
        assert (await front.get("/jobs", **ALICE)).problem == "too-many-connections"
        bob = {"On-Behalf-Of": "bob analyst 192.0.2.8"}
        async with front.stream("/events", **bob), front.stream("/events", **bob):
            pass
    await asyncio.sleep(0)
    assert (await front.get("/jobs", **ALICE)).status == 200


async def test_a_stream_ends_with_the_peers_role(serve: Callable[..., Any]) -> None:
    served: Served = await serve(host="h1")
    front = await served.known("front-1", Role.FRONT)
    async with front.stream("/events", **ALICE) as response:
        seen = events(response)
        while (await anext(seen))[0] != "current":
            pass
        await served.scene.store.database.run(
            lambda db: db.execute("UPDATE certificates SET role = 'analyst' WHERE user = 'front-1'") and None
        )
        async with asyncio.timeout(30):
            while (event := await anext(seen))[0] == ":":
                pass
        assert (event[0], event[1]["type"]) == ("error", "urn:ml-agent:problem:certificate-refused")


# Given jobs.


async def test_the_same_id_and_key_give_the_job_that_is_known(fleet: Fleet) -> None:
    job_id = new_job_id()
    first = await fleet.give(job_id)
    again = await fleet.give(job_id, late=60)  # a deadline is for what is new
    assert (first.status, again.status) == (202, 202)
    assert first.json["job_id"] == job_id
    assert again.json == first.json
    assert len((await fleet.served.jobs.registry.page()).jobs) == 1


@pytest.mark.parametrize("drained", [False, True])
async def test_a_known_job_is_told_also_by_a_drained_host(fleet: Fleet, drained: bool) -> None:
    job_id = new_job_id()
    await fleet.give(job_id)
    if drained:
        await fleet.front(
            "PUT", "/fleet/drain", json={}, headers={"On-Behalf-Of": "oscar operator 192.0.2.9"}
        )
    assert (await fleet.give(job_id)).status == 202


async def test_another_key_or_body_does_not_get_the_id(fleet: Fleet) -> None:
    job_id = new_job_id()
    await fleet.give(job_id)
    another = [
        await fleet.give(job_id, key="2"),
        await fleet.give(job_id, script_name="fail.py"),
        await fleet.give(job_id, headers={"On-Behalf-Of": "bob analyst 192.0.2.8"}),
    ]
    assert [(answer.status, answer.problem) for answer in another] == [
        (409, "job-id-taken"),
        (422, "idempotency-mismatch"),
        (422, "idempotency-mismatch"),
    ]
    assert len((await fleet.served.jobs.registry.page()).jobs) == 1


async def test_a_clash_of_the_first_eight_characters_is_refused(fleet: Fleet) -> None:
    alice = await fleet.served.known("alice")
    own = (await alice.submit())["job_id"]
    last = ID_ALPHABET[(ID_ALPHABET.index(own[-1]) + 1) % len(ID_ALPHABET)]
    for clashing in (own, own[:-1] + last):
        answer = await fleet.give(clashing)
        assert (answer.status, answer.problem) == (409, "job-id-taken")


async def test_an_id_whose_record_is_gone_does_not_run_again(fleet: Fleet) -> None:
    job = (await fleet.give()).json
    await fleet.served.finish(job)
    await fleet.served.scene.store.jobs.mark_archived(job["job_id"])
    remove = fleet.served.scene.store.retention.remove_jobs
    assert await remove([job["job_id"]]) == [], "the fleet has not heard of its end"
    assert (await fleet.member.post("/fleet/told", {"job_ids": [job["job_id"]]})).status == 200
    assert await remove([job["job_id"]]) == [job["job_id"]]
    answer = await fleet.give(job["job_id"])
    assert (answer.status, answer.problem) == (409, "job-id-taken")


async def test_a_job_that_comes_late_is_refused_and_leaves_nothing(fleet: Fleet) -> None:
    job_id = new_job_id()
    answer = await fleet.give(job_id, late=0.5)
    assert (answer.status, answer.problem) == (409, "deadline-passed")
    await fleet.served.nothing_is_left()
    assert not [row for row in await fleet.served.audited("alice") if row["action"] == "submitJob"]
    assert (await fleet.give(job_id)).status == 202, "the id is still free"


async def test_the_deadline_is_checked_when_the_transaction_has_its_turn(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request is in time, and the disk is not: the check is the last step before the commit."""
    database, run = fleet.served.scene.store.database, fleet.served.scene.store.database.run

    async def slowly(work: Any) -> Any:
        await asyncio.sleep(0.6)
        return await run(work)

    monkeypatch.setattr(database, "run", slowly)
    answer = await fleet.give(late=-0.5)
    assert answer.problem == "deadline-passed"


async def test_a_member_may_not_put_a_users_job_first(fleet: Fleet) -> None:
    assert (await fleet.give(priority=1)).problem == "forbidden"
    as_administrator = {"On-Behalf-Of": "root administrator 192.0.2.7"}
    assert (await fleet.give(priority=1, headers=as_administrator)).status == 202


# Withdrawing.


async def test_a_waiting_job_can_be_withdrawn(fleet: Fleet) -> None:
    job = (await fleet.give()).json
    path = f"/fleet/jobs/{job['job_id']}/withdraw"
    first = await fleet.member.post(path, {}, **ALICE)
    again = await fleet.member.post(path, {}, **ALICE)
    assert (first.status, first.json["status"], first.json["reason"]) == (200, "CANCELLED", "cancelled")
    assert again.json == first.json
    deeds = [row for row in await fleet.served.audited("alice") if row["action"] == "withdrawJob"]
    assert len(deeds) == 1


async def test_what_has_begun_or_was_cancelled_cannot_be_withdrawn(fleet: Fleet) -> None:
    alice = await fleet.served.known("alice")
    running = await fleet.served.running_job(alice)
    cancelled = await alice.submit()
    await alice("POST", f"/jobs/{cancelled['job_id']}/cancel")
    for job, status in ((running, "RUNNING"), (cancelled, "CANCELLED")):
        answer = await fleet.member.post(f"/fleet/jobs/{job['job_id']}/withdraw", {}, **ALICE)
        assert (answer.status, answer.problem) == (409, "not-waiting")
        assert (await alice.get(f"/jobs/{job['job_id']}")).json["status"] == status


async def test_another_users_job_cannot_be_withdrawn(fleet: Fleet) -> None:
    job = (await fleet.give()).json
    bob = {"On-Behalf-Of": "bob analyst 192.0.2.8"}
    answer = await fleet.member.post(f"/fleet/jobs/{job['job_id']}/withdraw", {}, **bob)
    assert (answer.status, answer.problem) == (404, "job-not-found")


# A dry run.


async def test_a_dry_run_shows_the_job_and_leaves_nothing(fleet: Fleet) -> None:
    answer = await fleet.front.post("/fleet/check", {"script_name": "succeed.py"}, **ALICE)
    assert answer.status == 200
    assert (answer.json["owner"], answer.json["status"]) == ("alice", "PENDING")
    assert answer.json["limits"]["cpus"] == 1
    assert len(answer.json["commit"]) == 40
    await fleet.served.nothing_is_left()


@pytest.mark.parametrize(
    ("request_", "problem", "fields"),
    [
        ({"script_name": "nope.py"}, "script-not-found", ["script_name"]),
        ({"script_name": "succeed.py", "ref": "nope"}, "ref-not-found", ["ref"]),
        ({"script_name": "networked.py"}, "invalid-request", ["script_name"]),
        (
            {"script_name": "declared.py", "hyperparameters": {"depth": "1"}},
            "secret-missing",
            ["script_name"],
        ),
        ({"script_name": "succeed.py", "limits": {"cpus": 5}}, "invalid-request", ["limits.cpus"]),
        ({"script_name": "succeed.py", "priority": 1}, "forbidden", ["priority"]),
    ],
)
async def test_a_dry_run_finds_what_a_submission_would(
    fleet: Fleet, request_: dict[str, Any], problem: str, fields: list[str]
) -> None:
    fleet.served.scene.podman.secrets = frozenset()
    checked = await fleet.front.post("/fleet/check", request_, **ALICE)
    given = await fleet.give(**request_)
    for answer in (checked, given):
        assert (answer.problem, answer.fields) == (problem, fields)


# Room, and draining.


async def test_a_peer_is_told_of_the_room(fleet: Fleet) -> None:
    alice = await fleet.served.known("alice")
    before = (await fleet.member.get("/fleet/room")).json
    assert before["host"] == "h1"
    assert (before["draining"], before["others"]["jobs"], before["ends_in_seconds"]) == (False, 0, 0)
    assert before["free"] == before["capacity"]
    assert before["networks"] == ["none"]
    running = await fleet.served.running_job(alice)
    await alice.submit()
    after = (await fleet.front.get("/fleet/room")).json
    assert after["free"]["jobs"] == before["free"]["jobs"] - 1
    assert after["free"]["cpus"] == before["free"]["cpus"] - running["limits"]["cpus"]
    assert (after["others"]["jobs"], after["others"]["cpus"]) == (2, 2 * running["limits"]["cpus"])
    await fleet.give()
    assert (await fleet.front.get("/fleet/room")).json["others"] == after["others"]
    assert 50 < after["ends_in_seconds"] <= 60


async def test_a_drained_host_starts_nothing_until_it_is_told_to(serve: Callable[..., Any]) -> None:
    served: Served = await serve(host="h1", drive=True)
    fleet = Fleet(
        served, await served.known("front-1", Role.FRONT), await served.known("member-1", Role.MEMBER)
    )
    alice = await served.known("alice")
    oscar = {"On-Behalf-Of": "oscar operator 192.0.2.9"}
    assert (await fleet.front("PUT", "/fleet/drain", json={}, headers=oscar)).json["draining"] is True
    await fleet.front("PUT", "/fleet/drain", json={}, headers=oscar)
    assert (await fleet.give()).problem == "draining"
    waiting = await alice.submit()
    assert "drained" in waiting["queue"]["waits_for"]
    assert served.scene.units.started == []
    # What an agent that starts now reads.
    assert await served.scene.store.drains.get()
    assert (await fleet.front("DELETE", "/fleet/drain", json={}, headers=oscar)).json["draining"] is False
    async with asyncio.timeout(20):
        while not served.scene.units.started:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    deeds = [row["action"] for row in await served.audited("oscar")]
    assert sorted(deeds) == ["drainHost", "undrainHost"]


async def test_a_planned_drain_is_told_to_the_fleet(fleet: Fleet) -> None:
    assert "closes_in_seconds" not in (await fleet.member.get("/fleet/room")).json
    planned = Drain(begins_at=now() + timedelta(hours=1), reason="not the fleet's business")
    deed = Caller(actor="ml", role="account", source="this host").did("drainHost")
    await fleet.served.scene.store.drains.set(planned, deed=deed)
    await fleet.served.jobs.admission.look()
    told = (await fleet.member.get("/fleet/room")).json
    assert 3590 < told["closes_in_seconds"] <= 3600
    assert (told["draining"], "business" in str(told)) == (False, False)
    assert (await fleet.give()).status == 202
    oscar = {"On-Behalf-Of": "oscar operator 192.0.2.9"}
    begun = (await fleet.front("PUT", "/fleet/drain", json={}, headers=oscar)).json
    assert (begun["draining"], "closes_in_seconds" in begun) == (True, False)


async def test_an_agent_that_starts_on_a_drained_host_starts_nothing(fleet: Fleet) -> None:
    oscar = {"On-Behalf-Of": "oscar operator 192.0.2.9"}
    await fleet.front("PUT", "/fleet/drain", json={}, headers=oscar)
    jobs = fleet.served.scene.jobs()
    await jobs.reconciler.load()
    assert jobs.registry.draining
