package natslog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dunlin/internal/engine/eventlog"
	"dunlin/internal/engine/eventlog/eventlogtest"
)

// body is record n of the logs that these tests make.
func body(n int) []byte {
	return fmt.Appendf(bytes.Repeat([]byte{'.'}, 100+n%50), "record %06d", n)
}

// fillOne appends n records, each in a commit of its own, to partition
// i%2, counted from first.
func fillOne(t *testing.T, l *Log, first, n int) {
	t.Helper()
	w := eventlogtest.NewWaiter()
	for i := range n {
		l.Producer((first+i)%2, w).Append(int64(first+i)*1000, [][]byte{body(first + i)})
		w.Wait(t, i+1)
	}
}

// image makes a log of n commits and gives its directory as it is after an
// orderly end, or as a crash leaves it.
func image(t *testing.T, n int, crash bool) string {
	t.Helper()
	dir := t.TempDir()
	l := open(t, Config{Dir: dir, Gap: -1})
	fillOne(t, l, 0, n)
	if !crash {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	defer l.Close()
	l.saveMark(false)
	snapshot := t.TempDir()
	if err := os.CopyFS(snapshot, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return snapshot
}

func msgsDir(dir string) string { return filepath.Join(storeDir(dir, "DUNLIN_events"), "msgs") }

// result is what a reader of the whole log met.
type result struct {
	seen   map[int]bool // records by number
	damage []*eventlog.DamageError
	last   [2]eventlog.Record
}

func readAll(t *testing.T, l *Log) result {
	t.Helper()
	res := result{seen: make(map[int]bool)}
	for p := range 2 {
		lastSeq, lastOffset := int64(-1), eventlog.Offset(0)
		for r, err := range l.Read(t.Context(), p, eventlog.ReadOptions{}) {
			if d := new(eventlog.DamageError); errors.As(err, &d) {
				res.damage = append(res.damage, d)
				if d.From != lastOffset {
					t.Errorf("damage is said to be after offset %d, the last record read has %d", d.From, lastOffset)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if r.Sequence <= lastSeq || r.Offset <= lastOffset {
				t.Fatalf("numbers do not rise: %d/%d after %d/%d", r.Sequence, r.Offset, lastSeq, lastOffset)
			}
			lastSeq, lastOffset = r.Sequence, r.Offset
			i := bytes.Index(r.Data, []byte("record "))
			var n int
			if _, err := fmt.Sscanf(string(r.Data[i:]), "record %d", &n); err != nil || !bytes.Equal(r.Data, body(n)) {
				t.Fatalf("a record came back changed: %q", r.Data)
			}
			if res.seen[n] {
				t.Fatalf("record %d was read twice", n)
			}
			res.seen[n] = true
			res.last[p] = r
		}
	}
	return res
}

// find gives the place of record n in the block files.
func find(t *testing.T, dir string, n int) (file string, at int) {
	t.Helper()
	for _, f := range blockFiles(msgsDir(dir)) {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.Index(b, body(n)); i >= 0 {
			return f, i
		}
	}
	t.Fatalf("record %d is in no block file", n)
	return "", 0
}

func change(t *testing.T, file string, at int, how func(byte) byte) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[at] = how(b[at])
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func flip(b byte) byte { return b ^ 0x10 }

// recordStart gives where the stream record around offset at begins.
func recordStart(t *testing.T, file string, at int) int {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.LastIndex(b[:at], []byte("dunlin.log.events"))
	if i < blockHeader {
		t.Fatal("no record around this place")
	}
	return i - blockHeader
}

// TestFlippedBits changes one byte of a record in the middle or at the end
// and expects exactly this record to be missing, and to be reported.
func TestFlippedBits(t *testing.T) {
	const n = 60
	places := []struct {
		name string
		at   func(t *testing.T, file string, body, victim int) int
	}{
		{"body", func(_ *testing.T, _ string, body, _ int) int { return body + 20 }},
		{"length", func(t *testing.T, f string, body, _ int) int { return recordStart(t, f, body) }},
		{"length high", func(t *testing.T, f string, body, _ int) int { return recordStart(t, f, body) + 2 }},
		{"number", func(t *testing.T, f string, body, _ int) int { return recordStart(t, f, body) + 5 }},
		{"subject", func(t *testing.T, f string, body, _ int) int { return recordStart(t, f, body) + blockHeader + 2 }},
		{"subject length", func(t *testing.T, f string, body, _ int) int { return recordStart(t, f, body) + 20 }},
		{"hash", func(_ *testing.T, _ string, at, victim int) int { return at + len(body(victim)) + 2 }},
	}
	for _, crash := range []bool{false, true} {
		for _, victim := range []int{0, 30, n - 1} {
			for i, place := range places {
				if crash && i > 1 && victim != 30 {
					continue
				}
				t.Run(fmt.Sprintf("crash=%t/record=%d/%s", crash, victim, place.name), func(t *testing.T) {
					t.Parallel()
					dir := image(t, n, crash)
					file, at := find(t, dir, victim)
					change(t, file, place.at(t, file, at, victim), flip)

					l := open(t, Config{Dir: dir})
					defer l.Close()
					res := readAll(t, l)
					if len(res.seen) != n-1 || res.seen[victim] {
						t.Errorf("%d of %d records can be read; the damaged one: %t", len(res.seen), n, res.seen[victim])
					}
					if victim > 1 {
						want := 1
						if victim == n-1 {
							want = 2 // no partition goes on without a gap
						}
						if len(res.damage) != want {
							t.Fatalf("%d reports of damage, want %d: %v", len(res.damage), want, res.damage)
						}
						if d := res.damage[0]; !strings.HasPrefix(d.File, msgsDir(dir)) || d.Remedy == "" {
							t.Errorf("the report does not help: %v", d)
						}
					}
					rises(t, l, res, n)
				})
			}
		}
	}
}

// rises appends and expects numbers that were never given out before: record
// count-1 was the last that was.
func rises(t *testing.T, l *Log, before result, count int) {
	t.Helper()
	fillOne(t, l, count, 2)
	after := readAll(t, l)
	if len(after.seen) != len(before.seen)+2 {
		t.Errorf("after two more records %d can be read, want %d", len(after.seen), len(before.seen)+2)
	}
	for p := range 2 {
		given := int64((count + 1 - p) / 2) // sequence numbers below it
		if r := after.last[p]; r.Sequence < given || r.Offset <= before.last[p].Offset || int64(r.Offset)>>indexBits <= int64(count) {
			t.Errorf("partition %d: the new record has number %d, offset %d; %d numbers in %d commits were given out", p, r.Sequence, r.Offset, given, count)
		}
	}
}

// TestTruncated cuts the newest block file.
func TestTruncated(t *testing.T) {
	const n = 60
	for _, crash := range []bool{false, true} {
		for _, keep := range []int{0, 10, 20, 59} {
			for _, inside := range []int{0, 1, 30} {
				if crash && (inside == 1 || keep == 20) {
					continue // going on after a crash is slow: a thousand empty commits
				}
				t.Run(fmt.Sprintf("crash=%t/keep=%d+%d", crash, keep, inside), func(t *testing.T) {
					t.Parallel()
					dir := image(t, n, crash)
					file, at := find(t, dir, keep)
					if err := os.Truncate(file, int64(recordStart(t, file, at)+inside)); err != nil {
						t.Fatal(err)
					}
					l := open(t, Config{Dir: dir})
					defer l.Close()
					res := readAll(t, l)
					if len(res.seen) != keep {
						t.Errorf("%d records can be read, want %d", len(res.seen), keep)
					}
					if keep > 1 && len(res.damage) != 2 && keep < n-1 {
						t.Errorf("%d reports of damage, want one for each partition: %v", len(res.damage), res.damage)
					}
					rises(t, l, res, n)
				})
			}
		}
	}
}

// TestLostFiles removes or spoils whole files of the store.
func TestLostFiles(t *testing.T) {
	const n = 20
	for _, crash := range []bool{false, true} {
		for name, spoil := range map[string]func(dir string) error{
			"index": func(dir string) error {
				return os.WriteFile(filepath.Join(msgsDir(dir), "index.db"), []byte("x"), 0o600)
			},
			"stream":      func(dir string) error { return os.RemoveAll(storeDir(dir, "DUNLIN_events")) },
			"blocks":      func(dir string) error { return os.RemoveAll(msgsDir(dir)) },
			"block":       func(dir string) error { return os.Remove(blockFiles(msgsDir(dir))[0]) },
			"empty block": func(dir string) error { return os.Truncate(blockFiles(msgsDir(dir))[0], 0) },
			"zeros":       func(dir string) error { return os.WriteFile(blockFiles(msgsDir(dir))[0], make([]byte, 4096), 0o600) },
			"meta": func(dir string) error {
				return os.WriteFile(filepath.Join(storeDir(dir, "DUNLIN_events"), "meta.inf"), []byte("{"), 0o600)
			},
			"meta missing": func(dir string) error { return os.Remove(filepath.Join(storeDir(dir, "DUNLIN_events"), "meta.inf")) },
			"sum": func(dir string) error {
				return os.WriteFile(filepath.Join(storeDir(dir, "DUNLIN_events"), "meta.sum"), []byte("0"), 0o600)
			},
			"mark": func(dir string) error { return os.WriteFile(filepath.Join(dir, "events.mark.json"), nil, 0o600) },
		} {
			if crash && (name == "block" || name == "empty block" || name == "blocks" || name == "sum") {
				continue
			}
			t.Run(fmt.Sprintf("crash=%t/%s", crash, name), func(t *testing.T) {
				t.Parallel()
				dir := image(t, n, crash)
				if err := spoil(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
					t.Fatal(err)
				}
				want := n
				switch name {
				case "stream", "blocks", "block", "empty block", "zeros":
					want = 0
				}
				l := open(t, Config{Dir: dir})
				defer l.Close()
				res := readAll(t, l)
				if len(res.seen) != want {
					t.Errorf("%d records can be read, want %d", len(res.seen), want)
				}
				rises(t, l, res, n)
			})
		}
	}
}

// TestDamageWhileOpen changes an old block behind the back of a running log:
// readers report it and go on.
func TestDamageWhileOpen(t *testing.T) {
	const n, victim = 200, 20
	for name, at := range map[string]func(t *testing.T, file string, body int) int{
		"body":   func(_ *testing.T, _ string, body int) int { return body + 20 },
		"length": func(t *testing.T, f string, body int) int { return recordStart(t, f, body) + 2 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// The limit makes blocks of 32 kB.
			cfg := Config{Dir: t.TempDir(), Gap: -1, MaxBytes: 127_000}
			l := open(t, cfg)
			fillOne(t, l, 0, n)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			l = open(t, cfg)
			defer l.Close()
			file, body := find(t, cfg.Dir, victim)
			blocks := blockFiles(msgsDir(cfg.Dir))
			if len(blocks) < 3 || file != blocks[0] {
				t.Fatalf("record %d is in %s of %d blocks", victim, file, len(blocks))
			}
			change(t, file, at(t, file, body), flip)
			res := readAll(t, l)
			t.Logf("%d of %d records: %v", len(res.seen), n, res.damage)
			if res.seen[victim] || len(res.damage) == 0 || res.damage[0].File != file {
				t.Errorf("the damaged record was read (%t), or not reported: %v", res.seen[victim], res.damage)
			}
			if name == "body" && len(res.seen) != n-1 {
				t.Errorf("%d records can be read, want %d", len(res.seen), n-1)
			}
			if first, _ := firstOfBlock(blocks[1]); len(res.seen) < n-int(first)+victim {
				t.Errorf("%d records can be read: more than the rest of the block is lost", len(res.seen))
			}
			fillOne(t, l, n, 2)
			if after := readAll(t, l); len(after.seen) != len(res.seen)+2 {
				t.Errorf("%d records after two more, want %d", len(after.seen), len(res.seen)+2)
			}
		})
	}
}
