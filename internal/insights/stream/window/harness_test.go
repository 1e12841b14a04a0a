package window_test

import (
	"fmt"
	"strings"

	"dunlin/internal/insights/stream/batch"
	"dunlin/internal/insights/stream/value"
	"dunlin/internal/insights/stream/window"
	"dunlin/internal/lang/asa"
)

const second = value.Second

// failer is a test, also one of rapid's.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// event is a row: its columns by name.
type event struct {
	at   int64
	cols map[string]value.Value
}

func (e event) record() value.Value {
	t := new(value.Tree)
	for _, n := range []string{"k", "l", "x", "y"} {
		if v, ok := e.cols[n]; ok {
			t.Put(n, v)
		}
	}
	return value.RecordOf(t)
}

// value evaluates what tests write: a column, a cast to text of one, a literal,
// or nil for the whole row.
func (e event) value(x asa.Expr) value.Value {
	switch x := x.(type) {
	case nil:
		return e.record()
	case *asa.Field:
		if len(x.Path) == 0 {
			return e.record()
		}
		return e.cols[x.Path[0]]
	case *asa.Cast:
		v := e.value(x.X)
		if v.IsNull() {
			return v
		}
		return value.String(string(value.AppendJSON(nil, v)))
	case *asa.Literal:
		return value.Int(x.Int)
	}
	panic(fmt.Sprintf("%T", x))
}

func queryOf(tb failer, text string) *asa.Query {
	tb.Helper()
	s, _, err := asa.Parse(text)
	if err != nil {
		tb.Fatalf("%s: %v", text, err)
	}
	p, _, err := asa.Bind(s, text, asa.Catalog{})
	if err != nil {
		tb.Fatalf("%s: %v", text, err)
	}
	return p.Relations[len(p.Relations)-1].Query
}

// grouping runs a grouper over events.
type grouping struct {
	tb    failer
	query *asa.Query
	spec  *window.Spec
	*window.Grouper
	out   []outRow
	exact bool // floats are shown to the last digit
}

// outRow is a row that was emitted.
type outRow struct {
	end  int64
	text string
}

func newGrouping(tb failer, q *asa.Query) *grouping {
	tb.Helper()
	spec, err := window.SpecOf(q, func(name string) (window.User, error) {
		switch strings.ToLower(name) {
		case "last":
			return lastOf{}, nil
		case "range":
			return lastOf{back: true}, nil
		}
		return nil, fmt.Errorf("no aggregate %s", name)
	})
	if err != nil {
		tb.Fatal(err)
	}
	g := &grouping{tb: tb, query: q, spec: spec}
	g.make()
	return g
}

func (g *grouping) make() {
	g.tb.Helper()
	var err error
	if g.Grouper, err = window.New(g.spec, g.take); err != nil {
		g.tb.Fatal(err)
	}
}

func (g *grouping) take(b *batch.Batch) error {
	for i, t := range b.Time {
		var cols []value.Value
		for _, c := range b.Cols {
			if c.Len() != len(b.Time) {
				g.tb.Fatalf("a column has %d rows of %d", c.Len(), len(b.Time))
			}
			cols = append(cols, c.At(i))
		}
		text := show(cols)
		if g.exact {
			text = string(value.AppendJSON(nil, value.ArrayOf(cols)))
		}
		g.out = append(g.out, outRow{t, text})
	}
	return nil
}

func show(cols []value.Value) string {
	var s []string
	for _, v := range cols {
		if v.Kind() == value.Float {
			// Sums of another order differ in their last digits; the factor
			// keeps numbers away from the borders of rounding.
			s = append(s, fmt.Sprintf("%.9g", v.Float()*1.000000000012345))
			continue
		}
		s = append(s, string(value.AppendJSON(nil, v)))
	}
	return strings.Join(s, " ")
}

// add hands events on as one batch.
func (g *grouping) add(events ...event) error {
	var time []int64
	keys := make([]*batch.Column, len(g.spec.Keys))
	args := make([][]*batch.Column, len(g.spec.Aggregates))
	column := func(x asa.Expr) *batch.Column {
		c := new(batch.Column)
		for _, e := range events {
			c.Append(e.value(x))
		}
		return c
	}
	for _, e := range events {
		time = append(time, e.at)
	}
	for i, k := range g.spec.Keys {
		keys[i] = column(k)
	}
	for i, a := range g.spec.Aggregates {
		for _, x := range a.Args {
			args[i] = append(args[i], column(x))
		}
	}
	return g.Rows(time, keys, args)
}

// restart goes on in another grouper from the state of this one.
func (g *grouping) restart() {
	g.tb.Helper()
	state := g.AppendState(nil)
	g.make()
	if err := g.ReadState(state); err != nil {
		g.tb.Fatal(err)
	}
	// A map may have another order, and slots may have moved: what matters is
	// that nothing is lost, which the rows show.
	if again := g.AppendState(nil); len(again) != len(state) {
		g.tb.Fatalf("state of %d bytes became one of %d", len(state), len(again))
	}
}

func (g *grouping) String() string {
	var b strings.Builder
	for _, r := range g.out {
		fmt.Fprintf(&b, "%g: %s\n", float64(r.end)/second, r.text)
	}
	return b.String()
}

// lastOf is a user-defined aggregate: how many values there were, and the last.
type lastOf struct{ back bool }

type lastState struct {
	back bool
	n    int64
	sum  int64
}

func (l lastOf) Init() (window.UserState, error) { return &lastState{back: l.back}, nil }

func (s *lastState) Accumulate(v value.Value, ticks int64) error {
	s.n++
	s.sum += ticks % 1000003
	return nil
}

func (s *lastState) Deaccumulate(v value.Value, ticks int64) (bool, error) {
	if !s.back {
		return false, nil
	}
	s.n--
	s.sum -= ticks % 1000003
	return true, nil
}

func (s *lastState) Result() (value.Value, error) { return value.Int(s.n*100000000 + s.sum), nil }
