// Package statetest is the suite that every engine of the state store must
// pass, and the stores that tests of rooms run on: SQLite in a temporary
// directory and a real PostgreSQL server that it starts itself.
package statetest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"dunlin/internal/engine/state"
)

// Opener opens the store of one test; opened again after Close it has what was
// written before.
type Opener func(t *testing.T) state.DB

// Run runs the suite. fresh is called once for each test and gives a new,
// empty store.
func Run(t *testing.T, fresh func(t *testing.T) Opener) {
	t.Helper()
	for name, test := range map[string]func(t *testing.T, open Opener){
		"values come back as written":          values,
		"a failed write is rolled back alone":  alone,
		"a broken key is a conflict":           conflict,
		"a conflict leaves its group alone":    conflictInGroup,
		"a read sees one moment":               snapshot,
		"no update is lost":                    lostUpdate,
		"writes act one after the other":       writeSkew,
		"what was acknowledged is there again": reopen,
		"migrations run once and in order":     migrate,
		"a broken migration names itself":      brokenMigration,
		"two may migrate at the same time":     migrateTwice,
		"an ended context starts nothing":      ended,
		"a panic reaches its caller":           panics,
		"after close nothing is taken":         closed,
		"many writers and readers":             crowd,
		"a question mark in a text stays":      questionMark,
	} {
		t.Run(name, func(t *testing.T) { test(t, fresh(t)) })
	}
}

const table = `
-- +goose Up
CREATE TABLE item (id TEXT PRIMARY KEY, n BIGINT NOT NULL, body %s, note TEXT UNIQUE);
`

func schema(extra ...string) fstest.MapFS {
	files := fstest.MapFS{
		"sqlite/00001_item.sql":   {Data: fmt.Appendf(nil, table, "BLOB")},
		"postgres/00001_item.sql": {Data: fmt.Appendf(nil, table, "BYTEA")},
	}
	for i, text := range extra {
		name := fmt.Sprintf("%05d_more.sql", i+2)
		files["sqlite/"+name] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + text)}
		files["postgres/"+name] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + text)}
	}
	return files
}

func prepared(t *testing.T, open Opener) state.DB {
	t.Helper()
	db := open(t)
	t.Cleanup(func() { _ = db.Close() })
	if err := db.Migrate(t.Context(), "suite", schema()); err != nil {
		t.Fatal(err)
	}
	return db
}

func put(ctx context.Context, db state.DB, id string, n int64) error {
	return db.Write(ctx, func(tx state.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO item (id, n) VALUES (?, ?)", id, n)
		return err
	})
}

func get(ctx context.Context, db state.DB, id string) (n int64, err error) {
	err = db.Get(ctx, []any{&n}, "SELECT n FROM item WHERE id = ?", id)
	return n, err
}

