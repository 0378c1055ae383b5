"""The doctor's checks of the journal: whether jobs' lines arrive, stay, and can be read by the account."""

import asyncio
import contextlib
import getpass
import grp
import os
import re
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import typer

from ....host.machine import output
from ....logs.metrics import MAX_MARK
from ...checks import Finding, advise, judge
from ...quantities import parse_duration, parse_size
from ..install import JOURNAL_GROUP

IDENTIFIER = "ml-agent-doctor"
ARRIVES_WITHIN = 5.0  # seconds
LEAST_BYTES = 128 * 2**20  # of the journal: a job of many lines fills as much before another one has ended
LEAST_SECONDS = 7 * 86400  # that entries stay: the longest job, and a while without the agent
LEVELS = ("emerg", "alert", "crit", "err", "warning", "notice")  # below that of jobs' lines
SYSLOG_SOCKET = Path("/run/systemd/journal/syslog")  # Debian forwards to it whether anybody listens or not
JOURNALD = "systemd-journald.service"
_SHOW = "`systemd-analyze cat-config systemd/journald.conf` shows all of them"


async def journal() -> AsyncIterator[Finding]:
    """Whether the account can read what it writes, hears of lost lines, and journald keeps the logs."""
    install = f"`sudo ml-agent install --system --account {getpass.getuser()}`"
    arrives = await _arrives()
    yield judge(
        "journal",
        good=arrives,
        seen="readable" if arrives else "the account cannot read its own new entries",
        remedy=f"{install} makes it persistent; an account below uid 1000 also needs the group"
        f" {JOURNAL_GROUP}. `systemctl status {JOURNALD}` shows whether journald runs.",
    )
    told = await _manager_is_in(JOURNAL_GROUP)
    untold = f"not shown: the user manager is not in the group {JOURNAL_GROUP}, which may read about them"
    yield advise(
        "lost lines",
        good=told,
        seen="shown as gaps" if told else untold,
        remedy="Reboot: the group takes effect when the user manager starts."
        if _is_member(JOURNAL_GROUP)
        else f"{install}, then reboot",
    )
    configuration = await output("systemd-analyze", "cat-config", "systemd/journald.conf")
    found = [*_of_storage(configuration), *faults(configuration)]
    if unread := await _unread(configuration):
        found.append(unread)
    yield advise(
        "log retention",
        good=not found,
        seen="; ".join(found) or "persistent, no rate limit",
        remedy=f"{install}. Correct settings of other files there ({_SHOW}),"
        f" then `sudo systemctl restart {JOURNALD}`.",
    )


async def _arrives() -> bool:
    """Whether a line that the account writes now can be read, as the agent reads those of jobs."""
    nonce = secrets.token_hex(8)
    if await output("systemd-cat", f"--identifier={IDENTIFIER}", "echo", nonce, errors=True):
        return False  # it says why it could not write
    read = ("journalctl", "--quiet", f"--identifier={IDENTIFIER}", f"_UID={os.getuid()}")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ARRIVES_WITHIN):
            while True:
                if nonce in await output(*read, "--lines=10", "--output=cat"):
                    return True
                await asyncio.sleep(0.1)
    return False


async def _manager_is_in(group: str) -> bool:
    """Whether the running user manager, and so what it starts, is in a group."""
    unit = f"user@{os.getuid()}.service"
    manager = (await output("systemctl", "show", unit, "--property=MainPID", "--value")).strip()
    try:
        status = Path("/proc", manager, "status").read_text()
        wanted = str(grp.getgrnam(group).gr_gid)
    except (OSError, KeyError):
        return False
    lines = (line.split() for line in status.splitlines())
    return any(words[0] == "Groups:" and wanted in words for words in lines if words)


def _is_member(group: str) -> bool:
    """Whether the account is in a group since its last installation, whatever the running manager is in."""
    with contextlib.suppress(KeyError):
        return getpass.getuser() in grp.getgrnam(group).gr_mem
    return False


