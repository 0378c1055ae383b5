"""`ml-job`: submit training jobs to a host's agent, watch them, and fetch their results."""

import sys
from typing import Annotated

import typer

from ..program import VersionOption, prepare_streams, print_version, report_file
from . import (
    artifacts,
    certificates,
    comparison,
    diff,
    jobs,
    logs,
    models,
    schedules,
    scripts,
    secrets,
    sharing,
    submit,
    sweeps,
    top,
    usage,
    watch,
)
from .invocation import Options
from .profile import DEFAULT_SERVER

HELP = "Submit training jobs to a host's agent, watch them, and fetch their results."

app = typer.Typer(
    name="ml-job", help=HELP, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
)
app.command("version")(print_version)
for module in (submit, jobs, comparison, diff, watch, top, usage, logs, certificates, scripts, sharing):
    app.add_typer(module.app)
app.add_typer(artifacts.app, name="artifacts", help="List a job's artifacts, or fetch them with `get`.")
app.add_typer(sweeps.app, name="sweep", help="Run a script with many hyperparameters, and find the best.")
app.add_typer(schedules.app, name="schedule", help="Submit a job or a sweep at times of a calendar.")
app.add_typer(models.app, name="model", help="Name what jobs have left: point aliases at it, and fetch it.")
app.add_typer(secrets.app, name="secret", help="Set, list and remove your own secrets.")


def main() -> None:
    """The `ml-job` command."""
    prepare_streams()
    try:
        app()
    except OSError as error:  # of what typer writes itself, such as --help; commands report their own
        sys.exit(report_file(error).exit_status)


@app.callback(help=HELP)
def options(
    context: typer.Context,
    server: Annotated[
        str | None,
        typer.Option(
            envvar="ML_JOB_SERVER", metavar="URL", help="The agent's address.", show_default=DEFAULT_SERVER
        ),
    ] = None,
    identity: Annotated[
        str | None,
        typer.Option(
            "--identity",
            "-i",
            envvar="ML_JOB_IDENTITY",
            metavar="USER",
            help="The user whose certificate to present.",
        ),
    ] = None,
    version: VersionOption = False,
) -> None:
    """Options before the command's name."""
    context.obj = Options(server=server, identity=identity)
