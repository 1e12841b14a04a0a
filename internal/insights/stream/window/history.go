package window

import (
	"encoding/binary"
	"math"
	"slices"

	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/value"
)

// history is what an aggregate keeps of a queue of rows, which come at its end
// and go at its front.
type history interface {
	// push adds a row: the values of the aggregate's Args.
	push(t int64, args []value.Value) error
	// drop takes the first n rows away.
	drop(n int) error
	result(a *Aggregate) (value.Value, error)
	bytes() int64
	appendState(b []byte) []byte
	readState(r *reader)
}

func newHistory(a *Aggregate) history {
	switch a.family() {
	case familyCount:
		return new(countHistory)
	case familyPresent:
		return new(presentHistory)
	case familyDistinct:
		return new(distinctHistory)
	case familySum:
		return new(sumHistory)
	case familyLow:
		return new(extremeHistory)
	case familyHigh:
		return &extremeHistory{high: true}
	case familyMoments:
		return new(momentHistory)
	case familyNumbers:
		return new(numberHistory)
	case familyList:
		return new(listHistory)
	case familyTop:
		return &topHistory{desc: a.Desc, one: a.Func == TopOne, present: a.present}
	case familyUser:
	}
	return &userHistory{user: a.User}
}

// queue is a slice whose front is cut off now and then.
type queue[T any] struct {
	items []T
	head  int
}

func (q *queue[T]) len() int    { return len(q.items) - q.head }
func (q *queue[T]) at(i int) *T { return &q.items[q.head+i] }
func (q *queue[T]) all() []T    { return q.items[q.head:] }
func (q *queue[T]) push(x T)    { q.items = append(q.items, x) }

// cut takes n items off the front.
func (q *queue[T]) cut(n int) {
	clear(q.items[q.head : q.head+n])
	q.head += n
	if q.head < 16 || q.head*2 < len(q.items) {
		if q.head == len(q.items) {
			q.items, q.head = q.items[:0], 0
		}
		return
	}
	left := copy(q.items, q.items[q.head:])
	clear(q.items[left:])
	q.items, q.head = q.items[:left], 0
	if cap(q.items) > 64 && left*8 < cap(q.items) {
		q.items = append(make([]T, 0, left*2), q.items...)
	}
}

// countHistory is COUNT(*).
type countHistory struct{ n int64 }

func (h *countHistory) push(int64, []value.Value) error { h.n++; return nil }
func (h *countHistory) drop(n int) error                { h.n -= int64(n); return nil }
func (h *countHistory) bytes() int64                    { return 8 }
func (h *countHistory) appendState(b []byte) []byte     { return binary.AppendVarint(b, h.n) }
func (h *countHistory) readState(r *reader)             { h.n = r.varint() }

func (h *countHistory) result(*Aggregate) (value.Value, error) { return value.Int(h.n), nil }

// presentHistory is COUNT(x).
type presentHistory struct {
	rows queue[bool]
	n    int64
}

func (h *presentHistory) push(_ int64, args []value.Value) error {
	there := !args[0].IsNull()
	h.rows.push(there)
	if there {
		h.n++
	}
	return nil
}

func (h *presentHistory) drop(n int) error {
	for i := range n {
		if *h.rows.at(i) {
			h.n--
		}
	}
	h.rows.cut(n)
	return nil
}

func (h *presentHistory) bytes() int64 { return int64(cap(h.rows.items)) + 40 }

func (h *presentHistory) result(*Aggregate) (value.Value, error) { return value.Int(h.n), nil }

func (h *presentHistory) appendState(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(h.rows.len()))
	for _, there := range h.rows.all() {
		x := byte(0)
		if there {
			x = 1
		}
		b = append(b, x)
	}
	return b
}

func (h *presentHistory) readState(r *reader) {
	for range r.count(1) {
		there := r.byte() == 1
		h.rows.push(there)
		if there {
			h.n++
		}
	}
}

// sumHistory is SUM and AVG. Bigints are subtracted when they go, which is
// exact. Floats are in two stacks: of the older rows the sums with all that are
// behind them among the older, of the newer one sum.
type sumHistory struct {
	rows   queue[cell]
	suffix []float64 // of the older rows, the last first
	back   float64   // of the newer rows
	ints   wide
	n      int64 // that are not null
}

