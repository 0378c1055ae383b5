"""Compiles a job's unit with the host's Quadlet generator (podman-systemd.unit(5)), and checks the result.

Each job is compiled alone in a private directory: one malformed file makes the generator drop every unit.
"""

import asyncio
import re
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import host_failed, misconfigured
from ..logs.lines import SYSTEMD_CAT
from ..model.base import unit_name
from .policy import Terms, configuration_objections, objections
from .unit import JobUnit, drop_in, record_section, template_for, volumes

TEMPLATE = "ml-job@.container"
SECCOMP = "ml-job.seccomp.json"  # the system call filter, beside the template
CONTAINERS_CONF = "ml-job.containers.conf"  # Podman's configuration for jobs, beside the template
GENERATORS = (
    Path("/usr/libexec/podman/quadlet"),
    Path("/usr/lib/podman/quadlet"),
    Path("/usr/lib/systemd/user-generators/podman-user-generator"),
)
COMPILE_TIMEOUT = 30.0  # seconds; a compilation takes milliseconds
MAX_KNOWN = 64  # compiled units of a few kilobytes that are kept for other jobs


def verify(text: str, unit: JobUnit) -> None:
    """Checks a compiled unit, since the generator drops lines without an error.

    Raises `AgentError` (configuration) that lists what is wrong.
    """
    starts = [line for line in text.splitlines() if re.match(r"ExecStart\s*=", line)]
    terms = Terms(
        image=unit.image,
        network=unit.network,
        seccomp=unit.seccomp,
        volumes=volumes(unit),
        secrets=[each.podman_secret for each in unit.secrets],
        state=unit.state,
        home=Path.home(),
    )
    wrong = objections(starts[0].partition("=")[2], terms) if starts else []
    if len(starts) != 1:
        wrong.append(f"it has {len(starts)} ExecStart= lines")
    if wrong:
        raise misconfigured(
            f"The unit compiled for the job is not safe to start: {', '.join(wrong)}.",
            f"Check the drop-ins of {TEMPLATE} (docs/cage.md); `ml-agent doctor` compiles a harmless job.",
        )


@dataclass(frozen=True)
class _Sources:
    """Everything that a compiled unit depends on except the job id; `job` is the drop-in, split at the id."""

    generator: tuple[Path, int, int]
    template: bytes
    policy: tuple[tuple[str, bytes], ...]
    job: tuple[str, ...]


class Compiler:
    """Compiles jobs with the generator of the host's Podman, in a directory below `scratch`.

    `policies` are directories with the site's drop-ins (`ml-job@.container.d/*.conf`), or with files that
    replace the packaged template, system call filter or Podman configuration. The last directory wins.
    `messages` is what the generator printed when it last ran: it drops a drop-in that it cannot parse.
    """

    def __init__(self, template: Path, policies: Iterable[Path], scratch: Path) -> None:
        self._template = template
        self._policies = tuple(policies)
        self._scratch = scratch
        self._known: dict[_Sources, tuple[str, ...]] = {}
        self.messages = ""

    async def compile(self, unit: JobUnit) -> str:
        """The text of `ml-job@<id>.service`, verified. Raises `AgentError` (configuration, host).

        The generator does not run again for a job that differs from an earlier one in its id alone.
        """
        unit = replace(
            unit,
            seccomp=self._newest(SECCOMP, unit.seccomp),
            containers_conf=_checked(self._newest(CONTAINERS_CONF, unit.containers_conf)),
        )
        sources = self._sources(unit)
        if (known := self._known.get(sources)) is None:
            text, self.messages = await asyncio.to_thread(self._generate, sources, unit)
            while len(self._known) >= MAX_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[sources] = tuple(text.split(unit.job_id))
        else:
            text = unit.job_id.join(known)
        verify(text, unit)
        return _trimmed(text, unit) + record_section(unit)

    def _sources(self, unit: JobUnit) -> _Sources:
        program = generator()
        state = program.stat()
        files = [file for each in self._policies for file in (each / f"{TEMPLATE}.d").glob("*.conf")]
        try:
            template = self._newest(TEMPLATE, self._template).read_text("utf-8", "surrogateescape")
            # Of two files with the same name, the last one counts.
            policy = {file.name: file.read_bytes() for file in files}
        except OSError as error:
            raise misconfigured(
                f"The template of jobs cannot be read: {error.filename}: {error.strerror}.",
                f"The service account must be able to read {TEMPLATE} and its drop-ins.",
            ) from error
        return _Sources(
            generator=(program, state.st_mtime_ns, state.st_size),
            template=template_for(unit, template).encode("utf-8", "surrogateescape"),
            policy=tuple(sorted(policy.items())),
            job=tuple(drop_in(unit).split(unit.job_id)),
        )

    def _generate(self, sources: _Sources, unit: JobUnit) -> tuple[str, str]:
        self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=self._scratch, prefix=unit.job_id + "-", ignore_cleanup_errors=True
        ) as directory:
            source, target = Path(directory, "in"), Path(directory, "out")
            for part in (source, target, source / f"{TEMPLATE}.d"):
                part.mkdir()
            for name, text in sources.policy:
                (source / f"{TEMPLATE}.d" / name).write_bytes(text)
            (source / TEMPLATE).write_bytes(sources.template)
            (source / f"ml-job@{unit.job_id}.container").symlink_to(TEMPLATE)
            job = source / f"ml-job@{unit.job_id}.container.d"
            job.mkdir()
            (job / "50-job.conf").write_text(unit.job_id.join(sources.job), "utf-8")
            return _generated(source, target, unit)

    def _newest(self, name: str, packaged: Path) -> Path:
        return next((each / name for each in self._policies[::-1] if (each / name).is_file()), packaged)


