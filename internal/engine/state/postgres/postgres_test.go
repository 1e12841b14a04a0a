package postgres_test

import (
	"os"
	"testing"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/postgres"
	"dunlin/internal/engine/state/statetest"
)

func TestMain(m *testing.M) { os.Exit(statetest.Main(m)) }

func TestSuite(t *testing.T) {
	statetest.Run(t, func(t *testing.T) statetest.Opener {
		url := statetest.PostgresURL(t)
		return func(t *testing.T) state.DB {
			db, err := postgres.Open(t.Context(), postgres.Config{URL: url})
			if err != nil {
				t.Fatal(err)
			}
			return db
		}
	})
}
