"""What `ml-agent doctor` looks at: what a host must have, should have, and how to mend what is missing."""

import asyncio
import contextlib
import getpass
import grp
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ...config import Settings, shipped
from ...errors import AgentError
from ...host.podman import Host, Podman, Secret
from ...identity import authority, rotation
from ...identity.key_files import key_file
from ...model.base import new_job_id, unit_name
from ...model.inputs import Limits
from ...runtime.quadlet import SECCOMP, TEMPLATE, Compiler, generator
from ...runtime.unit import JobUnit
from ...scripts.snapshots import Snapshots
from ...store.store import Store
from .findings import (
    AUTHORITY_WARN,
    Finding,
    Level,
    declared_secrets,
    expiring_clients,
    ignored_lines,
    judge,
    listening_ports,
    rate_limit_is_off,
    rotation_under_way,
    undefined_networks,
    version_of,
)
from .install import JOURNAL_GROUP, SOCKET
from .provision import RENEWED_BEFORE

PODMAN_MINIMUM = (5, 3)  # [Quadlet] DefaultDependencies=
SYSTEMD_MINIMUM = (254, 0)  # RestartSteps=, and %S of user units below ~/.local/state
SUBORDINATE_IDS = 65_536  # what an image may use
CONTROLLERS = {"cpu", "cpuset", "io", "memory", "pids"}
FREE_WARN, FREE_FAIL = 2 * 2**30, 256 * 2**20  # bytes
COMMAND_TIMEOUT = 20.0  # seconds
_CHECK_DROP_INS = f'Check the drop-ins of {TEMPLATE}: docs/configuration.md, "The policy for jobs".'


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """Every finding, in the order in which an administrator would mend things."""
    yield await _systemd()
    yield await _manager()
    yield await _linger()
    async with Podman(settings.podman_socket) as podman:
        async for finding in _podman(settings, podman):
            yield finding
    yield await _quadlet(settings)
    async for finding in _journal():
        yield finding
    yield await _clock()
    yield _disk(settings)
    for finding in _server_certificates(settings):
        yield finding
    async for finding in _client_certificates(settings):
        yield finding
    yield await _socket(settings)


async def _systemd() -> Finding:
    version = version_of(await _output("systemctl", "--version"))
    return judge(
        "systemd",
        good=version >= SYSTEMD_MINIMUM,
        seen=str(version[0] or "not found"),
        remedy=f"Version {SYSTEMD_MINIMUM[0]} or newer is needed: upgrade the host.",
    )


async def _manager() -> Finding:
    state = (await _output("systemctl", "--user", "is-system-running")).strip()
    return judge(
        "user manager",
        good=state in ("running", "degraded", "starting"),
        seen=state or "does not answer",
        remedy="Log in to the account itself (ssh, machinectl shell), not with su or sudo.",
    )


async def _linger() -> Finding:
    user = getpass.getuser()
    lingers = (await _output("loginctl", "show-user", user, "--property=Linger", "--value")).strip() == "yes"
    return judge(
        "linger",
        good=lingers,
        seen="yes" if lingers else "no: systemd ends the jobs when the last session of the account ends",
        remedy=f"`sudo loginctl enable-linger {user}`",
    )


async def _podman(settings: Settings, podman: Podman) -> AsyncIterator[Finding]:
    try:
        host = await podman.host()
    except AgentError as error:
        yield Finding("podman", Level.FAIL, error.message, error.hint)
        return
    yield judge(
        "podman",
        good=version_of(host.version) >= PODMAN_MINIMUM,
        seen=host.version,
        remedy=f"Version {'.'.join(map(str, PODMAN_MINIMUM))} or newer is needed.",
    )
    for finding in _account(host):
        yield finding
    image = await podman.image(settings.jobs.image)
    yield judge(
        "image",
        good=image is not None,
        seen=f"{settings.jobs.image} {image.digest[:19] if image else 'is missing'}",
        remedy="`systemctl --user start ml-runner-build.service` builds the one that is shipped.",
    )
    async for finding in _scripts(settings, await podman.secrets()):
        yield finding


