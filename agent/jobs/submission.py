"""Accepts jobs: new ones, and reruns of earlier ones."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from weakref import WeakValueDictionary

from ..audit.chain import Caller, Deed, Detail
from ..config import Settings
from ..errors import AgentError, FieldError, Problem, invalid_request
from ..host.podman import Podman
from ..model.base import format_bytes, format_number, new_job_id, now, unit_name
from ..model.inputs import Limits
from ..model.job import Job, JobRequest, JobState, Rerun, RunRequest
from ..model.script import Script
from ..scripts.declaration import check_parameters, with_defaults
from ..scripts.review import Standing
from ..scripts.snapshots import Snapshots
from ..store.jobs import Given
from .dependencies import check_after
from .inputs import Inputs
from .preparation import Commits, image_of, mounted_secrets
from .registry import Asked, Registry
from .requests import MayRead, as_asked, fingerprint_of, labels_with, readable_by, with_changes

# Fields that a rerun takes over from the earlier job, whatever its request changes.
RERUN_AS_IT_WAS = (
    "script_name",
    "commit",
    "script_sha256",
    "image",
    "image_digest",
    "secrets",
    "network",
)


class Found(NamedTuple):
    """What a request names: a commit, what it may have, and a script at it."""

    commit: str
    standing: Standing
    script: Script


class Occasion(NamedTuple):
    """The time of a schedule for which something is submitted, once at most."""

    schedule: str
    slot: datetime


@dataclass(eq=False)
class Submission:
    """Checks requests for jobs and adds the jobs to the registry."""

    _settings: Settings
    _registry: Registry
    _commits: Commits
    _snapshots: Snapshots
    _podman: Podman
    inputs: Inputs
    _turns: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)  # by owner

    async def submit(
        self,
        owner: str,
        request: JobRequest,
        *,
        idempotency_key: str | None = None,
        by: Caller | None = None,
        may_read: MayRead | None = None,
        occasion: Occasion | None = None,
    ) -> Job:
        """Checks the request, commits the job and returns it. If this raises, nothing is left behind.

        `by` is the client, for the audit. `may_read` says what it may name; without, what `owner` may.

        Raises `AgentError`: invalid-request, script-not-found, ref-not-found, commit-refused, secret-missing,
        idempotency-mismatch, too-many-jobs, storage-full; not-waiting for an `occasion` that has its job.
        """
        asked = Asked(fingerprint_of(as_asked(request)), idempotency_key)
        if known := await self._registry.accepted(owner, asked):
            return known
        may_read = may_read or readable_by(owner)
        await check_after(self._registry, request, may_read)
        inputs = await self.inputs.check(request, may_read)
        job, script = await self._checked(owner, request, new_job_id())
        job = job.model_copy(update={"inputs": inputs} | (occasion._asdict() if occasion else {}))
        deed = by.did("submitJob", **audited(job, script)) if by else None
        return await self._add(job, asked, deed)

    async def take(self, owner: str, request: JobRequest, given: Given, host: str, *, by: Caller) -> Job:
        """Accepts a job that a fleet gives to this `host`, as `submit` does, under the id that it has there.

        The same id and key with the same request again return the job that is known. Raises what `submit`
        raises, and `AgentError`: job-id-taken, deadline-passed, draining.
        """
        asked = Asked(fingerprint_of({"owner": owner, **as_asked(request)}), given=given)
        if known := await self._registry.accepted(owner, asked):
            return known
        if self._registry.draining:
            raise AgentError(Problem.DRAINING, "This host is being drained.", "Run the job on another host.")
        job, script = await self._checked(owner, request, given.job_id)
        job = job.model_copy(update={"host": host})
        deed = by.did("submitJob", **audited(job, script))
        return await self._add(job, asked, deed)

    async def check(self, owner: str, request: JobRequest, *, may_read: MayRead | None = None) -> Job:
        """The job that `submit` would accept now; nothing is committed. Raises what `submit` raises.

        Without `may_read`, the jobs that it names are not looked at.
        """
        if may_read:
            await check_after(self._registry, request, may_read)
            await self.inputs.check(request, may_read)
        job, _ = await self._checked(owner, request, new_job_id())
        return job

    async def _checked(self, owner: str, request: JobRequest, job_id: str) -> tuple[Job, Script]:
        """The job that the request asks for, and its script."""
        found = await self.find(request)
        return await self.plan(owner, request, found, job_id), found.script

    async def find(self, request: RunRequest) -> Found:
        """The commit and the script that the request names. Raises what `submit` raises."""
        commit, standing = await self._commits.resolve(request.ref)
        return Found(commit, standing, await self._snapshots.script(commit, request.script_name))

    async def plan(self, owner: str, request: JobRequest, found: Found, job_id: str) -> Job:
        """The job that the request asks for; nothing is committed. Raises what `submit` raises."""
        commit, standing, script = found
        check_parameters(script, request.hyperparameters)
        limits = self._limits(request.limits.over(script.limits))
        await self._check_needs(script, owner, standing)
        image = await self._podman.kept_image(self._settings.jobs.image)
        return Job(
            job_id=job_id,
            status=JobState.PENDING,
            owner=owner,
            script_name=script.script_name,
            hyperparameters=with_defaults(script, request.hyperparameters),
            name=request.name,
            labels=request.labels,
            limits=limits,
            priority=request.priority,
            max_attempts=request.max_attempts,
            retry_on=request.retry_on,
            after=request.after,
            commit=commit,
            script_sha256=script.sha256,
            image=self._settings.jobs.image,
            image_digest=image.digest if image else "",
            secrets=script.secrets,
            network=script.network,
            artifacts=script.artifacts,
            unit=unit_name(job_id),
            created_at=now(),
        )

    async def add_trial(self, job: Job) -> Job:
        """Commits the next trial of a sweep, which was checked as a whole.

        Raises `AgentError`: too-many-jobs, storage-full, sweep-not-found, sweep-ended.
        """
        return await self._add(job, Asked(""), None)

    async def rerun(
        self,
        owner: str,
        earlier: Job,
        changes: Rerun,
        *,
        idempotency_key: str | None = None,
        by: Caller | None = None,
    ) -> Job:
        """A new job of `owner` with the commit, image, parameters and limits of `earlier`, except `changes`.

        It gets the secrets of `owner`, and a priority of 0 at most. Raises what `submit` raises, and
        `AgentError` (image-missing) if the image with that digest is no longer on the host.
        """
        request = {"rerun_of": earlier.job_id, **as_asked(changes)}
        asked = Asked(fingerprint_of(request), idempotency_key)
        if known := await self._registry.accepted(owner, asked):
            return known
        anew, script = await self.plan_again(owner, earlier, changes)
        deed = by.did("rerunJob", **audited(anew, script), rerun_of=earlier.job_id) if by else None
        return await self._add(anew, asked, deed)

    async def plan_again(self, owner: str, earlier: Job, changes: Rerun) -> tuple[Job, Script]:
        """The job that `rerun` would accept now, and its script; nothing is committed."""
        standing = await self._commits.standing_of(earlier)
        script = await self._snapshots.script(earlier.commit, earlier.script_name)
        hyperparameters = with_changes(earlier, changes)
        check_parameters(script, hyperparameters)
        limits = self._limits(changes.limits.over(earlier.limits))
        await self._check_needs(script, owner, standing)
        if earlier.image_digest and await self._podman.image(image_of(earlier)) is None:
            raise AgentError(
                Problem.IMAGE_MISSING,
                f"The image that job {earlier.job_id} ran, {image_of(earlier)}, is no longer on the host.",
                "Submit the script as a new job, which runs the current image.",
            )
        job_id = new_job_id()
        anew = Job(
            job_id=job_id,
            status=JobState.PENDING,
            unit=unit_name(job_id),
            created_at=now(),
            owner=owner,
            name=earlier.name if changes.name is None else changes.name,
            labels=labels_with(earlier.labels, changes.labels),
            hyperparameters=with_defaults(script, hyperparameters),
            limits=limits,
            artifacts=script.artifacts,
            priority=min(earlier.priority, 0),
            max_attempts=changes.max_attempts or earlier.max_attempts,
            retry_on=changes.retry_on or earlier.retry_on,
            rerun_of=earlier.job_id,
            inputs=await self.inputs.check_again(earlier),
            **{name: getattr(earlier, name) for name in RERUN_AS_IT_WAS},
        )
        return anew, script

    async def _add(self, job: Job, asked: Asked, deed: Deed | None) -> Job:
        """Writes the snapshot and commits the job: an owner's jobs one by one, so that shares hold."""
        async with self._turns.setdefault(job.owner, asyncio.Lock()):
            await self._registry.check_share(job.owner)
            await self._write_snapshot(job)
            return await self._registry.add(job, asked, deed)

    async def _write_snapshot(self, job: Job) -> None:
        """Raises `AgentError` (too-many-jobs) where the owner's unfinished jobs need too many snapshots."""
        if not self._snapshots.has_tree(job.commit):
            needed = self._registry.commits() | {job.commit}
            await self._snapshots.keep_within(self._settings.retention.max_snapshot_bytes, needed)
        share, others = self._settings.jobs.max_snapshot_bytes_per_user, self._registry.commits_of(job.owner)
        if others and job.commit not in others:  # one commit can always be run, whatever it has
            size = await self._snapshots.tree_bytes(job.commit) + await self._snapshots.taken(others)
            if size > share:
                raise AgentError(
                    Problem.TOO_MANY_JOBS,
                    f"The scripts of {len(others)} commits that your jobs are to run, and of this one, have"
                    f" {size} bytes; the limit is {share}.",
                    "Submit at a commit that your jobs use already, or try again when some have ended.",
                    (FieldError("ref", "is one commit too many"),),
                )
        await self._snapshots.tree(job.commit)

    async def _check_needs(self, script: Script, owner: str, standing: Standing) -> None:
        """Raises `AgentError`: invalid-request for a network that is not here, secret-missing."""
        if self._settings.network(script.network) is None:
            raise invalid_request(
                f"The script asks for the network {script.network}, which this host does not offer.",
                f"Ask the operator to define networks.{script.network} in the agent's configuration.",
                (FieldError("script_name", f"needs the network {script.network}"),),
            )
        await mounted_secrets(self._podman, script.secrets, owner, standing)

    def _limits(self, wanted: Limits) -> Limits:
        """The wanted limits, and the site's defaults where they say nothing.

        Raises `AgentError` (invalid-request) where one is above the site's maximum, or above what all jobs
        may have together: the job would never start.
        """
        settings = self._settings.jobs
        limits = wanted.over(settings.default_limits)
        maximum = settings.maximum_limits.model_dump()
        for name in ("cpus", "memory_bytes"):
            maximum[name] = min(maximum[name], getattr(settings, name))
        errors = tuple(
            FieldError(f"limits.{name}", _above(value, maximum[name], is_size=name.endswith("_bytes")))
            for name, value in limits.model_dump().items()
            if value is not None and value > maximum[name]
        )
        if errors:
            raise invalid_request("The job requests more than this host allows.", fields=errors)
        return limits


