"""Client certificates of every kind, also those that no authority should sign, and handshakes with them."""

import ssl
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agent.identity.authority import Authority

ALICE = "urn:ml-job:user:alice"
CLIENT = (ExtendedKeyUsageOID.CLIENT_AUTH,)
LEAF = x509.BasicConstraints(ca=False, path_length=None)
ISSUER = x509.BasicConstraints(ca=True, path_length=0)


@dataclass(frozen=True)
class Shown:
    """What a client shows: its certificate and what it sends behind it, and the key that it signs with."""

    certificate: x509.Certificate
    key: Any
    chain: tuple[x509.Certificate, ...] = ()
    der: bytes | None = None  # in place of the certificate's own
    key_pem: bytes | None = None  # in place of the key's own

    @property
    def serial(self) -> str:
        return f"{self.certificate.serial_number:x}"

    def load_into(self, context: ssl.SSLContext) -> None:
        """Has a client's context show it."""
        own = self.der or self.certificate.public_bytes(serialization.Encoding.DER)
        pem = ssl.DER_cert_to_PEM_cert(own).encode()
        pem += b"".join(each.public_bytes(serialization.Encoding.PEM) for each in self.chain)
        key = self.key_pem or self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        with tempfile.NamedTemporaryFile() as certificate_file, tempfile.NamedTemporaryFile() as key_file:
            Path(certificate_file.name).write_bytes(pem)
            Path(key_file.name).write_bytes(key)
            context.load_cert_chain(certificate_file.name, key_file.name)


def uris(*values: str) -> list[x509.GeneralName]:
    return [x509.UniformResourceIdentifier(value) for value in values]


def make(
    authority: Authority,
    *,
    names: Sequence[x509.GeneralName] | None = (x509.UniformResourceIdentifier(ALICE),),
    usages: Iterable[x509.ObjectIdentifier] | None = CLIENT,
    constraints: x509.BasicConstraints | None = LEAF,
    start: timedelta = timedelta(minutes=-5),
    end: timedelta = timedelta(days=30),
    serial: int | None = None,
    key: Any = None,
    signs: bool = False,
    seals: bool = True,
    key_ids: bool = True,
    critical: bool = False,
) -> Shown:
    """A certificate as the agent issues one for alice, but for what is said otherwise.

    None leaves an extension out. `signs` and `seals` are the key usages of authorities and of clients,
    `start` and `end` count from now, `critical` adds a critical extension that nobody knows.
    """
    key = key or ec.generate_private_key(ec.SECP256R1())
    public, now = key.public_key(), datetime.now(UTC).replace(microsecond=0)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "alice")]))
        .issuer_name(authority.certificate.subject)
        .public_key(public)
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(now + start)
        .not_valid_after(now + end)
        .add_extension(_key_usage(signs=signs, seals=seals), critical=True)
    )
    if constraints is not None:
        builder = builder.add_extension(constraints, critical=True)
    if usages is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    if names is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if key_ids:
        own = x509.SubjectKeyIdentifier.from_public_key(public)
        issuer = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = builder.add_extension(own, critical=False).add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False
        )
    if critical:
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")
        builder = builder.add_extension(unknown, critical=True)
    return Shown(builder.sign(authority.key, hashes.SHA256()), key)


def _key_usage(*, signs: bool, seals: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=seals,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=not (signs or seals),
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def self_signed() -> Shown:
    """A client that is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "alice")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.add_extension(identifier, critical=False)
    own = Authority(_dated(builder).sign(key, hashes.SHA256()), key)
    shown = make(own, key=key)
    return replace(shown, chain=(own.certificate,))


def issuer_below(authority: Authority) -> Authority:
    """An intermediate authority, which ours must not have."""
    shown = make(authority, names=None, usages=None, constraints=ISSUER, signs=True, seals=False)
    return Authority(shown.certificate, shown.key)


def _dated(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
    now = datetime.now(UTC).replace(microsecond=0)
    return (
        builder.serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
    )


def altered(shown: Shown, old: bytes, new: bytes) -> Shown:
    """The same with bytes replaced after it was signed."""
    der = shown.certificate.public_bytes(serialization.Encoding.DER)
    assert old in der
    return replace(shown, der=der.replace(old, new))


def damaged(shown: Shown) -> Shown:
    """The same with the last bit of its signature turned."""
    der = shown.certificate.public_bytes(serialization.Encoding.DER)
    return replace(shown, der=der[:-1] + bytes([der[-1] ^ 1]))


def signed_with_sha1(authority: Authority) -> Shown:
    """Made by hand, since no library signs so any more. The algorithm is named within, and behind."""
    shown = make(authority)
    sha256, sha1 = bytes.fromhex("300a06082a8648ce3d040302"), bytes.fromhex("300906072a8648ce3d0401")
    content = _content(shown.certificate.tbs_certificate_bytes)
    assert sha256 in content
    signed = _encoded(0x30, content.replace(sha256, sha1, 1))
    signature = authority.key.sign(signed, ec.ECDSA(hashes.SHA1()))
    return replace(shown, der=_encoded(0x30, signed + sha1 + _encoded(0x03, b"\0" + signature)))


def _content(der: bytes) -> bytes:
    return der[2 + (der[1] & 0x7F if der[1] & 0x80 else 0) :]


def _encoded(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes([size]) if size < 0x80 else b"\x82" + size.to_bytes(2)
    return bytes([tag]) + length + content


def stolen(shown: Shown) -> Shown:
    """Another's certificate without its key.

    A key file says its public half, too, and no library checks that it is the half of the other: so the
    thief's own key goes for the certificate's, until something is signed with it.
    """
    thief = ec.generate_private_key(ec.SECP256R1())
    der = thief.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    theirs, hers = _point(thief.public_key()), _point(shown.key.public_key())
    assert theirs in der
    pem = ssl.DER_cert_to_PEM_cert(der.replace(theirs, hers)).replace("CERTIFICATE", "PRIVATE KEY")
    return replace(shown, key_pem=pem.encode())


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def weak_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 1024)  # what is tested is that it is refused


def client_context(trust: Path, shown: Shown | None) -> ssl.SSLContext:
    """A client that trusts the authorities in `trust` and minds nothing about its own certificate."""
    context = ssl.create_default_context(cafile=trust / "ca.crt")
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    if shown is not None:
        shown.load_into(context)
    return context


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """A handshake in memory. Raises the `ssl.SSLError` of the server, which is the one that judges."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = server.wrap_bio(to_server, to_client, server_side=True)
    there = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    for _ in range(4):
        for side in (there, here):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError:
                if side is here:
                    raise
