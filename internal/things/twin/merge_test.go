package twin

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"dunlin/internal/iot"
)

// The model of a section: plain values, and for each object and value the
// stamp of its last change under its path.
type model struct {
	doc    map[string]any
	stamps map[string]stamp
	order  map[string][]string // keys of the object at a path, oldest first
}

func newModel() *model {
	return &model{doc: map[string]any{}, stamps: map[string]stamp{"": {}}, order: map[string][]string{}}
}

// merge is the documented rule, word for word.
func (m *model) merge(path string, to, patch map[string]any, keys func(path string) []string, s stamp) {
	m.stamps[path] = s
	for _, key := range keys(path) {
		v, at := patch[key], path+"/"+key
		old, had := to[key]
		inner, isObject := v.(map[string]any)
		if oldInner, ok := old.(map[string]any); isObject && ok {
			m.merge(at, oldInner, inner, keys, s)
			continue
		}
		if v == nil {
			m.forget(at)
			delete(to, key)
			m.order[path] = without(m.order[path], key)
			continue
		}
		m.forget(at)
		if !had {
			m.order[path] = append(m.order[path], key)
		}
		m.stamps[at] = s
		if !isObject {
			to[key] = v
			continue
		}
		fresh := map[string]any{}
		to[key] = fresh
		m.merge(at, fresh, inner, keys, s)
	}
}

func (m *model) forget(path string) {
	for at := range m.stamps {
		if at == path || strings.HasPrefix(at, path+"/") {
			delete(m.stamps, at)
			delete(m.order, at)
		}
	}
}

func without(list []string, key string) []string {
	var out []string
	for _, k := range list {
		if k != key {
			out = append(out, k)
		}
	}
	return out
}

// generated is a patch as text, as values, and the order of its keys.
type generated struct {
	text string
	doc  map[string]any
	keys map[string][]string
}

var leaves = []string{
	`1`, `1.0`, `1.50`, `-0`, `1e2`, `0.1E-7`, `4503599627370495`, `true`, `false`, `""`, `"x"`, `"\u00e9\n\"\\\/"`, `"😀"`, `[]`, `[1, null,{"a": null}]`, `[ [ ] , "a b" ]`, `null`,
}

