-- +goose Up
CREATE TABLE refusals (
    device   TEXT    NOT NULL,
    module   TEXT    NOT NULL,
    reason   TEXT    NOT NULL,
    remote   TEXT    NOT NULL, -- address without port
    protocol TEXT    NOT NULL,
    detail   TEXT    NOT NULL,
    count    BIGINT  NOT NULL,
    first_at BIGINT  NOT NULL, -- Unix nanoseconds
    last_at  BIGINT  NOT NULL,
    PRIMARY KEY (device, module, reason, remote)
);
CREATE INDEX refusals_last ON refusals (last_at);
