"""Secrets of users that a fleet brings to a host: opened, kept in their newest version, and never told."""

import asyncio
import base64
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from agent.errors import AgentError, Problem
from agent.identity import host_key
from agent.identity.authority import Authority
from agent.model.certificate import Role
from agent.model.fleet import MAX_RESEALED, MAX_SECRET_BYTES, HostKey
from agent.secrets.sealing import About, decrypt, encrypt, new_key, public_bytes, seal, unseal
from tests.support.api_client import Answer, Client
from tests.support.fleet_pki import put_into_fleet
from tests.support.fleet_secrets import removed, sealed, version
from tests.support.served import Served

CANARY = b"hunter2-do-not-show"
PODMANS = "ml-agent.api.alice"


@dataclass
class Host:
    """The host `h1` and its member."""

    served: Served
    member: Client
    key: HostKey

    async def bring(self, value: bytes, number: int, user: str = "alice", name: str = "api") -> Answer:
        """Brings the version of a user's secret with that number."""
        return await self.put(
            sealed(value, self.key, About(user, name, version(number))).model_dump(), user, name
        )

    async def put(self, body: dict[str, Any], user: str = "alice", name: str = "api") -> Answer:
        return await self.member("PUT", f"/fleet/secrets/{name}", json=body, headers=on_behalf(user))

    async def drop(self, number: int, user: str = "alice", name: str = "api") -> Answer:
        body = removed(number).model_dump()
        return await self.member("DELETE", f"/fleet/secrets/{name}", json=body, headers=on_behalf(user))

    async def versions(self) -> dict[str, str | None]:
        """What the host says that it has: user and name, and the version."""
        held = (await self.member.get("/fleet/secrets")).json["secrets"]
        return {f"{each.get('user', '')}/{each['name']}": each.get("version") for each in held}

    async def revision(self) -> str:
        return str((await self.member.get("/fleet/room")).json["secrets"])

    @property
    def values(self) -> dict[str, bytes]:
        """What Podman has."""
        return self.served.podman.values


def on_behalf(user: str) -> dict[str, str]:
    return {"On-Behalf-Of": f"{user} analyst 192.0.2.7"}


@pytest.fixture
async def host(serve: Callable[..., Any]) -> Host:
    served: Served = await serve(host="h1")
    member = await served.known("member-1", Role.MEMBER)
    key = HostKey.model_validate((await member.get("/fleet/room")).json["secrets_key"])
    return Host(served, member, key)


async def test_a_secret_is_opened_listed_rotated_and_removed(host: Host) -> None:
    first = (await host.bring(b"one", 1)).json
    assert (first["name"], first["user"]) == ("api", "alice")
    assert host.values == {PODMANS: b"one"}
    assert await host.versions() == {"alice/api": first["version"]}
    second = (await host.bring(b"two", 2)).json
    assert host.values == {PODMANS: b"two"}
    assert await host.versions() == {"alice/api": second["version"]}
    assert (await host.drop(3)).status == 200
    assert (host.values, await host.versions()) == ({}, {})


async def test_the_same_version_again_changes_nothing(host: Host) -> None:
    body = sealed(b"one", host.key, About("alice", "api", version(1))).model_dump()
    assert [(await host.put(body)).status for _ in range(2)] == [200, 200]
    rows = await host.served.audited("alice")
    assert [(row["action"], row["subject"], row["via"]) for row in rows] == [("setSecret", "api", "member-1")]
    assert rows[0]["details"] == {"version": body["version"]}


async def test_an_older_version_is_refused_whatever_has_become_of_the_newer_one(host: Host) -> None:
    old = sealed(b"old", host.key, About("alice", "api", version(1))).model_dump()
    await host.bring(b"new", 2)
    assert (await host.put(old)).problem == "secret-outdated"
    assert (await host.drop(1)).problem == "secret-outdated"
    assert host.values == {PODMANS: b"new"}
    await host.drop(3)
    assert (await host.put(old)).problem == "secret-outdated"
    assert (await host.bring(b"new", 2)).problem == "secret-outdated"
    assert host.values == {}
    assert (await host.bring(b"newest", 4)).status == 200
    # Another's secret, and another secret, have versions of their own.
    assert (await host.bring(b"bob's", 1, "bob")).status == 200
    assert (await host.bring(b"other", 1, name="other")).status == 200


async def test_a_version_that_was_lost_here_can_be_brought_again(host: Host) -> None:
    body = sealed(b"one", host.key, About("alice", "api", version(1))).model_dump()
    await host.put(body)
    del host.served.podman.secrets[PODMANS]
    assert (await host.put(body)).status == 200
    assert host.values == {PODMANS: b"one"}


async def test_the_fleets_value_replaces_what_was_set_on_the_host(host: Host) -> None:
    host.served.podman.add("api", "alice", b"the operator's")
    assert (await host.bring(b"the fleet's", 1)).status == 200
    assert host.values == {PODMANS: b"the fleet's"}


