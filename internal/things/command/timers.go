package command

import (
	"container/heap"
	"context"
	"database/sql"
	"log/slog"
	"math"
	"time"
)

// One goroutine keeps time for the whole room: the ends of locks, the expiry of
// messages and feedback, and reads that are to be tried again.

const (
	never      = math.MaxInt64
	sweepBatch = 256
	retryAfter = time.Second
)

type timers struct {
	wake     chan struct{} // room for one: something is due earlier than it was
	locks    lockHeap
	retry    []*lane
	retryAt  int64 // Unix nanoseconds, as below; never without one
	messages int64 // earliest expiry of a message that is not out
	feedback int64 // earliest expiry of feedback
}

func (t *timers) init() {
	t.wake = make(chan struct{}, 1)
	t.retryAt, t.messages, t.feedback = never, never, never
}

func (t *timers) next() int64 {
	n := min(t.retryAt, t.messages, t.feedback)
	if len(t.locks) > 0 {
		n = min(n, t.locks[0].until)
	}
	return n
}

func (t *timers) poke() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// expiresAt notes that a message expires. Under mu.
func (r *Room) expiresAt(at int64) {
	if at < r.timers.messages {
		r.timers.messages = at
		r.timers.poke()
	}
}

// feedbackAt notes that feedback expires. Under mu.
func (r *Room) feedbackAt(at int64) {
	if at < r.timers.feedback {
		r.timers.feedback = at
		r.timers.poke()
	}
}

// lockEnds lets end be called, under mu, when a lock ends. Under mu.
func (r *Room) lockEnds(until int64, end func()) {
	k := &lockEnd{until, end}
	heap.Push(&r.timers.locks, k)
	if r.timers.locks[0] == k {
		r.timers.poke()
	}
}

// retryAt lets a lane be read again a little later, and not at once. Under mu.
func (r *Room) retryAt(l *lane) {
	l.refs++
	l.drained = true
	r.timers.retry = append(r.timers.retry, l)
	if r.timers.retryAt == never {
		r.timers.retryAt = time.Now().Add(retryAfter).UnixNano()
		r.timers.poke()
	}
}

// keepTime does what is due until the room is closed.
func (r *Room) keepTime(ctx context.Context) {
	t := time.NewTimer(time.Hour)
	defer t.Stop()
	for {
		r.mu.Lock()
		next := r.timers.next()
		r.mu.Unlock()
		wait := time.Hour // clocks are set now and then
		if next != never {
			wait = min(wait, time.Duration(max(0, next-time.Now().UnixNano())))
		}
		t.Reset(wait)
		select {
		case <-r.timeEnd:
			return
		case <-r.timers.wake:
		case <-t.C:
		}
		r.due(ctx, time.Now().UnixNano())
	}
}

func (r *Room) due(ctx context.Context, now int64) {
	r.mu.Lock()
	t := &r.timers
	for len(t.locks) > 0 && t.locks[0].until <= now {
		heap.Pop(&t.locks).(*lockEnd).end()
	}
	if t.retryAt <= now {
		t.retryAt = never
		for _, l := range t.retry {
			l.drained = false
			r.schedule(l)
			r.leave(l)
		}
		t.retry = nil
	}
	messages, feedback := t.messages <= now, t.feedback <= now
	if messages {
		t.messages = never
	}
	if feedback {
		t.feedback = never
	}
	r.mu.Unlock()
	if messages {
		r.expireMessages(ctx, now)
	}
	if feedback {
		r.expireFeedback(ctx, now)
	}
}

// lockEnd is the end of a lock in time, whether or not it still holds then.
type lockEnd struct {
	until int64
	end   func()
}

type lockHeap []*lockEnd

func (h lockHeap) Len() int           { return len(h) }
func (h lockHeap) Less(i, j int) bool { return h[i].until < h[j].until }
func (h lockHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *lockHeap) Push(x any)        { *h = append(*h, x.(*lockEnd)) }

