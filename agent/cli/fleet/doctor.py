"""`ml-fleet doctor`: every check of the programs that this machine runs, whatever the others found."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ...config import Settings
from ...config_files import load
from ...config_fleet import FleetSettings, FrontSettings, MemberSettings
from ...errors import AgentError
from ...identity.authority import FLEET
from ...identity.key_files import certificates
from ...model.fleet import host_server_name
from ..checks import Finding, Level, each, guarded, judge, report
from ..program import JsonOption
from ..quantities import format_duration
from .files import FleetFiles

if TYPE_CHECKING:
    from ...fleet.entries import HostRow
    from ...fleet.tickets import Publisher

WARN = timedelta(days=30)  # certificates that have less left
REACH = 5.0  # seconds for a host's agent to answer
SILENT = 10.0  # seconds without a word of a host, which says one every two
SKEW = 2.0  # seconds between the clocks of this machine and of Redis
RULES = {  # of Redis, with what each is for
    "appendonly": ("yes", "nothing that is accepted survives a restart"),
    "appendfsync": ("always", "what is accepted may not be on disk when it is answered"),
    "no-appendfsync-on-rewrite": ("no", "while the file is rewritten, answers come before the disk"),
    "maxmemory-policy": ("noeviction", "a full Redis drops jobs"),
}

app = typer.Typer()


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Check what the fleet needs, and say how to fix it. Exits with status 1 if a check fails."""
    report(examine(load()), as_json=as_json)


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """Every finding, in the order in which an operator would fix things."""
    fleet = settings.fleet
    if fleet is None or (fleet.front is None and fleet.member is None):
        remedy = "`ml-fleet init` makes a front, and `ml-fleet join` a member."
        yield Finding("configuration", Level.FAIL, "this machine runs no program of a fleet", remedy)
        return
    for subject, findings in checks(settings, fleet):
        async for finding in guarded(subject, findings):
            yield finding


def checks(settings: Settings, fleet: FleetSettings) -> list[tuple[str, AsyncIterator[Finding]]]:
    """The checks of this machine's programs, by subject."""
    found: list[tuple[str, AsyncIterator[Finding]]] = []
    if fleet.front is not None:
        files = FleetFiles(fleet.front.state_directory)
        found += [
            ("certificates", each(lambda: _days(_certificates_of_a_front(files)))),
            ("record", _record(settings, fleet)),
            ("broker", _broker(fleet, fleet.front, files)),
            ("hosts", _hosts(settings, fleet, fleet.front)),
        ]
    if fleet.member is not None:
        pki = settings.pki_directory / FLEET
        own = {name: pki / f"{name}.crt" for name in ("member", "server")}
        found += [
            ("certificates", each(lambda: _days(own))),
            ("fronts", _fronts(fleet, fleet.member)),
            ("agent", _agent(fleet, fleet.member)),
        ]
    return found


# Certificates


def _certificates_of_a_front(files: FleetFiles) -> dict[str, Path]:
    found = {
        "authority": files.authority / "ca.crt",
        "front": files.directory / "front.crt",
        "for members": files.pki / FLEET / "server.crt",
        "for users": files.pki / "server.crt",
    }
    found |= {path.parent.name: path for path in sorted(files.directory.glob("servers/*/server.crt"))}
    return found


def _days(paths: dict[str, Path]) -> Iterable[Finding]:
    for name, path in paths.items():
        try:
            end = certificates(path)[0].not_valid_after_utc
        except AgentError as error:
            yield Finding("certificate", Level.FAIL, f"{name}: {error.message}", _ANEW)
            continue
        left = end - datetime.now(UTC)
        yield judge(
            "certificate",
            good=left > WARN,
            seen=f"{name}, valid until {end:%Y-%m-%d}, {max(left.days, 0)} days",
            remedy=_ANEW,
            otherwise=Level.WARN if left > timedelta() else Level.FAIL,
        )


_ANEW = "`ml-fleet init` on the front's machine, `ml-fleet join` on a host makes it anew: docs/fleet.md"

# The record


