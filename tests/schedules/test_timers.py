"""Timers and their marks."""

from pathlib import Path
from typing import Any

import pytest

from agent.errors import AgentError
from agent.model.base import now
from agent.model.schedule import Overlap, Schedule, ScheduledJob, ScheduleState, timer_name
from agent.schedules.timers import Timers, timer_unit
from tests.support.job_scene import StandInUnits

ID, OTHER = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


def schedule(**fields: Any) -> Schedule:
    usual: dict[str, Any] = {
        "schedule_id": ID,
        "status": ScheduleState.ACTIVE,
        "owner": "alice",
        "name": "%n\n[Service]\nExecStart=/bin/false",
        "calendar": "daily",
        "time_zone": "Europe/Rome",
        "expression": "*-*-* 00:00:00 Europe/Rome",
        "overlap": Overlap.SKIP,
        "randomized_delay_seconds": 60,
        "job": ScheduledJob(script_name="train.py"),
        "created_at": now(),
        "active_since": now(),
    }
    return Schedule(**usual | fields)


@pytest.fixture
def units() -> Any:
    return StandInUnits()


@pytest.fixture
def timers(tmp_path: Path, units: Any) -> Timers:
    return Timers(tmp_path, tmp_path / "state", units)


def test_a_timer_has_what_systemd_wrote_and_nothing_of_a_client() -> None:
    assert timer_unit(schedule(), "# Made by the agent of /state.") == (
        f"# Made by the agent of /state.\n[Unit]\nDescription=Times of schedule {ID}\n\n[Timer]\n"
        "OnCalendar=*-*-* 00:00:00 Europe/Rome\nPersistent=true\nRandomizedDelaySec=60\nAccuracySec=1s\n"
    )


@pytest.mark.parametrize("expression", ["", "daily\nExecStart=x", "%t", '"daily"', "daily\\"])
def test_what_systemd_would_not_have_written_is_no_timer(expression: str) -> None:
    with pytest.raises(AgentError, match="cannot be written into a unit"):
        timer_unit(schedule(expression=expression), "# x")


async def test_a_timer_is_made_and_removed_with_its_stamp(timers: Timers, tmp_path: Path, units: Any) -> None:
    file = tmp_path / "systemd/user" / timer_name(ID)
    await timers.start(schedule())
    assert file.read_text() == timer_unit(schedule(), f"# Made by the agent of {tmp_path}/state.")
    assert await timers.running() == {ID}
    await timers.stop(ID)
    assert (file.exists(), await timers.running(), units.cleaned) == (False, set(), [])
    await timers.stop(ID, forget=True)
    assert units.cleaned == [timer_name(ID)]


def test_marks_are_ids_and_nothing_else_stays(timers: Timers) -> None:
    assert timers.due() == []
    timers.marks.mkdir(parents=True)
    for name in (ID, OTHER, "core", "AAAAAAAAAAAA", "aaaaaaaaaaaa.tmp"):
        (timers.marks / name).touch()
    assert sorted(timers.due()) == [ID, OTHER]
    assert sorted(path.name for path in timers.marks.iterdir()) == [ID, OTHER]
    assert [timers.settle(ID), timers.settle(ID)] == [True, False]
    assert timers.due() == [OTHER]


async def test_timers_and_marks_of_another_agent_are_left_alone(
    timers: Timers, tmp_path: Path, units: Any
) -> None:
    other = Timers(tmp_path, tmp_path / "other", units)
    await timers.start(schedule())
    await other.start(schedule(schedule_id=OTHER))
    assert (await timers.running(), await other.running()) == ({ID}, {OTHER})
    timers.marks.mkdir(parents=True)
    for name in (ID, OTHER):
        (timers.marks / name).touch()
    assert (timers.due(), other.due()) == ([ID], [OTHER])


def test_the_units_that_are_installed_name_the_marks(timers: Timers, tmp_path: Path) -> None:
    marks = f"%t/{timers.marks.relative_to(tmp_path)}"
    shipped = Path(__file__).parents[2] / "units"
    service = (shipped / "ml-schedule@.service").read_text()
    assert f"ExecStart=touch {marks}/%i\n" in service
    assert "Wants=ml-schedules.path\n" in service
    assert f"DirectoryNotEmpty={marks}\n" in (shipped / "ml-schedules.path").read_text()
