package window

import "encoding/binary"

// snapshots is the engine for windows of one instant: rows with equal time.
type snapshots struct {
	sink  *sink
	open  *pane
	at    int64
	slots slotter
	in    input
}

func newSnapshots(s *sink) *snapshots { return &snapshots{sink: s} }

func (e *snapshots) rows(in *rows) error {
	if e.open == nil {
		e.open = &pane{accs: e.sink.plan.accumulators()}
	}
	for from, n := in.from, in.to; from < n; {
		t := in.time[from]
		to := from + 1
		for to < n && in.time[to] == t {
			to++
		}
		if err := e.reached(t - 1); err != nil {
			return err
		}
		e.at = t
		slots := e.slots.find(e.open, in.ids[from-in.from:to-in.from])
		for i, a := range e.open.accs {
			e.in = input{in.time, in.args[i], from, to}
			if err := a.add(slots, &e.in); err != nil {
				return err
			}
		}
		from = to
	}
	return nil
}

func (e *snapshots) reached(ticks int64) error {
	if e.open == nil || len(e.open.ids) == 0 || e.at > ticks {
		return nil
	}
	for slot, id := range e.open.ids {
		if err := e.sink.row(e.at, id, e.open.accs, uint32(slot)); err != nil {
			return err
		}
	}
	e.open.reset()
	return nil
}

func (e *snapshots) mark(used Set) {
	if e.open != nil {
		for _, id := range e.open.ids {
			used.Add(id)
		}
	}
}

func (e *snapshots) bytes() int64 {
	n := e.slots.bytes()
	if e.open != nil {
		n += e.open.bytes()
	}
	return n
}

func (e *snapshots) appendState(b []byte) []byte {
	return appendPane(binary.AppendVarint(b, e.at), e.open)
}

func (e *snapshots) readState(r *reader) {
	e.at = r.varint()
	if r.byte() == 0 {
		return
	}
	e.open = &pane{accs: e.sink.plan.accumulators()}
	s := r.section()
	e.open.readState(s)
	r.end(s)
	e.slots.resume(e.open)
}
