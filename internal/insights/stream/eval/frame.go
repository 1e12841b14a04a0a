// Package eval compiles the expressions of bound queries to functions over
// columns. What an operation means is decided by package scalar; here it is
// done for many rows at a time, with short ways for the columns that are usual.
package eval

import (
	"dunlin/internal/insights/stream/batch"
	"dunlin/internal/insights/stream/value"
)

// Frame is the rows that expressions are evaluated on: the columns that the
// compiler's Names told of. Frames belong to one goroutine.
type Frame struct {
	n    int
	time []int64
	cols []*batch.Column // of a part: nil until somebody asks

	whole *Frame  // of a part: what it is a part of
	rows  []int32 // and which rows it has
	spare []*batch.Column
	clock []int64
	parts []*Frame // that may be used again
	used  int
}

// Of makes f a frame of n rows with the given columns, which must not change
// while it is in use. time gives the timestamp of each row.
func (f *Frame) Of(time []int64, cols []*batch.Column) {
	f.n, f.time, f.cols, f.whole, f.used = len(time), time, cols, nil, 0
}

// Len is the number of rows.
func (f *Frame) Len() int { return f.n }

// Col gives a column.
func (f *Frame) Col(i int) *batch.Column {
	if f.whole == nil {
		return f.cols[i]
	}
	if f.cols[i] == nil {
		if f.spare[i] == nil {
			f.spare[i] = new(batch.Column)
		}
		f.spare[i].Gather(f.whole.Col(i), f.rows)
		f.cols[i] = f.spare[i]
	}
	return f.cols[i]
}

// Time gives the timestamps of the rows.
func (f *Frame) Time() []int64 {
	if f.whole != nil && f.time == nil {
		all := f.whole.Time()
		f.clock = f.clock[:0]
		for _, r := range f.rows {
			f.clock = append(f.clock, all[r])
		}
		f.time = f.clock
	}
	return f.time
}

// part gives a frame of some rows, which are kept. It lasts until release.
func (f *Frame) part(rows []int32) *Frame {
	if f.used == len(f.parts) {
		f.parts = append(f.parts, new(Frame))
	}
	p := f.parts[f.used]
	f.used++
	columns := len(f.cols)
	if cap(p.cols) < columns {
		p.cols, p.spare = make([]*batch.Column, columns), make([]*batch.Column, columns)
	}
	p.cols, p.spare = p.cols[:columns], p.spare[:columns]
	clear(p.cols)
	p.n, p.time, p.whole, p.rows, p.used = len(rows), nil, f, rows, 0
	return p
}

// release gives back the part that was made last.
func (f *Frame) release() { f.used-- }

// Value is a compiled expression. The column is valid until its next call.
type Value func(f *Frame) (*batch.Column, error)

// Cond is a compiled condition: it appends the rows for which it is true to
// keep, in order.
type Cond func(f *Frame, keep []int32) ([]int32, error)

// Row evaluates v for the only row of a frame.
func Row(v Value, f *Frame) (value.Value, error) {
	c, err := v(f)
	if err != nil {
		return value.Value{}, err
	}
	return c.At(0), nil
}
