"""A job as a systemd unit: the drop-in with the job's tokens, and the host's Quadlet generator.

The text is made of the site's template and of tokens that the agent made itself. The host's own generator
compiles one job at a time in a private directory, since one malformed file makes it drop every unit
(podman-systemd.unit(5)).
"""

import asyncio
import re
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import AgentError, Problem
from ..host.podman import Mounted
from ..model.base import unit_name
from ..model.inputs import Limits
from ..model.paths import CLAIMED, ENDED, STARTED, STOPPING
from .policy import Terms, objections

TEMPLATE = "ml-job@.container"
SECCOMP = "ml-job.seccomp.json"  # beside the template
GENERATORS = (
    Path("/usr/libexec/podman/quadlet"),
    Path("/usr/lib/podman/quadlet"),
    Path("/usr/lib/systemd/user-generators/podman-user-generator"),
)
COMPILE_TIMEOUT = 30.0  # seconds; it takes milliseconds
MAX_KNOWN = 64  # compiled units that are kept for other jobs, of some kilobytes each

EGRESS_PLACE = "/run/ml-egress"  # where a job sees the directory of its proxy's socket

# No white space, quote, specifier, `$`, backslash or line break: nothing that systemd or Quadlet would read.
TOKEN = re.compile(r"[A-Za-z0-9@._:,=/+-]+")

# Paths are parts of Volume= too, where a colon and a comma separate.
PATH_TOKEN = re.compile(r"/[A-Za-z0-9@._=/+-]*")


@dataclass(frozen=True)
class Egress:
    """The proxy that enforces a list of targets: its socket unit, and the directory that holds its socket."""

    socket_unit: str
    directory: Path


@dataclass(frozen=True)
class Plan:
    """Everything of a job that its unit says; every value is the agent's or the site's own."""

    job_id: str
    image: str  # by digest
    network: str  # what podman's --network= takes
    limits: Limits
    snapshot: Path
    directory: Path  # the attempt's own: input/, artifacts/ and the unit's marks
    claim: str  # the directory that is its claim, below $XDG_RUNTIME_DIR
    hooks: Path  # the directory with the programs ml-job-started, ml-job-stopping and ml-job-ended
    seccomp: Path  # the filter of system calls
    state: Path  # the agent's own directory, which no volume may show
    secrets: Sequence[Mounted] = ()
    egress: Egress | None = None  # where the job's only way out is a proxy


def volumes(plan: Plan) -> list[str]:
    """What of the host the job sees, as Volume= says it."""
    mounts = [
        f"{plan.snapshot}:/scripts:ro",
        f"{plan.directory}/input:/run/ml-job:ro",
        f"{plan.directory}/artifacts:/artifacts:rw",
    ]
    return [*mounts, f"{plan.egress.directory}:{EGRESS_PLACE}:ro"] if plan.egress else mounts


def drop_in(plan: Plan) -> str:
    """The job's `50-job.conf`, merged into the site's template by the generator."""
    _check_paths(plan)
    limits = plan.limits
    assert limits.memory_bytes is not None
    assert limits.cpus is not None
    assert limits.artifact_bytes is not None
    container = [
        f"Image={plan.image}",
        f"Network={plan.network}",
        f"SeccompProfile={plan.seccomp}",
        # No file is larger than all of them may be together: a sparse one would cost nothing to make.
        f"Ulimit=fsize={limits.artifact_bytes}:{limits.artifact_bytes}",
        *(f"Volume={volume}" for volume in volumes(plan)),
    ]
    for secret in plan.secrets:
        target = f"/run/secrets/{secret.name}/connections.toml"
        container.append(
            f"Secret={secret.podman_secret},type=mount,target={target},mode=0400,uid=1000,gid=1000"
        )
    if plan.secrets:
        container.append(f"Environment=SNOWFLAKE_HOME=/run/secrets/{plan.secrets[0].name}")
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
    if plan.egress:
        _check_tokens([plan.egress.socket_unit])
        socket = plan.egress.socket_unit
        lines = ["[Unit]", f"Wants={socket}", f"After={socket}", "", *lines]
    return "\n".join(lines)


