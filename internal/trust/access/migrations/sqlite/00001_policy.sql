-- +goose Up
CREATE TABLE policy (
    name          TEXT NOT NULL PRIMARY KEY,
    permissions   BIGINT NOT NULL, -- bits: 1 RegistryRead, 2 RegistryWrite, 4 ServiceConnect, 8 DeviceConnect
    primary_key   BLOB NOT NULL,
    secondary_key BLOB NOT NULL,
    sum           BIGINT NOT NULL -- CRC-32C of the others
) WITHOUT ROWID;
