"""`ml-job renew`: a new key and certificate, which replace the old ones once they work."""

import asyncio
import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import typer
from rich.text import Text

from ...model.certificate import RenewedCertificate
from ..failure import EXIT_FAILURE, Failure, Unreachable
from ..options import JsonOption
from ..terminal import Screen
from .http import Api, decode
from .invocation import command
from .profile import Profile

TRIED = "/host"  # requested with the new certificate before the old one is replaced
TRIALS, BETWEEN_TRIALS = 3, 1.0  # seconds; the agent may take one to notice another authority

app = typer.Typer()


@command(app, "renew", renewing=True)
async def renew_certificate(api: Api, screen: Screen, as_json: JsonOption = False) -> None:
    """Renew your certificate. Replaces it, its key and ca.crt."""
    value = await renew(api)
    if as_json:
        screen.json(value)
    else:
        answer = decode(RenewedCertificate, value)
        until = f"{answer.expires_at:%Y-%m-%d %H:%M}"
        screen.text(Text(f"{api.profile.certificate} is valid until {until} UTC, serial {answer.serial}"))


async def renew(api: Api) -> Any:
    """Requests a certificate, tries it, and replaces the files; returns the agent's answer.

    Raises Failure, and replaces nothing, if the answer is not a certificate for the new key or does not work.
    """
    from cryptography import x509  # slow to load, and few commands need it

    key, key_pem, request = key_and_request(api.profile.identity)
    # Made before the request: a certificate that cannot be kept would count against the user's limit.
    with tempfile.TemporaryDirectory(prefix=".renewal.", dir=api.profile.certificate.parent) as trial:
        value = await api.post("/certificate", {"csr": request})
        answer = decode(RenewedCertificate, value)
        try:
            theirs = x509.load_pem_x509_certificate(answer.certificate.encode()).public_key()
        except ValueError:
            theirs = None
        if theirs != key.public_key():
            raise Failure(
                "The agent's answer is not a certificate for the new key.", exit_status=EXIT_FAILURE
            )
        await _try(api.profile, Path(trial), answer, key_pem)
    replace_files(api.profile, answer, key_pem)
    return value


def key_and_request(name: str, kept: Path | None = None) -> tuple[Any, bytes, str]:
    """A new P-256 key, its PKCS#8 PEM, and a signing request for it in PEM. The agent ignores the name.

    With `kept`, the key is written to that file, or read from it if it is there.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    from ...host.files import write_file

    pem, unencrypted = serialization.Encoding.PEM, serialization.NoEncryption()
    key: Any = ec.generate_private_key(ec.SECP256R1())
    if kept is not None and kept.exists():
        key = serialization.load_pem_private_key(kept.read_bytes(), password=None)
    key_pem: bytes = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, unencrypted)
    if kept is not None:
        write_file(kept, key_pem, mode=0o600, replace=True)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return key, key_pem, request.public_bytes(pem).decode()


async def _try(profile: Profile, directory: Path, answer: RenewedCertificate, key: bytes) -> None:
    """Makes a request with the new files, in another directory, before the old ones are replaced."""
    trial = dataclasses.replace(
        profile,
        authority=directory / profile.authority.name,
        certificate=directory / profile.certificate.name,
        key=directory / profile.key.name,
    )
    replace_files(trial, answer, key)
    for left in reversed(range(TRIALS)):
        try:
            async with Api(trial) as api:
                await api.get(TRIED)
            return
        except Unreachable:
            if not left:
                raise
        await asyncio.sleep(BETWEEN_TRIALS)


def replace_files(profile: Profile, answer: RenewedCertificate, key: bytes) -> None:
    """Replaces the files of `profile`; a crash leaves the old ones or the new ones."""
    from ...host.files import write_file
    from ...identity.key_files import replace_pair

    # The authorities first: the new file always includes the one that signed the agent's certificate.
    write_file(profile.authority, answer.ca_certificates.encode(), mode=0o644, replace=True)
    replace_pair(profile.certificate.parent, profile.identity, answer.certificate.encode(), key)
