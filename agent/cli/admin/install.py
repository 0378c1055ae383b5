"""`ml-agent install` and `uninstall`: what they change on a host, shown or carried out.

An installation is first made as a value: files, and commands before and after them.
"""

import contextlib
import grp
import hashlib
import os
import pwd
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ... import __version__
from ...config import ENVIRONMENT_PREFIX, Settings, default_runtime_directory, shipped, user_file
from ...config_files import load
from ...errors import AgentError, host_failed, misconfigured
from ...host.files import write_file
from ..terminal import Screen
from . import shared

app = typer.Typer()

RuntimeOption = Annotated[
    bool, typer.Option("--runtime", help="Install below $XDG_RUNTIME_DIR, until the next boot.")
]
SystemOption = Annotated[
    bool, typer.Option("--system", help="The host's part, as root: journald, delegation, lingering.")
]
AccountOption = Annotated[
    str | None, typer.Option("--account", metavar="ACCOUNT", help="With --system: the service account.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show files and commands; change nothing.")]

SERVICE = "ml-agent.service"
SOCKET = "ml-agent.socket"
EGRESS = "ml-egress@.service"
UNITS = (SOCKET, SERVICE, "ml-egress@.socket", EGRESS, "ml-podman.service", "ml-jobs.slice", "ml.slice")
RUNNER = "ml-runner.build"
QUADLETS = (RUNNER,)
# Services that running jobs need. A pattern may match nothing.
FOR_JOBS = ("ml-podman.*", "ml-egress@*")
CONFIG_DROP_INS = tuple(f"{service}.d/10-config.conf" for service in (SERVICE, EGRESS))

CONFIG_VARIABLE = ENVIRONMENT_PREFIX + "CONFIG"

DEFAULT_BASE = "docker.io/library/python:3.13-slim"

SYSTEM = Path("/etc/systemd")
JOURNALD_DROP_IN = SYSTEM / "journald.conf.d/50-ml-agent.conf"
JOURNAL_GROUP = "systemd-journal"

# White space, quotes, % and $ have a meaning of their own in unit files.
_PLAIN = re.compile(r"[A-Za-z0-9/._:@+-]+")
_PLACEHOLDER = re.compile(r"@([A-Z_]+)@")
_BASE = re.compile(r"(?m)^PodmanArgs=--build-arg=BASE=(\S+)$")  # as RUNNER has it


@dataclass(frozen=True)
class Installation:
    """Commands `before`, then files by path (None removes one), then commands `after`."""

    files: Mapping[Path, bytes | None]
    before: Sequence[Sequence[str]] = ()
    after: Sequence[Sequence[str]] = ()

    def describe(self) -> str:
        """The files and commands as a person would place and run them by hand."""
        lines = [shlex.join(command) for command in self.before]
        for path, content in self.files.items():
            if content is None:
                lines.append(shlex.join(["rm", "-f", str(path)]))
            else:
                lines.append(f"# {path}\n{content.decode()}")
        return "\n".join([*lines, *(shlex.join(command) for command in self.after)])

    def done(self) -> list[str]:
        """What was done once it was carried out, one line each."""
        lines = [f"ran      {shlex.join(command)}" for command in self.before]
        lines += [f"{'removed' if text is None else 'made   '}  {path}" for path, text in self.files.items()]
        return [*lines, *(f"ran      {shlex.join(command)}" for command in self.after)]

    def carry_out(self) -> None:
        """Changes the host. Raises `AgentError` (host) at the first command that fails, with its output."""
        for command in self.before:
            _run(command)
        for path, content in self.files.items():
            if content is None:
                path.unlink(missing_ok=True)
            else:
                write_file(path, content, mode=0o644, replace=True)
        for command in self.after:
            _run(command)


def of_user(settings: Settings, *, base: str | None = None, runtime: bool = False) -> Installation:
    """The service account's units and Quadlets; with `runtime`, until the next boot.

    Without a `base`, an installed image keeps the base that it has. Raises `AgentError` (configuration)
    where a setting is in the environment, or cannot be written into a unit.
    """
    _demand_settings_in_files()
    units, quadlets = _directories(settings.runtime_directory, runtime=runtime)
    values = {
        "ML_AGENT": str(executable()),
        "PORT": str(settings.http.port),
        "STATE": str(settings.state_directory),
        "IMAGES": str(shipped("images")),
        "RECIPE": recipe(),
        "BASE": base or _installed_base(quadlets / RUNNER) or DEFAULT_BASE,
    }
    sources = {units / name: shipped("units") / name for name in UNITS}
    sources |= {quadlets / name: shipped("quadlets") / name for name in QUADLETS}
    files: dict[Path, bytes | None] = {path: _render(source, values) for path, source in sources.items()}
    files |= {units / name: _config_drop_in() for name in CONFIG_DROP_INS}
    socket = units / SOCKET
    # A listening socket keeps its port until it is stopped.
    moved = socket.exists() and socket.read_bytes() != files[socket]
    return Installation(
        files=files,
        before=[_systemctl("stop", SOCKET, SERVICE)] if moved else [],
        after=[
            _systemctl("daemon-reload"),
            _systemctl("enable", *_enablement(runtime=runtime), "--now", "podman.socket", SOCKET),
            _systemctl("enable", *_enablement(runtime=runtime), SERVICE),
            _systemctl("try-restart", SERVICE),
        ],
    )


