-- +goose Up
CREATE TABLE blob_key (
    id            SMALLINT NOT NULL PRIMARY KEY, -- 1
    value         BLOB NOT NULL,
    sum           BIGINT NOT NULL                -- CRC-32C of value
);
