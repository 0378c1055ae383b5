"""The user manager over D-Bus: the translation of its signals, and the host's own manager."""

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from dbus_fast import Message, MessageType, Variant

from agent.errors import AgentError, Problem
from agent.host import systemd
from agent.host.systemd import (
    MANAGER,
    MANAGER_PATH,
    PROPERTIES,
    UNIT,
    UNIT_PATH_PREFIX,
    NoSuchUnitError,
    Units,
    UnitState,
    unit_of_path,
)
from tests.support.waiting import run, until

JOB = "ml-job@abcdefghijkl.service"


def removed(name: str, result: str) -> Message:
    """What the manager says when a start or a stop of a unit is no longer in its queue."""
    return Message(
        path=MANAGER_PATH,
        interface=MANAGER,
        member="JobRemoved",
        message_type=MessageType.SIGNAL,
        signature="uoss",
        body=[1, f"{MANAGER_PATH}/job/1", name, result],
    )


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("ml_2djob_40abcdefghijkl_2eservice", "ml-job@abcdefghijkl.service"),
        ("_31st_2eservice", "1st.service"),
        ("dbus_2eservice", "dbus.service"),
    ],
)
def test_an_object_path_names_its_unit(label: str, name: str) -> None:
    assert unit_of_path(UNIT_PATH_PREFIX + label) == name


def test_a_start_that_was_cancelled_is_remembered() -> None:
    manager = Units("unix:path=/nowhere")
    for name in (JOB, "other.service"):
        manager.handle_signal(removed(name, "canceled"), lambda _: None)
    for _ in range(2):
        assert manager.called_off(JOB)
    assert not manager.called_off("other.service")
    manager.handle_signal(removed(JOB, "done"), lambda _: None)
    assert manager.called_off(JOB)


@pytest.mark.parametrize(
    ("active_state", "queued", "ended"),
    [
        ("inactive", False, True),
        ("failed", False, True),
        ("inactive", True, False),
        ("activating", False, False),
        ("active", False, False),
        ("deactivating", False, False),
        ("a state of a later systemd", False, False),
    ],
)
def test_a_unit_has_ended_when_nothing_runs_and_nothing_is_queued(
    active_state: str, queued: bool, ended: bool
) -> None:
    assert UnitState(active_state=active_state, queued=queued).ended == ended


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"ActiveState": "active"}, True),
        ({"ActiveState": "inactive"}, True),
        ({"ActiveState": "failed"}, True),
        ({"ActiveState": "a state of a later systemd"}, True),
        ({}, True),
        ({"ActiveState": "activating"}, False),
        ({"ActiveState": "deactivating"}, False),
    ],
)
def test_a_change_is_reported_unless_the_state_is_transient(changed: dict[str, str], told: bool) -> None:
    heard: list[str | None] = []
    properties = {name: Variant("s", value) for name, value in changed.items()}
    signal = Message.new_signal(
        UNIT_PATH_PREFIX + "a_2eservice", PROPERTIES, "PropertiesChanged", "sa{sv}as", [UNIT, properties, []]
    )
    Units("unix:path=/nonexistent").handle_signal(signal, heard.append)
    assert heard == (["a.service"] if told else [])


async def test_a_missing_bus_is_an_error_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "CALL_TIMEOUT", 0.1)
    manager = Units(f"unix:path={tmp_path}/absent")
    async with _running(manager, lambda _: None):
        with pytest.raises(AgentError, match="lingering") as caught:
            await manager.state("a.service")
    assert caught.value.problem is Problem.HOST


@contextlib.asynccontextmanager
async def _running(manager: Units, watch: Callable[[str | None], None]) -> AsyncIterator[None]:
    task = asyncio.create_task(manager.run(watch))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


# --- the account's own manager -------------------------------------------------------------------------


@dataclass
class Real:
    """The account's manager, and what it reported."""

    manager: Units
    told: list[str | None] = field(default_factory=list)

    async def state_is(self, name: str, active_state: str) -> UnitState:
        """Waits until the unit is in that state and nothing is queued for it."""

        async def look() -> UnitState | None:
            state = await self.manager.state(name)
            return state if state.active_state == active_state and not state.queued else None

        state = await until(look)
        assert state is not None
        return state

    async def is_told(self, name: str | None, since: int = 0) -> None:
        """Returns when `watch` was called for the unit."""
        await until(lambda: name in self.told[since:])


@pytest.fixture
async def real(request: pytest.FixtureRequest) -> AsyncIterator[Real]:
    told: list[str | None] = []
    manager = Units(f"unix:path={os.environ['XDG_RUNTIME_DIR']}/bus")
    async with _running(manager, told.append):
        yield Real(manager, told)


Place = Callable[[str], Awaitable[str]]


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    """Makes a service file from its [Service] section, as the agent does: no daemon-reload follows."""
    directory = Path(os.environ["XDG_RUNTIME_DIR"]) / "systemd/user"
    made: list[str] = []

    async def make(service: str) -> str:
        name = f"ml-agent-test-{secrets.token_hex(4)}.service"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(f"[Service]\n{service}\n")
        made.append(name)
        return name

    yield make
    for name in made:
        await run("systemctl", "--user", "kill", "--signal=KILL", name, check=False)
        await run("systemctl", "--user", "reset-failed", name, check=False)
        (directory / name).unlink()


