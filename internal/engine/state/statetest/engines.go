//go:build unix

package statetest

import (
	"path/filepath"
	"testing"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/postgres"
	"dunlin/internal/engine/state/sqlite"
)

// Each runs a test of a room on an empty store of every engine.
func Each(t *testing.T, test func(t *testing.T, db state.DB)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, SQLite(t)) })
	t.Run("postgres", func(t *testing.T) { test(t, Postgres(t)) })
}

// SQLite opens an empty store that is closed with the test.
func SQLite(t testing.TB) *sqlite.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "state.db")})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, db)
	return db
}

// Postgres opens an empty store that is closed with the test. The test binary
// must have a TestMain that calls Main.
func Postgres(t testing.TB) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: PostgresURL(t)})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, db)
	return db
}

func closeAtEnd(t testing.TB, db state.DB) {
	t.Helper()
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}
