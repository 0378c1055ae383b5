"""Client certificates: who holds one according to the store, how a holder renews it, and how a user enrols.

Clients send PKCS#10 signing requests (RFC 2986), of which only the key is used. A user enrols with a one-time
code. While an invitation is open, `invited-until` beside the authority's files has its end, and the server
accepts connections without a client certificate, for the one call that enrols. Otherwise it accepts none.
"""

import asyncio
import base64
import binascii
import contextlib
import hashlib
import secrets
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ..audit.chain import Caller, Deed
from ..errors import AgentError, FieldError, Problem, invalid_request
from ..host.files import write_file
from ..model.base import ID_ALPHABET, format_time, now
from ..model.certificate import Certificate, Invitation, Principal, RenewedCertificate, Role
from .authority import FLEET, Authority, ClientKey, authorities, authority_id, issued_by, pem
from .subject import Subject, fingerprint, identify

CURVES = (ec.SECP256R1, ec.SECP384R1)
RSA_BITS = range(2048, 4097)
RSA_EXPONENT = 65537  # the default of all tools; a small one weakens the key, a large one costs time
DIGESTS = (hashes.SHA256, hashes.SHA384, hashes.SHA512)

PEM = "-----BEGIN"

# Not Ed25519: the macOS keychain has no identities of that kind.
KEYS = "an EC key on P-256 or P-384, or an RSA key of 2048 to 4096 bits"

FRESH = 1.0  # seconds for which one lookup serves all streams of a certificate

CODE_LENGTH = 24  # characters of base 32 in an invitation's code: 120 bits
INVITED_UNTIL = "invited-until"
MAX_CODE = 64  # characters of a code that are looked at


def public_key(text: str) -> ClientKey:
    """The key of a request in PEM or in base64 of DER. The sender has proved to have the private key.

    Raises `AgentError` (invalid-request) for the field `csr`.
    """
    try:
        request = _parse(text)
        key = request.public_key()
        digest = request.signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _refused("must be a PKCS#10 signing request, as `openssl req -new` makes it") from error
    # First the bounds: the key determines how long the check of the signature takes.
    if not is_accepted(key):
        raise _refused(f"must be of {KEYS}")
    if not isinstance(digest, DIGESTS):
        raise _refused("must be signed with SHA-256, SHA-384 or SHA-512")
    try:
        good = request.is_signature_valid
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        good = False
    if not good:
        raise _refused("must be signed with the key that it names")
    assert isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey)
    return key


def _parse(text: str) -> x509.CertificateSigningRequest:
    stripped = text.strip()
    if stripped.startswith(PEM):
        return x509.load_pem_x509_csr(stripped.encode())
    try:
        return x509.load_der_x509_csr(base64.b64decode("".join(stripped.split()), validate=True))
    except binascii.Error as error:
        raise ValueError(str(error)) from error


