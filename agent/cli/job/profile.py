"""Which user talks to which agent: the files in `~/.config/ml-job/`, and the TLS context made from them."""

import contextlib
import os
import ssl
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from ..failure import Failure

DEFAULT_SERVER = "https://localhost:8443"
AUTHORITY = "ca.crt"
CONFIG = "config.toml"
KEYS = ("server", "identity")
CHECK_SERVER = "Check --server, ML_JOB_SERVER and config.toml."
EXPIRES_SOON = timedelta(days=7)  # the time to renew a certificate


def config_directory() -> Path:
    """`$XDG_CONFIG_HOME/ml-job`, which is `~/.config/ml-job` where the variable is not set."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "ml-job"


@dataclass(frozen=True)
class Profile:
    """An agent's address (`https://host:port`, no path), and the files that prove both sides."""

    server: str
    identity: str
    authority: Path
    certificate: Path
    key: Path

    @classmethod
    def load(cls, directory: Path, *, server: str | None, identity: str | None) -> Self:
        """From the command line or the environment, else from `config.toml`, else from the files there."""
        config = _read_config(directory / CONFIG)
        name = _choose_identity(directory, identity or config.get("identity"))
        authority = directory / AUTHORITY
        if not authority.is_file():
            raise Failure(
                f"There is no {authority}, so the agent's certificate cannot be verified.",
                "Copy ca.crt from the directory that `ml-agent issue` wrote.",
            )
        return cls(
            server=_server(server or config.get("server") or DEFAULT_SERVER),
            identity=name,
            authority=authority,
            certificate=directory / f"{name}.crt",
            key=directory / f"{name}.key",
        )

    def tls_context(self) -> ssl.SSLContext:
        """TLS 1.3: trusts only the agent's authority, checks the server's name, shows our certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        try:
            context.load_verify_locations(cafile=self.authority)
        except (ssl.SSLError, OSError) as exc:
            raise Failure(f"{self.authority} cannot be used as a certificate authority: {exc}.") from exc
        try:
            self._load_certificate(context)
        except (ssl.SSLError, OSError) as exc:
            raise Failure(
                f"{self.certificate} and {self.key.name} cannot be used: {exc}.",
                f"Ask the host's administrator for a new pair: ml-agent issue {self.identity}",
            ) from exc
        return context

    def _load_certificate(self, context: ssl.SSLContext) -> None:
        # An interrupted `ml-job renew` leaves the new certificate's key under its temporary name.
        waiting = self.key.with_name(f"{self.identity}.key.next")
        try:
            context.load_cert_chain(self.certificate, self.key)
        except (ssl.SSLError, OSError):
            if not waiting.is_file():
                raise
            context.load_cert_chain(self.certificate, waiting)

    def expires_soon(self) -> datetime | None:
        """When our certificate expires, if that is within the next week."""
        from cryptography import x509

        try:
            end = x509.load_pem_x509_certificate(self.certificate.read_bytes()).not_valid_after_utc
        except ValueError:
            return None  # the agent says what is wrong with it
        return end if timedelta() < end - datetime.now(UTC) < EXPIRES_SOON else None

    def certificate_flaw(self) -> str:
        """Why our certificate cannot be accepted, as the end of a sentence; empty if there is no reason."""
        from cryptography import x509  # slow to load, and `--help` does not need it
        from cryptography.exceptions import InvalidSignature

        certificate = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        now = datetime.now(UTC)
        if now > certificate.not_valid_after_utc:
            return f"expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        if now < certificate.not_valid_before_utc:
            return f"is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        for authority in x509.load_pem_x509_certificates(self.authority.read_bytes()):
            with contextlib.suppress(ValueError, TypeError, InvalidSignature):
                certificate.verify_directly_issued_by(authority)
                return ""
        return f"was not issued by {self.authority}"


def _read_config(path: Path) -> dict[str, str]:
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise Failure(f"{path} cannot be read: {exc}.") from exc
    for key, value in config.items():
        if key not in KEYS:
            raise Failure(f"{path}: unknown key {key}.", f"The keys are {' and '.join(KEYS)}.")
        if not isinstance(value, str):
            raise Failure(f"{path}: {key} must be a string.")
    return config


def _choose_identity(directory: Path, wanted: str | None) -> str:
    names = sorted(
        path.stem
        for path in directory.glob("*.crt")
        if path.name != AUTHORITY and path.with_suffix(".key").is_file()
    )
    if not names:
        raise Failure(
            f"There is no identity in {directory}.",
            "Put ca.crt, USER.crt and USER.key there, as `ml-agent issue USER` writes them.",
        )
    if wanted is None and len(names) == 1:
        return names[0]
    listing = ", ".join(names)
    if wanted is None:
        raise Failure(
            f"There are several identities in {directory}: {listing}.",
            f'Choose one with --identity, ML_JOB_IDENTITY, or identity = "{names[0]}" in {CONFIG}.',
        )
    if wanted not in names:
        raise Failure(
            f"There is no identity {wanted!r} in {directory} (a .crt and a .key).",
            f"Known identities: {listing}.",
        )
    return wanted


def _server(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise Failure(f"The server {text!r} is not of the form https://HOST:PORT.", CHECK_SERVER)
    return f"https://{parts.netloc}"
