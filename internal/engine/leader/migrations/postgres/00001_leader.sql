-- +goose Up
-- Which node does the work that one node at a time may do. Times are those of
-- the database server.
CREATE TABLE leader_seat (
    name   TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- the work
    holder TEXT NOT NULL,
    until  TIMESTAMPTZ NOT NULL
);
