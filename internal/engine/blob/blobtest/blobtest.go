// Package blobtest is the suite that every engine of the blob store must pass.
package blobtest

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"dunlin/internal/engine/blob"
)

// Opener opens the store of one test. Opened again, after the one before was
// closed, it has what was written.
type Opener func(t *testing.T) (s blob.Store, end func())

// Run runs the suite. fresh is called once for each test and gives a new,
// empty store.
func Run(t *testing.T, fresh func(t *testing.T) Opener) {
	t.Helper()
	for name, test := range map[string]func(t *testing.T, open Opener){
		"what was put comes back":              put,
		"a failed write leaves what was there": failed,
		"blocks become a blob":                 blocks,
		"a list of blocks takes what it names": blockSources,
		"blocks have limits":                   blockLimits,
		"names are what they are":              names,
		"names that are no names":              badNames,
		"conditions":                           conditions,
		"metadata and headers":                 update,
		"ranges":                               ranges,
		"readers keep what they read":          readers,
		"lists":                                lists,
		"lists agree with a plain model":       listModel,
		"everything is there again":            reopen,
		"many at one blob":                     crowd,
		"after close nothing is taken":         closed,
	} {
		t.Run(name, func(t *testing.T) { test(t, fresh(t)) })
	}
}

const box = "box"

func ref(name string) blob.Ref { return blob.Ref{Container: box, Name: name} }

// start opens the store with a container.
func start(t *testing.T, open Opener) blob.Store {
	t.Helper()
	s, end := open(t)
	t.Cleanup(end)
	if err := s.MakeContainer(t.Context(), box); err != nil {
		t.Fatal(err)
	}
	return s
}

func write(t *testing.T, s blob.Store, name, text string) blob.Properties {
	t.Helper()
	p, err := s.Put(t.Context(), ref(name), strings.NewReader(text), blob.WriteOptions{})
	if err != nil {
		t.Fatalf("put %q: %v", name, err)
	}
	return p
}

func stage(t *testing.T, s blob.Store, name, id, text string) {
	t.Helper()
	if n, err := s.Stage(t.Context(), ref(name), id, strings.NewReader(text), 0); err != nil || n != int64(len(text)) {
		t.Fatalf("stage %q of %q: %d, %v", id, name, n, err)
	}
}

func commit(t *testing.T, s blob.Store, name string, list ...blob.BlockRef) blob.Properties {
	t.Helper()
	p, err := s.Commit(t.Context(), ref(name), list, blob.WriteOptions{})
	if err != nil {
		t.Fatalf("commit %q: %v", name, err)
	}
	return p
}

func read(t *testing.T, s blob.Store, name string) string {
	t.Helper()
	text, err := readRange(t.Context(), s, name, 0, -1)
	if err != nil {
		t.Fatalf("read %q: %v", name, err)
	}
	return text
}

func readRange(ctx context.Context, s blob.Store, name string, offset, length int64) (string, error) {
	_, r, err := s.Open(ctx, ref(name), offset, length)
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	return string(b), err
}

func want(t *testing.T, got, want error, what string) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func put(t *testing.T, open Opener) {
	s := start(t, open)
	_, err := s.Head(t.Context(), ref("a"))
	want(t, err, blob.ErrNotFound, "head of nothing")
	_, err = s.Head(t.Context(), blob.Ref{Container: "none", Name: "a"})
	want(t, err, blob.ErrNoContainer, "head in no container")
	_, err = s.Put(t.Context(), blob.Ref{Container: "none", Name: "a"}, strings.NewReader("x"), blob.WriteOptions{})
	want(t, err, blob.ErrNoContainer, "put into no container")
	big := make([]byte, 3<<20+17)
	rand.NewChaCha8([32]byte{1}).Read(big) //nolint:errcheck // never fails
	for _, text := range []string{"", "x", string(big)} {
		p := write(t, s, "a", text)
		sum := md5.Sum([]byte(text))
		if p.Size != int64(len(text)) || !bytes.Equal(p.Headers.MD5, sum[:]) || p.ETag == "" || p.Modified.Before(p.Created) || p.Created.IsZero() {
			t.Errorf("properties %+v of %d bytes", p, len(text))
		}
		if got := read(t, s, "a"); got != text {
			t.Errorf("%d bytes came back as %d", len(text), len(got))
		}
		h, err := s.Head(t.Context(), ref("a"))
		if err != nil || h.ETag != p.ETag || !h.Modified.Equal(p.Modified) || h.Size != p.Size {
			t.Errorf("head: %+v, %v, want %+v", h, err, p)
		}
	}
	if err := s.Delete(t.Context(), ref("a"), blob.Condition{}); err != nil {
		t.Fatal(err)
	}
	_, err = s.Head(t.Context(), ref("a"))
	want(t, err, blob.ErrNotFound, "head after delete")
	want(t, s.Delete(t.Context(), ref("a"), blob.Condition{}), blob.ErrNotFound, "second delete")
	_, _, err = s.Open(t.Context(), ref("a"), 0, -1)
	want(t, err, blob.ErrNotFound, "open after delete")
	if err := s.MakeContainer(t.Context(), box); err != nil {
		t.Errorf("a container made twice: %v", err)
	}
	list, err := s.Containers(t.Context())
	if err != nil || !slices.Equal(list, []string{box}) {
		t.Errorf("containers %q, %v", list, err)
	}
}

