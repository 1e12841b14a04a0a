package sqlite_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/sqlite"
)

func mkdir(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

var itemSchema = fstest.MapFS{"sqlite/00001_item.sql": {Data: []byte("-- +goose Up\nCREATE TABLE item (id TEXT PRIMARY KEY, body BLOB) WITHOUT ROWID;")}}

func fill(t *testing.T, path string, rows int) {
	t.Helper()
	ctx := t.Context()
	db, err := sqlite.Open(ctx, sqlite.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Migrate(ctx, "item", itemSchema); err != nil {
		t.Fatal(err)
	}
	if err := insert(ctx, db, 0, rows); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func insert(ctx context.Context, db state.DB, from, to int) error {
	return db.Write(ctx, func(tx state.Tx) error {
		for i := from; i < to; i++ {
			if _, err := tx.Exec(ctx, "INSERT INTO item (id, body) VALUES (?, ?)", fmt.Sprintf("item-%06d", i), make([]byte, 200)); err != nil {
				return err
			}
		}
		return nil
	})
}

// TestDamagedFileIsRefused opens files that were cut, emptied, overwritten and
// altered: each gives an error that names the file and the remedy.
func TestDamagedFileIsRefused(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "state.db")
	fill(t, whole, 2000)
	content, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	damage := map[string]func(b []byte) []byte{
		"emptied":            func([]byte) []byte { return nil },
		"cut in the header":  func(b []byte) []byte { return b[:50] },
		"cut after one page": func(b []byte) []byte { return b[:4096] },
		"cut in the middle":  func(b []byte) []byte { return b[:len(b)/2] },
		"last byte missing":  func(b []byte) []byte { return b[:len(b)-1] },
		"other content":      func([]byte) []byte { return bytes.Repeat([]byte("hello "), 5000) },
		"magic altered":      func(b []byte) []byte { b[3] ^= 0x10; return b },
		"page zeroed":        func(b []byte) []byte { clear(b[5*4096 : 6*4096]); return b },
		"page type altered":  func(b []byte) []byte { b[7*4096] ^= 0x04; return b },
		"cell count altered": func(b []byte) []byte { b[9*4096+3] ^= 0x40; return b },
	}
	for name, change := range damage {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state.db")
			if err := os.WriteFile(path, change(bytes.Clone(content)), 0o600); err != nil {
				t.Fatal(err)
			}
			db, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
			if err == nil {
				_ = db.Close()
				t.Fatal("the damaged file was opened")
			}
			if !errors.Is(err, state.ErrDamaged) {
				t.Errorf("error %v is not ErrDamaged", err)
			}
			for _, want := range []string{path, "remedy", "backup", ".recover"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not name %q: %v", want, err)
				}
			}
		})
	}
}

// TestDamageLeavesTheRestReadable alters one page of a file that is too large
// to be checked at the start: reads of other pages go on.
func TestDamageLeavesTheRestReadable(t *testing.T) {
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "state.db")
	fill(t, path, 5000)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(content, []byte("item-002500")) / 4096 * 4096
	clear(content[at : at+4096])
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := sqlite.Open(ctx, sqlite.Config{Path: path, CheckBytes: 4096})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var good, bad int
	for i := range 5000 {
		err := db.Read(ctx, func(tx state.Tx) error {
			var b []byte
			return tx.QueryRow(ctx, "SELECT body FROM item WHERE id = ?", fmt.Sprintf("item-%06d", i)).Scan(&b)
		})
		switch {
		case err == nil:
			good++
		case errors.Is(err, state.ErrDamaged) && strings.Contains(err.Error(), path):
			bad++
		default:
			t.Fatalf("item %d: %v", i, err)
		}
	}
	if bad == 0 || bad > 50 || good+bad != 5000 {
		t.Errorf("%d items readable, %d damaged", good, bad)
	}
	if err := db.Check(ctx); !errors.Is(err, state.ErrDamaged) {
		t.Errorf("Check: %v, want ErrDamaged", err)
	}
}

func TestUnwritableDirectory(t *testing.T) {
	dir := t.TempDir()
	for name, path := range map[string]string{
		"missing":           filepath.Join(dir, "missing", "state.db"),
		"not a directory":   filepath.Join(dir, "file", "state.db"),
		"a directory there": filepath.Join(dir, "sub"),
	} {
		t.Run(name, func(t *testing.T) {
			_ = os.WriteFile(filepath.Join(dir, "file"), nil, 0o600)
			mkdir(t, filepath.Join(dir, "sub"))
			_, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
			if err == nil || !strings.Contains(err.Error(), filepath.Base(filepath.Dir(path))) {
				t.Errorf("error %v, want one that names the directory", err)
			}
		})
	}
}
