"""`ml-agent renew`, `revoke` and `list`: certificates after they were issued."""

import asyncio
import contextlib
import re
from datetime import datetime
from typing import Annotated

import typer

from ...config import Settings
from ...config_files import load
from ...errors import AgentError, Problem
from ...identity import authority, rotation
from ...model.base import format_time, now
from ...model.certificate import Certificate
from ...store.store import Store
from ..options import JsonOption
from ..terminal import Column, Screen
from . import deeds, provision

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
FEWEST_DIGITS = 6  # of an abbreviated serial number

app = typer.Typer()


@app.command()
def renew() -> None:
    """Renew the server certificate now. Clients renew theirs with `ml-job renew`."""
    settings = load()
    typer.echo(f"made  {provision.renew_server(settings).what}")
    deeds.record(settings, "renewServerCertificate")


@app.command()
def revoke(
    serial: Annotated[
        str | None,
        typer.Argument(metavar="[SERIAL]", help="A serial number, or its first six or more digits."),
    ] = None,
    user: Annotated[
        str | None, typer.Option("--user", metavar="USER", help="Revoke all certificates of this user.")
    ] = None,
) -> None:
    """Revoke a certificate and those renewed from it. Takes effect within seconds; cannot be undone."""
    if (serial is None) == (user is None):
        raise typer.BadParameter("name a serial number, or a user with --user, not both")
    revoked, left = asyncio.run(_revoke(load(), serial and _normal(serial), user))
    for each in revoked:
        typer.echo(f"revoked  {each.user}, {each.role}, serial {each.serial}")
    if not revoked:
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
    shown = [each for each in asyncio.run(known(settings)) if everything or each.expires_at > now()]
    screen = Screen()
    if as_json:
        screen.json([each.model_dump(mode="json", exclude_none=True) for each in shown])
        return
    trusted = [authority.authority_id(each) for each in authority.authorities(settings.pki_directory)]
    screen.table(COLUMNS, [_row(each, trusted, person=screen.person) for each in shown])


async def known(settings: Settings) -> list[Certificate]:
    """Every certificate on record."""
    async with Store.open(settings.database) as store:
        return await store.certificates.all()


async def _revoke(
    settings: Settings, serial: str | None, user: str | None
) -> tuple[list[Certificate], list[Certificate]]:
    """What was revoked, and what the same users still have. Raises `AgentError` where nothing matches."""
    async with Store.open(settings.database) as store:
        known = await store.certificates.all()
        chosen = _meant(known, serial) if serial else [each for each in known if each.user == user]
        if not chosen:
            raise AgentError(
                Problem.INVALID_REQUEST,
                f"There is no certificate with serial {serial}." if serial else f"{user} has no certificate.",
                "`ml-agent list --all` lists all certificates.",
            )
        deed = deeds.account().did("revokeCertificate")
        revoked = await store.certificates.revoke([each.serial for each in chosen], now(), deed=deed)
        users, moment = {each.user for each in chosen}, now()
        left = [
            each for each in await store.certificates.all() if each.user in users and each.good_at(moment)
        ]
    # The revocation is reported even if ca.crt is damaged.
    with contextlib.suppress(AgentError):
        left = rotation.of_trusted(left, authority.authorities(settings.pki_directory))
    return revoked, left


def _meant(known: list[Certificate], serial: str) -> list[Certificate]:
    """The certificate with that serial number, or the only one whose number begins with it."""
    for each in known:
        if each.serial == serial:
            return [each]
    found = [each for each in known if len(serial) >= FEWEST_DIGITS and each.serial.startswith(serial)]
    if len(found) > 1:
        serials = ", ".join(each.serial for each in found)
        raise AgentError(
            Problem.INVALID_REQUEST,
            f"{serial} is the beginning of several serial numbers: {serials}.",
            "Type more digits.",
        )
    return found


def _normal(serial: str) -> str:
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
    """The id of its authority, and whether that is `trusted`, where the first one issues, or has ended."""
    name = certificate.authority or trusted[-1]  # recorded before there was a second authority
    state = "" if name == trusted[0] else " old" if name in trusted else " ended"
    return (name[:SHOWN_DIGITS] if person else name) + state
