package sqlite_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/sqlite"
)

// fullDisk fills the file system of dir, a few megabytes, by another file and
// then by writes, makes room, and looks whether the store goes on.
func fullDisk(t *testing.T, dir string) {
	t.Helper()
	ctx := t.Context()
	path := filepath.Join(dir, "state.db")
	fill(t, path, 1000)
	db, err := sqlite.Open(ctx, sqlite.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	next := 1000
	for range 10_000 {
		if err = insert(ctx, db, next, next+20); err != nil {
			break
		}
		next += 20
	}
	if !errors.Is(err, state.ErrFull) || !strings.Contains(err.Error(), path) {
		t.Fatalf("after %d rows: %v, want ErrFull that names the file", next, err)
	}
	// Reading goes on while the disk is full.
	count := func() (n int) {
		if err := db.Get(ctx, []any{&n}, "SELECT count(*) FROM item"); err != nil {
			t.Error(err)
		}
		return n
	}
	if n := count(); n != next {
		t.Errorf("%d rows, %d were acknowledged", n, next)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := insert(ctx, db, next, next+20); err != nil {
		t.Errorf("a write after room was made: %v", err)
	}
	if n := count(); n != next+20 {
		t.Errorf("%d rows, %d were acknowledged", n, next+20)
	}
	if err := db.Check(ctx); err != nil {
		t.Error(err)
	}
}
