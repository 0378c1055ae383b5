"""Secrets in the record of a real Redis: versions, bounds, whose host has which, and who may run a job."""

import asyncio
import base64
from collections.abc import Mapping
from typing import Any

import pytest

from agent.errors import AgentError, Problem
from agent.fleet import secret_record
from agent.fleet.entries import NoClaim
from agent.fleet.record import Record
from agent.fleet.secret_record import NewSecret, held_name, kept_key
from agent.model.base import now
from agent.model.fleet import HeldSecret, HostKey, Reseal, SealedFor, SealedForHost
from agent.secrets.sealing import new_version
from tests.support.fleet_record import Member, connected, member, submitted
from tests.support.fleet_secrets import version
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.host

BY = "alice analyst 192.0.2.7"


def key_of(host: str, number: int = 1) -> HostKey:
    """A host's key; the record does not ask who vouches for it."""
    public = base64.b64encode(f"{host} {number}".encode().ljust(32)).decode()
    return HostKey(host=host, public_key=public, certificate="AAAA", signature="AAAA")


async def set_secret(
    record: Record, number: int = 1, user: str = "alice", name: str = "api", **fields: Any
) -> tuple[str, tuple[bool, str] | None]:
    """Sets the version with that number; the version, and the record's answer."""
    made = version(number)
    usual = {"value": "dmFsdWU=", "keys": {}, "by": BY, "limit": 20}
    new = NewSecret(user=user, name=name, version=made, **{**usual, **fields})
    return made, await record.set_secret(new)


async def joined(record: Record, name: str = "h1") -> Member:
    return await member(record, name, secrets_key=key_of(name).model_dump_json())


def held(name: str, user: str | None = None, version: str | None = None) -> HeldSecret:
    return HeldSecret(name=name, user=user, version=version, created_at=now(), updated_at=now())


async def tell(host: Member, *secrets: HeldSecret, whole: bool = True) -> None:
    known: Mapping[str, HeldSecret | None] = {held_name(each.user, each.name): each for each in secrets}
    await host.record.tell_secrets(host.name, known, whole=whole)


def refusal(problem: Problem) -> Any:
    return pytest.raises(AgentError, check=lambda error: error.problem is problem)


# Setting and removing


async def test_a_secret_is_set_rotated_and_removed(record: Record) -> None:
    first, answer = await set_secret(record, 1)
    assert answer == (False, first)
    second, answer = await set_secret(record, 2)
    assert answer == (True, first)
    (known,) = await record.secrets_of("alice")
    assert (known.name, known.version, known.created) == ("api", second, first)
    assert await record.secrets_of("bob") == []
    assert await record.remove_secret("alice", "api", version(3), BY) == known
    assert await record.secrets_of("alice") == []
    with refusal(Problem.SECRET_NOT_FOUND):
        await record.remove_secret("alice", "api", version(4), BY)


async def test_of_two_changes_the_later_one_stays_whichever_comes_first(record: Record) -> None:
    newest, _ = await set_secret(record, 5)
    assert (await set_secret(record, 4))[1] is None
    assert (await set_secret(record, 4, name="other"))[1] is None
    assert await record.remove_secret("alice", "api", version(4), BY) is None
    assert [each.version for each in await record.secrets_of("alice")] == [newest]
    assert (await set_secret(record, 1, user="bob"))[1] is not None
    await record.remove_secret("alice", "api", version(6), BY)
    assert (await set_secret(record, 5))[1] is None


