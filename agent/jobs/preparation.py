"""Prepares an attempt: its files, and everything that its unit contains."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..config import Settings, shipped
from ..errors import AgentError, FieldError, Problem
from ..host.podman import Podman, by_digest
from ..model.job import Job
from ..runtime.quadlet import SECCOMP
from ..runtime.unit import JobUnit, MountedSecret, ProxySocket
from ..scripts.snapshots import Snapshots
from .attempt import AttemptFiles


class Preparation:
    """Looks up what units contain. `hooks` is the directory of the programs that leave their marks."""

    def __init__(self, settings: Settings, snapshots: Snapshots, podman: Podman, hooks: Path) -> None:
        self._settings = settings
        self._snapshots = snapshots
        self._podman = podman
        self._hooks = hooks

    async def prepare(self, job: Job) -> JobUnit:
        """Lays out the files of the job's attempt, and returns the values of its unit.

        Raises `AgentError`: configuration, ref-not-found, secret-missing, storage-full, host.
        """
        settings = self._settings
        files = AttemptFiles(settings.paths_of(job.job_id), job.attempt)
        files.lay_out(job, proxied=job.network in settings.egress)
        network = settings.network(job.network)
        if network is None:
            raise AgentError(
                Problem.CONFIGURATION, f"The site's configuration no longer has the network {job.network}."
            )
        with scripts_of(job):
            snapshot = await self._snapshots.tree(job.commit)
        return JobUnit(
            job_id=job.job_id,
            # The digest is empty if the image was missing. Podman says so in the job's log.
            image=image_of(job) if job.image_digest else job.image,
            network=network,
            limits=settings.jobs.resolve(job.limits),
            snapshot=snapshot,
            attempt=files.paths,
            hooks=self._hooks,
            seccomp=shipped("quadlets") / SECCOMP,
            state=settings.state_directory,
            egress=self._egress(job.network),
            secrets=await mounted_secrets(self._podman, job.secrets, job.owner),
        )

    def _egress(self, network: str) -> ProxySocket | None:
        if network not in self._settings.egress:
            return None
        return ProxySocket(f"ml-egress@{network}.socket", self._settings.egress_directory(network))


def image_of(job: Job) -> str:
    """The image that the job runs, by its digest."""
    return by_digest(job.image, job.image_digest)


async def mounted_secrets(podman: Podman, names: Iterable[str], owner: str) -> list[MountedSecret]:
    """The podman secrets behind these names in a job of `owner`. Raises `AgentError` (secret-missing)."""
    mounted = []
    for name in names:
        podman_secret = await podman.secret_for(name, owner)
        if podman_secret is None:
            raise AgentError(
                Problem.SECRET_MISSING,
                f"The script needs the secret {name}, which is not set for {owner}.",
                f"Set your own, `ml-job secret set {name}`, or ask the operator to run"
                f" `ml-agent secret set {name}`.",
                (FieldError("script_name", f"needs the secret {name}"),),
            )
        mounted.append(MountedSecret(name, podman_secret))
    return mounted


@contextlib.contextmanager
def scripts_of(job: Job) -> Iterator[None]:
    """Rewords ref-not-found for a job whose commit is gone: the client has named no `ref`."""
    try:
        yield
    except AgentError as error:
        if error.problem is not Problem.REF_NOT_FOUND:
            raise
        raise AgentError(
            Problem.REF_NOT_FOUND,
            f"The scripts of job {job.job_id}, at commit {job.commit}, can no longer be found.",
            "Submit the script as a new job, which runs the current commit.",
        ) from error
