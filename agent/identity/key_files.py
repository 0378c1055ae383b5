"""Files of certificates and keys: each whole or not at all, and no certificate ever without its key.

A certificate and its key are two files, and a crash may come between two renames. So the new key is laid down
as NAME.key.next, then the certificate is replaced, and then the key takes its place. At every moment the key
of NAME.crt is in one of the two, and `key_file` says in which.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from ..errors import AgentError, Problem
from ..host.files import sync, write_file

T = TypeVar("T")

LOOKS = 5  # at files that are replaced while they are read; a replacement has fewer steps


def next_key(directory: Path, name: str) -> Path:
    """Where a key waits for its certificate."""
    return directory / f"{name}.key.next"


def replace_pair(directory: Path, name: str, certificate: bytes, key: bytes) -> None:
    """Replaces NAME.crt and NAME.key (both PEM) so that a crash leaves the old pair or the new one."""
    write_file(next_key(directory, name), key, mode=0o600, replace=True)
    write_file(directory / f"{name}.crt", certificate, mode=0o644, replace=True)
    take_key(directory, name)


def move_into(directory: Path, files: Iterable[Path]) -> None:
    """Puts files of the same file system there, durably, under their own names and in the place of others."""
    for file in files:
        file.replace(directory / file.name)
    sync(directory)


def take_key(directory: Path, name: str) -> None:
    """Puts the key that waits in its place, which is the end of the one that was there."""
    next_key(directory, name).replace(directory / f"{name}.key")
    sync(directory)


def settle(directory: Path, name: str, certificate: x509.Certificate) -> None:
    """Ends a replacement that was interrupted: the key that waits is the certificate's, or is of no use."""
    waiting = next_key(directory, name)
    if not waiting.exists():
        return
    if read_key(waiting).public_key() == certificate.public_key():
        take_key(directory, name)
    else:
        waiting.unlink()


def key_file(directory: Path, name: str, certificate: x509.Certificate) -> Path:
    """The file with the certificate's key. Raises `AgentError` (configuration) where neither has it."""
    usual = directory / f"{name}.key"
    candidates = [path for path in (usual, next_key(directory, name)) if path.exists()]
    for path in candidates or [usual]:
        if read_key(path).public_key() == certificate.public_key():
            return path
    raise AgentError(
        Problem.CONFIGURATION,
        f"{usual} is not the key of the certificate in {directory / f'{name}.crt'}.",
        "Restore both files from the same backup.",
    )


def read_key(path: Path) -> PrivateKeyTypes:
    """A PEM file's private key. Raises `AgentError` (configuration) where it cannot be read."""
    try:
        return serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise unreadable(path, error) from error


def certificates(path: Path) -> list[x509.Certificate]:
    """The certificates of a PEM file, at least one; raises `AgentError` (configuration) naming the file."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


def reread(read: Callable[[], T]) -> T:
    """What `read` returns; where it finds files that do not belong together, they may just be replaced."""
    for _ in range(LOOKS - 1):
        try:
            return read()
        except AgentError:
            continue
    return read()


def unreadable(path: Path, error: Exception) -> AgentError:
    """The error of a file that is missing or damaged."""
    return AgentError(
        Problem.CONFIGURATION, f"{path} cannot be read: {error}.", "`ml-agent init` makes what is missing."
    )