async def test_a_user_has_so_many_secrets_and_bytes(record: Record) -> None:
    for number in (1, 2):
        await set_secret(record, number, name=f"api-{number}", limit=2)
    with refusal(Problem.TOO_MANY_SECRETS):
        await set_secret(record, 3, name="api-3", limit=2)
    assert (await set_secret(record, 4, name="api-2", limit=2))[1] is not None
    value = "A" * 60
    for number in (5, 6, 7):  # in place of itself, it takes no more
        await set_secret(record, number, name="api-1", value=value, max_bytes=100, limit=3)
    with refusal(Problem.TOO_MANY_SECRETS):
        await set_secret(record, 8, name="api-3", value=value, max_bytes=100, limit=3)
    await record.remove_secret("alice", "api-1", version(9), BY)
    assert (await set_secret(record, 10, name="api-3", value=value, max_bytes=100, limit=3))[1] is not None
    await set_secret(record, 1, user="bob", value=value, max_bytes=100)


async def test_many_changes_at_once_leave_the_latest(record: Record) -> None:
    answers = await asyncio.gather(*(set_secret(record, number) for number in range(20)))
    taken = [made for made, answer in answers if answer is not None]
    assert [each.version for each in await record.secrets_of("alice")] == [max(taken)]
    assert max(taken) == max(made for made, _ in answers)


async def test_a_full_redis_refuses_new_secrets_and_removes_old_ones(
    own_redis: RedisServer, record: Record
) -> None:
    async with connected(own_redis) as full:
        await full.load()
        await set_secret(full, 1)
        own_redis.cli("config", "set", "maxmemory", "1mb")
        with refusal(Problem.HOST):
            await set_secret(full, 2)
        assert await full.remove_secret("alice", "api", version(3), BY) is not None


# What hosts are told


async def test_a_host_hears_of_each_user_whose_secrets_have_changed(record: Record) -> None:
    first, _ = await set_secret(record, 1)
    other, _ = await set_secret(record, 2, name="other")
    bobs, _ = await set_secret(record, 1, user="bob")
    news = await record.secret_news("h1", 0)
    assert [(each.owner, each.by, each.versions) for each in news.owners] == [
        ("alice", BY, {"api": first, "other": other}),
        ("bob", BY, {"api": bobs}),
    ]
    assert (news.owners[0].as_of, news.more) == (other, False)
    assert (await record.secret_news("h1", news.number)).owners == []
    gone = version(3)
    await record.remove_secret("alice", "api", gone, "alice operator 192.0.2.8")
    (alice,) = (await record.secret_news("h1", news.number)).owners
    assert (alice.as_of, alice.by, alice.versions) == (gone, "alice operator 192.0.2.8", {"other": other})


async def test_many_users_are_told_in_portions(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret_record, "OWNERS", 2)
    for user in ("alice", "bob", "carol"):
        await set_secret(record, user=user)
    first = await record.secret_news("h1", 0)
    second = await record.secret_news("h1", first.number)
    assert (first.more, second.more) == (True, False)
    assert [each.owner for each in (*first.owners, *second.owners)] == ["alice", "bob", "carol"]


async def test_a_host_gets_what_is_sealed_for_its_present_key(record: Record) -> None:
    for host in ("h1", "h2"):
        await joined(record, host)
    made, _ = await set_secret(record, keys={"h1": kept_key(key_of("h1"), "c2VhbGVk")})
    sealed = await record.sealed_secret("h1", "alice", "api")
    assert sealed == SealedForHost(version=made, by=BY, value="dmFsdWU=", key="c2VhbGVk")
    assert await record.sealed_secret("h2", "alice", "api") == sealed.model_copy(update={"key": ""})
    await member(record, "h1", secrets_key=key_of("h1", 2).model_dump_json())
    assert await record.sealed_secret("h1", "alice", "api") == sealed.model_copy(update={"key": ""})
    assert await record.sealed_secret("h1", "alice", "other") is None
    assert await record.sealed_secret("h1", "bob", "api") is None


async def resealing(record: Record, host: str) -> Reseal | None:
    """What the host is asked to seal for another one."""
    return (await record.secret_news(host, 0)).reseal


def resealed(made: str, key: str, name: str = "api") -> list[SealedFor]:
    return [SealedFor(user="alice", name=name, version=made, key=key)]


