package exec

import (
	"container/heap"
	"encoding/binary"
	"errors"
	"slices"

	"dunlin/internal/insights/stream/batch"
	"dunlin/internal/insights/stream/value"
)

// stateful is a step that keeps something of the rows that it has seen. Its
// state is for a step that was made of the same plan.
type stateful interface {
	// stateBytes is roughly the memory that the state takes.
	stateBytes() int64
	// appendState writes the state, and readState takes it over; the step has
	// seen nothing before.
	appendState(b []byte) []byte
	readState(r *stateReader)
}

// errState says that bytes are not the state of the step that reads them.
var errState = errors.New("exec: this is no state of the plan")

// stateVersion is that of the form in which steps write their state.
const stateVersion = 1

// stateReader reads a state. After a failure everything reads as zero.
type stateReader struct {
	b   []byte
	err error
}

func (r *stateReader) fail() {
	r.b, r.err = nil, errState
}

// ok reports whether reading goes on: loops over what was read ask it.
func (r *stateReader) ok() bool { return r.err == nil }

func (r *stateReader) uint() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *stateReader) int() int64 {
	n, size := binary.Varint(r.b)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[size:]
	return n
}

// count reads how many elements follow, of which each takes a byte or more.
func (r *stateReader) count() int {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *stateReader) bool() bool { return r.uint() != 0 }

