package natslog

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"dunlin/internal/engine/eventlog"
)

const (
	closeEarly  = 64 << 10  // a batch of this size does not wait for the gap
	closeAt     = 256 << 10 // and one of this size takes no more
	sendInPlace = 16 << 10  // what an appending goroutine sends itself: it fits the client's buffer, so sending does not block
)

// share is what one partition has in the batch that is open.
type share struct {
	buf   []byte
	count int
	time  int64 // of the first record
}

// appender gathers records into batches and decides when one is sent. At
// most one batch is on its way to the store.
type appender struct {
	pool     *batches
	writer   uint64
	gap      int64
	maxHeld  int
	maxBatch int // of an encoded commit
	clock    func() int64
	timer    *time.Timer // runs Log.onTimer

	mu        sync.Mutex
	stop      error // once set nothing is taken any more
	shares    []share
	sections  []section // scratch
	heads     []head    // after the batches that are closed
	note      string    // goes into the first commit
	nextSeq   uint64    // stream number of the next batch to close
	refs      []ref     // of the open batch
	round     uint64    // number of the open batch, tells whether producer.ref is valid
	records   int
	size      int // bytes in shares
	firstAt   int64
	queue     []*batch // closed batches
	inflight  *batch
	held      int
	overage   bool // the oldest record held is too old
	full      bool // the disk is
	armed     bool
	armedNow  bool
	lastSent  int64
	blocked   []*producer
	wasFull   bool // the last Append was answered false for bytes
	unchecked int  // bytes sent since the free space was looked at
}

// producer appends for one waiter to one partition.
type producer struct {
	log       *Log
	partition int
	w         eventlog.Waiter
	round     uint64 // batch in which ref is valid
	ref       int
	blocked   bool
}

// Producer implements eventlog.Log.
func (l *Log) Producer(partition int, w eventlog.Waiter) eventlog.Producer {
	if partition < 0 || partition >= len(l.a.shares) {
		panic(fmt.Sprintf("eventlog: partition %d of %d", partition, len(l.a.shares)))
	}
	return &producer{log: l, partition: partition, w: w}
}

// Append implements eventlog.Producer.
func (p *producer) Append(now int64, recs [][]byte) bool {
	l, a := p.log, &p.log.a
	a.mu.Lock()
	if err := l.stopped(); err != nil {
		l.refuse(p, len(recs), err)
		a.mu.Unlock()
		return true
	}
	s := &a.shares[p.partition]
	h := &a.heads[p.partition]
	if len(recs) == 0 {
		a.refs = append(a.refs, ref{p, 0, nil})
		p.round = 0 // what comes later is settled later
	}
	for _, rec := range recs {
		need := len(rec) + 2*binary.MaxVarintLen64
		if need+a.overhead() > a.maxBatch {
			a.refs = append(a.refs, ref{p, 1, fmt.Errorf("%w: it has %d bytes, a commit at most %d", eventlog.ErrTooLarge, len(rec), a.maxBatch-a.overhead())})
			p.round = 0
			continue
		}
		if a.size+need > closeAt && a.size > 0 || s.count == maxRecords {
			a.close()
		}
		if a.records == 0 {
			a.firstAt = a.clock()
		}
		t := max(now, h.lastTime)
		if s.count == 0 {
			s.time = t
			h.lastTime = t
		}
		before := len(s.buf)
		s.buf = appendRecord(s.buf, t-h.lastTime, rec)
		h.lastTime = t
		s.count++
		a.records++
		a.size += len(s.buf) - before
		a.held += len(s.buf) - before
		if p.round == a.round {
			a.refs[p.ref].n++
		} else {
			p.round, p.ref = a.round, len(a.refs)
			a.refs = append(a.refs, ref{p, 1, nil})
		}
	}
	ok := true
	if a.held > a.maxHeld || a.overage || a.full {
		ok = false
		if !p.blocked {
			p.blocked = true
			a.blocked = append(a.blocked, p)
		}
		if !a.overage && !a.full && !a.wasFull {
			a.wasFull = true
			l.m.stalls.WithLabelValues(stallBytes).Inc()
		}
	}
	b := l.start()
	a.mu.Unlock()
	if b != nil {
		l.send(b)
	}
	return ok
}

// stopped says why the log takes nothing any more. The lock is held.
func (l *Log) stopped() error {
	if l.a.stop == nil && l.closing.Load() {
		return eventlog.ErrClosed
	}
	return l.a.stop
}

// overhead is what a commit takes besides its records.
func (a *appender) overhead() int {
	return headerSize + len(a.shares)*(headSize+sectionSize) + len(a.note)
}

