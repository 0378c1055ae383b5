"""Options and commands that `ml-agent` and `ml-job` share."""

from typing import Annotated

import typer

from .. import __version__


def print_version(context: typer.Context) -> None:
    """Print the version."""
    typer.echo(f"{context.find_root().command.name} {__version__}")
    raise typer.Exit


def _print_if_wanted(context: typer.Context, wanted: bool) -> None:
    if wanted:
        print_version(context)


JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
VersionOption = Annotated[
    bool, typer.Option("--version", callback=_print_if_wanted, is_eager=True, help="Print the version.")
]