async def test_a_key_that_a_host_lacks_is_asked_of_one_that_has_it(record: Record) -> None:
    for host in ("h1", "h2"):
        await joined(record, host)
    made, _ = await set_secret(record, keys={"h1": kept_key(key_of("h1"), "Zm9yIG9uZQ==")})
    assert await resealing(record, "h1") is None
    number = (await record.secret_news("h2", 0)).number
    asked = Reseal(to=key_of("h2"), secrets=resealed(made, "Zm9yIG9uZQ=="))
    assert await resealing(record, "h1") == asked
    assert await resealing(record, "h2") is None
    assert await record.share_keys(key_of("h2"), resealed(made, "Zm9yIHR3bw==")) == 1
    sealed = await record.sealed_secret("h2", "alice", "api")
    assert sealed is not None
    assert sealed.key == "Zm9yIHR3bw=="
    # The host that wanted it hears of it, and nobody is asked once more.
    assert [each.owner for each in (await record.secret_news("h2", number)).owners] == ["alice"]
    assert await resealing(record, "h1") is None
    assert await record.share_keys(key_of("h2"), resealed(made, "Zm9yIHR3bw==")) == 0


async def test_a_host_that_lost_its_key_gets_secrets_for_its_new_one(record: Record) -> None:
    await joined(record, "h1")
    await member(record, "h2", secrets_key=key_of("h2", 1).model_dump_json())
    made, _ = await set_secret(record, keys={host: kept_key(key_of(host), "AAAA") for host in ("h1", "h2")})
    await member(record, "h2", secrets_key=key_of("h2", 2).model_dump_json())
    await record.secret_news("h2", 0)
    asked = await resealing(record, "h1")
    assert asked is not None
    assert asked.to == key_of("h2", 2)
    # What was sealed for the earlier key comes too late.
    assert await record.share_keys(key_of("h2", 1), resealed(made, "BBBB")) == 0
    assert await record.share_keys(key_of("h2", 2), resealed(made, "CCCC")) == 1


async def test_a_key_is_shared_only_for_the_newest_version_that_is_wanted(record: Record) -> None:
    for host in ("h1", "h2"):
        await joined(record, host)
    old, _ = await set_secret(record, 1, keys={"h1": kept_key(key_of("h1"), "AAAA")})
    new, _ = await set_secret(record, 2, keys={"h1": kept_key(key_of("h1"), "BBBB")})
    assert await record.share_keys(key_of("h2"), resealed(new, "CCCC")) == 0
    await record.secret_news("h2", 0)
    assert await record.share_keys(key_of("h2"), resealed(old, "CCCC")) == 0
    assert await record.share_keys(key_of("h2"), resealed(new, "DDDD")) == 1


async def test_nothing_is_asked_for_a_forgotten_host_or_a_removed_secret(record: Record) -> None:
    for host in ("h1", "h2"):
        await joined(record, host)
    for number, name in enumerate(("api", "other")):
        await set_secret(record, number, name=name, keys={"h1": kept_key(key_of("h1"), "AAAA")})
    await record.secret_news("h2", 0)
    await record.remove_secret("alice", "api", version(3), BY)
    asked = await resealing(record, "h1")
    assert asked is not None
    assert [each.name for each in asked.secrets] == ["other"]
    await record.forget("h2", silence=0)
    assert await resealing(record, "h1") is None


@pytest.mark.parametrize("text", ["", "no JSON", "[]", '{"public_key": 7}', '{"public_key": "AAAA"}'])
async def test_a_host_without_a_proper_key_harms_nobody(record: Record, text: str) -> None:
    await joined(record, "h1")
    await member(record, "h2", secrets_key=text)
    await set_secret(record, keys={"h1": kept_key(key_of("h1"), "AAAA")})
    assert [each.owner for each in (await record.secret_news("h2", 0)).owners] == ["alice"]
    sealed = await record.sealed_secret("h2", "alice", "api")
    assert sealed is not None
    assert sealed.key == ""
    assert await resealing(record, "h1") is None


