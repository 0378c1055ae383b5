"""One authority replaces another, in two steps between which clients renew.

Between the steps `ca.crt` has both. The new one issues, so whoever renews has a certificate of it, and is
given both to trust. The server keeps its certificate of the old one, since who has not renewed trusts no
other. With the second step the server's is from the new one, which all who renewed trust, and the old one
ends.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from cryptography import x509

from ..host.files import alone, write_file
from ..model.base import now
from ..model.certificate import Certificate
from .authority import Authority, authorities, authority_id
from .issued import Issued, pem
from .key_files import certificates, next_key, replace_pair, settle, take_key, unreadable


@contextlib.contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """One command at a time changes the files; what an interrupted one left half done is ended first."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(alone(directory))
        except OSError as error:
            raise unreadable(directory, error) from error
        _mend(directory)
        yield


def _mend(directory: Path) -> None:
    # The keys of two authorities are both needed.
    if (directory / "ca.crt").exists() and len(trusted := authorities(directory)) == 1:
        settle(directory, "ca", trusted[0])
    if (directory / "server.crt").exists():
        settle(directory, "server", certificates(directory / "server.crt")[0])


def under_way(directory: Path) -> bool:
    """Whether there are two authorities."""
    return len(authorities(directory)) > 1


def begin(directory: Path, common_name: str) -> Authority:
    """Makes an authority that issues from now on, beside the only one there is, which stays trusted.

    `ca.crt` is what decides: until it is replaced nothing has happened, and then everything has.
    """
    (old,) = authorities(directory)
    new = Authority.make(common_name)
    write_file(next_key(directory, "ca"), new.key_pem(), mode=0o600, replace=True)
    write_file(directory / "ca.crt", pem([new.certificate, old]), mode=0o644, replace=True)
    return new


def finish(directory: Path, names: Sequence[str]) -> Authority:
    """Gives the server a certificate of the new authority, for `names`, and ends the old one with its key."""
    new = Authority.load(directory)
    replace_server(directory, new.issue_server(names))
    write_file(directory / "ca.crt", new.certificate_pem(), mode=0o644, replace=True)
    take_key(directory, "ca")
    return new


def replace_server(directory: Path, issued: Issued) -> None:
    """Replaces the server's certificate and key: who connects from then on sees the new one."""
    replace_pair(directory, "server", issued.certificate_pem(), issued.key_pem())


def of_trusted(known: Iterable[Certificate], trusted: Iterable[x509.Certificate]) -> list[Certificate]:
    """Those that an authority of `trusted` has issued: nobody gets in with another one's."""
    # Recorded while there had been only one ever, it has no authority's name.
    names = {"", *map(authority_id, trusted)}
    return [certificate for certificate in known if certificate.authority in names]


def not_renewed(known: Iterable[Certificate], trusted: Sequence[x509.Certificate]) -> list[Certificate]:
    """The good certificates whose holders would be cut off if only the first of `trusted` were left.

    Those of the others that no certificate of its own has taken the place of: one that was renewed from them,
    directly or by way of others, and has been used. An answer may get lost; a certificate that was used is
    its holder's.
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
