-- +goose Up
CREATE TABLE outbox (
    id   INTEGER NOT NULL PRIMARY KEY, -- in the order of the commits
    body BLOB NOT NULL                 -- the events of one transaction, see docs/formats/outbox.md
);
-- Rows that cannot be relayed, for people to look at.
CREATE TABLE outbox_aside (
    id     INTEGER NOT NULL PRIMARY KEY,
    body   BLOB NOT NULL,
    reason TEXT NOT NULL,
    at     BIGINT NOT NULL             -- Unix nanoseconds
);
