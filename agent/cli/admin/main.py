"""`ml-agent`: set up the agent of a host, give its users certificates and secrets, and maintain it."""

import asyncio
import logging
import sys
from typing import Annotated

import typer

from ...config_files import load
from ...errors import AgentError, Problem, misconfigured
from ..failure import EXIT_CONFIGURATION, EXIT_FAILURE, of_error, of_text
from ..program import VersionOption, prepare_streams, print_version, report_file
from ..terminal import Screen
from . import (
    audit,
    backup,
    certificates,
    drain,
    init,
    install,
    issue,
    metrics,
    prune,
    secrets,
    usage,
    withdraw,
)
from .doctor import command as doctor

HELP = "Set up the agent of a host, give its users certificates and secrets, and maintain it."

app = typer.Typer(
    name="ml-agent",
    help=HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("version")(print_version)
for module in (init, issue, install, withdraw, drain, prune, metrics, usage, audit, backup, doctor):
    app.add_typer(module.app)
app.add_typer(secrets.app, name="secret")
app.add_typer(certificates.app)


def main() -> None:
    """The `ml-agent` command."""
    prepare_streams()
    try:
        app()
    except AgentError as error:
        Screen().failure(of_error(error))
        sys.exit(EXIT_CONFIGURATION if error.problem is Problem.CONFIGURATION else EXIT_FAILURE)
    except OSError as error:  # typer has handled a broken pipe
        report_file(error)
        sys.exit(EXIT_FAILURE)
    except UnicodeEncodeError as error:
        Screen().failure(of_text(error))
        sys.exit(EXIT_FAILURE)


@app.callback(help=HELP)
def options(version: VersionOption = False) -> None:
    """Options before the command's name."""


@app.command()
def serve() -> None:
    """Serve the socket that systemd passes, until idle. ml-agent.service runs this."""
    from ...service import run

    run(load())


@app.command("egress", hidden=True)
def serve_egress(name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """Serve the proxy of `[egress.NAME]`. ml-egress@NAME.service runs this."""
    from ...egress import proxy
    from ...host.sockets import inherited_sockets

    rules = load().egress.get(name)
    if rules is None:
        raise misconfigured(f"There is no egress.{name}.", f"Add [egress.{name}] to the configuration.")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    asyncio.run(proxy.serve(rules, inherited_sockets(), proxy.IDLE_SECONDS))
