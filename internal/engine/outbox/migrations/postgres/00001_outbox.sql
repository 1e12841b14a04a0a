-- +goose Up
CREATE TABLE outbox (
    id   BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- for one device in the order of its commits
    body BYTEA NOT NULL                                   -- the events of one transaction, see docs/formats/outbox.md
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0,
    toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 20000, toast.autovacuum_vacuum_cost_delay = 0);
-- Packed events do not compress well enough to pay for the time.
ALTER TABLE outbox ALTER COLUMN body SET STORAGE EXTERNAL;
-- Rows that cannot be relayed, for people to look at.
CREATE TABLE outbox_aside (
    id     BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    body   BYTEA NOT NULL,
    reason TEXT NOT NULL,
    at     BIGINT NOT NULL                                -- Unix nanoseconds
);
