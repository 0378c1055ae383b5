"""`ml-agent backup` and `restore`: the agent's state in one file, and back."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from ...backup.archive import Progress
from ...backup.making import Made, new_file, write_backup
from ...backup.restoring import Restored, Wishes, restore
from ...config import Settings, user_file
from ...config_files import load
from ...errors import AgentError, host_failed, invalid_request
from ...model.base import format_time
from ...model.certificate import Certificate
from ..quantities import parse_time
from ..terminal import Screen, visible
from . import certificates, init, shared
from .install import LIST_LIVE_UNITS, SERVICE, SOCKET

STREAM = "-"
INTERVAL = 0.5  # seconds between two lines of progress
SHOWN = 20  # files or jobs that a line names
CONFIRMED = "Is each of these still to be trusted?"

app = typer.Typer()


@app.command()
def backup(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A new file, or - for stdout.")],
    results: Annotated[
        bool, typer.Option("--results", help="With the logs, metrics and artifacts of jobs.")
    ] = False,
) -> None:
    """Write database, keys and configuration into one file, while the agent runs. Secrets are not in it."""
    settings = load()
    shared.keep_revocations(settings)
    with _progress() as progress:
        if file == STREAM:
            if sys.stdout.isatty():
                raise typer.BadParameter("a terminal cannot take a backup: redirect it", param_hint="FILE")
            made = write_backup(
                settings, sys.stdout.buffer, settings.state_directory, results=results, progress=progress
            )
            sys.stdout.flush()
        else:
            path = Path(file).absolute()
            with new_file(path) as out:
                made = write_backup(settings, out, path.parent, results=results, progress=progress)
    shared.record(settings, "backup", made.header.head, results="yes" if results else "no")
    _tell_made(made, file)


def _tell_made(made: Made, file: str) -> None:
    screen, header = Screen(), made.header
    screen.remark(
        f"{'stdout' if file == STREAM else file} has {header.files} files with"
        f" {header.bytes / 2**20:.1f} MiB, as of {format_time(header.made_at)}."
        " It contains private keys. It does not contain secrets."
    )
    if made.skipped:
        screen.remark(f"Left out, because their jobs made them unreadable: {_some(made.skipped)}.")


@app.command("restore")
def restore_backup(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file of `ml-agent backup`, or - for stdin.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Move this account's state away first, if it has one.")
    ] = False,
    trust_backup: Annotated[
        bool,
        typer.Option("--trust-backup", help="No certificate that is valid in the backup was revoked since."),
    ] = False,
    revoke: Annotated[
        list[str] | None,
        typer.Option(
            "--revoke", metavar="SERIAL", help="Revoke this certificate; trust the others. Repeatable."
        ),
    ] = None,
    revoke_issued_before: Annotated[
        str | None,
        typer.Option(
            "--revoke-issued-before", metavar="TIME", help="Revoke all that were issued before then."
        ),
    ] = None,
) -> None:
    """Restore a backup on a host whose agent is stopped. `readmit` undoes the withdrawal of a commit."""
    if trust_backup + bool(revoke) + bool(revoke_issued_before) > 1:
        raise typer.BadParameter("choose one of --trust-backup, --revoke and --revoke-issued-before")
    init.demand_account()
    before = parse_time(revoke_issued_before) if revoke_issued_before else None
    settings = _configured()
    _demand_stopped()
    answered = trust_backup or bool(revoke)
    wishes = Wishes(
        replace=replace,
        ask=(lambda _: ()) if answered else _ask,
        revoke=[certificates.normal(each) for each in revoke or []],
        issued_before=before,
    )
    with _opened(file) as source, _progress() as progress:
        done = asyncio.run(restore(source, settings, shared.account(), wishes, progress))
    _tell_restored(done)


def _configured() -> Settings | None:
    """The account's settings; None before it has any."""
    try:
        return load()
    except AgentError:
        if user_file().exists():
            raise
        return None


def _demand_stopped() -> None:
    """Raises `AgentError` (host) where the agent or its jobs run, or would at the next connection."""
    command = [*LIST_LIVE_UNITS, SOCKET, SERVICE, "ml-job@*"]
    try:
        listed = subprocess.run(command, check=False, capture_output=True, text=True)
    except OSError:
        return  # without systemd, nothing of it runs; an open database is noticed in any case
    if running := [line.split()[0] for line in listed.stdout.splitlines() if line.strip()]:
        raise host_failed(
            f"Still running: {_some(running)}.",
            f"Stop them: `systemctl --user stop {SOCKET} {SERVICE} 'ml-job@*'`.",
        )


def _ask(valid: Sequence[Certificate]) -> Iterable[str]:
    """Has a person confirm the certificates that are valid in the backup. Raises `AgentError` otherwise."""
    screen = Screen()
    screen.remark(
        "This host has no record of what was revoked after the backup was made. In the backup, these"
        " certificates are valid:"
    )
    for each in valid:
        until = f"{each.expires_at:%Y-%m-%d}"
        screen.remark(f"  {each.user}, {each.role}, serial {each.serial}, valid until {until}")
    if not (sys.stdin.isatty() and sys.stderr.isatty() and typer.confirm(CONFIRMED, err=True)):
        raise invalid_request(
            f"Nothing was restored: {len(valid)} certificates were not confirmed.",
            "Use --trust-backup if none was revoked, --revoke SERIAL for those that were, or"
            " --revoke-issued-before TIME.",
        )
    return ()


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    if file != STREAM:
        try:
            opened = open(file, "rb")  # noqa: SIM115
        except FileNotFoundError:
            raise invalid_request(
                f"There is no file {file}.", "`ml-agent readmit` undoes the withdrawal of a commit."
            ) from None
        with opened:
            yield opened
    elif sys.stdin.isatty():
        raise typer.BadParameter("a terminal has no backup: redirect it", param_hint="FILE")
    else:
        yield sys.stdin.buffer


def _tell_restored(done: Restored) -> None:
    typer.echo(f"restored  {done.state}, as of {format_time(done.header.made_at)} on {done.header.host}")
    for path in done.replaced:
        typer.echo(f"moved     to {path}")
    for each in done.revoked:
        typer.echo(f"revoked   {each.user}, {each.role}, serial {each.serial}")
    resumed = done.resumed
    for what, jobs in (
        ("wait, and start when the agent does", resumed.waiting),
        ("ran at the backup: their attempt ends as interrupted", resumed.running),
        ("began after the backup, and are not run again", resumed.begun_since),
    ):
        if jobs:
            typer.echo(f"jobs      {len(jobs)} {what}: {_some(jobs)}")
    typer.echo("Secrets are not in a backup: set them with `ml-agent secret set`. Then `ml-agent install`.")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(visible(name) for name in names[:SHOWN]) + more


@contextmanager
def _progress() -> Iterator[Progress]:
    """Tells how far it is on stderr, at a terminal."""
    watched, last = sys.stderr.isatty(), time.monotonic()

    def tell(done: int) -> None:
        nonlocal last
        if watched and time.monotonic() - last > INTERVAL:
            last = time.monotonic()
            sys.stderr.write(f"\r{done / 2**20:.0f} MiB ")
            sys.stderr.flush()

    try:
        yield tell
    finally:
        if watched:
            sys.stderr.write("\r\x1b[2K")
