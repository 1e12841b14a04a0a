// Package oracle evaluates a plan of a stream query slowly and obviously: all
// events are at hand, every SELECT is a function of complete lists, and each
// definition of the language is followed to the letter, one row at a time. It
// exists for tests only, which compare the engine with it. What single values
// do is shared with the engine on purpose (package scalar); nothing else is.
//
// Where the language leaves the order of rows open, the oracle has some order,
// and whoever compares must not depend on it.
package oracle

import (
	"errors"
	"fmt"
	"slices"

	"dunlin/internal/insights/stream/clock"
	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/value"
	"dunlin/internal/lang/asa"
)

// Event is an event of an input.
type Event struct {
	Input    string
	JSON     string
	Arrival  int64 // ticks
	Metadata value.Value
}

// Row is a row of an output.
type Row struct {
	Output string
	Time   int64 // ticks
	Value  value.Value
}

// Version is what is in a table of reference data from a time on, until the
// next version begins.
type Version struct {
	From int64 // ticks
	Rows []value.Value
}

// ErrUnsupported says that the oracle does not know what the plan uses.
var ErrUnsupported = errors.New("the oracle does not know it")

// Run gives the rows of all outputs in the order of time. Events are in the
// order of their arrival; reference has the versions of each table, in
// their order, by name in small letters. The error is a *scalar.Error when the query fails.
func Run(p *asa.Plan, policy clock.Policy, events []Event, reference map[string][]Version) (rows []Row, err error) {
	r := &run{policy: policy, events: events, reference: reference, done: map[*asa.Relation][]row{}}
	defer func() {
		switch e := recover().(type) {
		case nil:
		case stop:
			rows, err = nil, e.err
		default:
			panic(e)
		}
	}()
	// All relations, as a query fails also where nobody sees its result.
	for _, rel := range p.Relations {
		if rel.Kind == asa.Computed || rel.Kind == asa.United {
			r.relation(rel)
		}
	}
	for _, o := range p.Outputs {
		for _, from := range o.From {
			for _, x := range r.relation(from) {
				rows = append(rows, Row{Output: o.Name, Time: x.time, Value: x.value})
			}
		}
	}
	slices.SortStableFunc(rows, func(a, b Row) int { return compareTicks(a.Time, b.Time) })
	return rows, nil
}

// stop carries an error out of an evaluation.
type stop struct{ err error }

func unsupported(format string, args ...any) stop {
	return stop{fmt.Errorf("%w: %s", ErrUnsupported, fmt.Sprintf(format, args...))}
}

func must(v value.Value, err error) value.Value {
	if err != nil {
		panic(stop{err})
	}
	return v
}

func failure(kind, format string, args ...any) stop {
	return stop{&scalar.Error{Kind: kind, Message: fmt.Sprintf(format, args...)}}
}

// row is a row of a relation.
type row struct {
	time  int64
	value value.Value // record
	meta  value.Value
}

type run struct {
	policy    clock.Policy
	events    []Event
	reference map[string][]Version
	done      map[*asa.Relation][]row
}

// relation gives the rows of a step or a result, in the order of time.
func (r *run) relation(rel *asa.Relation) []row {
	if rows, ok := r.done[rel]; ok {
		return rows
	}
	var rows []row
	switch rel.Kind {
	case asa.Computed:
		rows = r.query(rel.Query)
	case asa.United:
		rows = r.union(rel)
	case asa.StreamInput, asa.ReferenceInput:
		panic("oracle: inputs are read where they are used")
	}
	r.done[rel] = rows
	return rows
}

// union puts rows together. Columns that are known go by their place and have
// the names of the first part.
func (r *run) union(rel *asa.Relation) (all []row) {
	open := false
	for _, p := range rel.Parts {
		open = open || p.Open
	}
	for _, p := range rel.Parts {
		for _, x := range r.relation(p) {
			if !open {
				t := new(value.Tree)
				for i, n := range rel.Parts[0].Columns {
					t.Put(n, scalar.Member(x.value, p.Columns[i]))
				}
				x.value = value.RecordOf(t)
			}
			all = append(all, x)
		}
	}
	byTime(all)
	return all
}

func byTime(rows []row) {
	slices.SortStableFunc(rows, func(a, b row) int { return compareTicks(a.time, b.time) })
}

func compareTicks(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
