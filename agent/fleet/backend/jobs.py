"""The fleet's jobs: what the record has of them, and what their hosts are told."""

import logging
import re
from collections.abc import AsyncIterator, Mapping, Sequence

from ...audit.chain import Caller
from ...audit.trail import Write
from ...config import RetentionSettings
from ...errors import AgentError, FieldError, Problem
from ...model.base import ID_ALPHABET, ID_LENGTH
from ...model.host import QueuePlace
from ...model.job import Job, JobPage, JobState, no_such_job
from ...store.database import MAX_PAGE_SIZE
from ..entries import Ending, Revision
from ..record import Record
from .documents import job_of
from .fresh import Fresh
from .hosts import Hosts

log = logging.getLogger("ml-fleet")

JOB_ID = re.compile(f"[{ID_ALPHABET}]{{{ID_LENGTH}}}")
MAX_PLACES = 1000  # of one owner, or of all: those behind them are shown without a place
PORTION = 25  # jobs that are read at once
EVERYBODY = ""


class FleetJobs:
    """Implements `backend.JobRecords` over the record."""

    def __init__(self, record: Record, hosts: Hosts, retention: RetentionSettings, audit: Write) -> None:
        self._record = record
        self._hosts = hosts
        self._retention = retention
        self._audit = audit
        self._places = Fresh(self._read_places)
        self._running = Fresh(self._read_running)

    async def get(self, job_id: str) -> Job:
        """The job, its place if it waits, and in words where its host is silent."""
        return await self.with_place(await self._told(await self._row(job_id)))

    async def _row(self, job_id: str) -> Mapping[str, str]:
        row = await self._record.job(job_id) if JOB_ID.fullmatch(job_id) else None
        if row is None:
            raise no_such_job()
        return row

    async def page(
        self,
        *,
        owner: str | None,
        status: JobState | None,
        script: str | None,
        cursor: str | None,
        limit: int,
    ) -> JobPage:
        """At most `limit` jobs, newest first."""
        if cursor is not None and not cursor.isdecimal():
            field = FieldError("cursor", "must be the next_cursor of an earlier page")
            raise AgentError(Problem.INVALID_REQUEST, "The request is not valid.", fields=(field,))
        ids, following = await self._record.page(owner, status, script, cursor, limit)
        jobs: list[Job] = []
        size, last = 0, ""
        async for row in self._rows(ids):
            size += len(row["document"])
            if jobs and size > MAX_PAGE_SIZE:
                return JobPage(jobs=jobs, next_cursor=last)
            jobs.append(await self.with_place(await self._told(row)))
            last = row["accepted"]
        return JobPage(jobs=jobs, next_cursor=following)

    async def _rows(self, job_ids: Sequence[str]) -> AsyncIterator[Mapping[str, str]]:
        """The rows of the jobs that there are among these, in this order."""
        for start in range(0, len(job_ids), PORTION):
            portion = job_ids[start : start + PORTION]
            rows = await self._record.jobs(portion)
            for job_id in portion:
                if job_id in rows:
                    yield rows[job_id]

    async def _told(self, row: Mapping[str, str]) -> Job:
        job = job_of(row)
        if job.host is None or job.status.terminal:
            return job
        since = await self._hosts.silent_since(job.host)
        words = f"host {job.host} unreachable since {since}"
        return job.model_copy(update={"message": words}) if since else job

    async def cancel(self, job_id: str, *, by: Caller) -> Job:
        """Asks for the end of a job. If its host is away, the host's member hears of it from the record."""
        row = await self._row(job_id)
        job = job_of(row)
        ending, host = await self._record.cancel(job_id)
        if not job.cancel_requested and not job.status.terminal:
            await self._audit(by.did("cancelJob", job_id, owner=job.owner))
        if ending is Ending.ON_HOST:
            try:
                answer = await self._hosts.ask(host, "POST", f"/jobs/{job_id}/cancel", body={}, by=by)
                await self._project(host, row["fence"], Job.told(answer))
            except AgentError as error:
                log.info("the end of job %s is asked for when its host is back: %s", job_id, error)
        return await self.get(job_id)

    async def _project(self, host: str, fence: str, job: Job) -> None:
        """Tells the record what a host has committed, before its member does: the client sees it now."""
        await self._record.project(job.job_id, host, fence, Revision.of(job))

    async def pin(self, job_id: str, *, pinned: bool, by: Caller) -> Job:
        """Protects a job from retention, in the record and on its host, or no longer does."""
        job = await self.get(job_id)
        if not pinned:
            await self._pin_on_host(job, pinned=False, by=by)
        await self._pin(job, pinned=pinned)
        try:
            if pinned:
                await self._pin_on_host(job, pinned=True, by=by)
        except AgentError:
            await self._pin(job, pinned=job.pinned)
            raise
        if job.pinned != pinned:
            await self._audit(by.did("pinJob" if pinned else "unpinJob", job_id, owner=job.owner))
        return await self.get(job_id)

    async def _pin(self, job: Job, *, pinned: bool) -> None:
        limit = self._retention.max_pinned_per_user
        if not await self._record.pin(job.job_id, pinned=pinned, limit=limit):
            raise no_such_job()

    async def _pin_on_host(self, job: Job, *, pinned: bool, by: Caller) -> None:
        if job.host is not None:
            method = "PUT" if pinned else "DELETE"
            await self._hosts.ask(job.host, method, f"/jobs/{job.job_id}/pin", body={}, by=by)

    # What waits and runs

    async def with_place(self, job: Job) -> Job:
        """The job with its place, if it waits."""
        if job.status is not JobState.PENDING:
            return job
        if job.host is not None:
            place = QueuePlace(position=1, waits_for=f"host {job.host} to start it")
            return job.model_copy(update={"queue": place})
        places = await self._places(job.owner, wanted=lambda known: job.job_id in known)
        place = places.get(job.job_id) or _behind(places)
        return job.model_copy(update={"queue": place})

    async def running(self, owner: str | None) -> list[Job]:
        """The jobs that run, as of at most a second ago."""
        return [job for job in await self._running(EVERYBODY) if owner in (None, job.owner)]

    async def places(self, owner: str | None, limit: int) -> dict[str, QueuePlace]:
        """The places of the first waiting jobs, as of at most a second ago."""
        places = await self._places(owner or EVERYBODY)
        return dict(list(places.items())[:limit])

    async def _read_places(self, owner: str) -> dict[str, QueuePlace]:
        found = await self._record.places(owner or None, MAX_PLACES)
        return {job_id: QueuePlace(position=at, waits_for=words) for job_id, (at, words) in found.items()}

    async def _read_running(self, _: str) -> list[Job]:
        found: list[Job] = []
        for host in await self._hosts.rows():
            rows = (await self._record.jobs_on(host)).values()
            found += [job_of(row) for row in rows if row["state"] == "given"]
        return [job for job in found if job.status in (JobState.CREATED, JobState.RUNNING)]


def _behind(places: Mapping[str, QueuePlace]) -> QueuePlace:
    """The place of a job that came after its owner's places were read, or is behind all that were read."""
    before = max((place.position for place in places.values()), default=0)
    words = (
        f"its turn, after {before} other job{'s' if before > 1 else ''}" if before else "a host to claim it"
    )
    return QueuePlace(position=before + 1, waits_for=words)
