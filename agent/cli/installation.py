"""Changes of a host, made as values: files, and commands before and after them. Shown, or carried out."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..config import ENVIRONMENT_PREFIX, user_file
from ..errors import host_failed, misconfigured
from ..host.files import write_file

RuntimeOption = Annotated[
    bool, typer.Option("--runtime", help="Install below $XDG_RUNTIME_DIR, until the next boot.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show files and commands; change nothing.")]

CONFIG_VARIABLE = ENVIRONMENT_PREFIX + "CONFIG"

# White space, quotes, % and $ have a meaning of their own in unit files.
_PLAIN = re.compile(r"[A-Za-z0-9/._:@+-]+")
_PLACEHOLDER = re.compile(r"@([A-Z_]+)@")


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


def unit_directories(runtime_directory: Path, *, runtime: bool) -> tuple[Path, Path]:
    """Where systemd.unit(5) and podman-systemd.unit(5) look for an account's own units and Quadlets."""
    base = runtime_directory if runtime else Path.home() / ".config"
    return base / "systemd/user", base / "containers/systemd"


def enablement(*, runtime: bool) -> list[str]:
    """The options of `systemctl enable`."""
    return ["--runtime"] if runtime else []


def demand_settings_in_files() -> None:
    """Refuses settings in the environment: the service does not inherit this command's environment."""
    # pydantic-settings reads them in any case.
    ours = (name for name in os.environ if name.upper().startswith(ENVIRONMENT_PREFIX))
    if names := sorted(name for name in ours if name != CONFIG_VARIABLE):
        raise misconfigured(
            f"The service does not inherit these environment variables: {', '.join(names)}.",
            f"Put the settings into {user_file()} and unset the variables.",
        )


def config_drop_in() -> bytes | None:
    """Sets the one variable that the services are given: where the configuration is."""
    path = os.environ.get(CONFIG_VARIABLE)
    return f"[Service]\nEnvironment={CONFIG_VARIABLE}={_plain(path)}\n".encode() if path else None


def executable(name: str) -> Path:
    """The path by which this program was called, which an upgrade keeps."""
    called = Path(sys.argv[0])
    beside_python = Path(sys.executable).parent / name
    return called.absolute() if called.name == name and called.is_file() else beside_python


def render(path: Path, values: Mapping[str, str]) -> bytes:
    """A shipped file with `@NAME@` replaced by each value. Raises `AgentError` for what no unit can hold."""
    text = path.read_text("utf-8")
    return _PLACEHOLDER.sub(lambda match: _plain(values[match[1]]), text).encode()


def _plain(value: str) -> str:
    if not _PLAIN.fullmatch(value):
        raise misconfigured(
            f"{value!r} cannot be written into a unit file.",
            "Use only letters, digits and /._:@+- in paths.",
        )
    return value


def systemctl(*arguments: str) -> list[str]:
    """A command to the account's own manager."""
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


def carried_out_as_root(change: Installation, *, dry_run: bool) -> bool:
    """As `carried_out`, and then says what was done, line by line."""
    if not dry_run and os.geteuid() != 0:
        raise host_failed(
            "--system changes the host and needs root.",
            "Use sudo, or --dry-run to see the changes.",
        )
    done = carried_out(change, dry_run=dry_run)
    if done:
        typer.echo("\n".join(change.done()))
    return done


def carried_out(change: Installation, *, dry_run: bool) -> bool:
    """Carries it out, or only shows it for `dry_run`; whether it was carried out."""
    if dry_run:
        typer.echo(change.describe())
    else:
        change.carry_out()
    return not dry_run
