package natslog

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew; only for a new version of the format")

// sample is the commit of the golden files, which must stay readable for
// ever.
func sample() (heads []head, sections []section) {
	var first, third []byte
	first = appendRecord(first, 0, []byte("one"))
	first = appendRecord(first, 0, nil)
	first = appendRecord(first, 1_500_000, bytes.Repeat([]byte("long "), 60))
	third = appendRecord(third, 0, []byte(`{"temperature":21.5}`))
	heads = []head{
		{next: 1003, lastOffset: 42<<indexBits | 2, lastTime: 1_767_225_600_001_500_000},
		{}, // never had a record
		{next: 8, lastOffset: 42 << indexBits, lastTime: 1_767_225_600_000_000_777},
		{next: 5, lastOffset: 17<<indexBits | 4, lastTime: 1_767_225_500_000_000_000},
	}
	sections = []section{
		{partition: 0, count: 3, first: 1000, time: 1_767_225_600_000_000_000, data: first},
		{partition: 2, count: 1, first: 7, time: 1_767_225_600_000_000_777, data: third},
	}
	return heads, sections
}

// TestGolden compares what is written with the golden files, and reads them
// back. Older versions stay here when a new one comes.
func TestGolden(t *testing.T) {
	heads, sections := sample()
	for name, b := range map[string][]byte{
		"commit-v1.bin":       appendCommit(nil, 0x0123456789abcdef, 1_767_225_600_002_000_000, "", heads, sections),
		"commit-v1-note.bin":  appendCommit(nil, 0x0123456789abcdef, 1_767_225_600_002_000_000, "host a, process 1", heads, sections),
		"commit-v1-empty.bin": appendCommit(nil, 0x0123456789abcdef, 1_767_225_600_002_000_000, "after damage", heads, nil),
	} {
		file := filepath.Join("testdata", name)
		if *rewrite {
			if err := os.WriteFile(file, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, want) {
			t.Errorf("%s: the bytes that are written have changed; a change needs a new version of the format", name)
		}
		c, err := parseCommit(want)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if c.writer != 0x0123456789abcdef || c.time != 1_767_225_600_002_000_000 || c.partitions != 4 {
			t.Errorf("%s: %+v", name, c)
		}
		for p, h := range heads {
			if c.head(p) != h {
				t.Errorf("%s: head of partition %d is %+v, want %+v", name, p, c.head(p), h)
			}
		}
		if c.sections == 0 {
			continue
		}
		for _, want := range sections {
			got, ok := c.section(want.partition)
			if !ok || got.count != want.count || got.first != want.first || got.time != want.time || !bytes.Equal(got.data, want.data) {
				t.Errorf("%s: section %+v, %t, want %+v", name, got, ok, want)
			}
		}
		if _, ok := c.section(1); ok {
			t.Errorf("%s: partition 1 has a section", name)
		}
		if b := c.begin(0); b != 1000 {
			t.Errorf("%s: partition 0 begins with %d", name, b)
		}
		if b := c.begin(3); b != 5 {
			t.Errorf("%s: partition 3 begins with %d", name, b)
		}
	}
}

// TestEveryBit flips each bit of a commit: none may go unnoticed.
func TestEveryBit(t *testing.T) {
	heads, sections := sample()
	b := appendCommit(nil, 1, 2, "note", heads, sections)
	for i := range len(b) * 8 {
		b[i/8] ^= 1 << (i % 8)
		if _, err := parseCommit(b); err == nil {
			t.Fatalf("bit %d of byte %d can change unnoticed", i%8, i/8)
		}
		b[i/8] ^= 1 << (i % 8)
	}
	for n := range b {
		if _, err := parseCommit(b[:n]); err == nil {
			t.Fatalf("a commit cut to %d bytes is taken", n)
		}
	}
}

// FuzzCommit: whatever parses can be walked without a panic, and its records
// lie in it.
func FuzzCommit(f *testing.F) {
	heads, sections := sample()
	f.Add(appendCommit(nil, 1, 2, "note", heads, sections))
	f.Add(appendCommit(nil, 1, 2, "", nil, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= headerSize {
			// Most of what the fuzzer makes would fail at the checksum.
			b = bytes.Clone(b)
			le.PutUint32(b[offCRC:], checksum(b))
		}
		c, err := parseCommit(b)
		if err != nil {
			return
		}
		for p := range c.partitions {
			c.head(p)
			s, ok := c.section(p)
			if !ok {
				continue
			}
			data := s.data
			for range s.count {
				_, rec, rest, ok := nextRecord(data)
				if !ok {
					break
				}
				if len(rec)+len(rest) > len(data) {
					t.Fatal("a record is longer than its section")
				}
				data = rest
			}
		}
	})
}
