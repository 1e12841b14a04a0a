-- +goose Up
CREATE TABLE upload (
    id            TEXT NOT NULL PRIMARY KEY, -- correlation id
    device        TEXT NOT NULL,
    generation    BIGINT NOT NULL,   -- of the device
    name          TEXT NOT NULL,     -- of the blob, which begins with the device id
    begun         BIGINT NOT NULL,   -- Unix nanoseconds, as expires
    expires       BIGINT NOT NULL,
    done          SMALLINT NOT NULL  -- 0 open, 1 the device has said how it went
) WITHOUT ROWID;
CREATE INDEX upload_device ON upload (device, expires);
CREATE INDEX upload_expires ON upload (expires);
CREATE TABLE upload_note (
    seq           INTEGER PRIMARY KEY, -- sequence number
    device        TEXT NOT NULL,
    name          TEXT NOT NULL,
    size          BIGINT NOT NULL,   -- bytes
    modified      BIGINT NOT NULL,   -- Unix nanoseconds, as below
    enqueued      BIGINT NOT NULL,
    expires       BIGINT NOT NULL,
    abandoned     SMALLINT NOT NULL  -- deliveries that were abandoned
);
CREATE INDEX upload_note_expires ON upload_note (expires);
CREATE TABLE upload_counter (
    name          TEXT NOT NULL PRIMARY KEY,
    value         BIGINT NOT NULL
) WITHOUT ROWID;
INSERT INTO upload_counter (name, value) VALUES ('seq', 0);
