"""Secrets of a fleet's users: from a front, through a real Redis, sealed, to the agents of several hosts."""

import asyncio
import base64
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from agent.audit.chain import Caller, Deed
from agent.errors import AgentError, Problem
from agent.fleet import secret_sync, secrets
from agent.fleet.entries import HostReport, NoClaim, Offer
from agent.fleet.record import Record
from agent.fleet.secrets import FleetSecrets
from agent.identity import host_key
from agent.identity.authority import Authority
from agent.model.fleet import MAX_SECRET_BYTES, host_server_name
from agent.model.job import Job, JobState
from agent.secrets import fleet as agents_side
from agent.secrets.sealing import public_bytes
from tests.support.fleet_front import ServedFront
from tests.support.fleet_host import FleetHost
from tests.support.fleet_pki import put_into_fleet
from tests.support.fleet_record import HOST, NEED, submitted
from tests.support.jobs import make_job
from tests.support.openapi import Document
from tests.support.redis_server import RedisServer
from tests.support.waiting import until

pytestmark = pytest.mark.host

CANARY = b"hunter2-do-not-show"
ALICE = Caller(actor="alice", role="analyst", source="192.0.2.7")
BOB = Caller(actor="bob", role="operator", source="192.0.2.8")


@dataclass
class Fleet:
    """A front over a record, and its users' secrets."""

    record: Record
    front: ServedFront
    secrets: FleetSecrets
    start: Callable[..., Awaitable[FleetHost]]
    authorities: list[x509.Certificate]
    audit: list[Deed] = field(default_factory=list)
    running: list[Job] = field(default_factory=list)

    async def claim(self, host: str) -> str | NoClaim:
        """The id of the job that the host gets, or why it gets none."""
        offer = Offer(host=host, epoch="1", capacity=HOST, needs=(NEED,))
        claim = await self.record.claim_next(offer)
        return claim if isinstance(claim, NoClaim) else claim.job_id


@pytest.fixture
async def fleet(
    tmp_path: Path, record: Record, repository: Path, document: Document, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Fleet]:
    monkeypatch.setattr(secret_sync, "PAUSE", 0.02)
    monkeypatch.setattr("agent.fleet.members.NEWS_PAUSE", 0.02)
    async with (
        contextlib.AsyncExitStack() as stack,
        ServedFront.running(tmp_path / "front", record, document) as front,
    ):

        async def start(name: str, directory: Path | None = None) -> FleetHost:
            where = directory or tmp_path / name
            return await stack.enter_async_context(
                FleetHost.running(name, front, where, repository, document)
            )

        async def running(user: str) -> list[Job]:
            return [job for job in made.running if job.owner == user]

        async def write_audit(deed: Deed) -> None:
            made.audit.append(deed)

        users = FleetSecrets(
            record,
            lambda: made.authorities,
            running=running,
            write_audit=write_audit,
            limit=3,
        )
        made = Fleet(record, front, users, start, [front.fleet.certificate])
        yield made
        await stack.aclose()
    await asyncio.sleep(0.1)  # aiohttp ends the TLS of closed connections later, and tells nobody when


async def nowhere_missing(fleet: Fleet) -> bool:
    """Whether the record knows that every host has alice's secrets."""
    return all(each.missing_on is None for each in await fleet.secrets.of("alice"))


def refusal(problem: Problem) -> Any:
    return pytest.raises(AgentError, check=lambda error: error.problem is problem)


async def test_a_secret_reaches_every_host_before_the_answer(fleet: Fleet) -> None:
    hosts = [await fleet.start(name) for name in ("h1", "h2", "h3")]
    change = await fleet.secrets.set("api", b"one", by=ALICE)
    assert (change.name, change.user, change.rotated, change.missing_on) == ("api", "alice", False, None)
    assert [host.values for host in hosts] == [{"api.alice": b"one"}] * 3
    again = await fleet.secrets.set("api", b"two", by=ALICE)
    assert (again.rotated, again.created_at) == (True, change.created_at)
    assert again.updated_at > change.updated_at
    assert [host.values for host in hosts] == [{"api.alice": b"two"}] * 3
    (listed,) = await fleet.secrets.of("alice")
    assert listed.model_dump(exclude={"age_seconds"}) == again.model_dump(
        exclude={"age_seconds", "rotated", "earlier_value_in"}
    )
    assert await fleet.secrets.of("bob") == []
    removed = await fleet.secrets.remove("api", by=ALICE)
    assert removed.name == "api"
    for host in hosts:
        await host.has()
    with refusal(Problem.SECRET_NOT_FOUND):
        await fleet.secrets.remove("api", by=ALICE)


async def test_the_audits_name_who_and_never_what(fleet: Fleet) -> None:
    host = await fleet.start("h1")
    await fleet.secrets.set("api", CANARY, by=ALICE)
    await fleet.secrets.remove("api", by=ALICE)
    await host.has()
    rows = (await host.served.audited("alice"))[::-1]
    for deeds in (
        fleet.audit,
        [Deed.model_validate({k: v for k, v in row.items() if k != "at"}) for row in rows],
    ):
        assert [(deed.action, deed.subject, deed.actor) for deed in deeds] == [
            ("setSecret", "api", "alice"),
            ("removeSecret", "api", "alice"),
        ]
        assert [deed.source for deed in deeds] == ["192.0.2.7"] * 2
    assert [row["via"] for row in rows] == ["h1", "h1"]
    # The version of the deed at the front is that of the deed on the host.
    assert rows[0]["details"]["version"] == fleet.audit[0].details["version"]


