// Package exec executes plans of stream queries: it wires their relations to
// steps that hand batches of rows and the progress of time to each other.
//
// A Job here is one partition: whoever runs several has one Job for each. A
// Job belongs to one goroutine.
package exec

import (
	"slices"
	"strings"

	"dunlin/internal/lang/asa"
)

// layout says what the columns of a batch are.
type layout struct {
	// paths are the columns by name, or by the path to a member of a record.
	paths [][]string
	// whole is the column that holds the row as a record; -1 when there is none.
	whole int
	// metadata is the column that holds what the adapter tells of an event, as
	// a record; -1 when nobody asks.
	metadata int
}

func newLayout() layout { return layout{whole: -1, metadata: -1} }

// width is the number of columns.
func (l *layout) width() int {
	n := len(l.paths)
	if l.whole >= 0 {
		n++
	}
	if l.metadata >= 0 {
		n++
	}
	return n
}

// find gives the column that holds a path, and what is left of the path in it.
func (l *layout) find(path []string) (col int, rest []string, ok bool) {
	best := -1
	for i, p := range l.paths {
		if len(p) <= len(path) && samePath(p, path[:len(p)]) && (best < 0 || len(p) > len(l.paths[best])) {
			best = i
		}
	}
	switch {
	case best >= 0 && len(path) > 0:
		return best, path[len(l.paths[best]):], true
	case l.whole >= 0:
		return l.whole, path, true
	}
	return 0, nil, false
}

func samePath(a, b []string) bool { return slices.EqualFunc(a, b, strings.EqualFold) }

// want adds a path that somebody reads. One that begins like a path that is
// there already is left in, as reading it directly is cheaper.
func (l *layout) want(path []string) {
	if !slices.ContainsFunc(l.paths, func(p []string) bool { return samePath(p, path) }) {
		l.paths = append(l.paths, path)
	}
}

// close gives the special columns their places behind the others.
func (l *layout) close(whole, metadata bool) {
	n := len(l.paths)
	if whole {
		l.whole = n
		n++
	}
	if metadata {
		l.metadata = n
	}
}

// inputLayouts finds what the queries of a plan read of each input.
func inputLayouts(p *asa.Plan) map[*asa.Relation]*layout {
	type need struct{ whole, metadata bool }
	layouts, needs := map[*asa.Relation]*layout{}, map[*asa.Relation]*need{}
	for _, r := range p.Relations {
		if r.Kind == asa.StreamInput || r.Kind == asa.ReferenceInput {
			l := newLayout()
			layouts[r], needs[r] = &l, new(need)
		}
	}
	for _, r := range p.Relations {
		q := r.Query
		if q == nil {
			continue
		}
		of := func(source int) *asa.Relation { return q.Sources[source].Relation }
		each := func(e asa.Expr) {
			switch e := e.(type) {
			case *asa.Field:
				l := layouts[of(e.Source)]
				switch {
				case l == nil:
				case len(e.Path) == 0:
					needs[of(e.Source)].whole = true
				default:
					l.want(e.Path)
				}
			case *asa.Call:
				if f, ok := metadataSource(e); ok {
					if n := needs[of(f)]; n != nil {
						n.metadata = true
					}
				}
			}
		}
		walkQuery(q, each)
		for _, c := range q.Columns {
			if c.Name == "" && c.Star >= 0 {
				if n := needs[of(c.Star)]; n != nil {
					n.whole = true
				}
			}
		}
		whole := func(source int) {
			if n := needs[of(source)]; n != nil {
				n.whole = true
			}
		}
		for _, a := range q.Aggregates {
			if a.Rows && (a.Func == nil || a.Func.Name != "COUNT") && (len(a.Args) == 0 || a.Func != nil && a.Func.Name == "CollectTop" && len(a.Args) == 1) {
				whole(0)
			}
		}
		for _, a := range q.Analytic {
			if a.Func.Name != "COUNT" && (a.Call.Star || len(a.Call.Args) == 0 || a.Func.Name == "CollectTop" && len(a.Call.Args) == 1) {
				whole(0)
			}
		}
		if m := q.Match; m != nil {
			walkMatch(m, func(v *asa.Variable) {
				if l := layouts[of(0)]; l != nil && len(v.Path) > 0 {
					l.want(v.Path)
				}
			})
		}
	}
	for r, l := range layouts {
		l.close(needs[r].whole, needs[r].metadata)
	}
	return layouts
}

// metadataSource tells the source of a call of GetMetadataPropertyValue.
func metadataSource(c *asa.Call) (source int, ok bool) {
	if c.Space != "" || c.Name != "GetMetadataPropertyValue" {
		return 0, false
	}
	return c.Args[0].(*asa.Field).Source, true
}

// walkQuery calls f for everything in the expressions of a query. The argument
// that names a source of metadata is no read of its rows.
func walkQuery(q *asa.Query, f func(asa.Expr)) {
	skip := map[asa.Expr]bool{}
	walk := func(list ...asa.Expr) {
		for _, e := range list {
			if e == nil {
				continue
			}
			asa.Walk(e, func(e asa.Expr) {
				if c, ok := e.(*asa.Call); ok {
					if _, ok := metadataSource(c); ok {
						skip[c.Args[0]] = true
					}
				}
				if !skip[e] {
					f(e)
				}
			})
		}
	}
	for _, in := range q.Sources {
		walk(in.Timestamp, in.On, in.Arg)
		walk(in.Over...)
		walk(in.PartitionBy...)
		walk(in.Left...)
		walk(in.Right...)
	}
	for _, a := range q.Analytic {
		walk(a.Call.Args...)
		walk(a.PartitionBy...)
		walk(a.When)
		for _, o := range a.OrderBy {
			walk(o.Expr)
		}
	}
	walk(q.Where, q.Having)
	walk(q.Keys...)
	if q.Window != nil {
		walk(q.Window.Over...)
		for _, m := range q.Window.Members {
			walk(m.Over...)
		}
	}
	for _, a := range q.Aggregates {
		walk(a.Args...)
		for _, o := range a.OrderBy {
			walk(o.Expr)
		}
	}
	for _, c := range q.Columns {
		walk(c.Expr)
	}
	if q.Match != nil {
		walk(q.Match.PartitionBy...)
	}
}

func walkMatch(m *asa.BoundMatch, f func(*asa.Variable)) {
	each := func(e asa.Expr) {
		if v, ok := e.(*asa.Variable); ok {
			f(v)
		}
	}
	for _, d := range m.Define {
		asa.Walk(d.When, each)
	}
	for _, x := range m.Measures {
		asa.Walk(x.Expr, each)
	}
}
