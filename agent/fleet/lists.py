"""Lists of the fleet's jobs: pages, changes, and whose turn it is."""

import contextlib
import heapq
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from pydantic import TypeAdapter

from ..model.event import History
from ..scheduling.policy import Room
from .entries import NOTHING, HostReport, HostRow
from .places import Queued, Site, waits_for
from .record_server import Connection, translated

LOOKS = 20  # calls that look for the jobs of one page
CHANGED = ("fleet:active", "fleet:ended", "fleet:removed")
# What is read of a job. The functions have more in its hash, and each field costs its time to parse.
FIELDS = (
    "owner",
    "state",
    "status",
    "reason",
    "host",
    "fence",
    "attempt",
    "host_attempt",
    "max_attempts",
    "again",
    "revision",
    "accepted",
    "created",
    "finished",
    "rerun_of",
    "cancel",
    "pinned",
    "digest",
    "millicpus",
    "memory",
)
_REPORT = TypeAdapter(HostReport)
HISTORY = ("MGET", "fleet:epoch", "fleet:forgotten", "fleet:changed")


class Lists(Connection):
    """Reads many jobs at once. An `owner` of None stands for all owners."""

    async def jobs(self, job_ids: Sequence[str]) -> dict[str, dict[str, str]]:
        """The `FIELDS` of several jobs, with `document` and `request`, by id, each as of one moment."""
        commands: list[Sequence[str]] = []
        for job_id in job_ids:
            commands += [
                ("HMGET", f"fleet:job:{job_id}", *FIELDS),
                ("MGET", f"fleet:document:{job_id}", f"fleet:request:{job_id}"),
            ]
        rows = pairs(await self._read(*commands)) if commands else ()
        return {
            job_id: _present(fields) | {"document": document or "", "request": request or ""}
            for job_id, (fields, (document, request)) in zip(job_ids, rows, strict=True)
            if fields[0] is not None
        }

    async def page(
        self,
        owner: str | None = None,
        status: str | None = None,
        script: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> tuple[list[str], str | None]:
        """The ids of at most `limit` jobs, newest first, and the cursor of the next page, or None.

        Jobs that `status` and `script` leave out cost time: with many of them, a page has fewer jobs.
        """
        found: list[str] = []
        at = cursor or ""
        for _ in range(LOOKS):
            at, *more = await self._call(
                "page", owner or "", status or "", script or "", at, str(limit - len(found))
            )
            found += more
            if not at or len(found) >= limit:
                break
        return found, at or None

    async def places(self, owner: str | None, limit: int) -> dict[str, tuple[int, str]]:
        """The places of the first `limit` waiting jobs, of one owner or of all, in order, by job id.

        A place is a position, from 1, and a text that completes "it waits for".
        Positions up to 500 are exact. Behind them, an owner's jobs count as if they were all alike.
        """
        asked = {"owner": owner or "", "limit": limit, "half_life": self._shares.half_life}
        (text,) = await self._call("places", json.dumps(asked))
        hosts, found = await self.hosts(), json.loads(text)
        site = Site(
            hosts=hosts,
            taken={name: Room(**room) for name, room in dict(found["hosts"]).items()},
            now=found["now"],
            max_running=self._shares.max_running,
        )
        jobs = [
            # An empty table of Lua is both an empty list and an empty mapping.
            Queued(**{**job, "room": Room(**job["room"]), "lacking": dict(job["lacking"])})
            for job in found["jobs"]
        ]
        return {job.id: (job.position, waits_for(job, site)) for job in jobs}

    async def hosts(self) -> list[HostRow]:
        """Every host, by name."""
        names = sorted((await self._read(("SMEMBERS", "fleet:hosts")))[0])
        commands: list[Sequence[str]] = []
        for name in names:
            commands += [("HGETALL", f"fleet:host:{name}"), ("SCARD", f"fleet:on:{name}")]
        rows = pairs(await self._read(*commands)) if commands else ()
        return [_host(name, dict(pairs(row)), jobs) for name, (row, jobs) in zip(names, rows, strict=True)]

    # The change feed: of each job the newest change, numbered

    async def history(self) -> History:
        """Which changes are known."""
        return _history((await self._read(HISTORY))[0])

    async def newest(self, owner: str | None = None, *, ended: int) -> tuple[History, list[str]]:
        """The ids of all jobs that have not ended and of the `ended` newest others, all of one moment.

        They are in the order of their newest changes.
        """
        active, over = (_key(name, owner) for name in CHANGED[:2])
        commands: list[Sequence[str | int]] = [HISTORY, ("ZRANGE", active, 0, -1, "WITHSCORES")]
        if ended > 0:
            commands.append(("ZRANGE", over, -ended, -1, "WITHSCORES"))
        known, *parts = await self._read(*commands)
        return _history(known), [job_id for _, job_id in _merged(parts)]

    async def changes(self, after: int, *, owner: str | None = None, limit: int) -> list[tuple[int, str]]:
        """The first `limit` changes with higher numbers, also of removed jobs: number and job id."""
        commands = [
            ("ZRANGE", _key(name, owner), f"({after}", "+inf", "BYSCORE", "LIMIT", 0, limit, "WITHSCORES")
            for name in CHANGED
        ]
        return _merged(await self._read(*commands))[:limit]

    async def missed(self, after: int, *, owner: str | None = None, limit: int) -> int:
        """How many jobs have a higher change number, counted up to `limit`."""
        counts = await self._read(*(("ZCOUNT", _key(name, owner), f"({after}", "+inf") for name in CHANGED))
        return min(limit, sum(int(count) for count in counts))

    async def change_of(self, job_id: str) -> int | None:
        """The number of the newest change of a job; None where there was none, or it was removed long ago."""
        return next((number for number, _ in await self.changes_of([job_id])), None)

    async def changes_of(self, job_ids: Sequence[str]) -> list[tuple[int, str]]:
        """The newest change of each of these jobs, by number, without those for which `change_of` is None."""
        if not job_ids:
            return []
        scores = iter(await self._read(*(("ZSCORE", name, each) for each in job_ids for name in CHANGED)))
        numbers = {
            each: [score for score in islice(scores, len(CHANGED)) if score is not None] for each in job_ids
        }
        return sorted((int(float(found[0])), each) for each, found in numbers.items() if found)

    @contextlib.asynccontextmanager
    async def bell(self) -> AsyncIterator[AsyncIterator[int]]:
        """The number of each change, as it is made. A hint: what is rung while nobody listens is lost."""
        with translated():
            async with self._client.pubsub(ignore_subscribe_messages=True) as listening:
                await listening.subscribe("fleet:changed")
                yield _rung(listening)


def pairs(values: list[Any]) -> Iterable[tuple[Any, Any]]:
    """Two of these values at a time."""
    return zip(values[::2], values[1::2], strict=True)


def _present(values: list[str | None]) -> dict[str, str]:
    return {name: value for name, value in zip(FIELDS, values, strict=True) if value is not None}


def _key(name: str, owner: str | None) -> str:
    return name if owner is None else f"{name}:{owner}"


def _merged(parts: list[Any]) -> list[tuple[int, str]]:
    """Numbers and members of answers WITHSCORES, by number."""
    return list(heapq.merge(*(list(_scored(part)) for part in parts)))


def _scored(part: list[Any]) -> Iterator[tuple[int, str]]:
    for member, score in pairs(part):
        yield int(float(score)), member


def _history(row: list[str | None]) -> History:
    epoch, forgotten, newest = row
    return History(epoch=epoch or "", forgotten=int(forgotten or 0), newest=int(newest or 0))


async def _rung(listening: Any) -> AsyncIterator[int]:
    async for message in listening.listen():
        yield int(message["data"])


def _host(name: str, row: Mapping[str, str], jobs: int) -> HostRow:
    report = _report(row.get("report"))
    return HostRow(
        name=name,
        epoch=row["epoch"],
        seen=float(row.get("seen", 0)),
        gone=float(row["gone"]) if "gone" in row else None,
        draining="draining" in row or report.draining,
        jobs=jobs,
        report=report,
        barred="barred" in row,
    )


def _report(text: str | None) -> HostReport:
    if text is None:
        return HostReport(capacity=NOTHING)
    return _REPORT.validate_json(text)
