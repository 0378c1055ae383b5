"""Whole copies of the database: made while others write it, and prepared to go on on another host."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection

from ..audit.chain import Caller, Deed
from ..errors import AgentError, Problem, host_failed, invalid_request, misconfigured
from ..model.job import Job, JobState
from .audit import append_row
from .database import BUSY_TIMEOUT, Tables, transaction
from .migrations import MIGRATIONS

NO_MANAGER = "restored"  # in the place of the systemd manager that was asked to start a job


@dataclass(frozen=True)
class Identity:
    """What a copy is: its schema, the name of its history of changes, the head of its audit."""

    db_schema: int
    record: str
    head: str


def copy_database(database: Path, copy: Path) -> Identity:
    """Copies a database as of one moment into a new file, while others read and write it.

    Raises `AgentError`: host where SQLite cannot, storage-full.
    """
    try:
        with (
            closing(sqlite3.connect(database, timeout=BUSY_TIMEOUT)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            # In one step: a copy in several begins again whenever somebody writes.
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")  # one file alone
        return identity_of(copy)
    except sqlite3.Error as error:
        if "full" in str(error) or "disk I/O" in str(error):
            message = f"The disk of {copy.parent} is full: the database could not be copied."
            raise AgentError(Problem.STORAGE_FULL, message, "Nothing was kept. Make room there.") from error
        raise host_failed(f"The job store {database} cannot be copied: {error}.") from error


def identity_of(database: Path) -> Identity:
    """Checks a whole database that nobody else has open, without migrating it.

    Raises `AgentError`: configuration for a later schema, invalid-request for a damaged one.
    """
    try:
        with closing(sqlite3.connect(database)) as db:
            (schema,) = db.execute("PRAGMA user_version").fetchone()
            demand_schema(schema)
            (found,) = db.execute("PRAGMA integrity_check(1)").fetchone()
            if found != "ok":
                raise invalid_request(f"The database {database.name} is damaged: {found}.")
            (record,) = db.execute("SELECT epoch FROM change_history").fetchone()
            head = db.execute("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
            head = head or db.execute("SELECT seq, hash FROM audit_anchor").fetchone()
            return Identity(schema, record, f"{head[0]}:{head[1]}")
    except (sqlite3.Error, TypeError) as error:
        raise invalid_request(f"The database {database.name} is damaged: {error}.") from error


def demand_schema(schema: int) -> None:
    """Raises `AgentError` (configuration) for one that this agent does not know."""
    if schema > len(MIGRATIONS):
        raise misconfigured(
            f"The backup has schema {schema} of the database; this agent knows {len(MIGRATIONS)}.",
            "Install the agent version that made it, or a newer one.",
        )


def close_database(database: Path) -> None:
    """Makes a database one file. Raises `AgentError` (host) where a process still has it open."""
    try:
        with closing(sqlite3.connect(database, timeout=0)) as db:
            db.execute("PRAGMA journal_mode = DELETE").fetchone()
    except sqlite3.OperationalError as error:
        raise host_failed(
            f"The agent, or a command, uses {database}: {error}.",
            "Stop the agent: `systemctl --user stop ml-agent.socket ml-agent.service`.",
        ) from error
    except sqlite3.DatabaseError:
        pass  # damaged: it is replaced


def begun_since(replaced: Path) -> dict[str, int]:
    """The jobs of a record that is replaced which have begun, with how many attempts."""
    begun = "active AND status = 'PENDING'"
    query = (
        "SELECT id, coalesce(json_extract(document, '$.attempt'), 1)"  # noqa: S608
        f" - ({begun}) FROM jobs"
    )
    try:
        with closing(sqlite3.connect(replaced)) as db:
            return {job_id: attempts for job_id, attempts in db.execute(query) if attempts > 0}
    except sqlite3.Error:
        return {}  # damaged: nothing is known of it


@dataclass(frozen=True)
class Resumed:
    """What becomes of the jobs of a restored record: those that wait, ran, or have begun since."""

    waiting: tuple[str, ...]
    running: tuple[str, ...]
    begun_since: tuple[str, ...]


class RestoredStore(Tables):
    """Makes the copy of a database the one that an agent goes on with."""

    @transaction
    def resume(self, db: Connection, begun: dict[str, int], by: Caller, details: dict[str, str]) -> Resumed:
        """Settles what no longer holds, and writes the audit's row, in one transaction.

        The history of changes gets a new name: clients that followed the old one begin anew. Jobs that ran
        were asked of no systemd manager that is still there: the agent ends their attempt as interrupted.
        Jobs that waited, and have `begun` in the replaced record, end. Open invitations are withdrawn.
        """
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE change_history SET epoch = lower(hex(randomblob(4)))")
        db.execute("UPDATE jobs SET manager = ? WHERE active AND status != 'PENDING'", (NO_MANAGER,))
        invited = db.execute("DELETE FROM invitations WHERE certificate IS NULL").rowcount
        rows = db.execute("SELECT document FROM jobs WHERE active ORDER BY seq").fetchall()
        jobs = [Job.model_validate_json(document) for (document,) in rows]
        waiting = [job for job in jobs if job.status is JobState.PENDING]
        ended = [job for job in waiting if begun.get(job.job_id, 0) >= job.attempt]
        resumed = Resumed(
            tuple(job.job_id for job in waiting if job not in ended),
            tuple(job.job_id for job in jobs if job.status is not JobState.PENDING),
            tuple(job.job_id for job in ended),
        )
        append_row(db, self._deed(by, resumed, invited, details))
        return resumed

    @staticmethod
    def _deed(by: Caller, resumed: Resumed, invited: int, details: dict[str, str]) -> Deed:
        numbers = {"waiting": len(resumed.waiting), "running": len(resumed.running), "invitations": invited}
        return by.did("restore", "", **details, **numbers, begun_since=list(resumed.begun_since))
