"""Logs, passed on from the hosts that have them."""

import asyncio
import contextlib
import functools
from base64 import b64decode
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Any, Protocol

from pydantic_core import from_json

from ...errors import AgentError, Problem
from ...logs.lines import Gap, Item, Line, Position
from ...model.job import Job, check_not_removed
from ...model.log import GapCause, LogSource, LogStream
from ..host_agent import problem_of
from .hosts import Hosts

MAX_TAIL = 100_000  # lines that an agent is asked for
MAX_EVENT = 2**20  # bytes
OVER = ("end", "pause")  # the last event of a log: of one that is whole, and of one up to now
PASSING = (Problem.HOST, Problem.STOPPING)  # the next connection may be better
MOST_IN_VAIN = 3  # connections in a row that bring nothing
PAUSE = 0.3  # seconds before the next one, and once more for each in vain


class Records(Protocol):
    """What is asked of the fleet's jobs."""

    async def get(self, job_id: str) -> Job: ...


class Feed(Protocol):
    """What is asked of the change feed."""

    async def newer(self, job: Job) -> Job: ...


class FleetLogReader:
    """Implements `backend.LogReader` over the log of a job on its host."""

    def __init__(self, hosts: Hosts, records: Records, feed: Feed, job: Job, position: Position) -> None:
        self._hosts = hosts
        self._records = records
        self._feed = feed
        self._job = job
        self._position = position
        self._whole_on: str | None = None  # the host whose log was read to the job's end

    async def history(self, *, newest: int | None = None) -> AsyncGenerator[list[Item]]:
        """The log until now."""
        if self._job.host is None:
            return
        tail = f"&tail={newest}" if newest is not None and newest <= MAX_TAIL else ""
        async with contextlib.aclosing(self._read(self._job, f"follow=false{tail}")) as batches:
            async for items in batches:
                yield items

    async def follow(self) -> AsyncGenerator[list[Item]]:
        """The log until now, then each line, on one host and then perhaps another, up to the job's end."""
        job = await self._records.get(self._job.job_id)
        while True:
            if job.host is not None and job.host != self._whole_on:
                async with contextlib.aclosing(self._read(job, "follow=true")) as batches:
                    async for items in batches:
                        yield items
            if job.status.terminal:
                return
            # The record soon has what the host has said, or which host has the job.
            job = await self._feed.newer(job)

    async def output(self) -> AsyncGenerator[bytes]:
        """What the job has printed so far, byte for byte."""
        if self._job.host is None:
            return
        headers = {"Accept": "text/plain"}
        try:
            async with self._hosts.open(self._job.host, "GET", self._path, headers=headers) as response:
                with self._hosts.answered(self._job.host):
                    async for chunk in response.content.iter_any():
                        yield chunk
        except AgentError as error:
            check_there(self._job, error)

    @property
    def _path(self) -> str:
        return f"/jobs/{self._job.job_id}/logs"

    async def _read(self, job: Job, query: str) -> AsyncGenerator[list[Item]]:
        """What the host sends up to its last event, from one connection after the other."""
        assert job.host is not None
        in_vain = 0
        while True:
            before = self._position
            try:
                async with contextlib.aclosing(self._connection(job.host, query)) as batches:
                    async for items in batches:
                        yield items
                return
            except AgentError as error:
                if error.problem is Problem.JOB_NOT_FOUND:
                    check_there(job, error)
                    return
                in_vain = 0 if self._position != before else in_vain + 1
                if error.problem not in PASSING or in_vain > MOST_IN_VAIN:
                    raise
            await asyncio.sleep(PAUSE * in_vain)

    async def _connection(self, host: str, query: str) -> AsyncGenerator[list[Item]]:
        """The same from one connection. Raises `AgentError`: also if it breaks before the last event."""
        headers = {"Accept": "application/x-ndjson"}
        if self._position.cursor:
            headers["Last-Event-ID"] = str(self._position)
        async with self._hosts.open(host, "GET", f"{self._path}?{query}", headers=headers) as response:
            rest, over = b"", ""
            with self._hosts.answered(host):
                async for chunk in response.content.iter_any():
                    *events, rest = (rest + chunk).split(b"\n")
                    if len(rest) > MAX_EVENT:
                        raise ValueError(f"an event has more than {MAX_EVENT} bytes")
                    found = [item_or_name(from_json(event)) for event in events]
                    items = [each for each in found if not isinstance(each, str)]
                    if items:
                        # A gap before the first entry has no cursor: nobody can resume behind it.
                        self._position = items[-1].position if items[-1].cursor else self._position
                        yield items
                    over = next((each for each in found if isinstance(each, str) and each in OVER), over)
        if not over:
            raise await self._hosts.unreachable(host)
        if over == "end":
            self._whole_on = host


class FleetLogs:
    """Implements `backend.Logs`."""

    def __init__(self, hosts: Hosts, records: Records, feed: Feed) -> None:
        self._hosts = hosts
        self._records = records
        self._feed = feed

    async def reader(self, job: Job, after: Position) -> FleetLogReader:
        """A reader that begins behind a position."""
        check_not_removed(job)
        if job.host is not None:
            try:
                await self._hosts.check(job.host, f"/jobs/{job.job_id}")
            except AgentError as error:
                check_there(job, error)
        return FleetLogReader(self._hosts, self._records, self._feed, job, after)


def check_there(job: Job, error: AgentError) -> None:
    """Raises an error, unless it says that the host has heard nothing of the job yet, or never will."""
    if error.problem is Problem.JOB_NOT_FOUND and job.invocation_id is None:
        return
    if error.problem is not Problem.JOB_NOT_FOUND:
        raise error
    raise AgentError(
        Problem.REMOVED_BY_RETENTION,
        f"Host {job.host} has removed this job, its artifacts and its log.",
        "The job can be run again; PUT /jobs/{id}/pin, or `ml-job pin`, keeps what is to stay.",
    )


def item_or_name(event: dict[str, Any]) -> Item | str:
    """A line or a gap of an agent's stream; of another event, its name. Raises `AgentError` for an error."""
    name = str(event["event"])
    data: dict[str, Any] = event.get("data", {})
    cursor = event.get("id", "").partition(":")[2]
    if name == "line":
        exact = data.get("base64")
        return Line(
            number=data["number"],
            time=_milliseconds(data["time"]),
            source=_source(data["source"]),
            text=data["text"].encode() if exact is None else b64decode(exact),
            cursor=cursor,
            continued=data.get("continued", False),
            stream=_stream(data["stream"]) if "stream" in data else None,
        )
    if name == "gap":
        cause = GapCause(data["cause"]) if "cause" in data else None
        return Gap(data["after"], _milliseconds(data["time"]), cursor, cause, data.get("count"))
    if name == "error":
        raise problem_of(data)
    return name


# Every line of every log passes through here: a member of an enumeration is found faster this way.
_source, _stream = functools.cache(LogSource), functools.cache(LogStream)


def _milliseconds(time: str) -> int:
    """A time as agents write it, in milliseconds since 1970."""
    return _second(time[:19]) * 1000 + int(time[20:23])


@functools.lru_cache(maxsize=64)
def _second(time: str) -> int:
    return int(datetime.fromisoformat(f"{time}+00:00").timestamp())
