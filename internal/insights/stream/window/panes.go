package window

import (
	"encoding/binary"
)

// pane is what is kept of the groups in one slice of time, or several. Groups
// have slots in the order in which they came first.
type pane struct {
	ids  []uint32
	accs []accumulators
}

func (p *pane) bytes() int64 {
	n := int64(cap(p.ids)) * 4
	for _, a := range p.accs {
		n += a.bytes()
	}
	return n
}

func (p *pane) reset() {
	p.ids = p.ids[:0]
	for _, a := range p.accs {
		a.reset()
	}
}

func (p *pane) appendState(b []byte) []byte {
	b = appendU32s(b, p.ids)
	for _, a := range p.accs {
		b = section(b, a.appendState)
	}
	return b
}

func (p *pane) readState(r *reader) {
	p.ids = r.ids()
	for _, a := range p.accs {
		s := r.section()
		if r.err == nil {
			a.readState(s, len(p.ids))
		}
		r.end(s)
	}
}

// slotter finds the slots of groups in a pane: slot[id] is right when that slot
// has the id, so nothing has to be cleared for the next pane.
type slotter struct {
	slot  []uint32
	slots []uint32 // of the last call
}

// find gives the slots of ids in p, which gets those that it has not.
func (s *slotter) find(p *pane, ids []uint32) []uint32 {
	slots := growTo(s.slots[:0], len(ids))
	s.slots = slots
	have, of := p.ids, s.slot
	for i, id := range ids {
		if int(id) >= len(of) {
			of = growTo(of, int(id)+1)
		}
		at := of[id]
		if int(at) >= len(have) || have[at] != id {
			at = uint32(len(have))
			of[id] = at
			have = append(have, id)
		}
		slots[i] = at
	}
	s.slot = of
	if len(have) > len(p.ids) {
		p.ids = have
		for _, a := range p.accs {
			a.grow(len(have))
		}
	}
	return slots
}

