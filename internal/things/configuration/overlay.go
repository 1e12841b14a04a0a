package configuration

import (
	"slices"
	"strconv"
	"strings"
)

// part is what one configuration sets in one twin.
type part struct {
	number int64
	pieces []piece
}

// overlay is what several configurations together set in a twin. It is never
// changed, so that all twins with the same configurations share one.
type overlay struct {
	doc   map[string]any // what the desired properties hold at the roots
	roots [][]string     // the paths that are set, none within another
	won   []won          // of each part
}

// won says which pieces of a part are not covered by others: all, or those
// with the given indexes.
type won struct {
	all     bool
	indexes []int
}

func (w won) none() bool { return !w.all && len(w.indexes) == 0 }

// String gives the stored form: "*", or the indexes with commas between them.
func (w won) String() string {
	if w.all {
		return "*"
	}
	b := make([]byte, 0, 4*len(w.indexes))
	for i, n := range w.indexes {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(n), 10)
	}
	return string(b)
}

func parseWon(s string) won {
	if s == "*" {
		return won{all: true}
	}
	var w won
	for t := range strings.SplitSeq(s, ",") {
		if n, err := strconv.Atoi(t); err == nil {
			w.indexes = append(w.indexes, n)
		}
	}
	return w
}

// and is what either of two has.
func (w won) and(o won) won {
	if w.all || o.all {
		return won{all: true}
	}
	out := won{indexes: slices.Concat(w.indexes, o.indexes)}
	slices.Sort(out.indexes)
	out.indexes = slices.Compact(out.indexes)
	return out
}

// paths are those of the pieces that were won.
func (w won) paths(pieces []piece) [][]string {
	var out [][]string
	for i := range pieces {
		if w.all || slices.Contains(w.indexes, i) {
			out = append(out, pieces[i].path)
		}
	}
	return out
}

// lay puts parts over each other, the one that counts least first. What a part
// sets stands in the place of everything that was at its path.
func lay(parts []part) *overlay {
	o := &overlay{doc: map[string]any{}, won: make([]won, len(parts))}
	for i := range parts {
		for _, p := range parts[i].pieces {
			if p.value == nil {
				o.doc = without(o.doc, p.path)
			} else {
				o.doc = with(o.doc, p.path, p.value)
			}
		}
		var w won
		for j, p := range parts[i].pieces {
			if !covered(p.path, parts[i+1:]) {
				w.indexes = append(w.indexes, j)
			}
		}
		if len(w.indexes) == len(parts[i].pieces) {
			w = won{all: true}
		}
		o.won[i] = w
		o.roots = append(o.roots, w.paths(parts[i].pieces)...)
	}
	o.roots = outermost(o.roots)
	return o
}

// covered reports whether one of the parts sets path, or something around it.
func covered(path []string, parts []part) bool {
	for i := range parts {
		for _, p := range parts[i].pieces {
			if begins(path, p.path) {
				return true
			}
		}
	}
	return false
}

// outermost leaves out paths that lie within others.
func outermost(paths [][]string) [][]string {
	var out [][]string
	for i, p := range paths {
		within := slices.ContainsFunc(paths, func(q []string) bool { return len(q) < len(p) && begins(p, q) })
		again := slices.ContainsFunc(paths[:i], func(q []string) bool { return slices.Equal(p, q) })
		if !within && !again {
			out = append(out, p)
		}
	}
	return out
}

// over is what desired properties must be: as they are, without what earlier
// configurations set, and with what the overlay sets.
func (o *overlay) over(have map[string]any, before [][]string) map[string]any {
	out := have
	for _, path := range before {
		out = without(out, path)
	}
	for _, path := range o.roots {
		if v, ok := at(o.doc, path); ok {
			out = with(out, path, v)
		} else {
			out = without(out, path)
		}
	}
	return out
}
