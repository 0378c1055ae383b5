"""What `ml-agent init`, `renew` and `issue` do: configuration, certificates, and the record of them."""

import contextlib
import json
import socket
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from ...config import Settings, load, user_file
from ...errors import AgentError, Problem
from ...identity import rotation
from ...identity.authority import (
    Authority,
    authorities,
    certificates,
    new_password,
    pem,
    server_name,
    server_names,
    write_file,
)
from ...identity.certificates import recorded
from ...identity.key_files import move_into
from ...model.base import format_time
from ...model.certificate import Certificate, Principal, Role
from ...scripts.git import Repository
from ...store.store import Store
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
    write_file(path, text.encode(), mode=0o644)
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
    that ends soon, is replaced; the authority never is. What an interrupted command left is mended.
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
    """What this host's authority is called."""
    return f"ml-agent CA of {socket.gethostname()}"


def renew_server(settings: Settings) -> Done:
    """Makes a new server certificate now, for the names of the old one, however long that is still good."""
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
    """Whom the server's certificate is for: the names of the one there is, else the guessed ones."""
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


@dataclass(frozen=True)
class Handover:
    """What a user is given: the files, and the password of the PKCS#12 one, which is kept nowhere."""

    certificate: Certificate
    files: tuple[Path, ...]
    password: str


async def issue(
    settings: Settings, user: str, role: Role, days: int | None, directory: Path, *, replace: bool
) -> Handover:
    """Issues a client certificate, records it, and writes `ca.crt`, `USER.crt`, `USER.key` and `USER.p12`.

    Raises `AgentError` (configuration) before anything is issued where one of the user's files is there and
    `replace` was not asked for, where `ca.crt` is another host's, where `days` are too many, where the user's
    files would be called as the authority's, or where the directory cannot be written to.
    """
    lifetime = _lifetime(settings, days)
    trust = directory / "ca.crt"
    paths = [directory / f"{user}.{suffix}" for suffix in ("crt", "key", "p12")]
    if trust in paths:
        raise AgentError(
            Problem.CONFIGURATION,
            f"The certificate of a user {user} would be {trust.name}, which is the authority's.",
            "Choose another name.",
        )
    with rotation.exclusive(settings.pki_directory), _staging(directory, [trust, *paths]) as staging:
        trusted = authorities(settings.pki_directory)
        if not replace:
            _demand_room(trust, trusted, paths)
        issued = Authority.load(settings.pki_directory).issue_client(user, lifetime)
        certificate = recorded(issued.certificate, issued.issuer, Principal(user=user, role=role))
        deed = audit.account().did(
            "issueCertificate",
            certificate.serial,
            user=user,
            role=role,
            until=format_time(certificate.expires_at),
        )
        password = new_password()
        files = (trust, *paths)
        contents = (
            pem(trusted),
            issued.certificate_pem(),
            issued.key_pem(),
            issued.pkcs12(user, password, trusted),
        )
        for path, content, mode in zip(files, contents, (0o644, 0o644, 0o600, 0o600), strict=True):
            write_file(staging / path.name, content, mode=mode, replace=True)
        # The record goes before: a certificate that the agent does not know is of no use to anybody. What can
        # fail has been done by then, as one that nobody has the key of would wait for its renewal.
        async with Store.open(settings.database) as store:
            await store.certificates.add(certificate, deed=deed)
        move_into(directory, [staging / path.name for path in files])
    return Handover(certificate, files, password)


@contextlib.contextmanager
def _staging(directory: Path, files: Sequence[Path]) -> Iterator[Path]:
    """A place in that directory, which is made where it is missing, for what is to become `files` in it.

    Raises `AgentError` (configuration) where they cannot.
    """
    try:
        if not directory.exists():
            directory.mkdir(parents=True)
        staging = tempfile.TemporaryDirectory(prefix=".issued.", dir=directory)
    except OSError as error:
        raise AgentError(
            Problem.CONFIGURATION,
            f"Nothing can be written to {directory}: {error.strerror}.",
            "Choose another --output directory.",
        ) from error
    with staging as name:
        for path in files:
            if path.is_dir():
                raise AgentError(
                    Problem.CONFIGURATION, f"{path} is a directory.", "Choose another --output directory."
                )
        yield Path(name)


def _lifetime(settings: Settings, days: int | None) -> timedelta:
    configured = settings.certificates
    if days is not None and days > configured.max_client_days:
        raise AgentError(
            Problem.CONFIGURATION,
            f"A certificate for {days} days is too long here: certificates.max_client_days is"
            f" {configured.max_client_days}.",
            "Its holder can renew a shorter one at any time, with `ml-job renew`.",
        )
    return timedelta(days=configured.client_days if days is None else days)


def _demand_room(trust: Path, trusted: Sequence[x509.Certificate], paths: Sequence[Path]) -> None:
    if trust.exists() and not _shares_an_authority(trust, trusted):
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


def _shares_an_authority(trust: Path, trusted: Sequence[x509.Certificate]) -> bool:
    try:
        return not set(trusted).isdisjoint(certificates(trust))
    except AgentError:
        return False


def _validity(certificate: x509.Certificate) -> str:
    return f"valid until {certificate.not_valid_after_utc:%Y-%m-%d}"
