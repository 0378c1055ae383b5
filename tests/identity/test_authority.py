"""The certificate authority, `identify`, and real TLS handshakes on the loopback interface."""

import contextlib
import socket
import ssl
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID

from agent.errors import AgentError, Problem
from agent.host.files import write_file
from agent.identity import authority as authority_module
from agent.identity import subject as subject_module
from agent.identity import tls as tls_module
from agent.identity.issued import Issued, new_password
from agent.identity.server_names import server_names


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A PKI directory as `ml-agent init` leaves it."""
    authority = authority_module.Authority.create(tmp_path / "pki", "ml-agent CA test")
    _save(tmp_path / "pki", "server", authority.issue_server(["localhost", "127.0.0.1", "::1"]))
    return tmp_path / "pki"


@pytest.fixture
def authority(directory: Path) -> authority_module.Authority:
    return authority_module.Authority.load(directory)


def _save(directory: Path, name: str, issued: Issued) -> None:
    write_file(directory / f"{name}.crt", issued.certificate_pem(), mode=0o644)
    write_file(directory / f"{name}.key", issued.key_pem(), mode=0o600)


def _der(issued: Issued) -> bytes:
    return issued.certificate.public_bytes(serialization.Encoding.DER)


def _forged(authority: authority_module.Authority, like: Issued, **changes: object) -> Issued:
    """`like`, signed anew by its authority with other extensions or another validity.

    `changes`: an extension's class name and its new value (None leaves it out), `start` and `end`.
    """
    old = like.certificate
    builder = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(old.issuer)
        .public_key(like.key.public_key())
        .serial_number(old.serial_number)
        .not_valid_before(changes.pop("start", old.not_valid_before_utc))
        .not_valid_after(changes.pop("end", old.not_valid_after_utc))
    )
    for extension in old.extensions:
        value = changes.get(type(extension.value).__name__, extension.value)
        if value is not None:
            builder = builder.add_extension(value, extension.critical)
    return replace(like, certificate=builder.sign(authority.key, hashes.SHA256()))


def _names(*uris: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])


def _yesterday() -> datetime:
    return datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)


def test_a_client_certificate_names_its_user_and_serial(authority: authority_module.Authority) -> None:
    alice = authority.issue_client("alice.b-c_d")
    assert subject_module.identify(_der(alice)) == subject_module.Subject("alice.b-c_d", alice.serial)
    assert alice.serial == alice.serial.lower()
    assert int(alice.serial, 16) == alice.certificate.serial_number


def test_a_client_certificate_is_valid_at_once_and_for_the_lifetime_asked_for(
    authority: authority_module.Authority,
) -> None:
    certificate = authority.issue_client("alice", timedelta(days=7)).certificate
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    assert certificate.not_valid_before_utc < datetime.now(UTC)
    assert timedelta(days=7, seconds=-10) < left <= timedelta(days=7)


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
        ({"SubjectAlternativeName": _names("urn:ml-job:user:a", "urn:ml-job:user:b")}, "exactly one"),
        ({"SubjectAlternativeName": x509.SubjectAlternativeName([x509.DNSName("alice")])}, "exactly one"),
        ({"SubjectAlternativeName": _names("urn:other:user:alice")}, "urn:ml-job:user:"),
        ({"SubjectAlternativeName": _names("urn:ml-job:user:")}, "urn:ml-job:user:"),
        ({"SubjectAlternativeName": _names("urn:ml-job:user:Alice")}, "urn:ml-job:user:"),
        ({"SubjectAlternativeName": _names("urn:ml-job:user:alice\n")}, "urn:ml-job:user:"),
        ({"SubjectAlternativeName": _names("urn:ml-job:user:../alice")}, "urn:ml-job:user:"),
        ({"start": _yesterday(), "end": _yesterday() + timedelta(hours=1)}, "expired"),
        (
            {"start": _yesterday() + timedelta(days=2), "end": _yesterday() + timedelta(days=9)},
            "not valid before",
        ),
    ],
)
def test_a_certificate_that_breaks_a_rule_is_refused_with_the_reason(
    authority: authority_module.Authority, changes: dict[str, object], why: str
) -> None:
    forged = _forged(authority, authority.issue_client("alice"), **changes)
    with pytest.raises(AgentError, match=why) as caught:
        subject_module.identify(_der(forged))
    assert caught.value.problem is Problem.CERTIFICATE_REFUSED


def test_bytes_that_are_no_certificate_are_refused() -> None:
    with pytest.raises(AgentError, match="cannot be read"):
        subject_module.identify(b"\x30\x03\x02\x01\x00")


def test_a_server_certificate_is_no_client_certificate(authority: authority_module.Authority) -> None:
    with pytest.raises(AgentError, match="clientAuth"):
        subject_module.identify(_der(authority.issue_server(["localhost"])))


def test_the_servers_names_come_back_as_they_were_given(authority: authority_module.Authority) -> None:
    names = ["ml.example.org", "*.example.org", "192.0.2.7", "2001:db8::1"]
    assert server_names(authority.issue_server(names).certificate) == names


@pytest.mark.parametrize("name", ["", "with space", "a/b", "münchen", "-x", "a..b", "a" * 64, "x\n"])
def test_a_server_name_that_is_no_host_is_refused_and_named(
    authority: authority_module.Authority, name: str
) -> None:
    with pytest.raises(AgentError) as caught:
        authority.issue_server(["localhost", name])
    assert repr(name) in caught.value.message


def test_the_servers_lifetime_is_one_that_macos_accepts(authority: authority_module.Authority) -> None:
    certificate = authority.issue_server(["localhost"]).certificate
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc <= timedelta(days=825)


def test_an_authority_that_has_ended_says_what_replaces_it(
    authority: authority_module.Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = datetime.now(UTC).replace(microsecond=0) + authority_module.CA_LIFETIME + timedelta(days=1)
    monkeypatch.setattr(authority_module, "_now", lambda: later)
    with pytest.raises(AgentError, match="rotate-ca"):
        authority.issue_client("alice")


def test_private_keys_are_for_their_owner_alone_and_never_overwritten(directory: Path) -> None:
    assert stat.S_IMODE((directory / "ca.key").stat().st_mode) == 0o600
    before = (directory / "ca.key").read_bytes()
    with pytest.raises(AgentError, match=r"ca\.key exists"):
        authority_module.Authority.create(directory, "another")
    assert (directory / "ca.key").read_bytes() == before


def test_an_authority_whose_key_belongs_to_another_is_refused(directory: Path, tmp_path: Path) -> None:
    authority_module.Authority.create(tmp_path / "other", "another")
    (directory / "ca.crt").write_bytes((tmp_path / "other/ca.crt").read_bytes())
    with pytest.raises(AgentError, match=r"is not the key of"):
        authority_module.Authority.load(directory)


def test_a_missing_authority_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="ml-agent init"):
        authority_module.Authority.load(tmp_path)
    with pytest.raises(AgentError, match="ml-agent init"):
        tls_module.server_context(tmp_path)


def test_a_pkcs12_file_holds_certificate_key_and_authority_behind_its_password(
    authority: authority_module.Authority,
) -> None:
    alice = authority.issue_client("alice")
    password = new_password()
    data = alice.pkcs12("alice", password)
    key, certificate, others = pkcs12.load_key_and_certificates(data, password.encode())
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.public_key() == alice.key.public_key()
    assert (certificate, others) == (alice.certificate, [authority.certificate])
    with pytest.raises(ValueError, match="password"):
        pkcs12.load_key_and_certificates(data, b"wrong")


def test_a_pkcs12_file_without_a_password_is_never_made(authority: authority_module.Authority) -> None:
    with pytest.raises(ValueError, match="needs a password"):
        authority.issue_client("alice").pkcs12("alice", "")


def test_passwords_differ_and_can_be_typed() -> None:
    passwords = {new_password() for _ in range(100)}
    assert len(passwords) == 100
    assert all(len(password) == 23 and password.isascii() for password in passwords)


# --- handshakes ---------------------------------------------------------------------------------------


def _accept(listener: socket.socket, context: ssl.SSLContext) -> subject_module.Subject:
    connection, _ = listener.accept()
    connection.settimeout(10)
    with context.wrap_socket(connection, server_side=True) as tls:
        subject = subject_module.identify(tls.getpeercert(binary_form=True) or b"")
        tls.sendall(b"!")
        return subject


def _exchange(
    server: ssl.SSLContext, client: ssl.SSLContext
) -> tuple[subject_module.Subject, ssl.SSLSession | None]:
    """Whom the server takes the client for, and the client's session once the server's answer is read.

    Raises what the server raised. With TLS 1.3 the client's own handshake succeeds before the server has
    looked at its certificate, so its error comes late, and is not what is asked about.
    """
    session = None
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as thread:
        accepted = thread.submit(_accept, listener, server)
        with (
            contextlib.suppress(OSError),
            socket.create_connection(listener.getsockname(), 10) as connection,
            client.wrap_socket(connection, server_hostname="localhost") as tls,
        ):
            tls.recv(1)
            session = tls.session
        return accepted.result(), session


def _client(trust: Path, identity: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=trust / "ca.crt")
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    if identity is not None:
        context.load_cert_chain(identity.with_suffix(".crt"), identity.with_suffix(".key"))
    return context


def test_a_client_of_our_authority_is_let_in_over_tls_1_3(
    directory: Path, authority: authority_module.Authority, tmp_path: Path
) -> None:
    alice = authority.issue_client("alice")
    _save(tmp_path, "alice", alice)
    client = _client(directory, tmp_path / "alice")
    subject, _ = _exchange(tls_module.server_context(directory), client)
    assert subject == subject_module.Subject("alice", alice.serial)


def test_a_client_without_a_certificate_is_refused(directory: Path) -> None:
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        _exchange(tls_module.server_context(directory), _client(directory, None))


def test_a_client_of_a_foreign_authority_is_refused(directory: Path, tmp_path: Path) -> None:
    foreign = authority_module.Authority.create(tmp_path / "foreign", "ml-agent CA test")
    _save(tmp_path, "alice", foreign.issue_client("alice"))
    with pytest.raises(ssl.SSLError, match="unable to get local issuer"):
        _exchange(tls_module.server_context(directory), _client(directory, tmp_path / "alice"))


def test_an_expired_certificate_is_refused_in_the_handshake(
    directory: Path, authority: authority_module.Authority, tmp_path: Path
) -> None:
    past = {"start": _yesterday(), "end": _yesterday() + timedelta(hours=1)}
    _save(tmp_path, "alice", _forged(authority, authority.issue_client("alice"), **past))
    with pytest.raises(ssl.SSLError, match="certificate has expired"):
        _exchange(tls_module.server_context(directory), _client(directory, tmp_path / "alice"))


def test_a_server_certificate_is_refused_as_a_client_in_the_handshake(
    directory: Path,
) -> None:
    with pytest.raises(ssl.SSLError, match="unsuitable certificate purpose"):
        _exchange(tls_module.server_context(directory), _client(directory, directory / "server"))


def test_a_leaf_cannot_issue(directory: Path, authority: authority_module.Authority, tmp_path: Path) -> None:
    alice = authority.issue_client("alice")
    impostor = authority_module.Authority(alice.certificate, alice.key).issue_client("bob")
    _save(tmp_path, "bob", impostor)
    with (tmp_path / "bob.crt").open("ab") as chain:
        chain.write(alice.certificate_pem())
    with pytest.raises(ssl.SSLError, match="invalid CA certificate"):
        _exchange(tls_module.server_context(directory), _client(directory, tmp_path / "bob"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_1_2_is_refused(directory: Path, authority: authority_module.Authority, tmp_path: Path) -> None:
    _save(tmp_path, "alice", authority.issue_client("alice"))
    client = _client(directory, tmp_path / "alice")
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        _exchange(tls_module.server_context(directory), client)


def test_no_session_can_be_resumed(
    directory: Path, authority: authority_module.Authority, tmp_path: Path
) -> None:
    _save(tmp_path, "alice", authority.issue_client("alice"))
    client = _client(directory, tmp_path / "alice")
    _, session = _exchange(tls_module.server_context(directory), client)
    assert session is not None
    assert not session.has_ticket


@pytest.fixture
def looked_at_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_module, "LOOK_INTERVAL", 0.0)


def _replace(directory: Path, name: str, issued: Issued) -> None:
    write_file(directory / f"{name}.crt", issued.certificate_pem(), mode=0o644, replace=True)
    write_file(directory / f"{name}.key", issued.key_pem(), mode=0o600, replace=True)


@pytest.mark.usefixtures("looked_at_each_time")
def test_a_new_certificate_and_a_second_authority_hold_from_the_next_connection_on(
    directory: Path, authority: authority_module.Authority, tmp_path: Path
) -> None:
    current = tls_module.CurrentContext(directory)
    before = current()
    assert current() is before
    second = authority_module.Authority.create(tmp_path / "second", "the next CA")
    with (directory / "ca.crt").open("ab") as trusted:
        trusted.write(second.certificate_pem())
    _replace(directory, "server", authority.issue_server(["localhost"]))
    bob = second.issue_client("bob")
    _save(tmp_path, "bob", bob)
    subject, _ = _exchange(current(), _client(directory, tmp_path / "bob"))
    assert subject == subject_module.Subject("bob", bob.serial)
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        _exchange(before, _client(directory, tmp_path / "bob"))


@pytest.mark.usefixtures("looked_at_each_time")
def test_files_that_cannot_be_used_change_nothing_and_are_said_once(
    directory: Path, authority: authority_module.Authority, caplog: pytest.LogCaptureFixture
) -> None:
    current = tls_module.CurrentContext(directory)
    before = current()
    issued = authority.issue_server(["localhost"])
    write_file(directory / "server.crt", issued.certificate_pem(), mode=0o644, replace=True)
    for _ in range(3):
        assert current() is before
    assert [str(directory) in record.message for record in caplog.records] == [True]
    (directory / "server.key").unlink()
    assert current() is before
    write_file(directory / "server.key", issued.key_pem(), mode=0o600)
    assert current() is not before
    assert current() is current()


def test_the_files_are_not_looked_at_for_each_connection(
    directory: Path, authority: authority_module.Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_module, "LOOK_INTERVAL", 3600.0)
    current = tls_module.CurrentContext(directory)
    before = current()
    _replace(directory, "server", authority.issue_server(["localhost"]))
    assert current() is before


def test_without_usable_files_there_is_no_context(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="ml-agent init"):
        tls_module.CurrentContext(tmp_path)
