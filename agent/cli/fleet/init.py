"""`ml-fleet init`: the fleet's authority, its front, and the files of Redis and RabbitMQ."""

import asyncio
import json
import secrets
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric import ec

from ...config import Settings, user_file
from ...config_base import xdg
from ...config_files import load
from ...errors import AgentError, invalid_request, misconfigured
from ...host.files import write_file
from ...identity.authority import FLEET, Authority, Issued
from ...identity.key_files import replace_pair
from ...identity.subject import PEER_PREFIX
from ...model.certificate import Role
from ...model.fleet import FRONT_SERVER_NAME
from ..admin import init as admin
from ..admin.init import Done, prepare
from . import servers
from .files import FleetFiles, Plan, add_to_configuration, front_settings, good, of_front

CONFIGURATION = """\
# The front of a fleet. docs/configuration.md lists every key, docs/fleet.md says how a fleet is run.

# The users of the front are this account's: `ml-agent invite`, `issue`, `list` and `revoke` are theirs.
state_directory = {state}

[scripts]
# The hosts have the scripts, and a front asks them.
repository = "/var/empty"

[http]
port = {port}

"""
TABLE = """\
[fleet]
authority = {authority}

[fleet.record]
url = {record}
password_file = {password}

[fleet.broker]
url = {broker}

[fleet.front]
name = {name}
certificate = {certificate}
key = {key}
state_directory = {state}

[fleet.front.http]
port = {port}
"""
MEMORY = "1gb"

app = typer.Typer()


@app.command("init")
def initialise(
    redis: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="The machine of Redis; repeated, the others are its replicas."),
    ] = None,
    rabbitmq: Annotated[
        str | None, typer.Option(metavar="NAME", help="The machine of RabbitMQ.", show_default="this one")
    ] = None,
    networks: Annotated[
        list[str] | None,
        typer.Option("--network", metavar="NAME", help="A network that scripts declare; repeatable."),
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Option("--san", metavar="NAME", help="A DNS name or IP address of this machine; repeatable."),
    ] = None,
    front: Annotated[str, typer.Option(metavar="NAME", help="The name of the front.")] = "front-1",
    port: Annotated[int, typer.Option(min=1, max=65535, metavar="PORT", help="The front's port.")] = 8443,
) -> None:
    """Create a fleet: its authority, its front, files for Redis and RabbitMQ. Repeat to add what is new."""
    if admin.is_root():
        raise misconfigured(
            "A front belongs to an ordinary account, and this is root.",
            "Run it as the account that the front will run in.",
        )
    machine = (names or [socket.getfqdn()])[0]
    files = FleetFiles(xdg("XDG_STATE_HOME", ".local/state") / "ml-fleet")
    plan = _plan(files, f"https://{machine}:{port}", redis or [], rabbitmq, networks or [], machine)
    made = _configure(files, plan, front, port)
    settings = load()
    files = FleetFiles(of_front(settings)[1].state_directory)
    for done in [Done(str(user_file()), made=made), *make(settings, files, plan, names or [])]:
        typer.echo(f"{'made' if done.made else 'kept'}  {done.what}")
    try:
        asyncio.run(_load(settings, plan))
        typer.echo("made  the functions in Redis, and the queues in RabbitMQ")
    except AgentError as error:
        typer.echo(f"      {error.message}")
        typer.echo("Next, on the machines of Redis and RabbitMQ, as root: sh install, in a copy of")
        for server in sorted((files.directory / "servers").iterdir()):
            typer.echo(f"  {server}")
        typer.echo("Then once more: ml-fleet init")