// close ends the open batch and puts it in the queue. The lock is held.
func (a *appender) close() {
	if len(a.refs) == 0 {
		return
	}
	b := a.pool.get()
	b.refs, a.refs = a.refs, b.refs
	b.firstAt = a.firstAt
	if a.records > 0 {
		b.seq = a.nextSeq
		b.records = a.records
		b.size = a.size
		a.nextSeq++
		a.sections = a.sections[:0]
		for i := range a.shares {
			s := &a.shares[i]
			if s.count == 0 {
				continue
			}
			h := &a.heads[i]
			a.sections = append(a.sections, section{partition: i, count: s.count, first: h.next, time: s.time, data: s.buf})
			h.next += int64(s.count)
			h.lastOffset = int64(b.seq)<<indexBits | int64(s.count-1)
		}
		b.heads = append(b.heads, a.heads...)
		b.payload = appendCommit(b.payload, a.writer, time.Now().UnixNano(), a.note, a.heads, a.sections)
		b.view = viewOf(b.payload, len(a.heads), len(a.sections), len(a.note))
		a.note = ""
		for i := range a.shares {
			s := &a.shares[i]
			s.count = 0
			if s.buf = s.buf[:0]; cap(s.buf) > keepPayload {
				s.buf = nil
			}
		}
	}
	a.queue = append(a.queue, b)
	a.round++
	a.records, a.size = 0, 0
}

// viewOf is parseCommit for a commit that was just encoded.
func viewOf(b []byte, partitions, sections, note int) commitView {
	at := headerSize + partitions*headSize + sections*sectionSize
	return commitView{b: b, partitions: partitions, sections: sections, note: b[at : at+note]}
}

// start is called after an append. It gives the batch that the caller has to
// send, arms the timer, or leaves it to the committer. The lock is held.
func (l *Log) start() *batch {
	a := &l.a
	if a.inflight != nil || a.full || len(a.refs) == 0 && len(a.queue) == 0 {
		return nil
	}
	if a.records == 0 && len(a.queue) == 0 || len(a.queue) > 0 || a.size >= closeEarly {
		if !a.armedNow {
			a.armed, a.armedNow = true, true
			a.timer.Reset(0)
		}
		return nil
	}
	if a.armed {
		return nil
	}
	wait := a.lastSent + a.gap - a.clock()
	if wait > 0 || a.size > sendInPlace {
		a.armed = true
		a.timer.Reset(time.Duration(max(0, wait)))
		return nil
	}
	return l.take()
}

// take closes the open batch if nothing older waits and makes the oldest one
// the batch in flight; it comes with a hold for whoever sends it. Batches without records are handed to the committer.
// The lock is held.
func (l *Log) take() *batch {
	a := &l.a
	for {
		if len(a.queue) == 0 {
			a.close()
		}
		if len(a.queue) == 0 {
			return nil
		}
		b := a.queue[0]
		if b.records > 0 {
			if a.unchecked += len(b.payload); a.unchecked > 4<<20 && !l.checkSpace() {
				return nil
			}
			a.dequeue()
			a.inflight = b
			a.lastSent = a.clock()
			b.sentAt = a.lastSent
			b.hold()
			b.tries++
			return b
		}
		a.dequeue()
		l.settleLater(b)
	}
}

func (a *appender) dequeue() {
	a.queue = slices.Delete(a.queue, 0, 1)
}

// onTimer sends what has gathered.
func (l *Log) onTimer() {
	a := &l.a
	a.mu.Lock()
	a.armed, a.armedNow = false, false
	var b *batch
	if a.inflight == nil && !a.full && a.stop == nil {
		b = l.take()
	}
	a.mu.Unlock()
	if b != nil {
		l.send(b)
	}
}

// following gives the batch to send after one has become durable, or arms the
// timer. The lock is held.
func (l *Log) following() *batch {
	a := &l.a
	if a.inflight != nil || a.full || len(a.refs) == 0 && len(a.queue) == 0 {
		return nil
	}
	if len(a.queue) == 0 && a.size < closeEarly && !l.closing.Load() {
		if wait := a.lastSent + a.gap - a.clock(); wait > 0 {
			if !a.armed {
				a.armed = true
				a.timer.Reset(time.Duration(wait))
			}
			return nil
		}
	}
	return l.take()
}

// oldest is when the oldest record that is held was appended, or MaxInt64.
// The lock is held.
func (a *appender) oldest() int64 {
	switch {
	case a.inflight != nil:
		return a.inflight.firstAt
	case len(a.queue) > 0:
		return a.queue[0].firstAt
	case a.records > 0:
		return a.firstAt
	}
	return math.MaxInt64
}

// ready takes the producers that have room again. The lock is held.
func (a *appender) ready(dst []*producer) []*producer {
	if a.stop == nil && (a.full || a.overage || a.held > a.maxHeld/2) {
		return dst
	}
	a.wasFull = false
	for _, p := range a.blocked {
		p.blocked = false
		dst = append(dst, p)
	}
	clear(a.blocked)
	a.blocked = a.blocked[:0]
	return dst
}
