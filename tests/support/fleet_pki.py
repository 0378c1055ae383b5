"""Certificates of a fleet's authority: for its programs, and for the servers that they ask."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from agent.identity.authority import FLEET, Authority, Issued
from agent.model.certificate import Role

from .pki import save


def peer(fleet: Authority, role: Role, name: str) -> Issued:
    """The certificate of a front, or of the member of a host."""
    key = ec.generate_private_key(ec.SECP256R1())
    return Issued(fleet.certify_peer(role, name, key.public_key()), key, fleet.certificate)


def put_into_fleet(pki: Path, fleet: Authority, server_name: str) -> None:
    """Gives the server of a PKI directory the fleet's files; `server_name` is its name for the programs."""
    save(pki / FLEET, "server", fleet.issue_server([server_name]))
    (pki / FLEET / "ca.crt").write_bytes(fleet.certificate_pem())
