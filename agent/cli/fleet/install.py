"""`ml-fleet install` and `uninstall`: the units of the programs that the configuration has here."""

from collections.abc import Sequence
from pathlib import Path

import typer

from ...config import Settings, shipped
from ...config_files import load
from ...errors import misconfigured
from ..installation import (
    DryRunOption,
    Installation,
    RuntimeOption,
    carried_out,
    config_drop_in,
    demand_settings_in_files,
    enablement,
    executable,
    render,
    systemctl,
    unit_directories,
)

FRONT = ("ml-fleet.socket", "ml-fleet.service")
MEMBER = ("ml-fleet-member.service",)
AGENT = "ml-agent.service"  # reads who its host is when it starts

app = typer.Typer()


def of_account(settings: Settings, *, runtime: bool = False) -> Installation:
    """The account's units of a fleet. Raises `AgentError` (configuration) where it has none."""
    demand_settings_in_files()
    fleet = settings.fleet
    front, member = (fleet.front, fleet.member) if fleet else (None, None)
    if front is None and member is None:
        raise misconfigured(
            "The configuration has neither a front nor a member of a fleet.",
            "`ml-fleet init` makes a front, and `ml-fleet join` a member.",
        )
    names = (FRONT if front else ()) + (MEMBER if member else ())
    units, _ = unit_directories(settings.runtime_directory, runtime=runtime)
    values = {
        "ML_FLEET": str(executable("ml-fleet")),
        "PORT": str(front.http.port if front else ""),
        "FLEET_STATE": str(front.state_directory if front else ""),
        "STATE": str(settings.state_directory),
    }
    files: dict[Path, bytes | None] = {
        units / name: render(shipped("units") / name, values) for name in names
    }
    services = [name for name in names if name.endswith(".service")]
    drop_ins = [units / f"{service}.d/10-config.conf" for service in services]
    files |= {path: config_drop_in() for path in drop_ins if config_drop_in() or path.exists()}
    socket = units / FRONT[0]
    moved = front is not None and socket.exists() and socket.read_bytes() != files[socket]
    return Installation(
        files=files,
        before=[systemctl("stop", *FRONT)] if moved else [],
        after=[
            systemctl("daemon-reload"),
            *([systemctl("try-restart", AGENT)] if member else []),
            systemctl("enable", *enablement(runtime=runtime), "--now", *names),
            systemctl("try-restart", *services),
        ],
    )


def removal(settings: Settings, *, runtime: bool = False) -> Installation:
    """The reverse. Jobs that the host has go on; state and configuration stay."""
    units, _ = unit_directories(settings.runtime_directory, runtime=runtime)
    placed: Sequence[str] = [name for name in FRONT + MEMBER if (units / name).exists()]
    drop_ins = [units / f"{name}.d/10-config.conf" for name in placed]
    return Installation(
        files=dict.fromkeys(
            [*(units / name for name in placed), *(each for each in drop_ins if each.exists())]
        ),
        before=[systemctl("disable", *enablement(runtime=runtime), "--now", *placed)] if placed else [],
        after=[systemctl("daemon-reload")],
    )


@app.command()
def install(runtime: RuntimeOption = False, dry_run: DryRunOption = False) -> None:
    """Install and start the front or the member that the configuration has. Repeat after an upgrade."""
    change = of_account(load(), runtime=runtime)
    if carried_out(change, dry_run=dry_run):
        typer.echo("\n".join(change.done()))


@app.command()
def uninstall(runtime: RuntimeOption = False, dry_run: DryRunOption = False) -> None:
    """Remove what `install` placed. State, certificates and configuration stay."""
    change = removal(load(), runtime=runtime)
    if carried_out(change, dry_run=dry_run):
        typer.echo("\n".join(change.done()))
