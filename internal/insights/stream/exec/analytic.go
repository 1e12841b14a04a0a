package exec

import (
	"fmt"
	"strings"

	"dunlin/internal/insights/stream/anomaly"
	"dunlin/internal/insights/stream/batch"
	"dunlin/internal/insights/stream/eval"
	"dunlin/internal/insights/stream/value"
	"dunlin/internal/lang/asa"
)

// analytic computes the analytic functions of a query for each row of its first
// source: it adds a column for each.
type analytic struct {
	groups []*analyticGroup
	next   next
	frame  eval.Frame
	out    batch.Batch
	cols   []*batch.Column // one for each function
}

// analyticGroup is the functions that share the keys by which rows are
// partitioned.
type analyticGroup struct {
	by     []asa.Expr
	keys   []eval.Value
	funcs  []*analyticFunc
	span   int64 // no function looks back further
	states map[string]*keyState
	oldest *keyState // keys in the order of their last rows
	newest *keyState
	size   int64

	columns []*batch.Column
	scratch []byte
	rows    []*keyState // of the rows of a batch
}

// analyticFunc is one function.
type analyticFunc struct {
	column int
	args   []eval.Value
	when   eval.Cond // nil: all rows count
	fresh  func() history

	columns []*batch.Column
	row     []value.Value
	counts  []int32
}

// keyState is what the functions of a group keep of one key.
type keyState struct {
	key          string
	last         int64 // time of its last row
	older, newer *keyState
	funcs        []history
	size         int64
}

// keyStateBytes is roughly what a key takes beside what its functions keep.
const keyStateBytes = 200

// analytic wires the analytic functions of a query.
func (b *builder) analytic(q *asa.Query, cols *columns, compiler eval.Compiler, to next) (next, error) {
	s := &analytic{next: to}
	for i, a := range q.Analytic {
		f, span, err := analyticOf(a, cols, compiler)
		if err != nil {
			return nil, err
		}
		f.column = i
		s.cols = append(s.cols, new(batch.Column))
		var group *analyticGroup
		for _, g := range s.groups {
			if sameColumns(g.by, a.PartitionBy) {
				group = g
			}
		}
		if group == nil {
			group = &analyticGroup{by: a.PartitionBy, states: map[string]*keyState{}}
			if group.keys, err = compiler.Values(a.PartitionBy); err != nil {
				return nil, err
			}
			s.groups = append(s.groups, group)
		}
		group.funcs = append(group.funcs, f)
		group.span = max(group.span, span)
	}
	b.keep(s)
	return s, nil
}

func analyticOf(a *asa.Analytic, cols *columns, compiler eval.Compiler) (f *analyticFunc, span int64, err error) {
	f = new(analyticFunc)
	if a.Limit != nil {
		span = a.Limit.Ticks()
	}
	args := a.Call.Args
	number := func(i int) int { return int(args[i].(*asa.Literal).Int) }
	rows := a.Call.Star || len(args) == 0
	add := func(list ...asa.Expr) {
		for _, e := range list {
			if err == nil {
				var v eval.Value
				v, err = compiler.Value(e)
				f.args = append(f.args, v)
			}
		}
	}
	// what the function is of: a value, or the whole row
	subject := func() {
		if rows {
			f.args = append(f.args, cols.row(0))
			return
		}
		add(args[0])
		args = args[1:]
	}
	switch name := a.Func.Name; name {
	case "LAG":
		subject()
		back := 1
		if len(args) > 0 {
			back, args = number(0), args[1:]
		}
		add(args...)
		f.fresh = func() history { return &recall{back: back, span: span} }
	case "LAST":
		subject()
		add(args...)
		f.fresh = func() history { return &recall{back: 1, current: true, span: span} }
	case "ISFIRST":
		span = asa.Duration{Unit: fixedUnits[args[0].(*asa.Literal).Text], Count: int64(number(1))}.Ticks()
		f.fresh = func() history { return &first{length: span} }
	case "COUNT":
		if !rows {
			subject()
		}
		f.fresh = func() history { return &count{rows: rows, span: span} }
	case "SUM", "AVG":
		subject()
		f.fresh = func() history { return &sum{average: name == "AVG", span: span} }
	case "MIN", "MAX":
		c, isCast := args[0].(*asa.Cast)
		text, sign := isCast && c.To == asa.NVarchar, 1
		if name == "MIN" {
			sign = -1
		}
		subject()
		f.fresh = func() history { return &extreme{sign: sign, text: text, span: span} }
	case "Collect":
		subject()
		f.fresh = func() history { return &collect{span: span} }
	case "TopOne", "CollectTop":
		most := 1
		if name == "CollectTop" {
			most, args = number(0), args[1:]
			rows = rows || len(args) == 0
		}
		subject()
		var desc []bool
		for _, o := range a.OrderBy {
			add(o.Expr)
			desc = append(desc, o.Desc)
		}
		f.fresh = func() history { return &top{most: most, array: name == "CollectTop", desc: desc, span: span} }
	case "AnomalyScore":
		subject()
		f.fresh = func() history { return newScore(span) }
	case "AnomalyDetection_SpikeAndDip":
		length, sides := number(2), anomalySides[strings.ToLower(args[3].(*asa.Literal).Text)]
		add(args[:2]...)
		f.fresh = func() history { return newDocumented(anomaly.NewSpikeAndDip(length, span, sides)) }
	case "AnomalyDetection_ChangePoint":
		length := number(2)
		add(args[:2]...)
		f.fresh = func() history { return newDocumented(anomaly.NewChangePoint(length, span)) }
	default:
		return nil, 0, fmt.Errorf("the function %s is not supported yet", name)
	}
	if err == nil && a.When != nil {
		f.when, err = compiler.Cond(a.When)
	}
	f.row = make([]value.Value, len(f.args))
	return f, span, err
}