async def test_a_host_that_joins_later_gets_the_secret_from_another_one(fleet: Fleet) -> None:
    first = await fleet.start("h1")
    await fleet.secrets.set("api", b"one", by=ALICE)
    await fleet.secrets.set("other", b"two", by=ALICE)
    second = await fleet.start("h2")
    await second.has(api=b"one", other=b"two")
    await until(lambda: nowhere_missing(fleet))
    (row, *more) = [row for row in await first.served.audited("h1") if row["action"] == "resealSecrets"]
    assert (row["subject"], sum(each["details"]["secrets"] for each in (row, *more))) == ("h2", 2)


async def test_a_host_that_lost_everything_gets_its_secrets_again(fleet: Fleet, tmp_path: Path) -> None:
    await fleet.start("h1")
    lost = await fleet.start("h2")
    await fleet.secrets.set("api", b"one", by=ALICE)
    lost.served.podman.secrets.clear()
    lost.served.podman.values.clear()
    again = await fleet.start("h2", tmp_path / "anew")
    await again.has(api=b"one")


async def test_only_hosts_for_which_the_authority_vouches_get_anything(fleet: Fleet, tmp_path: Path) -> None:
    """Whoever writes into the record cannot put a key of their own in the place of a host's."""
    first = await fleet.start("h1")
    put_into_fleet(tmp_path / "own", Authority.make("another CA"), host_server_name("h8"))
    put_into_fleet(tmp_path / "stolen", fleet.front.fleet, host_server_name("h7"))
    public = public_bytes(X25519PrivateKey.generate())
    for name, directory, signed_for in (("h8", "own", "h8"), ("h9", "stolen", "h7")):
        key = host_key.signed(tmp_path / directory / "fleet", signed_for, public)
        report = HostReport(capacity=HOST, secrets_key=key.model_dump_json())
        await fleet.record.join(name, report)
    change = await fleet.secrets.set("api", b"one", by=ALICE)
    assert change.missing_on == ["h8", "h9"]
    assert first.values == {"api.alice": b"one"}
    for name in ("h8", "h9"):
        sealed = await fleet.record.sealed_secret(name, "alice", "api")
        assert sealed is not None
        assert sealed.key == ""
    # The agent of h1 is asked to seal for the stranger, and refuses.
    await fleet.record.secret_news("h8", 0)
    await until(lambda: first.sync.rests)
    sealed = await fleet.record.sealed_secret("h8", "alice", "api")
    assert sealed is not None
    assert sealed.key == ""
    refused = [row for row in await first.served.audited("h1") if row["result"] == "refused"]
    assert {row["action"] for row in refused} == {"resealSecrets"}


