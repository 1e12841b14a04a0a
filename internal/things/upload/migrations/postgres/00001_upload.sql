-- +goose Up
CREATE TABLE upload (
    id            TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- correlation id
    device        TEXT COLLATE "C" NOT NULL,
    generation    BIGINT NOT NULL,   -- of the device
    name          TEXT COLLATE "C" NOT NULL,     -- of the blob, which begins with the device id
    begun         BIGINT NOT NULL,   -- Unix nanoseconds, as expires
    expires       BIGINT NOT NULL,
    done          SMALLINT NOT NULL  -- 0 open, 1 the device has said how it went
);
CREATE INDEX upload_device ON upload (device, expires);
CREATE INDEX upload_expires ON upload (expires);
CREATE TABLE upload_note (
    seq           BIGINT NOT NULL PRIMARY KEY, -- sequence number
    device        TEXT COLLATE "C" NOT NULL,
    name          TEXT COLLATE "C" NOT NULL,
    size          BIGINT NOT NULL,   -- bytes
    modified      BIGINT NOT NULL,   -- Unix nanoseconds, as below
    enqueued      BIGINT NOT NULL,
    expires       BIGINT NOT NULL,
    abandoned     SMALLINT NOT NULL  -- deliveries that were abandoned
);
CREATE INDEX upload_note_expires ON upload_note (expires);
CREATE TABLE upload_counter (
    name          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    value         BIGINT NOT NULL
);
INSERT INTO upload_counter (name, value) VALUES ('seq', 0);