def is_accepted(key: object) -> bool:
    """Whether a key is of one of the accepted kinds and sizes."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return isinstance(key.curve, CURVES)
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size in RSA_BITS and key.public_numbers().e == RSA_EXPONENT
    return False


def _refused(why: str) -> AgentError:
    return invalid_request("The signing request is refused.", fields=(FieldError("csr", why),))


class CertificateRecords(Protocol):
    """What is asked of the record of certificates."""

    async def get(self, serial: str) -> Certificate | None:
        """The certificate with that serial number, if this host has issued it."""

    async def mark_used(self, serial: str, at: datetime) -> None:
        """Records the first use."""

    async def renew(self, renewed: Certificate, *, limit: int, deed: Deed | None = None) -> None:
        """Records a renewed certificate. Raises `AgentError` (too-many-certificates, certificate-refused)."""


class Certificates:
    """Identifies clients by their certificates, and renews certificates."""

    def __init__(
        self,
        records: CertificateRecords,
        directory: Path,
        *,
        lifetime: timedelta,
        max_per_user: int,
        host: str | None = None,
    ) -> None:
        """Of a fleet's members, an agent knows that of its own `host` alone; a front knows all of them."""
        self._host = host
        self._records = records
        self._directory = directory
        self._lifetime = lifetime
        self._max_per_user = max_per_user
        self._recent: dict[str, Certificate | None] = {}
        self._recent_since = 0.0
        self._turn = asyncio.Lock()

    async def identify(self, der: bytes) -> Principal:
        """The holder of a certificate, with the role that the store has now.

        Raises `AgentError` (certificate-refused) that says why.
        """
        subject = identify(der)
        if subject.role is not None:
            return self._peer(subject, subject.role, der)
        certificate = await self._records.get(subject.serial)
        principal = _principal(subject, certificate)
        if certificate is not None and certificate.used_at is None:
            # A full disk is no reason to refuse the holder. The first use is then not recorded.
            with contextlib.suppress(AgentError):
                await self._records.mark_used(subject.serial, now())
        return principal

    async def identify_again(self, der: bytes) -> Principal:
        """The same as of at most a second ago, so that many streams cost one lookup.

        Whether the certificate has expired is checked now.
        """
        subject = identify(der)
        if subject.role is not None:
            return self._peer(subject, subject.role, der)
        async with self._turn:  # one lookup, for which the others wait
            if time.monotonic() - self._recent_since > FRESH:
                self._recent.clear()
                self._recent_since = time.monotonic()
            if subject.serial not in self._recent:
                self._recent[subject.serial] = await self._records.get(subject.serial)
            certificate = self._recent[subject.serial]
        return _principal(subject, certificate)

    def _peer(self, subject: Subject, role: Role, der: bytes) -> Principal:
        """A program of the fleet, whose authority says its name and role. No record has its certificate."""
        try:
            trusted = (self._directory / FLEET / "ca.crt").read_bytes()
        except OSError:
            trusted = b""
        if not issued_by(der, trusted):
            raise _refused_certificate("was not issued by the fleet of this host")
        if role is Role.MEMBER and self._host not in (None, subject.user):
            raise _refused_certificate("is the member's of another host")
        return Principal(user=subject.user, role=role)

    async def renew(self, der: bytes, csr: str, caller: Caller) -> RenewedCertificate:
        """A certificate for the same user and role, and for the key of a signing request.

        The old certificate stays valid until it expires. Raises `AgentError`: invalid-request if the signing
        request is refused, certificate-refused, too-many-certificates.
        """
        principal = await self.identify(der)
        key = await asyncio.to_thread(public_key, csr)
        certificate, trusted = await asyncio.to_thread(
            certify, self._directory, principal.user, key, self._lifetime
        )
        renewed = recorded(certificate, trusted[0], principal, renews=identify(der).serial)
        until = format_time(renewed.expires_at)
        deed = caller.did("renewCertificate", renewed.serial, renews=renewed.renews or "", until=until)
        await self._records.renew(renewed, limit=self._max_per_user, deed=deed)
        return _answer(certificate, trusted)


def certify(
    directory: Path, user: str, key: ClientKey, lifetime: timedelta
) -> tuple[x509.Certificate, list[x509.Certificate]]:
    """A certificate by the authority in that directory, and the authorities to trust, with its own first."""
    authority = Authority.load(directory)
    others = [each for each in authorities(directory) if each != authority.certificate]
    return authority.certify_client(user, key, lifetime), [authority.certificate, *others]


def recorded(
    certificate: x509.Certificate,
    authority: x509.Certificate,
    holder: Principal,
    *,
    renews: str | None = None,
) -> Certificate:
    """A certificate as the store has it."""
    return Certificate(
        serial=f"{certificate.serial_number:x}",
        user=holder.user,
        role=holder.role,
        issued_at=now(),
        expires_at=certificate.not_valid_after_utc,
        authority=authority_id(authority),
        renews=renews,
        fingerprint=fingerprint(certificate),
    )


def _answer(certificate: x509.Certificate, trusted: Iterable[x509.Certificate]) -> RenewedCertificate:
    return RenewedCertificate(
        certificate=pem([certificate]).decode(),
        ca_certificates=pem(trusted).decode(),
        serial=f"{certificate.serial_number:x}",
        expires_at=certificate.not_valid_after_utc,
    )


def _principal(subject: Subject, certificate: Certificate | None) -> Principal:
    fingerprints = ("", subject.fingerprint)
    if certificate is None or certificate.fingerprint not in fingerprints or certificate.user != subject.user:
        why = "was not issued by this host"
    elif certificate.revoked_at is not None:
        why = "was revoked"
    else:
        return Principal(user=certificate.user, role=certificate.role)
    raise _refused_certificate(why)


