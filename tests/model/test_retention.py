"""The clock of ages over random lives of a host: it never runs ahead of the time that has passed."""

from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st

from agent.model.retention import AgeClock, Moment

YEAR, DAY = 365 * 24 * 3600.0, 24 * 3600.0
NOON = 1_800_000_000.0  # wall clock


@dataclass
class Life:
    """A host: what its clocks say, and how much time has really passed."""

    passed: float = 0.0
    boot: float = 100.0
    boots: int = 1
    wrong_by: float = 0.0
    synchronised: bool = False
    clock: AgeClock = field(init=False)
    ages: list[tuple[float, float]] = field(default_factory=list)  # of jobs: real, and by the clock

    def __post_init__(self) -> None:
        self.clock = AgeClock.start(self.moment(), None)

    def moment(self) -> Moment:
        wall = NOON + self.passed + self.wrong_by
        return Moment(wall, self.boot, f"boot-{self.boots}", self.synchronised)

    def runs(self, seconds: float) -> None:
        self.passed += seconds
        self.boot += seconds

    def is_off(self, seconds: float) -> None:
        """What the wall clock says after the next boot is right, or not; nothing has confirmed it yet."""
        self.passed += seconds + 1
        self.boot, self.boots, self.synchronised = 1.0, self.boots + 1, False

    def sets_clock(self, seconds: float) -> None:
        """By hand: the kernel then says that the clock is not synchronised."""
        self.wrong_by, self.synchronised = self.wrong_by + seconds, False

    def synchronises(self) -> None:
        self.wrong_by, self.synchronised = 0.0, True

    def looks(self, *, job: bool = False) -> None:
        """As the pruner does; with `job`, one has ended just now."""
        before = self.clock
        self.clock, leap = before.at(self.moment())
        self.ages = [
            (real, since + leap if since > before.confirmed_seconds else since) for real, since in self.ages
        ]
        if job:
            self.ages.append((self.passed, self.clock.seconds))

    def age(self, since: float) -> float:
        return self.clock.seconds - since


days = st.floats(0, 400).map(lambda count: count * DAY)
events = st.one_of(
    days.map(lambda seconds: ("runs", seconds)),
    days.map(lambda seconds: ("is_off", seconds)),
    st.floats(-800, 800).map(lambda count: ("sets_clock", count * DAY)),
    st.just(("synchronises", None)),
    st.just(("looks", None)),
    st.just(("job", None)),
)


@given(st.lists(events, max_size=25))
def test_no_job_is_ever_older_than_the_time_that_has_passed(history: list[tuple[str, float | None]]) -> None:
    life = Life()
    for name, value in history:
        if name == "job":
            life.looks(job=True)
        elif value is None:
            getattr(life, name)()
        else:
            getattr(life, name)(value)
    before = life.clock.seconds
    life.looks()
    assert life.clock.seconds >= before
    for real, since in life.ages:
        assert life.age(since) <= life.passed - real + 1e-3


@given(st.lists(st.tuples(st.sampled_from(["runs", "is_off"]), days), max_size=10))
def test_a_host_that_is_synchronised_at_each_look_knows_every_age(lives: list[tuple[str, float]]) -> None:
    life = Life(synchronised=True)
    for name, seconds in lives:
        life.looks(job=True)
        getattr(life, name)(seconds)
        life.looks()  # the first look after a boot comes before the time server
        life.synchronises()
    life.looks()
    for real, since in life.ages:
        assert abs(life.age(since) - (life.passed - real)) < 1e-3


def test_a_clock_that_jumps_ahead_ages_nothing_until_the_time_has_passed() -> None:
    life = Life(synchronised=True)
    life.looks(job=True)
    life.sets_clock(YEAR)
    life.looks()
    assert life.age(life.ages[0][1]) == 0
    assert life.clock.unconfirmed(life.moment()) == YEAR
    life.runs(91 * DAY)
    life.looks()
    assert life.age(life.ages[0][1]) == 91 * DAY


def test_a_time_server_that_is_wrong_by_a_year_ages_nothing_either() -> None:
    life = Life(synchronised=True)
    life.looks(job=True)
    life.wrong_by = YEAR
    life.runs(60)
    life.looks()
    assert life.age(life.ages[0][1]) == 60


def test_a_year_that_the_host_was_off_counts_once_a_time_server_confirms_it() -> None:
    life = Life(synchronised=True)
    life.looks(job=True)
    life.is_off(YEAR)
    life.looks(job=True)
    assert life.age(life.ages[0][1]) == 1  # since the boot
    assert life.clock.unconfirmed(life.moment()) == YEAR
    life.runs(60)
    life.synchronises()
    life.looks()
    assert [round(life.age(since)) for _, since in life.ages] == [YEAR + 61, 60]
    assert life.clock.unconfirmed(life.moment()) == 0


def test_a_person_can_confirm_it_where_there_is_no_time_server() -> None:
    life = Life()
    life.looks(job=True)
    life.is_off(YEAR)
    life.looks()
    clock, leap = life.clock.at(life.moment(), trusted=True)
    assert (leap, clock.unconfirmed(life.moment())) == (YEAR, 0)
    assert clock.at(life.moment(), trusted=True) == (clock, 0)


def test_a_clock_that_was_set_back_stops_no_age() -> None:
    life = Life(synchronised=True)
    life.looks(job=True)
    life.sets_clock(-YEAR)
    life.runs(DAY)
    life.looks()
    assert life.age(life.ages[0][1]) == DAY
    assert life.clock.unconfirmed(life.moment()) == -YEAR


def test_a_store_without_a_clock_starts_at_its_newest_record_unless_the_wall_clock_is_synchronised() -> None:
    moment = Moment(NOON, 5.0, "boot", False)
    assert AgeClock.start(moment, NOON - YEAR).seconds == NOON - YEAR
    assert AgeClock.start(moment, NOON + YEAR).seconds == NOON
    assert AgeClock.start(moment, None).seconds == NOON
    assert AgeClock.start(replace(moment, synchronised=True), NOON - YEAR).seconds == NOON