async def _record(settings: Settings, fleet: FleetSettings) -> AsyncIterator[Finding]:
    from ...fleet.record import Record
    from ...fleet.servers import record_server

    assert fleet.record is not None
    server, half_life = record_server(fleet), settings.jobs.fair_share_half_life_seconds
    async with Record.connected(server, half_life=half_life) as record:
        try:
            facts = await record.facts()
        except AgentError as error:
            remedy = f"Is Redis running at {fleet.record.url}, with the files of `ml-fleet init`?"
            yield Finding("record", Level.FAIL, error.message, remedy)
            return
        yield Finding("record", Level.OK, f"Redis {facts['redis_version']}, {facts['used_memory_human']}")
        for name, (right, risk) in RULES.items():
            yield judge(
                name,
                good=facts[name] == right,
                seen=facts[name] if facts[name] == right else f"{facts[name]}: {risk}",
                remedy=f"Set `{name} {right}` in redis.conf, and restart Redis.",
            )
        yield judge(
            "functions",
            good=facts["library"] == "current",
            seen=f"library {facts['library']}",
            remedy="A front loads them when it starts: systemctl --user restart ml-fleet.service",
            otherwise=Level.WARN,
        )
        yield _replicas(fleet, facts)
        skew = abs(datetime.now(UTC).timestamp() - await record.clock())
        yield judge(
            "clocks",
            good=skew < SKEW,
            seen=f"{skew:.1f} s between this machine and Redis",
            remedy="Turn on a time service (systemd-timesyncd, chrony) on both.",
            otherwise=Level.WARN,
        )


def _replicas(fleet: FleetSettings, facts: dict[str, str]) -> Finding:
    assert fleet.record is not None
    there, wanted = int(facts["connected_slaves"]), fleet.record.replicas
    if facts["role"] != "master":
        return Finding(
            "replica",
            Level.FAIL,
            "fleet.record.url names a replica, which accepts nothing",
            "Name the primary, or promote this one: docs/fleet.md",
        )
    return judge(
        "replica",
        good=there >= wanted,
        seen=f"{there} connected, {wanted} must confirm what is promised",
        remedy="Start the replica; without it nothing is accepted. Or lower fleet.record.replicas.",
    )


# The broker


async def _broker(fleet: FleetSettings, front: FrontSettings, files: FleetFiles) -> AsyncIterator[Finding]:
    from ...fleet.servers import broker_server
    from ...fleet.tickets import Publisher

    assert fleet.broker is not None
    needs = files.read_plan().networks
    async with Publisher.connected(broker_server(fleet, front)) as publisher:
        try:
            counts = {need: await publisher.ready(need) for need in needs[:1]}
        except AgentError as error:
            remedy = f"Is RabbitMQ running at {fleet.broker.url}, with the files of `ml-fleet init`?"
            yield Finding("broker", Level.FAIL, error.message, remedy)
            return
        yield Finding("broker", Level.OK, f"answers at {fleet.broker.url}")
        yield await _alarms(publisher)
        for need in needs:
            yield _queue(need, counts[need] if need in counts else await _count(publisher, need))


async def _alarms(publisher: "Publisher") -> Finding:
    try:
        await publisher.probe()
    except AgentError as error:
        remedy = "`rabbitmqctl status` there shows alarms: free memory, or space on its disk."
        return Finding("alarms", Level.FAIL, f"nothing can be published: {error.message}", remedy)
    return Finding("alarms", Level.OK, "none: tickets can be published")


async def _count(publisher: "Publisher", need: str) -> int | AgentError | None:
    """Tickets in the queue; None where there is no queue, the error where it does not answer."""
    try:
        return await publisher.ready(need)
    except AgentError as error:
        return error


def _queue(need: str, count: int | AgentError | None) -> Finding:
    subject = f"queue fleet.{need}"
    if isinstance(count, AgentError):
        remedy = f"It has no leader: `rabbitmqctl delete_queue fleet.{need}` there; a front declares it anew."
        return Finding(subject, Level.FAIL, count.message, remedy)
    seen = "absent" if count is None else f"{count} tickets"
    remedy = "`sh install` in the directory of RabbitMQ's files declares it."
    return judge(subject, good=count is not None, seen=seen, remedy=remedy)


# Hosts, as a front sees them


async def _hosts(settings: Settings, fleet: FleetSettings, front: FrontSettings) -> AsyncIterator[Finding]:
    from ...fleet.record import Record
    from ...fleet.servers import peer_context, record_server

    half_life = settings.jobs.fair_share_half_life_seconds
    async with Record.connected(record_server(fleet), half_life=half_life) as record:
        rows, now = await record.hosts(), await record.clock()
    present = [row for row in rows if row.belongs]
    remedy = "`ml-fleet join` on a host, and `ml-fleet admit` here: docs/fleet.md"
    yield judge("hosts", good=bool(present), seen=f"{len(present)} in the fleet", remedy=remedy)
    if not present:
        return
    context = peer_context(fleet, front)
    answers = await asyncio.gather(*(_reached(row, context) for row in present))
    for row, answer in zip(present, answers, strict=True):
        yield _seen(row, now, answer)
    yield _alike("images", {row.name: row.report.image_digest for row in present}, IMAGES)
    yield _alike("agents", {row.name: row.report.versions.get("agent", "") for row in present}, AGENTS)


