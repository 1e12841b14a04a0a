package oracle

import (
	"maps"
	"math"
	"slices"
	"strings"

	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/value"
	"dunlin/internal/lang/asa"
)

// query evaluates one SELECT in the order of its clauses.
func (r *run) query(q *asa.Query) []row {
	if q.Match != nil {
		panic(unsupported("MATCH_RECOGNIZE"))
	}
	var rows []*env
	for _, x := range r.source(q.Sources[0], 0) {
		rows = append(rows, &env{time: x.time, sources: map[int]item{0: {here: true, row: x.value, time: x.time, meta: x.meta}}})
	}
	analytics(q, rows)
	for n, in := range q.Sources {
		switch in.Kind {
		case asa.FirstInput:
		case asa.ApplyInput:
			rows = apply(in, n, rows)
		case asa.JoinInput, asa.ReferenceJoin:
			rows = r.join(in, n, rows)
		case asa.MatchInput:
			panic(unsupported("MATCH_RECOGNIZE"))
		}
	}
	if q.Where != nil {
		rows = slices.DeleteFunc(rows, func(e *env) bool { return !e.holds(q.Where) })
	}
	if q.Window != nil {
		rows = group(q, rows)
	}
	var out []row
	for _, e := range rows {
		out = append(out, row{time: e.time, value: project(q, e)})
	}
	byTime(out)
	return out
}

// with adds the row of one more source.
func (e *env) with(n int, x item, time int64) *env {
	out := *e
	out.sources = maps.Clone(e.sources)
	out.sources[n] = x
	out.time = time
	return &out
}

func apply(in *asa.Input, n int, rows []*env) (out []*env) {
	for _, e := range rows {
		v := e.value(in.Arg)
		want, first, second := value.Array, "ArrayIndex", "ArrayValue"
		if in.Apply == asa.GetRecordProperties {
			want, first, second = value.Record, "PropertyName", "PropertyValue"
		}
		t := new(value.Tree)
		switch {
		case v.IsNull():
		case v.Kind() != want:
			panic(failure(scalar.InvalidCast, "Cannot cast value of type '%s' to type '%s'", v.Kind(), want))
		default:
			t = v.Tree()
		}
		for i, x := range t.Values {
			label := value.Int(int64(i))
			if want == value.Record {
				label = value.String(t.Names[i])
			}
			r := value.RecordOf(&value.Tree{Names: []string{first, second}, Values: []value.Value{label, x}})
			out = append(out, e.with(n, item{here: true, row: r, time: e.time}, e.time))
		}
		if len(t.Values) == 0 && in.Outer {
			out = append(out, e.with(n, item{}, e.time))
		}
	}
	return out
}

// join pairs every row with every row of the joined source and keeps those for
// which the whole condition holds. Keys are the same only when their types are.
func (r *run) join(in *asa.Input, n int, rows []*env) (out []*env) {
	keys := func(list []asa.Expr, e *env) (keys []value.Value) {
		for _, x := range list {
			keys = append(keys, e.value(x))
		}
		key(keys) // an error also where there is no partner
		return keys
	}
	candidates := r.candidates(in, n)
	var right [][]value.Value
	for _, x := range candidates {
		right = append(right, keys(in.Right, &env{time: x.time, sources: map[int]item{n: x.item}}))
	}
	for _, e := range rows {
		left := keys(in.Left, e)
		found, version := false, in.Kind != asa.ReferenceJoin
		for i, x := range candidates {
			if in.Kind == asa.ReferenceJoin {
				if e.time < x.time || e.time >= x.until {
					continue
				}
				version = true
				x.time = e.time
			}
			if !x.here || !sameKeys(left, right[i]) {
				continue
			}
			both := e.with(n, x.item, max(e.time, x.time))
			if !near(in, both) || in.On != nil && !both.holds(in.On) {
				continue
			}
			found = true
			out = append(out, both)
		}
		if !version {
			panic(failure(scalar.InvalidArgument, "there is no reference data for the time"))
		}
		if !found && in.Outer {
			out = append(out, e.with(n, item{}, unmatched(in, n, e)))
		}
	}
	slices.SortStableFunc(out, func(a, b *env) int { return compareTicks(a.time, b.time) })
	return out
}