func (h *sumHistory) push(_ int64, args []value.Value) error {
	v, err := scalar.ToNumber(args[0])
	if err != nil {
		return err
	}
	c := cellOf(v)
	h.rows.push(c)
	switch c.kind {
	case value.Float:
		h.back += v.Float()
		h.n++
	case value.Bigint:
		h.ints.add(v.Int())
		h.n++
	case value.Null, value.Bit, value.Datetime, value.Text, value.Record, value.Array:
	}
	return nil
}

func (h *sumHistory) drop(n int) error {
	for i := range n {
		if len(h.suffix) == 0 {
			sum := 0.0
			for _, c := range slices.Backward(h.rows.all()[i:]) {
				if c.kind == value.Float {
					sum += math.Float64frombits(c.n)
				}
				h.suffix = append(h.suffix, sum)
			}
			h.back = 0
		}
		h.suffix = h.suffix[:len(h.suffix)-1]
		switch c := h.rows.at(i); c.kind {
		case value.Float:
			h.n--
		case value.Bigint:
			h.ints.sub(int64(c.n))
			h.n--
		case value.Null, value.Bit, value.Datetime, value.Text, value.Record, value.Array:
		}
	}
	h.rows.cut(n)
	if len(h.suffix) == 0 && cap(h.suffix) > 64 && h.rows.len()*8 < cap(h.suffix) {
		h.suffix = nil
	}
	return nil
}

func (h *sumHistory) result(a *Aggregate) (value.Value, error) {
	sum := h.back
	if n := len(h.suffix); n > 0 {
		sum += h.suffix[n-1]
	}
	return total(a, h.n, sum, &h.ints)
}

func (h *sumHistory) bytes() int64 {
	return int64(cap(h.rows.items))*16 + int64(cap(h.suffix))*8 + 112
}

func (h *sumHistory) appendState(b []byte) []byte {
	b = appendCells(b, h.rows.all())
	b = binary.AppendUvarint(b, uint64(len(h.suffix)))
	for _, f := range h.suffix {
		b = appendFloat(b, f)
	}
	return h.ints.appendState(binary.AppendVarint(appendFloat(b, h.back), h.n))
}

func (h *sumHistory) readState(r *reader) {
	h.rows.items = r.cells()
	h.suffix = make([]float64, r.count(8))
	for i := range h.suffix {
		h.suffix[i] = r.float()
	}
	h.back, h.n = r.float(), r.varint()
	h.ints.readState(r)
	if len(h.suffix) > len(h.rows.items) {
		r.fail()
	}
}

// extremeHistory is MIN and MAX: the rows that may still become the extreme,
// which is the first of them.
type extremeHistory struct {
	high  bool
	rows  queue[extremeRow]
	begin int64 // number of the first row of the queue
	end   int64 // number of the next row
}

type extremeRow struct {
	number int64
	cell   cell
}

func (h *extremeHistory) push(_ int64, args []value.Value) error {
	x, err := ordered(args[0])
	if err != nil {
		return err
	}
	if x.kind != value.Null {
		for n := h.rows.len(); n > 0; n-- {
			better, err := beats(x, h.rows.at(n-1).cell, h.high)
			if err != nil {
				return err
			}
			if !better {
				break
			}
			h.rows.items = h.rows.items[:len(h.rows.items)-1]
		}
		h.rows.push(extremeRow{h.end, x})
	}
	h.end++
	return nil
}

func (h *extremeHistory) drop(n int) error {
	h.begin += int64(n)
	gone := 0
	for gone < h.rows.len() && h.rows.at(gone).number < h.begin {
		gone++
	}
	h.rows.cut(gone)
	return nil
}

func (h *extremeHistory) result(*Aggregate) (value.Value, error) {
	if h.rows.len() == 0 {
		return value.Value{}, nil
	}
	return h.rows.at(0).cell.value(), nil
}

func (h *extremeHistory) bytes() int64 { return int64(cap(h.rows.items))*24 + 56 }

