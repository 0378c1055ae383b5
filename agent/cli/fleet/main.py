"""`ml-fleet`: make a fleet of several hosts, look after it, and run its programs."""

import logging
import sys

import typer

from ...config_files import load
from ...errors import AgentError, Problem
from ..failure import EXIT_CONFIGURATION, EXIT_FAILURE, Failure, of_error
from ..program import VersionOption, prepare_streams, print_version, report_file
from ..terminal import Screen
from . import doctor, hosts, init, install, join

HELP = "Make a fleet of several hosts, and look after it."
LIBRARIES = ("redis", "aio_pika", "aiormq")  # of the extra `fleet`

app = typer.Typer(
    name="ml-fleet", help=HELP, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
)
app.command("version")(print_version)
for module in (init, join, install, hosts, doctor):
    app.add_typer(module.app)


def main() -> None:
    """The `ml-fleet` command."""
    prepare_streams()
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # its errors are raised, and told
    try:
        app()
    except AgentError as error:
        Screen().failure(of_error(error))
        sys.exit(EXIT_CONFIGURATION if error.problem is Problem.CONFIGURATION else EXIT_FAILURE)
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] not in LIBRARIES:
            raise
        Screen().failure(
            Failure(
                f"The libraries of a fleet are not installed: {error.name} is missing.",
                "Install the package with its extras, ml-agent[host,fleet]: requirements-fleet.txt.",
            )
        )
        sys.exit(EXIT_CONFIGURATION)
    except OSError as error:  # typer has handled a broken pipe
        report_file(error)
        sys.exit(EXIT_FAILURE)


@app.callback(help=HELP)
def options(version: VersionOption = False) -> None:
    """Options before the command's name."""


@app.command("run-front", hidden=True)
def run_front() -> None:
    """Serve users and members. ml-fleet.service runs this."""
    from ...fleet import programs

    programs.run_front(load())


@app.command("run-member", hidden=True)
def run_member() -> None:
    """Claim jobs for this host. ml-fleet-member.service runs this."""
    from ...fleet import programs

    programs.run_member(load())
