package exec

import (
	"math"
	"slices"

	"dunlin/internal/insights/stream/batch"
	"dunlin/internal/insights/stream/clock"
	"dunlin/internal/insights/stream/eval"
	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/value"
)

// Counts are the events of an input that were not taken as they came.
type Counts struct {
	Events           int64 // that were read
	Early            int64 // dropped
	Late             int64 // adjusted or dropped
	Disordered       int64 // adjusted or dropped
	InvalidTimestamp int64 // dropped: TIMESTAMP BY gave no datetime
	// InvalidTimestampKey is of events dropped as a key of OVER is null.
	InvalidTimestampKey int64
	DeserializeErrors   int64 // dropped: not readable
}

// ingress gives events their timestamps and brings them in order. Batches come
// with the time of arrival.
type ingress struct {
	timestamp eval.Value // nil: the time of arrival
	clock     *clock.Clock
	counts    *Counts
	next      next
	frame     eval.Frame
	times     []int64
	keep      []int32
	order     []int32
	held      *batch.Batch // rows that wait for the watermark, in order of arrival
	out       *batch.Batch
	told      int64 // what reached was called with
}

func (s *ingress) rows(b *batch.Batch) error {
	s.counts.Events += int64(b.Len())
	s.times, s.keep = s.times[:0], s.keep[:0]
	var at *batch.Column
	if s.timestamp != nil {
		s.frame.Of(b.Time, b.Cols)
		var err error
		if at, err = s.timestamp(&s.frame); err != nil {
			return err
		}
	}
	inOrder := true
	for i, arrival := range b.Time {
		t := arrival
		if at != nil {
			v, err := scalar.ToTime(at.At(i))
			if err != nil || v.IsNull() {
				s.counts.InvalidTimestamp++
				continue
			}
			t = v.Ticks()
		}
		t, verdict := s.clock.Event(t, arrival)
		switch verdict {
		case clock.DroppedEarly:
			s.counts.Early++
		case clock.DroppedLate, clock.AdjustedLate:
			s.counts.Late++
		case clock.DroppedDisordered, clock.AdjustedDisordered:
			s.counts.Disordered++
		case clock.AdjustedBoth:
			s.counts.Late++
			s.counts.Disordered++
		case clock.InTime:
		}
		if verdict.Dropped() {
			continue
		}
		inOrder = inOrder && (len(s.times) == 0 || t >= s.times[len(s.times)-1])
		s.keep = append(s.keep, int32(i))
		s.times = append(s.times, t)
	}
	if err := s.take(b, inOrder); err != nil {
		return err
	}
	return s.tell()
}

// take hands on the rows that are kept, or holds them.
func (s *ingress) take(b *batch.Batch, inOrder bool) error {
	if len(s.keep) == 0 {
		return nil
	}
	// Without a tolerance for disorder timestamps only rise, and nothing has to
	// wait.
	if inOrder && s.held == nil && s.times[len(s.times)-1] <= s.clock.Watermark() {
		if len(s.keep) == b.Len() {
			return s.next.rows(&batch.Batch{Time: s.times, Cols: b.Cols})
		}
		s.make(&s.out, len(b.Cols))
		s.out.Gather(b, s.keep)
		copy(s.out.Time, s.times)
		return s.next.rows(s.out)
	}
	s.make(&s.held, len(b.Cols))
	kept := batch.New(len(b.Cols))
	kept.Gather(b, s.keep)
	for i, c := range s.held.Cols {
		c.AppendColumn(kept.Cols[i])
	}
	s.held.Time = append(s.held.Time, s.times...)
	return s.release(s.clock.Watermark() - 1)
}

func (s *ingress) make(b **batch.Batch, columns int) {
	if *b == nil {
		*b = batch.New(columns)
	}
}

// release hands on the rows that are held with a timestamp of up to ticks, in
// the order of time and, where that is the same, of arrival.
func (s *ingress) release(ticks int64) error {
	if s.held == nil {
		return nil
	}
	s.order = s.order[:0]
	var rest []int32
	for i, t := range s.held.Time {
		if t <= ticks {
			s.order = append(s.order, int32(i))
		} else {
			rest = append(rest, int32(i))
		}
	}
	if len(s.order) == 0 {
		return nil
	}
	slices.SortStableFunc(s.order, func(a, b int32) int {
		switch x, y := s.held.Time[a], s.held.Time[b]; {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	s.make(&s.out, len(s.held.Cols))
	s.out.Gather(s.held, s.order)
	if len(rest) == 0 {
		s.held = nil
	} else {
		left := batch.New(len(s.held.Cols))
		left.Gather(s.held, rest)
		s.held = left
	}
	return s.next.rows(s.out)
}

// tell passes the watermark on. An event may still come that has the watermark
// itself as its timestamp.
func (s *ingress) tell() error {
	w := s.clock.Watermark()
	if w == math.MinInt64 || w-1 <= s.told {
		return nil
	}
	s.told = w - 1
	return s.next.reached(s.told)
}

// reached says that nothing has arrived up to a time.
func (s *ingress) reached(arrival int64) error {
	if arrival == value.MaxTicks { // the end: nothing comes any more
		if err := s.release(math.MaxInt64); err != nil {
			return err
		}
		return s.next.reached(math.MaxInt64)
	}
	s.clock.Quiet(arrival)
	if err := s.release(s.clock.Watermark() - 1); err != nil {
		return err
	}
	return s.tell()
}
