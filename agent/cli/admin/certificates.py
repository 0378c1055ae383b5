"""`ml-agent renew`, `revoke`, `list` and `rotate-ca`: certificates after they were issued."""

import contextlib
import re
from datetime import UTC, datetime
from typing import Annotated

import typer

from ...config import Settings
from ...config_files import load
from ...errors import AgentError, invalid_request
from ...identity import authority, rotation
from ...model.base import format_time, now
from ...model.certificate import Certificate
from ..program import JsonOption
from ..terminal import Screen, bold
from . import init, shared

COLUMNS = (bold("USER"), "ROLE", "SERIAL", "ISSUED", "EXPIRES", "REVOKED", "AUTHORITY")
SHOWN_DIGITS = 10  # of a serial number, to a person

app = typer.Typer()


@app.command()
def renew() -> None:
    """Renew the server certificate now. Clients renew theirs with `ml-job renew`."""
    settings = load()
    typer.echo(f"made  {init.renew_server(settings).what}")
    shared.record(settings, "renewServerCertificate")


@app.command()
def revoke(
    serial: Annotated[
        str | None,
        typer.Argument(metavar="[SERIAL]", help="A serial number, or its first six or more digits."),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option("--user", metavar="USER", help="Revoke all certificates and invitations of this user."),
    ] = None,
) -> None:
    """Revoke a certificate and those renewed from it. Takes effect within seconds; cannot be undone."""
    if (serial is None) == (user is None):
        raise typer.BadParameter("name a serial number, or a user with --user, not both")
    settings = load()
    withdrawn = _withdraw_invitations(settings, user) if user else 0
    if withdrawn:
        typer.echo(f"withdrew {withdrawn} {'invitation' if withdrawn == 1 else 'invitations'} of {user}")
    revoked, left = _revoke(settings, serial and normal(serial), user, or_none=bool(withdrawn))
    shared.keep_revocations(settings)
    for each in revoked:
        typer.echo(f"revoked  {each.user}, {each.role}, serial {each.serial}")
    if not revoked and not withdrawn:
        typer.echo("There was nothing left to revoke.")
    for each in left:
        typer.echo(f"still valid: {each.user}, serial {each.serial}; --user revokes all", err=True)


