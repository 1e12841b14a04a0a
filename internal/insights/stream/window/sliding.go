package window

import (
	"encoding/binary"

	"dunlin/internal/insights/stream/value"
)

// Slider is one aggregate over the rows of the last while: those of one key for
// AVG(...) OVER (LIMIT DURATION ...). It belongs to one goroutine.
type Slider struct {
	aggregate Aggregate
	limit     int64
	times     queue[int64]
	history   history
}

// NewSlider makes one that looks back over limit ticks: at time t over the rows
// in (t-limit, t].
func NewSlider(a Aggregate, limit int64) *Slider {
	return &Slider{aggregate: a, limit: limit, history: newHistory(&a)}
}

// Add adds a row that is not older than those before; args are the values of
// the aggregate's Args. What must be kept of them is copied.
func (s *Slider) Add(t int64, args []value.Value) error {
	s.times.push(t)
	return s.history.push(t, args)
}

// Expire moves on to time t, and forgets the rows that are too old by then.
func (s *Slider) Expire(t int64) error {
	n := expired(&s.times, t-s.limit)
	if n == 0 {
		return nil
	}
	s.times.cut(n)
	return s.history.drop(n)
}

// expired counts the times of up to t.
func expired(times *queue[int64], t int64) int {
	n := 0
	for n < times.len() && *times.at(n) <= t {
		n++
	}
	return n
}

// Len is the number of rows that are looked back over.
func (s *Slider) Len() int { return s.times.len() }

// Result is the value of the aggregate.
func (s *Slider) Result() (value.Value, error) { return s.history.result(&s.aggregate) }

// Bytes is roughly the memory in use.
func (s *Slider) Bytes() int64 { return int64(cap(s.times.items))*8 + 160 + s.history.bytes() }

// AppendState writes what the slider keeps, for a checkpoint.
func (s *Slider) AppendState(b []byte) []byte {
	b = append(b, stateVersion)
	return section(appendTimes(b, s.times.all()), s.history.appendState)
}

// ReadState makes a new slider go on where the one was that wrote the state,
// and gives the bytes behind it.
func (s *Slider) ReadState(b []byte) (rest []byte, err error) {
	r := &reader{b: b}
	if v := r.byte(); r.err == nil && v != stateVersion {
		return nil, ErrState
	}
	s.times.items = r.times()
	h := r.section()
	s.history.readState(h)
	r.end(h)
	return r.b, r.err
}

// slidingGroup is the rows of a group in a sliding window.
type slidingGroup struct {
	times     queue[int64]
	histories []history // by set
	changed   int64     // last instant at which rows came or went
	held      int64
}

// instant is a time at which rows of a group came.
type instant struct {
	time int64
	id   uint32
}

// sliding is the engine for sliding windows. A group has a row at each instant
// at which a row of it came or is left behind.
type sliding struct {
	sink    *sink
	size    int64
	groups  []*slidingGroup // by key; nil: it has no rows
	exits   queue[instant]  // rows to leave behind, in order
	now     int64           // the instant that is looked at
	changed []uint32        // groups that rows have come to, or left, by then
	args    []value.Value
	held    int64
}

func newSliding(size int64, s *sink) *sliding { return &sliding{sink: s, size: size} }

func (e *sliding) rows(in *rows) error {
	for i := in.from; i < in.to; i++ {
		t := in.time[i]
		if t > e.now || len(e.changed) == 0 {
			if err := e.reached(t - 1); err != nil {
				return err
			}
			if err := e.begin(t); err != nil {
				return err
			}
		}
		id := in.ids[i-in.from]
		if int(id) >= len(e.groups) {
			e.groups = growTo(e.groups, int(id)+1)
		}
		g := e.groups[id]
		if g == nil {
			g = e.group()
			e.groups[id] = g
		}
		if n := g.times.len(); n == 0 || *g.times.at(n - 1) != t {
			e.exits.push(instant{t, id})
		}
		e.change(id, g)
		g.times.push(t)
		for k, h := range g.histories {
			e.args = e.args[:0]
			for _, c := range in.args[k] {
				e.args = append(e.args, c.At(i))
			}
			if err := h.push(t, e.args); err != nil {
				return err
			}
		}
		e.weigh(g)
	}
	return nil
}

func (e *sliding) group() *slidingGroup {
	g := &slidingGroup{changed: -1}
	for _, s := range e.sink.plan.sets {
		g.histories = append(g.histories, newHistory(s.Aggregate))
	}
	return g
}

