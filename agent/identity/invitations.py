"""First enrolment by the holder of a key: a one-time code instead of a certificate.

While an invitation is open, `invited-until` beside the authority's files has its end, and the server accepts
connections without a client certificate, for the one call that enrols. Otherwise it accepts none.
"""

import asyncio
import hashlib
import secrets
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ..audit.chain import Caller, Deed
from ..errors import AgentError, Problem
from ..host.files import write_file
from ..model.base import ID_ALPHABET, format_time, now
from ..model.certificate import Certificate, Invitation, Principal, RenewedCertificate, Role
from . import signing_request
from .authority import ClientKey, authorities
from .certificates import certify, recorded
from .issued import pem

CODE_LENGTH = 24  # characters of base 32: 120 bits
INVITED_UNTIL = "invited-until"
MAX_CODE = 64  # characters that are looked at


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
    try:
        return datetime.fromisoformat((directory / INVITED_UNTIL).read_text("ascii"))
    except (OSError, ValueError):
        return None


class InvitationRecords(Protocol):
    """What is asked of the record of invitations."""

    async def get(self, digest: str) -> Invitation | None:
        """The invitation with that digest, or None."""
        ...

    async def use(self, digest: str, key: str, pem: str, certificate: Certificate, *, deed: Deed) -> bool:
        """Records what was issued for an open invitation; False if it is no longer open."""
        ...


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
            raise _refused("The invitation is not known here.")
        key = await asyncio.to_thread(signing_request.public_key, csr)
        if invited.certificate is None:
            invited = await self._use(invited, key, caller)
        if invited.certificate is None or invited.key != _digest_of_key(key):
            raise _refused("The invitation was used for another key.")
        return await asyncio.to_thread(self._answer, invited.certificate)

    async def _use(self, invited: Invitation, key: ClientKey, caller: Caller) -> Invitation:
        """The invitation as it is after this request, or another one that came first, has used it."""
        if not invited.open_at(now()):
            raise _refused(f"The invitation expired at {format_time(invited.expires_at)}.")
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
            raise _refused("The invitation was withdrawn.")
        return used

    def _answer(self, certificate: str) -> RenewedCertificate:
        issued = x509.load_pem_x509_certificate(certificate.encode())
        return RenewedCertificate(
            certificate=certificate,
            ca_certificates=pem(authorities(self._directory)).decode(),
            serial=f"{issued.serial_number:x}",
            expires_at=issued.not_valid_after_utc,
        )


def _digest_of_key(key: ClientKey) -> str:
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _refused(why: str) -> AgentError:
    return AgentError(
        Problem.INVITATION_REFUSED, why, "Ask this host's administrator for another (`ml-agent invite`)."
    )
