"""What goes wrong on purpose: servers that are killed, hosts that are cut off, members that sleep."""

import asyncio
import random
from typing import Any

from agent.errors import AgentError, Problem
from tests.support.rabbit_server import RabbitServer
from tests.support.redis_server import RedisServer


class Link:
    """What a host's member reaches the rest of the fleet over."""

    def __init__(self) -> None:
        self.up = True
        self.awake = asyncio.Event()
        self.awake.set()
        self.sleeps_before: str | None = None  # the call of the agent before which the member sleeps, once
        self.asleep = asyncio.Event()

    def of(self, target: Any, *, remote: bool = True) -> "Linked":
        """The same, over this link. The host's own agent is reached while the host is cut off."""
        return Linked(target, self, remote)

    async def passed(self, name: str, remote: bool) -> None:
        """Waits while the member sleeps. Raises `AgentError` where it is cut off from what is remote."""
        if name == self.sleeps_before and not remote:
            self.sleeps_before = None
            self.awake.clear()
            self.asleep.set()
        await self.awake.wait()
        if remote and not self.up:
            raise AgentError(Problem.HOST, "The host is cut off.")


class Linked:
    """Something that is asked over a link."""

    def __init__(self, target: Any, link: Link, remote: bool) -> None:
        self._target = target
        self._link = link
        self._remote = remote

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)
        if name in ("changes", "host"):
            return method

        async def call(*args: Any, **options: Any) -> Any:
            await self._link.passed(name, self._remote)
            answer = await method(*args, **options)
            await self._link.passed("", self._remote)
            # A ticket is given back over the same link.
            return Linked(answer, self._link, self._remote) if hasattr(answer, "give_back") else answer

        return call


async def kill_again_and_again(
    server: RedisServer | RabbitServer, times: int, chance: random.Random, longest: float
) -> None:
    """Kills a server so often, each time within `longest` seconds, and starts it soon after."""
    for _ in range(times):
        await asyncio.sleep(chance.uniform(0.3, 1) * longest)
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(chance.uniform(0.1, 1.0))
        await asyncio.to_thread(server.start)
