"""Users' secrets at a fleet's front: sealed for each host, and kept in the record.

A value is here only as bytes that are being sealed. It is never logged, quoted or stored.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from cryptography import x509
from pydantic import ValidationError

from ..audit.chain import Caller, Deed
from ..errors import AgentError, FieldError, Problem
from ..host.tasks import to_its_end
from ..identity.host_key import check
from ..model.base import SecretName, UserName, now
from ..model.fleet import MAX_SECRET_BYTES, HeldSecret, HostKey
from ..model.job import Job
from ..model.secret import SecretChange, SecretEntry
from ..secrets.sealing import About, encrypt, new_key, new_version, seal
from ..secrets.secrets import checked_value, holders
from .entries import HostRow
from .record import Record
from .secret_record import KnownSecret, NewSecret, kept_key

log = logging.getLogger("ml-fleet")

T = TypeVar("T")

TRIES = 10  # changes of one user that may be faster than this one
WAIT = 3.0  # seconds for the hosts to have a new value before the answer
LOOK = 0.1  # seconds between two looks
SILENT = 10.0  # seconds since a host's last word, after which nobody waits for it


class FleetSecrets:
    """Implements `backend.UserSecrets`. `running` are the jobs of a user that run now."""

    def __init__(
        self,
        record: Record,
        authorities: Callable[[], Sequence[x509.Certificate]],
        *,
        running: Callable[[str], Awaitable[list[Job]]],
        write_audit: Callable[[Deed], Awaitable[None]],
        limit: int,
    ) -> None:
        """`authorities` are the fleet's, and `limit` is how many secrets a user may have."""
        self._record = record
        self._authorities = authorities
        self._running = running
        self._write_audit = write_audit
        self._limit = limit

    async def of(self, user: UserName) -> list[SecretEntry]:
        """The user's own secrets, and those that hosts have for everybody."""
        hosts = await self._hosts()
        own = {each.name: each for each in await self._record.secrets_of(user)}
        missing = await self._missing(user, list(own.values()), hosts)
        entries = [_own(each, user, missing[name]) for name, each in own.items()]
        entries += [
            each for each in await self._set_on_hosts(user, hosts) if not each.user or each.name not in own
        ]
        return sorted(entries, key=lambda each: (each.name, each.user or ""))

    async def set(self, name: SecretName, value: bytes, *, by: Caller) -> SecretChange:
        """Seals a value for every host. The answer waits a little, until the hosts have it.

        Raises `AgentError`: invalid-request, too-many-secrets, host.
        """
        checked = await asyncio.to_thread(checked_value, name, value)
        if not 0 < len(checked) <= MAX_SECRET_BYTES:
            raise AgentError(
                Problem.INVALID_REQUEST,
                f"The value of secret {name} has {len(checked)} bytes.",
                f"A fleet takes 1 to {MAX_SECRET_BYTES} bytes.",
                (FieldError("value", f"must have 1 to {MAX_SECRET_BYTES} bytes"),),
            )
        known, rotated = await to_its_end(self._set(name, checked, by))
        missing = await self._wait_for_hosts(by.actor, known)
        earlier_in = holders(await self._running(by.actor), name, by.actor, ()) if rotated else []
        return SecretChange(
            **_own(known, by.actor, missing).model_dump(),
            rotated=rotated,
            earlier_value_in=[job.job_id for job in earlier_in],
        )

    async def remove(self, name: SecretName, *, by: Caller) -> SecretEntry:
        """Removes a secret from the record at once, and from the hosts as they hear of it."""

        async def change() -> SecretEntry:
            version, known = await self._overtaking(
                by.actor, lambda made: self._record.remove_secret(by.actor, name, made, _spoken(by))
            )
            await self._write_audit(by.did("removeSecret", name, version=version))
            return _own(known, by.actor, [])

        return await to_its_end(change())

    async def _set(self, name: str, value: bytes, by: Caller) -> tuple[KnownSecret, bool]:
        keys = await self._host_keys()
        version, (rotated, created) = await self._overtaking(
            by.actor, lambda made: self._seal(About(by.actor, name, made), value, keys, by)
        )
        await self._write_audit(by.did("setSecret", name, version=version))
        return KnownSecret(name, version, created), rotated

    async def _seal(
        self, about: About, value: bytes, hosts: Sequence[HostKey], by: Caller
    ) -> tuple[bool, str] | None:
        key = new_key()
        return await self._record.set_secret(
            NewSecret(
                user=about.user,
                name=about.name,
                version=about.version,
                value=encrypt(value, key, about),
                keys={
                    each.host: kept_key(each, seal(key, each.host, each.public_key, about)) for each in hosts
                },
                by=_spoken(by),
                limit=self._limit,
            )
        )

    async def _overtaking(self, user: str, change: Callable[[str], Awaitable[T | None]]) -> tuple[str, T]:
        """Makes a change with a version that is later than every other change of the user's."""
        for _ in range(TRIES):
            version = new_version(await self._record.next_moment(user))
            if (answer := await change(version)) is not None:
                return version, answer
        raise AgentError(
            Problem.BUSY, "Too many of your secrets are being changed.", "Try again in a moment."
        )

    # Hosts

    async def _hosts(self) -> list[HostRow]:
        return [row for row in await self._record.hosts() if row.belongs]

    async def _host_keys(self) -> list[HostKey]:
        """The keys of the hosts for which the fleet's authority vouches. Raises `AgentError` (host)."""
        keys = await asyncio.to_thread(_vouched, await self._hosts(), self._authorities())
        if not keys:
            raise AgentError(
                Problem.HOST,
                "The fleet has no host that can take secrets of users.",
                "Ask the operator: the log of each host's agent says why.",
            )
        return keys

    async def _missing(
        self, user: str, known: Sequence[KnownSecret], hosts: Sequence[HostRow]
    ) -> dict[str, list[str]]:
        """By name of a secret, the hosts that do not have its newest version."""
        missing: dict[str, list[str]] = {each.name: [] for each in known}
        for host in hosts:
            there = await self._record.versions_on(host.name, user, list(missing))
            for each in known:
                if (there[each.name] or "") < each.version:
                    missing[each.name].append(host.name)
        return missing

    async def _wait_for_hosts(self, user: str, secret: KnownSecret) -> list[str]:
        """Waits until the hosts that are there have a version; returns the hosts that do not."""
        until, hosts = time.monotonic() + WAIT, await self._hosts()
        heard_of = await self._record.next_moment(user) / 1e6 - SILENT
        there = {host.name for host in hosts if host.seen > heard_of}
        while True:
            missing = (await self._missing(user, [secret], hosts))[secret.name]
            if not there.intersection(missing) or time.monotonic() > until:
                return missing
            await asyncio.sleep(LOOK)

    async def _set_on_hosts(self, user: str, hosts: Sequence[HostRow]) -> list[SecretEntry]:
        """What was set on hosts themselves, for everybody or for the user. Not all hosts may have it."""
        found: dict[tuple[str, str | None], dict[str, HeldSecret]] = {}
        for host in hosts:
            for held in await self._record.set_on(host.name):
                if held.user in (None, user):
                    found.setdefault((held.name, held.user), {})[host.name] = held
        return [
            _entry(
                name,
                owner,
                min(each.created_at for each in on.values()),
                max(each.updated_at for each in on.values()),
                [host.name for host in hosts if host.name not in on],
            )
            for (name, owner), on in found.items()
        ]


