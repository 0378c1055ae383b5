"""Where the fleet's servers are, as the configuration says, and how its programs show who they are.

Between programs of a fleet every certificate is of the fleet's own authority. A host's agent and a front
serve their users with other certificates, of an authority that the users trust: a program of the fleet asks
for the fleet's by name (SNI), with `host_server_name` or `FRONT_SERVER_NAME`.
"""

import ssl
from pathlib import Path

from ..config_fleet import BrokerSettings, FleetSettings, FrontSettings, MemberSettings, RecordSettings
from ..errors import misconfigured
from .record_server import RecordServer
from .tickets import BrokerServer

Program = FrontSettings | MemberSettings


def record_server(fleet: FleetSettings) -> RecordServer:
    """Where Redis is, with the front's certificate and the password. Raises `AgentError` (configuration)."""
    assert fleet.record is not None, "a front has a record: FleetSettings"
    authority, certificate, key = _files(fleet, fleet.record, fleet.front)
    return RecordServer(
        url=fleet.record.url,
        password=_password(fleet.record.password_file),
        authority=authority,
        certificate=certificate,
        key=key,
        replicas=fleet.record.replicas,
    )


def broker_server(fleet: FleetSettings, program: Program) -> BrokerServer:
    """Where RabbitMQ is, with the program's certificate."""
    assert fleet.broker is not None, "a front and a member have a broker: FleetSettings"
    authority, certificate, key = _files(fleet, fleet.broker, program)
    return BrokerServer(url=fleet.broker.url, authority=authority, certificate=certificate, key=key)


def peer_context(fleet: FleetSettings, program: Program) -> ssl.SSLContext:
    """What a program shows to another one, whose certificate must be of the fleet's authority.

    Raises `AgentError` (configuration) for files that cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    try:
        context.load_verify_locations(fleet.authority)
        context.load_cert_chain(program.certificate, program.key)
    except OSError as error:  # ssl.SSLError is one
        raise misconfigured(
            f"The certificate {program.certificate} for the fleet cannot be used: {error}.",
            "`ml-fleet join` and `ml-fleet init` make it; docs/fleet.md says how.",
        ) from error
    return context


def _files(
    fleet: FleetSettings, server: RecordSettings | BrokerSettings, program: Program | None
) -> tuple[Path | None, Path | None, Path | None]:
    """Authority, certificate and key for a server: its own, or those of the fleet and of the program."""
    authority = server.authority or fleet.authority
    if server.certificate is not None or program is None:
        return authority, server.certificate, server.key
    return authority, program.certificate, program.key


def _password(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        return file.read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        raise misconfigured(
            f"The password of the fleet's record cannot be read: {error}.",
            "Copy the file from where `ml-fleet init` made it, and name it in fleet.record.password_file.",
        ) from error
