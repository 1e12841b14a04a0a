package window

import (
	"encoding/binary"
	"math"
	"math/bits"

	"dunlin/internal/insights/stream/batch"
	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/value"
)

// accumulators hold what one family of aggregates keeps of the rows of many
// groups. Groups are slots: dense numbers from 0.
type accumulators interface {
	// fresh makes empty ones of the same kind.
	fresh() accumulators
	// grow makes slots up to n, empty.
	grow(n int)
	// add adds rows to groups: slots has one for each row.
	add(slots []uint32, in *input) error
	// merge adds the groups of others, which come later in time: the i-th to
	// slots[i]. The others stay as they are, and share nothing.
	merge(slots []uint32, others accumulators) error
	// clear makes a slot empty.
	clear(slot uint32)
	// result gives the value of an aggregate of the family.
	result(slot uint32, a *Aggregate) (value.Value, error)
	// reset takes all slots away.
	reset()
	bytes() int64
	appendState(b []byte) []byte
	// readState reads what n slots were.
	readState(r *reader, n int)
}

// input is some rows with the arguments of an aggregate.
type input struct {
	time     []int64
	cols     []*batch.Column
	from, to int
}

func newAccumulators(a *Aggregate) accumulators {
	switch a.family() {
	case familyCount:
		return new(counts)
	case familyPresent:
		return &counts{present: true}
	case familyDistinct:
		return new(distincts)
	case familySum:
		return new(sums)
	case familyLow:
		return new(extremes)
	case familyHigh:
		return &extremes{high: true}
	case familyMoments:
		return new(moments)
	case familyNumbers:
		return new(numbers)
	case familyList:
		return new(lists)
	case familyTop:
		return &tops{most: a.Top, desc: a.Desc, present: a.present}
	case familyUser:
	}
	return &users{user: a.User}
}

// light reports whether what is kept of a group does not grow with its rows.
func light(f family) bool {
	switch f {
	case familyDistinct, familyNumbers, familyList, familyUser:
		return false
	case familyCount, familyPresent, familySum, familyLow, familyHigh, familyMoments, familyTop:
	}
	return true
}

// growTo makes s n long with zeros behind what it has.
func growTo[T any](s []T, n int) []T {
	if n <= len(s) {
		return s
	}
	if n <= cap(s) {
		at := len(s)
		s = s[:n]
		clear(s[at:])
		return s
	}
	out := make([]T, n, max(n, min(2*cap(s), cap(s)+1<<16), 4))
	copy(out, s)
	return out
}

// counts is COUNT.
type counts struct {
	present bool // of those only that are not null
	n       []int64
}

func (a *counts) fresh() accumulators { return &counts{present: a.present} }
func (a *counts) grow(n int)          { a.n = growTo(a.n, n) }
func (a *counts) clear(slot uint32)   { a.n[slot] = 0 }
func (a *counts) reset()              { a.n = a.n[:0] }
func (a *counts) bytes() int64        { return int64(cap(a.n)) * 8 }

func (a *counts) add(slots []uint32, in *input) error {
	if !a.present || !in.cols[0].HasNulls() && !in.cols[0].Mixed {
		for _, s := range slots {
			a.n[s]++
		}
		return nil
	}
	for i, s := range slots {
		if !in.cols[0].IsNull(in.from + i) {
			a.n[s]++
		}
	}
	return nil
}

func (a *counts) merge(slots []uint32, others accumulators) error {
	for i, n := range others.(*counts).n {
		a.n[slots[i]] += n
	}
	return nil
}

func (a *counts) result(slot uint32, _ *Aggregate) (value.Value, error) {
	return value.Int(a.n[slot]), nil
}

