package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/postgres"
	"dunlin/internal/engine/state/statetest"
)

var itemSchema = fstest.MapFS{"postgres/00001_item.sql": {Data: []byte("-- +goose Up\nCREATE TABLE item (id TEXT PRIMARY KEY);")}}

// TestLostConnections ends the connections of a busy store again and again:
// what was acknowledged is there, writes whose outcome is unknown say so, and
// the store goes on by itself.
func TestLostConnections(t *testing.T) {
	ctx := t.Context()
	db := statetest.Postgres(t)
	if err := db.Migrate(ctx, "item", itemSchema); err != nil {
		t.Fatal(err)
	}
	var acknowledged sync.Map
	var taken, unknown atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				id := fmt.Sprint(g, "-", i)
				err := db.Write(ctx, func(tx state.Tx) error {
					_, err := tx.Exec(ctx, "INSERT INTO item (id) VALUES (?)", id)
					return err
				})
				switch {
				case err == nil:
					taken.Add(1)
					acknowledged.Store(id, true)
				case errors.Is(err, state.ErrUnavailable), errors.Is(err, state.ErrConflict):
					// ErrConflict: it had been committed when the connection ended.
					unknown.Add(1)
				default:
					t.Errorf("write: %v", err)
					return
				}
				var n int
				if err := db.Get(ctx, []any{&n}, "SELECT count(*) FROM item WHERE id = ?", id); err != nil && !errors.Is(err, state.ErrUnavailable) {
					t.Errorf("read: %v", err)
					return
				}
			}
		})
	}
	tick := time.NewTicker(150 * time.Millisecond)
	defer tick.Stop()
	for range 5 {
		<-tick.C
		statetest.KillPostgresBackends(t)
	}
	<-tick.C
	close(stop)
	wg.Wait()
	if taken.Load() == 0 {
		t.Fatal("nothing was written")
	}
	acknowledged.Range(func(id, _ any) bool {
		var n int
		if err := db.Get(ctx, []any{&n}, "SELECT count(*) FROM item WHERE id = ?", id); err != nil || n != 1 {
			t.Errorf("acknowledged row %v: %d, %v", id, n, err)
		}
		return !t.Failed()
	})
	t.Logf("%d writes acknowledged, %d of unknown outcome", taken.Load(), unknown.Load())
}

func TestNotReachable(t *testing.T) {
	_, err := postgres.Open(t.Context(), postgres.Config{URL: "postgres://user:very-secret@127.0.0.1:1/db?sslmode=disable"})
	if !errors.Is(err, state.ErrUnavailable) || !strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("error %v, want ErrUnavailable that names the server", err)
	}
	if err != nil && strings.Contains(err.Error(), "very-secret") {
		t.Errorf("the error shows the password: %v", err)
	}
	_, err = postgres.Open(t.Context(), postgres.Config{URL: "postgres://user:very-secret@[/db"})
	if err == nil || strings.Contains(err.Error(), "very-secret") {
		t.Errorf("a bad address gave %v", err)
	}
}

// TestTwoNodes lets two stores write the same rows, as two nodes would.
func TestTwoNodes(t *testing.T) {
	ctx := t.Context()
	url := statetest.PostgresURL(t)
	var nodes [2]*postgres.DB
	for i := range nodes {
		db, err := postgres.Open(ctx, postgres.Config{URL: url})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		nodes[i] = db
	}
	schema := fstest.MapFS{"postgres/00001_n.sql": {Data: []byte("-- +goose Up\nCREATE TABLE n (id TEXT PRIMARY KEY, v BIGINT NOT NULL);\nINSERT INTO n VALUES ('a', 0);")}}
	var wg sync.WaitGroup
	for _, db := range nodes {
		wg.Go(func() {
			if err := db.Migrate(ctx, "n", schema); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var lost atomic.Int64
	add := func(db *postgres.DB) error {
		return db.Write(ctx, func(tx state.Tx) error { return increment(ctx, tx) })
	}
	for _, db := range nodes {
		for range 4 {
			wg.Go(func() {
				for range 25 {
					if err := add(db); err != nil {
						lost.Add(1)
						if !errors.Is(err, state.ErrUnavailable) {
							t.Error(err)
						}
					}
				}
			})
		}
	}
	wg.Wait()
	var v int64
	if err := nodes[0].Get(ctx, []any{&v}, "SELECT v FROM n WHERE id = 'a'"); err != nil || v != 200-lost.Load() {
		t.Errorf("the sum is %d after 200 increments, %d of which failed (%v)", v, lost.Load(), err)
	}
	if lost.Load() > 20 {
		t.Errorf("%d of 200 increments failed", lost.Load())
	}
}

func increment(ctx context.Context, tx state.Tx) error {
	var v int64
	if err := tx.QueryRow(ctx, "SELECT v FROM n WHERE id = 'a'").Scan(&v); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, "UPDATE n SET v = ? WHERE id = 'a'", v+1)
	return err
}
