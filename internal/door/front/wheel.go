package front

// A wheel keeps the deadlines of many connections with one tick a second
// and no timer of their own. It is not safe for concurrent use. Deadlines
// are whole seconds of the wheel's clock. Activity does not touch the wheel:
// a deadline that has moved on is found out when the old one comes up.
type wheel struct {
	now   int32
	slots [wheelSlots]*deadline
}

const wheelSlots = 256

// A deadline is the place of one connection in a wheel.
type deadline struct {
	next, prev *deadline
	at         int32
	slot       int16 // -1 when not in the wheel
	owner      expirer
}

// expirer is told that its deadline has come; it may set it again.
type expirer interface{ expire(now int32) }

func (d *deadline) init(owner expirer) { d.owner, d.slot = owner, -1 }

// set moves d to the second at, the next second at the earliest.
func (w *wheel) set(d *deadline, at int32) {
	w.remove(d)
	if at <= w.now {
		at = w.now + 1
	}
	d.at = at
	// What lies beyond one turn comes up early and is put back.
	slot := int16((w.now + min(at-w.now, wheelSlots-1)) % wheelSlots)
	d.slot = slot
	d.next = w.slots[slot]
	if d.next != nil {
		d.next.prev = d
	}
	w.slots[slot] = d
}

func (w *wheel) remove(d *deadline) {
	if d.slot < 0 {
		return
	}
	if d.prev != nil {
		d.prev.next = d.next
	} else {
		w.slots[d.slot] = d.next
	}
	if d.next != nil {
		d.next.prev = d.prev
	}
	d.next, d.prev, d.slot = nil, nil, -1
}

// advance moves the clock to now and calls the owners that are due.
func (w *wheel) advance(now int32) {
	for w.now < now {
		w.now++
		slot := w.now % wheelSlots
		for {
			// Owners may remove others, so take the head each time. None is
			// set back into this slot: it is a whole turn away.
			d := w.slots[slot]
			if d == nil {
				break
			}
			w.remove(d)
			if d.at > w.now {
				w.set(d, d.at)
				continue
			}
			d.owner.expire(w.now)
		}
	}
}
