"""Client certificates: who holds one according to the store, and how the holder renews it."""

import asyncio
import contextlib
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from cryptography import x509

from ..audit.chain import Caller, Deed
from ..errors import AgentError, Problem
from ..model.base import format_time, now
from ..model.certificate import Certificate, Principal, RenewedCertificate
from . import signing_request
from .authority import Authority, ClientKey, authorities, authority_id
from .issued import pem
from .subject import Subject, fingerprint, identify

FRESH = 1.0  # seconds for which one lookup serves all streams of a certificate


class CertificateRecords(Protocol):
    """What is asked of the record of certificates."""

    async def get(self, serial: str) -> Certificate | None:
        """The certificate with that serial number, if this host has issued it."""
        ...

    async def mark_used(self, serial: str, at: datetime) -> None:
        """Records the first use."""
        ...

    async def renew(self, renewed: Certificate, *, limit: int, deed: Deed | None = None) -> None:
        """Records a renewed certificate. Raises `AgentError` (too-many-certificates, certificate-refused)."""
        ...


class Certificates:
    """Identifies clients by their certificates, and renews certificates."""

    def __init__(
        self, records: CertificateRecords, directory: Path, *, lifetime: timedelta, max_per_user: int
    ) -> None:
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
        async with self._turn:  # one lookup, for which the others wait
            if time.monotonic() - self._recent_since > FRESH:
                self._recent.clear()
                self._recent_since = time.monotonic()
            if subject.serial not in self._recent:
                self._recent[subject.serial] = await self._records.get(subject.serial)
            certificate = self._recent[subject.serial]
        return _principal(subject, certificate)

    async def renew(self, der: bytes, csr: str, caller: Caller) -> RenewedCertificate:
        """A certificate for the same user and role, and for the key of a signing request.

        The old certificate stays valid until it expires. Raises `AgentError`: invalid-request if the signing
        request is refused, certificate-refused, too-many-certificates.
        """
        principal = await self.identify(der)
        key = await asyncio.to_thread(signing_request.public_key, csr)
        certificate, trusted = await asyncio.to_thread(
            certify, self._directory, principal.user, key, self._lifetime
        )
        renewed = recorded(certificate, trusted[0], principal, renews=identify(der).serial)
        until = format_time(renewed.expires_at)
        deed = caller.did("renewCertificate", renewed.serial, renews=renewed.renews or "", until=until)
        await self._records.renew(renewed, limit=self._max_per_user, deed=deed)
        return RenewedCertificate(
            certificate=pem([certificate]).decode(),
            ca_certificates=pem(trusted).decode(),
            serial=renewed.serial,
            expires_at=renewed.expires_at,
        )


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


def _principal(subject: Subject, certificate: Certificate | None) -> Principal:
    if certificate is None or not _matches(certificate, subject):
        why = "was not issued by this host"
    elif certificate.revoked_at is not None:
        why = "was revoked"
    else:
        return Principal(user=certificate.user, role=certificate.role)
    raise AgentError(
        Problem.CERTIFICATE_REFUSED,
        f"The client certificate {why}.",
        "Ask this host's administrator for a new one (`ml-agent issue`).",
    )


def _matches(certificate: Certificate, subject: Subject) -> bool:
    same = certificate.fingerprint in ("", subject.fingerprint)
    return same and certificate.user == subject.user
