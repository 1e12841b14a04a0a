-- +goose Up
CREATE TABLE job (
    seq          BIGINT NOT NULL PRIMARY KEY, -- rises from job to job; names it in job_device
    id           TEXT NOT NULL UNIQUE,
    kind         SMALLINT NOT NULL, -- 1 export, 2 import, 3 device method, 4 twin update
    status       SMALLINT NOT NULL, -- 1 queued, 2 scheduled, 3 running, 4 enqueued, 10 completed, 11 failed, 12 cancelled
    settled      SMALLINT NOT NULL, -- 1: ended, and so has every device of it
    condition    TEXT NOT NULL,
    content      TEXT NOT NULL,     -- JSON: the change of twins, the method, or what to import or export
    created_at   BIGINT NOT NULL,   -- Unix nanoseconds; 0 is never, here and below
    start_at     BIGINT NOT NULL,   -- when it is to start
    run_at       BIGINT NOT NULL,   -- when it did
    ended_at     BIGINT NOT NULL,
    max_seconds  BIGINT NOT NULL,   -- from run_at
    failure      TEXT NOT NULL,
    message      TEXT NOT NULL,
    selected     SMALLINT NOT NULL, -- 1: all of its devices have a row in job_device
    place_device TEXT NOT NULL,     -- the last that was looked at while they are selected
    place_module TEXT NOT NULL,
    total        BIGINT NOT NULL,   -- devices; lines of an import
    succeeded    BIGINT NOT NULL,
    failed       BIGINT NOT NULL,
    canceled     BIGINT NOT NULL,
    place        BIGINT NOT NULL,   -- of an import: bytes of the file that are done
    size         BIGINT NOT NULL    -- of an import: bytes of the file
);
CREATE INDEX job_open ON job (settled) WHERE settled = 0;
CREATE INDEX job_ended ON job (ended_at) WHERE settled = 1;
CREATE TABLE job_device (
    job        BIGINT NOT NULL,
    device     TEXT NOT NULL,
    module     TEXT NOT NULL,       -- empty for the device itself
    generation BIGINT NOT NULL,     -- of the identity that was selected
    status     SMALLINT NOT NULL,   -- 0 pending, 1 running, 2 completed, 3 failed, 4 canceled
    created_at BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at   BIGINT NOT NULL,
    code       BIGINT NOT NULL,     -- what the method answered; of a failed one the code of the error
    text       TEXT NOT NULL,       -- what the method answered, JSON; of a failed one what was wrong
    PRIMARY KEY (job, device, module)
) WITHOUT ROWID;
-- What was wrong with the lines of an import, until it is written to its blob.
CREATE TABLE job_line (
    job  BIGINT NOT NULL,
    seq  BIGINT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (job, seq)
) WITHOUT ROWID;
