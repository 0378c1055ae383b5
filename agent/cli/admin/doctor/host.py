"""The doctor's checks of the host and the account: systemd, clock, disk, the agent's socket, certificates."""

import getpass
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ....config import Settings
from ....errors import AgentError
from ....host.machine import RUNTIME_ROOM, Room, output, read_clocks, room, synchronised
from ....identity import authority, revocations, rotation
from ....identity.key_files import certificates, key_file
from ....retention.rules import doubt
from ....store.store import Store
from ...checks import Finding, Level, advise, judge
from ..init import RENEWED_BEFORE
from ..install import SOCKET
from .findings import AUTHORITY_WARN, expiring_clients, listening_ports, rotation_under_way, version_of

SYSTEMD_MINIMUM = (254, 0)  # RestartSteps=, and %S of user units below ~/.local/state
FREE_WARN, FREE_FAIL = 2 * 2**30, 256 * 2**20  # bytes
RUNTIME_WARN = Room(bytes=4 * RUNTIME_ROOM.bytes, inodes=4000)


async def systemd() -> Finding:
    """Whether systemd is new enough."""
    version = version_of(await output("systemctl", "--version"))
    return judge(
        "systemd",
        good=version >= SYSTEMD_MINIMUM,
        seen=str(version[0] or "not found"),
        remedy=f"Upgrade the host: version {SYSTEMD_MINIMUM[0]} or newer is needed.",
    )


async def manager() -> Finding:
    """Whether the account's systemd user manager answers."""
    state = (await output("systemctl", "--user", "is-system-running")).strip()
    return judge(
        "user manager",
        good=state in ("running", "degraded", "starting"),
        seen=state or "does not answer",
        remedy="Log in as the account itself (ssh, machinectl shell), not with su or sudo.",
    )


async def linger() -> Finding:
    """Whether the account's units outlive its last session."""
    user = getpass.getuser()
    lingers = (await output("loginctl", "show-user", user, "--property=Linger", "--value")).strip() == "yes"
    return judge(
        "linger",
        good=lingers,
        seen="yes" if lingers else "no: systemd stops the jobs when the account's last session ends",
        remedy=f"`sudo loginctl enable-linger {user}`",
    )


async def clock(settings: Settings) -> AsyncIterator[Finding]:
    """Whether the clock is synchronised, and whether retention knows how old jobs are."""
    follows = await synchronised()
    yield advise(
        "clock",
        good=follows is True,
        seen={True: "synchronised", False: "not synchronised", None: "unknown"}[follows],
        remedy="`sudo timedatectl set-ntp true`: certificates are checked against this clock.",
    )
    if settings.database.exists():
        async with Store.open(settings.database) as store:
            known = await store.retention.clock()
        if known and (unsure := doubt(known, await read_clocks())):
            remedy = "Synchronise the clock; or, if `date` is right, `ml-agent prune --trust-clock`."
            yield Finding("ages of jobs", Level.WARN, unsure, remedy)


def disk(settings: Settings) -> Finding:
    """Whether the state directory's file system has room, in bytes and in inodes."""
    path = settings.state_directory
    left, system = room(path), os.statvfs(next(each for each in (path, *path.parents) if each.exists()))
    floor = Room(
        bytes=max(FREE_FAIL, settings.jobs.free_floor(system.f_blocks * system.f_frsize)),
        inodes=settings.jobs.free_inode_floor(system.f_files),
    )
    few = Room(bytes=max(FREE_WARN, floor.bytes), inodes=2 * (floor.inodes or 0))
    remedy = "Free some space: `ml-agent prune --dry-run` shows what retention would remove."
    return _judge_room("disk", path, left, few, floor, remedy)


def runtime_directory(settings: Settings) -> Finding:
    """Whether the runtime directory, where Podman records how containers end, has room."""
    path = settings.runtime_directory
    remedy = f"Remove what fills it: `du -a --inodes {path}` and `du -a {path}` list its files."
    return _judge_room("runtime directory", path, room(path), RUNTIME_WARN, RUNTIME_ROOM, remedy)


