"""The fleet as its users see it: the sum of its hosts, scripts from one of them, and what a job uses."""

import time
from collections import Counter
from urllib.parse import quote

from ... import __version__
from ...errors import AgentError, Problem
from ...model.host import Host, HostEntry, Resources, Usage, UserQueue, Versions
from ...model.job import Job, JobState
from ...model.script import ScriptList
from ...scheduling.policy import Room
from ..entries import NOTHING, HostRow
from ..record import Record
from .documents import moment
from .fresh import Fresh
from .hosts import Hosts

MAX_HOSTS = 1000  # in one answer
NEGLIGIBLE = 0.5  # seconds of the whole fleet; less recent use is not shown
EVERYBODY = ""


class FleetOverview:
    """Implements `backend.HostState` and `backend.ScriptCatalogue`."""

    def __init__(self, record: Record, hosts: Hosts) -> None:
        self._record = record
        self._hosts = hosts
        self._overview = Fresh(self._read)

    async def overview(self, user: str | None) -> Host:
        """The sum of all hosts, as of at most a second ago."""
        host = await self._overview(EVERYBODY)
        return host.model_copy(update={"users": [each for each in host.users if user in (None, each.user)]})

    async def _read(self, _: str) -> Host:
        capacity = in_use = NOTHING
        running = Counter[str]()
        entries = []
        for row in (await self._hosts.rows()).values():
            taken = row.report.others
            for job in (await self._record.jobs_on(row.name)).values():
                taken += Room(1, int(job["millicpus"]), int(job["memory"]))
                running[job["owner"]] += 1
            entries.append(self._entry(row, taken))
            if row.belongs:
                capacity, in_use = capacity + row.capacity, in_use + taken
        uses = await self._record.uses()
        users = [
            UserQueue(
                user=user,
                waiting=uses.get(user, (0, 0.0))[0],
                running=running[user],
                recent_use_seconds=round(uses.get(user, (0, 0.0))[1], 3),
            )
            for user in sorted({*uses, *running})
        ]
        return Host(
            versions=Versions(agent=__version__),
            capacity=_resources(capacity),
            in_use=_resources(in_use),
            waiting=sum(each.waiting for each in users),
            running=sum(running.values()),
            users=[each for each in users if each.waiting or each.running or _counts(each)],
            hosts=entries[:MAX_HOSTS],
        )

    def _entry(self, row: HostRow, taken: Room) -> HostEntry:
        versions = row.report.versions
        return HostEntry(
            name=row.name,
            reachable=row.belongs and not self._hosts.is_silent(row),
            seen_at=moment(row.seen),
            draining=row.draining,
            forgotten=row.gone is not None,
            capacity=_resources(row.capacity),
            in_use=_resources(taken),
            versions=Versions.told(versions) if "agent" in versions else None,
        )

    async def usage(self, job: Job) -> Usage:
        """What the job uses now on its host; nothing where no host has it."""
        if job.host is None or job.status is JobState.PENDING:
            return Usage(job_id=job.job_id, at=moment(time.time()))
        return Usage.told(await self._hosts.ask(job.host, "GET", f"/jobs/{job.job_id}/usage"))

    async def scripts(self, ref: str | None) -> ScriptList:
        """The scripts, from the first host that answers."""
        query = f"?ref={quote(ref, safe='')}" if ref is not None else ""
        rows = [row for row in (await self._hosts.rows()).values() if row.belongs]
        away = AgentError(Problem.HOST, "The fleet has no host that could list the scripts.")
        for row in sorted(rows, key=lambda row: (self._hosts.is_silent(row), row.name)):
            try:
                return ScriptList.told(await self._hosts.ask(row.name, "GET", f"/scripts{query}"))
            except AgentError as error:
                if error.problem is not Problem.HOST:
                    raise
                away = error
        raise away


def _resources(room: Room) -> Resources:
    return Resources(jobs=room.jobs, cpus=room.millicpus / 1000, memory_bytes=room.memory_bytes)


def _counts(user: UserQueue) -> bool:
    return user.recent_use_seconds >= NEGLIGIBLE
