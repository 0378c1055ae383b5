"""The schema of the ledger, and what jobs on record have used before there was one."""

# `usage` has a row for each name and day, in UTC; of a month without `by_day`, one for each name, whose `day`
# is the month. A name is a script's, or a label's with its value, of one user in one month; the empty name is
# the rest. `reserved` and `peak` are GiB hours of memory. What is not known is NULL.
#
# The attempts on record are entered once, as `usage.enter_attempts` would have done. What they left is not
# known. A job whose log is still to be archived will be asked then for what it used. Earlier agents recorded
# no attempts of jobs that had only one.
USAGE = """
    CREATE TABLE usage_months (month TEXT PRIMARY KEY, by_day INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE usage_names (
        id INTEGER PRIMARY KEY,
        month TEXT NOT NULL REFERENCES usage_months (month) ON DELETE CASCADE,
        owner TEXT NOT NULL,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        UNIQUE (month, owner, kind, name)
    );
    CREATE TABLE usage (
        name_id INTEGER NOT NULL REFERENCES usage_names (id) ON DELETE CASCADE,
        day TEXT NOT NULL,
        jobs INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        measured INTEGER NOT NULL,
        seconds REAL NOT NULL,
        cpu_seconds REAL,
        reserved REAL,
        peak REAL,
        peak_bytes INTEGER,
        artifact_bytes INTEGER,
        PRIMARY KEY (name_id, day)
    ) WITHOUT ROWID;
    ALTER TABLE jobs ADD COLUMN entered INTEGER NOT NULL DEFAULT 0;
    UPDATE jobs SET entered = coalesce(json_array_length(document, '$.attempts'), 0);

    CREATE TEMP TABLE past AS
        SELECT j.seq, j.owner, j.script, coalesce(json_extract(a.value, '$.number'), a.key + 1) AS number,
            json_extract(a.value, '$.started_at') AS began, json_extract(a.value, '$.finished_at') AS ended,
            NOT j.active AND a.key = j.entered - 1 AS is_last
        FROM jobs j, json_each(j.document, '$.attempts') a
        UNION ALL
        SELECT seq, owner, script, 1, json_extract(document, '$.started_at'), finished_at, 1
        FROM jobs WHERE NOT active AND entered = 0 AND json_extract(document, '$.started_at') NOT NULL;
    CREATE TEMP TABLE past_figures AS
        SELECT p.seq, p.owner, p.script, p.number, substr(p.ended, 1, 7) AS month,
            substr(p.ended, 1, 10) AS day,
            max(coalesce((julianday(p.ended) - julianday(p.began)) * 86400, 0), 0) AS seconds,
            json_extract(j.document, '$.limits.memory_bytes') / 3865470566400.0 AS gib_hours,
            CASE WHEN p.is_last AND u.job_id IS NULL THEN j.cpu_seconds END AS cpu_seconds,
            CASE WHEN p.is_last AND u.job_id IS NULL THEN j.memory_peak_bytes END AS peak_bytes,
            CASE WHEN p.is_last THEN NULL ELSE 0 END AS artifact_bytes
        FROM past p JOIN jobs j ON j.seq = p.seq LEFT JOIN unarchived u ON u.job_id = j.id;
    CREATE TEMP TABLE past_names AS
        SELECT seq, month, day, number, owner, 'script' AS kind, script AS name FROM past_figures
        UNION ALL
        SELECT f.seq, f.month, f.day, f.number, f.owner, 'label', l.name || '=' || l.value
        FROM past_figures f JOIN job_labels l ON l.seq = f.seq;
    CREATE TEMP TABLE past_ranks AS
        SELECT month, owner, kind, name,
            row_number() OVER (PARTITION BY month, owner, kind ORDER BY count(*) DESC, name) AS rank
        FROM past_names GROUP BY month, owner, kind, name;
    UPDATE past_names SET name = '' WHERE EXISTS (
        SELECT 1 FROM past_ranks r WHERE r.month = past_names.month AND r.owner = past_names.owner
            AND r.kind = past_names.kind AND r.name = past_names.name AND r.rank > 50);
    INSERT INTO usage_months SELECT DISTINCT month, 1 FROM past_names ORDER BY month DESC LIMIT 120;
    UPDATE usage_months SET by_day = 0
        WHERE month NOT IN (SELECT month FROM usage_months ORDER BY month DESC LIMIT 4);
    INSERT OR IGNORE INTO usage_names (month, owner, kind, name)
        SELECT DISTINCT month, owner, kind, name FROM past_names
        WHERE month IN (SELECT month FROM usage_months);
    INSERT INTO usage
        SELECT n.id, CASE WHEN m.by_day THEN f.day ELSE f.month END, sum(f.number = 1), count(*),
            sum(f.cpu_seconds IS NOT NULL), sum(f.seconds), sum(f.cpu_seconds), sum(f.gib_hours * f.seconds),
            sum(f.peak_bytes * f.seconds / 3865470566400.0), max(f.peak_bytes), sum(f.artifact_bytes)
        FROM (SELECT DISTINCT * FROM past_names) p
            JOIN past_figures f ON f.seq = p.seq AND f.number = p.number
            JOIN usage_names n
                ON n.month = p.month AND n.owner = p.owner AND n.kind = p.kind AND n.name = p.name
            JOIN usage_months m ON m.month = p.month
        GROUP BY 1, 2;
    DROP TABLE past;
    DROP TABLE past_figures;
    DROP TABLE past_names;
    DROP TABLE past_ranks;
"""
