"""What `ml-agent init` and `ml-agent issue` do: configuration, certificates, and the record of them."""

import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from agent import pki
from agent.config import Settings, load, user_file
from agent.errors import AgentError, Problem
from agent.git import Repository
from agent.models import Certificate, Role, format_time, now
from agent.store import Store

from . import audit

RENEWED_BEFORE = timedelta(days=30)  # `init` makes a new server certificate when the old one has less left
LOOPBACK = ("localhost", "127.0.0.1", "::1")

CONFIGURATION = """\
# The training job agent of this account. docs/configuration.md lists every key.

[scripts]
# The git repository whose scripts/ directory holds what jobs may run.
repository = {repository}

[http]
port = {port}
"""


@dataclass(frozen=True)
class Done:
    """A line of what `init` says: `what` is there, and whether this run `made` it."""

    what: str
    made: bool


def configure(scripts: Path | None, port: int | None) -> Done:
    """Writes the account's configuration, or makes sure that the one there says what was asked for.

    Raises `AgentError` (configuration) where it says something else, or where nobody has named a repository.
    """
    path = user_file()
    if path.exists():
        _demand_agreement(path, load(), scripts, port)
        return Done(str(path), made=False)
    if scripts is None:
        raise AgentError(
            Problem.CONFIGURATION,
            f"There is no {path}, and nobody has said where the training scripts are.",
            "`ml-agent init --scripts REPOSITORY` names a git repository with a directory scripts/.",
        )
    repository = scripts.expanduser().absolute()
    if Repository(repository).commit("HEAD") is None:
        raise AgentError(
            Problem.CONFIGURATION, f"The repository {repository} has no commit.", "Commit a script to it."
        )
    text = CONFIGURATION.format(
        repository=json.dumps(str(repository), ensure_ascii=False),  # a JSON string is a TOML string
        port=Settings.model_fields["http"].default.port if port is None else port,
    )
    pki.write_file(path, text.encode(), mode=0o644)
    return Done(str(path), made=True)


def _demand_agreement(path: Path, settings: Settings, scripts: Path | None, port: int | None) -> None:
    asked: list[tuple[str, object, object]] = []
    if scripts is not None:
        asked.append(("scripts.repository", scripts.expanduser().absolute(), settings.scripts.repository))
    if port is not None:
        asked.append(("http.port", port, settings.http.port))
    for key, wanted, configured in asked:
        if wanted != configured:
            raise AgentError(
                Problem.CONFIGURATION,
                f"{key} is configured as {configured}, not {wanted}.",
                f"Edit {path}; `ml-agent init` does not change what is there.",
            )


def prepare(settings: Settings, names: Sequence[str]) -> list[Done]:
    """Makes the state directory, the authority and the server's certificate, where they are missing.

    `names` are wanted in the certificate besides the guessed ones. A certificate that lacks one of them, or
    that ends soon, is replaced; the authority never is.
    """
    directory = settings.pki_directory
    for private in (settings.state_directory, directory):
        private.mkdir(mode=0o700, parents=True, exist_ok=True)
    made_authority = not (directory / "ca.key").exists()
    if made_authority:
        authority = pki.Authority.create(directory, f"ml-agent CA of {socket.gethostname()}")
    else:
        authority = pki.Authority.load(directory)
    certificate = authority.certificate
    done = [Done(f"{directory / 'ca.crt'}, {_validity(certificate)}", made=made_authority)]
    return [*done, _prepare_server(authority, directory, names)]


def _prepare_server(authority: pki.Authority, directory: Path, names: Sequence[str]) -> Done:
    path, key = directory / "server.crt", directory / "server.key"
    asked = [pki.server_name(name) or name for name in names]
    current = pki.certificates(path)[0] if path.exists() and key.exists() else None
    known = guessed_names() if current is None else pki.server_names(current)
    made = current is None or not set(asked) <= set(known) or _must_be_renewed(current, authority)
    if made:
        issued = authority.issue_server(list(dict.fromkeys([*asked, *known])))
        pki.write_file(key, issued.key_pem(), mode=0o600, replace=True)
        pki.write_file(path, issued.certificate_pem(), mode=0o644, replace=True)
    current = pki.certificates(path)[0]
    return Done(f"{path}, {_validity(current)}, for {', '.join(pki.server_names(current))}", made=made)


def _must_be_renewed(certificate: x509.Certificate, authority: pki.Authority) -> bool:
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    return left < RENEWED_BEFORE or certificate.issuer != authority.certificate.subject


def guessed_names() -> list[str]:
    """What this host calls itself, and the loopback names."""
    names = map(pki.server_name, (socket.getfqdn(), socket.gethostname(), *LOOPBACK))
    return list(dict.fromkeys(name for name in names if name is not None))


@dataclass(frozen=True)
class Handover:
    """What a user is given: the files, and the password of the PKCS#12 one, which is kept nowhere."""

    certificate: Certificate
    files: tuple[Path, ...]
    password: str


async def issue(
    settings: Settings, user: str, role: Role, lifetime: timedelta, directory: Path, *, replace: bool
) -> Handover:
    """Issues a client certificate, records it, and writes `ca.crt`, `USER.crt`, `USER.key` and `USER.p12`.

    Raises `AgentError` (configuration) before anything is issued where one of the user's files is there and
    `replace` was not asked for, or where `ca.crt` is another host's.
    """
    authority = pki.Authority.load(settings.pki_directory)
    trust = directory / "ca.crt"
    paths = [directory / f"{user}.{suffix}" for suffix in ("crt", "key", "p12")]
    if not replace:
        _demand_room(trust, authority.certificate_pem(), paths)
    issued = authority.issue_client(user, lifetime)
    certificate = Certificate(
        serial=issued.serial,
        user=user,
        role=role,
        issued_at=now(),
        expires_at=issued.certificate.not_valid_after_utc,
    )
    # First the record: a certificate that the agent does not know is of no use to anybody.
    deed = audit.account().did(
        "issueCertificate",
        certificate.serial,
        user=user,
        role=role,
        until=format_time(certificate.expires_at),
    )
    async with Store.open(settings.database) as store:
        await store.add_certificate(certificate, deed=deed)
    password = pki.new_password()
    contents = (issued.certificate_pem(), issued.key_pem(), issued.pkcs12(user, password))
    for path, content, mode in zip(paths, contents, (0o644, 0o600, 0o600), strict=True):
        pki.write_file(path, content, mode=mode, replace=replace)
    pki.write_file(trust, authority.certificate_pem(), mode=0o644, replace=True)
    return Handover(certificate, (trust, *paths), password)


def _demand_room(trust: Path, authority: bytes, paths: Sequence[Path]) -> None:
    if trust.exists() and trust.read_bytes() != authority:
        raise AgentError(
            Problem.CONFIGURATION,
            f"{trust} is the certificate of another authority.",
            "Choose another --output directory, or replace what is there with --replace.",
        )
    for path in paths:
        if path.exists():
            raise AgentError(
                Problem.CONFIGURATION,
                f"{path} exists and is not overwritten.",
                "Choose another --output directory, or replace what is there with --replace.",
            )


def _validity(certificate: x509.Certificate) -> str:
    return f"valid until {certificate.not_valid_after_utc:%Y-%m-%d}"