def _above(value: float, maximum: float, *, is_size: bool) -> str:
    """In words; a size in the units in which people write it, unless that hides the difference."""
    told, most = format_number(value), format_number(maximum)
    if is_size and format_bytes(int(value)) != format_bytes(int(maximum)):
        told, most = format_bytes(int(value)), format_bytes(int(maximum))
    return f"must be at most {most} on this host, not {told}"


def audited(job: Job, script: Script) -> dict[str, Detail]:
    """What the audit has of a new job. Of its hyperparameters: the names, and one digest of all values.

    The digest leaves out values that the script declares sensitive: they could be guessed from it.
    """
    sensitive = {each.name for each in script.parameters if each.sensitive} & job.hyperparameters.keys()
    values = {name: value for name, value in job.hyperparameters.items() if name not in sensitive}
    details: dict[str, Detail] = {"script": job.script_name, "commit": job.commit, "priority": job.priority}
    if job.hyperparameters:
        details |= {"parameters": sorted(job.hyperparameters), "parameters_sha256": fingerprint_of(values)}
    if sensitive:
        details["sensitive"] = sorted(sensitive)
    if job.secrets:
        details["secrets"] = list(job.secrets)
    if job.after:
        details["after"] = list(job.after)
    if job.inputs:
        details["inputs"] = [f"{name}={each.job_id}:{each.path}" for name, each in job.inputs.items()]
    return details
