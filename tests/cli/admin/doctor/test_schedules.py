"""Whether timers and record of schedules agree."""

import pytest

from agent.cli.admin.doctor.schedules import compare
from agent.cli.checks import Level
from agent.model.base import now
from agent.model.schedule import Overlap, Schedule, ScheduledJob, ScheduleState, timer_name

ACTIVE, PAUSED, SUSPENDED = ScheduleState.ACTIVE, ScheduleState.PAUSED, ScheduleState.SUSPENDED
A, B = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


def schedule(schedule_id: str, status: ScheduleState) -> Schedule:
    return Schedule(
        schedule_id=schedule_id,
        status=status,
        owner="alice",
        name="nightly",
        calendar="daily",
        time_zone="UTC",
        expression="*-*-* 00:00:00 UTC",
        overlap=Overlap.SKIP,
        job=ScheduledJob(script_name="train.py"),
        created_at=now(),
        active_since=now(),
    )


@pytest.mark.parametrize(
    ("states", "timers", "seen"),
    [
        ({}, (), "0 active"),
        ({A: ACTIVE, B: PAUSED}, (A,), "1 active"),
        ({A: ACTIVE}, (), f"1 active; without a timer: {timer_name(A)}"),
        ({A: PAUSED}, (A, B), f"0 active; without a schedule: {timer_name(A)}, {timer_name(B)}"),
        ({A: SUSPENDED}, (), f"0 active; suspended: {timer_name(A)}"),
    ],
)
def test_each_difference_is_named(
    states: dict[str, ScheduleState], timers: tuple[str, ...], seen: str
) -> None:
    known = [schedule(schedule_id, status) for schedule_id, status in states.items()]
    finding = compare(known, {timer_name(schedule_id) for schedule_id in timers})
    assert (finding.seen, finding.level) == (seen, Level.WARN if ";" in seen else Level.OK)
