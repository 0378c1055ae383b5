"""What has happened since the store was made, in numbers that only grow: for monitoring.

Triggers count in the transaction of the deed. So the numbers outlive the agent, which ends when it is idle.
"""

from dataclasses import dataclass
from sqlite3 import Connection

from ..model.host import Drain
from ..model.job import Job
from .database import Tables, transaction
from .drains import drain_of

# Upper bounds in seconds of the waiting times that are counted together; the last one has none.
WAITING_BOUNDS = ("1", "5", "15", "60", "300", "900", "3600", "14400", "86400", "+Inf")


@dataclass(frozen=True)
class Tallies:
    """The numbers, and what the jobs that have not ended are doing.

    `ended` has how many jobs ended for each reason, `none` for those that succeeded. `waited` has how many
    jobs waited at most so many seconds for their first turn, and longer than the bound before;
    `waited_seconds` is the sum. `active` counts jobs by state. `oldest` is when the oldest waiting job was
    accepted, in RFC 3339. `running` has the jobs that take room. `unarchived` counts ended jobs whose log
    only the journal has. `drain` is when the host runs no jobs.
    """

    ended: dict[str, float]
    waited: dict[str, float]
    waited_seconds: float
    active: dict[str, int]
    oldest: str | None
    running: list[Job]
    unarchived: int
    drain: Drain | None


class TallyStore(Tables):
    """Reads the tallies."""

    @transaction
    def read(self, db: Connection) -> Tallies:
        """All of them, at one moment."""
        tallies: dict[str, dict[str, float]] = {"ended": {}, "waited": {}, "waited_seconds": {}}
        for name, label, value in db.execute("SELECT name, label, value FROM tallies"):
            tallies[name][label] = value
        oldest = db.execute(
            "SELECT json_extract(document, '$.created_at') FROM jobs WHERE status = 'PENDING'"
            " ORDER BY seq LIMIT 1"
        ).fetchone()
        running = db.execute("SELECT document FROM jobs WHERE active AND status <> 'PENDING'")
        (unarchived,) = db.execute("SELECT count(*) FROM unarchived").fetchone()
        return Tallies(
            ended=tallies["ended"],
            waited={bound: tallies["waited"].get(bound, 0) for bound in WAITING_BOUNDS},
            waited_seconds=tallies["waited_seconds"].get("", 0),
            active=dict(db.execute("SELECT status, count(*) FROM jobs WHERE active GROUP BY status")),
            oldest=oldest and oldest[0],
            running=[Job.model_validate_json(document) for (document,) in running],
            unarchived=unarchived,
            drain=drain_of(db),
        )