def record_section(plan: Plan) -> str:
    """What follows the compiled unit: how it proves that it ran, and how it ended.

    It comes after Quadlet's own lines because it replaces some: Quadlet's ExecStop= and ExecStopPost= start
    a `podman rm` each, although `--rm` has cleaned up already.
    """
    _check_paths(plan)
    _check_tokens([plan.claim])
    directory, hooks, cid_file = plan.directory, plan.hooks, "%t/%N.cid"
    return "\n".join(
        [
            "",
            "# Added by ml-agent: one invocation only, and a record of how it ended.",
            "[Unit]",
            f"ConditionPathExists=!{directory}/{CLAIMED}",
            "",
            "[Service]",
            # Made before the first process, and without one of its own.
            f"RuntimeDirectory={plan.claim}",
            "RuntimeDirectoryPreserve=yes",
            f"ExecStartPost={hooks}/ml-job-started {directory}/{STARTED}",
            "ExecStop=",
            f"ExecStop={hooks}/ml-job-stopping {directory}/{STOPPING}",
            "ExecStopPost=",
            f"ExecStopPost={hooks}/ml-job-ended {directory}/{ENDED} {cid_file} %N",
            "",
        ]
    )


def verify(text: str, plan: Plan) -> None:
    """Checks a compiled unit. The generator's exit status does not tell whether it took every line.

    Raises `AgentError` (configuration) that names what is missing.
    """
    starts = [line for line in text.splitlines() if re.match(r"ExecStart\s*=", line)]
    wrong = objections(starts[0].partition("=")[2], _terms(plan)) if starts else []
    if len(starts) != 1:
        wrong.append(f"it has {len(starts)} ExecStart= lines")
    if wrong:
        raise AgentError(
            Problem.CONFIGURATION,
            f"The unit compiled for the job is not safe to start: {', '.join(wrong)}.",
            f"Check the drop-ins of {TEMPLATE} (docs/cage.md); `ml-agent doctor` compiles a harmless job.",
        )


def _terms(plan: Plan) -> Terms:
    return Terms(
        image=plan.image,
        network=plan.network,
        seccomp=plan.seccomp,
        volumes=volumes(plan),
        secrets=[each.podman_secret for each in plan.secrets],
        state=plan.state,
        home=Path.home(),
    )


@dataclass(frozen=True)
class _Sources:
    """All that a compiled unit depends on, but for its job's id, which `job` is split at."""

    generator: tuple[Path, int, int]
    template: bytes
    policy: tuple[tuple[str, bytes], ...]
    job: tuple[str, ...]


class Compiler:
    """Compiles jobs with the generator of the host's Podman.

    `policies` are the directories that may hold drop-ins (`ml-job@.container.d/*.conf`) or a whole
    replacement of the packaged template, or of the filter of system calls; the last one wins.
    `said` is what the generator said when it was last asked: it leaves out a drop-in that it cannot parse.
    """

    def __init__(self, template: Path, policies: Iterable[Path], scratch: Path) -> None:
        self._template = template
        self._policies = tuple(policies)
        self._scratch = scratch
        self._known: dict[_Sources, tuple[str, ...]] = {}
        self.said = ""

    async def compile(self, plan: Plan) -> str:
        """The text of `ml-job@<id>.service`, verified. Raises `AgentError` (configuration, host).

        The generator is not asked again where it would read what it has read for another job, but for the id.
        """
        plan = replace(plan, seccomp=self._newest(SECCOMP, plan.seccomp))
        sources = self._sources(plan)
        if (known := self._known.get(sources)) is None:
            text, self.said = await asyncio.to_thread(self._generate, sources, plan)
            while len(self._known) >= MAX_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[sources] = tuple(text.split(plan.job_id))
        else:
            text = plan.job_id.join(known)
        verify(text, plan)
        return _trimmed(text, plan) + record_section(plan)

    def _sources(self, plan: Plan) -> _Sources:
        program = generator()
        state = program.stat()
        files = [file for each in self._policies for file in (each / f"{TEMPLATE}.d").glob("*.conf")]
        try:
            template = self._newest(TEMPLATE, self._template).read_bytes()
            # Of two with the same name, the last policy's.
            policy = {file.name: file.read_bytes() for file in files}
        except OSError as error:
            raise AgentError(
                Problem.CONFIGURATION,
                f"The policy for jobs cannot be read: {error.filename}: {error.strerror}.",
                f"The service account needs to read {TEMPLATE} and its drop-ins.",
            ) from error
        return _Sources(
            generator=(program, state.st_mtime_ns, state.st_size),
            template=template,
            policy=tuple(sorted(policy.items())),
            job=tuple(drop_in(plan).split(plan.job_id)),
        )

    def _generate(self, sources: _Sources, plan: Plan) -> tuple[str, str]:
        self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=self._scratch, prefix=plan.job_id + "-", ignore_cleanup_errors=True
        ) as directory:
            source, target = Path(directory, "in"), Path(directory, "out")
            for part in (source, target, source / f"{TEMPLATE}.d"):
                part.mkdir()
            for name, text in sources.policy:
                (source / f"{TEMPLATE}.d" / name).write_bytes(text)
            (source / TEMPLATE).write_bytes(sources.template)
            (source / f"ml-job@{plan.job_id}.container").symlink_to(TEMPLATE)
            job = source / f"ml-job@{plan.job_id}.container.d"
            job.mkdir()
            (job / "50-job.conf").write_text(plan.job_id.join(sources.job), "utf-8")
            return _generated(source, target, plan)

    def _newest(self, name: str, packaged: Path) -> Path:
        return next((each / name for each in self._policies[::-1] if (each / name).is_file()), packaged)


