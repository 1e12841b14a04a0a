-- +goose Up
CREATE TABLE policy (
    name          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    permissions   BIGINT NOT NULL, -- bits: 1 RegistryRead, 2 RegistryWrite, 4 ServiceConnect, 8 DeviceConnect
    primary_key   BYTEA NOT NULL,
    secondary_key BYTEA NOT NULL,
    sum           BIGINT NOT NULL -- CRC-32C of the others
);
