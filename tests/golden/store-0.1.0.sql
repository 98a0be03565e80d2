PRAGMA auto_vacuum = 2;
BEGIN TRANSACTION;
CREATE TABLE environment (
    id   INTEGER PRIMARY KEY,
    hash BLOB    NOT NULL UNIQUE,       -- SHA-256 of the body
    jobs INTEGER NOT NULL
);
INSERT INTO "environment" VALUES(1,X'22949DC05BCBD83A0FDFBAE236E5EB67DB981635DF4C9E5982927889B8570F13',5);
INSERT INTO "environment" VALUES(2,X'8B57B3A93B6E8775E194D13BA2106956815470B6C5178D4B2230D555D52B3BD2',1);
CREATE TABLE environment_body (
    id   INTEGER PRIMARY KEY,
    body BLOB    NOT NULL               -- NAME=value entries, each ended by a NUL
);
INSERT INTO "environment_body" VALUES(1,X'484F4D453D2F746D702F672F686F6D6500504154483D2F7573722F62696E3A2F62696E004C414E473D432E5554462D3800');
INSERT INTO "environment_body" VALUES(2,X'484F4D453D2F746D702F672F686F6D6500504154483D2F7573722F62696E3A2F62696E004C414E473D432E5554462D3800413D3100');
CREATE TABLE event (
    seq  INTEGER PRIMARY KEY,
    at   INTEGER NOT NULL,              -- milliseconds since 1970
    body TEXT    NOT NULL               -- JSON, with its "kind"
);
INSERT INTO "event" VALUES(1,1795248902572,'{"kind":"machine.found","boot_id":"5f3a1c9e-0000-4000-8000-000000000001","cpus":2,"mem_bytes":24202768384}');
INSERT INTO "event" VALUES(2,1795248902585,'{"kind":"job.submitted","job":"1","user":0,"name":"prepare"}');
INSERT INTO "event" VALUES(3,1795248902585,'{"kind":"job.started","job":"1","attempt":1}');
INSERT INTO "event" VALUES(4,1795248902589,'{"kind":"job.ended","job":"1","state":"completed","started_at":"2026-11-21T08:15:02.587Z","ended_at":"2026-11-21T08:15:02.588Z","exit_code":0,"usage":{"cpu_ms":1,"peak_memory_bytes":1343488}}');
INSERT INTO "event" VALUES(5,1795248902591,'{"kind":"job.submitted","job":"2","user":0,"name":"sh","cpus":0}');
INSERT INTO "event" VALUES(6,1795248902591,'{"kind":"job.started","job":"2","attempt":1}');
INSERT INTO "event" VALUES(7,1795248902594,'{"kind":"job.ended","job":"2","state":"failed","started_at":"2026-11-21T08:15:02.593Z","ended_at":"2026-11-21T08:15:02.594Z","exit_code":3,"failure":{"kind":"ExecuteError","cause":"exit","message":"it exited with code 3"},"usage":{"cpu_ms":1,"peak_memory_bytes":1593344}}');
INSERT INTO "event" VALUES(8,1795248902596,'{"kind":"job.submitted","job":"3","user":0,"name":"sh","array":"0-4:2%2"}');
INSERT INTO "event" VALUES(9,1795248902596,'{"kind":"job.started","job":"3.0","attempt":1}');
INSERT INTO "event" VALUES(10,1795248902596,'{"kind":"job.started","job":"3.2","attempt":1}');
INSERT INTO "event" VALUES(11,1795248902600,'{"kind":"job.ended","job":"3.0","state":"completed","started_at":"2026-11-21T08:15:02.598Z","ended_at":"2026-11-21T08:15:02.599Z","exit_code":0,"usage":{"cpu_ms":1,"peak_memory_bytes":1462272}}');
INSERT INTO "event" VALUES(12,1795248902600,'{"kind":"job.started","job":"3.4","attempt":1}');
INSERT INTO "event" VALUES(13,1795248902600,'{"kind":"job.ended","job":"3.2","state":"failed","started_at":"2026-11-21T08:15:02.599Z","ended_at":"2026-11-21T08:15:02.600Z","exit_code":2,"failure":{"kind":"ExecuteError","cause":"exit","message":"it exited with code 2"},"usage":{"cpu_ms":1,"peak_memory_bytes":1667072}}');
INSERT INTO "event" VALUES(14,1795248902602,'{"kind":"job.ended","job":"3.4","state":"failed","started_at":"2026-11-21T08:15:02.601Z","ended_at":"2026-11-21T08:15:02.602Z","exit_code":4,"failure":{"kind":"ExecuteError","cause":"exit","message":"it exited with code 4"},"usage":{"cpu_ms":1,"peak_memory_bytes":1667072}}');
INSERT INTO "event" VALUES(15,1795248902602,'{"kind":"job.ended","job":"3","state":"failed","ended_at":"2026-11-21T08:15:02.602Z","failure":{"kind":"ExecuteError","cause":"exit","message":"2 of its 3 tasks did not complete"},"usage":{"cpu_ms":0,"peak_memory_bytes":0}}');
INSERT INTO "event" VALUES(16,1795248902609,'{"kind":"job.submitted","job":"4","user":0,"name":"sleep","priority":80,"mem_bytes":1073741824,"time_ms":7200000,"hold":true}');
INSERT INTO "event" VALUES(17,1795248902614,'{"kind":"job.submitted","job":"5","user":0,"name":"echo","needs":[{"on":"4","when":"ok"}],"retries":2,"retry_on":["3","oom"],"backoff":"1000ms..5000ms"}');
INSERT INTO "event" VALUES(18,1795248902618,'{"kind":"job.submitted","job":"6","user":0,"name":"true","hold":true,"array":"0-9%3"}');
INSERT INTO "event" VALUES(19,1795248902624,'{"kind":"job.ended","job":"5","state":"cancelled","ended_at":"2026-11-21T08:15:02.624Z","by":0,"usage":{"cpu_ms":0,"peak_memory_bytes":0}}');
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
INSERT INTO "job" VALUES(1,0,'root','prepare','completed',1,50,1,NULL,NULL,0,1795248902585,NULL,1795248902587,1795248902588,0,NULL,NULL,NULL,NULL,1,1343488,NULL,NULL,NULL,NULL,'first of all','["true"]','"/tmp/g"',NULL,NULL,18,0,1);
INSERT INTO "job" VALUES(2,0,'root','sh','failed',1,50,0,NULL,NULL,0,1795248902591,NULL,1795248902593,1795248902594,3,NULL,'ExecuteError','exit','it exited with code 3',1,1593344,NULL,NULL,NULL,'nightly',NULL,'["sh","-c","exit 3"]','"/tmp/g"',NULL,NULL,18,0,1);
INSERT INTO "job" VALUES(3,0,'root','sh','failed',0,50,1,NULL,NULL,0,1795248902596,NULL,NULL,1795248902602,NULL,NULL,'ExecuteError','exit','2 of its 3 tasks did not complete',3,1667072,'0-4:2%2',1,2,NULL,NULL,'["sh","-c","exit $QRM_ARRAY_INDEX"]','"/tmp/g"',NULL,NULL,18,0,1);
INSERT INTO "job" VALUES(4,0,'root','sleep','queued',0,80,1,1073741824,7200000,0,1795248902609,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'["sleep","10"]','"/tmp/g"',NULL,NULL,18,0,2);
INSERT INTO "job" VALUES(5,0,'root','echo','cancelled',0,50,1,NULL,NULL,2,1795248902614,NULL,NULL,1795248902624,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'["echo","hi"]','"/tmp/g"',NULL,NULL,18,0,1);
INSERT INTO "job" VALUES(6,0,'root','true','queued',0,50,1,NULL,NULL,0,1795248902618,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'0-9%3',NULL,NULL,NULL,NULL,'["true"]','"/tmp/g"',NULL,NULL,18,0,1);
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
INSERT INTO "task" VALUES(3,0,'completed',1,1795248902598,1795248902599,0,NULL,NULL,NULL,NULL,1,1462272);
INSERT INTO "task" VALUES(3,2,'failed',1,1795248902599,1795248902600,2,NULL,'ExecuteError','exit','it exited with code 2',1,1667072);
INSERT INTO "task" VALUES(3,4,'failed',1,1795248902601,1795248902602,4,NULL,'ExecuteError','exit','it exited with code 4',1,1667072);
CREATE INDEX job_live ON job (id) WHERE ended_at IS NULL;
CREATE INDEX job_ended ON job (ended_at) WHERE ended_at IS NOT NULL;
CREATE UNIQUE INDEX job_key ON job (uid, key) WHERE key IS NOT NULL;
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
COMMIT;
PRAGMA user_version = 1;
