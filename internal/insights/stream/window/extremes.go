package window

import (
	"math"

	"dunlin/internal/insights/stream/value"
)

// extremes is MIN and MAX. Of equal ones the first stays.
type extremes struct {
	high  bool
	cells []cell
}

func (a *extremes) fresh() accumulators { return &extremes{high: a.high} }
func (a *extremes) grow(n int)          { a.cells = growTo(a.cells, n) }
func (a *extremes) clear(slot uint32)   { a.cells[slot] = cell{} }
func (a *extremes) reset()              { a.cells = a.cells[:0] }
func (a *extremes) bytes() int64        { return int64(cap(a.cells)) * 16 }

func (a *extremes) add(slots []uint32, in *input) error {
	c := in.cols[0]
	if !c.Mixed && !c.HasNulls() {
		switch c.Kind {
		case value.Float:
			return a.addFloats(slots, c.Floats[in.from:in.to])
		case value.Bigint, value.Datetime, value.Bit:
			return a.addInts(slots, c.Ints[in.from:in.to], c.Kind)
		case value.Null, value.Text, value.Record, value.Array:
		}
	}
	for i, s := range slots {
		x, err := ordered(c.At(in.from + i))
		if err != nil {
			return err
		}
		if err := a.put(s, x); err != nil {
			return err
		}
	}
	return nil
}

func (a *extremes) addFloats(slots []uint32, floats []float64) error {
	cells := a.cells
	for i, s := range slots {
		c, f := &cells[s], floats[i]
		if c.kind != value.Float {
			if f == f {
				if err := a.put(s, cell{math.Float64bits(f), value.Float}); err != nil {
					return err
				}
			}
			continue
		}
		now := math.Float64frombits(c.n)
		if a.high && f > now || !a.high && f < now {
			c.n = math.Float64bits(f)
		}
	}
	return nil
}

func (a *extremes) addInts(slots []uint32, ints []int64, kind value.Kind) error {
	cells := a.cells
	for i, s := range slots {
		c, x := &cells[s], ints[i]
		if c.kind != kind {
			if err := a.put(s, cell{uint64(x), kind}); err != nil {
				return err
			}
			continue
		}
		if a.high && x > int64(c.n) || !a.high && x < int64(c.n) {
			c.n = uint64(x)
		}
	}
	return nil
}

func (a *extremes) put(slot uint32, x cell) error {
	c := &a.cells[slot]
	switch {
	case x.kind == value.Null:
		return nil
	case c.kind == value.Null:
		*c = x
		return nil
	}
	better, err := beats(x, *c, a.high)
	if better {
		*c = x
	}
	return err
}

// beats reports whether x goes before c in MIN, or MAX.
func beats(x, c cell, high bool) (bool, error) {
	order, err := compareCells(x, c)
	return err == nil && (high && order > 0 || !high && order < 0), err
}

func (a *extremes) merge(slots []uint32, others accumulators) error {
	for i, x := range others.(*extremes).cells {
		if err := a.put(slots[i], x); err != nil {
			return err
		}
	}
	return nil
}

func (a *extremes) result(slot uint32, _ *Aggregate) (value.Value, error) {
	return a.cells[slot].value(), nil
}

func (a *extremes) appendState(b []byte) []byte {
	for _, c := range a.cells {
		b = c.appendState(b)
	}
	return b
}

func (a *extremes) readState(r *reader, n int) {
	a.grow(n)
	for i := range a.cells {
		a.cells[i] = r.cell()
	}
}
