// Package ingest turns what authenticated devices send into records of the
// event log: it chooses the partition, stamps what the platform knows of the
// sender and appends. It never acknowledges: the log's Waiter does.
package ingest

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/eventlog"
	"dunlin/internal/iot"
	"dunlin/internal/wire/record"
)

// Deps is what the room needs.
type Deps struct {
	Log        eventlog.Log
	Registerer prometheus.Registerer
}

// Room appends messages of all connections.
type Room struct {
	log      eventlog.Log
	scratch  sync.Pool
	messages prometheus.Counter
	bytes    prometheus.Counter
	rejected prometheus.Counter
}

// New makes the room.
func New(d Deps) *Room {
	r := &Room{
		log:     d.Log,
		scratch: sync.Pool{New: func() any { return new(scratch) }},
		messages: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dunlin_ingest_messages_total",
			Help: "Messages of devices handed to the event log.",
		}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dunlin_ingest_bytes_total",
			Help: "Size of those messages in bytes, as the message size limit counts it.",
		}),
		rejected: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dunlin_ingest_backpressure_total",
			Help: "Times a connection was told to wait because the event log held as much as it should.",
		}),
	}
	d.Registerer.MustRegister(r.messages, r.bytes, r.rejected)
	return r
}

// Source appends for one connection. Send may not be called concurrently.
type Source struct {
	room     *Room
	producer eventlog.Producer
	origin   []byte // encoded once; every record carries it
}

// Source makes the appender of one connection, settled through w.
func (r *Room) Source(o iot.Origin, w eventlog.Waiter) Source {
	return Source{
		room:     r,
		producer: r.log.Producer(eventlog.Partition(o.ID.Device, r.log.Partitions()), w),
		origin:   record.AppendOrigin(nil, o),
	}
}

// scratch holds the records of one Send while they are encoded.
type scratch struct {
	buf  []byte
	ends []int
	recs [][]byte
}

// maxScratch is the largest buffer that goes back to the pool, so that one
// burst of large messages does not stay in memory.
const maxScratch = 1 << 20

// Send encodes and appends messages, in order. ok is false when the log holds
// as much as it should (see eventlog.Producer).
func (s *Source) Send(now int64, msgs []iot.Message) (ok bool) {
	sc := s.room.scratch.Get().(*scratch)
	buf, size := sc.buf[:0], 0
	for i := range msgs {
		buf = record.AppendEvent(buf, s.origin, &msgs[i])
		sc.ends = append(sc.ends, len(buf))
		size += msgs[i].Size()
	}
	start := 0
	for _, end := range sc.ends {
		sc.recs = append(sc.recs, buf[start:end])
		start = end
	}
	ok = s.producer.Append(now, sc.recs)
	s.room.messages.Add(float64(len(msgs)))
	s.room.bytes.Add(float64(size))
	if !ok {
		s.room.rejected.Inc()
	}
	if cap(buf) <= maxScratch {
		sc.buf = buf
		sc.ends = sc.ends[:0]
		clear(sc.recs)
		sc.recs = sc.recs[:0]
		s.room.scratch.Put(sc)
	}
	return ok
}
