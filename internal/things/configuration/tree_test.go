package configuration

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// merge is what a twin does with a change.
func merge(doc, change map[string]any) map[string]any {
	out := maps.Clone(doc)
	if out == nil {
		out = map[string]any{}
	}
	for name, v := range change {
		object, ok := v.(map[string]any)
		switch {
		case v == nil:
			delete(out, name)
		case ok:
			have, _ := out[name].(map[string]any)
			out[name] = merge(have, object)
		default:
			out[name] = v
		}
	}
	return out
}

var names = []string{"a", "b", "c"}

func values(depth int) *rapid.Generator[any] {
	leaf := rapid.OneOf(
		rapid.Map(rapid.IntRange(0, 3), func(n int) any { return json.Number(strconv.Itoa(n)) }),
		rapid.Just[any]("text"), rapid.Just[any](true), rapid.Just[any]([]any{nil, "x"}),
	)
	if depth == 0 {
		return leaf
	}
	object := rapid.Map(rapid.MapOfN(rapid.SampledFrom(names), values(depth-1), 0, 3), func(m map[string]any) any { return m })
	return rapid.OneOf(leaf, object)
}

func objects() *rapid.Generator[map[string]any] {
	return rapid.MapOfN(rapid.SampledFrom(names), values(3), 0, 3)
}

func TestDifferenceMakesTheOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from, to := objects().Draw(t, "from"), objects().Draw(t, "to")
		d := difference(from, to)
		if got := merge(from, d); !reflect.DeepEqual(got, to) {
			t.Fatalf("%v and %v make %v, want %v", from, d, got, to)
		}
		if reflect.DeepEqual(from, to) != (len(d) == 0) {
			t.Fatalf("the difference of %v and %v is %v", from, to, d)
		}
	})
}

func paths() *rapid.Generator[[]string] {
	return rapid.SliceOfN(rapid.SampledFrom(names), 0, 3)
}

// TestLay compares overlays with a plain model: leaf by leaf, who set it last.
func TestLay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var parts []part
		for i := range rapid.IntRange(0, 4).Draw(t, "parts") {
			p := part{number: int64(i)}
			seen := map[string]bool{}
			for range rapid.IntRange(1, 3).Draw(t, "pieces") {
				path := paths().Draw(t, "path")
				if seen[strings.Join(path, ".")] {
					continue
				}
				seen[strings.Join(path, ".")] = true
				v := values(2).Draw(t, "value")
				if len(path) == 0 {
					v = any(objects().Draw(t, "object"))
				} else if rapid.IntRange(0, 5).Draw(t, "null") == 0 {
					v = nil
				}
				p.pieces = append(p.pieces, piece{path: path, value: v})
			}
			slices.SortStableFunc(p.pieces, func(a, b piece) int { return len(a.path) - len(b.path) })
			parts = append(parts, p)
		}
		have := objects().Draw(t, "have")
		o := lay(parts)
		got := o.over(have, nil)

		// The model sets one path after the other in the document itself.
		want := have
		for _, p := range parts {
			for _, piece := range p.pieces {
				if piece.value == nil {
					want = without(want, piece.path)
				} else {
					want = with(want, piece.path, piece.value)
				}
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%v over %v is %v, want %v", parts, have, got, want)
		}
		if again := o.over(got, o.roots); !reflect.DeepEqual(again, got) {
			t.Fatalf("again it is %v instead of %v", again, got)
		}
		// Who has won all that it sets is not touched by those who count more.
		for i, w := range o.won {
			for j, p := range parts[i].pieces {
				covered := false
				for _, later := range parts[i+1:] {
					for _, q := range later.pieces {
						covered = covered || begins(p.path, q.path)
					}
				}
				if won := w.all || slices.Contains(w.indexes, j); won == covered {
					t.Fatalf("part %d has won %v", i, w)
				}
			}
			if back := parseWon(w.String()); back.all != w.all || !slices.Equal(back.indexes, w.indexes) {
				t.Fatalf("%v is stored as %q and read as %v", w, w.String(), back)
			}
		}
	})
}

func TestTakenBackLeavesTheRest(t *testing.T) {
	have := map[string]any{"mine": "x", "a": map[string]any{"mine": "y"}}
	o := lay([]part{{number: 1, pieces: []piece{{path: []string{"a", "b", "c"}, value: "set"}, {path: []string{"d"}, value: "set"}}}})
	set := o.over(have, nil)
	if v, ok := at(set, []string{"a", "b", "c"}); !ok || v != "set" {
		t.Fatalf("%v", set)
	}
	if back := lay(nil).over(set, o.roots); !reflect.DeepEqual(back, have) {
		t.Errorf("taken back it is %v, want %v", back, have)
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`{"a":1,"a":2}`:                   "there twice",
		`{"a":1} 2`:                       "something behind",
		strings.Repeat("[", 1000) + "1":   "nested more than",
		`{"a":`:                           "EOF",
		``:                                "EOF",
		`{"a":{"b":{"a":1,"b":1,"a":1}}}`: "there twice",
	} {
		if _, err := parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %q", text, err, want)
		}
	}
}