def _judge_room(subject: str, path: Path, left: Room, few: Room, least: Room, remedy: str) -> Finding:
    none_starts = left.lacks(least)
    return judge(
        subject,
        good=not left.lacks(few),
        seen=f"{left} free at {path}" + ("; no job starts" if none_starts else ""),
        remedy=remedy,
        otherwise=Level.FAIL if none_starts else Level.WARN,
    )


async def socket(settings: Settings) -> Finding:
    """Whether systemd listens for the agent, on the configured port."""
    state = (await output("systemctl", "--user", "is-active", SOCKET)).strip()
    ports = listening_ports(await output("systemctl", "--user", "show", "--property=Listen", SOCKET))
    port = settings.http.port
    elsewhere = bool(ports) and port not in ports
    where = f" on port {', '.join(map(str, ports))}, but http.port is {port}" if elsewhere else ""
    return judge(
        "socket",
        good=state == "active" and not elsewhere,
        seen=f"{SOCKET} is {state or 'unknown'}{where}",
        remedy="`ml-agent install` places the units and starts it.",
    )


async def server(settings: Settings) -> AsyncIterator[Finding]:
    """The authority and the server certificate: readable, with their keys, valid for long enough."""
    directory = settings.pki_directory
    kinds = (
        ("authority", "ca", AUTHORITY_WARN, "`ml-agent rotate-ca` begins to replace it."),
        ("server certificate", "server", RENEWED_BEFORE, "`ml-agent renew` makes a new one."),
    )
    for subject, name, early, remedy in kinds:
        try:
            certificate = certificates(directory / f"{name}.crt")[0]
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


async def clients(settings: Settings) -> AsyncIterator[Finding]:
    """The certificates of clients, and how far a rotation of the authority is."""
    if not settings.database.exists():
        yield Finding("clients", Level.WARN, "no certificate issued", "`ml-agent issue USER`")
        return
    async with Store.open(settings.database) as store:
        known = await store.certificates.all()
    moment = datetime.now(UTC)
    trusted = authority.authorities(settings.pki_directory)
    yield expiring_clients(rotation.of_trusted(known, trusted), moment)
    if len(trusted) > 1:
        begun = trusted[0].not_valid_before_utc + authority.CLOCK_SKEW
        lifetime = timedelta(days=settings.certificates.client_days)
        yield rotation_under_way(begun, rotation.not_renewed(known, trusted), moment, lifetime)


async def revoked(settings: Settings) -> AsyncIterator[Finding]:
    """Whether the record agrees with what is kept beside it of revocations: a restored record may not."""
    if not settings.database.exists():
        yield Finding("revocations", Level.OK, "there is no record yet")
        return
    path = revocations.path_of(settings.state_directory)
    kept = revocations.read(path)
    async with Store.open(settings.database) as store:
        certificates, withdrawals = await store.certificates.all(), await store.withdrawals.all()
    if kept is None:
        seen, remedy = f"{path} is missing: a restore would not know what was revoked", "`ml-agent init`"
        yield Finding("revocations", Level.WARN, seen, remedy)
        return
    moment = datetime.now(UTC)
    back = [each for each in certificates if each.serial in kept.serials and each.good_at(moment)]
    for each in back:
        seen = f"{each.user}'s certificate {each.serial} was revoked, and the record accepts it"
        yield Finding("revocations", Level.WARN, seen, f"`ml-agent revoke {each.serial}`")
    commits = {each.commit for each in withdrawals}
    for commit in sorted(kept.withdrawn.keys() - commits):
        seen = f"commit {commit[:12]} was withdrawn, and the record lets it run"
        remedy = f"`ml-agent withdraw {commit} --reason TEXT`, or that and `ml-agent readmit {commit}`"
        yield Finding("revocations", Level.WARN, seen, remedy)
    lacking = [each for each in certificates if each.revoked_at and each.serial not in kept.serials]
    lacks = len(lacking) + len(commits - kept.withdrawn.keys()) + kept.unreadable
    yield advise(
        "revocations",
        good=not lacks,
        seen=f"{len(kept.serials)} kept in {path}"
        + (f", which lacks or cannot read {lacks}" if lacks else ""),
        remedy="`ml-agent init` adds what it lacks.",
    )
