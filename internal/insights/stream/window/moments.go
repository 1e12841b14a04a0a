package window

import (
	"encoding/binary"
	"math"
	"slices"

	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/value"
)

// moment is the number of some floats, their mean, and the sum of the squares
// of their distances from it: the form of Welford, which does not cancel, and
// which Chan and others have shown how to merge.
type moment struct {
	n        int64
	mean, m2 float64
}

func (m *moment) add(f float64) {
	m.n++
	d := f - m.mean
	m.mean += d / float64(m.n)
	m.m2 += d * (f - m.mean)
}

func (m *moment) merge(o moment) {
	switch {
	case o.n == 0:
		return
	case m.n == 0:
		*m = o
		return
	}
	n := m.n + o.n
	d := o.mean - m.mean
	m.m2 += o.m2 + d*d*(float64(m.n)*float64(o.n)/float64(n))
	m.mean += d * (float64(o.n) / float64(n))
	m.n = n
}

func (m *moment) result(f Func) value.Value {
	by := m.n
	if f == Stdev || f == Var {
		by-- // of a sample; there is none of one value
	}
	if by < 1 {
		return value.Value{}
	}
	v := m.m2 / float64(by)
	if f == Stdev || f == StdevP {
		v = math.Sqrt(v)
	}
	return value.Number(v)
}

func (m *moment) appendState(b []byte) []byte {
	return appendFloat(appendFloat(binary.AppendUvarint(b, uint64(m.n)), m.mean), m.m2)
}

func (r *reader) moment() moment {
	return moment{int64(r.uvarint()), r.float(), r.float()}
}

// moments is STDEV and its like.
type moments struct{ cells []moment }

func (a *moments) fresh() accumulators { return new(moments) }
func (a *moments) grow(n int)          { a.cells = growTo(a.cells, n) }
func (a *moments) clear(slot uint32)   { a.cells[slot] = moment{} }
func (a *moments) reset()              { a.cells = a.cells[:0] }
func (a *moments) bytes() int64        { return int64(cap(a.cells)) * 24 }

func (a *moments) add(slots []uint32, in *input) error {
	c := in.cols[0]
	if !c.Mixed && !c.HasNulls() && c.Kind == value.Float {
		for i, f := range c.Floats[in.from:in.to] {
			a.cells[slots[i]].add(f)
		}
		return nil
	}
	for i, s := range slots {
		v, err := scalar.ToFloat(c.At(in.from + i))
		if err != nil {
			return err
		}
		if !v.IsNull() {
			a.cells[s].add(v.Float())
		}
	}
	return nil
}

func (a *moments) merge(slots []uint32, others accumulators) error {
	for i, m := range others.(*moments).cells {
		a.cells[slots[i]].merge(m)
	}
	return nil
}

func (a *moments) result(slot uint32, how *Aggregate) (value.Value, error) {
	return a.cells[slot].result(how.Func), nil
}

func (a *moments) appendState(b []byte) []byte {
	for i := range a.cells {
		b = a.cells[i].appendState(b)
	}
	return b
}

func (a *moments) readState(r *reader, n int) {
	a.grow(n)
	for i := range a.cells {
		a.cells[i] = r.moment()
	}
}

// numbers is the percentiles: all numbers of a group.
type numbers struct {
	lists [][]cell
	spare [][]cell // empty ones to be used again
	held  int64    // bytes of both
}

// mostSpare is the longest list that is kept for use.
const mostSpare = 256

func (a *numbers) fresh() accumulators { return new(numbers) }
func (a *numbers) grow(n int)          { a.lists = growTo(a.lists, n) }
func (a *numbers) bytes() int64        { return int64(cap(a.lists)+cap(a.spare))*24 + a.held }

func (a *numbers) clear(slot uint32) {
	switch l := a.lists[slot]; {
	case cap(l) > mostSpare || len(a.spare) >= cap(a.lists):
		a.held -= int64(cap(l)) * 16
	case cap(l) > 0:
		a.spare = append(a.spare, l[:0])
	}
	a.lists[slot] = nil
}

func (a *numbers) reset() {
	for i := range a.lists {
		a.clear(uint32(i))
	}
	a.lists = a.lists[:0]
}

func (a *numbers) put(slot uint32, list ...cell) {
	l := a.lists[slot]
	if n := len(a.spare); l == nil && n > 0 {
		l = a.spare[n-1]
		a.spare = a.spare[:n-1]
	}
	was := cap(l)
	l = append(l, list...)
	a.held += int64(cap(l)-was) * 16
	a.lists[slot] = l
}

// percentileNumber converts an argument of a percentile; what is not a number
// is as null.
func percentileNumber(v value.Value) (cell, error) {
	v, err := scalar.ToNumber(v)
	if err != nil {
		return cell{}, err
	}
	return ordered(v)
}

func (a *numbers) add(slots []uint32, in *input) error {
	for i, s := range slots {
		x, err := percentileNumber(in.cols[0].At(in.from + i))
		if err != nil {
			return err
		}
		if x.kind != value.Null {
			a.put(s, x)
		}
	}
	return nil
}

func (a *numbers) merge(slots []uint32, others accumulators) error {
	for i, l := range others.(*numbers).lists {
		a.put(slots[i], l...)
	}
	return nil
}

func (a *numbers) result(slot uint32, how *Aggregate) (value.Value, error) {
	slices.SortFunc(a.lists[slot], orderCells)
	return percentile(a.lists[slot], how), nil
}

// orderCells orders numbers, which never fails.
func orderCells(a, b cell) int {
	order, _ := compareCells(a, b)
	return order
}

// percentile takes a percentile of numbers in rising order.
func percentile(list []cell, how *Aggregate) value.Value {
	n := len(list)
	if n == 0 {
		return value.Value{}
	}
	at := func(i int) cell {
		if len(how.Desc) > 0 && how.Desc[0] {
			return list[n-1-i]
		}
		return list[i]
	}
	if how.Func == PercentileDisc {
		// The share of i+1 out of n values; p*n may be a hair off a whole
		// number that it is meant to be.
		i := max(0, int(math.Ceil(how.Share*float64(n)-1e-9))-1)
		return at(min(i, n-1)).value()
	}
	p := how.Share * float64(n-1)
	i := min(int(p), n-1)
	low := at(i).value().AsFloat()
	if i == n-1 || p == float64(i) {
		return value.Number(low)
	}
	return value.Number(low + (at(i+1).value().AsFloat()-low)*(p-float64(i)))
}

func (a *numbers) appendState(b []byte) []byte {
	for _, l := range a.lists {
		b = appendCells(b, l)
	}
	return b
}

func (a *numbers) readState(r *reader, n int) {
	a.grow(n)
	for i := range a.lists {
		a.put(uint32(i), r.cells()...)
	}
}

func appendCells(b []byte, list []cell) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, c := range list {
		b = c.appendState(b)
	}
	return b
}

func (r *reader) cells() []cell {
	list := make([]cell, r.count(1))
	for i := range list {
		list[i] = r.cell()
	}
	return list
}