func (h *lockHeap) Pop() any {
	old := *h
	k := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return k
}

const selectExpired = `SELECT seq, device, module, generation, expires, abandoned, ack, message_id FROM c2d_message
WHERE expires <= ? AND (expires > ? OR (expires = ? AND seq > ?)) ORDER BY expires, seq LIMIT ?`

// expireMessages gives up messages that have expired and are not out. One that
// is out has the time of its lock to be settled; it comes back here after that.
func (r *Room) expireMessages(ctx context.Context, now int64) {
	var atExpires, atSeq int64
	for {
		var found, gone []*message
		err := r.write(&change{run: func(ctx context.Context, w *work) error {
			var err error
			found, err = scanShort(w.tx.Query(ctx, selectExpired, now, atExpires, atExpires, atSeq, sweepBatch))
			gone = r.notOut(found)
			for _, m := range gone {
				w.end(m, statusExpired)
			}
			return err
		}})
		if err != nil {
			r.expireLater(now, "messages that have expired not removed", err)
			return
		}
		r.metrics.settled.WithLabelValues("expired").Add(float64(len(gone)))
		r.mu.Lock()
		for _, m := range gone {
			if l := r.lanes[m.id]; l != nil && len(l.locks) == 0 && m.seq == l.delivered {
				l.delivered = 0
				r.drop(l)
			}
		}
		r.mu.Unlock()
		if len(found) < sweepBatch {
			break
		}
		atExpires, atSeq = found[len(found)-1].expires, found[len(found)-1].seq
	}
	var next sql.NullInt64
	if err := r.db.Get(ctx, []any{&next}, "SELECT min(expires) FROM c2d_message WHERE expires > ?", now); err != nil {
		r.expireLater(now, "expiry of messages not read", err)
		return
	}
	if next.Valid {
		r.mu.Lock()
		r.expiresAt(next.Int64)
		r.mu.Unlock()
	}
}

func (r *Room) expireLater(now int64, what string, err error) {
	select {
	case <-r.timeEnd: // the next start does it
		return
	default:
	}
	r.logger.Error("expiry in the command room failed, will be tried again", slog.String("what", what), slog.Any("error", err))
	r.mu.Lock()
	r.expiresAt(now + int64(retryAfter))
	r.mu.Unlock()
}

// notOut leaves out the messages that somebody holds.
func (r *Room) notOut(list []*message) []*message {
	r.mu.Lock()
	defer r.mu.Unlock()
	var in []*message
	for _, m := range list {
		if l := r.lanes[m.id]; l == nil || !l.out(m.seq) {
			in = append(in, m)
		}
	}
	return in
}

// scanShort reads what is needed to end messages.
func scanShort(rows *sql.Rows, err error) ([]*message, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []*message
	for rows.Next() {
		m := &message{}
		var generation int64
		if err := rows.Scan(&m.seq, &m.id.Device, &m.id.Module, &generation, &m.expires, &m.abandoned, &m.ack, &m.messageID); err != nil {
			return nil, err
		}
		m.generation = uint64(generation)
		list = append(list, m)
	}
	return list, rows.Err()
}

// expireFeedback drops feedback that nobody has fetched in time.
func (r *Room) expireFeedback(ctx context.Context, now int64) {
	err := r.write(&change{run: func(ctx context.Context, w *work) error {
		_, err := w.tx.Exec(ctx, "DELETE FROM c2d_feedback WHERE expires <= ?", now)
		return err
	}})
	var next sql.NullInt64
	if err == nil {
		err = r.db.Get(ctx, []any{&next}, "SELECT min(expires) FROM c2d_feedback")
	}
	at := next.Int64
	switch {
	case err != nil:
		r.logger.Error("feedback that has expired not removed", slog.Any("error", err))
		at = now + int64(time.Minute)
	case !next.Valid:
		return
	}
	r.mu.Lock()
	r.feedbackAt(at)
	r.mu.Unlock()
}
