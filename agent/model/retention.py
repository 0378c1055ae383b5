"""Finished jobs as retention sees them, and the clock by which their ages are counted."""

from dataclasses import dataclass, replace
from datetime import datetime

NEVER_RAN, RAN = "never ran", "ran"  # how finished jobs that are not pinned are held, in the order they go


@dataclass(frozen=True)
class Amounts:
    """Jobs, the bytes of their records, and what their directories take: bytes on the disk, and names."""

    jobs: int = 1
    record_bytes: int = 0
    bytes: int = 0
    files: int = 0


@dataclass(frozen=True)
class FinishedJob(Amounts):
    """A job that has ended. `ages_from` is in seconds of the `AgeClock`."""

    job_id: str = ""
    owner: str = ""
    held_as: str = RAN
    finished_at: datetime = datetime.min
    ages_from: float = 0.0


@dataclass(frozen=True)
class Holding(Amounts):
    """What all jobs of an owner have that are held so."""

    owner: str = ""
    held_as: str = RAN


@dataclass(frozen=True)
class Totals:
    """Finished jobs that are not pinned: their number and the bytes of their files; then pinned jobs."""

    jobs: int
    bytes: int
    pinned: int
    pinned_bytes: int


@dataclass(frozen=True)
class Moment:
    """What a host's clocks say, in seconds: the wall clock, the time since boot with time asleep, which boot.

    `synchronised` says whether the wall clock follows a time server.
    """

    wall: float
    boot: float
    boot_id: str
    synchronised: bool


@dataclass(frozen=True)
class AgeClock:
    """A clock that never runs ahead of the time that has really passed, whatever the wall clock is set to.

    It advances with the time since boot. Time that the host was off counts only between two moments at which
    the wall clock was synchronised: the last one is `confirmed_wall`, in the boot `confirmed_boot`, when this
    clock stood at `confirmed_seconds`. It starts at the time of the newest record; differences alone matter.
    """

    boot_id: str
    boot: float
    seconds: float
    confirmed_boot: str
    confirmed_wall: float
    confirmed_seconds: float

    @classmethod
    def start(cls, moment: Moment, newest: float | None) -> "AgeClock":
        """The clock of a store that has none; `newest` is the wall clock's time of its newest record."""
        if newest is None or moment.synchronised:
            newest = moment.wall
        seconds = min(moment.wall, newest)
        confirmed_boot = moment.boot_id if moment.synchronised else ""
        return cls(moment.boot_id, moment.boot, seconds, confirmed_boot, seconds, seconds)

    def at(self, moment: Moment, *, trusted: bool = False) -> tuple["AgeClock", float]:
        """The clock at a later moment, and by how much it leaps because the host was off.

        `trusted`: a person says that the wall clock is right. What was written after `confirmed_seconds` has
        not aged by the leap.
        """
        same_boot = moment.boot_id == self.boot_id
        seconds, leap = self.seconds + max(0.0, moment.boot - (self.boot if same_boot else 0.0)), 0.0
        if not (moment.synchronised or trusted):
            return replace(self, boot_id=moment.boot_id, boot=moment.boot, seconds=seconds), leap
        # Within one boot the time since boot is the better witness, also of a time server that is wrong.
        if trusted or moment.boot_id != self.confirmed_boot:
            leap = max(0.0, self.confirmed_seconds + moment.wall - self.confirmed_wall - seconds)
        seconds += leap
        return AgeClock(moment.boot_id, moment.boot, seconds, moment.boot_id, moment.wall, seconds), leap

    def unconfirmed(self, moment: Moment) -> float:
        """Seconds that only the wall clock has counted by this moment; below 0 where it was set back."""
        here, _ = self.at(replace(moment, synchronised=False))
        return moment.wall - here.confirmed_wall - (here.seconds - here.confirmed_seconds)
