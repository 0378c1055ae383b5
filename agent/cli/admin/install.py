"""`ml-agent install` and `uninstall`: what they change on a host, shown or carried out.

An installation is first made as a value: files, and commands before and after them.
"""

import contextlib
import grp
import hashlib
import os
import pwd
import re
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from ... import __version__
from ...config import Settings, default_runtime_directory, shipped, user_file
from ...config_files import load
from ...errors import AgentError, misconfigured
from ...identity import revocations
from ..installation import (
    DryRunOption,
    Installation,
    RuntimeOption,
    carried_out,
    carried_out_as_root,
    config_drop_in,
    demand_settings_in_files,
    enablement,
    executable,
    render,
    systemctl,
    unit_directories,
)
from ..terminal import Screen
from . import shared

app = typer.Typer()

SystemOption = Annotated[
    bool, typer.Option("--system", help="The host's part, as root: journald, delegation, lingering.")
]
AccountOption = Annotated[
    str | None, typer.Option("--account", metavar="ACCOUNT", help="With --system: the service account.")
]
SERVICE = "ml-agent.service"
SOCKET = "ml-agent.socket"
EGRESS = "ml-egress@.service"
SCHEDULES = ("ml-schedule@.service", "ml-schedules.path")
UNITS = (
    SOCKET,
    SERVICE,
    "ml-egress@.socket",
    EGRESS,
    "ml-podman.service",
    *SCHEDULES,
    "ml-jobs.slice",
    "ml.slice",
)
RUNNER = "ml-runner.build"
QUADLETS = (RUNNER,)
# Services that running jobs need. A pattern may match nothing.
FOR_JOBS = ("ml-podman.*", "ml-egress@*")
TIMERS = ("ml-schedule@*.timer", "ml-schedules.path")
CONFIG_DROP_INS = tuple(f"{service}.d/10-config.conf" for service in (SERVICE, EGRESS))

LIST_LIVE_UNITS = (
    *("systemctl", "--user", "list-units", "--plain", "--no-legend"),
    "--state=active,activating,reloading,deactivating",
)

DEFAULT_BASE = "docker.io/library/python:3.13-slim"

SYSTEM = Path("/etc/systemd")
JOURNALD_DROP_IN = SYSTEM / "journald.conf.d/50-ml-agent.conf"
JOURNAL_GROUP = "systemd-journal"

_LOCKED = re.compile(r"(?m)^([A-Za-z0-9._-]+)==([^\s;]+)")  # a line of a lock
_BASE = re.compile(r"(?m)^PodmanArgs=--build-arg=BASE=(\S+)$")  # as RUNNER has it


def of_user(settings: Settings, *, base: str | None = None, runtime: bool = False) -> Installation:
    """The service account's units and Quadlets; with `runtime`, until the next boot.

    Without a `base`, an installed image keeps the base that it has. Raises `AgentError` (configuration)
    where a setting is in the environment, or cannot be written into a unit.
    """
    demand_settings_in_files()
    units, quadlets = unit_directories(settings.runtime_directory, runtime=runtime)
    values = {
        "ML_AGENT": str(executable("ml-agent")),
        "PORT": str(settings.http.port),
        "STATE": str(settings.state_directory),
        "IMAGES": str(shipped("images")),
        "RECIPE": recipe(),
        "PACKAGES": packages(),
        "BASE": base or _installed_base(quadlets / RUNNER) or DEFAULT_BASE,
    }
    sources = {units / name: shipped("units") / name for name in UNITS}
    sources |= {quadlets / name: shipped("quadlets") / name for name in QUADLETS}
    files: dict[Path, bytes | None] = {path: render(source, values) for path, source in sources.items()}
    files |= {units / name: config_drop_in() for name in CONFIG_DROP_INS}
    socket = units / SOCKET
    # A listening socket keeps its port until it is stopped.
    moved = socket.exists() and socket.read_bytes() != files[socket]
    return Installation(
        files=files,
        before=[systemctl("stop", SOCKET, SERVICE)] if moved else [],
        after=[
            systemctl("daemon-reload"),
            systemctl("enable", *enablement(runtime=runtime), "--now", "podman.socket", SOCKET),
            systemctl("enable", *enablement(runtime=runtime), SERVICE),
            systemctl("try-restart", SERVICE),
        ],
    )


def user_removal(runtime_directory: Path, *, runtime: bool = False, jobs_run: bool = False) -> Installation:
    """The reverse of `of_user`. Running jobs go on; state, secrets and images stay."""
    units, quadlets = unit_directories(runtime_directory, runtime=runtime)
    paths = [units / name for name in (*UNITS, *CONFIG_DROP_INS)] + [quadlets / name for name in QUADLETS]
    # podman.socket may serve others: it stays enabled.
    before = [systemctl("disable", *enablement(runtime=runtime), "--now", SOCKET, SERVICE)]
    before.append(systemctl("stop", *TIMERS))
    if not jobs_run:
        before.append(systemctl("stop", *FOR_JOBS))
    return Installation(
        files=dict.fromkeys(paths),
        before=before if (units / SOCKET).exists() else [],
        after=[systemctl("daemon-reload")],
    )


def jobs_run() -> bool:
    """Whether a job is active or about to be. True also where systemd does not answer."""
    try:
        listed = subprocess.run([*LIST_LIVE_UNITS, "ml-job@*"], check=False, capture_output=True)
    except OSError:
        return True
    return listed.returncode != 0 or bool(listed.stdout.strip())