func count(t *testing.T, db state.DB) (n int) {
	t.Helper()
	err := db.Read(t.Context(), func(tx state.Tx) error {
		return tx.QueryRow(t.Context(), "SELECT count(*) FROM item").Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func values(t *testing.T, open Opener) {
	db, ctx := prepared(t, open), t.Context()
	type row struct {
		id   string
		n    int64
		body []byte
		note *string
	}
	text := func(s string) *string { return &s }
	rows := []row{
		{"plain", 1, []byte{0, 1, 255}, text("note")},
		{"", math.MaxInt64, []byte{}, nil},
		{"ö 漢 'quoted' \"double\"", math.MinInt64, nil, text("")},
		{strings.Repeat("x", 1000), 0, bytes.Repeat([]byte("blob"), 50_000), text("?")},
	}
	for _, r := range rows {
		err := db.Write(ctx, func(tx state.Tx) error {
			changed, err := tx.Exec(ctx, "INSERT INTO item (id, n, body, note) VALUES (?, ?, ?, ?)", r.id, r.n, r.body, r.note)
			if err == nil && changed != 1 {
				err = fmt.Errorf("changed %d rows, want 1", changed)
			}
			return err
		})
		if err != nil {
			t.Fatalf("insert %.20q: %v", r.id, err)
		}
	}
	for _, want := range rows {
		got := row{id: want.id}
		err := db.Read(ctx, func(tx state.Tx) error {
			return tx.QueryRow(ctx, "SELECT n, body, note FROM item WHERE id = ?", want.id).Scan(&got.n, &got.body, &got.note)
		})
		if err != nil {
			t.Fatalf("select %.20q: %v", want.id, err)
		}
		if got.n != want.n || !bytes.Equal(got.body, want.body) || (got.note == nil) != (want.note == nil) || (got.note != nil && *got.note != *want.note) {
			t.Errorf("%.20q: got %v, want %v", want.id, got, want)
		}
	}
	// Several rows, and a count of what an update changed.
	err := db.Write(ctx, func(tx state.Tx) error {
		changed, err := tx.Exec(ctx, "UPDATE item SET n = ? WHERE note IS NOT NULL", 7)
		if err == nil && changed != 3 {
			err = fmt.Errorf("changed %d rows, want 3", changed)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	seen := 0
	err = db.Read(ctx, func(tx state.Tx) error {
		seen = 0
		rows, err := tx.Query(ctx, "SELECT id FROM item WHERE n = ?", 7)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				return err
			}
			seen++
		}
		return rows.Err()
	})
	if err != nil || seen != 3 {
		t.Errorf("read %d rows, want 3 (%v)", seen, err)
	}
}

var errOwn = errors.New("the room said no")

func alone(t *testing.T, open Opener) {
	db, ctx := prepared(t, open), t.Context()
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			err := db.Write(ctx, func(tx state.Tx) error {
				if _, err := tx.Exec(ctx, "INSERT INTO item (id, n) VALUES (?, ?)", fmt.Sprint("i", i), i); err != nil {
					return err
				}
				if i%3 == 0 {
					return errOwn
				}
				return nil
			})
			if i%3 == 0 && !errors.Is(err, errOwn) {
				t.Errorf("write %d: error %v, want the room's own", i, err)
			}
			if i%3 != 0 && err != nil {
				t.Errorf("write %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if n := count(t, db); n != 66 {
		t.Errorf("%d rows are there, want 66", n)
	}
	if _, err := get(ctx, db, "i3"); !errors.Is(err, sql.ErrNoRows) {
		t.Errorf("the row of a failed write is there (%v)", err)
	}
}

func conflict(t *testing.T, open Opener) {
	db, ctx := prepared(t, open), t.Context()
	if err := put(ctx, db, "a", 1); err != nil {
		t.Fatal(err)
	}
	if err := put(ctx, db, "a", 2); !errors.Is(err, state.ErrConflict) {
		t.Errorf("second insert of a primary key: %v, want ErrConflict", err)
	}
	note := func(id string) error {
		return db.Write(ctx, func(tx state.Tx) error {
			_, err := tx.Exec(ctx, "INSERT INTO item (id, n, note) VALUES (?, 0, 'same')", id)
			return err
		})
	}
	if err := note("b"); err != nil {
		t.Fatal(err)
	}
	if err := note("c"); !errors.Is(err, state.ErrConflict) {
		t.Errorf("second value of a unique column: %v, want ErrConflict", err)
	}
	err := db.Write(ctx, func(tx state.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO item (id, n) VALUES ('d', NULL)")
		return err
	})
	if err == nil || errors.Is(err, state.ErrConflict) {
		t.Errorf("NULL in a NOT NULL column: %v, want an error that is no conflict", err)
	}
	if n, err := get(ctx, db, "a"); n != 1 || err != nil {
		t.Errorf("a = %d, %v, want 1", n, err)
	}
}

func conflictInGroup(t *testing.T, open Opener) {
	db, ctx := prepared(t, open), t.Context()
	var taken, refused atomic.Int32
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			switch err := put(ctx, db, fmt.Sprint("k", i%50), int64(i)); {
			case err == nil:
				taken.Add(1)
			case errors.Is(err, state.ErrConflict):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if taken.Load() != 50 || refused.Load() != 150 || count(t, db) != 50 {
		t.Errorf("%d taken, %d refused, %d rows; want 50, 150, 50", taken.Load(), refused.Load(), count(t, db))
	}
}

func snapshot(t *testing.T, open Opener) {
	db, ctx := prepared(t, open), t.Context()
	if err := put(ctx, db, "a", 1); err != nil {
		t.Fatal(err)
	}
	err := db.Read(ctx, func(tx state.Tx) error {
		read := func() (n, rows int64) {
			if err := tx.QueryRow(ctx, "SELECT n FROM item WHERE id = 'a'").Scan(&n); err != nil {
				t.Error(err)
			}
			if err := tx.QueryRow(ctx, "SELECT count(*) FROM item").Scan(&rows); err != nil {
				t.Error(err)
			}
			return n, rows
		}
		n, rows := read()
		werr := db.Write(ctx, func(tx state.Tx) error {
			if _, err := tx.Exec(ctx, "UPDATE item SET n = 2 WHERE id = 'a'"); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, "INSERT INTO item (id, n) VALUES ('b', 1)")
			return err
		})
		if werr != nil {
			t.Error(werr)
		}
		if n2, rows2 := read(); n2 != n || rows2 != rows {
			t.Errorf("the view changed from %d in %d rows to %d in %d rows", n, rows, n2, rows2)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := get(ctx, db, "a"); n != 2 || err != nil {
		t.Errorf("after it a = %d, %v, want 2", n, err)
	}
}

func lostUpdate(t *testing.T, open Opener) {
	db, ctx := prepared(t, open), t.Context()
	for _, id := range []string{"a", "b", "c"} {
		if err := put(ctx, db, id, 0); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			id := string(rune('a' + i%3))
			for range 5 {
				err := db.Write(ctx, func(tx state.Tx) error {
					var n int64
					if err := tx.QueryRow(ctx, "SELECT n FROM item WHERE id = ?", id).Scan(&n); err != nil {
						return err
					}
					_, err := tx.Exec(ctx, "UPDATE item SET n = ? WHERE id = ?", n+1, id)
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	var sum int64
	for _, id := range []string{"a", "b", "c"} {
		n, err := get(ctx, db, id)
		if err != nil {
			t.Error(err)
		}
		sum += n
	}
	if sum != 200 {
		t.Errorf("the counters sum to %d after 200 increments", sum)
	}
}

// writeSkew lets many writes each check that fewer than ten rows exist and add
// one: rows that no two of them share.
func writeSkew(t *testing.T, open Opener) {
	db, ctx := prepared(t, open), t.Context()
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			err := db.Write(ctx, func(tx state.Tx) error {
				var n int
				if err := tx.QueryRow(ctx, "SELECT count(*) FROM item").Scan(&n); err != nil {
					return err
				}
				if n >= 10 {
					return errOwn
				}
				_, err := tx.Exec(ctx, "INSERT INTO item (id, n) VALUES (?, 0)", fmt.Sprint("s", i))
				return err
			})
			if err != nil && !errors.Is(err, errOwn) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := count(t, db); n != 10 {
		t.Errorf("%d rows, want 10", n)
	}
}

func reopen(t *testing.T, open Opener) {
	db, ctx := prepared(t, open), t.Context()
	for i := range 300 {
		if err := put(ctx, db, fmt.Sprint("r", i), int64(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = open(t)
	t.Cleanup(func() { _ = db.Close() })
	if n := count(t, db); n != 300 {
		t.Errorf("%d rows after opening again, want 300", n)
	}
}

func migrate(t *testing.T, open Opener) {
	db, ctx := prepared(t, open), t.Context()
	if err := put(ctx, db, "kept", 5); err != nil {
		t.Fatal(err)
	}
	if err := db.Migrate(ctx, "suite", schema()); err != nil {
		t.Errorf("second run: %v", err)
	}
	more := schema("ALTER TABLE item ADD COLUMN extra BIGINT NOT NULL DEFAULT 3;")
	if err := db.Migrate(ctx, "suite", more); err != nil {
		t.Fatal(err)
	}
	var n int64
	err := db.Read(ctx, func(tx state.Tx) error {
		return tx.QueryRow(ctx, "SELECT n + extra FROM item WHERE id = 'kept'").Scan(&n)
	})
	if err != nil || n != 8 {
		t.Errorf("after the second migration: %d, %v, want 8", n, err)
	}
	// Another room counts its versions for itself.
	other := fstest.MapFS{}
	for _, d := range []string{"sqlite", "postgres"} {
		other[d+"/00001_other.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\nCREATE TABLE other (id TEXT PRIMARY KEY);")}
	}
	if err := db.Migrate(ctx, "other", other); err != nil {
		t.Errorf("another room: %v", err)
	}
}

func brokenMigration(t *testing.T, open Opener) {
	db, ctx := prepared(t, open), t.Context()
	err := db.Migrate(ctx, "suite", schema("ALTER TABLE item ADD COLUMN extra BIGINT;\nALTER TABLE missing ADD COLUMN x BIGINT;"))
	if err == nil {
		t.Fatal("a broken migration was taken")
	}
	if !strings.Contains(err.Error(), "suite") || !strings.Contains(err.Error(), "00002_more.sql") {
		t.Errorf("the error does not name room and file: %v", err)
	}
	// It left nothing of itself: the mended one runs.
	if err := db.Migrate(ctx, "suite", schema("ALTER TABLE item ADD COLUMN extra BIGINT;")); err != nil {
		t.Errorf("the mended migration: %v", err)
	}
}

func migrateTwice(t *testing.T, open Opener) {
	db := prepared(t, open)
	files := schema("CREATE TABLE two (id TEXT PRIMARY KEY);", "CREATE TABLE three (id TEXT PRIMARY KEY);")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := db.Migrate(t.Context(), "suite", files); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func ended(t *testing.T, open Opener) {
	db := prepared(t, open)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := put(ctx, db, "a", 1); !errors.Is(err, context.Canceled) {
		t.Errorf("write: %v, want context.Canceled", err)
	}
	if _, err := get(ctx, db, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("read: %v, want context.Canceled", err)
	}
	if n := count(t, db); n != 0 {
		t.Errorf("%d rows, want none", n)
	}
	if err := put(t.Context(), db, "b", 1); err != nil {
		t.Errorf("a write after it: %v", err)
	}
}

func panics(t *testing.T, open Opener) {
	db, ctx := prepared(t, open), t.Context()
	catch := func(f func()) (v any) {
		defer func() { v = recover() }()
		f()
		return nil
	}
	v := catch(func() {
		_ = db.Write(ctx, func(tx state.Tx) error {
			_, _ = tx.Exec(ctx, "INSERT INTO item (id, n) VALUES ('p', 1)")
			panic("write")
		})
	})
	if v != "write" {
		t.Errorf("recovered %v from a write", v)
	}
	if v := catch(func() { _ = db.Read(ctx, func(state.Tx) error { panic("read") }) }); v != "read" {
		t.Errorf("recovered %v from a read", v)
	}
	if err := put(ctx, db, "q", 1); err != nil {
		t.Errorf("a write after it: %v", err)
	}
	if n := count(t, db); n != 1 {
		t.Errorf("%d rows, want 1: the write that panicked must be undone", n)
	}
}

func closed(t *testing.T, open Opener) {
	db := prepared(t, open)
	var wg sync.WaitGroup
	var taken atomic.Int32
	begin := make(chan struct{})
	for i := range 50 {
		wg.Go(func() {
			<-begin
			switch err := put(t.Context(), db, fmt.Sprint("c", i), 0); {
			case err == nil:
				taken.Add(1)
			case !errors.Is(err, state.ErrClosed):
				t.Error(err)
			}
		})
	}
	close(begin)
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if err := put(t.Context(), db, "late", 0); !errors.Is(err, state.ErrClosed) {
		t.Errorf("write: %v, want ErrClosed", err)
	}
	if _, err := get(t.Context(), db, "late"); !errors.Is(err, state.ErrClosed) {
		t.Errorf("read: %v, want ErrClosed", err)
	}
	if err := db.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	db = open(t)
	t.Cleanup(func() { _ = db.Close() })
	if n := count(t, db); n != int(taken.Load()) {
		t.Errorf("%d rows, but %d writes were acknowledged", n, taken.Load())
	}
}

func crowd(t *testing.T, open Opener) {
	db, ctx := prepared(t, open), t.Context()
	var wg sync.WaitGroup
	begin := time.Now()
	for g := range 16 {
		wg.Go(func() {
			for i := range 60 {
				id := fmt.Sprint("x", g, "-", i)
				if err := put(ctx, db, id, int64(i)); err != nil {
					t.Error(err)
					return
				}
				// What was acknowledged is seen by everybody at once.
				if n, err := get(ctx, db, id); err != nil || n != int64(i) {
					t.Errorf("%s = %d, %v, want %d", id, n, err, i)
					return
				}
			}
		})
	}
	wg.Wait()
	t.Logf("960 writes and reads in %v", time.Since(begin))
	if n := count(t, db); n != 960 {
		t.Errorf("%d rows, want 960", n)
	}
}

func questionMark(t *testing.T, open Opener) {
	db, ctx := prepared(t, open), t.Context()
	var got string
	err := db.Read(ctx, func(tx state.Tx) error {
		return tx.QueryRow(ctx, "SELECT 'really?' || CAST(? AS TEXT)", "yes").Scan(&got)
	})
	if err != nil || got != "really?yes" {
		t.Errorf("got %q, %v", got, err)
	}
}
