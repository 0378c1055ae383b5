"""`ml-fleet join` and `admit`: a host becomes part of a fleet, and its keys never leave it.

The host makes its keys and a request, the machine of the front answers with certificates. Both are one file
each without a secret, and can be one pipe:

    ssh h1 ml-fleet join h1 --url https://h1:8443 | ml-fleet admit | ssh h1 ml-fleet join --answer -
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import typer
from cryptography import x509
from pydantic import Field, TypeAdapter, ValidationError

from ...config import Settings
from ...config_files import load
from ...config_fleet import HttpsUrl
from ...errors import AgentError, FieldError, invalid_request, misconfigured
from ...host.files import write_file
from ...identity.authority import FLEET, Authority, pem, server_name
from ...identity.certificates import public_key
from ...identity.key_files import install_key, key_and_request, key_file, next_key
from ...model.base import HostName, Model, NetworkName, UserName
from ...model.certificate import MAX_SIGNING_REQUEST, Role
from ...model.fleet import host_server_name
from ...model.problem import refusals
from . import init
from .files import FleetFiles, add_to_configuration, of_front

TABLE = """\
[fleet]
host = {host}
authority = {authority}

[fleet.broker]
url = {broker}

[fleet.member]
fronts = {fronts}
agent_url = {url}
certificate = {certificate}
key = {key}
"""
MAX_FILE = 256 * 1024  # bytes of a request or an answer
PAIRS = ("member", "server")

M = TypeVar("M", bound=Model)

app = typer.Typer()

Csr = Annotated[str, Field(max_length=MAX_SIGNING_REQUEST)]
Pem = Annotated[str, Field(max_length=64 * 1024)]


class JoinRequest(Model):
    """What a host sends: its name, address and networks; signing requests for its member and its agent."""

    kind: Literal["ml-fleet join request"] = "ml-fleet join request"
    host: HostName
    url: HttpsUrl
    networks: Annotated[list[NetworkName], Field(max_length=100)]
    member: Csr
    server: Csr


class JoinAnswer(Model):
    """What it gets: the fleet's authority and the host's certificates, all in PEM; where everybody is."""

    kind: Literal["ml-fleet join answer"] = "ml-fleet join answer"
    host: HostName
    url: HttpsUrl
    authority: Pem
    member: Pem
    server: Pem
    fronts: list[HttpsUrl]
    broker: str


@app.command()
def join(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The host's name in the fleet.", show_default=False)
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="The address of this host's agent for fronts.")
    ] = None,
    answer: Annotated[
        str | None,
        typer.Option("--answer", metavar="FILE", help="The answer of `ml-fleet admit`; - is stdin."),
    ] = None,
) -> None:
    """On a host: print a request to join a fleet, for `ml-fleet admit`; then take its --answer."""
    settings = load()
    if answer is not None:
        if name is not None or url is not None:
            raise typer.BadParameter("an answer has the name and the URL; leave them out")
        for line in accept(settings, _read(answer, JoinAnswer)):
            typer.echo(line)
        return
    if name is None or url is None:
        raise typer.BadParameter("name the host, and its agent's address with --url")
    typer.echo(request(settings, name, url).model_dump_json())


@app.command()
def admit(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A host's request; - is stdin.")] = "-",
) -> None:
    """On the machine of the front: admit a host, and print the answer for `ml-fleet join --answer`."""
    settings, asked = load(), _read(file, JoinRequest)
    given = admitted(settings, asked)
    typer.echo(given.model_dump_json())
    broker = FleetFiles(of_front(settings)[1].state_directory)
    where = broker.server("rabbitmq", broker.read_plan().rabbitmq)
    typer.echo(
        f"admitted {asked.host}. RabbitMQ must know it: sh install, as root, in a new copy of {where}",
        err=True,
    )


def request(settings: Settings, name: str, url: str) -> JoinRequest:
    """A request of this host. Its keys wait beside those in use, and a second request has the same."""
    try:
        host = TypeAdapter(HostName).validate_python(TypeAdapter(UserName).validate_python(name))
        address = TypeAdapter(HttpsUrl).validate_python(url)
    except ValidationError as error:
        raise typer.BadParameter(
            "the name must be like h1 or gpu-3.site, and the URL like https://h1.example.com:8443"
        ) from error
    if server_name(host_server_name(host)) is None:
        raise typer.BadParameter(f"{host} cannot be part of a DNS name")
    directory = settings.pki_directory / FLEET
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    requests = {pair: key_and_request(host, next_key(directory, pair))[2] for pair in PAIRS}
    networks = sorted({"none", *settings.networks, *settings.egress})
    return JoinRequest(host=host, url=address, networks=networks, **requests)


def admitted(settings: Settings, asked: JoinRequest) -> JoinAnswer:
    """The host's certificates. From now on, the plan and RabbitMQ's definitions have it and its networks.

    Raises `AgentError` (invalid-request) for a signing request that is refused.
    """
    _, front = of_front(settings)
    files = FleetFiles(front.state_directory)
    authority, plan = Authority.load(files.authority), files.read_plan()
    member = authority.certify_peer(Role.MEMBER, asked.host, public_key(asked.member))
    server = authority.certify_server([host_server_name(asked.host)], public_key(asked.server))
    new = {"hosts": sorted({*plan.hosts, asked.host}), "networks": sorted({*plan.networks, *asked.networks})}
    plan = plan.model_copy(update=new)
    files.write_plan(plan)
    init.write_broker(files, authority, plan, front.name)
    return JoinAnswer(
        host=asked.host,
        url=asked.url,
        authority=pem([authority.certificate]).decode(),
        member=pem([member]).decode(),
        server=pem([server]).decode(),
        fronts=[plan.front_url],
        broker=plan.broker_url,
    )


def accept(settings: Settings, given: JoinAnswer) -> list[str]:
    """Puts the host's certificates in their places; what was done, line by line.

    Raises `AgentError` (configuration) where they are not of the keys that wait here.
    """
    directory = settings.pki_directory / FLEET
    texts = {"member": given.member, "server": given.server}
    for pair, text in texts.items():
        _check(directory, pair, text)
    write_file(directory / "ca.crt", given.authority.encode(), mode=0o644, replace=True)
    for pair, text in texts.items():
        write_file(directory / f"{pair}.crt", text.encode(), mode=0o644, replace=True)
        if next_key(directory, pair).exists():
            install_key(directory, pair)
    lines = [f"made  {directory / name}" for name in ("ca.crt", "member.crt", "server.crt")]
    table = TABLE.format(
        host=json.dumps(given.host),
        authority=json.dumps(str(directory / "ca.crt")),
        broker=json.dumps(given.broker),
        fronts=json.dumps(given.fronts),
        url=json.dumps(given.url),
        certificate=json.dumps(str(directory / "member.crt")),
        key=json.dumps(str(directory / "member.key")),
    )
    if add_to_configuration(table):
        return [*lines, f"made  [fleet] in the configuration, as {given.host}", "Next: ml-fleet install"]
    return [*lines, "kept  the configuration has [fleet]; it should say:", "", table]


def _check(directory: Path, pair: str, text: str) -> None:
    try:
        certificate = x509.load_pem_x509_certificate(text.encode())
    except ValueError as error:
        raise _not_ours(directory, str(error)) from error
    try:
        key_file(directory, pair, certificate)
    except AgentError as error:
        raise _not_ours(directory, error.message) from error


def _not_ours(directory: Path, why: str) -> AgentError:
    return misconfigured(
        f"The answer does not belong to a request of this host: {why}",
        f"`ml-fleet join NAME --url URL` makes a request; its keys wait in {directory}.",
    )


def _read(file: str, model: type[M]) -> M:
    """A file, or stdin, as a model. Raises `AgentError` (invalid-request) for what it is not."""
    with sys.stdin.buffer if file == "-" else Path(file).open("rb") as stream:
        text = stream.read(MAX_FILE)
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        kind = model.model_fields["kind"].default
        raise invalid_request(
            f"{'stdin' if file == '-' else file} is no {kind}.",
            "Pass on what `ml-fleet join` or `ml-fleet admit` has printed, unchanged.",
            tuple(
                FieldError(".".join(map(str, loc)), why) for loc, why in refusals(error, unknown="unknown")
            ),
        ) from error
