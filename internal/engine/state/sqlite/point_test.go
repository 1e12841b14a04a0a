package sqlite_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/sqlite"
)

func openStore(tb testing.TB) *sqlite.DB {
	tb.Helper()
	db, err := sqlite.Open(tb.Context(), sqlite.Config{Path: filepath.Join(tb.TempDir(), "state.db")})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	return db
}

func exec(tb testing.TB, db state.DB, query string, args ...any) {
	tb.Helper()
	err := db.Write(tb.Context(), func(tx state.Tx) error {
		_, err := tx.Exec(tb.Context(), query, args...)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
}

type level uint8

// TestPointReads reads rows with Get and within a transaction: both ways give
// the same, whatever is stored and wherever it is to go.
func TestPointReads(t *testing.T) {
	db := openStore(t)
	exec(t, db, "CREATE TABLE t (id TEXT PRIMARY KEY, v)")
	long := strings.Repeat("ä", 700)
	values := map[string]any{
		"null": nil, "text": "hello", "empty": "", "long": long, "nul": "a\x00b", "bytes": []byte{0, 1, 255}, "no bytes": []byte{},
		"one": int64(1), "zero": int64(0), "minus": int64(-1), "big": int64(1) << 40, "real": 1.5,
	}
	for id, v := range values {
		exec(t, db, "INSERT INTO t (id, v) VALUES (?, ?)", id, v)
	}
	dests := []func() any{
		func() any { return new(string) }, func() any { return new(sql.NullString) }, func() any { return new(*string) },
		func() any { return new([]byte) }, func() any { return new(int64) }, func() any { return new(int) }, func() any { return new(uint64) },
		func() any { return new(level) }, func() any { return new(bool) }, func() any { return new(float64) }, func() any { return new(any) },
		func() any { return new(sql.NullInt64) },
	}
	const query = "SELECT v FROM t WHERE id = ?"
	for id := range values {
		for _, dest := range dests {
			got, want := dest(), dest()
			gotErr := db.Get(t.Context(), []any{got}, query, id)
			wantErr := db.Read(t.Context(), func(tx state.Tx) error {
				return tx.QueryRow(t.Context(), query, id).Scan(want)
			})
			if (gotErr == nil) != (wantErr == nil) || (gotErr == nil && !reflect.DeepEqual(got, want)) {
				t.Errorf("%s into %T: %#v, %v; in a transaction %#v, %v", id, got,
					reflect.ValueOf(got).Elem().Interface(), gotErr, reflect.ValueOf(want).Elem().Interface(), wantErr)
			}
		}
	}
	var s string
	if err := db.Get(t.Context(), []any{&s}, query, "none"); !errors.Is(err, sql.ErrNoRows) {
		t.Errorf("a row that is not there: %v", err)
	}
	if err := db.Get(t.Context(), []any{&s}, query, long); !errors.Is(err, sql.ErrNoRows) {
		t.Errorf("a long key: %v", err)
	}
	for text, args := range map[string][]any{
		query:                  {},
		"SELECT v FROM nobody": {},
		"SELECT id, v FROM t":  {},
	} {
		if err := db.Get(t.Context(), []any{&s}, text, args...); err == nil {
			t.Errorf("%s with %d arguments gives no error", text, len(args))
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := db.Get(ctx, []any{&s}, query, "text"); !errors.Is(err, context.Canceled) {
		t.Errorf("after the caller has gone: %v", err)
	}
	// What a read gave stays as it was.
	var b []byte
	if err := db.Get(t.Context(), []any{&b}, query, "bytes"); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		exec(t, db, "UPDATE t SET v = ? WHERE id = 'bytes'", []byte{9, 9, 9})
		var other []byte
		if err := db.Get(t.Context(), []any{&other}, query, "bytes"); err != nil || !bytes.Equal(other, []byte{9, 9, 9}) {
			t.Fatal(other, err)
		}
	}
	if !bytes.Equal(b, []byte{0, 1, 255}) {
		t.Errorf("a row that was read has changed to %v", b)
	}
	// More texts than are kept prepared, and another shape of the table.
	for i := range 200 {
		var n int64
		if err := db.Get(t.Context(), []any{&n}, fmt.Sprintf("SELECT %d", i)); err != nil || n != int64(i) {
			t.Fatal(n, err)
		}
	}
	exec(t, db, "ALTER TABLE t ADD COLUMN w")
	exec(t, db, "DROP TABLE t")
	exec(t, db, "CREATE TABLE t (v, id TEXT PRIMARY KEY)")
	exec(t, db, "INSERT INTO t (id, v) VALUES ('text', 'again')")
	if err := db.Get(t.Context(), []any{&s}, query, "text"); err != nil || s != "again" {
		t.Errorf("after the table was made anew: %q, %v", s, err)
	}
}

// TestPointReadsSeeWrites reads beside a writer: whoever has written reads what
// is written, and the store closes while readers are at it.
func TestPointReadsSeeWrites(t *testing.T) {
	db := openStore(t)
	exec(t, db, "CREATE TABLE t (id TEXT PRIMARY KEY, v BIGINT)")
	const writers = 8
	var group sync.WaitGroup
	for g := range writers {
		id := fmt.Sprint("row-", g)
		exec(t, db, "INSERT INTO t (id, v) VALUES (?, 0)", id)
		group.Go(func() {
			for i := int64(1); i <= 40; i++ {
				err := db.Write(t.Context(), func(tx state.Tx) error {
					_, err := tx.Exec(t.Context(), "UPDATE t SET v = ? WHERE id = ?", i, id)
					return err
				})
				if err != nil {
					t.Error(err)
					return
				}
				var got int64
				for range 5 {
					if err := db.Get(t.Context(), []any{&got}, "SELECT v FROM t WHERE id = ?", id); err != nil || got != i {
						t.Errorf("%s is %d after %d was written, %v", id, got, i, err)
						return
					}
				}
			}
		})
	}
	group.Wait()
	for range writers {
		group.Go(func() {
			var got int64
			var err error
			for err == nil {
				err = db.Get(t.Context(), []any{&got}, "SELECT v FROM t WHERE id = 'row-1'")
			}
			if !errors.Is(err, state.ErrClosed) {
				t.Error(err)
			}
		})
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	group.Wait()
}

func BenchmarkPointRead(b *testing.B) {
	db := openStore(b)
	exec(b, db, "CREATE TABLE t (id TEXT PRIMARY KEY, n BIGINT, k BLOB)")
	for i := range 1000 {
		exec(b, db, "INSERT INTO t (id, n, k) VALUES (?, ?, ?)", fmt.Sprint("row-", i), i, make([]byte, 32))
	}
	var (
		n int64
		k []byte
	)
	dest := []any{&n, &k}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := db.Get(b.Context(), dest, "SELECT n, k FROM t WHERE id = ?", "row-77"); err != nil || n != 77 {
			b.Fatal(n, err)
		}
	}
}
