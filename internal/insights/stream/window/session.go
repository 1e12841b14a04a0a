package window

import (
	"cmp"
	"encoding/binary"
	"slices"

	"dunlin/internal/lang/asa"
)

// sessions is the engine for session windows. A session is of one group, or
// with OVER (PARTITION BY ...) of one key of its own, and then may hold several
// groups.
type sessions struct {
	sink         *sink
	timeout, max int64
	over         *Keys // nil: without keys of its own
	from, to     int   // their columns

	byKey   []uint32 // session + 1 by key
	list    []session
	free    []uint32
	heap    []uint32 // sessions, by when they are looked at next
	opened  uint64
	accs    []accumulators
	slots   uint32            // that were ever used
	spare   []uint32          // slots to be used again
	groups  map[uint64]uint32 // with keys of its own: session << 32 | group to slot
	ids     []uint32
	pending []uint32 // slots of the rows that are not added yet
	in      input
}

type session struct {
	key    uint32
	number uint64 // in the order of beginning
	last   int64  // time of the last row
	until  int64  // when it is ended whatever comes
	look   int64  // when it may be over
	groups []sessionGroup
}

type sessionGroup struct{ id, slot uint32 }

func newSessions(w *asa.Window, from int, s *sink) *sessions {
	e := &sessions{sink: s, timeout: w.Size.Ticks(), max: w.Max.Ticks(), from: from, to: from + len(w.Over)}
	if len(w.Over) > 0 {
		e.over = NewKeys(len(w.Over))
		e.groups = map[uint64]uint32{}
	}
	e.accs = s.plan.accumulators()
	return e
}

func (e *sessions) rows(in *rows) error {
	ids := in.ids
	if e.over != nil {
		if e.over.Full() {
			e.over.Sweep(func(used Set) {
				for _, s := range e.heap {
					used.Add(e.list[s].key)
				}
			})
		}
		var err error
		if e.ids, err = e.over.Intern(in.keys[e.from:e.to], in.from, in.to, e.ids[:0]); err != nil {
			return err
		}
		ids = e.ids
	}
	e.pending = growTo(e.pending[:0], in.to-in.from)
	from := in.from
	for i := in.from; i < in.to; i++ {
		t := in.time[i]
		if len(e.heap) > 0 && e.list[e.heap[0]].look < t {
			if err := e.add(in, from, i); err != nil {
				return err
			}
			from = i
			if err := e.reached(t - 1); err != nil {
				return err
			}
		}
		key := ids[i-in.from]
		if int(key) >= len(e.byKey) {
			e.byKey = growTo(e.byKey, int(key)+1)
		}
		at := e.byKey[key]
		if at == 0 {
			at = e.begin(key, t) + 1
			e.byKey[key] = at
		}
		s := &e.list[at-1]
		s.last = t
		e.pending[i-in.from] = e.slot(at-1, s, in.ids[i-in.from])
	}
	return e.add(in, from, in.to)
}

// begin opens a session.
func (e *sessions) begin(key uint32, t int64) uint32 {
	var at uint32
	if n := len(e.free); n > 0 {
		at = e.free[n-1]
		e.free = e.free[:n-1]
	} else {
		at = uint32(len(e.list))
		e.list = append(e.list, session{})
	}
	s := &e.list[at]
	e.opened++
	// It is checked at the multiples of its longest duration.
	s.key, s.number, s.last, s.until = key, e.opened, t, ceilTo(t, e.max, 0)+e.max
	s.look = min(t+e.timeout, s.until)
	s.groups = s.groups[:0]
	e.push(at)
	return at
}

// slot gives the slot of a group in a session.
func (e *sessions) slot(at uint32, s *session, id uint32) uint32 {
	if e.over == nil {
		if len(s.groups) == 0 {
			s.groups = append(s.groups, sessionGroup{id, e.newSlot()})
		}
		return s.groups[0].slot
	}
	k := uint64(at)<<32 | uint64(id)
	slot, ok := e.groups[k]
	if !ok {
		slot = e.newSlot()
		e.groups[k] = slot
		s.groups = append(s.groups, sessionGroup{id, slot})
	}
	return slot
}

func (e *sessions) newSlot() uint32 {
	if n := len(e.spare); n > 0 {
		slot := e.spare[n-1]
		e.spare = e.spare[:n-1]
		return slot
	}
	e.slots++
	for _, a := range e.accs {
		a.grow(int(e.slots))
	}
	return e.slots - 1
}

// add adds rows whose slots are pending.
func (e *sessions) add(in *rows, from, to int) error {
	if from == to {
		return nil
	}
	for k, a := range e.accs {
		e.in = input{in.time, in.args[k], from, to}
		if err := a.add(e.pending[from-in.from:to-in.from], &e.in); err != nil {
			return err
		}
	}
	return nil
}

