"""`ml-agent renew`, `revoke`, `list` and `rotate-ca`: the life of certificates after they were issued."""

import asyncio
import contextlib
import re
from datetime import UTC, datetime
from typing import Annotated

import typer

from ...config import Settings, load
from ...errors import AgentError, Problem
from ...identity import authority, rotation
from ...model.base import format_time, now
from ...model.certificate import Certificate
from ...store.store import Store
from ..terminal import Column, Screen
from . import audit, provision

app = typer.Typer(rich_markup_mode=None)

COLUMNS = (
    Column("USER", style="bold"),
    Column("ROLE"),
    Column("SERIAL"),
    Column("ISSUED"),
    Column("EXPIRES"),
    Column("REVOKED"),
    Column("AUTHORITY"),
)
SHOWN_DIGITS = 10  # of a serial number, to a person
FEWEST_DIGITS = 6  # that say which one is meant

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def renew() -> None:
    """Make a new server certificate now, for the same names. Clients renew their own: `ml-job renew`."""
    settings = load()
    typer.echo(f"made  {provision.renew_server(settings).what}")
    audit.record(settings, "renewServerCertificate")


@app.command()
def revoke(
    serial: Annotated[
        str | None,
        typer.Argument(metavar="[SERIAL]", help="Of one certificate, or its first six or more digits."),
    ] = None,
    user: Annotated[
        str | None, typer.Option("--user", metavar="USER", help="All certificates of this user instead.")
    ] = None,
) -> None:
    """Revoke a certificate, with those that were renewed from it. It holds within seconds, and for good."""
    if (serial is None) == (user is None):
        raise typer.BadParameter("name a serial number, or a user with --user, and not both")
    revoked, left = asyncio.run(_revoke(load(), serial and _normal(serial), user))
    for each in revoked:
        typer.echo(f"revoked  {each.user}, {each.role}, serial {each.serial}")
    if not revoked:
        typer.echo("There was nothing left to revoke.")
    for each in left:
        typer.echo(f"still good: {each.user}, serial {each.serial}; --user revokes all", err=True)