def _refused_certificate(why: str) -> AgentError:
    return AgentError(
        Problem.CERTIFICATE_REFUSED,
        f"The client certificate {why}.",
        "Ask this host's administrator for a new one (`ml-agent issue`).",
    )


def new_code() -> str:
    """A code that nobody can guess."""
    return "".join(secrets.choice(ID_ALPHABET) for _ in range(CODE_LENGTH))


def digest_of(code: str) -> str:
    """What is stored of a code: its SHA-256 in hexadecimal."""
    return hashlib.sha256(code.encode("utf-8", "backslashreplace")).hexdigest()


def invitation(code: str, user: str, role: Role, *, days: int, valid: timedelta) -> Invitation:
    """An invitation from now on, with a code of `new_code`."""
    begin = now()
    return Invitation(
        digest=digest_of(code), user=user, role=role, days=days, created_at=begin, expires_at=begin + valid
    )


def admit_until(directory: Path, end: datetime) -> None:
    """Lets clients without a certificate connect until that time at least, to enrol."""
    if (before := admitted_until(directory)) is None or before < end:
        write_file(directory / INVITED_UNTIL, format_time(end).encode(), mode=0o600, replace=True)


def admitted_until(directory: Path) -> datetime | None:
    """Until when clients without a certificate may connect; None where no invitation was ever made."""
    with contextlib.suppress(OSError, ValueError):
        return datetime.fromisoformat((directory / INVITED_UNTIL).read_text("ascii"))
    return None


class InvitationRecords(Protocol):
    """What is asked of the record of invitations."""

    async def get(self, digest: str) -> Invitation | None:
        """The invitation with that digest, or None."""

    async def use(self, digest: str, key: str, pem: str, certificate: Certificate, *, deed: Deed) -> bool:
        """Records what was issued for an open invitation; False if it is no longer open."""


class Enrolment:
    """Issues the certificate that an invitation promises."""

    def __init__(self, records: InvitationRecords, directory: Path) -> None:
        self._records = records
        self._directory = directory

    async def enrol(self, code: str, csr: str, caller: Caller) -> RenewedCertificate:
        """A certificate for the key of a signing request; again the same one for the same key.

        A client whose answer was lost asks again with its key. Raises `AgentError`: invitation-refused, or
        invalid-request if the signing request is refused.
        """
        digest = digest_of(code[:MAX_CODE])
        if (invited := await self._records.get(digest)) is None:
            raise _not_invited("The invitation is not known here.")
        key = await asyncio.to_thread(public_key, csr)
        if invited.certificate is None:
            invited = await self._use(invited, key, caller)
        if invited.certificate is None or invited.key != _digest_of_key(key):
            raise _not_invited("The invitation was used for another key.")
        issued = x509.load_pem_x509_certificate(invited.certificate.encode())
        return _answer(issued, await asyncio.to_thread(authorities, self._directory))

    async def _use(self, invited: Invitation, key: ClientKey, caller: Caller) -> Invitation:
        """The invitation as it is after this request, or another one that came first, has used it."""
        if not invited.open_at(now()):
            raise _not_invited(f"The invitation expired at {format_time(invited.expires_at)}.")
        holder = Principal(user=invited.user, role=invited.role)
        certificate, trusted = await asyncio.to_thread(
            certify, self._directory, invited.user, key, timedelta(days=invited.days)
        )
        record = recorded(certificate, trusted[0], holder)
        invitee = caller.model_copy(update={"actor": holder.user})
        until = format_time(record.expires_at)
        deed = invitee.did("enrol", record.serial, user=holder.user, role=holder.role, until=until)
        await self._records.use(
            invited.digest, _digest_of_key(key), pem([certificate]).decode(), record, deed=deed
        )
        used = await self._records.get(invited.digest)
        if used is None:
            raise _not_invited("The invitation was withdrawn.")
        return used


def _digest_of_key(key: ClientKey) -> str:
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _not_invited(why: str) -> AgentError:
    return AgentError(
        Problem.INVITATION_REFUSED, why, "Ask this host's administrator for another (`ml-agent invite`)."
    )
