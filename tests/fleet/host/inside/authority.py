"""The fleet's authority and what it issues, a directory for each node: what is in a node's /etc/ml-fleet.

    authority.py DIRECTORY

Runs on the node of the servers. What exists already stays.
"""

import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from agent.host.files import write_file
from agent.identity.authority import Authority, Issued
from agent.model.fleet import FRONT_SERVER_NAME, host_server_name
from tests.fleet.host.layout import BOOTING, FRONTS, HOSTS, Node


class Issuer:
    """Issues into one directory."""

    def __init__(self, authority: Authority, directory: Path) -> None:
        self._authority = authority
        self._directory = directory
        self.write("ca.crt", authority.certificate_pem())

    def write(self, name: str, content: bytes) -> None:
        """Writes a file."""
        write_file(self._directory / name, content, mode=0o600)

    def server(self, name: str, names: Sequence[str]) -> None:
        """A server's certificate and key."""
        self._pair(name, self._authority.issue_server(names))

    def peer(self, name: str, role: str, of: str) -> None:
        """Certificate and key of a program."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._authority.certify_peer(role, of, key.public_key())
        self._pair(name, Issued(certificate, key, self._authority.certificate))

    def _pair(self, name: str, issued: Issued) -> None:
        self.write(f"{name}.crt", issued.certificate_pem())
        self.write(f"{name}.key", issued.key_pem())


def issue(authority: Authority, node: Node, directory: Path, password: str) -> None:
    """All that a node needs."""
    issuer = Issuer(authority, directory)
    for name in node.names:
        if name in FRONTS:
            issuer.peer("front", "front", name)
            issuer.server("front-server", [FRONT_SERVER_NAME])
            issuer.write("record.password", password.encode())
        elif name in HOSTS:
            issuer.peer("member", "member", name)
            issuer.server("host", [host_server_name(name)])
        else:
            issuer.server(name, [name])


def main(directory: Path) -> None:
    """Makes everything that is missing."""
    if (directory / "authority/ca.key").exists():
        return
    authority = Authority.create(directory / "authority", "the bed's fleet")
    password = secrets.token_urlsafe(24)
    for node in BOOTING:
        issue(authority, node, directory / node.name, password)
    users = [*(f"front-{front}" for front in FRONTS), *(f"member-{host}" for host in HOSTS)]
    (directory / "servers/broker.users").write_text("\n".join(users) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
