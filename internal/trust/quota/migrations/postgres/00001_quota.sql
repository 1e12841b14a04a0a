-- +goose Up
CREATE TABLE quota_day (
    day  BIGINT NOT NULL PRIMARY KEY, -- since 1970-01-01, UTC
    used BIGINT NOT NULL              -- messages of all nodes
);
