"""The fleet's users: clients that go to another front when one does not answer."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from agent.cli.failure import Refused, Unreachable
from agent.cli.job.http import Api
from agent.cli.job.profile import Profile
from tests.faults.client import Clients, Told
from tests.support.waiting import until

from . import layout
from .handle import Fleet

USERS = ("alice", "bob")
LOOK = 2.0  # seconds between two looks at a job that is waited for


class RoamingApi(Api):
    """Speaks to one front until a connection fails, then to the next one."""

    def __init__(self, profile: Profile, servers: list[str]) -> None:
        super().__init__(profile)
        self._servers = servers
        self.moves = 0

    @contextlib.asynccontextmanager
    async def open(self, path: str, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """As `Api.open`."""
        try:
            async with super().open(path, **options) as response:
                yield response
        except Unreachable:
            following = self._servers.index(self.profile.server) + 1
            self.profile = replace(self.profile, server=self._servers[following % len(self._servers)])
            self.moves += 1
            raise


class Users(Clients):
    """Many jobs at a time: those who wait look now and then."""

    look = LOOK

    def __init__(self, patience: float, apis: dict[str, RoamingApi]) -> None:
        super().__init__(patience, dict(apis))
        self.apis = apis

    async def until_it_prints(self, told: Told, *, seconds: float = 60) -> None:
        """Returns when a follower of the job has a line of its script."""
        await until(lambda: told.lines, seconds=seconds)

    def front_of(self, user: str) -> str:
        """The node of the front that a user speaks to."""
        servers = [address(front) for front in layout.FRONTS]
        return layout.FRONT_NODES[servers.index(self.apis[user].profile.server)]

    async def fetch(self, told: Told, path: str, **headers: str) -> tuple[int, bytes, str]:
        """GET of something of a job: the status, the body, and what range it is of what."""
        try:
            async with self.apis[told.user].open(
                f"/jobs/{told.job_id}/{path}", accept="*/*", headers=headers
            ) as response:
                return response.status, await response.read(), response.headers.get("Content-Range", "")
        except Refused as refused:
            return refused.status, b"", ""

    async def refusal(self, told: Told, path: str) -> tuple[int, str, str]:
        """The status, the code and the words with which a call on a job is refused."""
        try:
            await self.apis[told.user].get(f"/jobs/{told.job_id}{path}")
        except Refused as refused:
            return refused.status, refused.code, refused.message
        raise AssertionError(f"{path} of {told.job_id} was not refused")


def address(front: str) -> str:
    """Where users reach a front. By its address: the machine, where they are, has no names for it."""
    return f"https://{layout.NAMES[front]}:{layout.FRONT_PORTS[front]}"


def files(fleet: Fleet) -> Path:
    """The users' certificates, as the front on the node of the servers has issued them."""
    return fleet.root(layout.SERVERS.name) / "home/ml/.config/ml-job"


def profile(fleet: Fleet, user: str, front: str = layout.FRONTS[0]) -> Profile:
    """How a user reaches a front."""
    return Profile.load(files(fleet), server=address(front), identity=user)


@contextlib.asynccontextmanager
async def connected(fleet: Fleet, *, patience: float) -> AsyncIterator[Users]:
    """All users, each at first with another front. Enter the users' network before."""
    async with contextlib.AsyncExitStack() as stack:
        apis: dict[str, RoamingApi] = {}
        for number, user in enumerate(USERS):
            front = layout.FRONTS[number % len(layout.FRONTS)]
            api = RoamingApi(profile(fleet, user, front), [address(each) for each in layout.FRONTS])
            apis[user] = await stack.enter_async_context(api)
        yield Users(patience, apis)
