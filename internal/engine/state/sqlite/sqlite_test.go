package sqlite_test

import (
	"path/filepath"
	"testing"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/sqlite"
	"dunlin/internal/engine/state/statetest"
)

func TestSuite(t *testing.T) {
	statetest.Run(t, func(t *testing.T) statetest.Opener {
		path := filepath.Join(t.TempDir(), "an odd?name#100%", "state.db")
		mkdir(t, filepath.Dir(path))
		return func(t *testing.T) state.DB {
			db, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
			if err != nil {
				t.Fatal(err)
			}
			return db
		}
	})
}
