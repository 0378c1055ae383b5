"""`ml-agent install` and `uninstall`: show an installation, or carry it out."""

import os
from typing import Annotated

import typer

from ... import __version__
from ...config import default_runtime_directory
from ...config_files import load
from ...errors import AgentError, Problem
from ..terminal import Screen
from . import deeds, installation
from .installation import Installation

app = typer.Typer()

RuntimeOption = Annotated[
    bool, typer.Option("--runtime", help="Install below $XDG_RUNTIME_DIR, until the next boot.")
]
SystemOption = Annotated[
    bool, typer.Option("--system", help="The host's part, as root: journald, delegation, lingering.")
]
AccountOption = Annotated[
    str | None, typer.Option("--account", metavar="ACCOUNT", help="With --system: the service account.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show files and commands; change nothing.")]


@app.command()
def install(
    base: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGE",
            help="The base image of the runner's image.",
            show_default=f"as before, or {installation.DEFAULT_BASE}",
        ),
    ] = None,
    runtime: RuntimeOption = False,
    system: SystemOption = False,
    account: AccountOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Install the units and start listening. Repeat after an upgrade; running jobs are not affected."""
    if system:
        named = _account(account)
        if _carried_out_as_root(installation.of_system(named), dry_run=dry_run):
            typer.echo(
                f"Delegation and the group take effect when {named}'s user manager restarts: after a reboot."
            )
        return
    settings = load()
    settings.state_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _carried_out(installation.of_user(settings, base=base, runtime=runtime), dry_run=dry_run):
        deeds.record(settings, "install", version=__version__)
        typer.echo(f"{installation.SOCKET} listens on port {settings.http.port}.")


@app.command()
def uninstall(
    runtime: RuntimeOption = False,
    system: SystemOption = False,
    account: AccountOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Remove what `install` placed. Jobs, their records, secrets and images stay."""
    if system:
        _carried_out_as_root(installation.system_removal(_account(account)), dry_run=dry_run)
        return
    try:
        settings = load()
    except AgentError as error:  # the units can be removed without a configuration
        settings = None
        Screen().remark(f"The audit will have no row of this: {error.message}")
    directory = settings.runtime_directory if settings else default_runtime_directory()
    removal = installation.user_removal(directory, runtime=runtime, jobs_run=installation.jobs_run())
    if _carried_out(removal, dry_run=dry_run) and settings:
        deeds.record(settings, "uninstall", version=__version__)


def _account(named: str | None) -> str:
    """The service account: as named, or who called sudo."""
    account = named or os.environ.get("SUDO_USER")
    if not account:
        raise AgentError(
            Problem.CONFIGURATION, "No service account is named.", "Name it with --account ACCOUNT."
        )
    return account


def _carried_out_as_root(change: Installation, *, dry_run: bool) -> bool:
    """As `_carried_out`, and then says what was done, line by line."""
    if not dry_run and os.geteuid() != 0:
        raise AgentError(
            Problem.HOST,
            "--system changes the host and needs root.",
            "Use sudo, or --dry-run to see the changes.",
        )
    done = _carried_out(change, dry_run=dry_run)
    if done:
        typer.echo("\n".join(change.done()))
    return done


def _carried_out(change: Installation, *, dry_run: bool) -> bool:
    """Carries it out, or only shows it for `dry_run`; whether it was carried out."""
    if dry_run:
        typer.echo(change.describe())
    else:
        change.carry_out()
    return not dry_run
