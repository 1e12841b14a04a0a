package sqlite

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/commit"
)

// The header of a database file, sqlite.org/fileformat.html section 1.3.
const (
	headerLen     = 100
	headerMagic   = "SQLite format 3\x00"
	pageSizeAt    = 16
	changeAt      = 24
	pageCountAt   = 28
	validForAt    = 92
	smallestPages = 1
)

// writable tells early and clearly what SQLite reports as "unable to open".
func writable(path string) error {
	dir := filepath.Dir(path)
	st, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("state store: directory %s: %w", dir, errors.Unwrap(err))
	}
	if !st.IsDir() {
		return fmt.Errorf("state store: %s is not a directory", dir)
	}
	probe, err := os.CreateTemp(dir, ".write-test-*")
	if err != nil {
		return fmt.Errorf("state store: directory %s cannot be written (%w): "+
			"give the user that runs dunlin the right to write there, or choose another directory", dir, errors.Unwrap(err))
	}
	_ = probe.Close()
	_ = os.Remove(probe.Name())
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("state store: file %s cannot be written (%w): "+
			"give the user that runs dunlin the right to read and write it", path, errors.Unwrap(err))
	}
	return f.Close()
}

// checkHeader finds what SQLite would take for an empty or foreign database.
func checkHeader(path string) error {
	h, size, err := header(path)
	if err != nil {
		return err
	}
	switch {
	case size == 0:
		return damaged(path, errors.New("it is empty, all of its content was cut off"))
	case size < headerLen:
		return damaged(path, fmt.Errorf("it is cut off after %d bytes", size))
	case !bytes.HasPrefix(h, []byte(headerMagic)):
		return damaged(path, errors.New("it does not begin as a SQLite database: overwritten, or not the state store of dunlin"))
	}
	return nil
}

func header(path string) (h []byte, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, fmt.Errorf("state store %s: %w", path, errors.Unwrap(err))
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("state store %s: %w", path, err)
	}
	h = make([]byte, headerLen)
	n, err := f.ReadAt(h, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, fmt.Errorf("state store %s: %w", path, err)
	}
	return h[:n], st.Size(), nil
}

// check runs when the write-ahead log was taken in and nothing else is open.
func (db *DB) check(ctx context.Context, w *commit.Session, full int64) error {
	// After the checkpoint the file alone is the database, so that its length
	// can be compared with what its header says.
	var busy, log, moved int64
	if err := w.QueryRow(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &log, &moved); err != nil {
		return db.wrap(err)
	}
	h, size, err := header(db.path)
	if err != nil {
		return err
	}
	page := int64(binary.BigEndian.Uint16(h[pageSizeAt:]))
	if page == 1 {
		page = 65536
	}
	count := int64(binary.BigEndian.Uint32(h[pageCountAt:]))
	if binary.BigEndian.Uint32(h[changeAt:]) != binary.BigEndian.Uint32(h[validForAt:]) {
		count = smallestPages // written by a tool that does not keep the count
	}
	if busy == 0 && size < page*count {
		return damaged(db.path, fmt.Errorf("it has %d bytes where its header says %d: it was truncated", size, page*count))
	}
	if size > full {
		return nil
	}
	return db.quickCheck(ctx, w)
}

func (db *DB) quickCheck(ctx context.Context, tx state.Tx) error {
	var first string
	if err := tx.QueryRow(ctx, "PRAGMA quick_check(1)").Scan(&first); err != nil {
		return db.wrap(err)
	}
	if first != "ok" {
		return damaged(db.path, errors.New(first))
	}
	return nil
}

// Check reads every page of the store and reports damage as state.ErrDamaged.
func (db *DB) Check(ctx context.Context) error {
	return db.Read(ctx, func(tx state.Tx) error { return db.quickCheck(ctx, tx) })
}