def of_system(account: str) -> Installation:
    """What needs root: journald's settings, delegated controllers, a group and lingering, for one account."""
    return Installation(
        files={
            JOURNALD_DROP_IN: (shipped("units") / "journald.conf.d/50-ml-agent.conf").read_bytes(),
            _delegation(account): (shipped("units") / "user@.service.d/50-ml-agent.conf").read_bytes(),
        },
        after=[
            ["systemctl", "daemon-reload"],
            ["systemctl", "restart", "systemd-journald.service"],
            ["journalctl", "--flush"],
            # journald reports lines that it lost in the system's journal.
            ["usermod", "--append", "--groups", JOURNAL_GROUP, account],
            ["loginctl", "enable-linger", account],
        ],
    )


def system_removal(account: str) -> Installation:
    """The reverse of `of_system`. Lingering stays, since other services of the account may need it."""
    files = dict.fromkeys([JOURNALD_DROP_IN, _delegation(account)])
    member = account in grp.getgrnam(JOURNAL_GROUP).gr_mem
    return Installation(
        files=files,
        before=[["gpasswd", "--delete", account, JOURNAL_GROUP]] if member else [],
        after=[["systemctl", "daemon-reload"], ["systemctl", "restart", "systemd-journald.service"]],
    )


def _delegation(account: str) -> Path:
    try:
        uid = pwd.getpwnam(account).pw_uid
    except KeyError:
        raise misconfigured(
            f"There is no account {account}.",
            "Name the service account with --account.",
        ) from None
    return delegation(uid)


def accounts() -> list[str]:
    """The accounts for which the host's part is installed."""
    placed = SYSTEM.glob("system/user@*.service.d/50-ml-agent.conf")
    uids = (
        match[1] for path in placed if (match := re.fullmatch(r"user@(\d+)\.service\.d", path.parent.name))
    )
    found = []
    for uid in sorted(map(int, uids)):
        with contextlib.suppress(KeyError):
            found.append(pwd.getpwuid(uid).pw_name)
    return found


def delegation(uid: int) -> Path:
    """The drop-in that delegates controllers to the user manager of an account."""
    return SYSTEM / f"system/user@{uid}.service.d/50-ml-agent.conf"


def recipe() -> str:
    """The digest of the files that the image of jobs is built from."""
    digest = hashlib.sha256()
    directory = shipped("images") / "ml-runner"
    for path in sorted(each for each in directory.iterdir() if each.is_file()):
        digest.update(f"{path.name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def packages() -> str:
    """The locked packages of the image of jobs, as its label has them: `NAME@VERSION:…`."""
    lock = (shipped("images") / "ml-runner/requirements.txt").read_text("utf-8")
    return ":".join(f"{name}@{version}" for name, version in _LOCKED.findall(lock))


def _installed_base(quadlet: Path) -> str | None:
    """The base image of the installed Quadlet; None where none is installed."""
    try:
        found = _BASE.search(quadlet.read_text("utf-8"))
    except FileNotFoundError:
        return None
    return found[1] if found else None


@app.command()
def install(
    base: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGE",
            help="The base image of the runner's image.",
            show_default=f"as before, or {DEFAULT_BASE}",
        ),
    ] = None,
    runtime: RuntimeOption = False,
    system: SystemOption = False,
    account: AccountOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Install the units and start listening. Repeat after an upgrade; running jobs are not affected."""
    if system:
        named = _account(account)
        if carried_out_as_root(of_system(named), dry_run=dry_run):
            typer.echo(
                f"Delegation and the group take effect when {named}'s user manager restarts: after a reboot."
            )
        return
    settings = load()
    settings.state_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if carried_out(of_user(settings, base=base, runtime=runtime), dry_run=dry_run):
        shared.record(settings, "install", version=__version__)
        typer.echo(f"{SOCKET} listens on port {settings.http.port}.")


@app.command()
def uninstall(
    runtime: RuntimeOption = False,
    system: SystemOption = False,
    account: AccountOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Remove what `install` placed. Jobs, their records, secrets and images stay."""
    if system:
        carried_out_as_root(system_removal(_account(account)), dry_run=dry_run)
        return
    try:
        settings = load()
    except AgentError as error:  # the units can be removed without a configuration
        settings = None
        Screen().remark(f"The audit will have no row of this: {error.message}")
    directory = settings.runtime_directory if settings else default_runtime_directory()
    removal = user_removal(directory, runtime=runtime, jobs_run=jobs_run())
    if carried_out(removal, dry_run=dry_run):
        if settings:
            shared.record(settings, "uninstall", version=__version__)
        typer.echo("\n".join([*removal.done(), *_left(settings)]))


def _left(settings: Settings | None) -> list[str]:
    """What stays after the units are gone, one line each, with what removes it."""
    state = settings.state_directory if settings else None
    places = [state, revocations.path_of(state)] if state else []
    places.append(user_file().parent)
    lines = [f"stays    {path}" for path in places if path.exists()]
    return [
        *lines,
        "stays    secrets and images of Podman, podman.socket, lingering, and the program itself",
        "`sudo ml-agent uninstall --system` removes the host's part. docs/operations.md says how to remove"
        " the rest.",
    ]


def _account(named: str | None) -> str:
    """The service account: as named, or who called sudo."""
    account = named or os.environ.get("SUDO_USER")
    if not account:
        raise misconfigured("No service account is named.", "Name it with --account ACCOUNT.")
    return account
