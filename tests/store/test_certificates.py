"""Certificates: recorded, renewed, used and revoked."""

from datetime import timedelta

import pytest

from agent.audit.chain import Caller
from agent.errors import AgentError, Problem
from agent.model.base import now
from agent.store.store import Store
from tests.support.certificates import make_certificate

ALICE = Caller(actor="alice", role="analyst", source="192.0.2.7")


async def test_certificates_read_back(store: Store) -> None:
    certificate = make_certificate("ab12")
    await store.certificates.add(certificate)
    assert await store.certificates.get("ab12") == certificate
    assert await store.certificates.get("ff") is None
    assert await store.certificates.all() == [certificate]


async def test_only_the_first_use_is_recorded(store: Store) -> None:
    await store.certificates.add(make_certificate("ab12"))
    first = now()
    await store.certificates.mark_used("ab12", first)
    await store.certificates.mark_used("ab12", first + timedelta(hours=1))
    used = await store.certificates.get("ab12")
    assert used is not None
    assert used.used_at == first


async def test_revoking_a_certificate_revokes_its_renewals_with_a_row_for_each(store: Store) -> None:
    await store.certificates.add(make_certificate("1"))
    for serial, renews in (("2", "1"), ("3", "2")):
        renewed = make_certificate(serial).model_copy(update={"renews": renews})
        await store.certificates.renew(renewed, limit=9)
    await store.certificates.add(make_certificate("4", "bob"))
    revoked = await store.certificates.revoke(["2"], now(), deed=ALICE.did("revokeCertificate"))
    assert [each.serial for each in revoked] == ["2", "3"]
    assert [row.content()["subject"] for row in await store.audit.newest(limit=9)] == ["2", "3"]
    assert await store.certificates.revoke(["2"], now()) == []


@pytest.mark.parametrize(
    ("renews", "limit", "problem"),
    [("2", 9, Problem.CERTIFICATE_REFUSED), ("1", 1, Problem.TOO_MANY_CERTIFICATES)],
)
async def test_only_a_valid_certificate_is_renewed_and_within_the_limit(
    store: Store, renews: str, limit: int, problem: Problem
) -> None:
    for serial in ("1", "2"):
        await store.certificates.add(make_certificate(serial))
    await store.certificates.revoke(["2"], now())
    renewed = make_certificate("3").model_copy(update={"renews": renews})
    with pytest.raises(AgentError) as caught:
        await store.certificates.renew(renewed, limit=limit)
    assert caught.value.problem is problem
    assert await store.certificates.get("3") is None


async def test_only_a_missing_authority_is_named(store: Store) -> None:
    named = make_certificate("2").model_copy(update={"authority": "second"})
    for each in (make_certificate("1"), named):
        await store.certificates.add(each)
    await store.certificates.set_missing_authority("first")
    assert {each.serial: each.authority for each in await store.certificates.all()} == {
        "1": "first",
        "2": "second",
    }
