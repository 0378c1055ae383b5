"""The user's systemd manager over D-Bus (org.freedesktop.systemd1(5)): start, stop, state, signals.

Only this module knows the D-Bus library, and only its low-level messages, so that it can be replaced.
"""

import asyncio
import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dbus_fast import Message, MessageType
from dbus_fast.aio import MessageBus
from dbus_fast.errors import DBusFastError

from ..errors import AgentError, Problem, host_failed
from ..model.base import job_id_of

SYSTEMD = "org.freedesktop.systemd1"
MANAGER_PATH = "/org/freedesktop/systemd1"
MANAGER = "org.freedesktop.systemd1.Manager"
UNIT = "org.freedesktop.systemd1.Unit"
SERVICE = "org.freedesktop.systemd1.Service"
PROPERTIES = "org.freedesktop.DBus.Properties"
UNIT_PATH_PREFIX = MANAGER_PATH + "/unit/"
NO_SUCH_UNIT = ("org.freedesktop.systemd1.NoSuchUnit", "org.freedesktop.DBus.Error.UnknownObject")

USAGE = ("CPUUsageNSec", "MemoryCurrent", "MemoryPeak", "TasksCurrent")  # in the order of UnitUsage
CGROUPS = Path("/sys/fs/cgroup")
NOT_COUNTED = 2**64 - 1  # the value of a property whose controller is missing

CALL_TIMEOUT = 25.0  # seconds; libdbus' own default
RECONNECT_DELAY = 0.5  # seconds between attempts to reach a lost bus

MATCHES = (
    f"type='signal',sender='{SYSTEMD}',interface='{PROPERTIES}',member='PropertiesChanged',"
    f"path_namespace='{MANAGER_PATH}/unit',arg0='{UNIT}'",
    *(
        f"type='signal',sender='{SYSTEMD}',interface='{MANAGER}',member='{member}',path='{MANAGER_PATH}'"
        for member in ("JobRemoved", "UnitRemoved", "Reloading")
    ),
)

# A unit reports a dozen changes while it is in one of these states.
PASSING_STATES = ("activating", "deactivating")


@dataclass(frozen=True)
class UnitState:
    """The state of a unit. `active_state` is "inactive" for a unit that systemd does not know.

    `queued`: a start or a stop of the unit waits in the manager's queue.
    """

    active_state: str = "inactive"
    result: str = "success"
    invocation_id: str = ""
    queued: bool = False

    @property
    def ended(self) -> bool:
        """Whether no process of the unit is left, and none is about to start."""
        return self.active_state in ("inactive", "failed") and not self.queued


@dataclass(frozen=True)
class UnitUsage:
    """What a unit's processes use; None for what systemd does not count, or no longer counts."""

    cpu_nanoseconds: int | None = None
    memory_bytes: int | None = None
    memory_peak_bytes: int | None = None
    tasks: int | None = None


class NoSuchUnitError(AgentError):
    """The manager does not know a unit of that name."""


