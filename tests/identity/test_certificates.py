"""Who holds a certificate, and what a renewal records."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from agent.audit.chain import Caller
from agent.errors import AgentError, Problem
from agent.identity import authority
from agent.identity import certificates as certificates_module
from agent.identity import signing_request as request_module
from agent.identity.authority import Authority, ClientKey
from agent.identity.certificates import Certificates, recorded
from agent.model.base import now
from agent.model.certificate import Certificate, Principal, Role
from agent.store.store import Store
from tests.support.pki import signing_request

CAROL = Principal(user="carol", role=Role.ADMINISTRATOR)
CALLER = Caller(actor="carol", role="administrator", source="127.0.0.1")


class Site:
    """A record, an authority, and a certificate of carol's."""

    def __init__(self, store: Store, directory: Path) -> None:
        self.store = store
        self.authority = Authority.create(directory, "test CA")
        self.certificates = Certificates(
            store.certificates, directory, lifetime=timedelta(days=30), max_per_user=3
        )
        issued = self.authority.issue_client("carol", timedelta(days=2))
        self.row = recorded(issued.certificate, issued.issuer, CAROL)
        self.der = issued.certificate.public_bytes(Encoding.DER)

    async def known(self) -> Certificate:
        certificate = await self.store.certificates.get(self.row.serial)
        assert certificate is not None
        return certificate


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with Store.open(tmp_path / "jobs.db") as store:
        site = Site(store, tmp_path / "pki")
        await store.certificates.add(site.row)
        yield site


@pytest.fixture(scope="module")
def csr() -> str:
    return signing_request(ec.generate_private_key(ec.SECP256R1()))


async def test_only_the_first_use_of_a_certificate_is_recorded(site: Site) -> None:
    assert (await site.known()).used_at is None
    assert await site.certificates.identify(site.der) == CAROL
    first = (await site.known()).used_at
    assert first is not None
    await asyncio.sleep(0.002)  # times are kept in milliseconds
    await site.certificates.identify(site.der)
    assert (await site.known()).used_at == first


async def test_a_full_disk_refuses_nobody(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(serial: str, at: object) -> None:
        raise AgentError(Problem.STORAGE_FULL, "There is no room.")

    monkeypatch.setattr(site.store.certificates, "mark_used", full)
    assert await site.certificates.identify(site.der) == CAROL


async def test_many_streams_of_a_certificate_cost_one_lookup(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    look = site.store.certificates.get

    async def counted(serial: str) -> Certificate | None:
        looks.append(serial)
        return await look(serial)

    monkeypatch.setattr(site.store.certificates, "get", counted)
    monkeypatch.setattr(certificates_module, "FRESH", 3600.0)
    asked = [site.certificates.identify_again(site.der) for _ in range(500)]
    assert await asyncio.gather(*asked) == [CAROL] * 500
    assert len(looks) == 1
    monkeypatch.setattr(certificates_module, "FRESH", 0.0)
    await site.store.certificates.revoke([site.row.serial], now())
    with pytest.raises(AgentError, match="was revoked"):
        await site.certificates.identify_again(site.der)
    assert len(looks) == 2


async def test_requests_do_not_get_a_cached_answer(site: Site) -> None:
    await site.certificates.identify_again(site.der)
    await site.store.certificates.revoke([site.row.serial], now())
    with pytest.raises(AgentError, match="was revoked"):
        await site.certificates.identify(site.der)


async def test_a_renewal_records_holder_predecessor_and_authority(site: Site, csr: str) -> None:
    answer = await site.certificates.renew(site.der, csr, CALLER)
    renewed = await site.store.certificates.get(answer.serial)
    assert renewed is not None
    assert (renewed.user, renewed.role, renewed.renews) == ("carol", Role.ADMINISTRATOR, site.row.serial)
    assert renewed.authority == authority.authority_id(site.authority.certificate)
    assert renewed.used_at is None
    certificate = x509.load_pem_x509_certificate(answer.certificate.encode())
    assert certificate.not_valid_after_utc == answer.expires_at == renewed.expires_at
    assert timedelta(days=29) < answer.expires_at - now() <= timedelta(days=30)
    assert await site.certificates.identify(certificate.public_bytes(Encoding.DER)) == CAROL
    assert (await site.known()).revoked_at is None


async def test_a_certificate_that_is_revoked_meanwhile_is_not_renewed(
    site: Site, csr: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, read = asyncio.get_running_loop(), request_module.public_key

    def read_and_revoke(text: str) -> ClientKey:
        revocation = site.store.certificates.revoke([site.row.serial], now())
        asyncio.run_coroutine_threadsafe(revocation, loop).result()
        return read(text)

    monkeypatch.setattr(request_module, "public_key", read_and_revoke)
    with pytest.raises(AgentError, match="was revoked") as caught:
        await site.certificates.renew(site.der, csr, CALLER)
    assert caught.value.problem is Problem.CERTIFICATE_REFUSED
    assert [each.serial for each in await site.store.certificates.all()] == [site.row.serial]


async def test_the_valid_certificates_of_a_user_are_bounded(site: Site, csr: str) -> None:
    for _ in range(2):
        await site.certificates.renew(site.der, csr, CALLER)
    with pytest.raises(AgentError) as caught:
        await site.certificates.renew(site.der, csr, CALLER)
    assert caught.value.problem is Problem.TOO_MANY_CERTIFICATES
    assert len(await site.store.certificates.all()) == 3


async def test_a_revocation_includes_the_renewals_of_a_certificate(site: Site, csr: str) -> None:
    child = await site.certificates.renew(site.der, csr, CALLER)
    der = x509.load_pem_x509_certificate(child.certificate.encode()).public_bytes(Encoding.DER)
    grandchild = await site.certificates.renew(der, csr, CALLER)
    revoked = await site.store.certificates.revoke([child.serial], now())
    assert {each.serial for each in revoked} == {child.serial, grandchild.serial}
    assert (await site.known()).revoked_at is None
    assert await site.store.certificates.revoke([child.serial], now()) == []