// candidate is a row that may be joined; one of reference data is good for rows
// up to a time.
type candidate struct {
	item
	until int64
}

// candidates gives the rows of a joined source. Each version of reference data
// has besides its rows one that is not there, so that it is known.
func (r *run) candidates(in *asa.Input, n int) (list []candidate) {
	if in.Kind == asa.JoinInput {
		for _, x := range r.source(in, n) {
			list = append(list, candidate{item: item{here: true, row: x.value, time: x.time, meta: x.meta}})
		}
		return list
	}
	versions := r.reference[strings.ToLower(in.Relation.Name)]
	for i, v := range versions {
		until := int64(math.MaxInt64)
		if i+1 < len(versions) {
			until = versions[i+1].From
		}
		list = append(list, candidate{item{time: v.From}, until})
		for _, x := range v.Rows {
			list = append(list, candidate{item{here: true, row: x, time: v.From}, until})
		}
	}
	return list
}

func sameKeys(a, b []value.Value) bool {
	for i := range a {
		if a[i].IsNull() || b[i].IsNull() || identity(a[i]) != identity(b[i]) {
			return false
		}
	}
	return true
}

// near tells whether the rows keep to the bounds of DATEDIFF, which counts the
// boundaries of the unit between them.
func near(in *asa.Input, e *env) bool {
	for _, b := range in.Bounds {
		from, to := e.sources[b.From], e.sources[b.To]
		if !from.here || !to.here {
			return false
		}
		unit := b.Unit.Ticks()
		if d := to.time/unit - from.time/unit; d < b.Lo || d > b.Hi {
			return false
		}
	}
	return true
}

// unmatched is the time of a row of LEFT JOIN without a partner: the last
// instant at which one could have come, and not before the row itself.
func unmatched(in *asa.Input, n int, e *env) int64 {
	if in.Kind == asa.ReferenceJoin {
		return e.time
	}
	last, bounded := int64(0), false
	for _, b := range in.Bounds {
		unit := b.Unit.Ticks()
		var at, ahead int64 // the partner is at most ahead boundaries behind at
		switch {
		case b.To == n && b.Hi < 1<<62 && e.sources[b.From].here:
			at, ahead = e.sources[b.From].time, b.Hi
		case b.From == n && b.Lo > -(1<<62) && e.sources[b.To].here:
			at, ahead = e.sources[b.To].time, -b.Lo
		default:
			continue
		}
		end := (at/unit+ahead+1)*unit - 1
		if !bounded || end < last {
			last, bounded = end, true
		}
	}
	if !bounded {
		return e.time
	}
	return max(e.time, last)
}

// project makes the result: a name that is written goes before one that comes
// from *, and of the latter the first.
func project(q *asa.Query, e *env) value.Value {
	written := func(name string) bool {
		return slices.ContainsFunc(q.Columns, func(c asa.OutputColumn) bool { return strings.EqualFold(c.Name, name) })
	}
	out := new(value.Tree)
	for _, c := range q.Columns {
		if c.Name != "" {
			out.Put(c.Name, e.value(c.Expr))
			continue
		}
		var from value.Value
		if c.Star >= 0 {
			from = e.sources[c.Star].row
		} else {
			from = e.value(c.Expr)
		}
		if from.Kind() != value.Record {
			continue
		}
		before := slices.Clone(out.Names)
		t := from.Tree()
		for i, n := range t.Names {
			if !written(n) && !slices.ContainsFunc(before, func(b string) bool { return strings.EqualFold(b, n) }) {
				out.Put(n, t.Values[i])
			}
		}
	}
	return value.RecordOf(out)
}
