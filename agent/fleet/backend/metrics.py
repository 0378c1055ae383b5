"""What jobs report about themselves, passed on from their hosts."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from ...audit.chain import Caller
from ...errors import AgentError
from ...model.job import Job
from ...model.metric import JobMetrics, MetricPoint, Progress
from ..host_agent import SOURCE, events_of, problem_of
from .hosts import Hosts
from .logs import check_there

log = logging.getLogger("ml-fleet")

PAUSE = 2.0  # seconds before a job's events are followed again


@dataclass
class Report:
    """Implements `backend.Reported`: what one job has reported so far."""

    progress: Progress | None = None
    newest: dict[str, MetricPoint] = field(default_factory=dict)
    watchers: int = 0
    following: asyncio.Task[None] | None = None


class FleetMetrics:
    """Implements `backend.Metrics`."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self._reports: dict[str, Report] = {}

    async def metrics(self, job: Job) -> JobMetrics:
        """Everything that the job has reported."""
        if job.host is None:
            return _nothing(job)
        try:
            answer = await self._hosts.ask(job.host, "GET", f"/jobs/{job.job_id}/metrics")
        except AgentError as error:
            check_there(job, error)
            return _nothing(job)
        return JobMetrics.told(answer)

    @contextlib.asynccontextmanager
    async def followed(self, job: Job) -> AsyncIterator[Report]:
        """What a running job reports: one stream of its host serves all who watch it through this front."""
        report = self._reports.setdefault(job.job_id, Report())
        report.watchers += 1
        if report.following is None:
            report.following = asyncio.create_task(self._follow(job, report))
        try:
            yield report
        finally:
            report.watchers -= 1
            if not report.watchers and report.following:
                report.following.cancel()
                del self._reports[job.job_id]

    async def _follow(self, job: Job, report: Report) -> None:
        while True:
            try:
                await self._follow_once(job, report)
            except AgentError as error:
                log.info("what job %s reports cannot be followed now: %s", job.job_id, error)
            await asyncio.sleep(PAUSE)

    async def _follow_once(self, job: Job, report: Report) -> None:
        # Whoever watches, the job's owner may: the stream counts as the owner's.
        owner = Caller(actor=job.owner, role="analyst", source=SOURCE)
        if job.host is None:
            return
        async with self._hosts.open(job.host, "GET", f"/jobs/{job.job_id}/events", by=owner) as response:
            with self._hosts.answered(job.host):
                async with contextlib.aclosing(events_of(response)) as events:
                    async for name, data in events:
                        _take(report, name, json.loads(data))


def _take(report: Report, name: str, data: dict[str, object]) -> None:
    """Takes an event. A new object is a new report, as `backend.Reported` says."""
    if name == "error":
        raise problem_of(data)
    values = {key: value for key, value in data.items() if key not in ("job_id", "name")}
    if name == "progress":
        report.progress = Progress.told(values)
    elif name == "metric":
        report.newest = report.newest | {str(data["name"]): MetricPoint.told(values)}


def _nothing(job: Job) -> JobMetrics:
    return JobMetrics(job_id=job.job_id, complete=job.status.terminal)
