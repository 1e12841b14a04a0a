package anomaly

import "slices"

// most is how many events a sample keeps. Of a longer history each second, third
// and so on event is kept, so that a key's memory and the time for an event have
// a bound.
const most = 1024

// sample is the recent history of a stream: the values in order of arrival and
// in order of size, within a number of events and a span of time.
type sample struct {
	limit  int64 // ticks
	size   int   // values kept at most
	stride int   // one of so many events is kept
	skip   int   // events until the next is kept

	ring   []kept
	first  int // the oldest
	sorted []float64
}

type kept struct {
	ticks int64
	value float64
	extra float64 // for the owner: of spikes the width of the kernel
}

func newSample(history int, limit int64) sample {
	history = max(history, 1)
	stride := (history + most - 1) / most
	return sample{limit: limit, size: (history + stride - 1) / stride, stride: stride}
}

func (s *sample) len() int { return len(s.sorted) }

// at is the i-th value, the oldest first.
func (s *sample) at(i int) *kept { return &s.ring[(s.first+i)%len(s.ring)] }

// parts is all values: of the ring the part from the oldest to its end, and the
// part from its beginning.
func (s *sample) parts() [2][]kept {
	n, end := s.len(), s.first+s.len()
	if end <= len(s.ring) {
		return [2][]kept{s.ring[s.first:end]}
	}
	return [2][]kept{s.ring[s.first:], s.ring[:n-(len(s.ring)-s.first)]}
}

// expire takes out what is older than the limit.
func (s *sample) expire(now int64) {
	if s.limit <= 0 {
		return
	}
	for s.len() > 0 && s.at(0).ticks <= now-s.limit {
		s.pop()
	}
}

func (s *sample) pop() {
	v := s.at(0).value
	i, _ := slices.BinarySearch(s.sorted, v)
	s.sorted = slices.Delete(s.sorted, i, i+1)
	s.first = (s.first + 1) % len(s.ring)
}

// add takes a value in, if it is its turn.
func (s *sample) add(ticks int64, v, extra float64) {
	if s.skip > 0 {
		s.skip--
		return
	}
	s.skip = s.stride - 1
	if s.len() == s.size {
		s.pop()
	}
	n := s.len()
	if n == len(s.ring) {
		s.grow()
	}
	*s.at(n) = kept{ticks, v, extra}
	i, _ := slices.BinarySearch(s.sorted, v)
	s.sorted = slices.Insert(s.sorted, i, v)
}

// grow makes the ring longer.
func (s *sample) grow() {
	ring := make([]kept, min(max(2*len(s.ring), 16), s.size))
	for i := range len(s.ring) {
		ring[i] = *s.at(i)
	}
	s.ring, s.first = ring, 0
	s.sorted = slices.Grow(s.sorted, len(ring)-len(s.sorted))
}

// ranks counts the values below v and those not above it.
func (s *sample) ranks(v float64) (below, upTo int) {
	below, _ = slices.BinarySearch(s.sorted, v)
	for upTo = below; upTo < len(s.sorted) && s.sorted[upTo] == v; upTo++ {
	}
	return below, upTo
}

// spread is a measure of dispersion that equals the standard deviation for
// normal values and is not moved by a few wild ones.
func (s *sample) spread() float64 {
	n := len(s.sorted)
	if n < 4 {
		return 0
	}
	iqr := (s.sorted[3*n/4] - s.sorted[n/4]) / 1.349
	if iqr > 0 {
		return iqr
	}
	// More than half of the values are the same: look farther out.
	return (s.sorted[n-1-n/20] - s.sorted[n/20]) / 3.29
}

func (s *sample) bytes() int64 { return int64(24*cap(s.ring) + 8*cap(s.sorted)) }

// clear takes all out.
func (s *sample) clear() { s.ring, s.first, s.sorted, s.skip = nil, 0, nil, 0 }

func (w *writer) sample(s *sample) {
	w.int(int64(s.skip))
	w.int(int64(s.len()))
	for i := range s.len() {
		k := s.at(i)
		w.int(k.ticks)
		w.float(k.value)
		w.float(k.extra)
	}
}

// sample reads into s, which newSample made.
func (r *reader) sample(s *sample) {
	skip, n := r.int(), r.int()
	if r.err != nil || skip < 0 || n < 0 || n > int64(len(r.b)/24) {
		r.err = errState
		return
	}
	drop := max(n-int64(s.size), 0) // the query's history is shorter now
	for i := range n {
		k := kept{r.int(), r.number(), r.number()}
		if r.err == nil && i >= drop {
			s.skip = 0
			s.add(k.ticks, k.value, k.extra)
		}
	}
	s.skip = int(min(skip, int64(s.stride-1)))
}

// cut keeps a value within what the arithmetic here can take.
func cut(v float64) float64 { return min(max(v, -largest), largest) }

// risk is the probability of a false alarm that a confidence in percent allows.
// Above 100 and below 1 it is as at these. That of 100 is not 0, or nothing would
// ever be found.
func risk(confidence float64) float64 {
	if !(confidence >= 1) { // NaN too
		confidence = 1
	}
	return max(1-min(confidence, 100)/100, 1e-6)
}
