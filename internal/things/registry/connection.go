package registry

import (
	"context"
	"sync/atomic"
	"time"

	"dunlin/internal/engine/outbox"
	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

// addConnection adds the event of a connection that began or ended at t.
func (r *Registry) addConnection(batch *outbox.Batch, id iot.ID, generation uint64, connected bool, t time.Time) {
	if r.quiet {
		return
	}
	op := "deviceDisconnected"
	if connected {
		op = "deviceConnected"
	}
	var body [96]byte
	batch.Add(outbox.Event{
		ID: id, Generation: generation, Source: iot.SourceConnectionState, OpType: op, Time: t,
		Body: r.sequence.appendBody(body[:0]),
	})
}

// sequence numbers the events of connections: those of one identity have rising
// numbers. A number is that of the start on this store, then a count within
// this start, so that numbers rise over restarts whatever the clock does.
type sequence struct {
	start uint64
	count atomic.Uint64
}

// open takes the number of this start.
func (q *sequence) open(ctx context.Context, db state.DB) error {
	err := db.Write(ctx, func(tx state.Tx) error {
		if _, err := tx.Exec(ctx, "UPDATE sequence SET start = start + 1"); err != nil {
			return err
		}
		var start int64
		err := tx.QueryRow(ctx, "SELECT start FROM sequence").Scan(&start)
		q.start = uint64(start)
		return err
	})
	return stored(err, "count a start")
}

const (
	sequenceHead  = `{"sequenceNumber":"`
	sequenceZeros = "00000000000000000000000000000000"
	hexDigits     = "0123456789ABCDEF"
)

// appendBody appends the body of the next event. It is called within the
// transaction that stores the event: of two that change the same state the one
// that is later has the greater number.
func (q *sequence) appendBody(b []byte) []byte {
	b = append(append(b, sequenceHead...), sequenceZeros...)
	for _, part := range [...]uint64{q.start, q.count.Add(1)} {
		for shift := 60; shift >= 0; shift -= 4 {
			b = append(b, hexDigits[part>>shift&15])
		}
	}
	return append(b, `"}`...)
}
