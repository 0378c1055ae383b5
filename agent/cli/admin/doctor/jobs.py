"""The doctor's checks of what jobs need: Podman, the image, and units that compile."""

import getpass
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from ....config import Settings, shipped
from ....errors import AgentError
from ....host.images import Image
from ....host.machine import output
from ....host.podman import Host, Podman
from ....model.base import job_id_of_container, new_job_id, unit_name
from ....model.inputs import Limits
from ....runtime.quadlet import CONTAINERS_CONF, SECCOMP, TEMPLATE, Compiler, generator
from ....runtime.unit import NEEDED, JobUnit
from ...checks import Finding, Level, advise, judge
from ..install import LIST_LIVE_UNITS, delegation, recipe
from .findings import ignored_lines, version_of

PODMAN_MINIMUM = (5, 3)  # [Quadlet] DefaultDependencies=
SUBORDINATE_IDS = 65_536  # what an image may use
CONTROLLERS = NEEDED | {"cpuset", "io"}
# What Podman obeys elsewhere, and jobs do not, in a directory of its configuration.
IGNORED = ("containers.conf", "containers.conf.d/*.conf", "mounts.conf", "oci/hooks.d/*.json")
_CHECK_DROP_INS = f'Check the drop-ins of {TEMPLATE}: docs/configuration.md, "The policy for jobs".'


async def podman(settings: Settings, podman: Podman) -> AsyncIterator[Finding]:
    """Podman itself, the account's ids and controllers, and the image."""
    try:
        host = await podman.host()
    except AgentError as error:
        yield Finding("podman", Level.FAIL, error.message, error.hint)
        return
    yield judge(
        "podman",
        good=version_of(host.version) >= PODMAN_MINIMUM,
        seen=host.version,
        remedy=f"Install version {'.'.join(map(str, PODMAN_MINIMUM))} or newer.",
    )
    yield judge(
        "subordinate ids",
        good=host.subordinate_ids >= SUBORDINATE_IDS,
        seen=str(host.subordinate_ids),
        remedy="`sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535"
        f" {getpass.getuser()}` (a free range), then `podman system migrate`",
    )
    yield controllers(
        host,
        refused=settings.jobs.unenforced_limits == "refuse",
        offered=_offered(),
        installed=delegation(os.getuid()).exists(),
    )
    yield image(settings.jobs.image, await podman.image(settings.jobs.image), recipe())


def image(name: str, found: Image | None, recipe: str) -> Finding:
    """Whether the image of jobs is there, and was built from the files that are installed now (`recipe`)."""
    stale = found is not None and found.recipe not in ("", recipe)
    return judge(
        "image",
        good=found is not None and not stale,
        seen=f"{name} {found.digest[:19] if found else 'is missing'}"
        + (", built from other files than those that are installed" if stale else ""),
        remedy="`systemctl --user start ml-runner-build.service` builds the image that is shipped.",
        otherwise=Level.WARN if found else Level.FAIL,
    )


def _offered() -> frozenset[str]:
    """The controllers that the kernel, or whoever runs this container, offers (cgroups(7))."""
    try:
        return frozenset(Path("/sys/fs/cgroup/cgroup.controllers").read_text("ascii").split())
    except OSError:
        return frozenset()


def controllers(host: Host, *, refused: bool, offered: frozenset[str], installed: bool) -> Finding:
    """Which cgroup controllers limit jobs. `refused`: without those for its limits, no job starts.

    `offered` are the whole host's. `installed`: they are delegated from the next boot on.
    """
    missing = CONTROLLERS - host.controllers if host.cgroup_version == "v2" else CONTROLLERS
    fatal = refused and not NEEDED.isdisjoint(missing)
    effect = "no job starts (jobs.unenforced_limits)" if fatal else "jobs run without these limits"
    return judge(
        "controllers",
        good=not missing,
        seen=f"cgroup {host.cgroup_version}"
        + (f", not delegated: {' '.join(sorted(missing))}; {effect}" if missing else ""),
        remedy=_how_to_delegate(missing - offered, installed=installed),
        otherwise=Level.FAIL if fatal else Level.WARN,
    )


def _how_to_delegate(not_offered: frozenset[str] | set[str], *, installed: bool) -> str:
    if not_offered:
        return (
            f"The host itself has no {' '.join(sorted(not_offered))}. Boot with cgroup version 2"
            " (`systemd.unified_cgroup_hierarchy=1`), with `cgroup_enable=memory` where the kernel needs it;"
            " a container gets them from whoever runs it."
        )
    if installed:
        return "Reboot: the delegation takes effect when the user manager starts."
    return f"`sudo ml-agent install --system --account {getpass.getuser()}`, then reboot"


async def leftovers(podman: Podman) -> Finding:
    """Containers of jobs whose units have ended."""
    live = await output(*LIST_LIVE_UNITS, "ml-job@*")
    units = {line.split()[0] for line in live.splitlines() if line}
    names = sorted(await podman.containers())
    left = [name for name in names if (job := job_id_of_container(name)) and unit_name(job) not in units]
    return advise(
        "leftovers",
        good=not left,
        seen=f"containers of jobs that have ended, which may hold copies of secrets: {', '.join(left)}"
        if left
        else "no container of a job that has ended",
        remedy="The agent removes them while it runs; `journalctl --user -u ml-agent` says why it cannot."
        f" By hand: `podman rm --force --volumes {' '.join(left)}`, twice if it fails.",
    )


async def quadlet(settings: Settings) -> Finding:
    """Whether Quadlet and systemd accept a job's unit, every line of the site's policy included."""
    job = _harmless(settings)
    with tempfile.TemporaryDirectory() as scratch:
        compiler = Compiler(shipped("quadlets") / TEMPLATE, settings.policy_directories, Path(scratch))
        unit = Path(scratch, unit_name(job.job_id))
        try:
            unit.write_text(await compiler.compile(job), "utf-8")
            program = str(generator())
        except AgentError as error:
            return Finding("quadlet", Level.FAIL, error.message, error.hint or _CHECK_DROP_INS)
        verified = await output("systemd-analyze", "--user", "verify", str(unit), errors=True)
    ignored = [compiler.messages] if compiler.messages else []
    ignored += ignored_lines(verified, unit)
    if others := ignored_by_jobs():
        program += f"; jobs ignore {', '.join(map(str, others))}"
    return advise(
        "quadlet",
        good=not ignored,
        seen=f"lines of the policy for jobs are ignored: {'; '.join(ignored)}" if ignored else program,
        remedy=_CHECK_DROP_INS,
    )


def ignored_by_jobs() -> list[Path]:
    """The host's and the account's configuration of Podman that jobs do not obey (docs/cage.md)."""
    account = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    directories = (Path("/etc/containers"), account / "containers")
    return [path for each in directories for pattern in IGNORED for path in sorted(each.glob(pattern))]


def _harmless(settings: Settings) -> JobUnit:
    """A job that nobody submitted, compiled with the site's policy and never started."""
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
        containers_conf=shipped("quadlets") / CONTAINERS_CONF,
        state=settings.state_directory,
    )