async def test_the_next_moment_is_after_every_earlier_change(record: Record) -> None:
    before = await record.next_moment("alice")
    assert before < await record.next_moment("alice")
    # The clock was an hour ahead when the newest value was set.
    later = before + 3600 * 10**6
    new = NewSecret(user="alice", name="api", version=new_version(later), value="", keys={}, by=BY, limit=1)
    assert await record.set_secret(new) is not None
    assert await record.next_moment("alice") == later + 1
    assert await record.next_moment("bob") < later


# Who may run a job


async def test_a_job_runs_only_where_the_newest_version_is(record: Record) -> None:
    host = await joined(record)
    job = await submitted(record, secrets={"api": "any"})
    old, _ = await set_secret(record, 1)
    await tell(host, held("api", "alice", old))
    new, _ = await set_secret(record, 2)
    assert await host.claim() is NoClaim.NONE_FITS
    await tell(host, held("api", "bob", new), held("other", "alice", new))
    assert await host.claim() is NoClaim.NONE_FITS
    await tell(host, held("api", "alice", new), whole=False)
    assert (await host.claimed()).job_id == job


async def test_a_removed_secret_gives_way_to_everybodys_when_the_host_has_removed_it(record: Record) -> None:
    host = await joined(record)
    made, _ = await set_secret(record, 1)
    await tell(host, held("api", "alice", made), held("api"))
    await record.remove_secret("alice", "api", version(2), BY)
    job = await submitted(record, secrets={"api": "any"})
    own = await submitted(record, secrets={"api": "own"})
    assert await host.claim() is NoClaim.NONE_FITS
    await record.tell_secrets("h1", {"alice/api": None}, whole=False)
    assert (await host.claimed()).job_id == job
    assert await host.claim() is NoClaim.NONE_FITS
    await tell(host, held("api", "alice"), whole=False)
    assert (await host.claimed()).job_id == own


async def test_the_users_own_secret_goes_before_everybodys(record: Record) -> None:
    host = await joined(record)
    await tell(host, held("api"))
    await set_secret(record, 1)
    await submitted(record, secrets={"api": "any"})
    assert await host.claim() is NoClaim.NONE_FITS


async def test_a_job_needs_all_of_its_secrets(record: Record) -> None:
    host = await joined(record)
    await tell(host, held("api"))
    job = await submitted(record, secrets={"api": "any", "snowflake": "any"})
    assert await host.claim() is NoClaim.NONE_FITS
    await tell(host, held("snowflake"), whole=False)
    assert (await host.claimed()).job_id == job


async def test_what_a_host_passed_over_is_looked_at_again_when_it_has_the_secret(
    record: Record, shared_redis: RedisServer
) -> None:
    host = await joined(record)
    first = await submitted(record, secrets={"api": "any"})
    for _ in range(600):  # more than one claim looks at
        await submitted(record, secrets={"api": "any"}, max_waiting=1000)
    assert await host.claim() is NoClaim.NONE_FITS
    assert shared_redis.cli("exists", "fleet:skip:h1") == "1"
    made, _ = await set_secret(record, 1)
    await tell(host, held("api", "alice", made))
    assert (await host.claimed()).job_id == first


async def test_what_was_set_on_hosts_is_told_with_its_times(record: Record) -> None:
    host = await joined(record)
    shared, own = held("snowflake"), held("api", "alice")
    made, _ = await set_secret(record, 1, name="other")
    await tell(host, shared, own, held("other", "alice", made))
    assert sorted(await record.set_on("h1"), key=lambda each: each.name) == [own, shared]
    assert await record.versions_on("h1", "alice", ["other", "api"]) == {"other": made, "api": None}
    assert await record.versions_on("h1", "alice", []) == {}