def _generated(source: Path, target: Path, plan: Plan) -> tuple[str, str]:
    """The compiled unit, and what the generator said of it."""
    try:
        done = subprocess.run(
            [generator(), "-user", "-no-kmsg-log", target],
            env={"QUADLET_UNIT_DIRS": str(source), "PATH": "/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=COMPILE_TIMEOUT,
            check=False,  # it does not tell whether it took every line
        )
    except subprocess.TimeoutExpired as error:
        raise AgentError(
            Problem.HOST, f"Podman's Quadlet generator took longer than {COMPILE_TIMEOUT:g} s."
        ) from error
    said = _said(done.stdout.decode("utf-8", "replace"), source)
    try:
        return (target / unit_name(plan.job_id)).read_text("utf-8"), said
    except OSError as error:
        raise AgentError(
            Problem.CONFIGURATION,
            f"Quadlet refused the job's unit: {said or 'it printed nothing'}.",
            f"Check the drop-ins of {TEMPLATE}.",
        ) from error


def _said(output: str, source: Path) -> str:
    """What the generator wrote, in one line: each message comes twice, and of the template besides.

    The template alone need not be a whole unit, and is none that anybody starts.
    """
    lines = re.sub(r"quadlet-generator\[\d+\]: ", "", output).replace(f"{source}/", "").splitlines()
    of_jobs = [line for line in lines if not line.startswith(f'converting "{TEMPLATE}"')]
    return "; ".join(dict.fromkeys(filter(None, of_jobs)))[-500:]


def _trimmed(text: str, plan: Plan) -> str:
    """A compiled unit without what is of no use to this one: where it was made of, and mounts to wait for.

    The source is a scratch file that is gone when an operator looks for it. What the agent has just written
    is mounted, and systemd would look for a mount unit at each step of each path, at each start.
    """
    mounted = ["%t/containers", *(volume.partition(":")[0] for volume in volumes(plan))]
    useless = {f"RequiresMountsFor={path}" for path in mounted}
    lines = [line for line in text.splitlines() if line not in useless and not line.startswith("SourcePath=")]
    return "\n".join(lines) + "\n"


def generator() -> Path:
    """The Quadlet generator of this host. Raises `AgentError` (host) where there is none."""
    for path in GENERATORS:
        if path.exists():
            return path
    raise AgentError(Problem.HOST, "Podman's Quadlet generator is missing.", "Install Podman 5.3 or newer.")


def _check_paths(plan: Plan) -> None:
    paths = [plan.snapshot, plan.directory, plan.hooks, plan.seccomp]
    for path in [*paths, plan.egress.directory] if plan.egress else paths:
        if not PATH_TOKEN.fullmatch(str(path)):
            raise AgentError(
                Problem.CONFIGURATION,
                f"The path {str(path)!r} cannot be written into a unit file.",
                "Use directories of letters, digits and @._=/+- only.",
            )


def _check_tokens(values: Iterable[str]) -> None:
    for value in values:
        if not TOKEN.fullmatch(value):
            raise AgentError(
                Problem.CONFIGURATION,
                f"{value!r} cannot be written into a unit file.",
                "Use directories and names of letters, digits and @._:,=/+- only.",
            )
