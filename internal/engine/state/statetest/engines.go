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
func SQLite(tb testing.TB) *sqlite.DB {
	tb.Helper()
	db, err := sqlite.Open(tb.Context(), sqlite.Config{Path: filepath.Join(tb.TempDir(), "state.db")})
	if err != nil {
		tb.Fatal(err)
	}
	closeAtEnd(tb, db)
	return db
}

// Postgres opens an empty store that is closed with the test. The test binary
// must have a TestMain that calls Main.
func Postgres(tb testing.TB) *postgres.DB {
	tb.Helper()
	db, err := postgres.Open(tb.Context(), postgres.Config{URL: PostgresURL(tb)})
	if err != nil {
		tb.Fatal(err)
	}
	closeAtEnd(tb, db)
	return db
}

func closeAtEnd(tb testing.TB, db state.DB) {
	tb.Helper()
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
}
