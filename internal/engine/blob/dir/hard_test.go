package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dunlin/internal/engine/blob"
)

func put(t testing.TB, s *Store, name, text string) {
	t.Helper()
	if _, err := s.Put(t.Context(), blob.Ref{Container: "box", Name: name}, strings.NewReader(text), blob.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// fresh opens a new store with a container.
func fresh(t testing.TB) *Store {
	t.Helper()
	s := open(t, filepath.Join(t.TempDir(), "blobs"))
	t.Cleanup(func() { s.Close() })
	if err := s.MakeContainer(t.Context(), "box"); err != nil {
		t.Fatal(err)
	}
	return s
}

// all lists every file below a directory but the marks of the store.
func all(t testing.TB, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && path != dir {
			list = append(list, path[len(dir)+1:])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestNothingIsLeft: what was deleted or replaced leaves no file behind, and
// no empty directory.
func TestNothingIsLeft(t *testing.T) {
	s := fresh(t)
	ref := blob.Ref{Container: "box", Name: "a/b/" + strings.Repeat("c", 300) + "/d"}
	put(t, s, ref.Name, "one")
	put(t, s, ref.Name, "two")
	if _, err := s.Stage(t.Context(), ref, "1", strings.NewReader("x"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context(), ref, []blob.BlockRef{{ID: "1"}}, blob.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	_, r, err := s.Open(t.Context(), ref, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), ref, blob.Condition{}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(r); err != nil {
		t.Error(err)
	}
	r.Close()
	if left := all(t, filepath.Join(s.cfg.Path, "blobs", "box")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	if files := all(t, filepath.Join(s.cfg.Path, "staged")); len(files) > 1 { // the directory of the container
		t.Errorf("left of blocks: %q", files)
	}
}

// TestStagedExpires: blocks that nobody commits go after a time, counted from
// the last one.
func TestStagedExpires(t *testing.T) {
	path := filepath.Join(t.TempDir(), "blobs")
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(t.Context(), Config{Path: path, StagedFor: time.Hour, Reserve: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.MakeContainer(t.Context(), "box"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		ref := blob.Ref{Container: "box", Name: "a"}
		for _, id := range []string{"1", "2"} {
			if _, err := s.Stage(t.Context(), ref, id, strings.NewReader("x"), 0); err != nil {
				t.Fatal(err)
			}
			time.Sleep(40 * time.Minute)
		}
		if _, _, staged, err := s.Blocks(t.Context(), ref); err != nil || len(staged) != 2 {
			t.Errorf("after 40 minutes: %v, %v", staged, err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if _, _, staged, err := s.Blocks(t.Context(), ref); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("after 100 minutes: %v, %v", staged, err)
		}
		if bytes := s.stage.total(); bytes != 0 {
			t.Errorf("%d bytes are counted", bytes)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestOrphans: content that no description names is removed by Run after the
// process was killed, and only then.
func TestOrphans(t *testing.T) {
	path := filepath.Join(t.TempDir(), "blobs")
	s := open(t, path)
	if err := s.MakeContainer(t.Context(), "box"); err != nil {
		t.Fatal(err)
	}
	put(t, s, "A/b", "kept")
	orphan := filepath.Join(path, "blobs/box/d.=a/c.b.00000000000000ff")
	lone := filepath.Join(path, "blobs/box/c.gone.00000000000000ff")
	for _, f := range []string{orphan, lone} {
		if err := os.MkdirAll(f, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(f, "0"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.root.Close() // as a kill does
	s = open(t, path)
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		_, err1 := os.Stat(orphan)
		_, err2 := os.Stat(lone)
		if err1 != nil && err2 != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("orphans are still there")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	_, r, err := s.Open(t.Context(), blob.Ref{Container: "box", Name: "A/b"}, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b, err := io.ReadAll(r); string(b) != "kept" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

// TestDamage: files that were cut, altered or removed are told from others, by
// name and with a remedy; the rest goes on, and writing anew heals.
func TestDamage(t *testing.T) {
	s := fresh(t)
	box := filepath.Join(s.cfg.Path, "blobs", "box")
	glob := func(pattern string) string {
		t.Helper()
		list, err := filepath.Glob(filepath.Join(box, pattern))
		if err != nil || len(list) != 1 {
			t.Fatalf("%s: %q, %v", pattern, list, err)
		}
		return list[0]
	}
	damage := map[string]func(name string) error{
		"cut":     func(name string) error { return os.Truncate(glob("c."+name+".*"), 2) },
		"missing": func(name string) error { return os.Remove(glob("c." + name + ".*")) },
		"flipped": func(name string) error {
			b, err := os.ReadFile(glob("b." + name))
			if err == nil {
				b[len(b)-5] ^= 1
				err = os.WriteFile(glob("b."+name), b, 0o600)
			}
			return err
		},
		"empty":  func(name string) error { return os.Truncate(glob("b."+name), 0) },
		"swap":   func(name string) error { return os.Rename(glob("b.fine"), glob("b."+name)) },
		"blocks": func(name string) error { return os.Remove(glob("c."+name+".*") + "/1") },
		"list":   func(name string) error { return os.Truncate(glob("c."+name+".*")+"/blocks", 30) },
	}
	for name, harm := range damage {
		put(t, s, "fine", "fine")
		ref := blob.Ref{Container: "box", Name: name}
		if name == "blocks" || name == "list" {
			for _, id := range []string{"1", "2"} {
				if _, err := s.Stage(t.Context(), ref, id, strings.NewReader("block"), 0); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := s.Commit(t.Context(), ref, []blob.BlockRef{{ID: "1"}, {ID: "2"}}, blob.WriteOptions{}); err != nil {
				t.Fatal(err)
			}
		} else {
			put(t, s, name, "content")
		}
		if err := harm(name); err != nil {
			t.Fatal(err)
		}
		_, r, err := s.Open(t.Context(), ref, 0, -1)
		if err == nil {
			_, err = io.ReadAll(r)
			r.Close()
		}
		if !errors.Is(err, blob.ErrDamaged) || !strings.Contains(err.Error(), "remedy: upload") && !strings.Contains(err.Error(), "another blob") || !strings.Contains(err.Error(), box) {
			t.Errorf("%s: %v", name, err)
		}
		page, err := s.List(t.Context(), "box", blob.ListOptions{Max: 10})
		if err != nil || name != "swap" && len(page.Entries) < 1 {
			t.Errorf("%s: list: %+v, %v", name, page, err)
		}
		put(t, s, name, "healed")
		if _, err := s.Head(t.Context(), ref); err != nil {
			t.Errorf("%s: written anew: %v", name, err)
		}
		if err := s.Delete(t.Context(), ref, blob.Condition{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestForeign: a directory that holds something else is not taken.
func TestForeign(t *testing.T) {
	path := t.TempDir()
	if err := os.WriteFile(filepath.Join(path, "thesis.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Config{Path: path}); err == nil || !strings.Contains(err.Error(), "thesis.txt") {
		t.Errorf("%v", err)
	}
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, formatFile), []byte("dunlin-blobs 9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Config{Path: other}); err == nil || !strings.Contains(err.Error(), "dunlin-blobs 9") {
		t.Errorf("%v", err)
	}
	// A link does not lead out of the directory.
	s := fresh(t)
	out := t.TempDir()
	if err := os.Symlink(out, filepath.Join(s.cfg.Path, "blobs/box/d.x")); err != nil {
		t.Fatal(err)
	}
	_, err := s.Put(t.Context(), blob.Ref{Container: "box", Name: "x/y"}, strings.NewReader("x"), blob.WriteOptions{})
	if list := all(t, out); err == nil || len(list) > 0 {
		t.Errorf("%v, %q was written outside", err, list)
	}
}

// zeros gives n zero bytes.
type zeros int64

func (z *zeros) Read(p []byte) (int, error) {
	if *z == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), int64(*z))
	clear(p[:n])
	*z -= zeros(n)
	return int(n), nil
}

// TestMemoryBudget: writing and reading take the same memory whatever the size.
func TestMemoryBudget(t *testing.T) {
	s := fresh(t)
	const size, most = 64 << 20, 2 << 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	ref := blob.Ref{Container: "box", Name: "big"}
	n := zeros(size)
	if _, err := s.Put(t.Context(), ref, &n, blob.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	_, r, err := s.Open(t.Context(), ref, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{r}, make([]byte, 64<<10)); n != size || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	r.Close()
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > most {
		t.Errorf("%d bytes were allocated for a blob of %d, at most %d are allowed", grown, size, most)
	}
}

// TestReserve: the last of the disk is left to others.
func TestReserve(t *testing.T) {
	path := filepath.Join(t.TempDir(), "blobs")
	s, err := Open(t.Context(), Config{Path: path, Reserve: 1 << 60})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.MakeContainer(t.Context(), "box"); err != nil {
		t.Fatal(err)
	}
	_, err = s.Put(t.Context(), blob.Ref{Container: "box", Name: "a"}, strings.NewReader("x"), blob.WriteOptions{})
	if !errors.Is(err, blob.ErrFull) || !strings.Contains(err.Error(), path) {
		t.Errorf("%v", err)
	}
}

// FuzzNames: every valid name has a place of its own below the directory, in
// pieces that file systems take, and comes back from it.
func FuzzNames(f *testing.F) {
	for _, n := range []string{"a", "../../x", "a//b", "A/é", strings.Repeat("%", 300), strings.Repeat("x", 110) + "/y", "b.c.d/.", "\\..\\", "=a", "con"} {
		f.Add(n)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if !blob.ValidName(name) {
			return
		}
		dir, piece := place(name)
		back := ""
		for part := range strings.SplitSeq(strings.TrimSuffix(dir, "/"), "/") {
			if part == "" {
				continue
			}
			k, ok := parseEntry(part, back)
			if !ok || k.mark == blobMark {
				t.Fatalf("%q: part %q", name, part)
			}
			back = k.key
		}
		last, ok := parseEntry(blobMark+piece, back)
		if !ok || last.key != name {
			t.Fatalf("%q came back as %q", name, last.key)
		}
		for part := range strings.SplitSeq(dir+contentMark+piece+".0123456789abcdef", "/") {
			if len(part) > 143 || strings.ContainsAny(part, "\\\x00:*?\"<>| ") || !filepath.IsLocal(part) || strings.ToLower(part) != part {
				t.Fatalf("%q: part %q", name, part)
			}
		}
		if p, id, ok := contentID(contentMark + piece + ".0123456789abcdef"); !ok || p != piece || id != "0123456789abcdef" {
			t.Fatalf("%q: content of %q", name, p)
		}
	})
}

func BenchmarkPut(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := fresh(b)
			b.SetBytes(int64(size))
			i := 0
			for b.Loop() {
				n := zeros(size)
				if _, err := s.Put(b.Context(), blob.Ref{Container: "box", Name: fmt.Sprintf("dev/%d", i%100)}, &n, blob.WriteOptions{}); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	s := fresh(b)
	put(b, s, "dev/x", strings.Repeat("x", 4<<10))
	b.ReportAllocs()
	for b.Loop() {
		_, r, err := s.Open(b.Context(), blob.Ref{Container: "box", Name: "dev/x"}, 0, -1)
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, r)
		r.Close()
	}
}
