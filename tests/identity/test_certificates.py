"""Who holds a certificate, which signing requests are taken, and what a renewal records."""

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.audit.chain import Caller
from agent.errors import AgentError, Problem
from agent.identity import authority
from agent.identity import certificates as certificates_module
from agent.identity.authority import Authority, ClientKey
from agent.identity.certificates import Certificates, is_accepted, public_key, recorded
from agent.model.base import now
from agent.model.certificate import Certificate, Principal, Role
from agent.store.store import Store
from tests.support.pki import make_signing_request, signing_request

CAROL = Principal(user="carol", role=Role.ADMINISTRATOR)
CALLER = Caller(actor="carol", role="administrator", source="127.0.0.1")

KEYS = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "RSA of 2048 bits": lambda: rsa.generate_private_key(65537, 2048),
}


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
    loop, read = asyncio.get_running_loop(), certificates_module.public_key

    def read_and_revoke(text: str) -> ClientKey:
        revocation = site.store.certificates.revoke([site.row.serial], now())
        asyncio.run_coroutine_threadsafe(revocation, loop).result()
        return read(text)

    monkeypatch.setattr(certificates_module, "public_key", read_and_revoke)
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


@pytest.mark.parametrize("kind", KEYS)
def test_the_key_is_read_from_pem_and_from_base64(kind: str) -> None:
    key = KEYS[kind]()
    request = make_signing_request(key)
    text = base64.b64encode(request.public_bytes(Encoding.DER)).decode()
    wrapped = "\n".join(text[start : start + 64] for start in range(0, len(text), 64))
    for form in (request.public_bytes(Encoding.PEM).decode(), text, wrapped + "\n"):
        assert public_key(form) == key.public_key()


def rsa_request(exponent: int, bits: int) -> str:
    return signing_request(rsa.generate_private_key(exponent, bits))


def _forged() -> str:
    """Signed with one key, naming another."""
    hers, his = (make_signing_request(ec.generate_private_key(ec.SECP256R1())) for _ in range(2))
    der = hers.public_bytes(Encoding.DER)
    point = [
        each.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint) for each in (hers, his)
    ]
    return base64.b64encode(der.replace(point[0], point[1])).decode()


REFUSED = {
    "no request": (lambda: "hello", "must be a PKCS#10"),
    "no base64": (lambda: "ä" * 100, "must be a PKCS#10"),
    "an empty PEM": (
        lambda: "-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n",
        "must be a PKCS#10",
    ),
    "a PEM of something else": (lambda: "-----BEGIN PUBLIC KEY-----\nAAAA\n", "must be a PKCS#10"),
    "DER that ends early": (lambda: base64.b64encode(b"\x30\x82\xff\xff").decode(), "must be a PKCS#10"),
    "P-521": (lambda: signing_request(ec.generate_private_key(ec.SECP521R1())), "must be of an EC key"),
    "secp256k1": (lambda: signing_request(ec.generate_private_key(ec.SECP256K1())), "must be of an EC key"),
    "Ed25519": (lambda: signing_request(ed25519.Ed25519PrivateKey.generate(), None), "must be of an EC key"),
    "RSA of 1024 bits": (lambda: rsa_request(65537, 1024), "must be of an EC key"),
    "RSA with an exponent of 3": (lambda: rsa_request(3, 2048), "must be of an EC key"),
    "signed with another key": (_forged, "signed with the key that it names"),
    "SHA-224": (
        lambda: signing_request(ec.generate_private_key(ec.SECP256R1()), hashes.SHA224()),
        "must be signed with SHA-256",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refused_request_names_the_field(kind: str) -> None:
    text, why = REFUSED[kind]
    with pytest.raises(AgentError) as caught:
        public_key(text())
    assert caught.value.problem is Problem.INVALID_REQUEST
    (error,) = caught.value.fields
    assert error.field == "csr"
    assert why in error.message


def test_a_key_that_is_too_large_is_not_accepted() -> None:
    large = rsa.RSAPublicNumbers(65537, (1 << 8191) + 1).public_key()
    assert not is_accepted(large)
