"""Certificates, keys and signing requests for tests: usual, forged, on the disk, and in a TLS handshake."""

import contextlib
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from agent.host.files import write_file
from agent.identity.authority import Authority, Issued
from agent.identity.subject import Subject, identify

SHA256 = hashes.SHA256()


def save(directory: Path, name: str, issued: Issued, *, key_mode: int = 0o600) -> None:
    """Writes NAME.crt and NAME.key, in the place of others."""
    write_file(directory / f"{name}.crt", issued.certificate_pem(), mode=0o644, replace=True)
    write_file(directory / f"{name}.key", issued.key_pem(), mode=key_mode, replace=True)


def der_of(issued: Issued) -> bytes:
    """The certificate as a TLS peer sends it."""
    return issued.certificate.public_bytes(Encoding.DER)


def forged(authority: Authority, like: Issued, **changes: Any) -> Issued:
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
    return replace(like, certificate=builder.sign(authority.key, SHA256))


def yesterday() -> datetime:
    """The time a day ago, as certificates have it: without a fraction of a second."""
    return datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)


def make_signing_request(key: Any, digest: Any = SHA256) -> x509.CertificateSigningRequest:
    """A signing request of alice's for that key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "alice")])
    return x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, digest)


def signing_request(key: Any, digest: Any = SHA256) -> str:
    """The same in PEM."""
    return make_signing_request(key, digest).public_bytes(Encoding.PEM).decode()


def client_context(trust: Path, identity: Path | None) -> ssl.SSLContext:
    """A client that trusts the authorities of a PKI directory; `identity` is a path without .crt and .key."""
    context = ssl.create_default_context(cafile=trust / "ca.crt")
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    if identity is not None:
        context.load_cert_chain(identity.with_suffix(".crt"), identity.with_suffix(".key"))
    return context


def exchange(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[Subject, ssl.SSLSession | None]:
    """A handshake: whom the server takes the client for, and the client's session.

    Raises what the server raises. With TLS 1.3 the client's own handshake succeeds before the server has
    checked its certificate, so the client's error comes late and is ignored.
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


def _accept(listener: socket.socket, context: ssl.SSLContext) -> Subject:
    connection, _ = listener.accept()
    connection.settimeout(10)
    with context.wrap_socket(connection, server_side=True) as tls:
        subject = identify(tls.getpeercert(binary_form=True) or b"")
        tls.sendall(b"!")
        return subject
