"""`ml-fleet hosts`, `drain`, `bar` and `forget`: which hosts there are, and which of them get jobs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...config_files import load
from ...errors import AgentError, invalid_request
from ..admin import shared
from ..program import JsonOption
from ..quantities import format_duration
from ..terminal import Screen, bold, right
from .files import front_settings
from .record import in_record

if TYPE_CHECKING:
    from ...fleet.entries import HostRow
    from ...fleet.record import Record

COLUMNS = (bold("HOST"), "STATE", "SEEN", right("JOBS"), right("CPUS"), "AGENT", "IMAGE")
SHOWN_DIGEST = 12  # characters
MARGIN = 2.0  # seconds of silence beyond the lease, before a host may be given up

app = typer.Typer()

HostArgument = Annotated[str, typer.Argument(metavar="HOST", help="The host's name in the fleet.")]


@app.command("hosts")
def list_hosts(as_json: JsonOption = False) -> None:
    """List the fleet's hosts: since when each was heard of, its jobs, and what it runs."""
    settings, screen = load(), Screen()
    rows, now = in_record(settings, _hosts)
    if as_json:
        screen.json([document(row, now) for row in rows])
    else:
        screen.table(COLUMNS, [_row(row, now) for row in rows])


async def _hosts(record: "Record") -> "tuple[list[HostRow], float]":
    """Every host, and the time, both by the record."""
    return await record.hosts(), await record.clock()


def document(row: "HostRow", now: float) -> dict[str, Any]:
    """A host for programs; `silent_seconds` is how long nothing was heard of it."""
    return {
        "host": row.name,
        "state": state(row, now),
        "silent_seconds": round(max(0.0, now - row.seen), 3),
        "jobs": row.jobs,
        "max_running": row.capacity.jobs,
        "cpus": row.capacity.millicpus / 1000,
        "memory_bytes": row.capacity.memory_bytes,
        "url": row.report.url,
        "agent": row.report.versions.get("agent", ""),
        "image_digest": row.report.image_digest,
    }


def state(row: "HostRow", now: float) -> str:
    """`barred`, `forgotten`, `silent`, `draining` or `ready`."""
    from ...fleet.member import LEASE

    if row.barred:
        return "barred"
    if row.gone is not None:
        return "forgotten"
    if now - row.seen > LEASE:
        return "silent"
    return "draining" if row.draining else "ready"


def _row(row: "HostRow", now: float) -> list[str]:
    return [
        row.name,
        state(row, now),
        f"{format_duration(max(0.0, now - row.seen))} ago",
        f"{row.jobs}/{row.capacity.jobs}",
        f"{row.capacity.millicpus / 1000:g}",
        row.report.versions.get("agent", ""),
        row.report.image_digest.removeprefix("sha256:")[:SHOWN_DIGEST],
    ]


@app.command()
def drain(
    host: HostArgument,
    undo: Annotated[bool, typer.Option("--undo", help="Let the host claim jobs again.")] = False,
) -> None:
    """Let a host claim no more jobs; those that it has go on. Do so before an upgrade, or a reboot."""
    settings = load()
    if not in_record(settings, lambda record: record.drain(host, draining=not undo)):
        raise _absent(host)
    shared.record(front_settings(settings), "undrainHost" if undo else "drainHost", host)
    typer.echo(
        f"{host} claims jobs again."
        if undo
        else f"{host} claims no more jobs. `ml-fleet hosts` shows when it has none."
    )


@app.command()
def bar(
    host: HostArgument,
    undo: Annotated[bool, typer.Option("--undo", help="Answer the host again.")] = False,
) -> None:
    """Answer a host nothing more, whatever its certificate: somebody else may have it. Then `forget` it."""
    from ...fleet.member import LEASE

    settings = load()
    if not in_record(settings, lambda record: record.bar(host, barred=not undo)):
        raise _absent(host)
    shared.record(front_settings(settings), "unbarHost" if undo else "barHost", host)
    if undo:
        typer.echo(f"Fronts answer {host} again.")
        return
    typer.echo(f"Fronts answer {host} nothing more. Next, after {LEASE + MARGIN:g} s: ml-fleet forget {host}")
    typer.echo(f"On the machine of RabbitMQ, as root: rabbitmqctl delete_user member-{host}")


@app.command()
def forget(
    host: HostArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Give up a host that is lost: its jobs fail, or run elsewhere if they asked for that."""
    from ...fleet.member import LEASE

    settings, least = load(), LEASE + MARGIN
    (row, now), jobs = in_record(settings, lambda record: _lost(record, host))
    if row is None:
        raise _absent(host)
    if (silent := now - row.seen) < least:
        raise _alive(host, silent, least)
    for job_id, fate in jobs.items():
        typer.echo(f"{job_id}  {fate}")
    if not yes:
        asked = f"Give up {host}, silent for {format_duration(silent)}, with {len(jobs)} jobs?"
        typer.confirm(asked, abort=True, err=True)
    done = in_record(settings, lambda record: record.forget(host, silence=least))
    if done is None:
        raise _absent(host)
    if isinstance(done, float):
        raise _alive(host, done, least)
    _, lost = done
    shared.record(front_settings(settings), "forgetHost", host, jobs=lost)
    typer.echo(f"{host} is forgotten, with {len(lost)} jobs. If it comes back, it ends what it has first.")


async def _lost(record: "Record", host: str) -> "tuple[tuple[HostRow | None, float], dict[str, str]]":
    """The host and the time, and what becomes of each of its jobs if the host is given up."""
    rows, now = await _hosts(record)
    found = next((row for row in rows if row.name == host), None)
    jobs = await record.jobs_on(host) if found else {}
    return (found, now), {job_id: fate(job) for job_id, job in jobs.items()}


def fate(job: Mapping[str, str]) -> str:
    """What becomes of a job of a host that is given up, as the record decides it."""
    if "cancel" in job:
        return "ends CANCELLED, as was asked"
    used = int(job["attempt"]) - 1 + int(job.get("host_attempt", 1))
    if job["again"] == "1" and used < int(job["max_attempts"]):
        return f"waits for another host: attempt {used + 1} of {job['max_attempts']}"
    return "ends FAILED (interrupted)"


def _alive(host: str, silent: float, least: float) -> AgentError:
    return invalid_request(
        f"{host} was heard of {silent:.1f} s ago; a host that is given up must be silent for {least:g} s.",
        "`ml-fleet drain` takes a host out that is there; or stop its ml-fleet-member.service first.",
    )


def _absent(host: str) -> AgentError:
    return invalid_request(f"There is no host {host} in the fleet.", "`ml-fleet hosts` lists them.")
