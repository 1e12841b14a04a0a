// Package run executes a stream query over events that are at hand, without a
// server: files for whoever tries a query, and cases that say what must come
// out for whoever keeps one.
package run

import (
	"cmp"
	"fmt"
	"slices"

	"dunlin/internal/insights/stream/batch"
	"dunlin/internal/insights/stream/clock"
	"dunlin/internal/insights/stream/exec"
	"dunlin/internal/insights/stream/script"
	"dunlin/internal/insights/stream/value"
	"dunlin/internal/lang/asa"
	"dunlin/internal/lang/diag"
)

// Script is a query and how it is to be run.
type Script struct {
	Query   string
	Policy  clock.Policy
	Catalog asa.Catalog
	// Reference holds the tables that Catalog names, by name.
	Reference map[string][]exec.Version
	// Functions are those that users defined. With Catalog.Functions nil, any
	// name of a function is bound.
	Functions []*script.Function
}

// CompileError says that the query cannot run.
type CompileError struct{ Err error }

func (e *CompileError) Error() string { return e.Err.Error() }

// Unwrap gives the place and what is wrong there.
func (e *CompileError) Unwrap() error { return e.Err }

// Row is one row of an output.
type Row struct {
	Output string
	Time   int64 // ticks
	Value  value.Value
}

// Runner runs a script.
type Runner struct {
	job   *exec.Job
	last  *exec.Input // that events were added to last
	Notes []*diag.Error
}

// New compiles a script. emit takes each row; an error of it ends the run.
func New(s Script, emit func(Row) error) (*Runner, error) {
	parsed, notes, err := asa.Parse(s.Query)
	if err != nil {
		return nil, &CompileError{err}
	}
	for _, f := range s.Functions {
		s.Catalog.Functions = append(slices.Clone(s.Catalog.Functions), f.Name())
	}
	plan, more, err := asa.Bind(parsed, s.Query, s.Catalog)
	if err != nil {
		return nil, &CompileError{err}
	}
	job, err := exec.New(plan, exec.Options{Policy: s.Policy, Reference: s.Reference, Functions: s.Functions, Output: func(output string, names []string, b *batch.Batch) error {
		for i, t := range b.Time {
			if err := emit(Row{Output: output, Time: t, Value: record(names, b, i)}); err != nil {
				return err
			}
		}
		return nil
	}})
	if err != nil {
		return nil, &CompileError{err}
	}
	return &Runner{job: job, Notes: slices.Concat(notes, more)}, nil
}

func record(names []string, b *batch.Batch, row int) value.Value {
	if names == nil {
		return b.Cols[0].At(row)
	}
	t := &value.Tree{Names: names, Values: make([]value.Value, len(names))}
	for i, c := range b.Cols {
		t.Values[i] = c.At(row)
	}
	return value.RecordOf(t)
}

// maxBatch is how many events are worked on at once.
const maxBatch = 4096

// Event adds an event of an input. Events come in the order of their arrival.
// What cannot be read is left out and reported; the run goes on.
func (r *Runner) Event(input, json string, arrival int64, metadata value.Value) (unreadable, err error) {
	in := r.job.Input(input)
	if in == nil {
		return nil, nil // nobody reads it
	}
	if r.last != in || in.Waiting() >= maxBatch {
		if r.last != nil {
			if err := r.last.Flush(); err != nil {
				return nil, err
			}
		}
		r.last = in
	}
	return in.Event(json, arrival, metadata), nil
}

// End lets out all that waits.
func (r *Runner) End() error { return r.job.End() }

// Counts tells what became of the events of each input.
func (r *Runner) Counts() map[string]exec.Counts {
	counts := map[string]exec.Counts{}
	for _, in := range r.job.Inputs() {
		counts[in.Name] = in.Counts()
	}
	return counts
}

// Event is an event of a list.
type Event struct {
	Input    string
	JSON     string
	Arrival  int64 // ticks
	Metadata value.Value
}

// All runs a script over a list of events, which it brings in the order of
// their arrival.
func All(s Script, events []Event, emit func(Row) error) (*Runner, error) {
	r, err := New(s, emit)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(events, func(a, b Event) int { return cmp.Compare(a.Arrival, b.Arrival) })
	for i := range events {
		e := &events[i]
		unreadable, err := r.Event(e.Input, e.JSON, e.Arrival, e.Metadata)
		if err != nil {
			return r, err
		}
		if unreadable != nil {
			continue // counted, as a job does
		}
	}
	if err := r.End(); err != nil {
		return r, fmt.Errorf("%w", err)
	}
	return r, nil
}
