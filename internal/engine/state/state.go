// Package state is the contract of the transactional store of what is: the
// registry, later twins, queues and jobs. Rooms write their own SQL in the
// subset that SQLite and PostgreSQL share, with ? as placeholder. Engines are
// sub-packages; statetest is the suite they share.
package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
)

// Dialect tells a room which of the two databases it talks to, for the few
// statements that differ.
type Dialect uint8

// The dialects.
const (
	SQLite Dialect = iota
	PostgreSQL
)

// DB is an open store. All methods may be called by any goroutine.
type DB interface {
	Dialect() Dialect

	// Read runs fn with a consistent view of the store. fn must not keep tx.
	Read(ctx context.Context, fn func(tx Tx) error) error

	// Get reads one row and scans it into dest, sql.ErrNoRows when there is
	// none. It is the fast way to read by key: no transaction is needed for a
	// single statement, which saves two trips to a server.
	Get(ctx context.Context, dest []any, query string, args ...any) error

	// Write runs fn and returns nil only when its changes are durable. Writes
	// that arrive together share one commit; an fn that returns an error is
	// rolled back alone. Writes act as if they ran one after the other, in
	// both engines. To give that, fn may be run more than once, so it must
	// only touch tx and its own variables and set all of them anew; it may run
	// on another goroutine and must not call Read or Write of the store.
	// When ctx ends before fn was started, the write does not happen.
	Write(ctx context.Context, fn func(tx Tx) error) error

	// Migrate brings the schema of one room up to date. files holds the
	// directories "sqlite" and "postgres" with numbered .sql files in the form
	// of pressly/goose; each room keeps its own version table, named after room.
	Migrate(ctx context.Context, room string, files fs.FS) error

	// Location names the file or database in texts for people, without secrets.
	Location() string

	// Close waits for running writes.
	Close() error
}

// Tx is the view inside Read and Write. Placeholders are ? in both dialects;
// a query text holds no other question mark, comment or quoted placeholder.
// Rows must be closed before the next statement, and after the error of a
// statement fn must return an error: both are rules of PostgreSQL.
type Tx interface {
	// Exec answers how many rows it changed.
	Exec(ctx context.Context, query string, args ...any) (int64, error)
	Query(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRow(ctx context.Context, query string, args ...any) *sql.Row
}

// ErrConflict reports a row that breaks a primary key or unique index. The
// engine wraps the driver's error in it, so that rooms can test with errors.Is.
var ErrConflict = errors.New("state: row exists")

// ErrFull reports that the disk of the store has no room left. Nothing of the
// write was kept; writes succeed again once there is room.
var ErrFull = errors.New("state: no space left on the device of the state store")

// ErrDamaged reports a store whose files are truncated or altered. The text
// around it names the file and the remedy.
var ErrDamaged = errors.New("state: the state store is damaged")

// DamagedRow is ErrDamaged for a row that a room found altered by the checksum
// it keeps in it. Databases check the structure of their files, not the values.
func DamagedRow(db DB, row string) error {
	return fmt.Errorf("%w: %s: the values of %s do not match their checksum; remedy: delete and write it anew, or put back a backup; "+
		"other rows may be damaged too", ErrDamaged, db.Location(), row)
}

// ErrUnavailable reports a store that cannot be reached or did not answer in
// time; the outcome of a write is then unknown.
var ErrUnavailable = errors.New("state: the state store is not available")

// ErrClosed reports a call after Close.
var ErrClosed = errors.New("state: the state store is closed")
