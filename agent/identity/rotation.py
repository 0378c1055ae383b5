"""Rotation: a new authority replaces the old one in two steps, between which clients renew.

After the first step, `ca.crt` has both. The new authority issues: a client that renews gets a certificate of
it, and trusts both. The server keeps its certificate of the old authority, which is the only one that other
clients trust. The second step gives the server a certificate of the new authority and removes the old one.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from cryptography import x509

from ..host.files import alone, write_file
from ..model.base import now
from ..model.certificate import Certificate
from .authority import Authority, Issued, authorities, authority_id, pem
from .key_files import certificates, install_key, next_key, replace_pair, settle, unreadable


@contextlib.contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Serialises commands that change the files, and first completes what an interrupted one left."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(alone(directory))
        except OSError as error:
            raise unreadable(directory, error) from error
        _mend(directory)
        yield


def _mend(directory: Path) -> None:
    # During a rotation, the keys of both authorities are needed.
    if (directory / "ca.crt").exists() and len(trusted := authorities(directory)) == 1:
        settle(directory, "ca", trusted[0])
    if (directory / "server.crt").exists():
        settle(directory, "server", certificates(directory / "server.crt")[0])


def under_way(directory: Path) -> bool:
    """Whether a rotation is under way: there are two authorities."""
    return len(authorities(directory)) > 1


def begin(directory: Path, common_name: str) -> Authority:
    """The first step: makes an authority that issues from now on. The old one stays trusted.

    The step is atomic, because it takes effect when `ca.crt` is replaced.
    """
    (old,) = authorities(directory)
    new = Authority.make(common_name)
    write_file(next_key(directory, "ca"), new.key_pem(), mode=0o600, replace=True)
    write_file(directory / "ca.crt", pem([new.certificate, old]), mode=0o644, replace=True)
    return new


def finish(directory: Path, names: Sequence[str]) -> Authority:
    """The second step: a certificate of the new authority for the server; the old one and its key go."""
    new = Authority.load(directory)
    replace_server(directory, new.issue_server(names))
    write_file(directory / "ca.crt", new.certificate_pem(), mode=0o644, replace=True)
    install_key(directory, "ca")
    return new


def replace_server(directory: Path, issued: Issued) -> None:
    """Replaces the server's certificate and key. New connections see the new certificate."""
    replace_pair(directory, "server", issued.certificate_pem(), issued.key_pem())


def of_trusted(known: Iterable[Certificate], trusted: Iterable[x509.Certificate]) -> list[Certificate]:
    """The certificates that a trusted authority issued. No other certificate is accepted."""
    # A certificate that was recorded before there were rotations has no authority.
    names = {"", *map(authority_id, trusted)}
    return [certificate for certificate in known if certificate.authority in names]


def not_renewed(known: Iterable[Certificate], trusted: Sequence[x509.Certificate]) -> list[Certificate]:
    """The valid certificates whose holders would lose access if only the first of `trusted` were left.

    These are certificates of the other authorities without a successor: a certificate of the first one that
    was renewed from it, in one step or several, and has been used. An unused one may never have reached its
    holder.
    """
    by_serial = {certificate.serial: certificate for certificate in known}
    name, moment = authority_id(trusted[0]), now()
    replaced: set[str] = set()
    for certificate in by_serial.values():
        if certificate.authority == name and certificate.used_at is not None:
            earlier = certificate.renews
            while earlier is not None and earlier not in replaced:
                replaced.add(earlier)
                earlier = by_serial[earlier].renews if earlier in by_serial else None
    return [
        certificate
        for certificate in of_trusted(by_serial.values(), trusted)
        if certificate.good_at(moment)
        and certificate.authority != name
        and certificate.serial not in replaced
    ]
