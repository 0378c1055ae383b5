"""`ml-agent`: set up a host's agent, give users certificates and secrets, look after it all."""

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Coroutine
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import TypeAdapter, ValidationError
from rich.text import Text

from ... import __version__
from ...config import default_runtime_directory, load
from ...errors import AgentError, Problem
from ...host.podman import Podman
from ...model.base import SecretName, UserName, format_time, now
from ...model.certificate import Role
from ...model.job import Job
from ...model.secret import SecretChange
from ...secrets.secrets import Credentials
from ...store.store import Store
from .. import secret_value
from ..failure import Failure, of_file
from ..quantities import format_age
from ..terminal import Column, Screen, visible
from . import audit, certificates, doctor, install, provision, prune
from .findings import Finding, Level

T = TypeVar("T")

EXIT_FAILURE = 1
EXIT_CONFIGURATION = 78  # EX_CONFIG of sysexits.h, which systemd shows by name

LEVEL_STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}
SECRET_COLUMNS = (Column("NAME", style="bold"), Column("FOR"), Column("CREATED"), Column("SET"))

app = typer.Typer(
    name="ml-agent",
    help="Set up a host's agent, give users certificates and secrets, look after it all.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
secret = typer.Typer(
    help="Credentials of jobs, kept by Podman and mounted for those who need them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(secret, name="secret")
app.add_typer(certificates.app)


def main() -> None:
    """The `ml-agent` command."""
    try:
        app()
    except AgentError as error:
        Screen().failure(Failure(error.message, error.hint, fields=error.fields))
        sys.exit(EXIT_CONFIGURATION if error.problem is Problem.CONFIGURATION else EXIT_FAILURE)
    except OSError as error:  # but for a broken pipe, of which typer has taken care
        if (failure := of_file(error)) is None:
            raise
        Screen().failure(failure)
        sys.exit(EXIT_FAILURE)


def _name_of(adapter: TypeAdapter[str], example: str) -> Callable[[str], str]:
    """A parser of names as `agent.models` defines them, for typer's `parser=`."""

    def parse(text: str) -> str:
        try:
            return adapter.validate_python(text)
        except ValidationError:
            raise typer.BadParameter(f"{text!r} is no name such as {example}") from None

    return parse


UserArgument = Annotated[
    str,
    typer.Argument(
        parser=_name_of(TypeAdapter(UserName), "alice, or alice.b"), metavar="USER", help="Whose it is."
    ),
]
UserOption = Annotated[
    str | None,
    typer.Option(
        "--user",
        parser=_name_of(TypeAdapter(UserName), "alice, or alice.b"),
        metavar="USER",
        help="For this user's jobs alone, instead of everybody's.",
    ),
]
SecretArgument = Annotated[
    str,
    typer.Argument(
        parser=_name_of(TypeAdapter(SecretName), "snowflake, or api-key"),
        metavar="NAME",
        help="As scripts declare it.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ml-agent {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Set up a host's agent, give users certificates and secrets, look after it all."""


@app.command("version")
def print_version() -> None:
    """Print the version."""
    _print_version(True)


@app.command()
def serve() -> None:
    """Serve the inherited socket until nobody needs it; this is what ml-agent.service runs."""
    from ...service import run

    run(load())


@app.command("egress", hidden=True)
def serve_egress(name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """The proxy of one `[egress.NAME]`; ml-egress@NAME.service runs it."""
    from ...egress import proxy
    from ...host.activation import inherited_sockets

    rules = load().egress.get(name)
    if rules is None:
        raise AgentError(
            Problem.CONFIGURATION, f"There is no egress.{name}.", f"Add [egress.{name}] to the configuration."
        )
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    asyncio.run(proxy.serve(rules, inherited_sockets(), proxy.IDLE_SECONDS))


@app.command()
def init(
    scripts: Annotated[
        Path | None,
        typer.Option(metavar="REPOSITORY", help="The git repository that holds the training scripts."),
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Option("--san", metavar="NAME", help="A DNS name or IP address of this host; repeatable."),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, metavar="PORT", help="Where to listen (8443).")
    ] = None,
) -> None:
    """Make the configuration, the certificate authority and the server's certificate, where missing."""
    done = [provision.configure(scripts, port)]
    done += provision.prepare(load(), names or [])
    if any(line.made for line in done):
        audit.record(load(), "init", made=[line.what for line in done if line.made])
    for line in done:
        typer.echo(f"{'made' if line.made else 'kept'}  {line.what}")


@app.command()
def issue(
    user: UserArgument,
    admin: Annotated[bool, typer.Option("--admin", help="Let the user do everything.")] = False,
    operator: Annotated[
        bool, typer.Option("--operator", help="Let the user see, cancel and pin all jobs.")
    ] = False,
    days: Annotated[
        int | None,
        typer.Option(
            min=1, max=825, help="How long the certificate is good.", show_default="certificates.client_days"
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIRECTORY", help="Where the files go.")
    ] = Path(),
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite the user's files there.")] = False,
) -> None:
    """Issue a client certificate: ca.crt, USER.crt, USER.key, and USER.p12 for the macOS keychain."""
    if admin and operator:
        raise typer.BadParameter("--admin and --operator are two roles; a certificate has one")
    role = Role.ADMINISTRATOR if admin else Role.OPERATOR if operator else Role.ANALYST
    handover = asyncio.run(provision.issue(load(), user, role, days, output, replace=replace))
    certificate = handover.certificate
    typer.echo(f"{user}, {role}, until {format_time(certificate.expires_at)}, serial {certificate.serial}")
    for path in handover.files:
        typer.echo(f"  {path}")
    typer.echo(f"Password of {user}.p12 (not shown again): {handover.password}")


@secret.command("set")
def set_secret(
    name: SecretArgument,
    user: UserOption = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="Where the value is; else standard input, or typed."),
    ] = None,
) -> None:
    """Store a secret's value, in place of an earlier one."""
    value = secret_value.read_value(file)

    async def store(secrets: Credentials) -> SecretChange:
        return await secrets.set(name, user, value, running=await _active_jobs())

    said = secret_value.said_of(_with_credentials(store))
    audit.record(load(), "setSecret", name, owner=user or "")
    for line in said:
        typer.echo(line)
    if user and not asyncio.run(_had_certificate(user)):
        typer.echo(f"{user} never had a certificate of this host: is it the right name?", err=True)
    if remark := secret_value.left_readable(file):
        typer.echo(remark, err=True)


@secret.command("list")
def list_secrets(as_json: JsonOption = False) -> None:
    """List secrets by name and user; nobody can read a value back here."""
    secrets = _with_credentials(Credentials.all)
    screen = Screen()
    if as_json:
        screen.json([one.model_dump(mode="json") for one in secrets])
        return
    screen.table(
        SECRET_COLUMNS,
        [
            [one.name, one.user or "everybody", *map(_told_time(screen), (one.created_at, one.updated_at))]
            for one in secrets
        ],
    )


@secret.command("rm")
def remove_secret(name: SecretArgument, user: UserOption = None) -> None:
    """Remove a secret; jobs that run keep what they were given."""
    _with_credentials(lambda secrets: secrets.remove(name, user))
    audit.record(load(), "removeSecret", name, owner=user or "")
    typer.echo(f"Removed {name} of {user or 'everybody'}.")


RuntimeOption = Annotated[
    bool, typer.Option("--runtime", help="Below $XDG_RUNTIME_DIR, until the next boot.")
]
SystemOption = Annotated[
    bool, typer.Option("--system", help="The host's part, as root: journald, delegation, lingering.")
]
AccountOption = Annotated[
    str | None, typer.Option("--account", metavar="ACCOUNT", help="The service account, with --system.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show files and commands; change nothing.")]


@app.command("install")
def install_units(
    base: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGE",
            help="What the runner's image is built on.",
            show_default=f"as before, or {install.DEFAULT_BASE}",
        ),
    ] = None,
    runtime: RuntimeOption = False,
    system: SystemOption = False,
    account: AccountOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Place the units and Quadlets, and listen; again after an upgrade. Jobs that run do not notice."""
    if system:
        named = _account(account)
        plan = install.system_plan(named)
        _carry_out(plan, dry_run=dry_run, as_root=True)
        if not dry_run:
            typer.echo("\n".join(plan.done()))
            typer.echo(
                f"Delegation and the group hold from the next start of {named}'s manager: after a reboot."
            )
        return
    settings = load()
    settings.state_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _carry_out(install.user_plan(settings, base=base, runtime=runtime), dry_run=dry_run)
    if not dry_run:
        audit.record(settings, "install", version=__version__)
        typer.echo(f"{install.SOCKET} listens on port {settings.http.port}.")


@app.command()
def uninstall(
    runtime: RuntimeOption = False,
    system: SystemOption = False,
    account: AccountOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Remove what `install` placed. Jobs, their record, secrets and images stay."""
    if system:
        plan = install.system_removal(_account(account))
        _carry_out(plan, dry_run=dry_run, as_root=True)
        if not dry_run:
            typer.echo("\n".join(plan.done()))
        return
    try:
        settings = load()
    except AgentError as error:  # without it, what was placed goes all the same
        settings = None
        Screen().remark(f"The audit will have no row of this: {error.message}")
    directory = settings.runtime_directory if settings else default_runtime_directory()
    plan = install.user_removal(directory, runtime=runtime, jobs_run=install.jobs_run())
    _carry_out(plan, dry_run=dry_run)
    if settings and not dry_run:
        audit.record(settings, "uninstall", version=__version__)


@app.command("prune")
def prune_finished(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would go, and why; remove nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove what is due of finished jobs, as the agent does by itself; beside it, or without one."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")  # what stays although it is due
    went, kept = asyncio.run(prune.prune(load(), dry_run=dry_run))
    if went and not dry_run:
        audit.record(load(), "prune", things=len(went), bytes=sum(one.bytes for one in went))
    screen = Screen()
    if as_json:
        screen.json(prune.document(went, kept, dry_run=dry_run))
    else:
        prune.show(screen, went, kept, dry_run=dry_run)


@app.command("audit")
def show_audit(
    verify: Annotated[
        bool, typer.Option("--verify", help="Walk the whole chain; exit status 1 where it is broken.")
    ] = False,
    head: Annotated[
        list[str] | None,
        typer.Option(metavar="ROW:HASH", help="With --verify: a head that was kept elsewhere; repeatable."),
    ] = None,
    archived: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="With --verify: an archive, the oldest first; repeatable."),
    ] = None,
    journal: Annotated[
        bool, typer.Option(help="With --verify: hold the chain to the heads that journald has.")
    ] = True,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="From then on; a time, or how long ago, such as 2d.")
    ] = None,
    user: Annotated[
        str | None, typer.Option(metavar="NAME", help="What this user or account did, or was refused.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="The newest rows; this many.")] = 100,
    archive: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Move the rows from before --before into a new file.")
    ] = None,
    before: Annotated[
        str, typer.Option(metavar="TIME", help="With --archive; a time, or how long ago.")
    ] = "365d",
    as_json: JsonOption = False,
) -> None:
    """Show who did what, when, from where, with what result; and whether the record of that is whole."""
    screen = Screen()
    if verify:
        heads = [audit.parse_head(text) for text in head or []]
        whole = audit.verify(load(), screen, archives=archived or [], heads=heads, journal=journal)
        if not asyncio.run(whole):
            raise typer.Exit(EXIT_FAILURE)
        return
    if archive is not None:
        asyncio.run(audit.archive(load(), archive, audit.parse_time(before)))
        return
    from_then = audit.parse_time(since) if since else None
    asyncio.run(audit.show(load(), screen, since=from_then, user=user, limit=limit, as_json=as_json))