func (r *stateReader) text() string {
	n := r.count()
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

func (r *stateReader) value() value.Value {
	v, rest, err := value.ReadState(r.b)
	if err != nil {
		r.fail()
		return value.Value{}
	}
	r.b = rest
	return v
}

func (r *stateReader) version() {
	if r.uint() != stateVersion {
		r.fail()
	}
}

func appendUint(b []byte, n uint64) []byte { return binary.AppendUvarint(b, n) }

func appendInt(b []byte, n int64) []byte { return binary.AppendVarint(b, n) }

func appendBool(b []byte, x bool) []byte {
	if x {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendText(b []byte, s string) []byte { return append(appendUint(b, uint64(len(s))), s...) }

// appendRow writes a row of a batch.
func appendRow(b []byte, cols []*batch.Column, row int) []byte {
	for _, c := range cols {
		b = value.AppendState(b, c.At(row))
	}
	return b
}

// row reads a row into columns.
func (r *stateReader) row(cols []*batch.Column) {
	for _, c := range cols {
		c.Append(r.value())
	}
}

func appendEvents(b []byte, list []event) []byte {
	b = appendUint(b, uint64(len(list)))
	for _, e := range list {
		b = value.AppendState(appendInt(b, e.ticks), e.value)
	}
	return b
}

func (r *stateReader) events() (q queue[event], size int64) {
	for range r.count() {
		e := event{r.int(), r.value()}
		size += value.Footprint(e.value)
		q.push(e)
	}
	return q, size
}

func (h *recall) appendState(b []byte) []byte { return appendEvents(b, h.events.items()) }
func (h *recall) readState(r *stateReader)    { h.events, h.size = r.events() }

func (h *first) appendState(b []byte) []byte { return appendInt(appendBool(b, h.begun), h.last) }
func (h *first) readState(r *stateReader)    { h.begun, h.last = r.bool(), r.int() }

func (h *count) appendState(b []byte) []byte {
	b = appendUint(b, uint64(h.times.len()))
	for _, t := range h.times.items() {
		b = appendInt(b, t)
	}
	return b
}

func (h *count) readState(r *stateReader) {
	for range r.count() {
		h.times.push(r.int())
	}
}

// Floats add up to the same sum only in the same order: the two stacks come
// back as they were.
func (h *sum) appendState(b []byte) []byte {
	older := make([]event, len(h.older))
	for i, e := range h.older {
		older[len(older)-1-i] = e.event
	}
	return appendEvents(appendEvents(b, older), h.newer.items())
}

func (h *sum) readState(r *stateReader) {
	numbers := func() queue[event] {
		q, _ := r.events()
		for _, e := range q.items() {
			if !e.value.Kind().Numeric() {
				r.fail()
			}
		}
		return q
	}
	h.newer = numbers()
	if !r.ok() {
		return
	}
	h.turn()
	h.newer = numbers()
	for _, e := range h.newer.items() {
		h.all.add(e.value)
	}
}

func (h *extreme) appendState(b []byte) []byte { return appendEvents(b, h.events.items()) }
func (h *extreme) readState(r *stateReader)    { h.events, h.size = r.events() }

func (h *collect) appendState(b []byte) []byte { return appendEvents(b, h.events.items()) }
func (h *collect) readState(r *stateReader)    { h.events, h.size = r.events() }

func (h *top) appendState(b []byte) []byte {
	b = appendUint(b, uint64(h.events.len()))
	for _, x := range h.events.items() {
		b = value.AppendState(appendInt(b, x.ticks), x.value)
		for _, v := range x.by {
			b = value.AppendState(b, v)
		}
	}
	return b
}

func (h *top) readState(r *stateReader) {
	for range r.count() {
		x := &ranked{event: event{r.int(), r.value()}, came: h.came}
		h.came++
		for range h.desc {
			x.by = append(x.by, r.value())
		}
		h.size += x.bytes()
		h.events.push(x)
	}
	h.sort()
}

func (s *analytic) appendState(b []byte) []byte {
	b = appendUint(b, stateVersion)
	for _, g := range s.groups {
		b = appendUint(b, uint64(len(g.states)))
		for st := g.oldest; st != nil; st = st.newer {
			b = appendInt(appendText(b, st.key), st.last)
			for _, h := range st.funcs {
				b = h.appendState(b)
			}
		}
	}
	return b
}

func (s *analytic) readState(r *stateReader) {
	r.version()
	for _, g := range s.groups {
		for range r.count() {
			st := g.state(r.text())
			st.last = r.int()
			for _, h := range st.funcs {
				h.readState(r)
			}
			g.toEnd(st)
			g.rows = append(g.rows[:0], st)
			g.measure()
		}
	}
}

// appendState writes the rows that are kept, those that wait among them, in
// their order. Nothing waits to be made between two calls of a step.
func (j *join) appendState(b []byte) []byte {
	b = appendInt(appendUint(b, stateVersion), j.told)
	for _, s := range [...]*joinSide{&j.left, &j.right} {
		b = appendInt(b, s.until)
		b = appendUint(b, uint64(s.store.kept()))
		for n := s.store.first; n < s.store.end; n++ {
			c, i := s.store.row(n)
			if c.at[i].gone {
				continue
			}
			b = appendBool(appendInt(b, c.Time[i]), n < s.done)
			b = appendBool(b, c.at[i].matched)
			b = appendBool(b, c.at[i].waiting)
			b = appendRow(b, c.Cols, i)
		}
	}
	return b
}

func (j *join) readState(r *stateReader) {
	r.version()
	j.told = r.int()
	for _, s := range [...]*joinSide{&j.left, &j.right} {
		s.until = r.int()
		one := batch.New(s.store.width)
		for range r.count() {
			one.Reset()
			one.Time = append(one.Time, r.int())
			done, matched, waiting := r.bool(), r.bool(), r.bool()
			r.row(one.Cols)
			if !r.ok() {
				return
			}
			n := s.store.end
			if err := s.rows(one); err != nil || s.store.end == n {
				r.fail()
				return
			}
			p := s.store.place(n)
			p.matched, p.waiting = matched, waiting
			if done {
				s.done = n + 1
				j.worked(s, n)
			}
		}
	}
}

// worked enters a row among those that have been worked on.
func (j *join) worked(s *joinSide, n int64) {
	p := s.store.place(n)
	if s == &j.right {
		p.bucket.right.push(n)
		return
	}
	if p.bucket != nil && p.from <= p.to {
		p.bucket.left.push(n)
	}
	j.deadlines.push(deadline{max(s.store.time(n), p.to), n})
}

// appendState writes for each key its events, and its attempts as the choices
// that they made.
func (s *match) appendState(b []byte) []byte {
	b = appendInt(appendUint(b, stateVersion), s.told)
	b = appendUint(b, uint64(len(s.states)))
	for _, k := range s.states {
		b = appendText(b, k.key)
		for _, v := range k.values {
			b = value.AppendState(b, v)
		}
		b = appendUint(b, uint64(k.events.len()))
		for _, e := range k.events.items() {
			b = appendInt(b, e.ticks)
			for _, v := range e.values {
				b = value.AppendState(b, v)
			}
		}
		b = appendUint(b, uint64(len(k.attempts)))
		for _, a := range k.attempts {
			b = appendInt(appendInt(b, a.number), a.first-k.first)
			b = appendUint(b, uint64(len(a.runs)))
			for _, r := range a.runs {
				b = appendTaken(appendUint(b, uint64(r.state)), r.taken)
				for _, c := range r.captured {
					b = value.AppendState(appendBool(b, c.set), c.value)
				}
			}
			b = appendTaken(appendInt(b, a.until), a.best)
		}
	}
	b = appendUint(b, uint64(len(s.found)))
	for _, f := range s.found {
		b = appendInt(appendInt(b, f.ticks), f.number)
		for _, v := range f.keys {
			b = value.AppendState(b, v)
		}
		for _, v := range f.wanted {
			b = value.AppendState(b, v)
		}
	}
	return appendInt(b, s.began)
}

func appendTaken(b []byte, t *taken) []byte {
	var as []int
	for ; t != nil; t = t.before {
		as = append(as, t.variable)
	}
	b = appendUint(b, uint64(len(as)))
	for _, v := range slices.Backward(as) {
		b = appendInt(b, int64(v))
	}
	return b
}

func (s *match) taken(r *stateReader) (t *taken, length int) {
	length = r.count()
	for range length {
		v := int(r.int())
		if v < -1 || v >= len(s.pattern.variables) {
			r.fail()
			return nil, 0
		}
		t = &taken{t, v}
	}
	return t, length
}

func (r *stateReader) values(n int) []value.Value {
	list := make([]value.Value, n)
	for i := range list {
		list[i] = r.value()
	}
	return list
}

func (s *match) readState(r *stateReader) {
	r.version()
	s.told = r.int()
	var attempts []*attempt
	for range r.count() {
		k := &matchKey{key: r.text(), values: r.values(len(s.keys))}
		for range r.count() {
			k.events.push(matchEvent{r.int(), r.values(len(s.values))})
		}
		for range r.count() {
			a := s.attempt(r, k)
			if !r.ok() {
				return
			}
			k.attempts = append(k.attempts, a)
			attempts = append(attempts, a)
		}
		s.states[k.key] = k
	}
	slices.SortFunc(attempts, func(a, b *attempt) int { return compareTicks(a.number, b.number) })
	for _, a := range attempts {
		a.place = s.attempts.PushBack(a)
	}
	slices.SortStableFunc(attempts, func(a, b *attempt) int { return compareTicks(a.until, b.until) })
	for _, a := range attempts {
		if a.best != nil {
			a.accepted = s.accepted.PushBack(a)
		}
	}
	for range r.count() {
		f := foundMatch{ticks: r.int(), number: r.int(), keys: r.values(len(s.keys)), wanted: r.values(len(s.wanted))}
		heap.Push(&s.found, f)
	}
	s.began = r.int()
}

// attempt reads an attempt of a key.
func (s *match) attempt(r *stateReader, k *matchKey) *attempt {
	a := &attempt{of: k, number: r.int(), first: r.int()}
	events := int64(k.events.len())
	if a.first < 0 || a.first >= events {
		r.fail()
		return nil
	}
	a.ticks = k.events.at(int(a.first)).ticks
	for range r.count() {
		run := matchRun{state: int(r.uint())}
		run.taken, _ = s.taken(r)
		for range s.slots {
			run.captured = append(run.captured, capture{r.bool(), r.value()})
		}
		if run.state < 0 || run.state >= len(s.pattern.states) {
			r.fail()
			return nil
		}
		a.runs = append(a.runs, run)
	}
	a.until = r.int()
	var length int
	if a.best, length = s.taken(r); int64(length) > events-a.first {
		r.fail()
	}
	s.weigh(a)
	return a
}
