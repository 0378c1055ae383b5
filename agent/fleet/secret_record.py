"""Secrets of users in the fleet's record: encrypted, with a key that is sealed for each host."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from pydantic import ValidationError

from ..errors import AgentError, Problem
from ..model.fleet import (
    MAX_RESEALED,
    HeldSecret,
    HostKey,
    OwnersSecrets,
    Reseal,
    SealedFor,
    SealedForHost,
    SecretNews,
)
from ..model.secret import too_many_secrets
from .record_server import Connection

OWNERS = 50  # in one answer
LOOKS = 200  # wanted keys that one call looks at
MAX_USER_BYTES = 4 * 2**20  # of the values of one user's secrets, encrypted and in base64


@dataclass(frozen=True, kw_only=True)
class NewSecret:
    """A version of a user's secret. `keys` has, by host, the key of `value`, as `kept_key` writes it.

    `by` is who sets it: user, role and source, separated by spaces. The user may have `limit` secrets, and
    `max_bytes` of values.
    """

    user: str
    name: str
    version: str
    value: str
    keys: Mapping[str, str]
    by: str
    limit: int
    max_bytes: int = MAX_USER_BYTES


@dataclass(frozen=True)
class KnownSecret:
    """A secret without its value: its version, which says when it was set, and its first one."""

    name: str
    version: str
    created: str


def kept_key(host: HostKey, key: str) -> str:
    """A key that is sealed for a host, with the name of the host's key."""
    return f"{_key_id(host)} {key}"


def _key_id(host: HostKey) -> str:
    return host.public_key[:16]


