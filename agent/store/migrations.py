"""The schema, version by version."""

import sqlite3

from ..errors import misconfigured
from .first_migrations import FIRST_MIGRATIONS
from .usage_migration import USAGE

# Each entry brings the file from version n to n + 1; entries are never edited once released.
MIGRATIONS = (
    *FIRST_MIGRATIONS,
    # Sweeps, and their trials, which are jobs. `change` is the number of a sweep's newest change. `asked` and
    # `told` number the trials' suggestions and results of a sweep in one order, from 1: a strategy that takes
    # them up in this order suggests the same again.
    """
    ALTER TABLE jobs ADD COLUMN sweep TEXT AS (json_extract(document, '$.sweep')) VIRTUAL;
    CREATE INDEX jobs_by_sweep ON jobs (sweep) WHERE sweep IS NOT NULL;
    CREATE TABLE sweeps (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        active INTEGER NOT NULL,
        pinned INTEGER NOT NULL,
        change INTEGER NOT NULL,
        key TEXT,
        fingerprint TEXT NOT NULL,
        document TEXT NOT NULL
    );
    CREATE UNIQUE INDEX sweeps_by_key ON sweeps (owner, key) WHERE key IS NOT NULL;
    CREATE INDEX sweeps_by_owner ON sweeps (owner, seq);
    CREATE INDEX sweeps_active ON sweeps (seq) WHERE active;
    CREATE INDEX sweeps_changed ON sweeps (change);
    CREATE TABLE sweep_changes (last INTEGER NOT NULL);
    INSERT INTO sweep_changes VALUES (0);
    CREATE TABLE trials (
        sweep_id TEXT NOT NULL REFERENCES sweeps (id) ON DELETE CASCADE,
        trial INTEGER NOT NULL,
        job_id TEXT NOT NULL UNIQUE,
        hyperparameters TEXT NOT NULL,
        asked INTEGER NOT NULL,
        told INTEGER,
        result TEXT,
        PRIMARY KEY (sweep_id, trial)
    ) WITHOUT ROWID;
    """,
    # What each job that has not ended needs of others: retention leaves these alone.
    """
    CREATE TABLE needs (
        job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
        needed TEXT NOT NULL,
        PRIMARY KEY (job_id, needed)
    ) WITHOUT ROWID;
    CREATE INDEX needs_by_needed ON needs (needed);
    """,
    # What an ended job reported and used, so that jobs can be compared without their logs. `summarised` says
    # whether its metrics are here: those of jobs that ended before are read when they are asked for.
    """
    ALTER TABLE jobs ADD COLUMN summarised INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE jobs ADD COLUMN cpu_seconds REAL;
    ALTER TABLE jobs ADD COLUMN memory_peak_bytes INTEGER;
    CREATE TABLE job_metrics (
        job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        count INTEGER NOT NULL,
        last REAL NOT NULL,
        low REAL,
        high REAL,
        PRIMARY KEY (job_id, name)
    ) WITHOUT ROWID;
    """,
    # Schedules, and what became of their times. `slot` of a schedule is the time of its newest run that no
    # client has asked for. A run is found by its time, and names the job or the sweep that it has become.
    """
    CREATE TABLE schedules (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        status TEXT NOT NULL,
        slot TEXT,
        change INTEGER NOT NULL,
        key TEXT,
        fingerprint TEXT NOT NULL,
        document TEXT NOT NULL
    );
    CREATE UNIQUE INDEX schedules_by_key ON schedules (owner, key) WHERE key IS NOT NULL;
    CREATE INDEX schedules_by_owner ON schedules (owner, seq);
    CREATE INDEX schedules_changed ON schedules (change);
    CREATE TABLE schedule_changes (last INTEGER NOT NULL);
    INSERT INTO schedule_changes VALUES (0);
    CREATE TABLE schedule_runs (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        schedule_id TEXT NOT NULL REFERENCES schedules (id) ON DELETE CASCADE,
        slot TEXT NOT NULL,
        manual INTEGER NOT NULL,
        status TEXT NOT NULL,
        job_id TEXT,
        sweep_id TEXT,
        document TEXT NOT NULL,
        UNIQUE (schedule_id, slot)
    );
    CREATE INDEX schedule_runs_in_order ON schedule_runs (schedule_id, seq);
    CREATE INDEX schedule_runs_waiting ON schedule_runs (schedule_id) WHERE status = 'WAITING';
    """,
    # Models by name. `model_readers` has the users that may read a model, and `*` for everybody. A job that
    # an alias points at cannot be removed.
    """
    CREATE TABLE models (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        document TEXT NOT NULL
    );
    CREATE INDEX models_by_owner ON models (owner, seq);
    CREATE TABLE model_readers (
        model TEXT NOT NULL REFERENCES models (name) ON DELETE CASCADE,
        reader TEXT NOT NULL,
        PRIMARY KEY (model, reader)
    ) WITHOUT ROWID;
    CREATE INDEX models_by_reader ON model_readers (reader);
    CREATE TABLE aliases (
        model TEXT NOT NULL REFERENCES models (name) ON DELETE CASCADE,
        alias TEXT NOT NULL,
        job_id TEXT NOT NULL REFERENCES jobs (id),
        PRIMARY KEY (model, alias)
    ) WITHOUT ROWID;
    CREATE INDEX aliases_by_job ON aliases (job_id);
    CREATE TABLE alias_moves (
        model TEXT NOT NULL,
        alias TEXT NOT NULL,
        number INTEGER NOT NULL,
        document TEXT NOT NULL,
        PRIMARY KEY (model, alias, number),
        FOREIGN KEY (model, alias) REFERENCES aliases (model, alias) ON DELETE CASCADE
    ) WITHOUT ROWID;
    """,
    # Labels of jobs, which never change, and whose job a metric is of: a list by labels, or in the order of a
    # metric, goes through few rows, and never through those of other users.
    """
    CREATE TABLE job_labels (
        name TEXT NOT NULL,
        value TEXT NOT NULL,
        seq INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
        owner TEXT NOT NULL,
        PRIMARY KEY (name, value, seq)
    ) WITHOUT ROWID;
    CREATE INDEX job_labels_by_owner ON job_labels (owner, name, value, seq);
    CREATE INDEX job_labels_by_job ON job_labels (seq);
    INSERT INTO job_labels SELECT l.key, l.value, j.seq, j.owner
        FROM jobs j, json_each(j.document, '$.labels') l;
    CREATE TRIGGER labels_of_added AFTER INSERT ON jobs BEGIN
        INSERT INTO job_labels SELECT key, value, new.seq, new.owner
            FROM json_each(new.document, '$.labels');
    END;
    ALTER TABLE job_metrics ADD COLUMN seq INTEGER;
    ALTER TABLE job_metrics ADD COLUMN owner TEXT;
    UPDATE job_metrics SET (seq, owner) = (SELECT seq, owner FROM jobs WHERE id = job_id);
    CREATE INDEX job_metrics_by_value ON job_metrics (name, last, seq);
    CREATE INDEX job_metrics_by_age ON job_metrics (name, seq);
    CREATE INDEX job_metrics_of_owner_by_value ON job_metrics (owner, name, last, seq);
    CREATE INDEX job_metrics_of_owner_by_age ON job_metrics (owner, name, seq);
    """,
    # Who may read a job, or a sweep with all its trials; `*` is everybody.
    """
    CREATE TABLE readers (
        subject TEXT NOT NULL,
        reader TEXT NOT NULL,
        PRIMARY KEY (subject, reader)
    ) WITHOUT ROWID;
    CREATE INDEX readers_by_reader ON readers (reader, subject);
    CREATE TRIGGER readers_of_job AFTER DELETE ON jobs BEGIN
        DELETE FROM readers WHERE subject = old.id;
    END;
    CREATE TRIGGER readers_of_sweep AFTER DELETE ON sweeps BEGIN
        DELETE FROM readers WHERE subject = old.id;
    END;
    """,
    # What the trials of a sweep need, also while there is none.
    """
    CREATE TABLE sweep_needs (
        sweep_id TEXT NOT NULL REFERENCES sweeps (id) ON DELETE CASCADE,
        needed TEXT NOT NULL,
        PRIMARY KEY (sweep_id, needed)
    ) WITHOUT ROWID;
    CREATE INDEX sweep_needs_by_needed ON sweep_needs (needed);
    """,
    # Numbers that only grow, for monitoring: how many jobs have ended for each reason, how many waited at
    # most so many seconds for their first turn, and how long they waited together.
    """
    CREATE TABLE tallies (
        name TEXT NOT NULL,
        label TEXT NOT NULL,
        value REAL NOT NULL,
        PRIMARY KEY (name, label)
    ) WITHOUT ROWID;
    CREATE TRIGGER tally_end AFTER UPDATE OF active ON jobs WHEN OLD.active AND NOT NEW.active BEGIN
        INSERT INTO tallies VALUES ('ended', coalesce(json_extract(NEW.document, '$.reason'), 'none'), 1)
            ON CONFLICT DO UPDATE SET value = value + 1;
    END;
    CREATE TRIGGER tally_turn AFTER UPDATE OF status ON jobs
        WHEN OLD.status = 'PENDING' AND NEW.status = 'CREATED'
            AND coalesce(json_extract(NEW.document, '$.attempt'), 1) = 1
    BEGIN
        INSERT INTO tallies
            SELECT 'waited', coalesce(min(bound), '+Inf'), 1 FROM (
                SELECT value AS bound FROM json_each('[1, 5, 15, 60, 300, 900, 3600, 14400, 86400]')
                WHERE (julianday('now') - julianday(json_extract(NEW.document, '$.created_at'))) * 86400
                    <= value
            ) WHERE true
            ON CONFLICT DO UPDATE SET value = value + 1;
        INSERT INTO tallies VALUES ('waited_seconds', '',
            max(0, (julianday('now') - julianday(json_extract(NEW.document, '$.created_at'))) * 86400))
            ON CONFLICT DO UPDATE SET value = value + excluded.value;
    END;
    """,
    USAGE,
    # A drain may be planned, may end by itself, and has a reason. There is one at most.
    """
    ALTER TABLE drains RENAME COLUMN since TO begins_at;
    ALTER TABLE drains ADD COLUMN ends_at TEXT;
    ALTER TABLE drains ADD COLUMN reason TEXT NOT NULL DEFAULT '';
    """,
)


def migrate(connection: sqlite3.Connection) -> None:
    """Brings the schema up to date. Raises `AgentError` (configuration) where it is newer than this agent."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise misconfigured(
            f"The job store has schema {version}; this agent knows {len(MIGRATIONS)}.",
            "Install the agent version that wrote it, or a newer one.",
        )
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")