@app.command("list")
def list_certificates(
    everything: Annotated[bool, typer.Option("--all", help="Those that have expired, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the certificates of clients: whose, in what role, until when, and which authority's."""
    settings = load()
    known = asyncio.run(_known(settings))
    shown = [each for each in known if everything or each.expires_at > now()]
    screen = Screen()
    if as_json:
        screen.json([each.model_dump(mode="json", exclude_none=True) for each in shown])
        return
    trusted = [authority.authority_id(each) for each in authority.authorities(settings.pki_directory)]
    screen.table(COLUMNS, [_row(each, trusted, person=screen.person) for each in shown])


@app.command("rotate-ca")
def rotate_authority(
    finish: Annotated[bool, typer.Option("--finish", help="End the old authority.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --finish: whoever has not renewed is cut off.")
    ] = False,
) -> None:
    """Replace the certificate authority: begin, have every client renew, then finish."""
    if force and not finish:
        raise typer.BadParameter("--force is for --finish")
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
            asyncio.run(_name_authority(settings, authority.authority_id(old)))
            # Two of one name would look alike in a keychain.
            rotation.begin(directory, f"{provision.authority_name()}, {datetime.now(UTC):%Y-%m-%d}")
        new, old = authority.authorities(directory)
        if begun:
            audit.record(settings, "rotateAuthority", authority.authority_id(new))
        waiting = asyncio.run(_waiting(settings))
    typer.echo(
        f"{'made' if begun else 'kept'}  authority {authority.authority_id(new)}, which issues from now on"
    )
    typer.echo(f"kept  authority {authority.authority_id(old)}, which stays trusted for now")
    for each in waiting:
        typer.echo(f"      {_described(each)}")
    typer.echo("Every client renews (`ml-job renew`), then `ml-agent rotate-ca --finish` ends the old one.")


def _finish(settings: Settings, *, force: bool) -> None:
    directory = settings.pki_directory
    with rotation.exclusive(directory):
        if not rotation.under_way(directory):
            typer.echo("kept  There is one authority, and nothing to finish.")
            return
        waiting = asyncio.run(_waiting(settings))
        if waiting and not force:
            raise AgentError(
                Problem.INVALID_REQUEST,
                f"{len(waiting)} certificates would be cut off: {'; '.join(map(_described, waiting))}.",
                "Have them renewed (`ml-job renew`), revoke those that nobody uses (`ml-agent revoke`),"
                " or cut them off with --force.",
            )
        new = rotation.finish(directory, provision.served_names(directory))
        cut_off = [each.serial for each in waiting]
        audit.record(settings, "finishRotation", authority.authority_id(new.certificate), cut_off=cut_off)
    typer.echo(f"kept  authority {authority.authority_id(new.certificate)}, the only one now")
    typer.echo(f"made  {directory / 'server.crt'}, of this authority")
    for each in waiting:
        typer.echo(f"cut off  {_described(each)}")


async def _revoke(
    settings: Settings, serial: str | None, user: str | None
) -> tuple[list[Certificate], list[Certificate]]:
    """What was revoked, and what is still good of the same users. Raises `AgentError` for what is unknown."""
    async with Store.open(settings.database) as store:
        known = await store.certificates.all()
        chosen = _meant(known, serial) if serial else [each for each in known if each.user == user]
        if not chosen:
            raise AgentError(
                Problem.INVALID_REQUEST,
                f"There is no certificate with serial {serial}." if serial else f"{user} has no certificate.",
                "`ml-agent list --all` shows them.",
            )
        deed = audit.account().did("revokeCertificate")
        revoked = await store.certificates.revoke([each.serial for each in chosen], now(), deed=deed)
        users, moment = {each.user for each in chosen}, now()
        left = [
            each for each in await store.certificates.all() if each.user in users and each.good_at(moment)
        ]
    # What was revoked must be told, whatever became of ca.crt.
    with contextlib.suppress(AgentError):
        left = rotation.of_trusted(left, authority.authorities(settings.pki_directory))
    return revoked, left


def _meant(known: list[Certificate], serial: str) -> list[Certificate]:
    """The certificate of that serial number, or the one whose number begins so."""
    for each in known:
        if each.serial == serial:
            return [each]
    found = [each for each in known if len(serial) >= FEWEST_DIGITS and each.serial.startswith(serial)]
    if len(found) > 1:
        serials = ", ".join(each.serial for each in found)
        raise AgentError(
            Problem.INVALID_REQUEST,
            f"{serial} is the beginning of several serial numbers: {serials}.",
            "Type one more digit.",
        )
    return found


def _normal(serial: str) -> str:
    """As the record has it: openssl and browsers write capitals, colons and leading zeros."""
    digits = serial.replace(":", "").lower().removeprefix("0x")
    if not re.fullmatch("[0-9a-f]{1,40}", digits):  # 20 octets at the most (RFC 5280)
        raise typer.BadParameter(f"{serial!r} is no serial number in hexadecimal")
    return f"{int(digits, 16):x}"


async def _known(settings: Settings) -> list[Certificate]:
    async with Store.open(settings.database) as store:
        return await store.certificates.all()


async def _name_authority(settings: Settings, name: str) -> None:
    async with Store.open(settings.database) as store:
        await store.certificates.set_missing_authority(name)


async def _waiting(settings: Settings) -> list[Certificate]:
    """Whose certificates the newest authority's end of the others would cut off."""
    return rotation.not_renewed(await _known(settings), authority.authorities(settings.pki_directory))


def _described(certificate: Certificate) -> str:
    until = f"{certificate.expires_at:%Y-%m-%d}"
    return f"{certificate.user} has not renewed {certificate.serial}, good until {until}"


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
    """What signed it, of those that are `trusted`, the issuing one first, or of those that have ended."""
    name = certificate.authority or trusted[-1]  # recorded while there had been only one ever
    state = "" if name == trusted[0] else " old" if name in trusted else " ended"
    return (name[:SHOWN_DIGITS] if person else name) + state
