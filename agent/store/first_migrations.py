"""The schema up to the jobs of a fleet: the versions before that of sweeps."""

# Each entry is as `migrations.MIGRATIONS` says; none is ever edited.
FIRST_MIGRATIONS = (
    """
    CREATE TABLE jobs (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        prefix TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        script TEXT NOT NULL,
        status TEXT NOT NULL,
        active INTEGER NOT NULL,
        manager TEXT NOT NULL DEFAULT '',
        document TEXT NOT NULL
    );
    CREATE INDEX jobs_by_owner ON jobs (owner, seq);
    CREATE INDEX jobs_by_status ON jobs (status, seq);
    CREATE INDEX jobs_by_script ON jobs (script, seq);
    CREATE INDEX jobs_active ON jobs (seq) WHERE active;
    CREATE TABLE idempotency_keys (
        owner TEXT NOT NULL,
        key TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
        PRIMARY KEY (owner, key)
    ) WITHOUT ROWID;
    CREATE TABLE certificates (
        serial TEXT PRIMARY KEY,
        user TEXT NOT NULL,
        role TEXT NOT NULL,
        issued_at TEXT NOT NULL,
        expires_at TEXT NOT NULL,
        revoked_at TEXT
    ) WITHOUT ROWID;
    """,
    """
    CREATE INDEX jobs_by_owner_and_status ON jobs (owner, status, seq);
    CREATE TABLE uses (
        owner TEXT PRIMARY KEY,
        seconds REAL NOT NULL,
        at TEXT NOT NULL
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE unarchived (
        job_id TEXT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE
    ) WITHOUT ROWID;
    """,
    # The newest change of each job, numbered in the transaction that makes it, also by another process. The
    # last thousand changes of removed jobs are kept; a client that missed older ones must start over. A new
    # store counts from 1 again: its changes have another epoch.
    """
    CREATE TABLE changes (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        job_id TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        removed INTEGER NOT NULL
    );
    CREATE INDEX changes_by_owner ON changes (owner, seq);
    CREATE INDEX changes_removed ON changes (seq) WHERE removed;
    CREATE TABLE change_history (epoch TEXT NOT NULL, forgotten INTEGER NOT NULL);
    INSERT INTO change_history VALUES (lower(hex(randomblob(4))), 0);
    INSERT INTO changes (job_id, owner, removed) SELECT id, owner, 0 FROM jobs ORDER BY seq;
    CREATE TRIGGER job_added AFTER INSERT ON jobs BEGIN
        DELETE FROM changes WHERE job_id = new.id;
        INSERT INTO changes (job_id, owner, removed) VALUES (new.id, new.owner, 0);
    END;
    CREATE TRIGGER job_changed AFTER UPDATE OF document ON jobs WHEN new.document IS NOT old.document BEGIN
        DELETE FROM changes WHERE job_id = new.id;
        INSERT INTO changes (job_id, owner, removed) VALUES (new.id, new.owner, 0);
    END;
    CREATE TRIGGER job_removed AFTER DELETE ON jobs BEGIN
        DELETE FROM changes WHERE job_id = old.id;
        INSERT INTO changes (job_id, owner, removed) VALUES (old.id, old.owner, 1);
    END;
    CREATE TRIGGER removals_bounded AFTER INSERT ON changes WHEN new.removed BEGIN
        UPDATE change_history SET forgotten = coalesce(
            (SELECT seq FROM changes WHERE removed ORDER BY seq DESC LIMIT 1 OFFSET 1000), forgotten
        );
        DELETE FROM changes WHERE removed AND seq <= (SELECT forgotten FROM change_history);
    END;
    """,
    # `bytes` is what a finished job's directory takes, once measured; `leaving` names the jobs whose
    # directories are to be deleted, whether or not they still have a row.
    """
    ALTER TABLE jobs ADD COLUMN bytes INTEGER;
    ALTER TABLE jobs ADD COLUMN pinned INTEGER AS (coalesce(json_extract(document, '$.pinned'), 0)) VIRTUAL;
    ALTER TABLE jobs ADD COLUMN finished_at TEXT AS (json_extract(document, '$.finished_at')) VIRTUAL;
    ALTER TABLE jobs ADD COLUMN removed_at TEXT AS (json_extract(document, '$.removed.at')) VIRTUAL;
    ALTER TABLE jobs ADD COLUMN revision_of_scripts TEXT AS (json_extract(document, '$.commit')) VIRTUAL;
    CREATE INDEX jobs_unmeasured ON jobs (seq) WHERE NOT active AND bytes IS NULL;
    CREATE INDEX jobs_finished ON jobs (finished_at, seq) WHERE NOT active AND NOT pinned;
    CREATE INDEX jobs_with_files ON jobs (finished_at, seq, bytes)
        WHERE NOT active AND NOT pinned AND removed_at IS NULL;
    CREATE INDEX jobs_pinned ON jobs (owner) WHERE pinned;
    CREATE INDEX jobs_by_commit ON jobs (revision_of_scripts);
    CREATE INDEX idempotency_keys_by_job ON idempotency_keys (job_id);
    CREATE TABLE leaving (
        job_id TEXT PRIMARY KEY
    ) WITHOUT ROWID;
    """,
    # The audit: rows are only appended. Those up to the anchor are archived elsewhere.
    """
    CREATE TABLE audit (
        seq INTEGER PRIMARY KEY,
        entry TEXT NOT NULL,
        hash TEXT NOT NULL
    );
    CREATE TABLE audit_anchor (seq INTEGER NOT NULL, hash TEXT NOT NULL);
    INSERT INTO audit_anchor VALUES (0, lower(hex(zeroblob(32))));
    CREATE TRIGGER audit_unchanged BEFORE UPDATE ON audit BEGIN
        SELECT RAISE(ABORT, 'rows of the audit are not changed');
    END;
    CREATE TRIGGER audit_kept BEFORE DELETE ON audit WHEN old.seq > (SELECT seq FROM audit_anchor) BEGIN
        SELECT RAISE(ABORT, 'rows of the audit are not removed');
    END;
    CREATE TRIGGER audit_in_order BEFORE INSERT ON audit
        WHEN new.seq != 1 + coalesce((SELECT max(seq) FROM audit), (SELECT seq FROM audit_anchor)) BEGIN
        SELECT RAISE(ABORT, 'rows of the audit are appended');
    END;
    CREATE TRIGGER audit_anchor_moves BEFORE UPDATE ON audit_anchor
        WHEN NOT EXISTS (SELECT 1 FROM audit WHERE seq = new.seq AND hash = new.hash) BEGIN
        SELECT RAISE(ABORT, 'the anchor of the audit is the last row that was archived');
    END;
    CREATE TRIGGER audit_anchor_stays BEFORE DELETE ON audit_anchor BEGIN
        SELECT RAISE(ABORT, 'the audit has an anchor');
    END;
""",
    # Who signed a certificate, which one it renews, and when it was first used: the end of an authority
    # depends on these. The fingerprint, because a stolen authority's key can sign any serial number.
    """
    ALTER TABLE certificates ADD COLUMN authority TEXT NOT NULL DEFAULT '';
    ALTER TABLE certificates ADD COLUMN renews TEXT;
    ALTER TABLE certificates ADD COLUMN used_at TEXT;
    ALTER TABLE certificates ADD COLUMN fingerprint TEXT NOT NULL DEFAULT '';
    """,
    """
    ALTER TABLE jobs ADD COLUMN image TEXT AS (json_extract(document, '$.image')) VIRTUAL;
    ALTER TABLE jobs ADD COLUMN image_digest TEXT AS (json_extract(document, '$.image_digest')) VIRTUAL;
    CREATE INDEX jobs_by_image ON jobs (image_digest);
    """,
    # `digest` is of the code, which is stored nowhere; `key` and `certificate` are there once it is used.
    """
    CREATE TABLE invitations (
        digest TEXT PRIMARY KEY,
        user TEXT NOT NULL,
        role TEXT NOT NULL,
        days INTEGER NOT NULL,
        created_at TEXT NOT NULL,
        expires_at TEXT NOT NULL,
        key TEXT,
        certificate TEXT
    ) WITHOUT ROWID;
    """,
    # Commits that may not run any more.
    """
    CREATE TABLE withdrawals (
        commit_id TEXT PRIMARY KEY,
        reason TEXT NOT NULL,
        actor TEXT NOT NULL,
        at TEXT NOT NULL,
        stop_running INTEGER NOT NULL
    ) WITHOUT ROWID;
    """,
    # What retention shares out. A finished job's age begins at `ages_from`, by `age_clock`, which nobody sets
    # (`model.retention`); `files` counts what is in its directory. `holdings` sums up what each user has.
    # Triggers keep it: 100,000 jobs are too many to be counted again and again. `audit_days` has the bytes of
    # each actor's rows of the audit on one day.
    """
    ALTER TABLE jobs ADD COLUMN files INTEGER;
    ALTER TABLE jobs ADD COLUMN ages_from REAL;
    ALTER TABLE jobs ADD COLUMN held_as TEXT AS (CASE
        WHEN active THEN 'unfinished'
        WHEN coalesce(json_extract(document, '$.pinned'), 0) THEN 'pinned'
        WHEN json_extract(document, '$.started_at') IS NOT NULL THEN 'ran'
        WHEN instr(coalesce(json_extract(document, '$.attempts'), ''), '"started_at":') THEN 'ran'
        ELSE 'never ran' END) VIRTUAL;
    UPDATE jobs SET ages_from = (julianday(finished_at) - 2440587.5) * 86400,
        files = CASE WHEN removed_at IS NOT NULL THEN 0 END WHERE NOT active AND bytes NOT NULL;
    DROP INDEX jobs_unmeasured;
    DROP INDEX jobs_finished;
    DROP INDEX jobs_with_files;
    CREATE INDEX jobs_unmeasured ON jobs (seq) WHERE NOT active AND files IS NULL;
    CREATE INDEX jobs_held ON jobs (owner, held_as, ages_from, seq) WHERE NOT active AND NOT pinned;
    CREATE INDEX jobs_held_with_files ON jobs (owner, held_as, ages_from, seq)
        WHERE NOT active AND NOT pinned AND removed_at IS NULL;
    CREATE TABLE audit_days (
        actor TEXT PRIMARY KEY,
        day TEXT NOT NULL,
        bytes INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE age_clock (
        boot_id TEXT NOT NULL,
        boot REAL NOT NULL,
        seconds REAL NOT NULL,
        confirmed_boot TEXT NOT NULL,
        confirmed_wall REAL NOT NULL,
        confirmed_seconds REAL NOT NULL
    );
    CREATE TABLE holdings (
        owner TEXT NOT NULL,
        held_as TEXT NOT NULL,
        jobs INTEGER NOT NULL,
        record_bytes INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        files INTEGER NOT NULL,
        PRIMARY KEY (owner, held_as)
    ) WITHOUT ROWID;
    INSERT INTO holdings SELECT owner, held_as, count(*), sum(length(CAST(document AS BLOB))),
        coalesce(sum(bytes), 0), coalesce(sum(files), 0) FROM jobs GROUP BY owner, held_as;
    CREATE TRIGGER holdings_of_added AFTER INSERT ON jobs BEGIN
        INSERT INTO holdings
            VALUES (new.owner, new.held_as, 1, length(CAST(new.document AS BLOB)),
                coalesce(new.bytes, 0), coalesce(new.files, 0))
            ON CONFLICT DO UPDATE SET
                jobs = jobs + 1,
                record_bytes = record_bytes + excluded.record_bytes,
                bytes = bytes + excluded.bytes,
                files = files + excluded.files;
    END;
    CREATE TRIGGER holdings_of_removed AFTER DELETE ON jobs BEGIN
        UPDATE holdings SET
                jobs = jobs - 1,
                record_bytes = record_bytes - length(CAST(old.document AS BLOB)),
                bytes = bytes - coalesce(old.bytes, 0),
                files = files - coalesce(old.files, 0)
            WHERE owner = old.owner AND held_as = old.held_as;
        DELETE FROM holdings WHERE owner = old.owner AND held_as = old.held_as AND jobs = 0;
    END;
    CREATE TRIGGER holdings_of_changed AFTER UPDATE OF owner, active, document, bytes, files ON jobs BEGIN
        UPDATE holdings SET
                jobs = jobs - 1,
                record_bytes = record_bytes - length(CAST(old.document AS BLOB)),
                bytes = bytes - coalesce(old.bytes, 0),
                files = files - coalesce(old.files, 0)
            WHERE owner = old.owner AND held_as = old.held_as;
        INSERT INTO holdings
            VALUES (new.owner, new.held_as, 1, length(CAST(new.document AS BLOB)),
                coalesce(new.bytes, 0), coalesce(new.files, 0))
            ON CONFLICT DO UPDATE SET
                jobs = jobs + 1,
                record_bytes = record_bytes + excluded.record_bytes,
                bytes = bytes + excluded.bytes,
                files = files + excluded.files;
        DELETE FROM holdings WHERE owner = old.owner AND held_as = old.held_as AND jobs = 0;
    END;
    """,
    # Jobs that a fleet has given to this host. A row outlives its job: the fleet's id must never run again.
    # `drains` has one row while the host is drained.
    """
    CREATE TABLE given_jobs (
        job_id TEXT PRIMARY KEY,
        key TEXT NOT NULL,
        fingerprint TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE drains (since TEXT NOT NULL);
    """,
    # The newest version of each secret that a fleet has set or removed on this host: an older one comes late.
    """
    CREATE TABLE secret_versions (
        user TEXT NOT NULL,
        name TEXT NOT NULL,
        version TEXT NOT NULL,
        PRIMARY KEY (user, name)
    ) WITHOUT ROWID;
    """,
    # Retention leaves a job of the fleet alone until the fleet was told of its end. `number` is the order in
    # which jobs were given: of those whose records are gone, the oldest rows go.
    """
    ALTER TABLE given_jobs ADD COLUMN told INTEGER NOT NULL DEFAULT 1;
    ALTER TABLE given_jobs ADD COLUMN number INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX given_in_order ON given_jobs (number);
    """,
)