func drawPatch(t *rapid.T) generated {
	g := generated{doc: map[string]any{}, keys: map[string][]string{}}
	var b strings.Builder
	var object func(path string, depth int) map[string]any
	object = func(path string, depth int) map[string]any {
		m := map[string]any{}
		b.WriteString("{ ")
		// Few keys, so that changes meet; now and then more than the linear search takes.
		names := []string{"a", "b", "c", "é", `q"\`}
		if rapid.IntRange(0, 9).Draw(t, "wide") == 0 {
			for i := range 30 {
				names = append(names, "k"+strconv.Itoa(i))
			}
		}
		for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, len(names), rapid.ID).Draw(t, "keys") {
			if len(m) > 0 {
				b.WriteString(" ,")
			}
			key, err := json.Marshal(name)
			if err != nil {
				t.Fatal(err)
			}
			b.Write(key)
			b.WriteString(" :\t")
			g.keys[path] = append(g.keys[path], name)
			if depth < 4 && rapid.IntRange(0, 2).Draw(t, "nest") == 0 {
				m[name] = object(path+"/"+name, depth+1)
				continue
			}
			leaf := rapid.SampledFrom(leaves).Draw(t, "leaf")
			b.WriteString(leaf)
			m[name] = decode(t, leaf)
		}
		b.WriteString("\n}")
		return m
	}
	g.doc = object("", 0)
	g.text = b.String()
	return g
}

type fataler interface {
	Fatalf(format string, args ...any)
}

// decode keeps the text of numbers, so that a changed one shows.
func decode(t fataler, text string) any {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

// TestMergeAgainstModel merges patches one after the other, through the form
// in which sections are stored, and compares with the model each time.
func TestMergeAgainstModel(t *testing.T) {
	limits := StrictLimits()
	rapid.Check(t, func(t *rapid.T) {
		m := newModel()
		s := section{"{}", emptyMeta}
		for i := range rapid.IntRange(1, 6).Draw(t, "patches") {
			p := drawPatch(t)
			patch, err := readReport(&limits, p.text)
			if err != nil {
				t.Fatalf("%v: %s", err, p.text)
			}
			old, err := s.open(&limits)
			if err != nil {
				t.Fatalf("%v: %s", err, s.text)
			}
			before := string(old.append(nil))
			st := stamp{at: int64(1000 + i*7), version: int64(i + 2)}
			n := merge(&old, &patch, st)
			if after := string(old.append(nil)); after != before {
				t.Fatalf("merge has changed what it was given: %s, was %s", after, before)
			}
			m.merge("", m.doc, p.doc, func(path string) []string { return p.keys[path] }, st)
			s, _ = seal(&n, nil, true)
			if have := decode(t, s.text); !reflect.DeepEqual(have, any(m.doc)) {
				t.Fatalf("have %s, want %v after %s", s.text, m.doc, p.text)
			}
			if n.size != plainSize(m.doc) {
				t.Fatalf("size %d, want %d: %s", n.size, plainSize(m.doc), s.text)
			}
			again, err := s.open(&limits)
			if err != nil || again.size != n.size {
				t.Fatalf("stored: %v, size %d, want %d", err, again.size, n.size)
			}
			checkStamps(t, m, "", &again)
			var compacted bytes.Buffer
			if err := json.Compact(&compacted, []byte(s.text)); err != nil || compacted.String() != s.text {
				t.Fatalf("not compact: %s", s.text)
			}
		}
	})
}

func checkStamps(t *rapid.T, m *model, path string, n *node) {
	if have := (stamp{n.at, n.version}); have != m.stamps[path] {
		t.Fatalf("%q has the stamp %v, want %v", path, have, m.stamps[path])
	}
	var keys []string
	for i := range n.members {
		keys = append(keys, n.members[i].key)
		checkStamps(t, m, path+"/"+n.members[i].key, &n.members[i].val)
	}
	if n.isObject() && !reflect.DeepEqual(keys, m.order[path]) {
		t.Fatalf("keys at %q are %q, want %q", path, keys, m.order[path])
	}
}

// plainSize is the documented size rule, over plain values.
func plainSize(v any) int {
	n := 0
	switch v := v.(type) {
	case map[string]any:
		for key, val := range v {
			n += len(key) + plainSize(val)
		}
	case []any:
		for _, val := range v {
			n += plainSize(val)
		}
	case string:
		for _, r := range v {
			if !isControl(r) {
				n += utf8.RuneLen(r)
			}
		}
	case json.Number:
		n = 8
	case bool:
		n = 4
	}
	return n
}

// FuzzSection holds the scanner against the standard library: what it takes is
// valid JSON of the same value, and what it refuses as JSON is not valid.
func FuzzSection(f *testing.F) {
	for _, s := range leaves {
		f.Add(`{"a":` + s + `}`)
		f.Add(s)
	}
	f.Add("{\"a\":\"\xff\"}")
	f.Add(`{"a":"\ud83d\ude00","b":"\ud83d"}`)
	f.Add(`{"a":{"a":[[{"b":1,"c":{}}]]},"$version":{"$x":1}}  `)
	limits := StrictLimits()
	f.Fuzz(func(t *testing.T, text string) {
		n, err := readReport(&limits, text)
		if err != nil {
			if iot.CodeOf(err) != iot.ArgumentInvalid {
				t.Fatalf("%v", err)
			}
			if strings.Contains(err.Error(), "not valid JSON") && json.Valid([]byte(text)) && utf8.ValidString(text) && !strings.Contains(text, `\u`) {
				t.Fatalf("%v: %q", err, text)
			}
			return
		}
		out := string(n.append(nil))
		if strings.Contains(text, "$") {
			return // members were passed over
		}
		if have, want := decode(t, out), decode(t, text); !reflect.DeepEqual(have, want) {
			t.Fatalf("%q became %q", text, out)
		}
		if n.size != plainSize(decode(t, text)) {
			t.Fatalf("size %d, want %d: %q", n.size, plainSize(decode(t, text)), text)
		}
	})
}

// TestMetaDamage shows that times which do not fit the document are noticed.
func TestMetaDamage(t *testing.T) {
	limits := StrictLimits()
	for _, meta := range []string{"\x00\x00\x00\x00\x00", "\x01", "\x01\x00\x00\x00", "\x01\x00\x00\x00\x00\x00", "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\x01\x80"} {
		s := section{`{"a":1}`, meta}
		if _, err := s.open(&limits); err == nil {
			t.Errorf("%x was taken", meta)
		}
	}
}

// TestStoredForm pins the bytes of version 1: rows that were written once must
// stay readable.
func TestStoredForm(t *testing.T) {
	limits := StrictLimits()
	want := section{`{"a":{"b":1.0,"c":[1,2]},"d":7}`, "\x01" + // version
		"\x90\x4e\x06" + // the section: 5000, 3
		"\x00\x00" + // a: the same
		"\xc7\x01\x01" + // b: 100 less, 1 less
		"\x00\x00" + // c: as b
		"\xc8\x01\x02"} // d: 100 more, 1 more
	n, err := want.open(&limits)
	if err != nil {
		t.Fatal(err)
	}
	a := &n.members[0].val
	for i, have := range []*node{&n, a, &a.members[0].val, &a.members[1].val, &n.members[1].val} {
		if s := (stamp{have.at, have.version}); s != [...]stamp{{5000, 3}, {5000, 3}, {4900, 2}, {4900, 2}, {5000, 3}}[i] {
			t.Errorf("node %d has the stamp %v", i, s)
		}
	}
	if have, _ := seal(&n, nil, true); have != want {
		t.Errorf("have %q, want %q", have, want)
	}
	r := fresh(638000000000000000)
	r.desired, r.model = want, "dtmi:x;1"
	if sum, _ := r.sum(Key{ID: iot.ID{Device: "d", Module: "m"}}, nil); sum != 3216659290 {
		t.Errorf("sum %d", sum)
	}
}

// document is a section of n bytes or more, like those of devices in the field.
func document(n int) string {
	var b strings.Builder
	b.WriteString(`{"firmware":{"version":"1.4.12","state":"idle"},"interval":30`)
	for i := 0; b.Len() < n; i++ {
		b.WriteString(`,"sensor` + strconv.Itoa(i) + `":{"unit":"C","value":21.5,"ok":true}`)
	}
	return b.String() + "}"
}

// BenchmarkMerge is all that one patch costs but the row: reading the stored
// section and the patch, merging, and writing the section.
func BenchmarkMerge(b *testing.B) {
	limits := StrictLimits()
	for _, size := range []int{300, 20000} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			first, err := readReport(&limits, document(size))
			if err != nil {
				b.Fatal(err)
			}
			n := merge(&node{}, &first, stamp{at: 1})
			s, buf := seal(&n, nil, true)
			b.ReportAllocs()
			for b.Loop() {
				old, err := s.open(&limits)
				if err != nil {
					b.Fatal(err)
				}
				patch, err := readReport(&limits, `{"sensor1":{"value":22.25},"interval":60}`)
				if err != nil {
					b.Fatal(err)
				}
				n := merge(&old, &patch, stamp{at: 2})
				s, buf = seal(&n, buf, true)
			}
		})
	}
}
