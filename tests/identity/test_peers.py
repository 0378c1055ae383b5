"""Programs of a fleet: known by the fleet's authority, by connections that ask for its certificate."""

import contextlib
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from agent.errors import AgentError, Problem
from agent.identity import tls
from agent.identity.authority import Authority, Issued
from agent.identity.certificates import CertificateRecords, Certificates
from agent.identity.subject import Subject, identify
from agent.identity.tls import server_context
from agent.model.certificate import PEERS, Principal, Role
from agent.model.fleet import host_server_name
from tests.support.fleet_pki import peer, put_into_fleet
from tests.support.pki import der_of, forged, save

NAME = host_server_name("h1")


@dataclass(frozen=True)
class Host:
    """A host of a fleet: its own authority, the fleet's, and its PKI directory."""

    directory: Path
    own: Authority
    fleet: Authority

    def meet(self, client: Issued | None, name: str, trusted: Authority) -> tuple[str, str]:
        """Connects and asks for that name: whom the server takes the client for, and the name it shows.

        Raises what the server raises, or else what the client does.
        """
        context = ssl.create_default_context(cadata=trusted.certificate_pem().decode())
        if client is not None:
            save(self.directory / "clients", "client", client)
            context.load_cert_chain(*(self.directory / f"clients/client.{kind}" for kind in ("crt", "key")))
        with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as thread:
            taken_for = thread.submit(self._accept, listener)
            shown = ""
            with (
                contextlib.suppress(OSError),
                socket.create_connection(listener.getsockname(), 10) as connection,
                context.wrap_socket(connection, server_hostname=name) as secure,
            ):
                shown = secure.getpeercert()["subjectAltName"][0][1]  # type: ignore[index]
                secure.recv(1)
            return taken_for.result(), str(shown)

    def _accept(self, listener: socket.socket) -> str:
        connection, _ = listener.accept()
        with server_context(self.directory).wrap_socket(connection, server_side=True) as secure:
            subject = identify(secure.getpeercert(binary_form=True) or b"")
            secure.sendall(b"!")
            return f"{subject.role or 'user'} {subject.user}"


class NoRecords(CertificateRecords):
    """A store without certificates."""

    async def get(self, serial: str) -> None:
        return None


@pytest.fixture
def host(directory: Path, authority: Authority) -> Host:
    fleet = Authority.create(directory.parent / "fleet", "the fleet")
    put_into_fleet(directory, fleet, NAME)
    return Host(directory, authority, fleet)


def certificates(host: Host) -> Certificates:
    return Certificates(NoRecords(), host.directory, lifetime=timedelta(days=1), max_per_user=1)


def test_each_kind_of_client_is_shown_what_it_trusts(host: Host) -> None:
    assert host.meet(peer(host.fleet, Role.FRONT, "f1"), NAME, host.fleet) == ("front f1", NAME)
    assert host.meet(host.own.issue_client("alice"), "localhost", host.own) == ("user alice", "localhost")


def test_a_program_of_the_fleet_gets_nowhere_by_the_users_name(host: Host) -> None:
    with pytest.raises(ssl.SSLError, match="unable to get local issuer"):
        host.meet(peer(host.fleet, Role.FRONT, "f1"), "localhost", host.own)


def test_a_user_gets_nowhere_by_the_fleets_name(host: Host) -> None:
    with pytest.raises(ssl.SSLError, match="unable to get local issuer"):
        host.meet(host.own.issue_client("alice"), NAME, host.fleet)


def test_a_front_of_another_fleet_is_refused(host: Host, tmp_path: Path) -> None:
    other = Authority.create(tmp_path / "other", "the fleet")
    with pytest.raises(ssl.SSLError, match=r"unable to get local issuer|signature failure"):
        host.meet(peer(other, Role.FRONT, "f1"), NAME, host.fleet)


def test_a_host_in_no_fleet_refuses_every_program(directory: Path, authority: Authority) -> None:
    fleet = Authority.make("the fleet")
    host = Host(directory, authority, fleet)
    with pytest.raises(ssl.SSLError, match="unable to get local issuer"):
        host.meet(peer(fleet, Role.MEMBER, "h1"), "localhost", authority)


def test_a_host_that_joins_needs_no_restart(
    directory: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "LOOK_INTERVAL", 0.0)
    current = tls.CurrentContext(directory)
    assert current().sni_callback is None
    put_into_fleet(directory, Authority.make("the fleet"), NAME)
    assert current().sni_callback is not None


@pytest.mark.parametrize("role", PEERS)
async def test_the_fleets_authority_says_who_it_is(host: Host, role: Role) -> None:
    der = der_of(peer(host.fleet, role, "h1"))
    assert identify(der) == Subject("h1", identify(der).serial, role=role)
    for asked in (certificates(host).identify, certificates(host).identify_again):
        assert await asked(der) == Principal(user="h1", role=role)


async def test_a_host_knows_no_member_of_another_host(host: Host) -> None:
    """A host that was taken over must not bring jobs to others, on behalf of whom it likes."""
    own = Certificates(NoRecords(), host.directory, lifetime=timedelta(days=1), max_per_user=1, host="h1")
    for asked in (own.identify, own.identify_again):
        for role, name in ((Role.MEMBER, "h1"), (Role.FRONT, "h2")):
            assert await asked(der_of(peer(host.fleet, role, name))) == Principal(user=name, role=role)
        with pytest.raises(AgentError, match="another host") as caught:
            await asked(der_of(peer(host.fleet, Role.MEMBER, "h2")))
        assert caught.value.problem is Problem.CERTIFICATE_REFUSED


async def test_a_program_that_another_authority_names_is_refused(host: Host) -> None:
    """Even where a handshake let it in: the host's own authority names users and no programs."""
    like = peer(host.own, Role.FRONT, "f1")
    for asked in (certificates(host).identify, certificates(host).identify_again):
        with pytest.raises(AgentError, match="not issued by the fleet") as caught:
            await asked(der_of(like))
        assert caught.value.problem is Problem.CERTIFICATE_REFUSED


async def test_the_fleets_authority_names_no_user(host: Host) -> None:
    with pytest.raises(AgentError, match="not issued by this host"):
        await certificates(host).identify(der_of(host.fleet.issue_client("alice")))


@pytest.mark.parametrize("uri", ["urn:ml-fleet:administrator:a", "urn:ml-fleet:front:", "urn:ml-fleet:front"])
def test_only_programs_are_named_so(host: Host, uri: str) -> None:
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
    changed = forged(host.fleet, peer(host.fleet, Role.FRONT, "f1"), SubjectAlternativeName=names)
    with pytest.raises(AgentError, match="its URI is not"):
        identify(der_of(changed))