class Units:
    """The units of one user manager. A call waits for a lost bus to come back, for `CALL_TIMEOUT` at most."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._bus: MessageBus | None = None
        self._called_off: set[str] = set()
        self._connected = asyncio.Event()

    async def run(self, watch: Callable[[str | None], None]) -> None:
        """Connects, and connects again, until it is cancelled.

        Calls `watch` with the name of each unit that has begun, ended or been unloaded, and with None after
        each connection: a signal is only a hint, and hints are missed while there is no connection.
        """
        while True:
            with contextlib.suppress(OSError, EOFError, DBusFastError, TimeoutError, AgentError):
                await self._serve_one_connection(watch)
            self._connected.clear()
            self._bus = None
            await asyncio.sleep(RECONNECT_DELAY)

    async def _serve_one_connection(self, watch: Callable[[str | None], None]) -> None:
        bus = MessageBus(bus_address=self._address)
        try:
            await bus.connect()
            bus.add_message_handler(lambda message: self.handle_signal(message, watch))
            for rule in MATCHES:
                await _call(bus, "org.freedesktop.DBus", "/org/freedesktop/DBus", "AddMatch", "s", rule)
            await _call(bus, MANAGER, MANAGER_PATH, "Subscribe")
            self._bus = bus
            self._connected.set()
            watch(None)
            await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]  # dbus-fast annotates no result
        finally:
            bus.disconnect()

    def handle_signal(self, message: Message, watch: Callable[[str | None], None]) -> None:
        """Calls `watch` if a message from the bus is a signal that concerns a unit; see `run`."""
        if message.message_type is not MessageType.SIGNAL:
            return
        if message.member == "PropertiesChanged":
            _, changed, _ = message.body
            if "ActiveState" not in changed or changed["ActiveState"].value not in PASSING_STATES:
                watch(unit_of_path(message.path))
        elif message.member == "UnitRemoved":
            watch(message.body[0])
        elif message.member == "JobRemoved":
            _, _, unit, result = message.body
            if result == "canceled" and job_id_of(unit):
                self._called_off.add(unit)
            watch(unit)
        elif message.member == "Reloading" and not message.body[0]:
            watch(None)

    def called_off(self, name: str) -> bool:
        """Whether somebody stopped the unit after the last `start` of it and before it had started.

        systemd then runs no ExecStop=. Only a signal tells it, which is missed while there is no connection.
        """
        return name in self._called_off

    async def call(self, interface: str, path: str, member: str, signature: str = "", *body: Any) -> Any:
        """Calls a method of the manager and returns its first result.

        Raises `AgentError` (host) if there is no bus, no answer in time, or the manager refuses, and its
        subclass `NoSuchUnitError` if the manager does not know the unit.
        """
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                await self._connected.wait()
        except TimeoutError as error:
            raise _unreachable(self._address) from error
        assert self._bus is not None
        return await _call(self._bus, interface, path, member, signature, *body)

    async def start(self, name: str) -> None:
        """Queues a start of the unit. Returns before the unit has started."""
        self._called_off.discard(name)
        await self.call(MANAGER, MANAGER_PATH, "StartUnit", "ss", name, "fail")

    async def stop(self, name: str) -> None:
        """Queues a stop of the unit. A unit that systemd does not know is no error: it is stopped."""
        with contextlib.suppress(NoSuchUnitError):
            await self.call(MANAGER, MANAGER_PATH, "StopUnit", "ss", name, "replace")

    async def forget(self, name: str) -> None:
        """Makes the next start read the unit's file again, which has changed since the unit failed.

        systemd unloads a failed unit when it is reset. If something refers to the unit, systemd must reload.
        """
        with contextlib.suppress(NoSuchUnitError):
            await self.call(MANAGER, MANAGER_PATH, "ResetFailedUnit", "s", name)
            path = await self.call(MANAGER, MANAGER_PATH, "GetUnit", "s", name)
            if await self._property(path, UNIT, "NeedDaemonReload"):
                await self.call(MANAGER, MANAGER_PATH, "Reload")

    async def clean(self, name: str) -> None:
        """Removes what systemd keeps of a stopped unit across boots, such as the stamp of a timer."""
        with contextlib.suppress(NoSuchUnitError):
            await self.call(MANAGER, MANAGER_PATH, "CleanUnit", "sas", name, ["state"])

    async def active(self, pattern: str) -> set[str]:
        """The names of the active units that match a pattern with `*`."""
        found = await self.call(
            MANAGER, MANAGER_PATH, "ListUnitsByPatterns", "asas", ["active", "activating"], [pattern]
        )
        return {unit[0] for unit in found}

    async def state(self, name: str) -> UnitState:
        """The unit's state now."""
        # One answer has the unit and its place in the queue. GetAll costs the manager ten times as much, and
        # ListUnitsByNames reads the file of an unloaded unit.
        found = await self.call(MANAGER, MANAGER_PATH, "ListUnitsByPatterns", "asas", [], [name])
        if not found:
            return UnitState()
        _, _, _, active_state, _, _, path, job, _, _ = found[0]
        invocation_id, result = await asyncio.gather(
            self._property(path, UNIT, "InvocationID"), self._property(path, SERVICE, "Result")
        )
        return UnitState(
            active_state=active_state,
            result=result,
            invocation_id=bytes(invocation_id).hex(),
            queued=job != 0,
        )

    async def usage(self, name: str) -> UnitUsage:
        """What the unit's processes use now; nothing but None for a unit that is not loaded."""
        return UnitUsage(*await self._counted(name, USAGE))

    async def written(self, name: str) -> int | None:
        """Bytes that the unit's processes have written to disks; None if they are not counted."""
        (count,) = await self._counted(name, ("IOWriteBytes",))
        return count

    async def _counted(self, name: str, properties: Sequence[str]) -> list[int | None]:
        try:
            path = await self.call(MANAGER, MANAGER_PATH, "GetUnit", "s", name)
            found = await asyncio.gather(*(self._property(path, SERVICE, each) for each in properties))
        except NoSuchUnitError:
            return [None] * len(properties)
        return [None if value == NOT_COUNTED else int(value) for value in found]

    async def manager_identity(self) -> str:
        """Changes with each boot and each restart of the user manager, but not with a daemon-reexec."""
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        started = await self._property(MANAGER_PATH, MANAGER, "UserspaceTimestampMonotonic")
        return f"{boot_id}:{started}"

    async def version(self) -> str:
        """systemd's version, as `systemctl --version` prints it."""
        answer = await self.call(PROPERTIES, MANAGER_PATH, "Get", "ss", MANAGER, "Version")
        return str(answer.value)

    async def controllers(self) -> frozenset[str]:
        """The cgroup controllers that the manager can use for its units; none on cgroup v1 (cgroups(7))."""
        group = await self._property(MANAGER_PATH, MANAGER, "ControlGroup")
        with contextlib.suppress(OSError):
            return frozenset(Path(f"{CGROUPS}{group}/cgroup.controllers").read_text("ascii").split())
        return frozenset()

    async def manager_stopping(self) -> bool:
        """Whether the user manager is shutting down, with all its units."""
        return bool(await self._property(MANAGER_PATH, MANAGER, "SystemState") == "stopping")

    async def _property(self, path: str, interface: str, name: str) -> Any:
        return (await self.call(PROPERTIES, path, "Get", "ss", interface, name)).value