def _checked(containers_conf: Path) -> Path:
    """The file, if jobs may run with it. Raises `AgentError` (configuration)."""
    try:
        wrong = configuration_objections(containers_conf.read_text("utf-8"))
    except (OSError, ValueError) as error:
        wrong = [str(error)]
    if wrong:
        raise misconfigured(
            f"Podman's configuration for jobs, {containers_conf}, cannot be used: {', '.join(wrong)}.",
            "docs/cage.md lists what it may have; start from the packaged file.",
        )
    return containers_conf


def _generated(source: Path, target: Path, unit: JobUnit) -> tuple[str, str]:
    """The compiled unit, and what the generator printed."""
    try:
        done = subprocess.run(
            [generator(), "-user", "-no-kmsg-log", target],
            env={"QUADLET_UNIT_DIRS": str(source), "PATH": "/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=COMPILE_TIMEOUT,
            check=False,  # the status says little: it is 0 also if lines were dropped
        )
    except subprocess.TimeoutExpired as error:
        raise host_failed(f"Podman's Quadlet generator took longer than {COMPILE_TIMEOUT:g} s.") from error
    messages = _messages(done.stdout.decode("utf-8", "replace"), source)
    try:
        return (target / unit_name(unit.job_id)).read_text("utf-8"), messages
    except OSError as error:
        raise misconfigured(
            f"Quadlet refused the job's unit: {messages or 'it printed nothing'}.",
            f"Check the drop-ins of {TEMPLATE}.",
        ) from error


def _messages(output: str, source: Path) -> str:
    """The generator's messages in one line, without repetitions and without those about the template.

    The generator also compiles the template by itself, which nobody starts and which need not be complete.
    """
    lines = re.sub(r"quadlet-generator\[\d+\]: ", "", output).replace(f"{source}/", "").splitlines()
    of_jobs = [line for line in lines if not line.startswith(f'converting "{TEMPLATE}"')]
    return "; ".join(dict.fromkeys(filter(None, of_jobs)))[-500:]


def _trimmed(text: str, unit: JobUnit) -> str:
    """A compiled unit without SourcePath= and without RequiresMountsFor= of the agent's own paths.

    The source is a scratch file that no longer exists. The agent's paths are mounted, since it has just
    written there, and systemd would search a mount unit for each part of each path at each start.

    systemd connects stdout and stderr to one stream, in which a line of one runs into a line of the other
    that has no end yet. So systemd-cat(1) opens a stream for each, and executes Podman.
    """
    mounted = ["%t/containers", *(volume.partition(":")[0] for volume in volumes(unit))]
    useless = {f"RequiresMountsFor={path}" for path in mounted}
    lines = [line for line in text.splitlines() if line not in useless and not line.startswith("SourcePath=")]
    start = f"ExecStart={SYSTEMD_CAT} --identifier=%N "
    return "\n".join(re.sub("^ExecStart=", start, line) for line in lines) + "\n"


def generator() -> Path:
    """The Quadlet generator of this host. Raises `AgentError` (host) if there is none."""
    for path in GENERATORS:
        if path.exists():
            return path
    raise host_failed("Podman's Quadlet generator is missing.", "Install Podman 5.3 or newer.")
