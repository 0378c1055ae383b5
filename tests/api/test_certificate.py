"""`POST /certificate`: renewal of the client's own certificate."""

import json
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from agent.identity import subject
from agent.identity.authority import Issued
from tests.support.api_client import Client
from tests.support.pki import signing_request
from tests.support.served import Served


@pytest.fixture(scope="module")
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


async def test_renewal_returns_a_certificate_for_the_new_key_and_the_trusted_authorities(
    served: Served, alice: Client, key: ec.EllipticCurvePrivateKey
) -> None:
    answer = await alice.post("/certificate", {"csr": signing_request(key)})
    assert answer.status == 200
    assert answer.json.keys() == {"certificate", "ca_certificates", "serial", "expires_at"}
    certificate = x509.load_pem_x509_certificate(answer.json["certificate"].encode())
    assert certificate.public_key() == key.public_key()
    assert f"{certificate.serial_number:x}" == answer.json["serial"]
    assert answer.json["ca_certificates"].encode() == (served.authorities.directory / "ca.crt").read_bytes()
    renewed = served.client(Issued(certificate, key, served.authorities.own.certificate))
    assert (await renewed.submit())["owner"] == "alice"
    assert (await alice.submit())["owner"] == "alice"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "csr"),
        ({"csr": ""}, "csr"),
        ({"csr": "hello"}, "csr"),
        ({"csr": 5}, "csr"),
        ({"csr": None}, "csr"),
        ({"csr": "A" * 8193}, "csr"),
        ({"csr": "\ud800"}, "csr"),
        ({"csr": "hello", "user": "root"}, "user"),
        ({"csr": "hello", "days": 3650}, "days"),
    ],
)
async def test_each_wrong_field_is_named(served: Served, alice: Client, body: Any, field: str) -> None:
    answer = await alice.post("/certificate", body)
    assert (answer.status, answer.problem) == (422, "invalid-request")
    assert field in answer.fields
    assert len(await served.scene.store.certificates.all()) == 1


async def test_a_malformed_or_too_large_body_is_refused(alice: Client) -> None:
    assert (await alice.post("/certificate", b"-----BEGIN")).status == 400
    assert (await alice.post("/certificate", json.dumps({"csr": "A" * 300_000}).encode())).status == 413
    headers = {"Content-Type": "application/pkcs10"}
    assert (await alice("POST", "/certificate", data=b"x", headers=headers)).status == 415


async def test_more_certificates_than_a_user_may_have_are_a_conflict(
    alice: Client, bob: Client, key: ec.EllipticCurvePrivateKey
) -> None:
    statuses = [(await alice.post("/certificate", {"csr": signing_request(key)})).status for _ in range(5)]
    assert statuses == [200] * 4 + [409]
    assert (await bob.post("/certificate", {"csr": signing_request(key)})).status == 200


async def test_the_new_certificate_names_its_holder(
    served: Served, alice: Client, key: ec.EllipticCurvePrivateKey
) -> None:
    answer = await alice.post("/certificate", {"csr": signing_request(key)})
    certificate = x509.load_pem_x509_certificate(answer.json["certificate"].encode())
    assert subject.identify(certificate.public_bytes(Encoding.DER)).user == "alice"