def _account(host: Host) -> Iterable[Finding]:
    user = getpass.getuser()
    yield judge(
        "subordinate ids",
        good=host.subordinate_ids >= SUBORDINATE_IDS,
        seen=str(host.subordinate_ids),
        remedy=f"`sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}`"
        " (a free range), then `podman system migrate`",
    )
    missing = CONTROLLERS - host.controllers if host.cgroup_version == "v2" else CONTROLLERS
    lacking = f", not delegated: {' '.join(sorted(missing))}; such limits of jobs do not hold"
    yield judge(
        "controllers",
        good=not missing,
        seen=f"cgroup {host.cgroup_version}{lacking if missing else ''}",
        remedy=f"`sudo ml-agent install --system --account {user}`, then reboot",
        otherwise=Level.WARN,
    )


async def _scripts(settings: Settings, secrets: list[Secret]) -> AsyncIterator[Finding]:
    repository = settings.scripts.repository
    snapshots = Snapshots(repository, settings.scripts.directory, settings.snapshots_directory)
    try:
        catalogue = await snapshots.catalogue(await snapshots.resolve())
    except AgentError as error:
        yield Finding("scripts", Level.FAIL, error.message, error.hint)
        return
    yield judge(
        "scripts",
        good=bool(catalogue.scripts),
        seen=f"{len(catalogue.scripts)} in {repository} at {catalogue.commit[:12]}",
        remedy=f"Commit a script to {settings.scripts.directory}/.",
        otherwise=Level.WARN,
    )
    for name, why in (await snapshots.malformed(catalogue.commit)).items():
        seen = f"is not listed and cannot be run: {why}"
        yield Finding(f"script {name}", Level.WARN, seen, "Mend its ml-job block: docs/scripts.md.")
    for finding in declared_secrets(catalogue.scripts, secrets):
        yield finding
    for finding in undefined_networks(catalogue.scripts, settings.network):
        yield finding


async def _quadlet(settings: Settings) -> Finding:
    plan = _harmless(settings)
    with tempfile.TemporaryDirectory() as scratch:
        compiler = Compiler(shipped("quadlets") / TEMPLATE, settings.policy_directories, Path(scratch))
        unit = Path(scratch, unit_name(plan.job_id))
        try:
            unit.write_text(await compiler.compile(plan), "utf-8")
            program = str(generator())
        except AgentError as error:
            return Finding("quadlet", Level.FAIL, error.message, error.hint or _CHECK_DROP_INS)
        verified = await _output("systemd-analyze", "--user", "verify", str(unit), errors=True)
    ignored = [compiler.messages] if compiler.messages else []
    ignored += ignored_lines(verified, unit)
    return judge(
        "quadlet",
        good=not ignored,
        seen=f"of the policy for jobs, not all is taken: {'; '.join(ignored)}" if ignored else program,
        remedy=_CHECK_DROP_INS,
        otherwise=Level.WARN,
    )


def _harmless(settings: Settings) -> JobUnit:
    """A job that nobody sent, which is compiled with the site's policy and never started."""
    job_id = new_job_id()
    return JobUnit(
        job_id=job_id,
        image=settings.jobs.image,
        network="none",
        limits=settings.jobs.resolve(Limits()),
        snapshot=settings.snapshots_directory / "none",
        attempt=settings.paths_of(job_id).attempt(1),
        hooks=shipped("units"),
        seccomp=shipped("quadlets") / SECCOMP,
        state=settings.state_directory,
    )


async def _journal() -> AsyncIterator[Finding]:
    user = getpass.getuser()
    readable = bool(await _output("journalctl", "--user", "--quiet", "--lines=1", "--output=cat"))
    yield judge(
        "journal",
        good=readable,
        seen="readable" if readable else "the account cannot read its own entries",
        remedy=f"`sudo ml-agent install --system --account {user}` makes it persistent;"
        " an account below uid 1000 also needs the group systemd-journal.",
    )
    told = await _manager_is_in(JOURNAL_GROUP)
    untold = f"not shown: the account's manager is not in the group {JOURNAL_GROUP}, which may read of them"
    yield judge(
        "lost lines",
        good=told,
        seen="shown as gaps" if told else untold,
        remedy=f"`sudo ml-agent install --system --account {user}`, then reboot",
        otherwise=Level.WARN,
    )
    machine = Path("/etc/machine-id").read_text().strip()
    persistent = (Path("/var/log/journal") / machine).is_dir()
    unthrottled = rate_limit_is_off(await _output("systemd-analyze", "cat-config", "systemd/journald.conf"))
    limit = (
        "no rate limit" if unthrottled else "rate limit: one chatty job makes journald drop all jobs' lines"
    )
    yield judge(
        "log retention",
        good=persistent and unthrottled,
        seen=f"{'persistent' if persistent else 'lost at reboot'}, {limit}",
        remedy=f"`sudo ml-agent install --system --account {user}`",
        otherwise=Level.WARN,
    )