@app.command()
def promote(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The machine of the replica.")],
) -> None:
    """Make a replica the fleet's Redis, after the primary was lost, which must not come back as it was."""
    settings = load()
    files = FleetFiles(of_front(settings)[1].state_directory)
    before = files.read_plan()
    if name not in before.redis[1:]:
        raise invalid_request(
            f"{name} is no replica of this fleet; they are: {', '.join(before.redis[1:]) or 'none'}.",
            f"`ml-fleet init --redis {before.redis[0]} --redis NAME` adds one.",
        )
    plan = before.model_copy(update={"redis": [name, *(each for each in before.redis[1:] if each != name)]})
    _change_configuration(before.record_url, plan.record_url)
    for done in make(load(), files, plan, []):
        if done.made:
            typer.echo(f"made  {done.what}")
    typer.echo(f"{plan.record_url} is the record from now on. Next:")
    typer.echo(f"  on {name}, as root: sh install, in a copy of {files.server('redis', name)}")
    typer.echo("  here: systemctl --user restart ml-fleet.service; then ml-fleet doctor")


def _change_configuration(before: str, after: str) -> None:
    """Names another record. Raises `AgentError` (configuration) where the file does not name the old one."""
    path = user_file()
    text = path.read_text("utf-8")
    if _quoted(before) not in text:
        raise misconfigured(
            f"{path} does not have {before}.", f"Set fleet.record.url to {after} where it is."
        )
    write_file(path, text.replace(_quoted(before), _quoted(after)).encode(), mode=0o644, replace=True)


async def _load(settings: Settings, plan: Plan) -> None:
    """Makes the servers ready for jobs. Raises `AgentError` (host) where one does not answer."""
    from ...fleet.record import Record
    from ...fleet.servers import broker_server, record_server
    from ...fleet.tickets import Publisher

    fleet, front = of_front(settings)
    half_life = settings.jobs.fair_share_half_life_seconds
    async with (
        Record.connected(record_server(fleet), half_life=half_life) as record,
        Publisher.connected(broker_server(fleet, front)) as publisher,
    ):
        await record.load()
        await publisher.declare(plan.networks)


def _plan(
    files: FleetFiles, url: str, redis: list[str], rabbitmq: str | None, networks: list[str], machine: str
) -> Plan:
    """What was planned before, with what is new. Raises `AgentError` (configuration) for another broker."""
    if not files.plan.exists():
        needs = sorted({"none", *networks})
        return Plan(front_url=url, redis=redis or [machine], rabbitmq=rabbitmq or machine, networks=needs)
    before = files.read_plan()
    if rabbitmq not in (None, before.rabbitmq) or (redis and redis[0] != before.redis[0]):
        raise misconfigured(
            f"The fleet's Redis is {before.redis[0]}, and its RabbitMQ {before.rabbitmq}.",
            "`ml-fleet init` adds replicas and networks. docs/fleet.md says how a replica is promoted.",
        )
    return before.model_copy(
        update={
            "redis": list(dict.fromkeys([*before.redis, *redis])),
            "networks": sorted({*before.networks, *networks}),
        }
    )


def _configure(files: FleetFiles, plan: Plan, front: str, port: int) -> bool:
    """Adds the front to the account's configuration; False where it is there.

    Raises `AgentError` (configuration) where the account has an agent with the same port.
    """
    alone = not user_file().exists()
    if not alone and (settings := load()).fleet is None and settings.http.port == port:
        raise misconfigured(
            f"This account has an agent, which listens on port {port}.",
            "Choose another port for the front with --port, or an account of its own.",
        )
    table = TABLE.format(
        authority=_quoted(files.authority / "ca.crt"),
        record=_quoted(plan.record_url),
        password=_quoted(files.password),
        broker=_quoted(plan.broker_url),
        name=_quoted(front),
        certificate=_quoted(files.directory / "front.crt"),
        key=_quoted(files.directory / "front.key"),
        state=_quoted(files.directory),
        port=port,
    )
    above = CONFIGURATION.format(state=_quoted(files.directory), port=port) if alone else ""
    return add_to_configuration(above + table)


