-- What happened: the truth, together with the newest snapshot beside this file.
CREATE TABLE event (
    seq  INTEGER PRIMARY KEY,
    at   INTEGER NOT NULL,              -- milliseconds since 1970
    body TEXT    NOT NULL               -- JSON, with its "kind"
);

-- One row a job, kept up to date in the transaction of its events. Times are milliseconds since 1970.
CREATE TABLE job (
    id                INTEGER PRIMARY KEY,
    uid               INTEGER NOT NULL,
    user              TEXT    NOT NULL,
    name              TEXT    NOT NULL,
    state             TEXT    NOT NULL,
    attempt           INTEGER NOT NULL DEFAULT 0,
    priority          INTEGER NOT NULL,
    cpus              INTEGER NOT NULL,
    mem_bytes         INTEGER,
    time_limit_ms     INTEGER,
    retries           INTEGER NOT NULL DEFAULT 0,
    submitted_at      INTEGER NOT NULL,
    begin_at          INTEGER,
    started_at        INTEGER,
    ended_at          INTEGER,
    exit_code         INTEGER,
    signal            INTEGER,
    failure_kind      TEXT,
    failure_cause     TEXT,
    failure_message   TEXT,
    cpu_ms            INTEGER,
    peak_memory_bytes INTEGER,
    tasks             TEXT,             -- an array's indices, as 0-99:2%8
    tasks_completed   INTEGER,
    tasks_failed      INTEGER,
    key               TEXT,
    comment           TEXT,
    command           TEXT    NOT NULL, -- JSON array of its words
    cwd               TEXT    NOT NULL, -- JSON
    validate_command  TEXT,
    compile_command   TEXT,
    umask             INTEGER NOT NULL,
    fifo              INTEGER NOT NULL DEFAULT 0,
    environment       INTEGER NOT NULL
);
CREATE INDEX job_live ON job (id) WHERE ended_at IS NULL;
CREATE INDEX job_ended ON job (ended_at) WHERE ended_at IS NOT NULL;
CREATE UNIQUE INDEX job_key ON job (uid, key) WHERE key IS NOT NULL;

-- One row a task of an array, from its first start or its end.
CREATE TABLE task (
    job               INTEGER NOT NULL,
    task              INTEGER NOT NULL,
    state             TEXT    NOT NULL,
    attempt           INTEGER NOT NULL DEFAULT 0,
    started_at        INTEGER,
    ended_at          INTEGER,
    exit_code         INTEGER,
    signal            INTEGER,
    failure_kind      TEXT,
    failure_cause     TEXT,
    failure_message   TEXT,
    cpu_ms            INTEGER,
    peak_memory_bytes INTEGER,
    PRIMARY KEY (job, task)
) WITHOUT ROWID;

-- Environments, each once however many jobs have it; gone with the last of them.
CREATE TABLE environment (
    id   INTEGER PRIMARY KEY,
    hash BLOB    NOT NULL UNIQUE,       -- SHA-256 of the body
    jobs INTEGER NOT NULL
);
CREATE TABLE environment_body (
    id   INTEGER PRIMARY KEY,
    body BLOB    NOT NULL               -- NAME=value entries, each ended by a NUL
);

-- For people with sqlite3: select * from jobs;
CREATE VIEW jobs AS
    SELECT CAST(id AS TEXT) AS id, name, user, state, exit_code, attempt, priority, cpus, mem_bytes,
           datetime(submitted_at / 1000, 'unixepoch') AS submitted, datetime(started_at / 1000, 'unixepoch') AS started,
           datetime(ended_at / 1000, 'unixepoch') AS ended, failure_message AS failure, cpu_ms, peak_memory_bytes, command
    FROM job
    UNION ALL
    SELECT job || '.' || task, name, user, task.state, task.exit_code, task.attempt, priority, cpus, mem_bytes,
           datetime(submitted_at / 1000, 'unixepoch'), datetime(task.started_at / 1000, 'unixepoch'),
           datetime(task.ended_at / 1000, 'unixepoch'), task.failure_message, task.cpu_ms, task.peak_memory_bytes, command
    FROM task JOIN job ON job.id = task.job;