async def _manager_is_in(group: str) -> bool:
    """Whether what the user manager starts is in a group: as of the manager's own start."""
    unit = f"user@{os.getuid()}.service"
    manager = (await _output("systemctl", "show", unit, "--property=MainPID", "--value")).strip()
    try:
        status = Path("/proc", manager, "status").read_text()
        wanted = str(grp.getgrnam(group).gr_gid)
    except (OSError, KeyError):
        return False
    lines = (line.split() for line in status.splitlines())
    return any(words[0] == "Groups:" and wanted in words for words in lines if words)


async def _clock() -> Finding:
    synchronised = await _output("timedatectl", "show", "--property=NTPSynchronized", "--value")
    return judge(
        "clock",
        good=synchronised.strip() == "yes",
        seen={"yes": "synchronised", "no": "not synchronised"}.get(synchronised.strip(), "cannot be told"),
        remedy="`sudo timedatectl set-ntp true`: certificates are good or bad by this clock.",
        otherwise=Level.WARN,
    )


def _disk(settings: Settings) -> Finding:
    path = settings.state_directory
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    level = Level.FAIL if free < FREE_FAIL else Level.WARN
    return judge(
        "disk",
        good=free >= FREE_WARN,
        seen=f"{free / 2**30:.1f} GiB free at {path}",
        remedy="Make room.",
        otherwise=level,
    )


def _server_certificates(settings: Settings) -> Iterable[Finding]:
    directory = settings.pki_directory
    kinds = (
        ("authority", "ca", AUTHORITY_WARN, "`ml-agent rotate-ca` begins to replace it."),
        ("server certificate", "server", RENEWED_BEFORE, "`ml-agent renew` makes a new one."),
    )
    for subject, name, early, remedy in kinds:
        try:
            certificate = authority.certificates(directory / f"{name}.crt")[0]
            key_file(directory, name, certificate)
        except AgentError as error:
            yield Finding(subject, Level.FAIL, error.message, error.hint)
            continue
        left = certificate.not_valid_after_utc - datetime.now(UTC)
        yield judge(
            subject,
            good=left > early,
            seen=f"valid until {certificate.not_valid_after_utc:%Y-%m-%d}",
            remedy=remedy,
            otherwise=Level.WARN if left > timedelta() else Level.FAIL,
        )


async def _client_certificates(settings: Settings) -> AsyncIterator[Finding]:
    if not settings.database.exists():
        yield Finding("clients", Level.WARN, "no certificate issued", "`ml-agent issue USER`")
        return
    async with Store.open(settings.database) as store:
        known = await store.certificates.all()
    moment = datetime.now(UTC)
    with contextlib.suppress(AgentError):  # said of the authority already
        trusted = authority.authorities(settings.pki_directory)
        yield expiring_clients(rotation.of_trusted(known, trusted), moment)
        if len(trusted) > 1:
            begun = trusted[0].not_valid_before_utc + authority.CLOCK_SKEW
            lifetime = timedelta(days=settings.certificates.client_days)
            yield rotation_under_way(begun, rotation.not_renewed(known, trusted), moment, lifetime)


async def _socket(settings: Settings) -> Finding:
    state = (await _output("systemctl", "--user", "is-active", SOCKET)).strip()
    ports = listening_ports(await _output("systemctl", "--user", "show", "--property=Listen", SOCKET))
    port = settings.http.port
    elsewhere = bool(ports) and port not in ports
    where = f" on port {', '.join(map(str, ports))}, and http.port is {port}" if elsewhere else ""
    return judge(
        "socket",
        good=state == "active" and not elsewhere,
        seen=f"{SOCKET} is {state or 'unknown'}{where}",
        remedy="`ml-agent install` places the units and starts it.",
    )


async def _output(*command: str, errors: bool = False) -> str:
    """What a command prints, empty where it cannot be run or takes too long; its exit status is not asked.

    With `errors` it is what it writes to stderr, too.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT if errors else asyncio.subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
        )
    except OSError:
        return ""
    try:
        output, _ = await asyncio.wait_for(process.communicate(), COMMAND_TIMEOUT)
    except TimeoutError:
        process.kill()
        await process.wait()
        return ""
    return output.decode(errors="replace")
