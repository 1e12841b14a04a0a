package sqlite

import (
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"dunlin/internal/engine/state"
)

// wrap marks what the driver reports. See sqlite.org/rescode.html.
func (db *DB) wrap(err error) error {
	var e *sqlite.Error
	if err == nil || !errors.As(err, &e) || marked(err) {
		return err
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_ROWID:
		return fmt.Errorf("%w: %w", state.ErrConflict, err)
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("%w (%s): free some space, nothing needs to be restarted: %w", state.ErrFull, db.path, err)
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return damaged(db.path, err)
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return fmt.Errorf("%w: %s is locked by another process: %w", state.ErrUnavailable, db.path, err)
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY:
		return fmt.Errorf("%w: %s cannot be read or written, look at the disk and the rights of the file: %w",
			state.ErrUnavailable, db.path, err)
	}
	return err
}

func marked(err error) bool {
	return errors.Is(err, state.ErrConflict) || errors.Is(err, state.ErrFull) ||
		errors.Is(err, state.ErrDamaged) || errors.Is(err, state.ErrUnavailable)
}

func damaged(path string, cause error) error {
	return fmt.Errorf("%w: file %s: %w; remedy: stop dunlin, keep a copy of the file, then put back a backup, or save what is "+
		"readable with: sqlite3 %s .recover | sqlite3 recovered.db, and put recovered.db in its place", state.ErrDamaged, path, cause, path)
}

func retry(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	// The only other writer of the file is a migration, or a tool that
	// somebody runs beside us.
	c := e.Code() & 0xff
	return c == sqlite3.SQLITE_BUSY || c == sqlite3.SQLITE_LOCKED
}
