"""The authority and the server certificate of a host: made where missing, renewed in time."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from ...config import Settings
from ...identity import rotation
from ...identity.authority import Authority
from ...identity.key_files import certificates
from ...identity.server_names import server_name, server_names

RENEWED_BEFORE = timedelta(days=30)  # `init` renews a server certificate that has less left
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Done:
    """A line that `init` prints: `what` exists now, and whether this run `made` it."""

    what: str
    made: bool


def prepare(settings: Settings, names: Sequence[str]) -> list[Done]:
    """Makes the state directory, the authority and the server certificate, where they are missing.

    The certificate is for `names` besides the guessed ones. It is replaced where it lacks one of `names` or
    expires soon; the authority never is. Ends what an interrupted command left half done.
    """
    directory = settings.pki_directory
    for private in (settings.state_directory, directory):
        private.mkdir(mode=0o700, parents=True, exist_ok=True)
    with rotation.exclusive(directory):
        missing = not (directory / "ca.crt").exists()
        if missing:
            Authority.create(directory, authority_name())
        authority = Authority.load(directory)
        done = Done(f"{directory / 'ca.crt'}, {_validity(authority.certificate)}", made=missing)
        return [done, _prepare_server(directory, names)]


def authority_name() -> str:
    """The common name of this host's authority."""
    return f"ml-agent CA of {socket.gethostname()}"


def renew_server(settings: Settings) -> Done:
    """Makes a new server certificate for the names of the old one, however long that is still valid."""
    with rotation.exclusive(settings.pki_directory):
        return _prepare_server(settings.pki_directory, [], always=True)


def _prepare_server(directory: Path, names: Sequence[str], *, always: bool = False) -> Done:
    authority = Authority.load(directory, eldest=True)
    asked = [server_name(name) or name for name in names]
    current = _server_certificate(directory)
    known = served_names(directory)
    made = (
        always
        or current is None
        or not set(asked) <= set(known)
        or _must_be_renewed(current, authority.certificate)
    )
    if made:
        issued = authority.issue_server(list(dict.fromkeys([*asked, *known])))
        rotation.replace_server(directory, issued)
        current = issued.certificate
    assert current is not None
    listed = ", ".join(server_names(current))
    return Done(f"{directory / 'server.crt'}, {_validity(current)}, for {listed}", made=made)


def _server_certificate(directory: Path) -> x509.Certificate | None:
    path, key = directory / "server.crt", directory / "server.key"
    return certificates(path)[0] if path.exists() and key.exists() else None


def served_names(directory: Path) -> list[str]:
    """The names in the server certificate; the guessed ones where there is none."""
    current = _server_certificate(directory)
    return guessed_names() if current is None else server_names(current)


def _must_be_renewed(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return True
    return certificate.not_valid_after_utc - datetime.now(UTC) < RENEWED_BEFORE


def guessed_names() -> list[str]:
    """What this host calls itself, and the loopback names."""
    names = map(server_name, (socket.getfqdn(), socket.gethostname(), *LOOPBACK))
    return list(dict.fromkeys(name for name in names if name is not None))


def _validity(certificate: x509.Certificate) -> str:
    return f"valid until {certificate.not_valid_after_utc:%Y-%m-%d}"