def _of_storage(configuration: str) -> list[str]:
    """Whether journald writes to the disk, as far as its settings leave that open."""
    with contextlib.suppress(OSError):
        machine = Path("/etc/machine-id").read_text().strip()
        storage, _ = assignments(configuration).get("Storage", ("auto", ""))
        if storage == "auto" and not (Path("/var/log/journal") / machine).is_dir():
            return ["logs are lost at a reboot: there is no /var/log/journal"]
        if storage == "persistent" and (Path("/run/log/journal") / machine).is_dir():
            return ["logs are lost at a reboot: journald has not begun to write to /var/log/journal"]
    return []


def assignments(configuration: str) -> dict[str, tuple[str, str]]:
    """The last value of each key with its file, by journald.conf as `systemd-analyze cat-config` prints it.

    An empty value is the default, as if the key were not set.
    """
    found: dict[str, tuple[str, str]] = {}
    file = ""
    for line in configuration.splitlines():
        if match := re.fullmatch(r"# (/\S+)", line):
            file = match[1]
        elif match := re.fullmatch(r"\s*([A-Za-z]+)\s*=\s*(.*?)\s*", line):
            found[match[1]] = (match[2], file)
    return {key: value for key, value in found.items() if value[0]}


def _below(least: int, parse: Callable[[str], int]) -> Callable[[str], bool]:
    """Whether a value is an amount below `least`; 0 and what is no amount are not."""

    def is_below(value: str) -> bool:
        with contextlib.suppress(typer.BadParameter):
            return 0 < parse(value) < least
        return False

    return is_below


def _is_short(value: str) -> bool:
    # systemd's M is a month.
    return "M" not in value and _below(LEAST_SECONDS, parse_duration)(value)


def _is_on(value: str) -> bool:
    return value.lower() in ("1", "yes", "y", "true", "t", "on")


_FORWARDED = "jobs' lines are copied to where retention does not remove them"
# What breaks a promise about logs: a key of journald.conf(5), its values that do, and the effect.
BREAKING: tuple[tuple[str, Callable[[str], bool], str], ...] = (
    ("Storage", lambda value: value in ("volatile", "none"), "logs are lost at a reboot, or at once"),
    ("SplitMode", lambda value: value == "none", f"only the group {JOURNAL_GROUP} reads jobs' lines"),
    ("MaxLevelStore", lambda value: value in (*LEVELS, *"012345"), "jobs' lines are dropped"),
    ("SystemMaxUse", _below(LEAST_BYTES, parse_size), "running jobs lose lines when the journal is full"),
    ("MaxRetentionSec", _is_short, "long jobs lose their first lines"),
    ("LineMax", _below(4 * MAX_MARK, parse_size), "lines are split, and marks in them are not found"),
    ("ForwardToSyslog", lambda value: _is_on(value) and SYSLOG_SOCKET.exists(), _FORWARDED),
    ("ForwardToKMsg", _is_on, _FORWARDED),
    ("ForwardToConsole", _is_on, _FORWARDED),
    ("ForwardToSocket", bool, _FORWARDED),
)


def faults(configuration: str) -> list[str]:
    """What journald's settings break, and the file that has each."""
    known = assignments(configuration)
    limits = [known.get(key, ("default", "")) for key in ("RateLimitIntervalSec", "RateLimitBurst")]
    found = []
    if not any(re.fullmatch(r"0+[a-z]*", value) for value, _ in limits):
        file = next((file for _, file in limits if file), "")
        limit = "rate limit: if one job is chatty, journald drops all jobs' lines"
        found.append(f"{limit} ({file})" if file else limit)
    for key, breaks, effect in BREAKING:
        value, file = known.get(key, ("", ""))
        if value and breaks(value):
            found.append(f"{effect}: {key}={value} ({file})")
    return found


async def _unread(configuration: str) -> str:
    """A sentence if journald has not read its present settings."""
    started = await output(
        "systemctl", "show", JOURNALD, "--timestamp=unix", "--property=ActiveEnterTimestamp", "--value"
    )
    if not re.fullmatch(r"@\d+", started := started.strip()):
        return ""
    for file in re.findall(r"(?m)^# (/\S+)$", configuration):
        with contextlib.suppress(OSError):
            if Path(file).stat().st_mtime > int(started[1:]) + 1:
                return f"journald has not read {file} since it was changed"
    return ""
