-- +goose Up
CREATE TABLE configuration (
    number         BIGINT NOT NULL PRIMARY KEY, -- when it was made, Unix nanoseconds; of later ones it is higher
    id             TEXT COLLATE "C" NOT NULL,
    revision       BIGINT NOT NULL,   -- rises with every change
    aim            BIGINT NOT NULL,   -- revision that last changed which twins it is for, or its priority
    done           BIGINT NOT NULL,   -- revision up to which all twins were brought in line
    deleted        SMALLINT NOT NULL, -- 1: deleted; the row goes when no twin has it any more
    schema_version TEXT NOT NULL,
    labels         TEXT NOT NULL,     -- JSON object of texts
    content        TEXT NOT NULL,     -- JSON object as it was given
    target         TEXT NOT NULL,     -- condition
    priority       BIGINT NOT NULL,
    queries        TEXT NOT NULL,     -- JSON object of texts: the metrics
    created_at     BIGINT NOT NULL,   -- Unix nanoseconds
    updated_at     BIGINT NOT NULL,
    sum            BIGINT NOT NULL    -- CRC-32C of number, id, content, target, priority and queries
);
CREATE UNIQUE INDEX configuration_by_id ON configuration (id) WHERE deleted = 0;
-- Which configurations are for which twins, and what they have set there.
CREATE TABLE configuration_target (
    device         TEXT COLLATE "C" NOT NULL,
    module         TEXT COLLATE "C" NOT NULL,     -- empty for the twin of the device itself
    configuration  BIGINT NOT NULL,   -- number
    generation     BIGINT NOT NULL,   -- of the identity
    status         SMALLINT NOT NULL, -- 0 targeted but others count more, 1 applied, 2 to be applied
    won            TEXT NOT NULL,     -- what it set: *, or the places of the paths in the order of its content
    PRIMARY KEY (device, module, configuration)
);
CREATE INDEX configuration_target_by_configuration ON configuration_target (configuration, module, status, device);
CREATE INDEX configuration_target_waiting ON configuration_target (device) WHERE status = 2;
-- How far the event log was read: everything before has been acted on.
CREATE TABLE configuration_place (
    part           BIGINT NOT NULL PRIMARY KEY, -- partition; -1 is there when all twins are to be evaluated
    sequence       BIGINT NOT NULL              -- of the next record
);
