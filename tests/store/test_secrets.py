"""Versions of users' secrets: only ever later ones, with their row of the audit, and so many of a user."""

import pytest

from agent.audit.chain import Caller
from agent.store import secrets
from agent.store.store import Store

ALICE = Caller(actor="alice", role="analyst", source="192.0.2.7", via="member-1")


async def record(store: Store, name: str, version: str, user: str = "alice") -> None:
    await store.secret_versions.record(user, name, version, deed=ALICE.did("setSecret", name))


async def test_the_newest_version_counts_whatever_comes_later(store: Store) -> None:
    assert await store.secret_versions.newest("alice", "api") == ""
    for version in ("2", "1"):
        await record(store, "api", version)
        assert await store.secret_versions.newest("alice", "api") == "2"
    await record(store, "api", "3")
    assert await store.secret_versions.newest("alice", "api") == "3"
    assert await store.secret_versions.newest("bob", "api") == ""
    rows = [row.content() for row in await store.audit.rows(0, 100)]
    assert [(row["actor"], row["via"], row["subject"]) for row in rows] == [("alice", "member-1", "api")] * 3


async def test_a_user_pushes_out_only_versions_of_their_own(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "MOST", 2)
    await record(store, "api", "0", user="bob")
    for number in range(1, 5):
        await record(store, f"api-{number}", str(number))
    known = [await store.secret_versions.newest("alice", f"api-{number}") for number in range(1, 5)]
    assert known == ["", "", "3", "4"]
    assert await store.secret_versions.newest("bob", "api") == "0"