func failed(t *testing.T, open Opener) {
	s := start(t, open)
	before := write(t, s, "a", "before")
	broken := errors.New("the line broke")
	for name, r := range map[string]io.Reader{
		"an error of the reader":        io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken)),
		"an unexpected end is an error": io.MultiReader(strings.NewReader("half"), iotest.ErrReader(io.ErrUnexpectedEOF)),
	} {
		for _, at := range []string{"a", "new/one"} {
			if _, err := s.Put(t.Context(), ref(at), r, blob.WriteOptions{}); err == nil {
				t.Errorf("%s was taken", name)
			}
			if _, err := s.Stage(t.Context(), ref(at), "1", iotest.ErrReader(broken), 0); !errors.Is(err, broken) {
				t.Errorf("%s: stage: %v", name, err)
			}
		}
	}
	_, err := s.Put(t.Context(), ref("a"), strings.NewReader("too large"), blob.WriteOptions{Limit: 8})
	want(t, err, blob.ErrTooLarge, "put above the limit")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = s.Put(ctx, ref("a"), strings.NewReader("late"), blob.WriteOptions{}); err == nil {
		t.Error("a write whose context has ended was taken")
	}
	if p, err := s.Head(t.Context(), ref("a")); err != nil || p.ETag != before.ETag || read(t, s, "a") != "before" {
		t.Errorf("after failed writes: %+v, %v", p, err)
	}
	_, err = s.Head(t.Context(), ref("new/one"))
	want(t, err, blob.ErrNotFound, "a blob that was never whole")
	_, _, _, err = s.Blocks(t.Context(), ref("new/one"))
	want(t, err, blob.ErrNotFound, "blocks of it")
}

func blocks(t *testing.T, open Opener) {
	s := start(t, open)
	var text strings.Builder
	var list []blob.BlockRef
	for i := range 50 {
		id, part := fmt.Sprintf("block-%04d", i), strings.Repeat(string(rune('a'+i%26)), 1000+i)
		stage(t, s, "dir/big", id, part)
		text.WriteString(part)
		list = append(list, blob.BlockRef{ID: id})
	}
	_, err := s.Head(t.Context(), ref("dir/big"))
	want(t, err, blob.ErrNotFound, "a blob that is not committed")
	_, committed, staged, err := s.Blocks(t.Context(), ref("dir/big"))
	if err != nil || len(committed) != 0 || len(staged) != 50 || staged[49] != (blob.Block{ID: "block-0049", Size: 1049}) {
		t.Errorf("blocks: %v, %v, %v", committed, staged, err)
	}
	_, err = s.Commit(t.Context(), ref("dir/big"), list, blob.WriteOptions{Limit: 100})
	want(t, err, blob.ErrTooLarge, "commit above the limit")
	p := commit(t, s, "dir/big", list...)
	if p.Size != int64(text.Len()) || !p.Blocks || p.Headers.MD5 != nil {
		t.Errorf("properties %+v", p)
	}
	if got := read(t, s, "dir/big"); got != text.String() {
		t.Errorf("%d bytes came back as %d others", text.Len(), len(got))
	}
	_, committed, staged, err = s.Blocks(t.Context(), ref("dir/big"))
	if err != nil || len(staged) != 0 || len(committed) != 50 || committed[49] != (blob.Block{ID: "block-0049", Size: 1049}) {
		t.Errorf("blocks after commit: %v, %v, %v", committed, staged, err)
	}
	for _, at := range []struct{ offset, length int64 }{{0, 10}, {995, 10}, {1000, 1}, {25000, -1}, {p.Size - 1, 10}, {p.Size, 1}, {p.Size + 9, -1}, {7, 30000}} {
		got, err := readRange(t.Context(), s, "dir/big", at.offset, at.length)
		want := text.String()[min(at.offset, p.Size):]
		if at.length >= 0 {
			want = want[:min(at.length, int64(len(want)))]
		}
		if err != nil || got != want {
			t.Errorf("range %+v: %d bytes, %v, want %d", at, len(got), err, len(want))
		}
	}
	empty := commit(t, s, "nothing")
	if empty.Size != 0 || read(t, s, "nothing") != "" {
		t.Errorf("an empty list: %+v", empty)
	}
}