// merge adds the groups of o, which are later, to p.
func (s *slotter) merge(p, o *pane) error {
	slots := s.find(p, o.ids)
	for i, a := range p.accs {
		if err := a.merge(slots, o.accs[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *slotter) bytes() int64 { return int64(cap(s.slot)+cap(s.slots)) * 4 }

// panes is the engine for tumbling and hopping windows.
type panes struct {
	members []*member
	plan    *plan
	open    *pane   // of the rows since the last boundary of any window
	until   int64   // its end
	skip    bool    // no window has it
	slots   slotter // of open
	merges  slotter // of what is merged
	free    []*pane
	in      input
}

func newPanes(members []*member, p *plan) *panes {
	return &panes{members: members, plan: p, until: -1 << 62}
}

func (e *panes) pane() *pane {
	if n := len(e.free); n > 0 {
		p := e.free[n-1]
		e.free = e.free[:n-1]
		return p
	}
	return &pane{accs: e.plan.accumulators()}
}

// mostFree is how many empty panes are kept for use.
const mostFree = 4

func (e *panes) release(p *pane) {
	if len(e.free) < mostFree {
		p.reset()
		e.free = append(e.free, p)
	}
}

func (e *panes) rows(in *rows) error {
	for at := in.from; at < in.to; {
		t := in.time[at]
		if t > e.until {
			if err := e.reached(t - 1); err != nil {
				return err
			}
			e.begin(t)
		}
		end := at + 1
		if in.time[in.to-1] <= e.until {
			end = in.to
		} else {
			for in.time[end] <= e.until {
				end++
			}
		}
		if err := e.add(in, at, end); err != nil {
			return err
		}
		at = end
	}
	return nil
}

// begin opens the pane that holds t.
func (e *panes) begin(t int64) {
	e.until, e.skip = e.members[0].sliceEnd(t), true
	for _, m := range e.members[1:] {
		e.until = min(e.until, m.sliceEnd(t))
	}
	for _, m := range e.members {
		e.skip = e.skip && !m.covers(m.sliceEnd(t))
	}
}

func (e *panes) add(in *rows, from, to int) error {
	if e.skip {
		return nil
	}
	if e.open == nil {
		e.open = e.pane()
	}
	slots := e.slots.find(e.open, in.ids[from-in.from:to-in.from])
	for i, a := range e.open.accs {
		e.in = input{in.time, in.args[i], from, to}
		if err := a.add(slots, &e.in); err != nil {
			return err
		}
	}
	return nil
}

func (e *panes) reached(ticks int64) error {
	if e.open != nil && e.until <= ticks {
		if err := e.close(); err != nil {
			return err
		}
	}
	for {
		var next *member
		var end int64
		for _, m := range e.members {
			if t, ok := m.next(); ok && t <= ticks && (next == nil || t < end) {
				next, end = m, t
			}
		}
		if next == nil {
			return nil
		}
		if err := e.emit(next, end); err != nil {
			return err
		}
	}
}

// close hands the open pane to the windows that have it.
func (e *panes) close() error {
	p := e.open
	e.open = nil
	for _, m := range e.members {
		if !m.covers(m.sliceEnd(e.until)) {
			continue
		}
		if m.cur != nil && m.curEnd < e.until {
			m.seal()
		}
		if m.cur == nil {
			m.curEnd = m.sliceEnd(e.until)
			if len(e.members) == 1 {
				m.cur = p // its slices are the panes
				return nil
			}
			m.cur = e.pane()
		}
		if err := m.slots.merge(m.cur, p); err != nil {
			return err
		}
	}
	e.release(p)
	return nil
}

// emit emits the window that ends at end.
func (e *panes) emit(m *member, end int64) error {
	m.last = end
	if m.tumbling {
		p := m.cur
		m.cur = nil
		err := m.rows(end, p)
		e.release(p)
		return err
	}
	if m.cur != nil && m.curEnd <= end {
		m.seal()
	}
	last := m.index(end) + 1
	parts, err := e.parts(m, last-m.slices, last)
	if err != nil {
		return err
	}
	var result *pane
	switch len(parts) {
	case 0:
	case 1:
		err = m.rows(end, parts[0])
	default:
		result = e.pane()
		for _, p := range parts {
			if err = e.merges.merge(result, p); err != nil {
				return err
			}
		}
		err = m.rows(end, result)
		e.release(result)
	}
	// The next window begins here.
	e.evict(m, m.index(end+m.hop)+1-m.slices)
	return err
}

func (m *member) rows(end int64, p *pane) error {
	for slot, id := range p.ids {
		if err := m.sink.row(end, id, p.accs, uint32(slot)); err != nil {
			return err
		}
	}
	return nil
}

func (e *panes) mark(used Set) {
	each := func(p *pane) {
		if p != nil {
			for _, id := range p.ids {
				used.Add(id)
			}
		}
	}
	each(e.open)
	for _, m := range e.members {
		each(m.cur)
		for _, b := range m.levels[0] {
			each(b.pane)
		}
	}
}

func (e *panes) bytes() int64 {
	n := e.slots.bytes() + e.merges.bytes()
	if e.open != nil {
		n += e.open.bytes()
	}
	for _, p := range e.free {
		n += p.bytes()
	}
	for _, m := range e.members {
		n += m.held + m.slots.bytes()
		if m.cur != nil {
			n += m.cur.bytes()
		}
		for _, l := range m.levels {
			n += int64(cap(l)) * 32
		}
	}
	return n
}

func (e *panes) appendState(b []byte) []byte {
	b = binary.AppendVarint(b, e.until)
	skip := byte(0)
	if e.skip {
		skip = 1
	}
	b = append(b, skip)
	b = appendPane(b, e.open)
	for _, m := range e.members {
		b = binary.AppendVarint(b, m.last)
		b = binary.AppendVarint(b, m.curEnd)
		b = appendPane(b, m.cur)
		b = binary.AppendUvarint(b, uint64(len(m.levels[0])))
		for _, x := range m.levels[0] {
			b = binary.AppendVarint(b, x.index)
			b = section(b, x.pane.appendState)
		}
	}
	return b
}

func appendPane(b []byte, p *pane) []byte {
	if p == nil {
		return append(b, 0)
	}
	return section(append(b, 1), p.appendState)
}

func (e *panes) readPane(r *reader) *pane {
	if r.byte() == 0 {
		return nil
	}
	return e.readSection(r)
}

func (e *panes) readSection(r *reader) *pane {
	p := e.pane()
	s := r.section()
	p.readState(s)
	r.end(s)
	return p
}

func (e *panes) readState(r *reader) {
	e.until, e.skip = r.varint(), r.byte() == 1
	e.open = e.readPane(r)
	if e.open != nil {
		e.slots.resume(e.open)
	}
	for _, m := range e.members {
		m.last, m.curEnd = r.varint(), r.varint()
		if m.cur = e.readPane(r); m.cur != nil {
			m.slots.resume(m.cur)
		}
		for range r.count(5) {
			b := block{index: r.varint(), pane: e.readSection(r), owner: true}
			b.bytes = b.pane.bytes()
			m.held += b.bytes
			m.levels[0] = append(m.levels[0], b)
		}
	}
}

// resume makes the slots of a pane that was read known.
func (s *slotter) resume(p *pane) {
	for i, id := range p.ids {
		if int(id) >= len(s.slot) {
			s.slot = growTo(s.slot, int(id)+1)
		}
		s.slot[id] = uint32(i)
	}
}
