-- +goose Up
CREATE TABLE c2d_message (
    seq           INTEGER PRIMARY KEY, -- sequence number, rising over all queues
    device        TEXT NOT NULL,
    module        TEXT NOT NULL,     -- empty for the device itself
    generation    BIGINT NOT NULL,   -- of the identity it was sent to
    enqueued      BIGINT NOT NULL,   -- Unix nanoseconds, as expires
    expires       BIGINT NOT NULL,
    abandoned     SMALLINT NOT NULL, -- deliveries that were abandoned
    ack           SMALLINT NOT NULL, -- feedback asked for: 1 on success, 2 on failure, 3 on both
    message_id    TEXT NOT NULL,
    content       BLOB NOT NULL,     -- the message, in the form of records
    sum           BIGINT NOT NULL    -- CRC-32C of content
);
CREATE INDEX c2d_message_queue ON c2d_message (device, module, seq);
CREATE INDEX c2d_message_expires ON c2d_message (expires, seq);
CREATE TABLE c2d_feedback (
    seq           INTEGER PRIMARY KEY,
    device        TEXT NOT NULL,
    module        TEXT NOT NULL,
    generation    BIGINT NOT NULL,
    message_id    TEXT NOT NULL,
    status        SMALLINT NOT NULL, -- 0 success, 1 expired, 2 delivery count exceeded, 3 rejected, 4 purged
    at            BIGINT NOT NULL,   -- Unix nanoseconds, as expires
    expires       BIGINT NOT NULL,
    abandoned     SMALLINT NOT NULL
);
CREATE INDEX c2d_feedback_device ON c2d_feedback (device);
CREATE INDEX c2d_feedback_expires ON c2d_feedback (expires);
CREATE TABLE c2d_counter (
    name          TEXT NOT NULL PRIMARY KEY,
    value         BIGINT NOT NULL
) WITHOUT ROWID;
INSERT INTO c2d_counter (name, value) VALUES ('seq', 0);
