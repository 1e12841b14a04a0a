-- +goose Up
CREATE TABLE c2d_message (
    seq           BIGINT NOT NULL PRIMARY KEY, -- sequence number, rising over all queues
    device        TEXT COLLATE "C" NOT NULL,
    module        TEXT COLLATE "C" NOT NULL,     -- empty for the device itself
    generation    BIGINT NOT NULL,   -- of the identity it was sent to
    enqueued      BIGINT NOT NULL,   -- Unix nanoseconds, as expires
    expires       BIGINT NOT NULL,
    abandoned     SMALLINT NOT NULL, -- deliveries that were abandoned
    ack           SMALLINT NOT NULL, -- feedback asked for: 1 on success, 2 on failure, 3 on both
    message_id    TEXT NOT NULL,
    content       BYTEA NOT NULL,     -- the message, in the form of records
    sum           BIGINT NOT NULL    -- CRC-32C of content
);
CREATE INDEX c2d_message_queue ON c2d_message (device, module, seq);
CREATE INDEX c2d_message_expires ON c2d_message (expires, seq);
CREATE TABLE c2d_feedback (
    seq           BIGINT NOT NULL PRIMARY KEY,
    device        TEXT COLLATE "C" NOT NULL,
    module        TEXT COLLATE "C" NOT NULL,
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
    name          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    value         BIGINT NOT NULL
);
INSERT INTO c2d_counter (name, value) VALUES ('seq', 0);