def user_removal(runtime_directory: Path, *, runtime: bool = False, jobs_run: bool = False) -> Installation:
    """The reverse of `of_user`. Running jobs go on; state, secrets and images stay."""
    units, quadlets = _directories(runtime_directory, runtime=runtime)
    paths = [units / name for name in (*UNITS, *CONFIG_DROP_INS)] + [quadlets / name for name in QUADLETS]
    # podman.socket may serve others: it stays enabled.
    before = [_systemctl("disable", *_enablement(runtime=runtime), "--now", SOCKET, SERVICE)]
    if not jobs_run:
        before.append(_systemctl("stop", *FOR_JOBS))
    return Installation(
        files=dict.fromkeys(paths),
        before=before if (units / SOCKET).exists() else [],
        after=[_systemctl("daemon-reload")],
    )


def jobs_run() -> bool:
    """Whether a job is active or about to be. True also where systemd does not answer."""
    states = "--state=active,activating,reloading,deactivating"
    try:
        listed = subprocess.run(
            _systemctl("list-units", "--quiet", "--plain", states, "ml-job@*"),
            check=False,
            capture_output=True,
        )
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


def _directories(runtime_directory: Path, *, runtime: bool) -> tuple[Path, Path]:
    """Where systemd.unit(5) and podman-systemd.unit(5) look for an account's own units and Quadlets."""
    base = runtime_directory if runtime else Path.home() / ".config"
    return base / "systemd/user", base / "containers/systemd"


def recipe() -> str:
    """The digest of the files that the image of jobs is built from."""
    digest = hashlib.sha256()
    directory = shipped("images") / "ml-runner"
    for path in sorted(each for each in directory.iterdir() if each.is_file()):
        digest.update(f"{path.name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _installed_base(quadlet: Path) -> str | None:
    """The base image of the installed Quadlet; None where none is installed."""
    try:
        found = _BASE.search(quadlet.read_text("utf-8"))
    except FileNotFoundError:
        return None
    return found[1] if found else None


def _enablement(*, runtime: bool) -> list[str]:
    return ["--runtime"] if runtime else []


def _demand_settings_in_files() -> None:
    """Refuses settings in the environment: the service does not inherit this command's environment."""
    # pydantic-settings reads them in any case.
    ours = (name for name in os.environ if name.upper().startswith(ENVIRONMENT_PREFIX))
    if names := sorted(name for name in ours if name != CONFIG_VARIABLE):
        raise misconfigured(
            f"The service does not inherit these environment variables: {', '.join(names)}.",
            f"Put the settings into {user_file()} and unset the variables.",
        )


def _config_drop_in() -> bytes | None:
    """Sets the one variable that the services are given: where the configuration is."""
    path = os.environ.get(CONFIG_VARIABLE)
    return f"[Service]\nEnvironment={CONFIG_VARIABLE}={_plain(path)}\n".encode() if path else None


def executable() -> Path:
    """The path by which this `ml-agent` was called, which an upgrade keeps."""
    called = Path(sys.argv[0])
    beside_python = Path(sys.executable).parent / "ml-agent"
    return called.absolute() if called.name == "ml-agent" and called.is_file() else beside_python


def _render(path: Path, values: Mapping[str, str]) -> bytes:
    text = path.read_text("utf-8")
    return _PLACEHOLDER.sub(lambda match: _plain(values[match[1]]), text).encode()


def _plain(value: str) -> str:
    if not _PLAIN.fullmatch(value):
        raise misconfigured(
            f"{value!r} cannot be written into a unit file.",
            "Use only letters, digits and /._:@+- in paths.",
        )
    return value


def _systemctl(*arguments: str) -> list[str]:
    return ["systemctl", "--user", *arguments]


def _run(command: Sequence[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise host_failed(f"{command[0]} cannot be run: {error.strerror}.") from error
    except subprocess.CalledProcessError as error:
        raise host_failed(
            f"`{shlex.join(command)}` failed: {error.stderr.strip() or f'exit status {error.returncode}'}",
            "`ml-agent doctor` checks what the host needs.",
        ) from error


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
        if _carried_out_as_root(of_system(named), dry_run=dry_run):
            typer.echo(
                f"Delegation and the group take effect when {named}'s user manager restarts: after a reboot."
            )
        return
    settings = load()
    settings.state_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _carried_out(of_user(settings, base=base, runtime=runtime), dry_run=dry_run):
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
        _carried_out_as_root(system_removal(_account(account)), dry_run=dry_run)
        return
    try:
        settings = load()
    except AgentError as error:  # the units can be removed without a configuration
        settings = None
        Screen().remark(f"The audit will have no row of this: {error.message}")
    directory = settings.runtime_directory if settings else default_runtime_directory()
    removal = user_removal(directory, runtime=runtime, jobs_run=jobs_run())
    if _carried_out(removal, dry_run=dry_run) and settings:
        shared.record(settings, "uninstall", version=__version__)


def _account(named: str | None) -> str:
    """The service account: as named, or who called sudo."""
    account = named or os.environ.get("SUDO_USER")
    if not account:
        raise misconfigured("No service account is named.", "Name it with --account ACCOUNT.")
    return account


def _carried_out_as_root(change: Installation, *, dry_run: bool) -> bool:
    """As `_carried_out`, and then says what was done, line by line."""
    if not dry_run and os.geteuid() != 0:
        raise host_failed(
            "--system changes the host and needs root.",
            "Use sudo, or --dry-run to see the changes.",
        )
    done = _carried_out(change, dry_run=dry_run)
    if done:
        typer.echo("\n".join(change.done()))
    return done


def _carried_out(change: Installation, *, dry_run: bool) -> bool:
    """Carries it out, or only shows it for `dry_run`; whether it was carried out."""
    if dry_run:
        typer.echo(change.describe())
    else:
        change.carry_out()
    return not dry_run
