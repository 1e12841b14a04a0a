package exec

import (
	"fmt"

	"dunlin/internal/insights/stream/batch"
	"dunlin/internal/insights/stream/eval"
	"dunlin/internal/insights/stream/window"
	"dunlin/internal/lang/asa"
)

// group is GROUP BY: it hands on the rows of windows that are over.
type group struct {
	grouper *window.Grouper
	keys    []eval.Value
	args    [][]eval.Value // of each aggregate
	next    next
	frame   eval.Frame
	keyCols []*batch.Column
	argCols [][]*batch.Column
}

func (s *group) rows(b *batch.Batch) error {
	s.frame.Of(b.Time, b.Cols)
	s.keyCols = s.keyCols[:0]
	for _, k := range s.keys {
		c, err := k(&s.frame)
		if err != nil {
			return err
		}
		s.keyCols = append(s.keyCols, c)
	}
	for i, args := range s.args {
		s.argCols[i] = s.argCols[i][:0]
		for _, a := range args {
			c, err := a(&s.frame)
			if err != nil {
				return err
			}
			s.argCols[i] = append(s.argCols[i], c)
		}
	}
	return s.grouper.Rows(b.Time, s.keyCols, s.argCols)
}

func (s *group) reached(ticks int64) error {
	if err := s.grouper.Reached(ticks); err != nil {
		return err
	}
	return s.next.reached(ticks)
}

// groups tells the compiler where things are in the rows of windows: keys,
// aggregates, and what System.Window() gives.
type groups struct {
	*columns
	keys, aggregates int
}

// Field implements eval.Names.
func (g *groups) Field(f *asa.Field) (int, []string) {
	panic(fmt.Sprintf("exec: %v differs within a group", f.Path))
}

// Ref implements eval.Names.
func (g *groups) Ref(r *asa.Ref) int {
	switch r.Kind {
	case asa.KeyRef:
		return r.Index
	case asa.AggregateRef:
		return g.keys + r.Index
	case asa.WindowRef:
		return g.keys + g.aggregates
	case asa.AnalyticRef, asa.TimeRef:
	}
	panic(fmt.Sprintf("exec: reference of kind %d among groups", r.Kind))
}

// group makes the steps of GROUP BY, HAVING and the select list behind it.
func (b *builder) group(q *asa.Query, cols *columns, compiler eval.Compiler, rel *relation) (next, error) {
	spec, err := window.SpecOf(q, b.scripts.aggregate)
	if err != nil {
		return nil, err
	}
	after := eval.Compiler{Names: &groups{columns: cols, keys: len(q.Keys), aggregates: len(q.Aggregates)}}
	step, err := b.result(q, cols, after, rel)
	if err != nil {
		return nil, err
	}
	if q.Having != nil {
		cond, err := after.Cond(q.Having)
		if err != nil {
			return nil, err
		}
		step = &filter{cond: cond, next: step}
	}
	g := &group{next: step, argCols: make([][]*batch.Column, len(spec.Aggregates))}
	if g.keys, err = compiler.Values(spec.Keys); err != nil {
		return nil, err
	}
	for i := range spec.Aggregates {
		var args []eval.Value
		for _, e := range spec.Aggregates[i].Args {
			v := cols.row(0)
			if e != nil {
				if v, err = cols.argument(e, compiler); err != nil {
					return nil, err
				}
			}
			args = append(args, v)
		}
		g.args = append(g.args, args)
	}
	g.grouper, err = window.New(spec, step.rows)
	return g, err
}