IMAGES = "A rerun goes only where its image is. Distribute one image: docs/fleet.md"
AGENTS = "Upgrade the others, too: docs/fleet.md"


async def _reached(row: "HostRow", context: ssl.SSLContext) -> str:
    """Empty where the host's agent answers this front; otherwise why not."""
    from ...fleet.host_agent import HostAgent

    try:
        async with (
            asyncio.timeout(REACH),
            HostAgent.connected(row.report.url, context, host_server_name(row.name)) as agent,
        ):
            await agent.room()
    except AgentError as error:
        return error.message
    except TimeoutError:
        return f"The host's agent does not answer within {REACH:g} s."
    return ""


def _seen(row: "HostRow", now: float, unreached: str) -> Finding:
    subject, silent = f"host {row.name}", max(0.0, now - row.seen)
    said = f"heard of {format_duration(silent)} ago, {row.jobs} jobs"
    if silent > SILENT:
        remedy = f"Is ml-fleet-member.service active there? A lost host: `ml-fleet forget {row.name}`."
        return Finding(subject, Level.FAIL, said, remedy)
    if unreached:
        remedy = f"Fronts ask it at {row.report.url}: `ml-fleet doctor` there checks its certificates."
        return Finding(subject, Level.FAIL, f"{said}; {unreached}", remedy)
    seen = f"{said}, draining" if row.draining else said
    remedy = f"`ml-fleet drain --undo {row.name}` lets it claim again."
    return judge(subject, good=not row.draining, seen=seen, remedy=remedy, otherwise=Level.WARN)


def _alike(subject: str, values: dict[str, str], remedy: str) -> Finding:
    """Whether all hosts have the same; otherwise who has what."""
    hosts: dict[str, list[str]] = {}
    for host, value in values.items():
        hosts.setdefault(value.removeprefix("sha256:")[:12] or "none", []).append(host)
    shown = "; ".join(f"{value}: {', '.join(names)}" for value, names in hosts.items())
    return judge(subject, good=len(hosts) < 2, seen=shown, remedy=remedy, otherwise=Level.WARN)


# What a host's member asks


async def _fronts(fleet: FleetSettings, member: MemberSettings) -> AsyncIterator[Finding]:
    from ...fleet.front_client import Fronts
    from ...fleet.servers import peer_context

    context = peer_context(fleet, member)
    for url in member.fronts:
        remedy = "Is ml-fleet.socket active there? `ml-fleet doctor` there checks its certificates."
        async with Fronts.connected([url], context) as front:
            try:
                await front.claims_of(fleet.host or "")
                yield Finding("front", Level.OK, f"{url} answers")
            except AgentError as error:
                yield Finding("front", Level.FAIL, f"{url}: {error.message}", error.hint or remedy)


async def _agent(fleet: FleetSettings, member: MemberSettings) -> AsyncIterator[Finding]:
    from ...fleet.host_agent import HostAgent
    from ...fleet.servers import broker_server, peer_context
    from ...fleet.tickets import Taker

    context, name = peer_context(fleet, member), host_server_name(fleet.host or "")
    async with HostAgent.connected(member.agent_url, context, name) as agent:
        try:
            room = await agent.room()
        except AgentError as error:
            remedy = "`ml-agent doctor` checks the agent; `systemctl --user restart ml-agent` after joining."
            yield Finding("agent", Level.FAIL, error.message, error.hint or remedy)
            return
    yield judge(
        "agent",
        good=room.host == fleet.host,
        seen=f"is {room.host}, takes {room.capacity.jobs} jobs",
        remedy="Restart the agent: systemctl --user restart ml-agent.service",
    )
    async with Taker.connected(broker_server(fleet, member)) as taker:
        try:
            if (ticket := await taker.take(room.networks, 0.1)) is not None:
                await ticket.give_back()
            yield Finding("broker", Level.OK, f"has the queues of {', '.join(room.networks)}")
        except AgentError as error:
            remedy = (
                "RabbitMQ must know this member: `ml-fleet admit`, then sh install with RabbitMQ's files."
                " Each network of the host needs a queue: `ml-fleet init --network NAME`."
            )
            yield Finding("broker", Level.FAIL, error.message, remedy)