async def test_a_secret_that_was_set_on_the_host_is_not_the_fleets_to_remove(host: Host) -> None:
    host.served.podman.add("api", "alice", b"the operator's")
    host.served.podman.add("api", None, b"everybody's")
    assert (await host.drop(1)).status == 200
    assert host.values == {PODMANS: b"the operator's", "ml-agent.api": b"everybody's"}
    assert await host.versions() == {"alice/api": None, "/api": None}


@pytest.mark.parametrize("about", [About("bob", "api", version(1)), About("alice", "other", version(1))])
async def test_what_is_anothers_cannot_be_opened(host: Host, about: About) -> None:
    body = sealed(CANARY, host.key, about).model_dump()
    answer = await host.put(body)
    assert (answer.status, answer.problem) == (422, "invalid-request")
    assert host.values == {}


async def test_a_version_is_what_was_sealed(host: Host) -> None:
    body = sealed(CANARY, host.key, About("alice", "api", version(1))).model_dump()
    assert (await host.put(body | {"version": version(2)})).problem == "invalid-request"
    assert (await host.put(body | {"version": "2"})).fields == ["version"]
    assert host.values == {}


async def test_a_connections_file_is_checked_as_if_it_was_set_here(host: Host) -> None:
    answer = await host.bring(CANARY, 1, name="snowflake")
    assert (answer.problem, answer.fields) == ("invalid-request", ["value"])
    assert CANARY not in answer.body


async def test_the_largest_value_fits_and_a_larger_one_does_not(host: Host) -> None:
    assert (await host.bring(bytes(MAX_SECRET_BYTES), 1)).status == 200
    assert (await host.bring(bytes(MAX_SECRET_BYTES + 3), 2)).fields == ["value"]
    assert host.values == {PODMANS: bytes(MAX_SECRET_BYTES)}


