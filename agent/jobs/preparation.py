"""Prepares an attempt: whether its commit may run, its files, and everything that its unit contains.

A commit may run if it has been reviewed, signed where the site wants that, and not withdrawn.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ..config import ScriptSettings, Settings, shipped
from ..errors import AgentError, FieldError, Problem, misconfigured
from ..host.images import by_digest
from ..host.podman import Podman
from ..host.systemd import Units
from ..model.job import Job
from ..model.script import ScriptList
from ..runtime.quadlet import CONTAINERS_CONF, SECCOMP
from ..runtime.unit import JobUnit, MountedSecret, ProxySocket, demand_enforced_limits
from ..scripts.review import Review, Standing
from ..scripts.snapshots import Snapshots
from ..store.withdrawals import WithdrawalStore
from .attempt import AttemptFiles
from .inputs import Inputs


class Commits:
    """Asked when a job is submitted, when it is run again, and when it starts."""

    def __init__(self, settings: ScriptSettings, snapshots: Snapshots, withdrawals: WithdrawalStore) -> None:
        self._snapshots = snapshots
        self._withdrawals = withdrawals
        self._review = Review(settings.repository, settings.review_rules)

    async def scripts(self, ref: str | None) -> ScriptList:
        """All scripts that can be run at a branch, tag or commit, by name."""
        commit, _ = await self.resolve(ref)
        return await self._snapshots.catalogue(commit)

    async def resolve(self, ref: str | None) -> tuple[str, Standing]:
        """The commit that a ref refers to, and what it may have. Raises what `standing` raises."""
        commit = await self._snapshots.resolve(ref)
        return commit, await self.standing(commit)

    async def standing(self, commit: str) -> Standing:
        """What a commit may have now. Raises `AgentError`: ref-not-found, commit-refused, host."""
        if withdrawal := await self._withdrawals.get(commit):
            raise AgentError(
                Problem.COMMIT_REFUSED,
                withdrawal.sentence(),
                "Run another commit, or ask the operator to readmit this one.",
                (FieldError("ref", "was withdrawn"),),
            )
        return await self._review.standing(commit)

    async def standing_of(self, job: Job) -> Standing:
        """The same for the commit of a job, in words for those who have named no ref."""
        try:
            return await self.standing(job.commit)
        except AgentError as error:
            if error.problem is Problem.COMMIT_REFUSED:
                raise replace(error, fields=()) from error
            if error.problem is Problem.REF_NOT_FOUND:
                raise AgentError(
                    Problem.REF_NOT_FOUND,
                    f"The scripts of job {job.job_id}, at commit {job.commit}, can no longer be found.",
                    "Submit the script as a new job, which runs the current commit.",
                ) from error
            raise


@dataclass(eq=False)
class Preparation:
    """Looks up what units contain. `hooks` is the directory of the programs that leave their marks."""

    _settings: Settings
    _commits: Commits
    _snapshots: Snapshots
    _units: Units
    _podman: Podman
    _inputs: Inputs
    _hooks: Path

    async def prepare(self, job: Job) -> JobUnit:
        """Lays out the files of the job's attempt, and returns the values of its unit.

        Raises `AgentError`: configuration, ref-not-found, commit-refused, secret-missing, input-missing,
        storage-full, host.
        """
        settings = self._settings
        if settings.jobs.unenforced_limits == "refuse":
            await demand_enforced_limits(self._units)
        files = AttemptFiles(settings.paths_of(job.job_id), job.attempt)
        files.lay_out(job, proxied=job.network in settings.egress)
        network = settings.network(job.network)
        if network is None:
            raise misconfigured(f"The site's configuration no longer has the network {job.network}.")
        standing = await self._commits.standing_of(job)
        proxy = ProxySocket(f"ml-egress@{job.network}.socket", settings.egress_directory(job.network))
        return JobUnit(
            job_id=job.job_id,
            # The digest is empty if the image was missing. Podman says so in the job's log.
            image=image_of(job) if job.image_digest else job.image,
            network=network,
            limits=settings.jobs.resolve(job.limits),
            snapshot=await self._snapshots.tree(job.commit),
            attempt=files.paths,
            inputs=await self._inputs.lay_out(job),
            hooks=self._hooks,
            seccomp=shipped("quadlets") / SECCOMP,
            containers_conf=shipped("quadlets") / CONTAINERS_CONF,
            state=settings.state_directory,
            egress=proxy if job.network in settings.egress else None,
            secrets=await mounted_secrets(self._podman, job.secrets, job.owner, standing),
            image_variables=await self._podman.image_variables(job.image, job.image_digest),
        )


def image_of(job: Job) -> str:
    """The image that the job runs, by its digest."""
    return by_digest(job.image, job.image_digest)


async def mounted_secrets(
    podman: Podman, names: Iterable[str], owner: str, standing: Standing
) -> list[MountedSecret]:
    """The podman secrets behind these names in a job of `owner`. Raises `AgentError` (secret-missing).

    A commit in development gets secrets of `owner` alone.
    """
    reviewed = standing is Standing.REVIEWED
    mounted = []
    for name in names:
        podman_secret = await podman.secret_for(name, owner, shared=reviewed)
        if podman_secret is None:
            raise _without_secret(name, owner, reviewed=reviewed)
        mounted.append(MountedSecret(name, podman_secret))
    return mounted


def _without_secret(name: str, owner: str, *, reviewed: bool) -> AgentError:
    if reviewed:
        why = f"which is not set for {owner}"
        otherwise = f"ask the operator to run `ml-agent secret set {name}`"
    else:
        why = "and its commit is on development branches only: such jobs get no secrets that users share"
        otherwise = "run a commit that has been reviewed"
    return AgentError(
        Problem.SECRET_MISSING,
        f"The script needs the secret {name}, {why}.",
        f"Set your own, `ml-job secret set {name}`, or {otherwise}.",
        (FieldError("script_name", f"needs the secret {name}{'' if reviewed else ' of your own'}"),),
    )
