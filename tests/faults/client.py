"""Those who submit jobs and follow their logs, and remember what they were told."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import aiohttp

from agent.cli.failure import Failure, Refused
from agent.cli.job.http import Api
from agent.cli.job.stream import follow

from .site import USERS, Site

PAUSE = 0.1  # seconds between two attempts


@dataclass
class Told:
    """What one client was told of one job. `lines` and `gaps` are the followed log's, as they came."""

    user: str
    script: str
    attempts: int = 1
    key: str = field(default_factory=lambda: uuid4().hex)
    job_id: str = ""
    other_ids: list[str] = field(default_factory=list)
    lines: list[tuple[int, str]] = field(default_factory=list)
    gaps: list[int] = field(default_factory=list)
    followed: bool = False
    ended: dict[str, Any] = field(default_factory=dict)
    text: str | None = None
    cancelled: bool = False
    stopped: bool = False
    waiting: bool = False


class Clients:
    """All users' connections to a site's agent. They try again for as long as their patience lasts."""

    look = PAUSE  # seconds between two looks at a job that is waited for

    def __init__(self, patience: float, apis: dict[str, Api]) -> None:
        """`patience` is in seconds, for one job."""
        self._patience = patience
        self._apis = apis
        self.refused = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def connected(cls, site: Site) -> AsyncIterator["Clients"]:
        """Ready to ask."""
        async with contextlib.AsyncExitStack() as stack:
            apis = {user: await stack.enter_async_context(Api(site.profile(user))) for user in USERS}
            yield cls(site.patience, apis)

    async def submit_once(self, told: Told) -> None:
        """Posts once. Raises `Failure` where that is not answered with 202."""
        await self._apis[told.user].post("/jobs", _body(told), key=told.key)

    async def submit(self, told: Told) -> None:
        """Posts until the agent answers 202, with one key; a second answer must name the same job."""
        api = self._apis[told.user]
        job = await self._patiently(lambda: api.post("/jobs", _body(told), key=told.key))
        told.job_id = told.job_id or job["job_id"]
        if job["job_id"] != told.job_id:
            told.other_ids.append(job["job_id"])

    async def job(self, told: Told) -> dict[str, Any]:
        """The job now."""
        api = self._apis[told.user]
        return dict(await self._patiently(lambda: api.get(f"/jobs/{told.job_id}")))

    async def recent_use(self, user: str) -> float:
        """What the user is charged with at present, in seconds of the whole host."""
        host = await self._patiently(lambda: self._apis[user].get("/host"))
        return sum(float(each["recent_use_seconds"]) for each in host["users"] if each["user"] == user)

    async def cancel(self, told: Told) -> None:
        """Asks for the job's end."""
        told.cancelled = True
        await self._patiently(lambda: self._apis[told.user].post(f"/jobs/{told.job_id}/cancel"))

    async def follow(self, told: Told) -> None:
        """Follows the log from its first line to its end, over however many connections."""
        async with asyncio.timeout(self._patience):
            await self._follow(told)

    async def _follow(self, told: Told) -> None:
        path = f"/jobs/{told.job_id}/logs"
        while not told.followed:
            # Where no id was received yet, a new call begins at the first line again, as it must.
            told.lines.clear()
            told.gaps.clear()
            events = follow(self._apis[told.user], path, params={}, notice=lambda _: None)
            with contextlib.suppress(Failure):
                async with contextlib.aclosing(events):
                    async for event in events:
                        _note(told, event.name, json.loads(event.data))

    async def wait(self, told: Told) -> None:
        """Polls until the job has ended."""
        while not told.ended:
            job = await self.job(told)
            if job["status"] in ("COMPLETED", "FAILED", "CANCELLED"):
                told.ended = job
            else:
                await asyncio.sleep(self.look)

    async def read_log(self, told: Told) -> None:
        """The whole log as text, after the end."""

        async def read() -> str:
            async with self._apis[told.user].open(
                f"/jobs/{told.job_id}/logs", accept="text/plain"
            ) as response:
                return (await response.read()).decode()

        told.text = await self._patiently(read)

    async def whole_way(self, told: Told) -> Told:
        """Submits, follows and waits for the end."""
        await self.submit(told)
        await self.follow(told)
        await self.wait(told)
        return told

    async def _patiently(self, ask: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Asks until there is an answer. An agent that is being killed breaks connections off."""
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return await ask()
            except Failure as error:
                self.refused += isinstance(error.__cause__, aiohttp.ClientConnectorError)
                if (isinstance(error, Refused) and not error.passing) or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(PAUSE)


def _body(told: Told) -> dict[str, Any]:
    body: dict[str, Any] = {"script_name": told.script}
    if told.attempts > 1:
        body |= {"max_attempts": told.attempts, "retry_on": ["interrupted", "start-failed", "exit-code"]}
    return body


def _note(told: Told, name: str, data: dict[str, Any]) -> None:
    if name == "line" and data["source"] == "job":
        told.lines.append((data["number"], data["text"]))
    elif name == "gap":
        told.gaps.append(data["after"])
    elif name == "end":
        told.followed, told.ended = True, data


async def all_of(work: Iterable[Coroutine[Any, Any, Any]], *, at_a_time: int) -> None:
    """Runs them side by side, so many at a time; the first failure ends all."""
    slots = asyncio.Semaphore(at_a_time)

    async def one(each: Coroutine[Any, Any, Any]) -> None:
        async with slots:
            await each

    async with asyncio.TaskGroup() as group:
        for each in work:
            group.create_task(one(each))
