"""`ml-job renew`: a new key and a certificate for it, which take the place of the old ones once they work."""

import asyncio
import dataclasses
import tempfile
from pathlib import Path
from typing import Any

from ...model.certificate import RenewedCertificate
from ..failure import EXIT_FAILURE, Failure, Unreachable
from .http import Api, decode
from .profile import Profile

TRIED = "/host"  # asked with the new certificate before the old one is given up
TRIALS, BETWEEN_TRIALS = 3, 1.0  # seconds; an agent may take one to know that it has another authority


async def renew(api: Api) -> Any:
    """Asks for a certificate, tries it, and replaces the files; returns the agent's answer.

    Raises Failure, and leaves everything as it was, where the answer is not what was asked for, or does not
    work.
    """
    from cryptography import x509  # slow to load, and no other command needs all of this
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, api.profile.identity)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem = request.public_bytes(serialization.Encoding.PEM).decode()
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    # Before anything is asked for: what cannot be kept would count against the user's certificates.
    with tempfile.TemporaryDirectory(prefix=".renewal.", dir=api.profile.certificate.parent) as trial:
        value = await api.post("/certificate", {"csr": pem})
        answer = decode(RenewedCertificate, value)
        try:
            theirs = x509.load_pem_x509_certificate(answer.certificate.encode()).public_key()
        except ValueError:
            theirs = None
        if theirs != key.public_key():
            raise Failure("The agent's answer is no certificate for the new key.", exit_status=EXIT_FAILURE)
        await _try(api.profile, Path(trial), answer, key_pem)
    _replace(api.profile, answer, key_pem)
    return value


async def _try(profile: Profile, directory: Path, answer: RenewedCertificate, key: bytes) -> None:
    """A request with the new files, in that directory: what fails must fail before the old ones are gone."""
    trial = dataclasses.replace(
        profile,
        authority=directory / profile.authority.name,
        certificate=directory / profile.certificate.name,
        key=directory / profile.key.name,
    )
    _replace(trial, answer, key)
    for left in reversed(range(TRIALS)):
        try:
            async with Api(trial) as api:
                await api.get(TRIED)
            return
        except Unreachable:
            if not left:
                raise
        await asyncio.sleep(BETWEEN_TRIALS)


def _replace(profile: Profile, answer: RenewedCertificate, key: bytes) -> None:
    from ...host.files import write_file
    from ...identity.key_files import replace_pair

    # The authorities first: they have the one that the agent's certificate is from at any time.
    write_file(profile.authority, answer.ca_certificates.encode(), mode=0o644, replace=True)
    replace_pair(profile.certificate.parent, profile.identity, answer.certificate.encode(), key)
