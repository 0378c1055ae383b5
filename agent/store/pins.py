"""The bound on what a user keeps from retention.

That are pinned jobs, pinned sweeps with all their trials, and the jobs that aliases of the user's models
point at, whoever owns the jobs.
"""

from sqlite3 import Connection

from ..errors import AgentError, Problem

# What a job takes; before its end, or before it was measured, what it may take at most.
_SIZE = "total(coalesce(bytes, json_extract(document, '$.limits.artifact_bytes'), 0))"


_KEPT = (  # each job once, but for what the one alias points at that is moved
    "SELECT id FROM jobs WHERE pinned AND owner = :owner"
    " UNION SELECT id FROM jobs WHERE sweep IN (SELECT id FROM sweeps WHERE owner = :owner AND pinned)"
    " UNION SELECT job_id FROM aliases JOIN models ON name = model"
    " WHERE owner = :owner AND NOT (model = :model AND alias = :alias)"
)


def check_pins(
    db: Connection, owner: str, *, job_id: str = "", sweep_id: str = "", limit: int, max_bytes: int
) -> None:
    """Checks that an owner may pin this job, or this sweep, too.

    Raises `AgentError` (too-many-pinned) where the owner has `limit` pinned jobs and sweeps, or keeps others
    that leave no room for it within `max_bytes`. One can always be pinned, whatever it has.
    """
    jobs, sweeps = db.execute(
        "SELECT (SELECT count(*) FROM jobs WHERE pinned AND owner = :owner),"
        " (SELECT count(*) FROM sweeps WHERE owner = :owner AND pinned)",
        {"owner": owner},
    ).fetchone()
    count, kinds = jobs + sweeps, "jobs and sweeps" if sweeps else "jobs"
    if count >= limit:
        raise _too_many(f"{owner} has {count} pinned {kinds}; the limit is {limit}")
    which = "id = :job_id" if job_id else "sweep = :sweep_id"
    _check_bytes(db, owner, which, f"pinned {kinds}", max_bytes, job_id=job_id, sweep_id=sweep_id)


def check_alias(db: Connection, owner: str, *, model: str, alias: str, job_id: str, max_bytes: int) -> None:
    """Checks that an alias of the owner's may point at this job: like `check_pins`, by bytes alone."""
    _check_bytes(db, owner, "id = :job_id", "kept jobs", max_bytes, model=model, alias=alias, job_id=job_id)


def _check_bytes(db: Connection, owner: str, which: str, kinds: str, max_bytes: int, **names: str) -> None:
    values = {"owner": owner, "model": "", "alias": ""} | names
    kept = f"SELECT count(*), {_SIZE} FROM jobs WHERE id IN ({_KEPT})"  # noqa: S608 (constants)
    more = f"SELECT {_SIZE} FROM jobs WHERE {which} AND id NOT IN ({_KEPT})"  # noqa: S608 (constants)
    count, taken = db.execute(kept, values).fetchone()
    (added,) = db.execute(more, values).fetchone()
    if count and taken + added > max_bytes:
        what = f"{kinds} with {int(taken)} bytes; with this one's {int(added)}, they exceed {max_bytes}"
        raise _too_many(f"{owner} has {what}")


def _too_many(what: str) -> AgentError:
    return AgentError(
        Problem.TOO_MANY_PINNED,
        f"{what}.",
        "Unpin one that is no longer needed, or remove an alias: `ml-job unpin`, `ml-job model rm`.",
    )
