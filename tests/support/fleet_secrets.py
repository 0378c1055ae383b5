"""Secrets that are sealed for a host, for the tests of fleets."""

from agent.model.fleet import HostKey, RemovedSecret, SealedSecret
from agent.secrets.sealing import About, encrypt, new_key, new_version, seal

MOMENT = 1_800_000_000_000_000  # microseconds since 1970


def version(number: int) -> str:
    """A version; a greater number is later."""
    return new_version(MOMENT + number)


def sealed(value: bytes, to: HostKey, about: About) -> SealedSecret:
    """A version of a secret as a fleet's front seals it for one host."""
    key = new_key()
    return SealedSecret.model_construct(
        version=about.version,
        key=seal(key, to.host, to.public_key, about),
        value=encrypt(value, key, about),
    )


def removed(number: int) -> RemovedSecret:
    """The word that a secret was removed then."""
    return RemovedSecret(version=version(number))