func blockSources(t *testing.T, open Opener) {
	s := start(t, open)
	stage(t, s, "a", "1", "one ")
	stage(t, s, "a", "2", "two ")
	commit(t, s, "a", blob.BlockRef{ID: "1"}, blob.BlockRef{ID: "2"}, blob.BlockRef{ID: "1"})
	stage(t, s, "a", "1", "new ")
	stage(t, s, "a", "3", "three ")
	if got := read(t, s, "a"); got != "one two one " {
		t.Errorf("before the second commit: %q", got)
	}
	for _, missing := range []blob.BlockRef{{ID: "9"}, {ID: "3", From: blob.Committed}, {ID: "2", From: blob.Staged}} {
		_, err := s.Commit(t.Context(), ref("a"), []blob.BlockRef{missing}, blob.WriteOptions{})
		want(t, err, blob.ErrNoBlock, fmt.Sprintf("%+v", missing))
	}
	commit(t, s, "a", blob.BlockRef{ID: "1"}, blob.BlockRef{ID: "1", From: blob.Committed}, blob.BlockRef{ID: "2", From: blob.Committed}, blob.BlockRef{ID: "3", From: blob.Staged}, blob.BlockRef{ID: "2"})
	if got := read(t, s, "a"); got != "new one two three two " {
		t.Errorf("after the second commit: %q", got)
	}
	stage(t, s, "a", "4", "late")
	write(t, s, "a", "put")
	if _, committed, staged, err := s.Blocks(t.Context(), ref("a")); err != nil || committed != nil || staged != nil {
		t.Errorf("after a put: %v, %v, %v", committed, staged, err)
	}
	stage(t, s, "a", "4", "late")
	if err := s.Delete(t.Context(), ref("a"), blob.Condition{}); err != nil {
		t.Fatal(err)
	}
	_, _, _, err := s.Blocks(t.Context(), ref("a"))
	want(t, err, blob.ErrNotFound, "blocks after delete")
}

func blockLimits(t *testing.T, open Opener) {
	s := start(t, open)
	stage(t, s, "a", "abc", "x")
	for _, id := range []string{"", "ab", "abcd", strings.Repeat("x", blob.MaxBlockID+1)} {
		_, err := s.Stage(t.Context(), ref("a"), id, strings.NewReader("x"), 0)
		want(t, err, blob.ErrBlockID, fmt.Sprintf("id %q", id))
	}
	for id, size := range map[string]int{"abd": 10, "abc": 11} {
		_, err := s.Stage(t.Context(), ref("a"), id, strings.NewReader(strings.Repeat("x", size)), 10)
		want(t, err, blob.ErrTooLarge, id)
	}
	if _, err := s.Stage(t.Context(), ref("a"), "abc", strings.NewReader("0123456789"), 10); err != nil {
		t.Errorf("a block put in the place of another: %v", err)
	}
	_, err := s.Stage(t.Context(), blob.Ref{Container: "none", Name: "a"}, "1", strings.NewReader("x"), 0)
	want(t, err, blob.ErrNoContainer, "stage in no container")
	_, err = s.Commit(t.Context(), ref("a"), make([]blob.BlockRef, blob.MaxBlocks+1), blob.WriteOptions{})
	want(t, err, blob.ErrTooMany, "a list that is too long")
}

