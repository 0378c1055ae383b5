"""`ml-agent issue`: a client certificate, its record, and the files for its user."""

import asyncio
import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509

from ...config import Settings
from ...config_files import load
from ...errors import AgentError, Problem
from ...host.files import write_file
from ...identity import rotation
from ...identity.authority import Authority, authorities
from ...identity.certificates import recorded
from ...identity.issued import new_password, pem
from ...identity.key_files import certificates, move_into
from ...model.base import format_time
from ...model.certificate import Certificate, Principal, Role
from ...store.store import Store
from . import deeds
from .arguments import AdminOption, DaysOption, OperatorOption, UserArgument, role_of

MODES = (0o644, 0o644, 0o600, 0o600)  # of ca.crt, USER.crt, USER.key and USER.p12
ELSEWHERE = "Choose another --output directory."
ELSEWHERE_OR_REPLACE = "Choose another --output directory, or overwrite the files there with --replace."

app = typer.Typer()


@app.command("issue")
def issue_certificate(
    user: UserArgument,
    admin: AdminOption = False,
    operator: OperatorOption = False,
    days: DaysOption = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIRECTORY", help="Where to write the files.")
    ] = Path(),
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite the user's files there.")] = False,
) -> None:
    """Issue a client certificate. Writes ca.crt, USER.crt, USER.key, and USER.p12 for the macOS keychain."""
    role = role_of(admin=admin, operator=operator)
    handover = asyncio.run(issue(load(), user, role, days, output, replace=replace))
    certificate = handover.certificate
    typer.echo(f"{user}, {role}, until {format_time(certificate.expires_at)}, serial {certificate.serial}")
    for path in handover.files:
        typer.echo(f"  {path}")
    typer.echo(f"Password of {user}.p12 (not shown again): {handover.password}")


@dataclass(frozen=True)
class Handover:
    """What a user is given: the files, and the password of the PKCS#12 file, which is stored nowhere."""

    certificate: Certificate
    files: tuple[Path, ...]
    password: str


async def issue(
    settings: Settings, user: str, role: Role, days: int | None, directory: Path, *, replace: bool
) -> Handover:
    """Issues a client certificate, records it, and writes `ca.crt`, `USER.crt`, `USER.key` and `USER.p12`.

    Raises `AgentError` (configuration) before it issues anything: where a file of the user exists and
    `replace` is false, where `ca.crt` is another host's, where `days` are too many, where USER.crt would be
    `ca.crt`, or where the directory cannot be written to.
    """
    lifetime = timedelta(days=client_days(settings, days))
    trust = directory / "ca.crt"
    files = (trust, *(directory / f"{user}.{suffix}" for suffix in ("crt", "key", "p12")))
    if trust in files[1:]:
        raise AgentError(
            Problem.CONFIGURATION,
            f"The user cannot be named {user}: {trust.name} is the authority's certificate.",
            "Choose another name.",
        )
    with rotation.exclusive(settings.pki_directory), _staging(directory, files) as staging:
        trusted = authorities(settings.pki_directory)
        if not replace:
            _refuse_to_overwrite(trust, trusted, files[1:])
        issued = Authority.load(settings.pki_directory).issue_client(user, lifetime)
        certificate = recorded(issued.certificate, issued.issuer, Principal(user=user, role=role))
        until = format_time(certificate.expires_at)
        deed = deeds.account().did("issueCertificate", certificate.serial, user=user, role=role, until=until)
        password = new_password()
        contents = (
            pem(trusted),
            issued.certificate_pem(),
            issued.key_pem(),
            issued.pkcs12(user, password, trusted),
        )
        for path, content, mode in zip(files, contents, MODES, strict=True):
            write_file(staging / path.name, content, mode=mode, replace=True)
        # The record comes before the files: nobody can use a certificate that the agent does not know.
        # What is likely to fail comes before the record: a certificate without a key would never be renewed.
        async with Store.open(settings.database) as store:
            await store.certificates.add(certificate, deed=deed)
        move_into(directory, [staging / path.name for path in files])
    return Handover(certificate, files, password)


@contextlib.contextmanager
def _staging(directory: Path, files: Sequence[Path]) -> Iterator[Path]:
    """A temporary directory in `directory`, which is made if missing, for what becomes `files` in it.

    Raises `AgentError` (configuration) where they cannot be written.
    """
    try:
        if not directory.exists():
            directory.mkdir(parents=True)
        staging = tempfile.TemporaryDirectory(prefix=".issued.", dir=directory)
    except OSError as error:
        message = f"{directory} cannot be written to: {error.strerror}."
        raise AgentError(Problem.CONFIGURATION, message, ELSEWHERE) from error
    with staging as name:
        for path in files:
            if path.is_dir():
                raise AgentError(Problem.CONFIGURATION, f"{path} is a directory.", ELSEWHERE)
        yield Path(name)


def client_days(settings: Settings, days: int | None) -> int:
    """How many days a certificate is valid. Raises `AgentError` where `days` exceed the bound of the site."""
    configured = settings.certificates
    if days is not None and days > configured.max_client_days:
        raise AgentError(
            Problem.CONFIGURATION,
            f"A certificate for {days} days is too long: certificates.max_client_days is"
            f" {configured.max_client_days}.",
            "Issue a shorter one; its holder can renew it at any time with `ml-job renew`.",
        )
    return configured.client_days if days is None else days


def _refuse_to_overwrite(trust: Path, trusted: Sequence[x509.Certificate], files: Sequence[Path]) -> None:
    if trust.exists() and not _shares_an_authority(trust, trusted):
        message = f"{trust} is the certificate of another authority."
        raise AgentError(Problem.CONFIGURATION, message, ELSEWHERE_OR_REPLACE)
    for path in files:
        if path.exists():
            raise AgentError(Problem.CONFIGURATION, f"{path} exists already.", ELSEWHERE_OR_REPLACE)


def _shares_an_authority(trust: Path, trusted: Sequence[x509.Certificate]) -> bool:
    try:
        return not set(trusted).isdisjoint(certificates(trust))
    except AgentError:
        return False
