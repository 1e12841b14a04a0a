package natslog

import (
	"sync"
)

// tail keeps the newest durable commits in memory, one after the other
// without a hole, for readers that follow the log closely, and wakes them.
type tail struct {
	pool  *batches
	limit int

	mu      sync.Mutex
	ring    []*batch // circular
	start   int
	n       int
	bytes   int
	durable uint64   // number of the newest durable commit
	heads   []head   // after it
	waiting []waiter // readers to wake
	closed  bool
}

// waiter is a reader that waits for a commit with records of its partition,
// or for the commit with number from when that is further away.
type waiter struct {
	partition int
	from      uint64
	wake      chan struct{} // capacity 1
}

func newTail(pool *batches, limit int, durable uint64, heads []head) *tail {
	return &tail{pool: pool, limit: limit, ring: make([]*batch, 64), durable: durable, heads: append([]head(nil), heads...)}
}

// add makes b the newest durable commit. The tail takes over one hold on it.
func (t *tail) add(b *batch) {
	t.mu.Lock()
	if t.n == len(t.ring) {
		ring := make([]*batch, 2*len(t.ring))
		for i := range t.n {
			ring[i] = t.ring[(t.start+i)%len(t.ring)]
		}
		t.ring, t.start = ring, 0
	}
	t.ring[(t.start+t.n)%len(t.ring)] = b
	t.n++
	t.bytes += len(b.payload)
	for t.bytes > t.limit && t.n > 1 {
		old := t.ring[t.start]
		t.ring[t.start] = nil
		t.start = (t.start + 1) % len(t.ring)
		t.n--
		t.bytes -= len(old.payload)
		t.pool.release(old)
	}
	t.durable = b.seq
	for i := range t.heads {
		if b.heads[i].next != t.heads[i].next {
			t.heads[i] = b.heads[i]
			t.wake(i)
		}
	}
	t.mu.Unlock()
}

// wake wakes the readers of a partition. The lock is held.
func (t *tail) wake(partition int) {
	keep := t.waiting[:0]
	for _, w := range t.waiting {
		if partition >= 0 && (w.partition != partition || w.from > t.durable) {
			keep = append(keep, w)
			continue
		}
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
	clear(t.waiting[len(keep):])
	t.waiting = keep
}

// state of the log as readers may see it.
func (t *tail) state(partition int) (durable uint64, h head) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.durable, t.heads[partition]
}

// get looks up commit seq. b is nil when it is not in memory; oldest is the
// first that is. The caller holds b until it releases it.
func (t *tail) get(seq uint64) (b *batch, oldest uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	oldest = t.durable + 1 - uint64(t.n)
	if seq < oldest || seq > t.durable {
		return nil, oldest
	}
	b = t.ring[(t.start+int(seq-oldest))%len(t.ring)]
	b.hold()
	return b, oldest
}

// oldest gives the oldest commit in memory, with a hold, or nil.
func (t *tail) oldest() *batch {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == 0 {
		return nil
	}
	b := t.ring[t.start]
	b.hold()
	return b
}

// wait has wake called when there is a commit with records of the partition
// at or after from. It answers false when there is one already.
func (t *tail) wait(partition int, from uint64, wake chan struct{}) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || uint64(t.heads[partition].lastOffset>>indexBits) >= from {
		return false
	}
	t.waiting = append(t.waiting, waiter{partition, from, wake})
	return true
}

// forget drops a waiter.
func (t *tail) forget(wake chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	keep := t.waiting[:0]
	for _, w := range t.waiting {
		if w.wake != wake {
			keep = append(keep, w)
		}
	}
	clear(t.waiting[len(keep):])
	t.waiting = keep
}

func (t *tail) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.wake(-1)
}

func (t *tail) isClosed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.closed
}
