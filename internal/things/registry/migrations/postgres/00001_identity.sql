-- +goose Up
CREATE TABLE device (
    id            TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    generation    BIGINT NOT NULL,   -- generation id: 100 ns since year 1 when it was made, never used twice
    etag          TEXT NOT NULL,
    status        SMALLINT NOT NULL, -- 0 enabled, 1 disabled
    status_reason TEXT,
    status_at     BIGINT NOT NULL,   -- Unix nanoseconds; 0 is never, here and below
    auth          SMALLINT NOT NULL, -- 0 sas, 1 self-signed, 2 certificate authority, 3 none
    key1          BYTEA,
    key2          BYTEA,
    thumb1        TEXT,              -- SHA-1 or SHA-256 in hexadecimal digits, as given
    thumb2        TEXT,
    sum           BIGINT NOT NULL,   -- CRC-32C of id, generation, status, auth, keys and thumbprints
    edge          SMALLINT NOT NULL, -- 1: an edge device
    scope         TEXT NOT NULL,     -- device scope; empty without one
    parents       TEXT NOT NULL      -- parent scopes, separated by blanks
) WITH (fillfactor = 85);
-- Connection states of devices that have ever connected. They change at every
-- connect: kept apart they are a few pages, not a page of the registry each.
CREATE TABLE seen (
    device        TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    made          BIGINT NOT NULL,   -- generation of the device
    connected     SMALLINT NOT NULL, -- 1: connected
    connected_at  BIGINT NOT NULL,   -- last change of connected
    active_at     BIGINT NOT NULL    -- last activity
);
CREATE TABLE module (
    device        TEXT COLLATE "C" NOT NULL,
    id            TEXT COLLATE "C" NOT NULL,
    generation    BIGINT NOT NULL,
    etag          TEXT NOT NULL,
    managed_by    TEXT NOT NULL,
    auth          SMALLINT NOT NULL,
    key1          BYTEA,
    key2          BYTEA,
    thumb1        TEXT,
    thumb2        TEXT,
    sum           BIGINT NOT NULL,
    connected     SMALLINT NOT NULL,
    connected_at  BIGINT NOT NULL,
    active_at     BIGINT NOT NULL,
    PRIMARY KEY (device, id)
) WITH (fillfactor = 85);
CREATE TABLE authority (
    name          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    etag          TEXT NOT NULL,
    der           BYTEA NOT NULL,       -- the certificate
    verified      SMALLINT NOT NULL, -- 1: its owner has shown that the private key is at hand
    code          TEXT NOT NULL,     -- verification code asked for last; empty without one
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL
);
-- What the numbers of connection events begin with: the starts on this store.
CREATE TABLE sequence (
    start         BIGINT NOT NULL
);
INSERT INTO sequence (start) VALUES (0);
-- Few devices are disabled; all are counted along the smallest tree.
CREATE INDEX device_disabled ON device (status) WHERE status = 1;
CREATE INDEX seen_connected ON seen (device) WHERE connected = 1;
CREATE INDEX module_connected ON module (device, id) WHERE connected = 1;
