package exec

import (
	"math"
	"slices"

	"dunlin/internal/insights/stream/batch"
)

// merge brings the rows of several sides into one order of time. Rows with the
// same timestamp keep the order of the sides.
type merge struct {
	sides []mergeSide
	next  next
	told  int64
}

// mergeSide is one side: what comes in there.
type mergeSide struct {
	merge *merge
	held  *batch.Batch // nil: none
	until int64        // no row of up to this time will come
}

func newMerge(sides int) *merge {
	m := &merge{sides: make([]mergeSide, sides), told: math.MinInt64}
	for i := range m.sides {
		m.sides[i] = mergeSide{merge: m, until: math.MinInt64}
	}
	return m
}

func (s *mergeSide) rows(b *batch.Batch) error {
	if s.held == nil {
		s.held = batch.New(len(b.Cols))
	}
	for i, c := range s.held.Cols {
		c.AppendColumn(b.Cols[i])
	}
	s.held.Time = append(s.held.Time, b.Time...)
	return nil
}

func (s *mergeSide) reached(ticks int64) error {
	s.until = ticks
	return s.merge.release()
}

// release hands on what is complete on all sides.
func (m *merge) release() error {
	until := int64(math.MaxInt64)
	for i := range m.sides {
		until = min(until, m.sides[i].until)
	}
	if until <= m.told {
		return nil
	}
	m.told = until
	ready := m.take(until)
	if ready.Len() > 0 {
		if err := m.next.rows(ready); err != nil {
			return err
		}
	}
	return m.next.reached(until)
}

// take removes the rows of up to a time from the sides.
func (m *merge) take(until int64) *batch.Batch {
	all := batch.New(0)
	for i := range m.sides {
		s := &m.sides[i]
		if s.held == nil {
			continue
		}
		n := 0
		for n < s.held.Len() && s.held.Time[n] <= until {
			n++
		}
		if n == 0 {
			continue
		}
		now, later := span(0, n), span(n, s.held.Len())
		taken := batch.New(len(s.held.Cols))
		taken.Gather(s.held, now)
		if len(later) == 0 {
			s.held = nil
		} else {
			rest := batch.New(len(s.held.Cols))
			rest.Gather(s.held, later)
			s.held = rest
		}
		if all.Len() == 0 {
			all = taken
			continue
		}
		for c := range all.Cols {
			all.Cols[c].AppendColumn(taken.Cols[c])
		}
		all.Time = append(all.Time, taken.Time...)
	}
	if slices.IsSorted(all.Time) {
		return all
	}
	order := span(0, all.Len())
	slices.SortStableFunc(order, func(a, b int32) int {
		switch x, y := all.Time[a], all.Time[b]; {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	sorted := batch.New(len(all.Cols))
	sorted.Gather(all, order)
	return sorted
}

func span(from, to int) []int32 {
	list := make([]int32, 0, to-from)
	for i := from; i < to; i++ {
		list = append(list, int32(i))
	}
	return list
}