// Names are hard to keep apart, or to keep at all.
var hardNames = []string{
	"a", "A", "á", "a\u0301", "ａ", ".", "..", "...", "../a", "../../../../etc/passwd", "/", "//", "/a", "a/", "a//b", "a/./b", "a/../b", "/..", "a/..",
	`\`, `..\..\a`, "C:", `C:\x`, "con", "NUL", "aux.txt", "a.", "a ", " ", " a", "~", "-", "_", "=", "==a", "=a", "%", "%2e%2e%2f", "%41", "%00", "+", "&", "?", "#", ";", "*",
	"b.a", "d.a", "l.a", "c.a.0123456789abcdef", "blocks", "name", "0", "日本語/ファイル", "😀", "\u202e", "\ufeffx", "'", `"`, "<>", "|", "$(x)", "\u007f",
	strings.Repeat("x", 109), strings.Repeat("x", 110), strings.Repeat("x", 111), strings.Repeat("x", 300), strings.Repeat("x", 110) + "/y", strings.Repeat("x", 110) + "-", strings.Repeat("x", 110) + "0",
	strings.Repeat("é", 200), strings.Repeat("😀", blob.MaxName), strings.Repeat("X", blob.MaxName), strings.Repeat("a/", blob.MaxSegments-1) + "a",
}

func names(t *testing.T, open Opener) {
	s := start(t, open)
	for _, n := range hardNames {
		write(t, s, n, "text of "+n)
	}
	stage(t, s, "..", "1", "block")
	for _, n := range hardNames {
		if got := read(t, s, n); got != "text of "+n {
			t.Errorf("%.40q reads as %.60q", n, got)
		}
	}
	wantNames := slices.Clone(hardNames)
	slices.Sort(wantNames)
	for _, max := range []int{1, 3, 1000} {
		if got := all(t, s, blob.ListOptions{Max: max}); !slices.Equal(got, wantNames) {
			t.Errorf("list by %d:\n got %q\nwant %q", max, got, wantNames)
		}
	}
	for _, n := range hardNames {
		if err := s.Delete(t.Context(), ref(n), blob.Condition{}); err != nil {
			t.Errorf("delete %.40q: %v", n, err)
		}
	}
	if got := all(t, s, blob.ListOptions{Max: 10}); len(got) != 0 {
		t.Errorf("left after all was deleted: %q", got)
	}
}

func badNames(t *testing.T, open Opener) {
	s := start(t, open)
	for _, n := range []string{"", "\x00", "a\x00b", "a\nb", "\xff", "a\xc3", strings.Repeat("x", blob.MaxName+1), strings.Repeat("/", blob.MaxSegments), "\ufffe"} {
		_, err := s.Put(t.Context(), ref(n), strings.NewReader("x"), blob.WriteOptions{})
		want(t, err, blob.ErrName, fmt.Sprintf("put %.20q", n))
		_, err = s.Head(t.Context(), ref(n))
		want(t, err, blob.ErrName, fmt.Sprintf("head %.20q", n))
		_, err = s.Stage(t.Context(), ref(n), "1", strings.NewReader("x"), 0)
		want(t, err, blob.ErrName, fmt.Sprintf("stage %.20q", n))
	}
	for _, c := range []string{"", "ab", "..", "../x", "a/b", "Upper", "a_b", "-ab", "ab-", "a--b", strings.Repeat("x", 64), "a.b", "\x00\x00\x00"} {
		want(t, s.MakeContainer(t.Context(), c), blob.ErrName, fmt.Sprintf("container %q", c))
		_, err := s.Head(t.Context(), blob.Ref{Container: c, Name: "a"})
		want(t, err, blob.ErrName, fmt.Sprintf("head in %q", c))
		if _, err := s.List(t.Context(), c, blob.ListOptions{Max: 1}); err == nil {
			t.Errorf("list of container %q", c)
		}
	}
}

