"""`ml-agent secret`: the secrets of all users and of everybody, set, listed and removed."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import typer

from ...config_files import load
from ...host.podman import Podman
from ...model.secret import SecretEntry
from ...secrets.secrets import Secrets
from .. import secret_value
from ..program import JsonOption
from ..quantities import format_moment
from ..terminal import Screen, bold
from . import shared
from .shared import SecretArgument, UserOption

T = TypeVar("T")

COLUMNS = (bold("NAME"), "FOR", "CREATED", "SET")

app = typer.Typer(
    help="Manage the secrets of jobs. Podman stores them and mounts them into the jobs that need them.",
    no_args_is_help=True,
)


@app.command("set")
def set_secret(name: SecretArgument, user: UserOption = None, file: secret_value.FileOption = None) -> None:
    """Set a secret's value, replacing an earlier one."""
    value, settings = secret_value.read_value(file), load()
    there = settings.database.exists()
    running = shared.in_store(settings, lambda store: store.jobs.active()) if there else []
    change = _with_secrets(lambda secrets: secrets.set(name, user, value, running=running))
    shared.record(settings, "setSecret", name, owner=user or "")
    for line in secret_value.describe_change(change):
        typer.echo(line)
    known = shared.in_store(settings, lambda store: store.certificates.all()) if user else []
    if user not in (None, *(certificate.user for certificate in known)):
        typer.echo(f"{user} never had a certificate of this host: is the name right?", err=True)
    if remark := secret_value.remark_on(file):
        typer.echo(remark, err=True)


@app.command("list")
def list_secrets(as_json: JsonOption = False) -> None:
    """List secrets by name and user. Nothing shows a value."""
    secrets, screen = _with_secrets(Secrets.all), Screen()
    screen.result(
        [one.model_dump(mode="json") for one in secrets],
        lambda: screen.table(COLUMNS, [_row(one, person=screen.person) for one in secrets]),
        as_json=as_json,
    )


def _row(one: SecretEntry, *, person: bool) -> list[str]:
    times = [format_moment(time, person=person) for time in (one.created_at, one.updated_at)]
    return [one.name, one.user or "everybody", *times]


@app.command("rm")
def remove_secret(name: SecretArgument, user: UserOption = None) -> None:
    """Remove a secret. Running jobs keep the value they were given."""
    _with_secrets(lambda secrets: secrets.remove(name, user))
    shared.record(load(), "removeSecret", name, owner=user or "")
    typer.echo(f"Removed {name} of {user or 'everybody'}.")


def _with_secrets(work: Callable[[Secrets], Coroutine[Any, Any, T]]) -> T:
    async def connected() -> T:
        settings = load()
        async with Podman(settings.podman_socket) as podman:
            return await work(
                Secrets(
                    podman,
                    runtime_directory=settings.runtime_directory,
                    state_directory=settings.state_directory,
                )
            )

    return asyncio.run(connected())