def _vouched(hosts: Sequence[HostRow], authorities: Sequence[x509.Certificate]) -> list[HostKey]:
    keys = []
    for row in hosts:
        try:
            key = HostKey.model_validate_json(row.report.secrets_key)
            if key.host != row.name:
                raise AgentError(Problem.FORBIDDEN, f"It is that of {key.host}.")
            check(key, authorities)
        except (AgentError, ValidationError) as error:
            why = error.message if isinstance(error, AgentError) else "it has not said one"
            log.warning("secrets are not sealed for host %s, whose key cannot be used: %s", row.name, why)
        else:
            keys.append(key)
    return keys


def _spoken(by: Caller) -> str:
    return f"{by.actor} {by.role} {by.source or 'unknown'}"


def _own(secret: KnownSecret, user: str, missing: list[str]) -> SecretEntry:
    created, updated = (_time(version) for version in (secret.created, secret.version))
    return _entry(secret.name, user, created, updated, missing)


def _entry(
    name: str, user: str | None, created: datetime, updated: datetime, missing: list[str]
) -> SecretEntry:
    return SecretEntry(
        name=name,
        user=user,
        created_at=created,
        updated_at=updated,
        age_seconds=max(0, int((now() - updated).total_seconds())),
        missing_on=missing or None,
    )


def _time(version: str) -> datetime:
    """When a version was made, by the record's clock."""
    return datetime.fromtimestamp(int(version.partition("-")[0]) / 1e6, UTC)
