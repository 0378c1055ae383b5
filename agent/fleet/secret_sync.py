"""Keeps a host's secrets as the fleet's record has them, and tells the record what the host has.

Everything passes through here sealed: only the host's agent can open what is for this host.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Protocol

from ..errors import AgentError, Problem
from ..model.fleet import (
    HeldSecret,
    HeldSecrets,
    HostKey,
    OwnersSecrets,
    RemovedSecret,
    Reseal,
    Resealed,
    SealedFor,
    SealedForHost,
    SealedSecret,
    SecretNews,
)
from ..secrets.sealing import new_version
from .secret_record import held_name

log = logging.getLogger("ml-fleet")

PAUSE = 0.5  # seconds after a failure, and between two questions where nothing is new
TOLD = 100  # secrets in one message
REST = 60.0  # seconds after another host's key could not be used, or nothing could be sealed for it
# With these answers, the same secret would be refused again.
FINAL = frozenset({Problem.INVALID_REQUEST, Problem.SECRET_OUTDATED, Problem.BODY_TOO_LARGE})


class SecretFleet(Protocol):
    """What is asked of the fleet's record; `SecretRecord` says what each answer means."""

    async def secret_news(self, host: str, after: int) -> SecretNews: ...
    async def sealed_secret(self, host: str, user: str, name: str) -> SealedForHost | None: ...
    async def share_keys(self, to: HostKey, secrets: list[SealedFor]) -> int: ...
    async def tell_secrets(
        self, host: str, held: Mapping[str, HeldSecret | None], *, whole: bool
    ) -> None: ...


class SecretAgent(Protocol):
    """What is asked of the host's agent. `by` is on whose behalf: user, role and source."""

    async def secrets(self) -> HeldSecrets:
        """Every secret that the host has."""
        ...

    async def take_secret(self, by: str, name: str, sealed: SealedSecret) -> HeldSecret:
        """Opens and stores a user's secret."""
        ...

    async def drop_secret(self, by: str, name: str, removed: RemovedSecret) -> None:
        """Removes a user's secret."""
        ...

    async def reseal(self, asked: Reseal) -> Resealed:
        """Seals keys for another host."""
        ...


class SecretSync:
    """One host's side. `run` it until it is cancelled, or killed: the next one compares everything anew."""

    def __init__(self, host: str, fleet: SecretFleet, agent: SecretAgent) -> None:
        self._host = host
        self._fleet = fleet
        self._agent = agent
        self._held: dict[str, HeldSecret] = {}  # by `held_name`, as the record was told
        self._revision = ""  # of what the record was told
        self._changed = True  # the agent may have others than the record was told
        self._after = 0  # the number of the newest change that was followed
        self._owners: set[str] | None = set()  # in the news so far; None once all of them were
        self._rests_until = 0.0

    async def run(self) -> None:
        """Follows the record until it is cancelled. The agent is not asked while nothing changes."""
        while True:
            try:
                if await self.look():
                    continue
            except AgentError as error:
                log.info("secrets of %s: %s", self._host, error)
            await asyncio.sleep(PAUSE)

    def noticed(self, revision: str) -> None:
        """The agent has said that its secrets have this revision."""
        self._changed = self._changed or revision != self._revision

    @property
    def rests(self) -> bool:
        """Whether nothing is sealed for other hosts, since that has just been in vain."""
        return time.monotonic() < self._rests_until

    async def look(self) -> bool:
        """Follows what is new; whether there was anything. Raises `AgentError` where another look may do."""
        if self._changed:
            await self._tell_all()
        news = await self._fleet.secret_news(self._host, self._after)
        for owners in news.owners:
            await self._follow(owners)
        self._after = news.number
        if self._owners is not None:
            self._owners.update(each.owner for each in news.owners)
            if not news.more:
                await self._drop_others(self._owners, new_version(news.time))
                self._owners = None
        resealed = news.reseal is not None and await self._reseal(news.reseal)
        return bool(news.owners) or resealed

    async def _tell_all(self) -> None:
        """Tells the record everything that the host has; the first message removes what else it knows."""
        held = await self._agent.secrets()
        self._held = {held_name(each.user, each.name): each for each in held.secrets}
        names = sorted(self._held)
        for start in range(0, max(1, len(names)), TOLD):
            some = {name: self._held[name] for name in names[start : start + TOLD]}
            await self._fleet.tell_secrets(self._host, some, whole=start == 0)
        self._changed, self._revision = False, held.revision

    async def _follow(self, owners: OwnersSecrets) -> None:
        for name, version in owners.versions.items():
            held = self._held.get(held_name(owners.owner, name))
            if held is None or held.version != version:
                await self._take(owners.owner, name)
        for held in list(self._held.values()):
            if held.user == owners.owner and held.version and held.name not in owners.versions:
                await self._drop(held, owners.by, owners.as_of)

    async def _take(self, user: str, name: str) -> None:
        sealed = await self._fleet.sealed_secret(self._host, user, name)
        if sealed is None or not sealed.key:  # removed since, or another host has yet to seal it for this one
            return
        brought = SealedSecret(version=sealed.version, key=sealed.key, value=sealed.value)
        try:
            held = await self._agent.take_secret(sealed.by, name, brought)
        except AgentError as error:
            if error.problem not in FINAL:
                raise
            log.warning("%s does not take the secret %s of %s: %s", self._host, name, user, error.message)
        else:
            await self._told(held_name(user, name), held)

    async def _drop(self, held: HeldSecret, by: str, version: str) -> None:
        try:
            await self._agent.drop_secret(by, held.name, RemovedSecret(version=version))
        except AgentError as error:
            if error.problem not in FINAL:
                raise
        await self._told(held_name(held.user, held.name), None)

    async def _drop_others(self, owners: set[str], version: str) -> None:
        """Removes what the fleet once set for users of whom the record knows nothing."""
        for held in list(self._held.values()):
            if held.user and held.version and held.user not in owners:
                await self._drop(held, f"{held.user} analyst fleet", version)

    async def _told(self, name: str, held: HeldSecret | None) -> None:
        if held is None:
            self._held.pop(name, None)
        else:
            self._held[name] = held
        await self._fleet.tell_secrets(self._host, {name: held}, whole=False)

    async def _reseal(self, asked: Reseal) -> bool:
        """Has the agent seal keys for another host; whether that helped."""
        if self.rests:
            return False
        try:
            resealed = await self._agent.reseal(asked)
        except AgentError as error:
            log.warning("%s seals nothing for %s: %s", self._host, asked.to.host, error.message)
            resealed = Resealed(secrets=[])
        if resealed.secrets and await self._fleet.share_keys(asked.to, resealed.secrets):
            return True
        self._rests_until = time.monotonic() + REST
        return False
