package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"testing/fstest"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/commit"
)

// TestFullAndRecovery limits the file to a number of pages: to SQLite that is
// the same as a disk that is full. Every write fails as a whole, and succeeds
// again when there is room.
func TestFullAndRecovery(t *testing.T) {
	ctx := t.Context()
	db, err := Open(ctx, Config{Path: filepath.Join(t.TempDir(), "state.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	schema := fstest.MapFS{"sqlite/00001_item.sql": {Data: []byte("-- +goose Up\nCREATE TABLE item (id TEXT PRIMARY KEY, body BLOB) WITHOUT ROWID;")}}
	if err := db.Migrate(ctx, "item", schema); err != nil {
		t.Fatal(err)
	}
	limit := func(pages int) {
		t.Helper()
		err := db.writer.Do(ctx, func(tx state.Tx) error {
			_, err := tx.(*commit.Session).Exec(ctx, fmt.Sprintf("PRAGMA max_page_count=%d", pages))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	limit(100)
	put := func(ctx context.Context, i int) error {
		return db.Write(ctx, func(tx state.Tx) error {
			_, err := tx.Exec(ctx, "INSERT INTO item (id, body) VALUES (?, ?)", fmt.Sprint(i), make([]byte, 3000))
			return err
		})
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	taken, full := map[string]bool{}, 0
	for i := range 300 {
		wg.Go(func() {
			err := put(ctx, i)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				taken[fmt.Sprint(i)] = true
			case errors.Is(err, state.ErrFull):
				full++
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if full == 0 {
		t.Fatal("the store never got full")
	}
	limit(100000)
	if err := put(ctx, 1000); err != nil {
		t.Errorf("a write after room was made: %v", err)
	}
	taken["1000"] = true
	n := 0
	err = db.Read(ctx, func(tx state.Tx) error {
		rows, err := tx.Query(ctx, "SELECT id FROM item")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				return err
			}
			if !taken[id] {
				t.Errorf("row %s is there, but its write failed", id)
			}
			n++
		}
		return rows.Err()
	})
	if err != nil || n != len(taken) {
		t.Errorf("%d rows, %d acknowledged (%v)", n, len(taken), err)
	}
	t.Logf("%d taken, %d refused", len(taken), full)
}