func (e *sessions) reached(ticks int64) error {
	for len(e.heap) > 0 {
		at := e.heap[0]
		s := &e.list[at]
		if s.look > ticks {
			return nil
		}
		if end := min(s.last+e.timeout, s.until); end > s.look {
			s.look = end
			e.down(0)
			continue
		}
		e.pop()
		if err := e.end(at, s); err != nil {
			return err
		}
		if n := len(e.spare); n > leastCompact && n > int(e.slots)/8*7 {
			if err := e.compact(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *sessions) end(at uint32, s *session) error {
	for _, g := range s.groups {
		if err := e.sink.row(s.look, g.id, e.accs, g.slot); err != nil {
			return err
		}
		for _, a := range e.accs {
			a.clear(g.slot)
		}
		e.spare = append(e.spare, g.slot)
		if e.over != nil {
			delete(e.groups, uint64(at)<<32|uint64(g.id))
		}
	}
	e.byKey[s.key] = 0
	e.free = append(e.free, at)
	return nil
}

// before orders the heap.
func (e *sessions) before(a, b uint32) bool {
	x, y := &e.list[a], &e.list[b]
	return x.look < y.look || x.look == y.look && x.number < y.number
}

func (e *sessions) push(at uint32) {
	e.heap = append(e.heap, at)
	for i := len(e.heap) - 1; i > 0; {
		up := (i - 1) / 2
		if !e.before(e.heap[i], e.heap[up]) {
			return
		}
		e.heap[i], e.heap[up] = e.heap[up], e.heap[i]
		i = up
	}
}

func (e *sessions) pop() {
	n := len(e.heap) - 1
	e.heap[0] = e.heap[n]
	e.heap = e.heap[:n]
	e.down(0)
}

func (e *sessions) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(e.heap) {
			return
		}
		if child+1 < len(e.heap) && e.before(e.heap[child+1], e.heap[child]) {
			child++
		}
		if !e.before(e.heap[child], e.heap[i]) {
			return
		}
		e.heap[i], e.heap[child] = e.heap[child], e.heap[i]
		i = child
	}
}

func (e *sessions) mark(used Set) {
	for _, at := range e.heap {
		for _, g := range e.list[at].groups {
			used.Add(g.id)
		}
	}
}

func (e *sessions) bytes() int64 {
	n := int64(cap(e.list))*72 + int64(cap(e.byKey)+cap(e.free)+cap(e.heap)+cap(e.spare)+cap(e.ids)+cap(e.pending))*4
	n += int64(e.slots)*8 + int64(len(e.groups))*32
	for _, a := range e.accs {
		n += a.bytes()
	}
	if e.over != nil {
		n += e.over.Bytes()
	}
	return n
}

// leastCompact is how many unused slots are not worth the work.
const leastCompact = 1024

// compact gives the groups slots without gaps, and the memory of the others
// free; one empty slot is left.
func (e *sessions) compact() error {
	to := make([]uint32, e.slots)
	n := e.slots - uint32(len(e.spare))
	for i := range to {
		to[i] = n
	}
	next := uint32(0)
	for _, at := range e.order() {
		groups := e.list[at].groups
		for i, g := range groups {
			to[g.slot] = next
			groups[i].slot = next
			if e.over != nil {
				e.groups[uint64(at)<<32|uint64(g.id)] = next
			}
			next++
		}
	}
	for i, a := range e.accs {
		packed := a.fresh()
		packed.grow(int(n) + 1)
		if err := packed.merge(to, a); err != nil {
			return err
		}
		e.accs[i] = packed
	}
	e.slots, e.spare = n+1, append(e.spare[:0], n)
	return nil
}

// order gives the open sessions in the order in which they began.
func (e *sessions) order() []uint32 {
	order := slices.Clone(e.heap)
	slices.SortFunc(order, func(a, b uint32) int { return cmp.Compare(e.list[a].number, e.list[b].number) })
	return order
}

func (e *sessions) appendState(b []byte) []byte {
	if e.over != nil {
		b = section(b, e.over.AppendState)
	}
	order := e.order()
	b = binary.AppendUvarint(b, e.opened)
	b = binary.AppendUvarint(b, uint64(e.slots))
	b = binary.AppendUvarint(b, uint64(len(order)))
	for _, at := range order {
		s := &e.list[at]
		b = binary.AppendUvarint(b, uint64(s.key))
		b = binary.AppendUvarint(b, s.number)
		for _, t := range [...]int64{s.last, s.until, s.look} {
			b = binary.AppendVarint(b, t)
		}
		b = binary.AppendUvarint(b, uint64(len(s.groups)))
		for _, g := range s.groups {
			b = binary.AppendUvarint(b, uint64(g.id))
			b = binary.AppendUvarint(b, uint64(g.slot))
		}
	}
	for _, a := range e.accs {
		b = section(b, a.appendState)
	}
	return b
}

func (e *sessions) readState(r *reader) {
	keys := r.keys
	if e.over != nil {
		s := r.section()
		s.keys = keys
		e.over.readState(s)
		r.end(s)
		keys = e.over.Len()
	}
	e.opened = r.uvarint()
	slots := r.uvarint()
	if slots > 1<<31 {
		r.fail()
		return
	}
	used := map[uint32]bool{}
	for range r.count(6) {
		key := r.uvarint()
		s := session{number: r.uvarint(), last: r.varint(), until: r.varint(), look: r.varint()}
		if r.err != nil || key >= uint64(keys) {
			r.fail()
			return
		}
		s.key = uint32(key)
		at := uint32(len(e.list))
		for range r.count(2) {
			id, slot := r.id(), r.uvarint()
			if slot >= slots || used[uint32(slot)] {
				r.fail()
				return
			}
			g := sessionGroup{id, uint32(slot)}
			used[g.slot] = true
			s.groups = append(s.groups, g)
			if e.over != nil {
				e.groups[uint64(at)<<32|uint64(g.id)] = g.slot
			}
		}
		e.list = append(e.list, s)
		e.byKey = growTo(e.byKey, int(s.key)+1)
		e.byKey[s.key] = at + 1
		e.push(at)
	}
	e.slots = uint32(slots)
	for slot := range e.slots {
		if !used[slot] {
			e.spare = append(e.spare, slot)
		}
	}
	for _, a := range e.accs {
		s := r.section()
		if r.err == nil {
			a.readState(s, int(e.slots))
		}
		r.end(s)
	}
}
