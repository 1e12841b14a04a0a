package command

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"sync"
	"time"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

// All writes of the room go through one goroutine, which puts what arrived
// meanwhile into one transaction. Writers that wait for it are told when their
// change is durable.

const (
	maxBatch   = 512    // changes in one transaction
	maxWaiting = 10_000 // changes that wait for it; more messages are refused
	// depthTrust is how long a counted queue depth is relied on: another
	// process may write to the same store.
	depthTrust = 30 * time.Second
	maxDepths  = 50_000 // counted depths that are kept
)

// change is one thing to be written. Exactly one of message, lock and run is
// set.
type change struct {
	message *message // to be queued
	lock    *lock    // to be settled as outcome says
	outcome iot.Outcome
	run     func(ctx context.Context, w *work) error // anything else

	err  error       // of this change alone, set by each attempt
	done func(error) // called once, from the journal's goroutine; must not block
}

// work is one attempt at a transaction.
type work struct {
	tx       state.Tx
	limits   *Limits
	now      int64
	deletes  []any
	removed  map[iot.ID]int
	counts   map[iot.ID]int // depth of the queues that messages were added to, theirs included
	feedback []any          // values of rows, sequence numbers to be filled in
}

type depth struct {
	n  int
	at time.Time
}

type journal struct {
	mu      sync.Mutex
	wake    sync.Cond
	queue   []*change
	closed  bool
	waiting int // messages in queue

	depths map[iot.ID]depth // belongs to the goroutine
}

func (j *journal) init() {
	j.wake.L = &j.mu
	j.depths = map[iot.ID]depth{}
}

// put hands over a change. It answers false after Close.
func (j *journal) put(c *change) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return false
	}
	if c.message != nil {
		j.waiting++
	}
	j.queue = append(j.queue, c)
	j.wake.Signal()
	return true
}

// full reports whether messages should come more slowly.
func (j *journal) full() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.waiting >= maxWaiting
}

// take waits for changes and gives up to maxBatch; nil means the end.
func (j *journal) take(batch []*change) []*change {
	j.mu.Lock()
	defer j.mu.Unlock()
	for len(j.queue) == 0 {
		if j.closed {
			return nil
		}
		j.wake.Wait()
	}
	n := min(len(j.queue), maxBatch)
	batch = append(batch[:0], j.queue[:n]...)
	rest := copy(j.queue, j.queue[n:])
	clear(j.queue[rest:])
	j.queue = j.queue[:rest]
	if rest == 0 && cap(j.queue) > 4*maxBatch {
		j.queue = nil
	}
	for _, c := range batch {
		if c.message != nil {
			j.waiting--
		}
	}
	return batch
}

func (j *journal) close() {
	j.mu.Lock()
	j.closed = true
	j.wake.Broadcast()
	j.mu.Unlock()
}

// write waits until a change is durable.
func (r *Room) write(c *change) error {
	done := make(chan error, 1)
	c.done = func(err error) { done <- err }
	if !r.journal.put(c) {
		return errClosing()
	}
	return <-done
}

// keepJournal writes until the journal is closed and empty.
func (r *Room) keepJournal(ctx context.Context) {
	var batch []*change
	for {
		if batch = r.journal.take(batch); batch == nil {
			return
		}
		var w *work
		err := stored(r.db.Write(ctx, func(tx state.Tx) error {
			w = &work{tx: tx, limits: &r.limits, now: time.Now().UnixNano(), removed: map[iot.ID]int{}, counts: map[iot.ID]int{}}
			return r.attempt(ctx, w, batch)
		}), "write messages")
		if err != nil && iot.CodeOf(err) == iot.ServerError {
			r.logger.Error("cloud-to-device messages not written", slog.Int("changes", len(batch)), slog.Any("error", err))
		}
		if err == nil {
			r.journal.note(w)
			r.announce(w)
		}
		for _, c := range batch {
			if err != nil {
				c.err = err
			}
			if c.lock != nil {
				r.settled(c.lock, c.outcome, c.err)
			}
			if c.message != nil && c.err == nil {
				r.offer(c.message)
			}
			c.done(c.err)
		}
		clear(batch)
	}
}

// announce lets expiry know of new feedback.
func (r *Room) announce(w *work) {
	if n := len(w.feedback) / insertFeedback.width; n > 0 {
		r.metrics.feedback.Add(float64(n))
		r.mu.Lock()
		r.feedbackAt(w.now + int64(w.limits.FeedbackTTL))
		r.mu.Unlock()
	}
}