class SecretRecord(Connection):
    """Every step of secrets. Every method raises `AgentError` (host) where Redis does not answer."""

    async def next_moment(self, user: str) -> int:
        """Now by the clock of Redis, in microseconds since 1970, and after the user's newest change."""
        (seconds, rest), newest = await self._read(("TIME",), ("HGET", f"fleet:secrets:{user}", ":as-of"))
        return max(int(seconds) * 10**6 + int(rest), int((newest or "0").partition("-")[0]) + 1)

    async def set_secret(self, secret: NewSecret) -> tuple[bool, str] | None:
        """Whether there was an earlier value, and the first version. None: a later change was faster.

        Raises `AgentError`: too-many-secrets.
        """
        answer, *rest = await self._promise("set_secret", json.dumps(asdict(secret)))
        match answer:
            case "too-many":
                raise too_many_secrets(secret.limit)
            case "too-large":
                raise AgentError(
                    Problem.TOO_MANY_SECRETS,
                    f"Your secrets would have {rest[0]} bytes as the fleet keeps them; the limit is"
                    f" {secret.max_bytes}.",
                    "Remove one that no job needs.",
                )
            case "ok":
                return bool(int(rest[0])), rest[1]
        return None

    async def remove_secret(self, user: str, name: str, version: str, by: str) -> KnownSecret | None:
        """Removes a secret and returns it; `version` is that of the removal. None: a later change was faster.

        Raises `AgentError` (secret-not-found).
        """
        answer, *known = await self._promise("remove_secret", user, name, version, by)
        if answer == "absent":
            raise AgentError(
                Problem.SECRET_NOT_FOUND,
                f"There is no secret {name} of {user}.",
                "GET /secrets, or `ml-job secret list`, shows yours.",
            )
        return KnownSecret(name, *known) if answer == "ok" else None

    async def secrets_of(self, user: str) -> list[KnownSecret]:
        """The user's secrets, by name."""
        (found,) = await self._read(("HGETALL", f"fleet:secrets:{user}"))
        versions = {name: version for name, version in _pairs(found) if not name.startswith(":")}
        names = sorted(versions)
        created = await self._read(*(("HGET", f"fleet:secret:{user} {name}", "created") for name in names))
        return [
            KnownSecret(name, versions[name], first or versions[name])
            for name, first in zip(names, created, strict=True)
        ]

    async def versions_on(self, host: str, user: str, names: Sequence[str]) -> dict[str, str | None]:
        """The versions that a host has of a user's secrets, by name."""
        if not names:
            return {}
        (found,) = await self._read(("HMGET", f"fleet:has:{host}", *(f"{user}/{name}" for name in names)))
        return dict(zip(names, found, strict=True))

    async def set_on(self, host: str) -> list[HeldSecret]:
        """The secrets that were set on a host itself: everybody's, and of users."""
        (found,) = await self._read(("HGETALL", f"fleet:here:{host}"))
        return [_held(name, times) for name, times in _pairs(found)]

    # What members ask for their hosts

    async def has_secret_news(self, after: int) -> bool:
        """Whether anything has changed after a number, or any host wants a key."""
        number, wanted = await self._read(("GET", "fleet:secrets-changed"), ("SCARD", "fleet:wanted"))
        return int(number or 0) > after or wanted > 0

    async def secret_news(self, host: str, after: int) -> SecretNews:
        """What has changed after a number, and what the host can do for others.

        What is not sealed for the host's key is wanted from then on.
        """
        number, time, *rows = await self._call("secret_news", host, str(after), str(OWNERS))
        owners = [
            OwnersSecrets(owner=owner, as_of=as_of, by=by, versions=dict(_pairs(rest)))
            for owner, as_of, by, *rest in rows
        ]
        return SecretNews(
            number=int(number),
            time=int(float(time) * 1e6),
            owners=owners,
            more=len(owners) == OWNERS,
            reseal=await self._wanted(host),
        )

    async def _wanted(self, host: str) -> Reseal | None:
        answer = await self._call("wanted", host, str(LOOKS))
        if not answer:
            return None
        _, report, *rows = answer
        secrets = [
            SealedFor(user=user, name=name, version=version, key=key)
            for user, name, version, key in rows[:MAX_RESEALED]
        ]
        try:
            to = HostKey.model_validate_json(json.loads(report)["secrets_key"])
        except ValidationError:  # its own agent wrote it; other hosts' keys come up the next time
            return None
        return Reseal(to=to, secrets=secrets)

    async def sealed_secret(self, host: str, user: str, name: str) -> SealedForHost | None:
        """A secret for a host; None where there is none of that name."""
        answer = await self._call("sealed_secret", host, user, name)
        if not answer:
            return None
        version, by, value, key = answer
        return SealedForHost(version=version, by=by, value=value, key=key)

    async def share_keys(self, to: HostKey, secrets: Iterable[SealedFor]) -> int:
        """Keys that another host has sealed for `to`; how many of them were still wanted."""
        shared = 0
        for each in secrets:
            answer = await self._promise(
                "share_key", to.host, _key_id(to), each.user, each.name, each.version, each.key
            )
            shared += answer[0] == "ok"
        return shared

    async def tell_secrets(self, host: str, held: Mapping[str, HeldSecret | None], *, whole: bool) -> None:
        """What a host has, by `held_name`; None for what it no longer has. `whole`: and nothing else."""
        values = {name: _told(each) for name, each in held.items()}
        await self._call("tell_secrets", host, "1" if whole else "0", json.dumps(values))


def held_name(user: str | None, name: str) -> str:
    """What a secret is called in what a host says that it has."""
    return f"{user or ''}/{name}"


def _told(held: HeldSecret | None) -> list[str | bool]:
    if held is None:
        return [False]
    if held.version:
        return [held.version]
    times = held.model_dump(mode="json", include={"created_at", "updated_at"})
    return [False, " ".join(times.values())]


def _held(held: str, times: str) -> HeldSecret:
    user, _, name = held.partition("/")
    created, _, updated = times.partition(" ")
    return HeldSecret.model_validate(
        {"user": user or None, "name": name, "created_at": created, "updated_at": updated}
    )


def _pairs(flat: Sequence[str]) -> Iterable[tuple[str, str]]:
    return zip(flat[::2], flat[1::2], strict=True)
