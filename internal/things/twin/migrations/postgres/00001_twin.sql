-- +goose Up
CREATE TABLE twin (
    device           TEXT COLLATE "C" NOT NULL,
    module           TEXT COLLATE "C" NOT NULL,   -- empty for the twin of the device itself
    generation       BIGINT NOT NULL, -- of the identity: the twin of an earlier one with the same id is not read
    version          BIGINT NOT NULL, -- of the whole twin; rises with every change
    etag             BIGINT NOT NULL, -- rises with changes by the back end
    model            TEXT NOT NULL,   -- DTDL model id of the last connection; empty without one
    desired_version  BIGINT NOT NULL,
    reported_version BIGINT NOT NULL,
    tags             JSON NOT NULL,   -- JSON object, compact, numbers as they were sent; so are the next two
    desired          JSON NOT NULL,
    reported         JSON NOT NULL,
    desired_meta     BYTEA NOT NULL,   -- times and versions of the objects and values of desired, see docs/formats/twin.md
    reported_meta    BYTEA NOT NULL,
    sum              BIGINT NOT NULL, -- CRC-32C of all other columns
    PRIMARY KEY (device, module)
) WITH (fillfactor = 80);
