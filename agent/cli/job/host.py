"""`ml-job host`: capacity, use and queue of the host."""

import typer
from rich.text import Text

from ...model.host import Host, UserQueue
from ..options import JsonOption
from ..quantities import format_duration, format_size
from ..terminal import Column, Screen
from .http import Api, decode
from .invocation import command

USER_COLUMNS = (
    Column("USER", style="bold"),
    Column("WAITING", justify="right"),
    Column("RUNNING", justify="right"),
    Column("RECENT USE", justify="right"),
)

app = typer.Typer()


@command(app, "host")
async def show_host(api: Api, screen: Screen, as_json: JsonOption = False) -> None:
    """Show the host's capacity, what is in use, and who waits."""
    value = await api.get("/host")
    if as_json:
        screen.json(value)
    else:
        host_sheet(screen, decode(Host, value))


def host_sheet(screen: Screen, host: Host) -> None:
    """Capacity and queue, then a row per user. Recent use is in seconds of the whole host."""
    capacity, taken = host.capacity, host.in_use
    versions = (f"{name} {version}" for name, version in host.versions.model_dump(exclude_none=True).items())
    memory = f"{format_size(taken.memory_bytes)} of {format_size(capacity.memory_bytes)}"
    screen.sheet(
        [
            ("versions", ", ".join(versions)),
            ("running", f"{taken.jobs} of {capacity.jobs}"),
            ("CPUs", f"{taken.cpus:g} of {capacity.cpus:g}"),
            ("memory", memory),
            ("waiting", str(host.waiting)),
        ]
    )
    if host.users:
        screen.table(USER_COLUMNS, [_user_row(user, person=screen.person) for user in host.users])


def _user_row(user: UserQueue, *, person: bool) -> list[Text | str]:
    used = user.recent_use_seconds
    return [
        user.user,
        str(user.waiting),
        str(user.running),
        format_duration(used) if person else f"{used:.1f}",
    ]
