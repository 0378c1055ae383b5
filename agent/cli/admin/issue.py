"""`ml-agent issue` and `invite`: a client certificate with its files, or a code for a user who has the key.

An invitation is a one-time code with which a user enrols, so that the key never leaves its device.
"""

import asyncio
import contextlib
import ipaddress
import tempfile
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

import typer
from cryptography import x509

from ...config import Settings
from ...config_files import load
from ...errors import AgentError, misconfigured
from ...host.files import write_file
from ...identity import rotation
from ...identity.authority import Authority, authorities, new_password, pem, server_name
from ...identity.certificates import admit_until, invitation, new_code, recorded
from ...identity.key_files import certificates, move_into
from ...identity.subject import fingerprint
from ...model.base import format_time
from ...model.certificate import Certificate, Invitation, Principal, Role
from ...store.store import Store
from . import init, shared
from .shared import AdminOption, DaysOption, OperatorOption, PeerOption, UserArgument, role_of

MODES = (0o644, 0o644, 0o600, 0o600)  # of ca.crt, USER.crt, USER.key and USER.p12
ELSEWHERE = "Choose another --output directory."
ELSEWHERE_OR_REPLACE = "Choose another --output directory, or overwrite the files there with --replace."

DEFAULT_HOURS = 24  # of an invitation
MAX_HOURS = 14 * 24

app = typer.Typer()


@app.command("issue")
def issue_certificate(
    user: UserArgument,
    admin: AdminOption = False,
    operator: OperatorOption = False,
    peer: PeerOption = None,
    days: DaysOption = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIRECTORY", help="Where to write the files.")
    ] = Path(),
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite the user's files there.")] = False,
) -> None:
    """Issue a client certificate. Writes ca.crt, USER.crt, USER.key, and USER.p12 for the macOS keychain."""
    role = role_of(admin=admin, operator=operator, peer=peer)
    settings = load()
    issued = issue(settings, user, role, days, output, replace=replace)
    certificate, files, password = asyncio.run(issued)
    config = output / "config.toml"
    if peer is None and not config.exists():
        try:
            write_file(config, client_configuration(settings, user).encode(), mode=0o644)
            files = (*files, config)
        except OSError as error:  # the certificate is issued, and its password must be shown
            typer.echo(f"{config} cannot be written: {error.strerror}.", err=True)
    typer.echo(f"{user}, {role}, until {format_time(certificate.expires_at)}, serial {certificate.serial}")
    for path in files:
        typer.echo(f"  {path}")
    typer.echo(f"Password of {user}.p12 (not shown again): {password}")


def client_configuration(settings: Settings, user: str) -> str:
    """What `ml-job` reads beside the user's files: how to reach this host, and as whom."""
    server = f"https://{_reachable_name(settings, None)}:{settings.http.port}"
    return f'server = "{server}"\nidentity = "{user}"\n'


async def issue(
    settings: Settings, user: str, role: Role, days: int | None, directory: Path, *, replace: bool
) -> tuple[Certificate, tuple[Path, ...], str]:
    """Issues a client certificate, records it, and writes `ca.crt`, `USER.crt`, `USER.key` and `USER.p12`.

    Returns the record, these files, and the password of the PKCS#12 file, which is stored nowhere.

    Raises `AgentError` (configuration) before it issues anything: where a file of the user exists and
    `replace` is false, where `ca.crt` is another host's, where `days` are too many, where USER.crt would be
    `ca.crt`, or where the directory cannot be written to.
    """
    lifetime = timedelta(days=client_days(settings, days))
    trust = directory / "ca.crt"
    files = (trust, *(directory / f"{user}.{suffix}" for suffix in ("crt", "key", "p12")))
    if trust in files[1:]:
        raise misconfigured(
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
        deed = shared.account().did("issueCertificate", certificate.serial, user=user, role=role, until=until)
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
    return certificate, files, password


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
        raise misconfigured(message, ELSEWHERE) from error
    with staging as name:
        for path in files:
            if path.is_dir():
                raise misconfigured(f"{path} is a directory.", ELSEWHERE)
        yield Path(name)


def client_days(settings: Settings, days: int | None) -> int:
    """How many days a certificate is valid. Raises `AgentError` where `days` exceed the bound of the site."""
    configured = settings.certificates
    if days is not None and days > configured.max_client_days:
        raise misconfigured(
            f"A certificate for {days} days is too long: certificates.max_client_days is"
            f" {configured.max_client_days}.",
            "Issue a shorter one; its holder can renew it at any time with `ml-job renew`.",
        )
    return configured.client_days if days is None else days


def _refuse_to_overwrite(trust: Path, trusted: Sequence[x509.Certificate], files: Sequence[Path]) -> None:
    there = list[x509.Certificate]()
    with contextlib.suppress(AgentError):
        there = certificates(trust)
    if trust.exists() and set(trusted).isdisjoint(there):
        message = f"{trust} is the certificate of another authority."
        raise misconfigured(message, ELSEWHERE_OR_REPLACE)
    for path in files:
        if path.exists():
            raise misconfigured(f"{path} exists already.", ELSEWHERE_OR_REPLACE)


@app.command()
def invite(
    user: UserArgument,
    admin: AdminOption = False,
    operator: OperatorOption = False,
    days: DaysOption = None,
    hours: Annotated[
        int, typer.Option(min=1, max=MAX_HOURS, help="How long the invitation is valid.")
    ] = DEFAULT_HOURS,
    host: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The name by which the user reaches this host.",
            show_default="the first name in the server's certificate",
        ),
    ] = None,
) -> None:
    """Invite a user to enrol: prints a link for `ml-job enrol` and for the app. It works once."""
    role = role_of(admin=admin, operator=operator)
    settings = load()
    invited, link = _invite(settings, user, role, days=days, valid=timedelta(hours=hours), host=host)
    typer.echo(f"{user}, {role}, one certificate, invited until {format_time(invited.expires_at)}")
    typer.echo(f"  {link}")
    typer.echo("Whoever has the link can enrol as this user: hand it over as you would a password.")


def _invite(
    settings: Settings, user: str, role: Role, *, days: int | None, valid: timedelta, host: str | None
) -> tuple[Invitation, str]:
    with rotation.exclusive(settings.pki_directory):
        # A client that enrols must trust the authority that signed the server's certificate: the eldest.
        authority = authorities(settings.pki_directory)[-1]
        name = _reachable_name(settings, host)
        code = new_code()
        invited = invitation(code, user, role, days=client_days(settings, days), valid=valid)
        until = format_time(invited.expires_at)
        deed = shared.account().did("invite", "", user=user, role=role, until=until)
        shared.in_store(settings, lambda store: store.invitations.add(invited, deed=deed))
        admit_until(settings.pki_directory, invited.expires_at)
    query = urlencode({"code": code, "ca": fingerprint(authority)})
    return invited, f"ml-job://{name}:{settings.http.port}/enrol?{query}"


def _reachable_name(settings: Settings, wanted: str | None) -> str:
    """The host part of the link. Raises `AgentError` if the server's certificate does not have the name."""
    names = init.served_names(settings.pki_directory)
    remote = [name for name in names if name != "localhost" and not _is_loopback(name)]
    name = server_name(wanted) if wanted else (remote or names)[0]
    if name not in names:
        raise misconfigured(
            f"The server's certificate does not have the name {wanted}; it has {', '.join(names)}.",
            f"`ml-agent init --san {wanted}` adds it.",
        )
    return f"[{name}]" if ":" in name else name


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
