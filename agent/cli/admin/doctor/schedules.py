"""The doctor's checks of what is to happen by itself: timers of schedules, and a drain of the host."""

from collections.abc import Iterable

from ....config import Settings
from ....host.machine import output
from ....model.base import format_time, now
from ....model.host import Drain
from ....model.schedule import Schedule, ScheduleState, timer_name
from ....store.store import Store
from ...checks import Finding, Level, advise
from ..install import LIST_LIVE_UNITS


async def schedules(settings: Settings) -> Finding:
    """Compares the record of schedules with the timers of the account."""
    known: list[Schedule] = []
    if settings.database.exists():
        async with Store.open(settings.database) as store:
            known = await store.schedules.all()
    listed = await output(*LIST_LIVE_UNITS, timer_name("*"))
    return compare(known, {line.split()[0] for line in listed.splitlines() if line})


def compare(known: Iterable[Schedule], timers: set[str]) -> Finding:
    """Whether the active timers are those of the active schedules; suspended ones are named, too."""
    states = {timer_name(each.schedule_id): each.status for each in known}
    wanted, suspended = (
        {name for name, status in states.items() if status is wanted}
        for wanted in (ScheduleState.ACTIVE, ScheduleState.SUSPENDED)
    )
    kinds = {
        "without a timer": wanted - timers,
        "without a schedule": timers - wanted,
        "suspended": suspended,
    }
    seen = [f"{kind}: {', '.join(sorted(names))}" for kind, names in kinds.items() if names]
    return advise(
        "schedules",
        good=not seen,
        seen="; ".join([f"{len(wanted)} active", *seen]),
        remedy="The agent mends its timers when it starts: `systemctl --user restart ml-agent.service`."
        " `ml-job schedule show ID` says why one is suspended.",
    )


async def drain(settings: Settings) -> Finding:
    """Whether the host runs no jobs now, and until when."""
    known: Drain | None = None
    if settings.database.exists():
        async with Store.open(settings.database) as store:
            known = await store.drains.get()
    if known is None:
        return Finding("drain", Level.OK, "not drained")
    why = f": {known.reason}" if known.reason else ""
    begins = format_time(known.begins_at)
    ends = f"until {format_time(known.ends_at)}" if known.ends_at else "without an end"
    return advise(
        "drain",
        good=known.ends_at is not None,  # one without an end waits for somebody to remember it
        seen=f"{'since' if known.begins_at <= now() else 'from'} {begins} {ends}{why}",
        remedy="`ml-agent resume` ends it; `ml-agent drain --until TIME` gives it an end.",
    )
