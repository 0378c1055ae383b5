"""The fleet's record in Redis: every step of a job or of a host is one function of `functions/`.

What is returned was on the disk of Redis before (`appendfsync always`). What somebody is promised was on a
replica's disk besides, where the fleet has one.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from ..errors import AgentError, Problem, key_reused
from ..model.retention import NEVER_RAN, RAN, AgeClock, FinishedJob, Holding
from .entries import Claim, Ending, HostReport, Joined, NewJob, NoClaim, Offer, Revision, Step
from .front_record import FrontRecord
from .lists import Lists, pairs
from .secret_record import SecretRecord

HELD_AS = {"ran": RAN, "never-ran": NEVER_RAN}
MAX_REPORT = 256 * 1024  # bytes of what a host says of itself


class Record(Lists, SecretRecord, FrontRecord):
    """Every step of jobs and hosts. Every method raises `AgentError` (host) where Redis cannot promise."""

    # Jobs

    async def submit(self, job: NewJob) -> tuple[str, bool]:
        """Accepts a job: its id, and whether it is new. The same owner, key and fingerprint give a known one.

        Raises `AgentError`: idempotency-mismatch, too-many-jobs, job-id-taken.
        """
        answer, *rest = await self._promise("submit", _json(job))
        match answer:
            case "mismatch":
                raise key_reused()
            case "too-many":
                raise AgentError(
                    Problem.TOO_MANY_JOBS,
                    f"You already have {rest[0]} jobs waiting.",
                    "Try again when some of them have started, or cancel some.",
                )
            case "too-large":
                raise AgentError(
                    Problem.TOO_MANY_JOBS,
                    f"The records of your jobs have {rest[0]} bytes, of which you may have"
                    f" {job.max_record_bytes}.",
                    "Try again when retention has removed some of your oldest jobs, or unpin jobs.",
                )
            case "id-taken":
                raise AgentError(Problem.JOB_ID_TAKEN, "Another job has the first characters of this id.")
        return rest[0], answer == "new"

    async def cancel(self, job_id: str) -> tuple[Ending, str]:
        """Asks for the end of a job; with `ON_HOST`, the host that has it. Asking again changes nothing."""
        answer, *host = await self._promise("cancel", job_id)
        return Ending(answer), host[0] if host else ""

    async def job(self, job_id: str) -> dict[str, str] | None:
        """The `FIELDS` of a job, with `document` and `request`; None where there is no such job."""
        return (await self.jobs([job_id])).get(job_id)

    async def pin(self, job_id: str, *, pinned: bool, limit: int) -> bool:
        """Protects a job from retention, or no longer does; False where there is no such job.

        Raises `AgentError` (too-many-pinned) where its owner has `limit` pinned jobs.
        """
        answer, *count = await self._promise("pin", job_id, "1" if pinned else "0", str(limit))
        if answer == "too-many":
            raise AgentError(
                Problem.TOO_MANY_PINNED,
                f"The job's owner has {count[0]} pinned jobs; the limit is {limit}.",
                "Unpin one that is no longer needed: DELETE /jobs/{id}/pin, `ml-job unpin`.",
            )
        return bool(answer == "ok")

    # Retention

    async def age(self, clock: AgeClock, *, confirmed: float, leap: float) -> int:
        """Begins to count the age of ended jobs, and keeps the clock; returns how many jobs are left.

        Those that began after `confirmed` do not age by the `leap` of the clock.
        """
        asked = (repr(clock.seconds), repr(confirmed), repr(leap), _json(clock))
        return int((await self._call("age", *asked))[0])

    async def oldest_of_each(self, limit: int) -> tuple[list[FinishedJob], list[Holding]]:
        """The ended jobs that retention may remove, oldest first, and what each owner has of each kind.

        Of each owner and kind there are at most `limit` jobs.
        """
        found = await self._call("oldest", str(limit))
        jobs = [job for kind, owner, _, _, rows in found for job in _finished(owner, kind, rows)]
        holdings = [
            Holding(jobs=int(count), record_bytes=int(size), owner=owner, held_as=HELD_AS[kind])
            for kind, owner, count, size, _ in found
        ]
        return sorted(jobs, key=lambda job: job.ages_from), holdings

    async def remove_ended(self, job_ids: Sequence[str]) -> list[str]:
        """Removes the records of ended jobs that are not pinned; returns those that it was done for."""
        return await self._call("remove_ended", *job_ids) if job_ids else []

    async def age_clock(self) -> AgeClock | None:
        """The clock of ages as a front has written it last."""
        (text,) = await self._read(("GET", "fleet:age_clock"))
        return AgeClock(**json.loads(text)) if text else None

    async def pending(self) -> dict[str, int]:
        """How many jobs wait, by need."""
        (counts,) = await self._read(("HGETALL", "fleet:pending"))
        return {need: int(count) for need, count in pairs(counts)}

    async def elect(self, front: str, seconds: int, task: str = "tickets") -> bool:
        """Whether a front may do a task, for so many seconds from now, that only one at a time should do."""
        return bool((await self._call("elect", front, str(seconds), task))[0] == "ok")

    # Hosts

    async def join(self, host: str, report: HostReport) -> Joined:
        """A host's word that it is there, and what it has.

        Raises `AgentError` (invalid-request) for a report of more than `MAX_REPORT` bytes.
        """
        text = _json(report)
        if len(text) > MAX_REPORT:
            raise AgentError(Problem.INVALID_REQUEST, f"{host} says more of itself than {MAX_REPORT} bytes.")
        answer, epoch, *stop = await self._call("join", host, text)
        return Joined(answer == "ok", epoch, tuple(stop))

    async def back(self, host: str, epoch: str) -> bool:
        """A forgotten host has ended what it had; False where it was forgotten once more."""
        return bool((await self._call("back", host, epoch))[0] == "ok")

    async def claim_next(self, offer: Offer) -> Claim | NoClaim:
        """Claims the job whose turn it is among those that the host can run now."""
        asked = json.dumps(asdict(offer) | asdict(self._shares) | {"sight": _sight(offer)}, sort_keys=True)
        answer, *claim = await self._call("claim_next", asked)
        if answer != "ok":
            return NoClaim(answer)
        job_id, fence, attempt, owner, request = claim
        return Claim(job_id, fence, int(attempt), owner, request)

    async def confirm(self, job_id: str, host: str, epoch: str, fence: str) -> Step:
        """Asked right before each submission to the host's agent: whether the claim still holds."""
        return Step((await self._promise("confirm", job_id, host, epoch, fence))[0])

    async def acknowledge(self, job_id: str, host: str, fence: str) -> Step:
        """The host's agent has the job. CANCELLED: and must end it."""
        answer, *cancelled = await self._call("acknowledge", job_id, host, fence)
        return Step.CANCELLED if cancelled and int(cancelled[0]) else Step(answer)

    async def release(self, job_id: str, host: str, fence: str, *, elsewhere: bool) -> Step:
        """The host's agent will never have the job. `elsewhere`: the host does not claim it for a while.

        A job that the agent once had is lost, as if its host were forgotten.
        """
        asked = (job_id, host, fence, "1" if elsewhere else "0", repr(self._shares.half_life))
        return Step((await self._promise("release", *asked))[0])

    async def project(self, job_id: str, host: str, fence: str, revision: Revision) -> Step:
        """A revision of a job, as its host has committed it."""
        change = {
            "id": job_id,
            "host": host,
            "fence": fence,
            "revision": revision.number,
            "status": revision.status,
            "reason": revision.reason,
            "ended": revision.ended,
            "document": revision.document,
            "attempt": revision.attempt,
            "half_life": self._shares.half_life,
        }
        return Step((await self._call("project", json.dumps(change)))[0])

    async def jobs_on(self, host: str) -> dict[str, dict[str, str]]:
        """The `FIELDS` of every job that a host has, with `document` and `request`, by id."""
        (ids,) = await self._read(("SMEMBERS", f"fleet:on:{host}"))
        return await self.jobs(sorted(ids))

    async def claims_of(self, host: str) -> list[Claim]:
        """The claims of a host that have not ended, for a member that begins."""
        jobs = (await self.jobs_on(host)).items()
        return [
            Claim(job_id, job["fence"], int(job["attempt"]), job["owner"], job["request"])
            for job_id, job in jobs
        ]

    async def drain(self, host: str, *, draining: bool) -> bool:
        """No new claims for a host, or claims again; False where there is no such host."""
        return await self._mark(host, "draining", draining)

    async def bar(self, host: str, *, barred: bool) -> bool:
        """Whether fronts answer a host nothing from now on; False where there is no such host."""
        return await self._mark(host, "barred", barred)

    async def is_barred(self, host: str) -> bool:
        """Whether fronts answer the host nothing."""
        return bool((await self._read(("HEXISTS", f"fleet:host:{host}", "barred")))[0])

    async def _mark(self, host: str, name: str, on: bool) -> bool:
        return (await self._promise("mark", host, name, "1" if on else "0"))[0] == "ok"

    async def forget(self, host: str, *, silence: float) -> tuple[str, list[str]] | float | None:
        """Gives up a host that was silent for so many seconds: its new epoch, and the jobs that it had.

        These end FAILED (interrupted), or wait for another host if they asked for that. A host that was heard
        of since is not given up: the answer is the seconds of its silence. None: there is no such host.
        """
        answer, *rest = await self._promise("forget", host, str(silence), str(self._shares.half_life))
        if answer == "ok":
            return rest[0], rest[1:]
        return float(rest[0]) if answer == "alive" else None


def _json(value: Any) -> str:
    return json.dumps(asdict(value), sort_keys=True)


def _sight(offer: Offer) -> str:
    """Names what decides whether the host can run a job at all, however full it is."""
    seen = {"capacity": offer.capacity, "digests": sorted(offer.digests)}
    return hashlib.sha256(json.dumps(seen, default=asdict, sort_keys=True).encode()).hexdigest()[:16]


def _finished(owner: str, kind: str, rows: Sequence[str]) -> Iterator[FinishedJob]:
    for job_id, ages_from, size, finished in zip(*(rows[at::4] for at in range(4)), strict=True):
        yield FinishedJob(
            record_bytes=int(size),
            job_id=job_id,
            owner=owner,
            held_as=HELD_AS[kind],
            finished_at=datetime.fromtimestamp(float(finished), UTC),
            ages_from=float(ages_from),
        )