func (h *extremeHistory) appendState(b []byte) []byte {
	b = binary.AppendVarint(binary.AppendVarint(b, h.begin), h.end)
	b = binary.AppendUvarint(b, uint64(h.rows.len()))
	for _, x := range h.rows.all() {
		b = x.cell.appendState(binary.AppendVarint(b, x.number))
	}
	return b
}

func (h *extremeHistory) readState(r *reader) {
	h.begin, h.end = r.varint(), r.varint()
	for range r.count(2) {
		h.rows.push(extremeRow{r.varint(), r.cell()})
	}
}

// momentHistory is STDEV and its like, in two stacks as sumHistory.
type momentHistory struct {
	rows   queue[cell]
	suffix []moment
	back   moment
}

func (h *momentHistory) push(_ int64, args []value.Value) error {
	v, err := scalar.ToFloat(args[0])
	if err != nil {
		return err
	}
	h.rows.push(cellOf(v))
	if !v.IsNull() {
		h.back.add(v.Float())
	}
	return nil
}

func (h *momentHistory) drop(n int) error {
	for i := range n {
		if len(h.suffix) == 0 {
			var m moment
			for _, c := range slices.Backward(h.rows.all()[i:]) {
				if c.kind != value.Null {
					m.add(math.Float64frombits(c.n))
				}
				h.suffix = append(h.suffix, m)
			}
			h.back = moment{}
		}
		h.suffix = h.suffix[:len(h.suffix)-1]
	}
	h.rows.cut(n)
	if len(h.suffix) == 0 && cap(h.suffix) > 64 && h.rows.len()*8 < cap(h.suffix) {
		h.suffix = nil
	}
	return nil
}

func (h *momentHistory) result(a *Aggregate) (value.Value, error) {
	var m moment
	if n := len(h.suffix); n > 0 {
		m = h.suffix[n-1]
	}
	m.merge(h.back)
	return m.result(a.Func), nil
}

func (h *momentHistory) bytes() int64 {
	return int64(cap(h.rows.items))*16 + int64(cap(h.suffix))*24 + 80
}

func (h *momentHistory) appendState(b []byte) []byte {
	b = appendCells(b, h.rows.all())
	b = binary.AppendUvarint(b, uint64(len(h.suffix)))
	for i := range h.suffix {
		b = h.suffix[i].appendState(b)
	}
	return h.back.appendState(b)
}

func (h *momentHistory) readState(r *reader) {
	h.rows.items = r.cells()
	h.suffix = make([]moment, r.count(17))
	for i := range h.suffix {
		h.suffix[i] = r.moment()
	}
	h.back = r.moment()
	if len(h.suffix) > len(h.rows.items) {
		r.fail()
	}
}

// numberHistory is the percentiles: all numbers, also in rising order.
type numberHistory struct {
	rows   queue[cell]
	sorted []cell
}

func (h *numberHistory) push(_ int64, args []value.Value) error {
	x, err := percentileNumber(args[0])
	if err != nil {
		return err
	}
	h.rows.push(x)
	h.insert(x)
	return nil
}

func (h *numberHistory) insert(x cell) {
	if x.kind != value.Null {
		at, _ := slices.BinarySearchFunc(h.sorted, x, orderCells)
		h.sorted = slices.Insert(h.sorted, at, x)
	}
}

func (h *numberHistory) drop(n int) error {
	for i := range n {
		x := *h.rows.at(i)
		if x.kind == value.Null {
			continue
		}
		at, _ := slices.BinarySearchFunc(h.sorted, x, orderCells)
		for i := at; i < len(h.sorted) && orderCells(h.sorted[i], x) == 0; i++ {
			if h.sorted[i] == x { // equal numbers may differ in kind
				at = i
				break
			}
		}
		h.sorted = slices.Delete(h.sorted, at, at+1)
	}
	h.rows.cut(n)
	return nil
}

func (h *numberHistory) result(a *Aggregate) (value.Value, error) {
	return percentile(h.sorted, a), nil
}

func (h *numberHistory) bytes() int64 {
	return int64(cap(h.rows.items)+cap(h.sorted))*16 + 56
}

func (h *numberHistory) appendState(b []byte) []byte { return appendCells(b, h.rows.all()) }

func (h *numberHistory) readState(r *reader) {
	h.rows.items = r.cells()
	for _, x := range h.rows.items {
		h.insert(x)
	}
}
