"""Whom a client certificate names, and which certificates are refused."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from agent.errors import AgentError, Problem
from agent.identity.authority import Authority
from agent.identity.subject import Subject, identify
from tests.support.pki import der_of, forged, yesterday


def uris(*texts: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(each) for each in texts])


def test_a_client_certificate_names_its_user(authority: Authority) -> None:
    alice = authority.issue_client("alice.b-c_d")
    assert identify(der_of(alice)) == Subject("alice.b-c_d", alice.serial)
    assert alice.serial == alice.serial.lower()
    assert int(alice.serial, 16) == alice.certificate.serial_number


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"ExtendedKeyUsage": None}, "lacks"),
        ({"ExtendedKeyUsage": x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])}, "clientAuth"),
        (
            {"ExtendedKeyUsage": x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])},
            "clientAuth",
        ),
        ({"BasicConstraints": None}, "lacks"),
        ({"BasicConstraints": x509.BasicConstraints(ca=True, path_length=0)}, "authority"),
        ({"SubjectAlternativeName": None}, "lacks"),
        ({"SubjectAlternativeName": uris("urn:ml-job:user:a", "urn:ml-job:user:b")}, "exactly one"),
        ({"SubjectAlternativeName": x509.SubjectAlternativeName([x509.DNSName("alice")])}, "exactly one"),
        ({"SubjectAlternativeName": uris("urn:other:user:alice")}, "urn:ml-job:user:"),
        ({"SubjectAlternativeName": uris("urn:ml-job:user:")}, "urn:ml-job:user:"),
        ({"SubjectAlternativeName": uris("urn:ml-job:user:Alice")}, "urn:ml-job:user:"),
        ({"SubjectAlternativeName": uris("urn:ml-job:user:alice\n")}, "urn:ml-job:user:"),
        ({"SubjectAlternativeName": uris("urn:ml-job:user:../alice")}, "urn:ml-job:user:"),
        ({"start": yesterday(), "end": yesterday() + timedelta(hours=1)}, "expired"),
        (
            {"start": yesterday() + timedelta(days=2), "end": yesterday() + timedelta(days=9)},
            "not valid before",
        ),
    ],
)
def test_a_certificate_that_breaks_a_rule_is_refused(
    authority: Authority, changes: dict[str, object], why: str
) -> None:
    changed = forged(authority, authority.issue_client("alice"), **changes)
    with pytest.raises(AgentError, match=why) as caught:
        identify(der_of(changed))
    assert caught.value.problem is Problem.CERTIFICATE_REFUSED


def test_bytes_that_are_not_a_certificate_are_refused() -> None:
    with pytest.raises(AgentError, match="cannot be read"):
        identify(b"\x30\x03\x02\x01\x00")


def test_a_server_certificate_is_refused_for_a_client(authority: Authority) -> None:
    with pytest.raises(AgentError, match="clientAuth"):
        identify(der_of(authority.issue_server(["localhost"])))
