package twin

import (
	"container/list"

	"dunlin/internal/iot"
)

type opKind uint8

const (
	opGet opKind = iota
	opView
	opPatch
	opReplace
	opDigital
	opReport
	opModel
	opDrop
)

// op is one operation on a twin. One of the functions is set.
type op struct {
	kind       opKind
	generation uint64
	text       string
	etag       *string
	ifVersion  int64
	finished   func(Doc, error)
	reported   func(version int64, err error)
	viewed     func([]byte, error)

	// outcome, of the worker
	err     error
	changed bool
	version int64
	rec     record       // with finished and viewed
	notice  *iot.Inbound // to be delivered once the change is stored
}

// opCost is about what an operation takes in memory beside its text.
const opCost = 300

// entry is a twin that is kept or that operations wait for.
type entry struct {
	id iot.ID

	// under Room.mu
	ops  []op // waiting
	busy bool // a worker has it
	kept *list.Element
	cost int // as counted by the cache

	// of the worker while busy, else under Room.mu
	taken  []op
	known  bool    // rec is what is stored
	broken bool    // the row is damaged
	rec    *record // nil: there is no row
	gone   uint64  // the highest generation that was deleted
}

// cache keeps the twins that were used last.
type cache struct {
	limit int
	size  int
	list  list.List // of *entry, the one used last in front
}

func (c *cache) used(e *entry) {
	if e.kept != nil {
		c.list.MoveToFront(e.kept)
	}
}

// keep counts e anew, and calls drop for those that must go for it.
func (c *cache) keep(e *entry, drop func(*entry)) {
	cost := 200 + len(e.id.Device) + len(e.id.Module)
	if e.rec != nil {
		cost += e.rec.cost()
	}
	c.size += cost - e.cost
	e.cost = cost
	if e.kept == nil {
		e.kept = c.list.PushFront(e)
	} else {
		c.list.MoveToFront(e.kept)
	}
	for at := c.list.Back(); c.size > c.limit && at != nil; {
		old := at.Value.(*entry)
		before := at.Prev()
		if !old.busy && len(old.ops) == 0 {
			c.list.Remove(at)
			c.size -= old.cost
			drop(old)
		}
		at = before
	}
}

// put queues an operation, or answers it when it cannot be queued.
func (r *Room) put(k Key, o op) {
	o.generation = k.Generation
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		o.err = iot.Errorf(iot.ServiceUnavailable, "the server is shutting down: try again later")
		r.answer(k.ID, &o) // here, as the workers are gone
		return
	}
	if err := r.queue(k.ID, &o); err != nil {
		// By a worker: the caller may hold what its function needs.
		o.err, o.text = err, ""
		r.refused = append(r.refused, refusal{k.ID, o})
		r.some.Signal()
	}
	r.mu.Unlock()
}

// refusal is an operation that could not be queued.
type refusal struct {
	id iot.ID
	op op
}

// queue is for a caller that holds the lock.
func (r *Room) queue(id iot.ID, o *op) error {
	cost := opCost + len(o.text)
	if r.waiting+cost > maxWaiting {
		return iot.Errorf(iot.ServerBusy, "%d bytes of twin changes wait to be stored, which is the limit: try again later", maxWaiting)
	}
	e := r.entries[id]
	if e == nil {
		e = &entry{id: id}
		r.entries[id] = e
	}
	if len(e.ops) >= r.limits.Waiting {
		return iot.Errorf(iot.Throttled, "%d changes of this twin wait to be stored, which is the limit: wait for answers before sending more", r.limits.Waiting)
	}
	r.waiting += cost
	e.ops = append(e.ops, *o)
	if len(e.ops) == 1 && !e.busy {
		r.ready = append(r.ready, e)
		r.some.Signal()
	}
	return nil
}

// maxBatch is the largest number of twins that are written together; larger
// batches gain nothing and hold up other writes.
const maxBatch = 512

// take gives twins with their operations to a worker, and false at the end.
func (r *Room) take(batch []*entry) (taken []*entry, refused []refusal, more bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.ready) == 0 && len(r.refused) == 0 {
		if r.closed {
			return nil, nil, false
		}
		r.some.Wait()
	}
	n := min(len(r.ready), maxBatch)
	batch = append(batch[:0], r.ready[:n]...)
	clear(r.ready[:n])
	r.ready = r.ready[n:]
	refused, r.refused = r.refused, nil
	for _, e := range batch {
		e.busy = true
		e.taken, e.ops = e.ops, e.taken[:0]
		for i := range e.taken {
			r.waiting -= opCost + len(e.taken[i].text)
		}
	}
	return batch, refused, true
}

// release ends the work on twins.
func (r *Room) release(batch []*entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range batch {
		if cap(e.taken) > 64 || len(e.ops) == 0 {
			e.taken = nil // many twins that are kept are used rarely
		} else {
			clear(e.taken)
		}
		e.busy = false
		if len(e.ops) > 0 {
			r.ready = append(r.ready, e)
			r.some.Signal()
		}
		r.cache.keep(e, r.forget)
	}
}

func (r *Room) forget(e *entry) {
	e.kept = nil
	delete(r.entries, e.id)
}

// answer tells the caller the outcome.
func (r *Room) answer(id iot.ID, o *op) {
	k := Key{ID: id, Generation: o.generation}
	switch {
	case o.finished != nil:
		o.finished(Doc{key: k, rec: o.rec, lim: &r.limits}, o.err)
	case o.viewed != nil:
		if o.err != nil {
			o.viewed(nil, o.err)
			return
		}
		d := Doc{key: k, rec: o.rec, lim: &r.limits}
		o.viewed(d.AppendView(nil), nil)
	default:
		o.reported(o.version, o.err)
	}
}