@app.command("doctor")
def examine(as_json: JsonOption = False) -> None:
    """Check what the host needs and say how to mend it; exit status 1 where something fails."""
    screen = Screen()
    findings = asyncio.run(_examine(None if as_json else screen))
    if as_json:
        screen.json([finding.document() for finding in findings])
    if any(finding.level is Level.FAIL for finding in findings):
        raise typer.Exit(EXIT_FAILURE)


async def _examine(screen: Screen | None) -> list[Finding]:
    findings = []
    async for finding in doctor.examine(load()):
        findings.append(finding)
        if screen is not None:
            screen.text(
                Text.assemble(
                    (f"{finding.level:<6}", LEVEL_STYLES[finding.level]),
                    f"{finding.subject:<20}",
                    visible(finding.seen),
                )
            )
            if finding.remedy:
                screen.text(Text(f"{'':<26}{finding.remedy}"))
    return findings


def _with_credentials(work: Callable[[Credentials], Coroutine[Any, Any, T]]) -> T:
    async def connected() -> T:
        settings = load()
        async with Podman(settings.podman_socket) as podman:
            return await work(
                Credentials(
                    podman,
                    runtime_directory=settings.runtime_directory,
                    state_directory=settings.state_directory,
                )
            )

    return asyncio.run(connected())


async def _active_jobs() -> list[Job]:
    """What has not ended, as the record says; none where there is no record yet."""
    database = load().database
    if not database.exists():
        return []
    async with Store.open(database) as store:
        return await store.jobs.active()


async def _had_certificate(user: str) -> bool:
    async with Store.open(load().database) as store:
        return any(each.user == user for each in await store.certificates.all())


def _told_time(screen: Screen) -> Callable[[datetime], str]:
    """For a person how long ago it was, for a program when."""
    return (lambda moment: format_age(moment, now())) if screen.person else format_time


def _account(named: str | None) -> str:
    """The service account: as named, or who called sudo."""
    account = named or os.environ.get("SUDO_USER")
    if not account:
        raise AgentError(Problem.CONFIGURATION, "Nobody has named the service account.", "Use --account.")
    return account


def _carry_out(plan: install.Plan, *, dry_run: bool, as_root: bool = False) -> None:
    if dry_run:
        typer.echo(plan.describe())
        return
    if as_root and os.geteuid() != 0:
        raise AgentError(
            Problem.HOST,
            "--system changes the host, and needs root.",
            "Use sudo, or --dry-run to see what it does.",
        )
    plan.carry_out()
