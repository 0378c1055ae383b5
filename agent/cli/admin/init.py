"""`ml-agent init`: the configuration and the certificates that an agent needs before it can serve."""

import json
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from ...config import Settings, user_file
from ...config_files import load
from ...errors import misconfigured
from ...host.files import write_file
from ...identity import rotation
from ...identity.authority import Authority, server_name, server_names
from ...identity.key_files import certificates
from ...scripts.git import Repository
from . import install, shared

CONFIGURATION = """\
# The training job agent of this account. docs/configuration.md lists every key.

[scripts]
# The git repository whose scripts/ directory holds what jobs may run.
repository = {repository}
# Only commits that these branches and tags lead to run; HEAD is what is checked out.
# refs = ["HEAD"]

[http]
port = {port}
"""

RENEWED_BEFORE = timedelta(days=30)  # `init` renews a server certificate that has less left
LOOPBACK = ("localhost", "127.0.0.1", "::1")

app = typer.Typer()


@dataclass(frozen=True)
class Done:
    """A line that `init` prints: `what` exists now, and whether this run `made` it."""

    what: str
    made: bool


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
    demand_account()
    done = [configure(scripts, port)]
    done += prepare(load(), names or [])
    if made := [line.what for line in done if line.made]:
        shared.record(load(), "init", made=made)
    shared.keep_revocations(load())
    for line in done:
        typer.echo(f"{'made' if line.made else 'kept'}  {line.what}")


def demand_account() -> None:
    """Refuses root, whose home would get an authority that no agent uses."""
    if not is_root():
        return
    accounts = install.accounts()
    shell = f"sudo machinectl shell {accounts[0] if accounts else 'ACCOUNT'}@"
    raise misconfigured(
        "The agent belongs to an ordinary account, and this is root.",
        f"Run it as the service account: `{shell}`.",
    )


def is_root() -> bool:
    """Whether this process is root's."""
    return os.geteuid() == 0


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
        raise misconfigured(
            f"There is no {path}, and no repository of training scripts was named.",
            "Run `ml-agent init --scripts REPOSITORY` with a git repository that has a directory scripts/.",
        )
    repository = scripts.expanduser().absolute()
    reader = Repository(repository)
    if reader.commit("HEAD") is None:
        raise misconfigured(
            f"The repository {repository} {reader.why_no_head()}.",
            "Commit a script to it, or check out a branch that has one.",
        )
    text = CONFIGURATION.format(
        repository=json.dumps(str(repository), ensure_ascii=False),  # a JSON string is a TOML string
        port=Settings.model_fields["http"].default.port if port is None else port,
    )
    write_file(path, text.encode(), mode=0o644)
    return Done(str(path), made=True)


def _demand_agreement(path: Path, settings: Settings, scripts: Path | None, port: int | None) -> None:
    repository = scripts and scripts.expanduser().absolute()
    asked: list[tuple[str, object, object]] = [
        ("scripts.repository", repository, settings.scripts.repository),
        ("http.port", port, settings.http.port),
    ]
    for key, wanted, configured in asked:
        if wanted not in (None, configured):
            raise misconfigured(
                f"{key} is configured as {configured}, not {wanted}.",
                f"Edit {path}; `ml-agent init` does not change an existing configuration.",
            )


def prepare(settings: Settings, names: Sequence[str]) -> list[Done]:
    """Makes the state directory, the authority and the server certificate, where they are missing.

    The certificate is for `names` besides the guessed ones. It is replaced where it lacks one of `names` or
    expires soon; the authority never is. Ends what an interrupted command left half done.
    """
    directory = settings.pki_directory
    for private in (settings.state_directory, directory):
        private.mkdir(mode=0o700, parents=True, exist_ok=True)
    with rotation.exclusive(directory):
        missing = not (directory / "ca.crt").exists()
        if missing:
            Authority.create(directory, authority_name())
        authority = Authority.load(directory)
        done = Done(f"{directory / 'ca.crt'}, {_validity(authority.certificate)}", made=missing)
        return [done, _prepare_server(directory, names)]


def authority_name() -> str:
    """The common name of this host's authority."""
    return f"ml-agent CA of {socket.gethostname()}"


def renew_server(settings: Settings) -> Done:
    """Makes a new server certificate for the names of the old one, however long that is still valid."""
    with rotation.exclusive(settings.pki_directory):
        return _prepare_server(settings.pki_directory, [], always=True)


def _prepare_server(directory: Path, names: Sequence[str], *, always: bool = False) -> Done:
    authority = Authority.load(directory, eldest=True)
    asked = [server_name(name) or name for name in names]
    current = _server_certificate(directory)
    known = served_names(directory)
    made = (
        always
        or current is None
        or not set(asked) <= set(known)
        or _must_be_renewed(current, authority.certificate)
    )
    if made:
        issued = authority.issue_server(list(dict.fromkeys([*asked, *known])))
        rotation.replace_server(directory, issued)
        current = issued.certificate
    assert current is not None
    listed = ", ".join(server_names(current))
    return Done(f"{directory / 'server.crt'}, {_validity(current)}, for {listed}", made=made)


def _server_certificate(directory: Path) -> x509.Certificate | None:
    path, key = directory / "server.crt", directory / "server.key"
    return certificates(path)[0] if path.exists() and key.exists() else None


def served_names(directory: Path) -> list[str]:
    """The names in the server certificate; the guessed ones where there is none."""
    current = _server_certificate(directory)
    return guessed_names() if current is None else server_names(current)


def _must_be_renewed(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return True
    return certificate.not_valid_after_utc - datetime.now(UTC) < RENEWED_BEFORE


def guessed_names() -> list[str]:
    """What this host calls itself, and the loopback names."""
    names = map(server_name, (socket.getfqdn(), socket.gethostname(), *LOOPBACK))
    return list(dict.fromkeys(name for name in names if name is not None))


def _validity(certificate: x509.Certificate) -> str:
    return f"valid until {certificate.not_valid_after_utc:%Y-%m-%d}"
