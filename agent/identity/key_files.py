"""Files of certificates and keys, such that no crash leaves a certificate without its key.

A certificate and its key are two files, and a crash may come between two renames. So the new key is written
to NAME.key.next, then NAME.crt is replaced, then NAME.key. At every moment, the key of NAME.crt is in one of
the two key files, and `key_file` finds out in which.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import NameOID

from ..errors import AgentError, misconfigured
from ..host.files import sync, write_file

T = TypeVar("T")

LOOKS = 5  # attempts to read files while they are being replaced, which takes fewer steps


def next_key(directory: Path, name: str) -> Path:
    """The file in which a new key waits until its certificate is in place."""
    return directory / f"{name}.key.next"


def replace_pair(directory: Path, name: str, certificate: bytes, key: bytes) -> None:
    """Replaces NAME.crt and NAME.key (PEM) such that a crash leaves the old pair or the new one."""
    write_file(next_key(directory, name), key, mode=0o600, replace=True)
    write_file(directory / f"{name}.crt", certificate, mode=0o644, replace=True)
    install_key(directory, name)


def move_into(directory: Path, files: Iterable[Path]) -> None:
    """Moves files of the same file system into a directory, durably; replaces files of the same name."""
    for file in files:
        file.replace(directory / file.name)
    sync(directory)


def install_key(directory: Path, name: str) -> None:
    """Replaces NAME.key with the key that waits."""
    next_key(directory, name).replace(directory / f"{name}.key")
    sync(directory)


def settle(directory: Path, name: str, certificate: x509.Certificate) -> None:
    """Completes an interrupted replacement: the waiting key is the certificate's, or it is removed."""
    waiting = next_key(directory, name)
    if not waiting.exists():
        return
    if read_key(waiting).public_key() == certificate.public_key():
        install_key(directory, name)
    else:
        waiting.unlink()


def key_file(directory: Path, name: str, certificate: x509.Certificate) -> Path:
    """The file that has the certificate's key. Raises `AgentError` (configuration) if there is none."""
    usual = directory / f"{name}.key"
    candidates = [path for path in (usual, next_key(directory, name)) if path.exists()]
    for path in candidates or [usual]:
        if read_key(path).public_key() == certificate.public_key():
            return path
    raise misconfigured(
        f"{usual} is not the key of the certificate in {directory / f'{name}.crt'}.",
        "Restore both files from the same backup.",
    )


def read_key(path: Path) -> PrivateKeyTypes:
    """The private key in a PEM file. Raises `AgentError` (configuration) if it cannot be read."""
    try:
        return serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise unreadable(path, error) from error


def key_and_request(name: str, kept: Path | None = None) -> tuple[ec.EllipticCurvePrivateKey, bytes, str]:
    """A new P-256 key, its PKCS#8 PEM, and a signing request for it in PEM. Whoever signs ignores the name.

    With `kept`, the key is written to that file, or read from it if it is there. Raises `AgentError`
    (configuration) for a file that has no such key.
    """
    key: PrivateKeyTypes = ec.generate_private_key(ec.SECP256R1())
    if kept is not None and kept.exists():
        key = read_key(kept)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise unreadable(kept or Path(), ValueError("it is no key on an elliptic curve"))
    pem, unencrypted = serialization.Encoding.PEM, serialization.NoEncryption()
    text = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, unencrypted)
    if kept is not None:
        write_file(kept, text, mode=0o600, replace=True)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return key, text, request.public_bytes(pem).decode()


def certificates(path: Path) -> list[x509.Certificate]:
    """The certificates in a PEM file, at least one. Raises `AgentError` (configuration)."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


def reread(read: Callable[[], T]) -> T:
    """What `read` returns. It is called again if it fails: the files may just be being replaced."""
    for _ in range(LOOKS - 1):
        try:
            return read()
        except AgentError:
            continue
    return read()


def unreadable(path: Path, error: Exception) -> AgentError:
    """The error for a file that is missing or damaged."""
    return misconfigured(f"{path} cannot be read: {error}.", "`ml-agent init` makes what is missing.")
