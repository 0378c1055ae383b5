"""The fleet's record in Redis: every step of a job or of a host is one function of `functions/`.

What is returned was on the disk of Redis before (`appendfsync always`). What somebody is promised was on a
replica's disk besides, where the fleet has one.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast

from ..errors import AgentError, Problem
from ..scheduling.policy import Room
from .entries import NOTHING, Claim, Ending, HostReport, HostRow, Joined, NewJob, NoClaim, Offer, Step
from .lists import Lists, pairs
from .record_server import translated
from .secret_record import SecretRecord

MAX_REPORT = 256 * 1024  # bytes of what a host says of itself


class Record(Lists, SecretRecord):
    """Every step of jobs and hosts. Every method raises `AgentError` (host) where Redis cannot promise."""

    # Jobs

    async def submit(self, job: NewJob) -> tuple[str, bool]:
        """Accepts a job: its id, and whether it is new. The same owner, key and fingerprint give a known one.

        Raises `AgentError`: idempotency-mismatch, too-many-jobs, job-id-taken.
        """
        answer, *rest = await self._promise("submit", _json(job))
        match answer:
            case "mismatch":
                raise AgentError(
                    Problem.IDEMPOTENCY_MISMATCH,
                    "This Idempotency-Key was used for a different request.",
                    "Send a new key with a new request; repeat a key only with the same body.",
                )
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
        """The fields of a job, with `document` and `request`; None where there is no such job."""
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

    async def pending(self) -> dict[str, int]:
        """How many jobs wait, by need."""
        with translated():
            counts = await cast(Any, self._client.hgetall("fleet:pending"))
        return {need: int(count) for need, count in counts.items()}

    async def elect(self, front: str, seconds: int) -> bool:
        """Whether a front may do, for so many seconds from now, what only one at a time should do."""
        return bool((await self._call("elect", front, str(seconds)))[0] == "ok")

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
        """The host's agent will never have the job. `elsewhere`: the host does not claim it again."""
        return Step((await self._promise("release", job_id, host, fence, "1" if elsewhere else "0"))[0])

    async def project(
        self,
        job_id: str,
        host: str,
        fence: str,
        *,
        revision: int,
        status: str,
        reason: str,
        ended: bool,
        document: str,
    ) -> Step:
        """A revision of a job as its host has committed it; `document` is the job in JSON."""
        change = {
            "id": job_id,
            "host": host,
            "fence": fence,
            "revision": revision,
            "status": status,
            "reason": reason,
            "ended": ended,
            "document": document,
            "half_life": self._shares.half_life,
        }
        return Step((await self._call("project", json.dumps(change)))[0])

    async def jobs_on(self, host: str) -> dict[str, dict[str, str]]:
        """The fields of every job that a host has, by id."""
        with translated():
            ids = sorted(await cast(Any, self._client.smembers(f"fleet:on:{host}")))
        return await self.jobs(ids)

    async def claims_of(self, host: str) -> list[Claim]:
        """The claims of a host that have not ended, for a member that begins."""
        jobs = (await self.jobs_on(host)).items()
        return [
            Claim(job_id, job["fence"], int(job["attempt"]), job["owner"], job["request"])
            for job_id, job in jobs
        ]

    async def hosts(self) -> list[HostRow]:
        """Every host, by name."""
        with translated():
            names = sorted(await cast(Any, self._client.smembers("fleet:hosts")))
        commands = [(("HGETALL", f"fleet:host:{name}"), ("SCARD", f"fleet:on:{name}")) for name in names]
        rows = pairs(await self._read(*sum(commands, ()))) if commands else ()
        return [_host(name, dict(pairs(row)), jobs) for name, (row, jobs) in zip(names, rows, strict=True)]

    async def drain(self, host: str, *, draining: bool) -> bool:
        """No new claims for a host, or claims again; False where there is no such host."""
        return (await self._promise("drain", host, "1" if draining else "0"))[0] == "ok"

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
    seen = {"capacity": offer.capacity, "digests": sorted(offer.digests), "secrets": dict(offer.secrets)}
    return hashlib.sha256(json.dumps(seen, default=asdict, sort_keys=True).encode()).hexdigest()[:16]


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
    )


def _report(text: str | None) -> HostReport:
    if text is None:
        return HostReport(capacity=NOTHING)
    said: dict[str, Any] = json.loads(text)
    rooms = {name: Room(**said[name]) for name in ("capacity", "others")}
    return HostReport(**{**said, **rooms, "networks": tuple(said["networks"])})
