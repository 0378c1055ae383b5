"""`ml-job enrol` and `renew`: a first certificate by an invitation, and its successor. Keys are made here."""

import asyncio
import contextlib
import dataclasses
import hashlib
import re
import socket
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import parse_qs, urlsplit

import aiohttp
import typer
from rich.text import Text

from ...errors import AgentError
from ...model.certificate import RenewedCertificate
from ..failure import Failure, Unreachable, broken
from ..program import JsonOption
from ..terminal import Screen
from .http import Api, decode, parse, refused
from .invocation import command, report
from .profile import AUTHORITY, CONFIG, Profile, config_directory

TIMEOUT = 30.0  # seconds for a connection, and for an answer
ASK_AGAIN = "Ask the host's administrator for another link (`ml-agent invite`)."
URI_PREFIX = "urn:ml-job:user:"

TRIED = "/host"  # requested with the new certificate before the old one is replaced
TRIALS, BETWEEN_TRIALS = 3, 1.0  # seconds; the agent may take one to notice another authority

app = typer.Typer()


@app.command()
def enrol(
    link: Annotated[str, typer.Argument(metavar="LINK", help="The link that the administrator gave you.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIRECTORY",
            help="Where to write the files.",
            show_default="~/.config/ml-job",
        ),
    ] = None,
) -> None:
    """Enrol with an invitation. Makes a key here, and writes ca.crt, USER.crt, USER.key and config.toml."""

    async def work(screen: Screen) -> None:
        invitation = Invitation.parse(link)
        profile, until = await _enrol(invitation, output or config_directory())
        screen.text(Text(f"{profile.certificate} is valid until {until} UTC"))
        screen.text(Text(f"You are {profile.identity} at {profile.server}. Try: ml-job scripts"))

    report(work)


@dataclass(frozen=True)
class Invitation:
    """What a link says: where the agent is, the code, and the SHA-256 of the authority to trust."""

    host: str
    port: int
    code: str
    authority: str

    @classmethod
    def parse(cls, link: str) -> Self:
        """From `ml-job://HOST:PORT/enrol?code=CODE&ca=SHA256`. Raises Failure that names what is wrong."""
        with contextlib.suppress(ValueError):
            parts = urlsplit(link.strip())
            query = {name: values[0] for name, values in parse_qs(parts.query).items() if len(values) == 1}
            code, authority = query.get("code", ""), query.get("ca", "").lower()
            if (
                (parts.scheme, parts.path) == ("ml-job", "/enrol")
                and parts.hostname
                and re.fullmatch("[a-z2-7]{8,64}", code)
                and re.fullmatch("[0-9a-f]{64}", authority)
            ):
                return cls(parts.hostname, parts.port or 8443, code, authority)
        raise Failure(
            "The link is not an invitation, or a part of it is missing.", "Paste all of it, in quotes."
        )

    @property
    def server(self) -> str:
        """The agent's address."""
        return f"https://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


async def _enrol(invitation: Invitation, directory: Path) -> tuple[Profile, str]:
    """The files' profile, and when its certificate expires."""
    from ...identity.key_files import key_and_request

    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _refuse_to_mix(directory / AUTHORITY, invitation)
    authority = await asyncio.to_thread(_pinned_authority, invitation)
    # Kept until the certificate is: whoever was interrupted enrols again with the same link and key.
    pending = directory / f".enrolment-{hashlib.sha256(invitation.code.encode()).hexdigest()[:16]}.key"
    key, key_pem, request = key_and_request("invited", pending)
    answer = decode(RenewedCertificate, await _post(invitation, authority, request))
    identity = _user_of(answer.certificate, key)
    profile = Profile(
        server=invitation.server,
        identity=identity,
        authority=directory / AUTHORITY,
        certificate=directory / f"{identity}.crt",
        key=directory / f"{identity}.key",
    )
    replace_files(profile, answer, key_pem)
    pending.unlink()
    if not (config := directory / CONFIG).exists():
        config.write_text(f'server = "{profile.server}"\nidentity = "{identity}"\n', "utf-8")
    return profile, f"{answer.expires_at:%Y-%m-%d %H:%M}"