async def test_a_job_runs_only_where_its_newest_secret_is(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await fleet.start("h1"), await fleet.start("h2")
    await fleet.secrets.set("api", b"one", by=ALICE)
    job = await submitted(fleet.record, secrets={"api": "own"})
    # From now on, the first host's member is away.
    monkeypatch.setattr(secrets, "WAIT", 0.3)
    await first.stop()
    change = await fleet.secrets.set("api", b"two", by=ALICE)
    assert change.missing_on == ["h1"]
    (listed,) = await fleet.secrets.of("alice")
    assert listed.missing_on == ["h1"]
    assert await fleet.claim("h1") is NoClaim.NONE_FITS
    assert await fleet.claim("h2") == job
    assert second.values == {"api.alice": b"two"}


async def test_running_jobs_with_the_earlier_value_are_named(fleet: Fleet) -> None:
    await fleet.start("h1")
    fleet.running = [
        make_job(owner=owner, status=status, secrets=names)
        for owner, status, names in (
            ("alice", JobState.RUNNING, ["api"]),
            ("alice", JobState.RUNNING, ["other"]),
            ("alice", JobState.PENDING, ["api"]),
            ("bob", JobState.RUNNING, ["api"]),
        )
    ]
    assert (await fleet.secrets.set("api", b"one", by=ALICE)).earlier_value_in == []
    again = await fleet.secrets.set("api", b"two", by=ALICE)
    assert again.earlier_value_in == [fleet.running[0].job_id]


async def test_what_is_wrong_is_refused_at_the_front(fleet: Fleet) -> None:
    await fleet.start("h1")
    for value in (b"", bytes(MAX_SECRET_BYTES + 1)):
        with refusal(Problem.INVALID_REQUEST):
            await fleet.secrets.set("api", value, by=ALICE)
    with refusal(Problem.INVALID_REQUEST) as caught:
        await fleet.secrets.set("snowflake", CANARY, by=ALICE)
    assert CANARY.decode() not in str(caught.value)
    for name in ("a", "b", "c"):
        await fleet.secrets.set(name, b"x", by=ALICE)
    with refusal(Problem.TOO_MANY_SECRETS):
        await fleet.secrets.set("d", b"x", by=ALICE)
    assert await fleet.secrets.set("d", bytes(MAX_SECRET_BYTES), by=BOB)
    assert len(fleet.audit) == 4


async def test_without_a_host_that_can_take_it_nothing_is_kept(fleet: Fleet) -> None:
    with refusal(Problem.HOST):
        await fleet.secrets.set("api", b"one", by=ALICE)
    await fleet.start("h1")
    fleet.authorities[:] = [Authority.make("another CA").certificate]
    with refusal(Problem.HOST):
        await fleet.secrets.set("api", b"one", by=ALICE)
    assert await fleet.record.secrets_of("alice") == []
    assert fleet.audit == []


async def test_two_fronts_that_set_at_once_leave_one_value_everywhere(fleet: Fleet) -> None:
    hosts = [await fleet.start(name) for name in ("h1", "h2")]
    values = [f"value {number}".encode() for number in range(6)]
    await asyncio.gather(*(fleet.secrets.set("api", value, by=ALICE) for value in values))
    await until(lambda: nowhere_missing(fleet))
    assert hosts[0].values == hosts[1].values
    newest = max(deed.details["version"] for deed in fleet.audit)  # type: ignore[type-var]
    assert [each.version for each in await fleet.record.secrets_of("alice")] == [newest]
    assert hosts[0].values["api.alice"] in values


async def test_an_earlier_record_does_not_bring_back_what_hosts_have_removed(fleet: Fleet) -> None:
    """Redis was restored from a backup in which the secret was not removed yet."""
    host = await fleet.start("h1")
    await fleet.secrets.set("api", b"revoked", by=ALICE)
    sealed = await fleet.record.sealed_secret("h1", "alice", "api")
    assert sealed is not None
    await fleet.secrets.remove("api", by=ALICE)
    await host.has()
    brought = agents_side.SealedSecret(version=sealed.version, key=sealed.key, value=sealed.value)
    with refusal(Problem.SECRET_OUTDATED):
        await host.agent.take_secret("alice analyst 192.0.2.7", "api", brought)
    assert host.values == {}


async def test_a_record_that_knows_nothing_of_a_user_removes_what_the_fleet_had_set(
    fleet: Fleet, shared_redis: RedisServer
) -> None:
    host = await fleet.start("h1")
    await fleet.secrets.set("api", b"one", by=ALICE)
    host.served.podman.add("own", "alice", b"the operator's")
    shared_redis.cli("flushall")
    await fleet.record.load()
    await host.restart()
    await until(lambda: "api.alice" not in host.values)
    assert host.values == {"own.alice": b"the operator's"}
    await fleet.secrets.set("api", b"two", by=ALICE)
    assert host.values["api.alice"] == b"two"


# Secrets that operators set on hosts


async def test_what_operators_set_on_hosts_is_listed_with_where_it_is_missing(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents_side, "KEPT", 0)
    hosts = [await fleet.start(name) for name in ("h1", "h2")]
    for host in hosts:
        host.served.podman.add("warehouse", None, b"everybody's")
    hosts[0].served.podman.add("api", "alice", b"the operator's")
    hosts[0].served.podman.add("api", "bob", b"bob's")
    for host in hosts:
        await host.join()
    for host in hosts:
        await host.sync.look()
    api, warehouse = await fleet.secrets.of("alice")
    assert (api.name, api.user, api.missing_on) == ("api", "alice", ["h2"])
    assert (warehouse.name, warehouse.user, warehouse.missing_on) == ("warehouse", None, None)
    job = await submitted(fleet.record, secrets={"api": "any", "warehouse": "any"})
    assert await fleet.claim("h2") is NoClaim.NONE_FITS
    assert await fleet.claim("h1") == job


# Nothing but the hosts has a value


async def test_the_value_is_nowhere_but_on_the_hosts(
    fleet: Fleet, shared_redis: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    keys: list[bytes] = []
    made = secrets.new_key

    def new_key() -> bytes:
        keys.append(made())
        return keys[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(secrets, "new_key", new_key)
        host = await fleet.start("h1")
        await fleet.secrets.set("api", CANARY, by=ALICE)
        later = await fleet.start("h2")
        await later.has(api=CANARY)
        assert host.values == later.values
    shared_redis.cli("save")
    files = [
        path for root in (tmp_path, shared_redis.directory) for path in root.rglob("*") if path.is_file()
    ]
    assert {"dump.rdb", "fleet-secrets.key"} <= {path.name for path in files}
    assert any("appendonly" in path.name for path in files)
    assert len(keys) == 1
    for secret in (CANARY, *keys):
        for text in (secret, base64.b64encode(secret).rstrip(b"=")[:-1], secret.hex().encode()):
            assert not [path for path in files if text in path.read_bytes()]
            assert text.decode("latin-1") not in caplog.text
    assert fleet.audit
    assert not any(CANARY.decode() in deed.model_dump_json() for deed in fleet.audit)