async def test_no_answer_log_or_file_has_the_value(
    host: Host, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = new_key()
    about = About("alice", "api", version(1))
    body = {
        "version": about.version,
        "key": seal(key, "h1", host.key.public_key, about),
        "value": encrypt(CANARY, key, about),
    }
    answers = [
        await host.put(body),
        await host.put(body | {"key": base64.b64encode(key).decode()}),
        await host.put(body, "bob"),
        await host.member.get("/fleet/secrets"),
        await host.member.get("/fleet/room"),
        await host.drop(2),
    ]
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 5
    for secret in (CANARY, base64.b64encode(CANARY)[:-4], key, base64.b64encode(key)):
        assert not any(secret in each.body for each in answers)
        assert secret.decode("latin-1") not in caplog.text
        assert not any(secret in content for content in files)


async def test_a_failure_of_podman_leaves_nothing_recorded(host: Host) -> None:
    host.served.podman.refuses = web.json_response({"message": "disk on fire"}, status=500)
    assert (await host.bring(b"one", 1)).problem == "host"
    assert await host.served.audited("alice") == []
    host.served.podman.refuses = None
    assert (await host.bring(b"one", 1)).status == 200


async def test_an_agent_that_ended_in_between_records_what_it_stored(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = sealed(b"one", host.key, About("alice", "api", version(1))).model_dump()
    versions = host.served.scene.store.secret_versions

    async def ended(*_: Any, **__: Any) -> None:
        raise AgentError(Problem.HOST, "ended")

    with monkeypatch.context() as patch:
        patch.setattr(versions, "record", ended)
        assert (await host.put(body)).problem == "host"
    assert (await host.put(body)).status == 200
    assert [row["action"] for row in await host.served.audited("alice")] == ["setSecret"]


# What the host says of itself


async def test_the_revision_changes_with_what_the_host_has(host: Host) -> None:
    revisions = [await host.revision(), await host.revision()]
    assert revisions[0] == revisions[1]
    await host.bring(b"one", 1)
    revisions.append(await host.revision())
    await host.bring(b"one", 2)
    revisions.append(await host.revision())
    await host.drop(3)
    assert await host.revision() == revisions[0]
    assert len(set(revisions)) == 3


async def test_what_an_operator_sets_is_seen_after_a_while(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await host.revision()
    host.served.podman.add("warehouse", None, b"everybody's")
    assert await host.revision() == before
    monkeypatch.setattr(time, "monotonic", lambda: 1e12)
    assert await host.revision() != before
    assert await host.versions() == {"/warehouse": None}


async def test_the_key_is_the_hosts_and_stays_the_same(host: Host) -> None:
    host_key.check(host.key, [host.served.authorities.fleet.certificate])
    assert (await host.member.get("/fleet/room")).json["secrets_key"] == host.key.model_dump()
    file = host.served.scene.settings.state_directory / "fleet-secrets.key"
    assert file.stat().st_mode & 0o777 == 0o600


async def test_a_host_that_nobody_vouches_for_still_tells_its_room(
    serve: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    served: Served = await serve(host="h1")
    (served.scene.settings.pki_directory / "fleet/server.crt").unlink()
    member = await served.known("member-1", Role.MEMBER)
    for _ in range(2):
        assert "secrets_key" not in (await member.get("/fleet/room")).json
    assert [each.levelname for each in caplog.records if "cannot bring" in each.message] == ["WARNING"]


# Sealing for another host


def other_host(fleet: Authority, directory: Path, name: str = "h2") -> tuple[X25519PrivateKey, HostKey]:
    """Another host's key, for which its certificate of that authority vouches."""
    private = X25519PrivateKey.generate()
    put_into_fleet(directory, fleet, f"{name}.hosts.fleet.internal")
    return private, host_key.signed(directory / "fleet", name, public_bytes(private))


async def test_a_host_seals_what_it_can_open_for_another_host_of_the_fleet(
    host: Host, tmp_path: Path
) -> None:
    private, other = other_host(host.served.authorities.fleet, tmp_path / "h2")
    key, about = new_key(), About("alice", "api", version(1))
    mine = {"user": "alice", "name": "api", "version": about.version}
    sealed_here = mine | {"key": seal(key, "h1", host.key.public_key, about)}
    not_mine = mine | {"key": seal(key, "h1", other.public_key, about)}
    body = {"to": other.model_dump(), "secrets": [sealed_here, not_mine]}
    (resealed,) = (await host.member.post("/fleet/reseal", body)).json["secrets"]
    assert {name: resealed[name] for name in mine} == mine
    assert unseal(resealed["key"], "h2", private, about) == key
    assert (
        decrypt(encrypt(CANARY, key, about), unseal(resealed["key"], "h2", private, about), about) == CANARY
    )
    (row,) = await host.served.audited("member-1")
    assert (row["action"], row["subject"], row["details"]) == ("resealSecrets", "h2", {"secrets": 1})


async def test_a_host_seals_for_nobody_else(host: Host, tmp_path: Path) -> None:
    _, foreign = other_host(Authority.make("another CA"), tmp_path / "foreign")
    _, admitted = other_host(host.served.authorities.fleet, tmp_path / "h2")
    exchanged = admitted.model_copy(update={"public_key": public_bytes(X25519PrivateKey.generate())})
    renamed = admitted.model_copy(update={"host": "h3"})
    key, about = new_key(), About("alice", "api", version(1))
    sealed_here = {"user": "alice", "name": "api", "version": about.version}
    sealed_here["key"] = seal(key, "h1", host.key.public_key, about)
    for to in (foreign, exchanged, renamed):
        answer = await host.member.post("/fleet/reseal", {"to": to.model_dump(), "secrets": [sealed_here]})
        assert (answer.status, answer.problem) == (403, "forbidden")
    rows = await host.served.audited("member-1")
    assert [row["result"] for row in rows] == ["refused"] * 3


async def test_so_many_keys_are_sealed_in_one_request(host: Host) -> None:
    one = {"user": "alice", "name": "api", "version": version(1), "key": "AAAA"}
    for count, status in ((MAX_RESEALED, 200), (MAX_RESEALED + 1, 422)):
        body = {"to": host.key.model_dump(), "secrets": [one] * count}
        assert (await host.member.post("/fleet/reseal", body)).status == status


# A hostile member

TEXTS = st.text(max_size=20) | st.from_regex(r"[A-Za-z0-9+/]{0,40}={0,2}", fullmatch=True)
VALUES = st.none() | st.booleans() | st.integers() | TEXTS | st.lists(TEXTS, max_size=3)


def changed(value: Any, draw: Any) -> Any:
    """A JSON value with one part of it, or all of it, replaced."""
    if isinstance(value, list) and value:
        return [changed(value[0], draw)]
    if isinstance(value, dict) and draw(st.integers(0, 3)):
        name = draw(st.sampled_from([*value, "odd"]))
        return {**value, name: changed(value.get(name), draw)}
    return draw(VALUES)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
async def test_no_body_is_a_fault_of_the_agent(host: Host, method: str) -> None:
    """Whatever a member sends, it is answered, or refused with a reason, and nothing is stored."""
    one = {"user": "alice", "name": "api", "version": version(1), "key": "AAAA"}
    plain: Any = {
        "PUT": sealed(CANARY, host.key, About("bob", "other", version(1))).model_dump(),
        "DELETE": {"version": version(1)},
        "POST": {"to": host.key.model_dump(), "secrets": [one]},
    }[method]
    bodies = [plain]

    @settings(max_examples=60, deadline=None, database=None, phases=[Phase.generate])
    @given(st.data())
    def collect(data: st.DataObject) -> None:
        bodies.append(changed(plain, data.draw))

    await asyncio.to_thread(collect)
    path, headers = ("reseal", {}) if method == "POST" else ("secrets/api", on_behalf("alice"))
    headers = {"Content-Type": "application/json"} | headers
    for body in bodies:
        answer = await host.member(method, f"/fleet/{path}", data=json.dumps(body), headers=headers)
        assert answer.status in (200, 400, 403, 409, 422), (body, answer.body)
    assert host.values == {}