func (a *counts) appendState(b []byte) []byte {
	for _, n := range a.n {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return b
}

func (a *counts) readState(r *reader, n int) {
	a.grow(n)
	for i := range a.n {
		a.n[i] = int64(r.uvarint())
	}
}

// wide is a sum of bigints that cannot overflow, and their number.
type wide struct {
	hi int64
	lo uint64
	n  int64
}

func (w *wide) add(i int64) {
	var carry uint64
	w.lo, carry = bits.Add64(w.lo, uint64(i), 0)
	w.hi += i>>63 + int64(carry)
	w.n++
}

func (w *wide) sub(i int64) {
	var borrow uint64
	w.lo, borrow = bits.Sub64(w.lo, uint64(i), 0)
	w.hi -= i>>63 + int64(borrow)
	w.n--
}

func (w *wide) merge(o *wide) {
	var carry uint64
	w.lo, carry = bits.Add64(w.lo, o.lo, 0)
	w.hi += o.hi + int64(carry)
	w.n += o.n
}

func (w *wide) float() float64 {
	if w.hi == int64(w.lo)>>63 {
		return float64(int64(w.lo))
	}
	return float64(w.hi)*(1<<64) + float64(w.lo)
}

// bigint is the sum as SUM gives it.
func (w *wide) bigint() (value.Value, error) {
	if w.hi != int64(w.lo)>>63 {
		return value.Value{}, &scalar.Error{Kind: scalar.Overflow, Message: "Arithmetic overflow: the result of SUM is no bigint."}
	}
	return value.Int(int64(w.lo)), nil
}

func (w *wide) appendState(b []byte) []byte {
	return binary.AppendVarint(appendU64(appendU64(b, uint64(w.hi)), w.lo), w.n)
}

func (w *wide) readState(r *reader) {
	w.hi, w.lo, w.n = int64(r.u64()), r.u64(), r.varint()
}

// total is the result of SUM, AVG or COUNT for n numbers: floats that add up to
// f, and the bigints of w.
func total(a *Aggregate, n int64, f float64, w *wide) (value.Value, error) {
	switch {
	case a.Func == Count:
		return value.Int(n), nil
	case n == 0:
		return value.Value{}, nil
	case a.Func == Avg:
		return value.Number((f + w.float()) / float64(n)), nil
	case w.n == n:
		return w.bigint()
	case w.n > 0:
		return value.Number(f + w.float()), nil
	}
	return value.Number(f), nil
}

// sums is SUM and AVG.
type sums struct {
	cells []sumCell
	ints  []wide // nil until a bigint comes
}

type sumCell struct {
	f float64
	n int64 // of all numbers
}

func (a *sums) fresh() accumulators { return new(sums) }

func (a *sums) grow(n int) {
	a.cells = growTo(a.cells, n)
	if a.ints != nil {
		a.ints = growTo(a.ints, n)
	}
}

func (a *sums) clear(slot uint32) {
	a.cells[slot] = sumCell{}
	if a.ints != nil {
		a.ints[slot] = wide{}
	}
}

func (a *sums) reset() {
	a.cells = a.cells[:0]
	if a.ints != nil {
		a.ints = a.ints[:0]
	}
}

func (a *sums) bytes() int64 { return int64(cap(a.cells))*16 + int64(cap(a.ints))*24 }

func (a *sums) add(slots []uint32, in *input) error {
	c := in.cols[0]
	if !c.Mixed && !c.HasNulls() {
		switch c.Kind {
		case value.Float:
			cells, floats := a.cells, c.Floats[in.from:in.to]
			for i, s := range slots {
				cell := &cells[s]
				cell.f += floats[i]
				cell.n++
			}
			return nil
		case value.Bigint:
			a.needInts()
			cells, wides, ints := a.cells, a.ints, c.Ints[in.from:in.to]
			for i, s := range slots {
				wides[s].add(ints[i])
				cells[s].n++
			}
			return nil
		case value.Null, value.Bit, value.Datetime, value.Text, value.Record, value.Array:
		}
	}
	for i, s := range slots {
		v, err := scalar.ToNumber(c.At(in.from + i))
		if err != nil {
			return err
		}
		switch v.Kind() {
		case value.Float:
			a.cells[s].f += v.Float()
			a.cells[s].n++
		case value.Bigint:
			a.needInts()
			a.ints[s].add(v.Int())
			a.cells[s].n++
		case value.Null, value.Bit, value.Datetime, value.Text, value.Record, value.Array:
		}
	}
	return nil
}

func (a *sums) needInts() {
	if a.ints == nil {
		a.ints = make([]wide, len(a.cells), max(1, cap(a.cells)))
	}
}

func (a *sums) merge(slots []uint32, others accumulators) error {
	o := others.(*sums)
	for i, c := range o.cells {
		cell := &a.cells[slots[i]]
		cell.f += c.f
		cell.n += c.n
	}
	if len(o.ints) > 0 {
		a.needInts()
		for i := range o.ints {
			a.ints[slots[i]].merge(&o.ints[i])
		}
	}
	return nil
}

func (a *sums) result(slot uint32, how *Aggregate) (value.Value, error) {
	c := &a.cells[slot]
	var none wide
	w := &none
	if a.ints != nil {
		w = &a.ints[slot]
	}
	return total(how, c.n, c.f, w)
}

func (a *sums) appendState(b []byte) []byte {
	with := byte(0)
	if len(a.ints) > 0 {
		with = 1
	}
	b = append(b, with)
	for i, c := range a.cells {
		b = binary.AppendUvarint(appendFloat(b, c.f), uint64(c.n))
		if with == 1 {
			b = a.ints[i].appendState(b)
		}
	}
	return b
}

func (a *sums) readState(r *reader, n int) {
	with := r.byte() == 1
	a.grow(n)
	if with {
		a.needInts()
	}
	for i := range a.cells {
		a.cells[i] = sumCell{f: r.float(), n: int64(r.uvarint())}
		if with {
			a.ints[i].readState(r)
		}
	}
}

// cell is a value of fixed size; the zero cell is null.
type cell struct {
	n    uint64
	kind value.Kind
}

func cellOf(v value.Value) cell {
	switch v.Kind() {
	case value.Bigint, value.Datetime:
		return cell{uint64(v.Int()), v.Kind()}
	case value.Float:
		return cell{math.Float64bits(v.Float()), value.Float}
	case value.Bit:
		if v.Bool() {
			return cell{1, value.Bit}
		}
		return cell{0, value.Bit}
	case value.Null, value.Text, value.Record, value.Array:
	}
	return cell{}
}

func (c cell) value() value.Value {
	switch c.kind {
	case value.Bigint:
		return value.Int(int64(c.n))
	case value.Float:
		return value.Number(math.Float64frombits(c.n))
	case value.Datetime:
		return value.Time(int64(c.n))
	case value.Bit:
		return value.Bool(c.n != 0)
	case value.Null, value.Text, value.Record, value.Array:
	}
	return value.Value{}
}

func (c cell) appendState(b []byte) []byte { return value.AppendState(b, c.value()) }

func (r *reader) cell() cell { return cellOf(r.value()) }

// ordered converts an argument of MIN and MAX to what they can order: a text
// to a float. What is not a number is as null.
func ordered(v value.Value) (cell, error) {
	switch v.Kind() {
	case value.Text, value.Record, value.Array:
		f, err := scalar.ToFloat(v)
		if err != nil {
			return cell{}, err
		}
		v = f
	case value.Null, value.Bigint, value.Float, value.Bit, value.Datetime:
	}
	if v.Kind() == value.Float && v.Float() != v.Float() {
		return cell{}, nil
	}
	return cellOf(v), nil
}

// compareCells orders two cells that are not null.
func compareCells(a, b cell) (int, error) {
	if a.kind == b.kind {
		switch a.kind {
		case value.Float:
			x, y := math.Float64frombits(a.n), math.Float64frombits(b.n)
			switch {
			case x < y:
				return -1, nil
			case x > y:
				return 1, nil
			}
			return 0, nil
		default:
			x, y := int64(a.n), int64(b.n)
			switch {
			case x < y:
				return -1, nil
			case x > y:
				return 1, nil
			}
			return 0, nil
		}
	}
	order, _, err := scalar.Compare(a.value(), b.value())
	return order, err
}
