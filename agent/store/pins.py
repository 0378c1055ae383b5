"""The bound on what a user keeps from retention: pinned jobs, and pinned sweeps with all their trials."""

from sqlite3 import Connection

from ..errors import AgentError, Problem

# What a job takes; before its end, or before it was measured, what it may take at most.
_SIZE = "total(coalesce(bytes, json_extract(document, '$.limits.artifact_bytes'), 0))"


def check_pins(
    db: Connection, owner: str, *, job_id: str = "", sweep_id: str = "", limit: int, max_bytes: int
) -> None:
    """Checks that an owner may pin this job, or this sweep, too.

    Raises `AgentError` (too-many-pinned) where the owner has `limit` pinned jobs and sweeps, or others that
    leave no room for it within `max_bytes`. One can always be pinned, whatever it has.
    """
    values = {"owner": owner, "job_id": job_id, "sweep_id": sweep_id}
    jobs, of_jobs = db.execute(
        f"SELECT count(*), {_SIZE} FROM jobs WHERE pinned AND owner = :owner",  # noqa: S608 (a constant)
        values,
    ).fetchone()
    (of_sweeps,) = db.execute(
        f"SELECT {_SIZE} FROM jobs WHERE NOT pinned AND sweep IN"  # noqa: S608 (a constant)
        " (SELECT id FROM sweeps WHERE owner = :owner AND pinned)",
        values,
    ).fetchone()
    (sweeps,) = db.execute("SELECT count(*) FROM sweeps WHERE owner = :owner AND pinned", values).fetchone()
    which = "id = :job_id" if job_id else "sweep = :sweep_id AND NOT pinned"
    (added,) = db.execute(f"SELECT {_SIZE} FROM jobs WHERE {which}", values).fetchone()  # noqa: S608
    taken = of_jobs + of_sweeps
    count, kinds = jobs + sweeps, "jobs and sweeps" if sweeps else "jobs"
    if count >= limit:
        what = f"{count} pinned {kinds}; the limit is {limit}"
    elif count and taken + added > max_bytes:
        what = (
            f"pinned {kinds} with {int(taken)} bytes; with this one's {int(added)}, they exceed {max_bytes}"
        )
    else:
        return
    raise AgentError(
        Problem.TOO_MANY_PINNED,
        f"{owner} has {what}.",
        "Unpin one that is no longer needed: DELETE /jobs/{id}/pin, `ml-job unpin`.",
    )