def _pinned_authority(invitation: Invitation) -> bytes:
    """The authority's certificate (DER), from the chain that the agent shows, if it is the link's.

    Nothing is sent on this connection: nobody has proved anything yet.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((invitation.host, invitation.port), timeout=TIMEOUT) as connection,
            context.wrap_socket(connection, server_hostname=invitation.host) as tls,
        ):
            chain = _chain(tls)
    except OSError as error:  # ssl.SSLError is one
        raise Unreachable(
            f"{invitation.server} cannot be reached: {error}.", "Check the link, and this machine's network."
        ) from error
    for certificate in chain:
        if hashlib.sha256(certificate).hexdigest() == invitation.authority:
            return certificate
    raise broken(
        f"{invitation.server} is not the host that the invitation is for: its authority is another one.",
        ASK_AGAIN,
    )


def _chain(tls: ssl.SSLSocket) -> list[bytes]:
    """The certificates (DER) that the server showed. The public method is of Python 3.13."""
    if hasattr(tls, "get_unverified_chain"):
        return list(tls.get_unverified_chain())
    inner: Any = tls
    return [ssl.PEM_cert_to_DER_cert(each.public_bytes()) for each in inner._sslobj.get_unverified_chain()]


async def _post(invitation: Invitation, authority: bytes, request: str) -> Any:
    """The answer to the enrolment, over a connection that trusts this authority alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_verify_locations(cadata=authority)
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT)) as session,
            session.post(
                f"{invitation.server}/enrolment",
                json={"csr": request},
                headers={"Authorization": f"Bearer {invitation.code}"},
                ssl=context,
                allow_redirects=False,
            ) as response,
        ):
            body = await response.read()
            if response.status != 201:
                raise refused(response, body)
            return parse(body)
    except aiohttp.ClientConnectorCertificateError as error:
        raise Unreachable(
            f"The certificate of {invitation.server} does not fit its name or its authority: {error}.",
            ASK_AGAIN,
            passing=False,
        ) from error
    except (aiohttp.ClientError, TimeoutError, ssl.SSLError) as error:
        raise Unreachable(
            f"{invitation.server} did not take the request: {error or type(error).__name__}.",
            f"Without an open invitation, it accepts no connection without a certificate. {ASK_AGAIN}",
        ) from error


def _user_of(certificate: str, key: Any) -> str:
    """Whom the new certificate names. Raises Failure where it is not one for the key."""
    from cryptography import x509  # slow to load, and few commands need it

    with contextlib.suppress(ValueError, x509.ExtensionNotFound):
        issued = x509.load_pem_x509_certificate(certificate.encode())
        names = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
        if issued.public_key() == key.public_key() and uri.startswith(URI_PREFIX):
            return uri.removeprefix(URI_PREFIX)
    raise broken("The agent's answer is not a certificate for the new key.")


def _refuse_to_mix(trusted: Path, invitation: Invitation) -> None:
    """Raises Failure where there are the files of another agent, which would be overwritten."""
    if not trusted.exists():
        return
    from cryptography.hazmat.primitives import hashes  # slow to load, and few commands need it

    from ...identity.key_files import certificates

    with contextlib.suppress(AgentError):
        if invitation.authority in (
            each.fingerprint(hashes.SHA256()).hex() for each in certificates(trusted)
        ):
            return
    raise Failure(
        f"{trusted} is of another agent, and is not overwritten.",
        "Choose another directory with --output. The invitation is not used yet.",
    )


@command(app, "renew", renewing=True)
async def renew_certificate(api: Api, screen: Screen, as_json: JsonOption = False) -> None:
    """Renew your certificate. Replaces it, its key and ca.crt."""
    value = await renew(api)
    answer = decode(RenewedCertificate, value)
    until = f"{answer.expires_at:%Y-%m-%d %H:%M}"
    said = Text(f"{api.profile.certificate} is valid until {until} UTC, serial {answer.serial}")
    screen.result(value, lambda: screen.text(said), as_json=as_json)


async def renew(api: Api) -> Any:
    """Requests a certificate, tries it, and replaces the files; returns the agent's answer.

    Raises Failure, and replaces nothing, if the answer is not a certificate for the new key or does not work.
    """
    from ...identity.key_files import key_and_request

    key, key_pem, request = key_and_request(api.profile.identity)
    # Made before the request: a certificate that cannot be kept would count against the user's limit.
    with tempfile.TemporaryDirectory(prefix=".renewal.", dir=api.profile.certificate.parent) as trial:
        value = await api.post("/certificate", {"csr": request})
        answer = decode(RenewedCertificate, value)
        _user_of(answer.certificate, key)
        await _try(api.profile, Path(trial), answer, key_pem)
    replace_files(api.profile, answer, key_pem)
    return value


async def _try(profile: Profile, directory: Path, answer: RenewedCertificate, key: bytes) -> None:
    """Makes a request with the new files, in another directory, before the old ones are replaced."""
    trial = dataclasses.replace(
        profile,
        authority=directory / profile.authority.name,
        certificate=directory / profile.certificate.name,
        key=directory / profile.key.name,
    )
    replace_files(trial, answer, key)
    for left in reversed(range(TRIALS)):
        try:
            async with Api(trial) as api:
                await api.get(TRIED)
            return
        except Unreachable:
            if not left:
                raise
        await asyncio.sleep(BETWEEN_TRIALS)


def replace_files(profile: Profile, answer: RenewedCertificate, key: bytes) -> None:
    """Replaces the files of `profile`; a crash leaves the old ones or the new ones."""
    from ...host.files import write_file
    from ...identity.key_files import replace_pair

    # The authorities first: the new file always includes the one that signed the agent's certificate.
    write_file(profile.authority, answer.ca_certificates.encode(), mode=0o644, replace=True)
    replace_pair(profile.certificate.parent, profile.identity, answer.certificate.encode(), key)