// weigh notes what a group takes.
func (e *sliding) weigh(g *slidingGroup) {
	n := int64(cap(g.times.items))*8 + 96
	for _, h := range g.histories {
		n += h.bytes() + 16
	}
	e.held += n - g.held
	g.held = n
}

func (e *sliding) reached(ticks int64) error {
	for {
		if len(e.changed) > 0 {
			if e.now > ticks {
				return nil
			}
			if err := e.show(); err != nil {
				return err
			}
		}
		if e.exits.len() == 0 || e.exits.at(0).time+e.size > ticks {
			return nil
		}
		if err := e.begin(e.exits.at(0).time + e.size); err != nil {
			return err
		}
	}
}

// begin comes to an instant: the rows that are too old by then go.
func (e *sliding) begin(at int64) error {
	e.now = at
	gone := 0
	for gone < e.exits.len() && e.exits.at(gone).time+e.size == at {
		id := e.exits.at(gone).id
		gone++
		g := e.groups[id]
		n := expired(&g.times, at-e.size)
		g.times.cut(n)
		for _, h := range g.histories {
			if err := h.drop(n); err != nil {
				return err
			}
		}
		e.weigh(g)
		e.change(id, g)
	}
	e.exits.cut(gone)
	return nil
}

func (e *sliding) change(id uint32, g *slidingGroup) {
	if g.changed != e.now {
		g.changed = e.now
		e.changed = append(e.changed, id)
	}
}

// show emits the rows of an instant.
func (e *sliding) show() error {
	for _, id := range e.changed {
		g := e.groups[id]
		if g.times.len() == 0 {
			e.held -= g.held
			e.groups[id] = nil
			continue
		}
		if err := e.row(e.now, id, g); err != nil {
			return err
		}
	}
	e.changed = e.changed[:0]
	return nil
}

func (e *sliding) row(at int64, id uint32, g *slidingGroup) error {
	if err := e.sink.begin(at, id); err != nil {
		return err
	}
	p := e.sink.plan
	for i := range p.how {
		v, err := g.histories[p.of[i]].result(&p.how[i])
		if err != nil {
			return err
		}
		e.sink.value(i, v)
	}
	return nil
}

func (e *sliding) mark(used Set) {
	for id, g := range e.groups {
		if g != nil {
			used.Add(uint32(id))
		}
	}
}

func (e *sliding) bytes() int64 {
	return e.held + int64(cap(e.groups))*8 + int64(cap(e.exits.items))*16 + int64(cap(e.changed))*4
}

func (e *sliding) appendState(b []byte) []byte {
	b = binary.AppendVarint(b, e.now)
	b = appendU32s(b, e.changed)
	b = binary.AppendUvarint(b, uint64(e.exits.len()))
	last := int64(0)
	for _, x := range e.exits.all() {
		b = binary.AppendUvarint(binary.AppendVarint(b, x.time-last), uint64(x.id))
		last = x.time
	}
	live := 0
	for _, g := range e.groups {
		if g != nil {
			live++
		}
	}
	b = binary.AppendUvarint(b, uint64(live))
	for id, g := range e.groups {
		if g == nil {
			continue
		}
		b = appendTimes(binary.AppendUvarint(b, uint64(id)), g.times.all())
		for _, h := range g.histories {
			b = section(b, h.appendState)
		}
	}
	return b
}

func (e *sliding) readState(r *reader) {
	e.now = r.varint()
	e.changed = r.ids()
	last := int64(0)
	for range r.count(2) {
		last += r.varint()
		e.exits.push(instant{last, r.id()})
	}
	for range r.count(2) {
		id := r.id()
		if r.err != nil {
			return
		}
		g := e.group()
		g.times.items = r.times()
		for _, h := range g.histories {
			s := r.section()
			h.readState(s)
			r.end(s)
		}
		e.groups = growTo(e.groups, int(id)+1)
		e.groups[id] = g
		e.weigh(g)
	}
	for _, id := range e.changed {
		if int(id) >= len(e.groups) || e.groups[id] == nil {
			r.fail()
			return
		}
		e.groups[id].changed = e.now
	}
	for _, x := range e.exits.items {
		if int(x.id) >= len(e.groups) || e.groups[x.id] == nil {
			r.fail()
		}
	}
}
