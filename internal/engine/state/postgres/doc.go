// Package postgres keeps the state store in a PostgreSQL database, for
// installations where one machine is not enough. Transactions are
// serializable, so that rooms see the same rules as on SQLite; a few writers
// commit groups side by side and repeat what the database could not order.
package postgres
