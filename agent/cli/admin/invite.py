"""`ml-agent invite`: a one-time code with which a user enrols, so that the key never leaves its device."""

import ipaddress
from datetime import timedelta
from typing import Annotated
from urllib.parse import urlencode

import typer

from ...config import Settings
from ...config_files import load
from ...errors import AgentError, Problem
from ...identity import invitations, rotation
from ...identity.authority import authorities
from ...identity.server_names import server_name
from ...identity.subject import fingerprint
from ...model.base import format_time
from ...model.certificate import Invitation, Role
from . import deeds, init
from .arguments import AdminOption, DaysOption, OperatorOption, UserArgument, role_of
from .issue import client_days

DEFAULT_HOURS = 24
MAX_HOURS = 14 * 24

app = typer.Typer()


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
    invitation, link = _invite(settings, user, role, days=days, valid=timedelta(hours=hours), host=host)
    typer.echo(f"{user}, {role}, one certificate, invited until {format_time(invitation.expires_at)}")
    typer.echo(f"  {link}")
    typer.echo("Whoever has the link can enrol as this user: hand it over as you would a password.")


def _invite(
    settings: Settings, user: str, role: Role, *, days: int | None, valid: timedelta, host: str | None
) -> tuple[Invitation, str]:
    with rotation.exclusive(settings.pki_directory):
        # A client that enrols must trust the authority that signed the server's certificate: the eldest.
        authority = authorities(settings.pki_directory)[-1]
        name = _reachable_name(settings, host)
        code = invitations.new_code()
        invitation = invitations.invitation(code, user, role, days=client_days(settings, days), valid=valid)
        until = format_time(invitation.expires_at)
        deed = deeds.account().did("invite", "", user=user, role=role, until=until)
        deeds.in_store(settings, lambda store: store.invitations.add(invitation, deed=deed))
        invitations.admit_until(settings.pki_directory, invitation.expires_at)
    query = urlencode({"code": code, "ca": fingerprint(authority)})
    return invitation, f"ml-job://{name}:{settings.http.port}/enrol?{query}"


def _reachable_name(settings: Settings, wanted: str | None) -> str:
    """The host part of the link. Raises `AgentError` if the server's certificate does not have the name."""
    names = init.served_names(settings.pki_directory)
    remote = [name for name in names if name != "localhost" and not _is_loopback(name)]
    name = server_name(wanted) if wanted else (remote or names)[0]
    if name not in names:
        raise AgentError(
            Problem.CONFIGURATION,
            f"The server's certificate does not have the name {wanted}; it has {', '.join(names)}.",
            f"`ml-agent init --san {wanted}` adds it.",
        )
    return f"[{name}]" if ":" in name else name


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
