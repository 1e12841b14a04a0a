package command

import (
	"context"
	"log/slog"
	"time"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

// Enqueue puts a message into the queue of a device or module and returns when
// it is durable. That the identity exists, with this generation, is for the
// caller to know. Feedback and expiry are asked for in the message itself.
// Errors carry MessageTooLarge, InvalidMessageExpiry, ArgumentInvalid,
// QueueDepthExceeded, ServerBusy or ServiceUnavailable.
func (r *Room) Enqueue(_ context.Context, id iot.ID, generation uint64, in *iot.Message) error {
	m, err := newMessage(id, generation, in, &r.limits, time.Now())
	if err != nil {
		return err
	}
	if r.journal.full() {
		return iot.Errorf(iot.ServerBusy, "%d messages wait to be written, which is the limit: send more slowly", maxWaiting)
	}
	if err := r.write(&change{message: m}); err != nil {
		return err
	}
	r.metrics.enqueued.Inc()
	return nil
}

// Receiver gives the generation of an identity whose connection takes messages
// now; false when there is none.
func (r *Room) Receiver(id iot.ID) (generation uint64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lanes[id]
	if l == nil || !l.want {
		return 0, false
	}
	return l.generation, true
}

const selectRest = `SELECT seq, device, module, generation, expires, abandoned, ack, message_id FROM c2d_message
WHERE device = ? AND module = ? AND seq > ? ORDER BY seq LIMIT ?`

// Purge removes the messages of a queue that are not out, and counts them.
func (r *Room) Purge(ctx context.Context, id iot.ID) (int, error) {
	r.mu.Lock()
	l := r.enter(id)
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.leave(l)
		r.mu.Unlock()
	}()
	// Nothing is to go out while it is being purged.
	if err := r.begin(ctx, l); err != nil {
		return 0, err
	}
	defer func() {
		r.mu.Lock()
		r.end(l)
		r.mu.Unlock()
	}()
	total, at := 0, int64(0)
	for {
		var found, gone []*message
		err := r.write(&change{run: func(ctx context.Context, w *work) error {
			var err error
			found, err = scanShort(w.tx.Query(ctx, selectRest, id.Device, id.Module, at, sweepBatch))
			gone = r.notOut(found)
			for _, m := range gone {
				w.end(m, statusPurged)
			}
			return err
		}})
		if err != nil {
			return total, err
		}
		total += len(gone)
		r.metrics.settled.WithLabelValues("purged").Add(float64(len(gone)))
		if len(found) < sweepBatch {
			return total, nil
		}
		at = found[len(found)-1].seq
	}
}

// Drop removes everything of an identity that was deleted: its queue and the
// feedback on it. It returns at once; a failure is logged, and leaves rows that
// no later identity is shown.
func (r *Room) Drop(id iot.ID, generation uint64) {
	r.mu.Lock()
	if l := r.lanes[id]; l != nil && l.generation <= generation {
		l.locks, l.delivered, l.want = nil, 0, false
		r.drop(l)
	}
	r.mu.Unlock()
	r.journal.put(&change{run: func(ctx context.Context, w *work) error {
		delete(r.journal.depths, id)
		for _, table := range [...]string{"c2d_message", "c2d_feedback"} {
			_, err := w.tx.Exec(ctx, "DELETE FROM "+table+" WHERE device = ? AND module = ? AND generation <= ?", id.Device, id.Module, int64(generation))
			if err != nil {
				return err
			}
		}
		return nil
	}, done: func(err error) {
		if err != nil {
			r.logger.Warn("queue of a deleted identity not removed", slog.String("device", id.Device), slog.String("module", id.Module), slog.Any("error", err))
		}
	}})
}

// Depth counts the messages in a queue, those that are out included.
func (r *Room) Depth(ctx context.Context, id iot.ID) (n int, err error) {
	err = r.db.Get(ctx, []any{&n}, "SELECT count(*) FROM c2d_message WHERE device = ? AND module = ?", id.Device, id.Module)
	return n, stored(err, "count a queue")
}

// Depths counts the messages in the queues of devices whose ids lie from first
// to last, and of their modules. Queues without a message are not in it.
func (r *Room) Depths(ctx context.Context, first, last string) (map[iot.ID]int, error) {
	depths := map[iot.ID]int{}
	err := r.db.Read(ctx, func(tx state.Tx) error {
		clear(depths)
		rows, err := tx.Query(ctx, "SELECT device, module, count(*) FROM c2d_message WHERE device >= ? AND device <= ? GROUP BY device, module", first, last)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id iot.ID
			var n int
			if err := rows.Scan(&id.Device, &id.Module, &n); err != nil {
				return err
			}
			depths[id] = n
		}
		return rows.Err()
	})
	return depths, stored(err, "count queues")
}
