package natslog

import (
	"sync"
	"sync/atomic"
)

// ref says that n records in a row belong to a producer. err is set when they
// were refused and are in no commit.
type ref struct {
	p   *producer
	n   int
	err error
}

// batch is a closed commit on its way to the store and then in the tail. It
// is counted: whoever takes it from the tail holds it until release.
type batch struct {
	payload []byte // encoded commit; empty when there are only refused records
	view    commitView
	refs    []ref
	heads   []head
	seq     uint64 // number of the stream message
	records int
	size    int   // bytes counted as held
	firstAt int64 // when its oldest record was appended, clock of the log
	sentAt  int64 // when it was sent last, same clock; 0 when it has to be sent again at once
	tries   int

	holders atomic.Int32
}

// batches recycles batch structs with their buffers.
type batches struct{ pool sync.Pool }

// keepPayload bounds the buffers that are recycled.
const keepPayload = 2 << 20

func (bs *batches) get() *batch {
	b, _ := bs.pool.Get().(*batch)
	if b == nil {
		b = new(batch)
	}
	b.holders.Store(1)
	return b
}

// hold adds a holder. The caller must know that there is one already.
func (b *batch) hold() { b.holders.Add(1) }

// release gives up one hold; the last one recycles the batch.
func (bs *batches) release(b *batch) {
	if b.holders.Add(-1) != 0 {
		return
	}
	if cap(b.payload) > keepPayload {
		b.payload = nil
	}
	clear(b.refs)
	b.payload, b.refs, b.heads = b.payload[:0], b.refs[:0], b.heads[:0]
	b.view = commitView{}
	b.seq, b.records, b.size, b.firstAt, b.sentAt, b.tries = 0, 0, 0, 0, 0, 0
	bs.pool.Put(b)
}
