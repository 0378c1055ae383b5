"""`ml-agent rotate-ca`: one certificate authority replaces another while clients renew."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import typer

from ...config import Settings
from ...config_files import load
from ...errors import AgentError, Problem
from ...identity import authority, rotation
from ...model.certificate import Certificate
from ...store.store import Store
from . import deeds, provision
from .certificates import known

app = typer.Typer()


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
            asyncio.run(_name_authority(settings, authority.authority_id(old)))
            # A keychain would not tell two authorities of one name apart.
            rotation.begin(directory, f"{provision.authority_name()}, {datetime.now(UTC):%Y-%m-%d}")
        new, old = authority.authorities(directory)
        if begun:
            deeds.record(settings, "rotateAuthority", authority.authority_id(new))
        waiting = asyncio.run(_not_renewed(settings))
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
        waiting = asyncio.run(_not_renewed(settings))
        if waiting and not force:
            raise AgentError(
                Problem.INVALID_REQUEST,
                f"{len(waiting)} certificates would stop working: {'; '.join(map(_describe, waiting))}.",
                "Let their holders run `ml-job renew`, revoke unused ones with `ml-agent revoke`,"
                " or cut them off with --force.",
            )
        new = rotation.finish(directory, provision.served_names(directory))
        cut_off = [each.serial for each in waiting]
        deeds.record(settings, "finishRotation", authority.authority_id(new.certificate), cut_off=cut_off)
    typer.echo(f"kept  authority {authority.authority_id(new.certificate)}, the only one now")
    typer.echo(f"made  {directory / 'server.crt'}, issued by this authority")
    for each in waiting:
        typer.echo(f"cut off  {_describe(each)}")


async def _name_authority(settings: Settings, name: str) -> None:
    async with Store.open(settings.database) as store:
        await store.certificates.set_missing_authority(name)


async def _not_renewed(settings: Settings) -> list[Certificate]:
    """The certificates that stop working when only the newest authority is left."""
    return rotation.not_renewed(await known(settings), authority.authorities(settings.pki_directory))


def _describe(certificate: Certificate) -> str:
    until = f"{certificate.expires_at:%Y-%m-%d}"
    return f"{certificate.user} has not renewed {certificate.serial}, valid until {until}"