@pytest.mark.host
async def test_a_new_unit_starts_without_a_reload_and_stops(real: Real, place: Place) -> None:
    name = await place("Type=exec\nExecStart=/bin/sleep 60")
    await real.manager.start(name)
    state = await real.state_is(name, "active")
    assert (state.result, len(state.invocation_id), state.queued) == ("success", 32, False)
    assert not state.ended
    await real.manager.stop(name)
    assert (await real.state_is(name, "inactive")).ended


@pytest.mark.host
async def test_signals_report_the_start_and_the_end_of_a_unit(real: Real, place: Place) -> None:
    name = await place("ExecStart=/bin/sleep 0.3")
    await real.manager.start(name)
    await real.state_is(name, "active")
    await real.is_told(name)
    since = len(real.told)
    await real.state_is(name, "inactive")
    await real.is_told(name, since)


@pytest.mark.host
async def test_a_failed_unit_keeps_its_result(real: Real, place: Place) -> None:
    name = await place("ExecStart=/bin/false")
    await real.manager.start(name)
    assert (await real.state_is(name, "failed")).result == "exit-code"


@pytest.mark.host
async def test_the_managers_controllers_are_those_that_podman_sees(real: Real) -> None:
    seen = await run("podman", "info", "--format={{range .Host.CgroupControllers}}{{.}} {{end}}")
    assert await real.manager.controllers() == set(seen.split())


async def test_a_manager_without_a_cgroup_of_version_2_has_no_controllers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Manager(Units):
        async def call(self, *_: object) -> Variant:
            return Variant("s", "/user.slice/user@1000.service")

    monkeypatch.setattr(systemd, "CGROUPS", tmp_path)
    assert await Manager("").controllers() == frozenset()
    group = tmp_path / "user.slice/user@1000.service"
    group.mkdir(parents=True)
    (group / "cgroup.controllers").write_text("cpu memory pids\n")
    assert await Manager("").controllers() == {"cpu", "memory", "pids"}


@pytest.mark.host
async def test_an_unknown_unit_is_inactive_and_can_be_stopped(real: Real) -> None:
    assert await real.manager.state("ml-agent-test-absent.service") == UnitState()
    await real.manager.stop("ml-agent-test-absent.service")


@pytest.mark.host
async def test_a_refusal_quotes_systemd(real: Real, place: Place) -> None:
    with pytest.raises(NoSuchUnitError, match=r"ml-agent-test-absent\.service not found"):
        await real.manager.start("ml-agent-test-absent.service")
    broken = await place("ExecStart=")
    with pytest.raises(AgentError, match="bad unit file setting"):
        await real.manager.start(broken)


@pytest.mark.host
async def test_a_queued_unit_has_not_ended(real: Real, place: Place) -> None:
    slow = await place("Type=oneshot\nExecStart=/bin/sleep 60")
    waiting = await place(f"ExecStart=/bin/true\n[Unit]\nAfter={slow}")
    await real.manager.start(slow)
    await real.manager.start(waiting)
    state = await real.manager.state(waiting)
    assert (state.active_state, state.queued, state.ended) == ("inactive", True, False)
    await real.manager.stop(waiting)


@pytest.mark.host
async def test_the_managers_identity_survives_a_reexec(real: Real, place: Place) -> None:
    name = await place("ExecStart=/bin/sleep 60")
    await real.manager.start(name)
    before = await real.state_is(name, "active")
    identity = await real.manager.manager_identity()
    for _ in range(3):
        await run("systemctl", "--user", "daemon-reexec")
    assert await real.manager.manager_identity() == identity
    after = await real.manager.state(name)
    assert after.invocation_id == before.invocation_id


@pytest.mark.host
async def test_a_reload_is_reported_as_a_change_of_anything(real: Real) -> None:
    await real.is_told(None)
    since = len(real.told)
    await run("systemctl", "--user", "daemon-reload")
    await real.is_told(None, since)


@pytest.mark.host
async def test_a_restarted_bus_is_connected_again_and_reported(real: Real, place: Place) -> None:
    await real.is_told(None)
    since = len(real.told)
    await run("systemctl", "--user", "restart", "dbus.service")
    await real.is_told(None, since)
    name = await place("ExecStart=/bin/sleep 60")
    await real.manager.start(name)
    await real.state_is(name, "active")
    await real.is_told(name, since)


@pytest.mark.host
async def test_the_manager_is_not_stopping_while_it_runs(real: Real) -> None:
    assert not await real.manager.manager_stopping()
    stopped = await real.manager.call(MANAGER, MANAGER_PATH, "GetDefaultTarget")
    assert stopped == "default.target"


@pytest.mark.host
@pytest.mark.parametrize("referred", [False, True], ids=["unloaded", "kept loaded"])
async def test_a_failed_unit_starts_from_its_new_file_after_forget(
    real: Real, place: Place, tmp_path: Path, referred: bool
) -> None:
    name = await place("Type=oneshot\nExecStart=/bin/false")
    await real.manager.start(name)
    await real.state_is(name, "failed")
    if referred:
        # As a client of the manager may do; the unit cannot be unloaded then.
        await real.manager.call(MANAGER, MANAGER_PATH, "RefUnit", "s", name)
    file = Path(os.environ["XDG_RUNTIME_DIR"]) / "systemd/user" / name
    file.write_text(f"[Service]\nType=oneshot\nExecStart=/usr/bin/touch {tmp_path}/new\n")
    await real.manager.forget(name)
    await real.manager.start(name)
    await until((tmp_path / "new").exists)


@pytest.mark.host
async def test_forgetting_an_unknown_unit_is_no_error(real: Real) -> None:
    await real.manager.forget("ml-agent-test-absent.service")