// note keeps what a transaction has told of the depths of queues.
func (j *journal) note(w *work) {
	if len(j.depths) > maxDepths {
		clear(j.depths)
	}
	for id, n := range w.removed {
		if d, ok := j.depths[id]; ok {
			d.n -= n
			j.depths[id] = d
		}
	}
	for id, n := range w.counts {
		d := j.depths[id]
		if d.at.IsZero() {
			d.at = time.Now()
		}
		d.n = n
		j.depths[id] = d
	}
}

func (r *Room) attempt(ctx context.Context, w *work, batch []*change) error {
	for _, c := range batch {
		c.err = nil
		switch {
		case c.lock != nil:
			if err := w.settle(ctx, c.lock.m, c.outcome); err != nil {
				return err
			}
		case c.run != nil:
			if err := c.run(ctx, w); err != nil {
				return err
			}
		}
	}
	if err := deleteMessages.exec(ctx, w.tx, w.deletes); err != nil {
		return err
	}
	var args []any
	var seq, first int64
	counter := func() error {
		if first != 0 {
			return nil
		}
		err := w.tx.QueryRow(ctx, "SELECT value FROM c2d_counter WHERE name = 'seq'").Scan(&seq)
		first = seq + 1
		return err
	}
	for _, c := range batch {
		if c.message == nil {
			continue
		}
		n, err := r.depthOf(ctx, w, c.message.id)
		if err != nil {
			return err
		}
		if n >= w.limits.Depth {
			c.err = iot.Errorf(iot.QueueDepthExceeded, "%d cloud-to-device messages wait for %s, which is the limit for one queue (hub.limits.queue-depth): let it receive them, or purge them", n, c.message.id)
			continue
		}
		if err := counter(); err != nil {
			return err
		}
		seq++
		w.counts[c.message.id] = n + 1
		c.message.seq = seq
		args = c.message.values(args)
	}
	if err := insertMessages.exec(ctx, w.tx, args); err != nil {
		return err
	}
	if len(w.feedback) > 0 {
		if err := counter(); err != nil {
			return err
		}
		for i := 0; i < len(w.feedback); i += insertFeedback.width {
			seq++
			w.feedback[i] = seq
		}
		if err := insertFeedback.exec(ctx, w.tx, w.feedback); err != nil {
			return err
		}
	}
	if first == 0 || seq < first {
		return nil
	}
	_, err := w.tx.Exec(ctx, "UPDATE c2d_counter SET value = ? WHERE name = 'seq'", seq)
	return err
}

// depthOf counts the messages of a queue, those before it in this transaction
// included.
func (r *Room) depthOf(ctx context.Context, w *work, id iot.ID) (int, error) {
	if n, ok := w.counts[id]; ok {
		return n, nil
	}
	if d, ok := r.journal.depths[id]; ok && time.Since(d.at) < depthTrust {
		return d.n - w.removed[id], nil
	}
	delete(r.journal.depths, id)
	var n int
	err := w.tx.QueryRow(ctx, "SELECT count(*) FROM c2d_message WHERE device = ? AND module = ?", id.Device, id.Module).Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return n, err
}

// settle brings one message to its end, or back into the queue.
func (w *work) settle(ctx context.Context, m *message, o iot.Outcome) error {
	switch {
	case o == iot.Complete:
		w.end(m, statusSuccess)
	case o == iot.Abandon && m.abandoned+1 < w.limits.MaxDelivery:
		_, err := w.tx.Exec(ctx, "UPDATE c2d_message SET abandoned = abandoned + 1 WHERE seq = ?", m.seq)
		return err
	case o == iot.Abandon:
		w.end(m, statusDeliveryCount)
	default:
		w.end(m, statusRejected)
	}
	return nil
}

// end removes a message and keeps the feedback that its sender asked for.
func (w *work) end(m *message, s status) {
	w.deletes = append(w.deletes, m.seq)
	w.removed[m.id]++
	wanted := ackNegative
	if s == statusSuccess {
		wanted = ackPositive
	}
	if m.ack&wanted == 0 {
		return
	}
	w.feedback = append(w.feedback, nil, m.id.Device, m.id.Module, int64(m.generation), m.messageID, int64(s), w.now,
		w.now+int64(w.limits.FeedbackTTL))
}