@app.command("list")
def list_certificates(
    everything: Annotated[bool, typer.Option("--all", help="Include expired certificates.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List client certificates. AUTHORITY is the id of the authority that signed one."""
    settings = load()
    shown = [each for each in _known(settings) if everything or each.expires_at > now()]
    screen = Screen()
    if as_json:
        screen.json([each.model_dump(mode="json", exclude_none=True) for each in shown])
        return
    trusted = [authority.authority_id(each) for each in authority.authorities(settings.pki_directory)]
    screen.table(COLUMNS, [_row(each, trusted, person=screen.person) for each in shown])


def _withdraw_invitations(settings: Settings, user: str) -> int:
    """How many open invitations the user had."""
    deed = shared.account().did("withdrawInvitations", "", user=user)
    return shared.in_store(settings, lambda store: store.invitations.withdraw(user, now(), deed=deed))


def _revoke(
    settings: Settings, serial: str | None, user: str | None, *, or_none: bool
) -> tuple[list[Certificate], list[Certificate]]:
    """What was revoked, and what the same users still have.

    Raises `AgentError` where nothing matches, unless `or_none`.
    """
    known = _known(settings)
    found = serial and shared.meant(serial, [each.serial for each in known], "serial numbers")
    chosen = [each for each in known if (each.serial == found if serial else each.user == user)]
    if not chosen and not or_none:
        raise invalid_request(
            f"There is no certificate with serial {serial}." if serial else f"{user} has no certificate.",
            "`ml-agent list --all` lists all certificates.",
        )
    deed, serials = shared.account().did("revokeCertificate"), [each.serial for each in chosen]
    revoked = shared.in_store(settings, lambda store: store.certificates.revoke(serials, now(), deed=deed))
    users, moment = {each.user for each in chosen}, now()
    left = [each for each in _known(settings) if each.user in users and each.good_at(moment)]
    # The revocation is reported even if ca.crt is damaged.
    with contextlib.suppress(AgentError):
        left = rotation.of_trusted(left, authority.authorities(settings.pki_directory))
    return revoked, left


def _known(settings: Settings) -> list[Certificate]:
    return shared.in_store(settings, lambda store: store.certificates.all())


def normal(serial: str) -> str:
    """A serial number as the record has it: openssl and browsers write capitals, colons and leading zeros."""
    digits = serial.replace(":", "").lower().removeprefix("0x")
    if not re.fullmatch("[0-9a-f]{1,40}", digits):  # at most 20 octets (RFC 5280)
        raise typer.BadParameter(f"{serial!r} is not a hexadecimal serial number")
    return f"{int(digits, 16):x}"


def _row(certificate: Certificate, trusted: list[str], *, person: bool) -> list[str]:
    def shown(time: datetime | None) -> str:
        if time is None:
            return ""
        return f"{time:%Y-%m-%d}" if person else format_time(time)

    return [
        certificate.user,
        certificate.role,
        certificate.serial[:SHOWN_DIGITS] if person else certificate.serial,
        shown(certificate.issued_at),
        shown(certificate.expires_at),
        shown(certificate.revoked_at),
        _authority(certificate, trusted, person=person),
    ]


def _authority(certificate: Certificate, trusted: list[str], *, person: bool) -> str:
    """The id of its authority; `old` if another one issues now, `ended` if it is no longer trusted."""
    name = certificate.authority or trusted[-1]  # recorded before there was a second authority
    state = "" if name == trusted[0] else " old" if name in trusted else " ended"
    return (name[:SHOWN_DIGITS] if person else name) + state


@app.command("rotate-ca")
def rotate_authority(
    finish: Annotated[bool, typer.Option("--finish", help="End the old authority.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --finish: cut off the clients that have not renewed.")
    ] = False,
) -> None:
    """Replace the certificate authority. When every client has renewed, run it again with --finish."""
    if force and not finish:
        raise typer.BadParameter("--force needs --finish")
    settings = load()
    if finish:
        _finish(settings, force=force)
    else:
        _begin(settings)


def _begin(settings: Settings) -> None:
    directory = settings.pki_directory
    with rotation.exclusive(directory):
        begun = not rotation.under_way(directory)
        if begun:
            (old,) = authority.authorities(directory)
            old_id = authority.authority_id(old)
            shared.in_store(settings, lambda store: store.certificates.set_missing_authority(old_id))
            # A keychain would not tell two authorities of one name apart.
            rotation.begin(directory, f"{init.authority_name()}, {datetime.now(UTC):%Y-%m-%d}")
        new, old = authority.authorities(directory)
        if begun:
            shared.record(settings, "rotateAuthority", authority.authority_id(new))
        waiting = _not_renewed(settings)
    typer.echo(
        f"{'made' if begun else 'kept'}  authority {authority.authority_id(new)}, which issues from now on"
    )
    typer.echo(f"kept  authority {authority.authority_id(old)}, which stays trusted for now")
    for each in waiting:
        typer.echo(f"      {_describe(each)}")
    typer.echo("Next, every client renews with `ml-job renew`.")
    typer.echo("Then `ml-agent rotate-ca --finish` ends the old authority.")


def _finish(settings: Settings, *, force: bool) -> None:
    directory = settings.pki_directory
    with rotation.exclusive(directory):
        if not rotation.under_way(directory):
            typer.echo("kept  There is one authority, and nothing to finish.")
            return
        waiting = _not_renewed(settings)
        if waiting and not force:
            raise invalid_request(
                f"{len(waiting)} certificates would stop working: {'; '.join(map(_describe, waiting))}.",
                "Let their holders run `ml-job renew`, revoke unused ones with `ml-agent revoke`,"
                " or cut them off with --force.",
            )
        new = rotation.finish(directory, init.served_names(directory))
        cut_off = [each.serial for each in waiting]
        shared.record(settings, "finishRotation", authority.authority_id(new.certificate), cut_off=cut_off)
    typer.echo(f"kept  authority {authority.authority_id(new.certificate)}, the only one now")
    typer.echo(f"made  {directory / 'server.crt'}, issued by this authority")
    for each in waiting:
        typer.echo(f"cut off  {_describe(each)}")


def _not_renewed(settings: Settings) -> list[Certificate]:
    """The certificates that stop working when only the newest authority is left."""
    return rotation.not_renewed(_known(settings), authority.authorities(settings.pki_directory))


def _describe(certificate: Certificate) -> str:
    until = f"{certificate.expires_at:%Y-%m-%d}"
    return f"{certificate.user} has not renewed {certificate.serial}, valid until {until}"
