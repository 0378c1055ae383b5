"""Submissions to the fleet: checked on a host, promised by the record, announced to the hosts."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from ... import __version__
from ...audit.chain import Caller, Deed, Detail
from ...audit.trail import Write
from ...config import JobSettings, RetentionSettings
from ...errors import AgentError, FieldError, Problem, invalid_request
from ...jobs.requests import MayRead, as_asked, fingerprint_of, labels_with, with_changes
from ...model.base import format_bytes, format_number, new_job_id, unit_name
from ...model.inputs import RequestedLimits
from ...model.job import Job, JobRequest, Reason, Rerun, to_json
from ...scheduling.policy import Room
from ...scheduling.queue import START_AND_STOP_SECONDS
from ..entries import HostRow, NewJob
from ..record import Record
from .hosts import Hosts
from .jobs import FleetJobs

log = logging.getLogger("ml-fleet")

ANNOUNCE = 2.0  # seconds for the broker to take a ticket; the reconciler publishes those that it did not take
MAX_ANNOUNCING = 200  # tickets on their way at once
MAX_KINDS = 8  # hosts of different kinds that are asked about one request
MAX_ALIKE = 24  # further hosts that are asked where one lacks a secret, which not all of its kind may lack
MAX_AWAY = 3  # hosts that do not answer, after which no further ones of their kinds are asked
AMOUNTS = frozenset({"limits.cpus", "limits.memory_bytes"})


class Announcer:
    """Publishes tickets behind the answers to submissions."""

    def __init__(self, publish: Callable[[str], Awaitable[None]]) -> None:
        self._publish = publish
        self._under_way: set[asyncio.Task[None]] = set()

    def announce(self, need: str) -> None:
        """Publishes a ticket soon, or never: then the reconciler does."""
        if len(self._under_way) < MAX_ANNOUNCING:
            task = asyncio.create_task(self._announce(need))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _announce(self, need: str) -> None:
        try:
            async with asyncio.timeout(ANNOUNCE):
                await self._publish(need)
        except (AgentError, TimeoutError) as error:
            log.info("a ticket for %s was not published: %s", need, error or "it took too long")

    async def close(self) -> None:
        """Waits for the tickets that are on their way."""
        await asyncio.gather(*self._under_way)


class FleetSubmissions:
    """Implements `backend.Submissions`."""

    def __init__(
        self,
        record: Record,
        hosts: Hosts,
        jobs: FleetJobs,
        announcer: Announcer,
        settings: JobSettings,
        retention: RetentionSettings,
        audit: Write,
    ) -> None:
        self._record = record
        self._hosts = hosts
        self._jobs = jobs
        self._announcer = announcer
        self._settings = settings
        self._retention = retention
        self._audit = audit

    async def submit(
        self,
        owner: str,
        request: JobRequest,
        *,
        idempotency_key: str | None,
        by: Caller,
        may_read: MayRead | None = None,
    ) -> Job:
        """Checks the request on a host, and accepts the job. Raises what an agent raises."""
        _check_alone(request)
        fingerprint = fingerprint_of(as_asked(request))
        if known := await self._known(owner, idempotency_key, fingerprint):
            return known
        checked = await self._check(request, by)
        return await self._accept(owner, request, checked, idempotency_key, fingerprint, by)

    async def rerun(
        self, owner: str, earlier: Job, changes: Rerun, *, idempotency_key: str | None, by: Caller
    ) -> Job:
        """The same for what `earlier` ran, apart from the changes: only where its very image is."""
        fingerprint = fingerprint_of({"rerun_of": earlier.job_id, **as_asked(changes)})
        if known := await self._known(owner, idempotency_key, fingerprint):
            return known
        request = JobRequest(
            script_name=earlier.script_name,
            hyperparameters=with_changes(earlier, changes),
            ref=earlier.commit,
            name=earlier.name if changes.name is None else changes.name,
            labels=labels_with(earlier.labels, changes.labels),
            limits=RequestedLimits(**changes.limits.over(earlier.limits).model_dump()),
            priority=min(earlier.priority, 0),
            max_attempts=changes.max_attempts or earlier.max_attempts,
            retry_on=changes.retry_on or list(earlier.retry_on),
        )
        checked = await self._check(request, by, earlier)
        return await self._accept(owner, request, checked, idempotency_key, fingerprint, by, earlier)

    async def _known(self, owner: str, key: str | None, fingerprint: str) -> Job | None:
        """The job of this key. Raises `AgentError` (idempotency-mismatch)."""
        if key is None:
            return None
        job_id = await self._record.repeated(owner, key, fingerprint)
        return await self._jobs.get(job_id) if job_id else None

    # The dry run

    async def _check(self, request: JobRequest, by: Caller, earlier: Job | None = None) -> Job:
        """The job that the request would become. One host of each kind is asked, until one would take it.

        Where one lacks a secret or does not answer, others of its kind are asked. Raises `AgentError`: what
        the hosts answer.
        """
        refusals: list[AgentError] = []
        kinds, alike = await self._candidates(earlier)
        for row in (*kinds, *alike):
            if row in alike and not _may_differ(refusals):
                break
            body = as_asked(request, exclude_unset=True, exclude_none=True)
            try:
                return Job.told(await self._hosts.ask(row.name, "POST", "/fleet/check", body=body, by=by))
            except AgentError as error:
                refusals.append(error)
        raise await self._refusal(request, refusals)

    async def _candidates(self, earlier: Job | None) -> tuple[list[HostRow], list[HostRow]]:
        """A host of each kind, the largest first, and others of these kinds. Silent hosts come last."""
        rows = [row for row in (await self._hosts.rows()).values() if row.belongs]
        if not rows:
            raise AgentError(
                Problem.HOST,
                "The fleet has no host yet.",
                "`ml-fleet join` adds one; docs/fleet.md says how.",
            )
        if earlier is not None and earlier.image_digest:
            rows = [row for row in rows if row.report.image_digest == earlier.image_digest]
            if not rows:
                raise AgentError(
                    Problem.IMAGE_MISSING,
                    f"The image that job {earlier.job_id} ran, {earlier.image}@{earlier.image_digest},"
                    " is on no host of the fleet.",
                    "Submit the script as a new job, which runs the current image.",
                )
        rows.sort(key=lambda row: (self._hosts.is_silent(row), row.draining, *_preference(row)))
        kinds: dict[Any, HostRow] = {}
        for row in rows:
            kinds.setdefault((self._hosts.is_silent(row), *_kind(row)), row)
        first = list(kinds.values())
        return first[:MAX_KINDS], [row for row in rows if row not in first][:MAX_ALIKE]

    async def _refusal(self, request: JobRequest, refusals: list[AgentError]) -> AgentError:
        """What the client is told of a request that no host takes: the first word of one that is there."""
        there = [error for error in refusals if error.problem is not Problem.HOST]
        first = (there or refusals)[0]
        if not there or not all(_is_about_limits(error) for error in there):
            return next((error for error in there if not _is_about_limits(error)), first)
        rows = [row for row in (await self._hosts.rows()).values() if row.belongs]
        fields = tuple(_largest(each, request, rows) for each in first.fields)
        return AgentError(
            Problem.INVALID_REQUEST, "The job requests more than any host of this fleet has.", fields=fields
        )

    # The promise

    async def _accept(
        self,
        owner: str,
        request: JobRequest,
        checked: Job,
        key: str | None,
        fingerprint: str,
        by: Caller,
        earlier: Job | None = None,
    ) -> Job:
        # Each host resolves branches and defaults by itself: what the user was told is what is run.
        limits = RequestedLimits(**checked.limits.model_dump())
        pinned = request.model_copy(update={"ref": checked.commit, "limits": limits})
        asked = {
            "role": by.role,
            "source": by.source or "unknown",
            # What the user did not ask for is left to the host, which may be of an earlier version.
            "request": as_asked(pinned, exclude_unset=True, exclude_none=True),
        }
        while True:
            job_id = new_job_id()
            job = checked.model_copy(update={"job_id": job_id, "unit": unit_name(job_id)})
            new_job = self._new_job(owner, job, asked, key, fingerprint, earlier)
            try:
                job_id, new = await self._record.submit(new_job)
                break
            except AgentError as error:
                if error.problem is not Problem.JOB_ID_TAKEN:
                    raise
        if new:
            self._announcer.announce(job.network)
            await self._audit(_deed(job, earlier, by))
        return await self._jobs.get(job_id)

    def _new_job(
        self,
        owner: str,
        job: Job,
        asked: dict[str, Any],
        key: str | None,
        fingerprint: str,
        earlier: Job | None,
    ) -> NewJob:
        limits = self._settings.resolve(job.limits)
        room = Room.of(cpus=limits.cpus, memory_bytes=limits.memory_bytes)
        run_time = float(limits.run_time_seconds)
        return NewJob(
            id=job.job_id,
            owner=owner,
            key=key or "",
            fingerprint=fingerprint,
            max_waiting=self._settings.max_waiting_per_user,
            max_record_bytes=self._retention.record_limit_per_user,
            script=job.script_name,
            rerun_of=earlier.job_id if earlier else "",
            need=job.network,
            priority=job.priority,
            millicpus=room.millicpus,
            memory_bytes=room.memory_bytes,
            run_time=run_time,
            longest=run_time + (limits.grace_seconds or 0) + START_AND_STOP_SECONDS,
            digest=earlier.image_digest if earlier else "",
            secrets=dict.fromkeys(job.secrets, "any"),
            max_attempts=job.max_attempts,
            again=Reason.INTERRUPTED in job.retry_on,
            document=to_json(job),
            request=json.dumps(asked),
        )


def _check_alone(request: JobRequest) -> None:
    """Raises `AgentError` (invalid-request) for a job that needs others: these may be on another host."""
    if fields := tuple(
        FieldError(name, "must be empty: the other job may be on another host")
        for name in ("after", "inputs")
        if getattr(request, name)
    ):
        raise invalid_request(
            "A fleet runs each job by itself.", "Submit jobs that need one another to one host.", fields
        )


def _kind(row: HostRow) -> tuple[Room, tuple[str, ...], str]:
    """Hosts that are alike in this take the same requests, apart from their secrets."""
    return row.capacity, row.report.networks, row.report.versions.get("agent", "")


def _preference(row: HostRow) -> tuple[int, int, bool]:
    """Large hosts first, and of these the ones that know what this front knows."""
    capacity, version = row.capacity, row.report.versions.get("agent")
    return -capacity.millicpus, -capacity.memory_bytes, version != __version__


def _may_differ(refusals: Sequence[AgentError]) -> bool:
    """Whether other hosts of the same kinds may answer otherwise."""
    problems = [error.problem for error in refusals]
    return Problem.SECRET_MISSING in problems or 0 < problems.count(Problem.HOST) <= MAX_AWAY


def _is_about_limits(error: AgentError) -> bool:
    fields = [each.field for each in error.fields]
    return error.problem is Problem.INVALID_REQUEST and bool(fields) and set(fields) <= AMOUNTS


def _largest(refused: FieldError, request: JobRequest, rows: Iterable[HostRow]) -> FieldError:
    """A refused amount, and what the host has that has most of it."""
    if refused.field == "limits.cpus":
        row = max(rows, key=lambda row: row.capacity.millicpus)
        most, asked = format_number(row.capacity.millicpus / 1000), format_number(request.limits.cpus or 0)
    else:
        row = max(rows, key=lambda row: row.capacity.memory_bytes)
        most, asked = format_bytes(row.capacity.memory_bytes), format_bytes(request.limits.memory_bytes or 0)
    what = f"not {asked}" if asked not in (most, "0", "0 bytes") else "not more"
    return FieldError(refused.field, f"must be at most {most}, which {row.name} has, {what}")


def _deed(job: Job, earlier: Job | None, by: Caller) -> Deed:
    """What the audit has of a new job. The audit of its host has more: it knows what the script declares."""
    details: dict[str, Detail] = {"script": job.script_name, "commit": job.commit, "priority": job.priority}
    if job.hyperparameters:
        details["parameters"] = sorted(job.hyperparameters)
    if earlier is None:
        return by.did("submitJob", job.job_id, **details)
    return by.did("rerunJob", job.job_id, **details, rerun_of=earlier.job_id)
