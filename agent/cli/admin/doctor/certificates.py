"""The doctor's checks of certificates: the authority's, the server's and the clients'."""

from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta

from ....config import Settings
from ....errors import AgentError
from ....identity import authority, rotation
from ....identity.key_files import certificates, key_file
from ....store.store import Store
from ..init import RENEWED_BEFORE
from .findings import AUTHORITY_WARN, Finding, Level, expiring_clients, judge, rotation_under_way


def server(settings: Settings) -> Iterable[Finding]:
    """The authority and the server certificate: readable, with their keys, valid for long enough."""
    directory = settings.pki_directory
    kinds = (
        ("authority", "ca", AUTHORITY_WARN, "`ml-agent rotate-ca` begins to replace it."),
        ("server certificate", "server", RENEWED_BEFORE, "`ml-agent renew` makes a new one."),
    )
    for subject, name, early, remedy in kinds:
        try:
            certificate = certificates(directory / f"{name}.crt")[0]
            key_file(directory, name, certificate)
        except AgentError as error:
            yield Finding(subject, Level.FAIL, error.message, error.hint)
            continue
        left = certificate.not_valid_after_utc - datetime.now(UTC)
        yield judge(
            subject,
            good=left > early,
            seen=f"valid until {certificate.not_valid_after_utc:%Y-%m-%d}",
            remedy=remedy,
            otherwise=Level.WARN if left > timedelta() else Level.FAIL,
        )


async def clients(settings: Settings) -> AsyncIterator[Finding]:
    """The certificates of clients, and how far a rotation of the authority is."""
    if not settings.database.exists():
        yield Finding("clients", Level.WARN, "no certificate issued", "`ml-agent issue USER`")
        return
    async with Store.open(settings.database) as store:
        known = await store.certificates.all()
    moment = datetime.now(UTC)
    trusted = authority.authorities(settings.pki_directory)
    yield expiring_clients(rotation.of_trusted(known, trusted), moment)
    if len(trusted) > 1:
        begun = trusted[0].not_valid_before_utc + authority.CLOCK_SKEW
        lifetime = timedelta(days=settings.certificates.client_days)
        yield rotation_under_way(begun, rotation.not_renewed(known, trusted), moment, lifetime)