var fixedUnits = map[string]asa.Unit{
	"day": asa.Day, "hour": asa.Hour, "minute": asa.Minute, "second": asa.Second, "millisecond": asa.Millisecond, "microsecond": asa.Microsecond,
}

// row gives a source's row as a record.
func (c *columns) row(source int) eval.Value {
	parts := c.all(source)
	if len(parts) == 1 && parts[0].name == "" {
		return parts[0].value
	}
	names := make([]string, len(parts))
	values := make([]eval.Value, len(parts))
	for i, p := range parts {
		names[i], values[i] = p.name, p.value
	}
	return eval.Rowwise(values, func(args []value.Value) (value.Value, error) {
		return value.RecordOf(&value.Tree{Names: names, Values: append([]value.Value(nil), args...)}), nil
	})
}

func (s *analytic) rows(b *batch.Batch) error {
	s.frame.Of(b.Time, b.Cols)
	for _, g := range s.groups {
		if err := g.find(&s.frame, b.Time); err != nil {
			return err
		}
		for n, f := range g.funcs {
			if err := f.compute(&s.frame, b.Time, g.rows, n, s.cols[f.column]); err != nil {
				return err
			}
		}
		g.measure()
	}
	s.out.Time = b.Time
	s.out.Cols = append(append(s.out.Cols[:0], b.Cols...), s.cols...)
	return s.next.rows(&s.out)
}

func (s *analytic) reached(ticks int64) error {
	for _, g := range s.groups {
		g.expire(ticks)
	}
	return s.next.reached(ticks)
}

// find sets the states of the rows.
func (g *analyticGroup) find(f *eval.Frame, time []int64) (err error) {
	if g.columns, err = evaluate(g.keys, f, g.columns[:0]); err != nil {
		return err
	}
	g.rows = g.rows[:0]
	for i, t := range time {
		key, _, err := keyOf(g.scratch[:0], g.columns, i)
		if err != nil {
			return err
		}
		g.scratch = key
		st := g.states[string(key)]
		if st == nil {
			st = g.state(string(key))
		}
		st.last = t
		g.toEnd(st)
		g.rows = append(g.rows, st)
	}
	return nil
}

func (g *analyticGroup) state(key string) *keyState {
	st := &keyState{key: key, funcs: make([]history, len(g.funcs))}
	for i, f := range g.funcs {
		st.funcs[i] = f.fresh()
	}
	g.states[key] = st
	return st
}

// toEnd makes a key the one whose last row is the newest.
func (g *analyticGroup) toEnd(st *keyState) {
	if g.newest == st {
		return
	}
	g.unlink(st)
	st.older = g.newest
	if g.newest != nil {
		g.newest.newer = st
	} else {
		g.oldest = st
	}
	g.newest = st
}

func (g *analyticGroup) unlink(st *keyState) {
	switch {
	case st.older != nil:
		st.older.newer = st.newer
	case g.oldest == st:
		g.oldest = st.newer
	}
	switch {
	case st.newer != nil:
		st.newer.older = st.older
	case g.newest == st:
		g.newest = st.older
	}
	st.older, st.newer = nil, nil
}

// expire forgets the keys of which nothing counts any more for rows that come
// after a time.
func (g *analyticGroup) expire(ticks int64) {
	for g.oldest != nil && g.oldest.last <= ticks-g.span {
		st := g.oldest
		g.unlink(st)
		delete(g.states, st.key)
		g.size -= st.size
	}
}

// measure brings up to date what the keys of a batch take.
func (g *analyticGroup) measure() {
	for _, st := range g.rows {
		n := int64(keyStateBytes + len(st.key))
		for _, h := range st.funcs {
			n += h.bytes()
		}
		g.size += n - st.size
		st.size = n
	}
}

// compute fills the column of a function.
func (f *analyticFunc) compute(frame *eval.Frame, time []int64, states []*keyState, n int, out *batch.Column) (err error) {
	if f.columns, err = evaluate(f.args, frame, f.columns[:0]); err != nil {
		return err
	}
	var counts []int32
	if f.when != nil {
		if f.counts, err = f.when(frame, f.counts[:0]); err != nil {
			return err
		}
		counts = f.counts
	}
	out.Reset()
	for i, t := range time {
		for j, c := range f.columns {
			f.row[j] = c.At(i)
		}
		in := f.when == nil
		if len(counts) > 0 && counts[0] == int32(i) {
			in, counts = true, counts[1:]
		}
		v, err := states[i].funcs[n].row(t, in, f.row)
		if err != nil {
			return err
		}
		out.Append(v)
	}
	return nil
}

func (s *analytic) stateBytes() (n int64) {
	for _, g := range s.groups {
		n += g.size
	}
	return n
}