def make(settings: Settings, files: FleetFiles, plan: Plan, names: Sequence[str]) -> Iterator[Done]:
    """Makes what is missing, and writes the servers' files as this version has them."""
    _, front = of_front(settings)
    files.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = not (files.authority / "ca.crt").exists()
    if new:
        files.authority.mkdir(mode=0o700, exist_ok=True)
        Authority.create(files.authority, f"ml-fleet CA of {socket.gethostname()}")
    authority = Authority.load(files.authority)
    yield Done(f"{files.authority / 'ca.crt'}, the fleet's authority", made=new)
    yield _front_certificate(files, authority, front.name)
    yield from prepare(front_settings(settings), names)
    yield _for_programs(files, authority)
    files.write_plan(plan)
    for name in plan.redis:
        yield _redis(files, authority, plan, name)
    yield _rabbitmq(files, authority, plan, front.name)


def _front_certificate(files: FleetFiles, authority: Authority, name: str) -> Done:
    what = f"{files.directory / 'front.crt'}, of {Role.FRONT} {name}"
    if good(files.directory / "front.crt", authority.certificate, [f"{PEER_PREFIX}{Role.FRONT}:{name}"]):
        return Done(what, made=False)
    key = ec.generate_private_key(ec.SECP256R1())
    issued = Issued(authority.certify_peer(Role.FRONT, name, key.public_key()), key, authority.certificate)
    replace_pair(files.directory, "front", issued.certificate_pem(), issued.key_pem())
    return Done(what, made=True)


def _for_programs(files: FleetFiles, authority: Authority) -> Done:
    """With what the front answers members."""
    directory = files.pki / FLEET
    directory.mkdir(mode=0o700, exist_ok=True)
    write_file(directory / "ca.crt", authority.certificate_pem(), mode=0o644, replace=True)
    return _server(directory, authority, [FRONT_SERVER_NAME])


def _server(directory: Path, authority: Authority, names: Sequence[str]) -> Done:
    what = f"{directory / 'server.crt'}, for {', '.join(names)}"
    if good(directory / "server.crt", authority.certificate, names):
        return Done(what, made=False)
    issued = authority.issue_server(names)
    replace_pair(directory, "server", issued.certificate_pem(), issued.key_pem())
    return Done(what, made=True)


def _redis(files: FleetFiles, authority: Authority, plan: Plan, name: str) -> Done:
    directory = files.server("redis", name)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    done = _server(directory, authority, [name])
    if not good(directory / "replica.crt", authority.certificate):
        key = ec.generate_private_key(ec.SECP256R1())
        issued = Issued(authority.certify_peer("redis", name, key.public_key()), key, authority.certificate)
        replace_pair(directory, "replica", issued.certificate_pem(), issued.key_pem())
    contents = servers.redis_files(
        memory=MEMORY,
        front=_password(files.password),
        replica=_password(files.directory / "replica.password"),
        primary=None if name == plan.redis[0] else plan.redis[0],
    )
    _write(directory, authority, contents)
    return done


def _rabbitmq(files: FleetFiles, authority: Authority, plan: Plan, front: str) -> Done:
    directory = files.server("rabbitmq", plan.rabbitmq)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    done = _server(directory, authority, [plan.rabbitmq])
    write_broker(files, authority, plan, front)
    return done


def write_broker(files: FleetFiles, authority: Authority, plan: Plan, front: str) -> Path:
    """Writes the files of RabbitMQ, with the users and queues of the plan; returns their directory."""
    from ...fleet.tickets import QUEUE_ARGUMENTS, queue_name

    directory = files.server("rabbitmq", plan.rabbitmq)
    queues = {queue_name(need): QUEUE_ARGUMENTS for need in plan.networks}
    _write(directory, authority, servers.rabbitmq_files(plan, front, queues))
    return directory


def _write(directory: Path, authority: Authority, contents: Mapping[str, bytes]) -> None:
    write_file(directory / "ca.crt", authority.certificate_pem(), mode=0o644, replace=True)
    for name, content in contents.items():
        write_file(directory / name, content, mode=0o600, replace=True)


def _password(path: Path) -> str:
    """The password in a file, which is made if it is missing."""
    if not path.exists():
        write_file(path, f"{secrets.token_urlsafe(32)}\n".encode(), mode=0o600)
    return path.read_text("ascii").strip()


def _quoted(value: object) -> str:
    return json.dumps(str(value), ensure_ascii=False)  # a JSON string is a TOML string
