"""The timers of schedules in the account's own systemd, and the marks that they leave when they elapse.

A timer's file is in the runtime directory, so it lasts until the next boot; the agent makes it again then.
systemd keeps the time at which a timer last elapsed (`Persistent=`), so that one which was due meanwhile
elapses at once. A timer starts `ml-schedule@<id>.service`, which leaves a mark with the id as its name.
`ml-schedules.path` starts the agent while there are marks. The agent removes a mark after it has looked.
"""

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import AgentError, host_failed
from ..host.files import write_file
from ..host.systemd import Units
from ..model.schedule import Schedule, timer_name

UNIT = re.compile(r"ml-schedule@([a-z2-7]{12})\.(service|timer)")
EXPRESSION = re.compile(r"[A-Za-z0-9 *:,./~_+-]+")  # without a specifier, quote or line break
TIMER = """\
{owner}
[Unit]
Description=Times of schedule {schedule_id}

[Timer]
OnCalendar={expression}
Persistent=true
RandomizedDelaySec={delay}
AccuracySec=1s
"""


@dataclass(eq=False)
class Timers:
    """The timers of the agent of one state directory, by the ids of their schedules."""

    _runtime_directory: Path
    _state_directory: Path
    _units: Units

    async def start(self, schedule: Schedule) -> None:
        """Makes the timer and starts it; one that runs goes on. Raises `AgentError` (host)."""
        path = self._file(schedule.schedule_id)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, timer_unit(schedule, self._owner).encode(), mode=0o644, replace=True)
        except OSError as error:
            raise host_failed(f"The timer {path} cannot be written: {error.strerror}.") from error
        await self._units.start(path.name)

    async def stop(self, schedule_id: str, *, forget: bool = False) -> None:
        """Stops the timer and removes it; with `forget` also the time at which it last elapsed."""
        name = timer_name(schedule_id)
        await self._units.stop(name)
        if forget:
            with contextlib.suppress(AgentError):  # where the manager refuses it, an empty file stays
                await self._units.clean(name)
        self._file(schedule_id).unlink(missing_ok=True)

    async def running(self) -> set[str]:
        """The schedules that have a timer of this agent."""
        names = await self._units.active(timer_name("*"))
        ids = [match[1] for name in names if (match := UNIT.fullmatch(name))]
        return {schedule_id for schedule_id in ids if not self._is_foreign(schedule_id)}

    def due(self) -> list[str]:
        """The schedules whose timer has elapsed. Other files in the place of marks are removed."""
        found = []
        for mark in self.marks.iterdir() if self.marks.is_dir() else ():
            if not UNIT.fullmatch(timer_name(mark.name)):
                mark.unlink(missing_ok=True)
            elif not self._is_foreign(mark.name):
                found.append(mark.name)
        return found

    def settle(self, schedule_id: str) -> bool:
        """Removes a mark; whether there was one."""
        try:
            (self.marks / schedule_id).unlink()
        except FileNotFoundError:
            return False
        return True

    @property
    def marks(self) -> Path:
        """The directory of the marks, as `ml-schedule@.service` and `ml-schedules.path` name it."""
        return self._runtime_directory / "ml-agent/due"

    @property
    def _owner(self) -> str:
        """The first line of a timer: another agent of the account, as tests have one, leaves it alone."""
        return f"# Made by the agent of {self._state_directory}."

    def _is_foreign(self, schedule_id: str) -> bool:
        try:
            return not self._file(schedule_id).read_text("utf-8").startswith(f"{self._owner}\n")
        except FileNotFoundError:
            return False

    def _file(self, schedule_id: str) -> Path:
        return self._runtime_directory / "systemd/user" / timer_name(schedule_id)


def timer_unit(schedule: Schedule, owner: str) -> str:
    """The text of a timer. Its expression is what systemd has written, and no text of a client.

    Raises `AgentError` (host) for an expression that systemd would not have written.
    """
    if not EXPRESSION.fullmatch(schedule.expression):
        raise host_failed(f"{schedule.expression!r} cannot be written into a unit.")
    return TIMER.format(
        owner=owner,
        schedule_id=schedule.schedule_id,
        expression=schedule.expression,
        delay=schedule.randomized_delay_seconds,
    )
