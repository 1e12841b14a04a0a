-- +goose Up
CREATE TABLE twin (
    device           TEXT NOT NULL,
    module           TEXT NOT NULL,   -- empty for the twin of the device itself
    generation       BIGINT NOT NULL, -- of the identity: the twin of an earlier one with the same id is not read
    version          BIGINT NOT NULL, -- of the whole twin; rises with every change
    etag             BIGINT NOT NULL, -- rises with changes by the back end
    model            TEXT NOT NULL,   -- DTDL model id of the last connection; empty without one
    desired_version  BIGINT NOT NULL,
    reported_version BIGINT NOT NULL,
    tags             TEXT NOT NULL,   -- JSON object, compact, numbers as they were sent; so are the next two
    desired          TEXT NOT NULL,
    reported         TEXT NOT NULL,
    desired_meta     BLOB NOT NULL,   -- times and versions of the objects and values of desired, see docs/formats/twin.md
    reported_meta    BLOB NOT NULL,
    sum              BIGINT NOT NULL, -- CRC-32C of all other columns
    PRIMARY KEY (device, module)
);