func conditions(t *testing.T, open Opener) {
	s := start(t, open)
	try := func(c blob.Condition) error {
		_, err := s.Put(t.Context(), ref("a"), strings.NewReader("x"), blob.WriteOptions{Condition: c})
		return err
	}
	want(t, try(blob.Condition{IfMatch: "*"}), blob.ErrCondition, "any blob, and there is none")
	want(t, try(blob.Condition{IfMatch: "0x1"}), blob.ErrCondition, "an ETag, and there is no blob")
	want(t, try(blob.Condition{IfNoneMatch: "*"}), nil, "no blob, and there is none")
	want(t, try(blob.Condition{IfNoneMatch: "*"}), blob.ErrCondition, "no blob, and there is one")
	p, err := s.Head(t.Context(), ref("a"))
	if err != nil {
		t.Fatal(err)
	}
	want(t, try(blob.Condition{IfNoneMatch: p.ETag}), blob.ErrCondition, "not this ETag")
	want(t, try(blob.Condition{IfMatch: p.ETag}), nil, "this ETag")
	want(t, try(blob.Condition{IfMatch: p.ETag}), blob.ErrCondition, "the ETag before")
	want(t, try(blob.Condition{IfMatch: "*", IfNoneMatch: p.ETag}), nil, "any, but not that before")
	_, err = s.Commit(t.Context(), ref("a"), nil, blob.WriteOptions{Condition: blob.Condition{IfNoneMatch: "*"}})
	want(t, err, blob.ErrCondition, "commit")
	_, err = s.Update(t.Context(), ref("a"), nil, map[string]string{}, blob.Condition{IfMatch: p.ETag})
	want(t, err, blob.ErrCondition, "update")
	want(t, s.Delete(t.Context(), ref("a"), blob.Condition{IfMatch: p.ETag}), blob.ErrCondition, "delete")
	if _, err := s.Head(t.Context(), ref("a")); err != nil {
		t.Error(err)
	}
}

func update(t *testing.T, open Opener) {
	s := start(t, open)
	h := blob.Headers{ContentType: "text/plain", ContentEncoding: "gzip", ContentLanguage: "de", ContentDisposition: "inline", CacheControl: "no-cache", MD5: []byte{1, 2}}
	meta := map[string]string{"Room": "Küche", "n": "1"}
	first, err := s.Put(t.Context(), ref("a"), strings.NewReader("x"), blob.WriteOptions{Headers: h, Metadata: meta})
	if err != nil {
		t.Fatal(err)
	}
	check := func(p blob.Properties, h blob.Headers, meta map[string]string) {
		t.Helper()
		if fmt.Sprint(p.Headers) != fmt.Sprint(h) || !maps.Equal(p.Metadata, meta) {
			t.Errorf("headers %+v, metadata %v; want %+v, %v", p.Headers, p.Metadata, h, meta)
		}
	}
	check(first, h, meta)
	meta = map[string]string{"k": "v"}
	p, err := s.Update(t.Context(), ref("a"), nil, meta, blob.Condition{IfMatch: first.ETag})
	if err != nil || p.ETag == first.ETag || !p.Created.Equal(first.Created) {
		t.Fatalf("update: %+v, %v", p, err)
	}
	check(p, h, meta)
	h = blob.Headers{ContentType: "image/png"}
	if p, err = s.Update(t.Context(), ref("a"), &h, nil, blob.Condition{}); err != nil {
		t.Fatal(err)
	}
	check(p, h, meta)
	if p, err = s.Head(t.Context(), ref("a")); err != nil || read(t, s, "a") != "x" {
		t.Fatal(p, err)
	}
	check(p, h, meta)
	_, err = s.Update(t.Context(), ref("none"), nil, meta, blob.Condition{})
	want(t, err, blob.ErrNotFound, "update of nothing")
}

func ranges(t *testing.T, open Opener) {
	s := start(t, open)
	write(t, s, "a", "0123456789")
	for _, tt := range []struct {
		offset, length int64
		want           string
	}{{0, -1, "0123456789"}, {3, -1, "3456789"}, {3, 0, ""}, {3, 4, "3456"}, {9, 5, "9"}, {10, 5, ""}, {99, -1, ""}} {
		if got, err := readRange(t.Context(), s, "a", tt.offset, tt.length); err != nil || got != tt.want {
			t.Errorf("%d, %d: %q, %v, want %q", tt.offset, tt.length, got, err, tt.want)
		}
	}
}

