"""`ml-agent init`: the configuration and the certificates that an agent needs before it can serve."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ...config import Settings, user_file
from ...config_files import load
from ...errors import AgentError, Problem
from ...host.files import write_file
from ...scripts.git import Repository
from . import deeds, provision
from .provision import Done

CONFIGURATION = """\
# The training job agent of this account. docs/configuration.md lists every key.

[scripts]
# The git repository whose scripts/ directory holds what jobs may run.
repository = {repository}

[http]
port = {port}
"""

app = typer.Typer()


@app.command("init")
def initialise(
    scripts: Annotated[
        Path | None,
        typer.Option(metavar="REPOSITORY", help="The git repository of the training scripts."),
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Option("--san", metavar="NAME", help="A DNS name or IP address of this host; repeatable."),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, metavar="PORT", help="The port to listen on (8443).")
    ] = None,
) -> None:
    """Create the configuration, the authority and the server certificate, where missing."""
    done = [configure(scripts, port)]
    done += provision.prepare(load(), names or [])
    if made := [line.what for line in done if line.made]:
        deeds.record(load(), "init", made=made)
    for line in done:
        typer.echo(f"{'made' if line.made else 'kept'}  {line.what}")


def configure(scripts: Path | None, port: int | None) -> Done:
    """Writes the account's configuration, or checks that the existing one says what was asked for.

    Raises `AgentError` (configuration) where it says something else, or where there is none and no repository
    was given.
    """
    path = user_file()
    if path.exists():
        _demand_agreement(path, load(), scripts, port)
        return Done(str(path), made=False)
    if scripts is None:
        raise AgentError(
            Problem.CONFIGURATION,
            f"There is no {path}, and no repository of training scripts was named.",
            "Run `ml-agent init --scripts REPOSITORY` with a git repository that has a directory scripts/.",
        )
    repository = scripts.expanduser().absolute()
    if Repository(repository).commit("HEAD") is None:
        raise AgentError(
            Problem.CONFIGURATION, f"The repository {repository} has no commit.", "Commit a script to it."
        )
    text = CONFIGURATION.format(
        repository=json.dumps(str(repository), ensure_ascii=False),  # a JSON string is a TOML string
        port=Settings.model_fields["http"].default.port if port is None else port,
    )
    write_file(path, text.encode(), mode=0o644)
    return Done(str(path), made=True)


def _demand_agreement(path: Path, settings: Settings, scripts: Path | None, port: int | None) -> None:
    asked: list[tuple[str, object, object]] = []
    if scripts is not None:
        asked.append(("scripts.repository", scripts.expanduser().absolute(), settings.scripts.repository))
    if port is not None:
        asked.append(("http.port", port, settings.http.port))
    for key, wanted, configured in asked:
        if wanted != configured:
            raise AgentError(
                Problem.CONFIGURATION,
                f"{key} is configured as {configured}, not {wanted}.",
                f"Edit {path}; `ml-agent init` does not change an existing configuration.",
            )
