"""The text of a job's unit: the drop-in with the job's own values, and the section that records its end.

Values are tokens that the agent or the site made. None has a character that systemd or Quadlet interprets.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import AgentError, misconfigured
from ..host.systemd import Units
from ..model.inputs import ResolvedLimits
from ..model.paths import CLAIMED, ENDED, STARTED, STOPPING, AttemptPaths
from ..model.secret import SNOWFLAKE_PREFIX
from .policy import NO_MOUNTS

EGRESS_PLACE = "/run/ml-egress"  # the directory of the proxy's socket, as the job sees it

# No white space, quote, specifier, `$`, backslash or line break.
TOKEN = re.compile(r"[A-Za-z0-9@._:,=/+-]+")

# Paths are parts of Volume=, which a colon and a comma separate.
PATH_TOKEN = re.compile(r"/[A-Za-z0-9@._=/+-]*")

# How many threads numeric libraries start. By default it is one for each CPU of the machine, and a job with
# a smaller CPU limit spends its time on switching between them.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",  # OpenMP, PyTorch, pyarrow
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
    "LOKY_MAX_CPU_COUNT",  # joblib, and n_jobs=-1 of scikit-learn
    "PYTHON_CPU_COUNT",  # os.cpu_count() of Python 3.13 and later
)

# Variables that add to Podman's configuration, or have it run the container elsewhere.
UNSET_VARIABLES = ("CONTAINERS_CONF_OVERRIDE", "CONTAINER_CONNECTION", "CONTAINER_HOST")

# Shares of the memory limit that the template's file systems in memory may have. Their files count as the
# job's memory, and a job that fills them should meet a full disk before it is killed.
SHARES = {"@TMP_BYTES@": 2, "@SHM_BYTES@": 4}  # one part in this many

NEEDED = frozenset(("cpu", "memory", "pids"))  # by CPUQuota=, MemoryMax= and TasksMax=


@dataclass(frozen=True)
class ProxySocket:
    """The socket of an egress proxy: its systemd unit, and the directory that it is in."""

    socket_unit: str
    directory: Path


@dataclass(frozen=True)
class MountedSecret:
    """A podman secret that a job sees as `/run/secrets/<name>/connections.toml`."""

    name: str
    podman_secret: str


@dataclass(frozen=True)
class JobUnit:
    """The values of one attempt of a job that its unit contains."""

    job_id: str
    image: str  # by digest
    network: str  # for podman's --network=
    limits: ResolvedLimits
    snapshot: Path
    attempt: AttemptPaths
    hooks: Path  # the directory of the programs ml-job-started, ml-job-stopping and ml-job-ended
    seccomp: Path  # the system call filter
    containers_conf: Path  # Podman's configuration
    state: Path  # the agent's state directory, which no volume may expose
    inputs: Path | None = None  # the directory of the job's inputs
    secrets: Sequence[MountedSecret] = ()
    egress: ProxySocket | None = None  # if the job reaches the network through a proxy only
    image_variables: frozenset[str] = frozenset()  # the names of the environment variables of the image


def volumes(unit: JobUnit) -> list[str]:
    """The directories of the host that the job sees, as values of Volume=."""
    mounts = [
        f"{unit.snapshot}:/scripts:ro",
        f"{unit.attempt.input}:/run/ml-job:ro",
        f"{unit.attempt.artifacts}:/artifacts:rw",
    ]
    mounts += [f"{unit.inputs}:/inputs:ro"] if unit.inputs else []
    return [*mounts, f"{unit.egress.directory}:{EGRESS_PLACE}:ro"] if unit.egress else mounts


def template_for(unit: JobUnit, template: str) -> str:
    """The site's template for one job: what follows from its limits, which the template may override."""
    threads = math.ceil(unit.limits.cpus)
    missing = [name for name in THREAD_VARIABLES if name not in unit.image_variables]
    for place, parts in SHARES.items():
        template = template.replace(place, str(unit.limits.memory_bytes // parts))
    return "\n".join(["[Container]", *(f"Environment={name}={threads}" for name in missing), "", template])


def drop_in(unit: JobUnit) -> str:
    """The job's `50-job.conf`, which the generator merges into the template.

    Raises `AgentError` (configuration) if a value cannot be written into a unit file.
    """
    _check_paths(unit)
    limits = unit.limits
    container = [
        f"Image={unit.image}",
        f"Network={unit.network}",
        f"GlobalArgs={'='.join(NO_MOUNTS)}",
        f"SeccompProfile={unit.seccomp}",
        # The quota bounds each file too: a sparse file could be larger and use no space.
        f"Ulimit=fsize={limits.artifact_bytes}:{limits.artifact_bytes}",
        *(f"Volume={volume}" for volume in volumes(unit)),
    ]
    for secret in unit.secrets:
        target = f"/run/secrets/{secret.name}/connections.toml"
        container.append(
            f"Secret={secret.podman_secret},type=mount,target={target},mode=0400,uid=1000,gid=1000"
        )
    # The directory of the first connections.toml of Snowflake. Other secrets may have any value.
    if homes := [secret.name for secret in unit.secrets if secret.name.startswith(SNOWFLAKE_PREFIX)]:
        container.append(f"Environment=SNOWFLAKE_HOME=/run/secrets/{homes[0]}")
    service = [
        f"MemoryMax={limits.memory_bytes}",
        "MemorySwapMax=0",
        f"CPUQuota={round(limits.cpus * 100)}%",
        f"TasksMax={limits.tasks}",
        f"RuntimeMaxSec={limits.run_time_seconds}",
    ]
    if limits.grace_seconds is not None:
        service.append(f"TimeoutStopSec={limits.grace_seconds}")
    _check_tokens(line.partition("=")[2].removesuffix("%") for line in container + service)
    lines = ["[Container]", *container, "", "[Service]", *service, ""]
    if unit.egress:
        _check_tokens([unit.egress.socket_unit])
        socket = unit.egress.socket_unit
        lines = ["[Unit]", f"Wants={socket}", f"After={socket}", "", *lines]
    return "\n".join(lines)


def record_section(unit: JobUnit) -> str:
    """The lines behind the compiled unit, which make it run once and record its start and its end.

    Podman obeys the configuration for jobs alone.

    They replace Quadlet's ExecStop= and ExecStopPost=, which start a `podman rm` each although `--rm` has
    cleaned up already.
    """
    _check_paths(unit)
    attempt, hooks, cid_file = unit.attempt, unit.hooks, "%t/%N.cid"
    _check_tokens([attempt.claim])
    return "\n".join(
        [
            "",
            "# Added by ml-agent: one invocation only, and a record of how it ended.",
            "[Unit]",
            f"ConditionPathExists=!{attempt.mark(CLAIMED)}",
            "",
            "[Service]",
            f"Environment=CONTAINERS_CONF={unit.containers_conf}",
            f"UnsetEnvironment={' '.join(UNSET_VARIABLES)}",
            # systemd makes it before the first process, and starts none for it.
            f"RuntimeDirectory={attempt.claim}",
            "RuntimeDirectoryPreserve=yes",
            f"ExecStartPost={hooks}/ml-job-started {attempt.mark(STARTED)}",
            "ExecStop=",
            f"ExecStop={hooks}/ml-job-stopping {attempt.mark(STOPPING)} {cid_file}",
            "ExecStopPost=",
            f"ExecStopPost={hooks}/ml-job-ended {attempt.mark(ENDED)} {cid_file} %N",
            "",
        ]
    )


def _check_paths(unit: JobUnit) -> None:
    paths = [unit.snapshot, unit.attempt.directory, unit.hooks, unit.seccomp, unit.containers_conf]
    paths += [unit.egress.directory] if unit.egress else []
    paths += [unit.inputs] if unit.inputs else []
    for path in map(str, paths):
        if not PATH_TOKEN.fullmatch(path):
            raise _unwritable(f"The path {path!r}", "directories of letters, digits and @._=/+-")


def _check_tokens(values: Iterable[str]) -> None:
    for value in values:
        if not TOKEN.fullmatch(value):
            raise _unwritable(repr(value), "directories and names of letters, digits and @._:,=/+-")


def _unwritable(what: str, usable: str) -> AgentError:
    return misconfigured(f"{what} cannot be written into a unit file.", f"Use only {usable}.")


async def demand_enforced_limits(units: Units) -> None:
    """Raises `AgentError` (configuration) if limits have no effect here.

    systemd accepts MemoryMax= and the like without the cgroup controller for it, and then enforces nothing.
    """
    if missing := NEEDED - await units.controllers():
        raise misconfigured(
            "This host cannot enforce the limits of jobs: systemd's user manager lacks the cgroup controllers"
            f" {', '.join(sorted(missing))}. An operator can delegate them (docs/operations.md), or let jobs"
            " run without limits (jobs.unenforced_limits).",
        )