func readers(t *testing.T, open Opener) {
	s := start(t, open)
	for _, n := range []string{"put", "blocks"} {
		if n == "put" {
			write(t, s, n, "first version")
		} else {
			stage(t, s, n, "1", "first ")
			stage(t, s, n, "2", "version")
			commit(t, s, n, blob.BlockRef{ID: "1"}, blob.BlockRef{ID: "2"})
		}
		_, one, err := s.Open(t.Context(), ref(n), 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		_, two, err := s.Open(t.Context(), ref(n), 1, -1)
		if err != nil {
			t.Fatal(err)
		}
		write(t, s, n, "second version")
		if err := s.Delete(t.Context(), ref(n), blob.Condition{}); err != nil {
			t.Fatal(err)
		}
		for r, want := range map[io.ReadCloser]string{one: "first version", two: "irst version"} {
			if b, err := io.ReadAll(r); err != nil || string(b) != want {
				t.Errorf("%s: a reader got %q, %v, want %q", n, b, err, want)
			}
			r.Close()
			r.Close()
		}
	}
}

// all pages through a list; prefixes have a + before them.
func all(t *testing.T, s blob.Store, o blob.ListOptions) []string {
	t.Helper()
	var names []string
	for {
		p, err := s.List(t.Context(), box, o)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range p.Entries {
			if e.IsPrefix {
				e.Name = "+" + e.Name
			}
			names = append(names, e.Name)
		}
		if len(p.Entries) > o.Max || len(p.Entries) < o.Max && p.Next != "" {
			t.Fatalf("a page of %d entries, next %q, where %d were asked for", len(p.Entries), p.Next, o.Max)
		}
		if p.Next == "" {
			return names
		}
		o.After = p.Next
	}
}

func lists(t *testing.T, open Opener) {
	s := start(t, open)
	for _, n := range []string{"a", "a-b", "a/1", "a/2", "a/b/3", "a0", "b/", "b/x", "c/d/e/f", "B"} {
		write(t, s, n, n)
	}
	stage(t, s, "waits", "1", "x")
	for _, tt := range []struct {
		prefix, delimiter string
		want              []string
	}{
		{"", "", []string{"B", "a", "a-b", "a/1", "a/2", "a/b/3", "a0", "b/", "b/x", "c/d/e/f"}},
		{"a", "", []string{"a", "a-b", "a/1", "a/2", "a/b/3", "a0"}},
		{"a/", "", []string{"a/1", "a/2", "a/b/3"}},
		{"a/b", "", []string{"a/b/3"}},
		{"", "/", []string{"B", "a", "a-b", "+a/", "a0", "+b/", "+c/"}},
		{"a", "/", []string{"a", "a-b", "+a/", "a0"}},
		{"a/", "/", []string{"a/1", "a/2", "+a/b/"}},
		{"c/", "/", []string{"+c/d/"}},
		{"b/", "/", []string{"b/", "b/x"}},
		{"", "-", []string{"B", "a", "+a-", "a/1", "a/2", "a/b/3", "a0", "b/", "b/x", "c/d/e/f"}},
		{"", "b/", []string{"B", "a", "a-b", "a/1", "a/2", "+a/b/", "a0", "+b/", "c/d/e/f"}},
		{"zzz", "", nil},
		{"../", "", nil},
	} {
		for _, max := range []int{1, 2, 5, 1000} {
			if got := all(t, s, blob.ListOptions{Prefix: tt.prefix, Delimiter: tt.delimiter, Max: max}); !slices.Equal(got, tt.want) {
				t.Errorf("prefix %q, delimiter %q, by %d: %q, want %q", tt.prefix, tt.delimiter, max, got, tt.want)
			}
		}
	}
	p, err := s.List(t.Context(), box, blob.ListOptions{Prefix: "a/1", Max: 1})
	if err != nil || p.Entries[0].Size != 3 || p.Entries[0].ETag == "" || p.Entries[0].Modified.IsZero() {
		t.Errorf("an entry of a list: %+v, %v", p, err)
	}
	_, err = s.List(t.Context(), "none", blob.ListOptions{Max: 1})
	want(t, err, blob.ErrNoContainer, "a list of no container")
}

// listModel compares lists of random names with what sorting gives.
func listModel(t *testing.T, open Opener) {
	s := start(t, open)
	r := rand.New(rand.NewPCG(7, 7))
	have := map[string]bool{}
	letters := []string{"a", "A", "/", "-", ".", "é", strings.Repeat("q", 109), strings.Repeat("q", 110)}
	for range 150 {
		var n strings.Builder
		for range 1 + r.IntN(6) {
			n.WriteString(letters[r.IntN(len(letters))])
		}
		if blob.ValidName(n.String()) {
			have[n.String()] = true
			write(t, s, n.String(), "x")
		}
	}
	sorted := slices.Sorted(maps.Keys(have))
	for range 60 {
		o := blob.ListOptions{Max: 1 + r.IntN(20)}
		if r.IntN(2) == 0 {
			o.Delimiter = []string{"/", "-", "a", "qq"}[r.IntN(4)]
		}
		if r.IntN(2) == 0 {
			from := sorted[r.IntN(len(sorted))]
			o.Prefix = strings.ToValidUTF8(from[:r.IntN(len(from)+1)], "")
		}
		var model []string
		for _, n := range sorted {
			rest, ok := strings.CutPrefix(n, o.Prefix)
			if !ok {
				continue
			}
			if head, _, cut := strings.Cut(rest, o.Delimiter); cut && o.Delimiter != "" {
				n = "+" + o.Prefix + head + o.Delimiter
			}
			if len(model) == 0 || model[len(model)-1] != n {
				model = append(model, n)
			}
		}
		if got := all(t, s, o); !slices.Equal(got, model) {
			t.Fatalf("%+v:\n got %q\nwant %q", o, got, model)
		}
	}
}

func reopen(t *testing.T, open Opener) {
	s, end := open(t)
	if err := s.MakeContainer(t.Context(), box); err != nil {
		t.Fatal(err)
	}
	first := write(t, s, "dir/a", "put")
	stage(t, s, "b", "1", "one")
	stage(t, s, "b", "2", "two")
	commit(t, s, "b", blob.BlockRef{ID: "1"}, blob.BlockRef{ID: "2"})
	stage(t, s, "b", "3", "three")
	stage(t, s, "../c", "9", "nine")
	end()
	s, end = open(t)
	defer end()
	if p, err := s.Head(t.Context(), ref("dir/a")); err != nil || p.ETag != first.ETag || read(t, s, "dir/a") != "put" || read(t, s, "b") != "onetwo" {
		t.Errorf("after opening again: %+v, %v", p, err)
	}
	commit(t, s, "b", blob.BlockRef{ID: "3"}, blob.BlockRef{ID: "1"})
	commit(t, s, "../c", blob.BlockRef{ID: "9"})
	if got := []string{read(t, s, "b"), read(t, s, "../c")}; !slices.Equal(got, []string{"threeone", "nine"}) {
		t.Errorf("blocks that waited over a restart: %q", got)
	}
}

// crowd writes one blob from many sides: what is read is always one whole
// version, and of writers that make the blob one wins.
func crowd(t *testing.T, open Opener) {
	s := start(t, open)
	text := func(i int) string { return strings.Repeat(string(rune('a'+i)), 5000) }
	var wait sync.WaitGroup
	var mu sync.Mutex
	made := 0
	write(t, s, "shared/x", text(0))
	for i := range 8 {
		wait.Go(func() {
			_, err := s.Put(t.Context(), ref("made"), strings.NewReader("x"), blob.WriteOptions{Condition: blob.Condition{IfNoneMatch: "*"}})
			if err == nil {
				mu.Lock()
				made++
				mu.Unlock()
			} else if !errors.Is(err, blob.ErrCondition) {
				t.Error(err)
			}
			for range 10 {
				if _, err := s.Put(t.Context(), ref("shared/x"), strings.NewReader(text(i)), blob.WriteOptions{}); err != nil {
					t.Error(err)
				}
				got, err := readRange(t.Context(), s, "shared/x", 0, -1)
				if err != nil || len(got) != 5000 || strings.Count(got, got[:1]) != 5000 {
					t.Errorf("read %d bytes that are not of one version: %v", len(got), err)
				}
				own := fmt.Sprintf("own/%d/x", i)
				if _, err := s.Put(t.Context(), ref(own), strings.NewReader("x"), blob.WriteOptions{}); err != nil {
					t.Error(err)
				}
				if err := s.Delete(t.Context(), ref(own), blob.Condition{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	if made != 1 {
		t.Errorf("%d made a blob that can be made once", made)
	}
}

func closed(t *testing.T, open Opener) {
	s, end := open(t)
	if err := s.MakeContainer(t.Context(), box); err != nil {
		t.Fatal(err)
	}
	write(t, s, "a", "x")
	end()
	_, err := s.Put(t.Context(), ref("a"), strings.NewReader("x"), blob.WriteOptions{})
	want(t, err, blob.ErrClosed, "put")
	_, _, err = s.Open(t.Context(), ref("a"), 0, -1)
	want(t, err, blob.ErrClosed, "open")
	_, err = s.List(t.Context(), box, blob.ListOptions{Max: 1})
	want(t, err, blob.ErrClosed, "list")
}
