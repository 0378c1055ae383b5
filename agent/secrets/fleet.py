"""Users' secrets that a fleet brings to this host, sealed, each in a version."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from ..audit.chain import Caller, Deed
from ..errors import AgentError, Problem
from ..host.podman import Secret
from ..host.tasks import to_its_end
from ..model.base import HostName, SecretName
from ..model.fleet import (
    HeldSecret,
    HeldSecrets,
    HostKey,
    RemovedSecret,
    Reseal,
    Resealed,
    SealedFor,
    SealedSecret,
)
from .sealing import About, decrypt, private_key, public_bytes, seal, unseal
from .secrets import Secrets

log = logging.getLogger("ml-agent")

SIGNED = 600.0  # seconds; then another certificate of the server counts, if there is one
KEPT = 60.0  # seconds; asking Podman starts it. An operator's own change is seen that late


class Versions(Protocol):
    """The newest versions that were set or removed here."""

    async def newest(self, user: str, name: str) -> str: ...
    async def record(self, user: str, name: str, version: str, *, deed: Deed) -> None: ...


class FleetSecrets:
    """The secrets of users of a fleet, on the host that is named `host` there."""

    def __init__(
        self,
        host: HostName,
        secrets: Secrets,
        versions: Versions,
        key_file: Path,
        *,
        sign: Callable[[HostName, str], HostKey],
        check: Callable[[HostKey], None],
        write_audit: Callable[[Deed], Awaitable[None]],
    ) -> None:
        """`sign` signs this host's public key; `check` raises for a key that no host of the fleet signed."""
        self._host = host
        self._secrets = secrets
        self._versions = versions
        self._key_file = key_file
        self._sign = sign
        self._check = check
        self._write_audit = write_audit
        self._turn = asyncio.Lock()
        self._stored: list[Secret] = []
        self._stored_until = 0.0
        self._signed: HostKey | None = None
        self._signed_until = 0.0

    async def key(self) -> HostKey | None:
        """The key for which this host's secrets are sealed, signed; None where this host cannot sign it."""
        if time.monotonic() >= self._signed_until:
            self._signed = await asyncio.to_thread(self._signed_key)
            self._signed_until = time.monotonic() + SIGNED
        return self._signed

    def _signed_key(self) -> HostKey | None:
        try:
            return self._sign(self._host, public_bytes(self._private()))
        except AgentError as error:
            log.warning("the fleet cannot bring secrets of users to this host: %s", error)
            return None

    async def held(self) -> HeldSecrets:
        """Every secret that this host has, as of at most a minute ago."""
        if time.monotonic() >= self._stored_until:
            self._stored = await self._secrets.stored()
            self._stored_until = time.monotonic() + KEPT
        secrets = [_held(each) for each in self._stored]
        text = "\n".join(each.model_dump_json() for each in secrets)
        return HeldSecrets(revision=hashlib.sha256(text.encode()).hexdigest()[:16], secrets=secrets)

    async def take(self, name: SecretName, sealed: SealedSecret, *, by: Caller) -> HeldSecret:
        """Opens a secret of the caller's and stores it. The version that is here already changes nothing.

        Raises `AgentError`: secret-outdated for a version that is older than what was set or removed,
        invalid-request for what is not sealed for this host, and what `Secrets.set` raises.
        """

        async def change() -> HeldSecret:
            async with self._turn:
                here, newest = await self._known(name, sealed.version, by.actor)
                if here is None or here.version != sealed.version:
                    await self._store(name, sealed, by.actor)
                # An agent that ended between the two is here again: nothing is stored without its row.
                if newest != sealed.version:
                    await self._record("setSecret", name, sealed.version, by)
                stored, _ = await self._known(name, sealed.version, by.actor)
                assert stored is not None
                return _held(stored)

        return await to_its_end(change())

    async def remove(self, name: SecretName, removed: RemovedSecret, *, by: Caller) -> None:
        """Removes a secret that the fleet set for the caller; what was set on this host stays.

        Raises `AgentError`: secret-outdated where a later version is here, storage-full, host.
        """

        async def change() -> None:
            async with self._turn:
                here, _ = await self._known(name, removed.version, by.actor)
                if here is not None and here.version:
                    await self._secrets.remove(name, by.actor)
                await self._record("removeSecret", name, removed.version, by)

        await to_its_end(change())

    async def reseal(self, asked: Reseal, *, by: Caller) -> Resealed:
        """Seals keys that this host can open for another host. The values are not needed.

        Raises `AgentError` (forbidden) unless the fleet's authority certified that host.
        """
        await asyncio.to_thread(self._check, asked.to)
        resealed = await asyncio.to_thread(self._resealed, asked)
        await self._write_audit(by.did("resealSecrets", asked.to.host, secrets=len(resealed)))
        return Resealed(secrets=resealed)

    def _resealed(self, asked: Reseal) -> list[SealedFor]:
        private, resealed = self._private(), []
        for each in asked.secrets:
            about = About(each.user, each.name, each.version)
            try:
                key = unseal(each.key, self._host, private, about)
            except AgentError:  # sealed for an earlier key of this host
                continue
            sealed = seal(key, asked.to.host, asked.to.public_key, about)
            resealed.append(each.model_copy(update={"key": sealed}))
        return resealed

    def _private(self) -> X25519PrivateKey:
        return private_key(self._key_file)

    async def _known(self, name: str, version: str, user: str) -> tuple[Secret | None, str]:
        """The secret as it is here, and its newest version that was ever set or removed.

        Raises `AgentError` (secret-outdated) where `version` is older.
        """
        found = (each for each in await self._secrets.stored() if (each.name, each.user) == (name, user))
        here, newest = next(found, None), await self._versions.newest(user, name)
        if version < max(newest, here.version if here else ""):
            raise AgentError(
                Problem.SECRET_OUTDATED, f"This host knows a later version of the secret {name} of {user}."
            )
        return here, newest

    async def _store(self, name: str, sealed: SealedSecret, user: str) -> None:
        about = About(user, name, sealed.version)
        key = unseal(sealed.key, self._host, await asyncio.to_thread(self._private), about)
        value = await asyncio.to_thread(decrypt, sealed.value, key, about)
        await self._secrets.set(name, user, value, running=(), version=sealed.version)

    async def _record(self, action: str, name: str, version: str, by: Caller) -> None:
        self._stored_until = 0.0
        await self._versions.record(by.actor, name, version, deed=by.did(action, name, version=version))


def _held(secret: Secret) -> HeldSecret:
    return HeldSecret(
        name=secret.name,
        user=secret.user,
        version=secret.version or None,
        created_at=secret.created_at,
        updated_at=secret.updated_at,
    )