async def _call(
    bus: MessageBus, interface: str, path: str, member: str, signature: str = "", *body: Any
) -> Any:
    destination = SYSTEMD if path.startswith(MANAGER_PATH) else "org.freedesktop.DBus"
    message = Message(destination, path, interface, member, signature=signature, body=list(body))
    try:
        async with asyncio.timeout(CALL_TIMEOUT):
            reply = await bus.call(message)
    except (TimeoutError, EOFError, OSError, DBusFastError) as error:
        raise _unreachable("The user manager") from error
    if reply is None:
        raise _unreachable("The user manager")
    if reply.message_type is MessageType.ERROR:
        text = str(reply.body[0]) if reply.body else reply.error_name
        kind = NoSuchUnitError if reply.error_name in NO_SUCH_UNIT else AgentError
        raise kind(
            Problem.HOST,
            f"The user manager refused {member}: {text}",
            "`systemctl --user status` may say more.",
        )
    return reply.body[0] if reply.body else None


def _unreachable(what: str) -> AgentError:
    return host_failed(
        f"{what} does not answer on D-Bus.",
        "Check `systemctl --user status` and that lingering is enabled for the account.",
    )


def unit_of_path(path: str | None) -> str:
    """The unit of an object path, in which bytes other than ASCII letters and digits are written `_xx`."""
    label = (path or "").removeprefix(UNIT_PATH_PREFIX)
    return re.sub(r"_([0-9a-f]{2})", lambda match: chr(int(match[1], 16)), label)
