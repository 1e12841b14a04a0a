package outbox

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"dunlin/internal/engine/eventlog"
	"dunlin/internal/engine/leader"
	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

// How much is read and appended together. The log is shared with devices that
// send: what the relay has on its way must be a small part of what it holds.
const (
	readBytes   = 1 << 20   // of rows, as near as a number of rows can say
	maxRows     = 256       // read together
	chunkBytes  = 128 << 10 // handed to the log together
	flightBytes = 512 << 10 // on their way to the disk
)

// When the relay looks for rows. A row is put in before its transaction
// commits, so it looks several times after a Put, less and less often; the slow
// pace finds rows of other nodes.
const (
	firstLook  = 2 * time.Millisecond
	slowLook   = time.Second
	otherNodes = 250 * time.Millisecond // instead of slowLook where there may be some
	firstTry   = 100 * time.Millisecond // after an error
	slowTry    = 5 * time.Second
)

// relay is the state of whoever moves rows to the log. Except for what mu
// guards it belongs to the holder of Box.running.
type relay struct {
	box    *Box
	writer *writer
	lanes  []lane
	seat   *leader.Seat // one node relays
	log    eventlog.Log
	fresh  bool            // nothing was appended by this relay since it began
	known  map[string]bool // events of an earlier relay, by their correlation ids

	limit  int // rows to read
	from   floor
	rows   []row
	events []event // of rows, in order
	buf    []byte  // records of events
	bytes  int

	mu      sync.Mutex
	left    int           // records that the log has not settled
	blocked int           // lanes that the log told to wait
	settled chan struct{} // capacity 1: left or blocked may have become 0
}

type row struct {
	id     int64
	body   []byte
	reason string // why it is put aside
}

type event struct {
	row    int
	lane   int
	at     int // of its record in buf
	end    int
	source iot.EventSource
	done   bool  // durable; under mu while records are on their way
	err    error // likewise
}

// lane appends to one partition.
type lane struct {
	relay    *relay
	producer eventlog.Producer
	chunk    [][]byte
	flight   []int // events on their way, in order; under mu
}

func (r *relay) init(x *Box, log eventlog.Log, seat *leader.Seat, hub string) {
	r.box, r.writer, r.limit, r.log, r.fresh = x, newWriter(hub), 8, log, true
	r.settled = make(chan struct{}, 1)
	r.lanes = make([]lane, log.Partitions())
	for i := range r.lanes {
		r.lanes[i].relay = r
		r.lanes[i].producer = log.Producer(i, &r.lanes[i])
	}
	r.seat = seat
	r.from.use = seat.Shared()
}

// Durable implements eventlog.Waiter.
func (l *lane) Durable(n int, err error) {
	r := l.relay
	r.mu.Lock()
	for _, i := range l.flight[:n] {
		r.events[i].done, r.events[i].err = err == nil, err
	}
	l.flight = l.flight[:copy(l.flight, l.flight[n:])]
	r.left -= n
	r.mu.Unlock()
	r.signal()
}

// Ready implements eventlog.Waiter.
func (l *lane) Ready() {
	l.relay.mu.Lock()
	l.relay.blocked--
	l.relay.mu.Unlock()
	l.relay.signal()
}

func (r *relay) signal() {
	select {
	case r.settled <- struct{}{}:
	default:
	}
}

// Run moves rows to the log until ctx ends. Errors do not end it: they are
// logged when they begin, and it tries again.
func (x *Box) Run(ctx context.Context) error {
	x.running.Lock()
	defer x.running.Unlock()
	r := &x.relay
	look, try := firstLook, time.Duration(0)
	slow := slowLook
	if x.relay.seat.Shared() {
		slow = otherNodes
	}
	timer := time.NewTimer(0) // rows of an earlier run
	defer timer.Stop()
	wake := x.wake
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
			look = firstLook
			timer.Reset(look)
			wake = nil // one look is on its way
			continue
		case <-timer.C:
		}
		wake = x.wake
		n, more, err := r.pass(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			try = x.failed(err, try)
			timer.Reset(try)
			wake = nil
			continue
		case more:
			timer.Reset(0)
		case n > 0:
			look = firstLook
			timer.Reset(look)
		default:
			look = min(2*look, slow)
			timer.Reset(look)
		}
		if try > 0 {
			x.logger.Info("events of state changes are appended again")
			try = 0
		}
	}
}

// failed logs the first of several errors and says how long to wait.
func (x *Box) failed(err error, try time.Duration) time.Duration {
	x.metrics.errors.Inc()
	if try == 0 {
		x.logger.Warn("events of state changes cannot be appended to the event log, trying again", slog.Any("error", err))
		return firstTry
	}
	return min(2*try, slowTry)
}

// Drain appends what was committed, for the end of an instance: after Run, and
// before the log is closed. What it cannot append stays for the next start.
func (x *Box) Drain(ctx context.Context) error {
	x.running.Lock()
	defer x.running.Unlock()
	for {
		n, _, err := x.relay.pass(ctx)
		if err != nil || n == 0 {
			return errors.Join(err, x.relay.seat.Release(ctx))
		}
	}
}

// pass moves some rows to the log and answers how many; more says that others
// wait. After an error the next pass goes on with the same rows.
func (r *relay) pass(ctx context.Context) (n int, more bool, err error) {
	if mine, err := r.seat.Hold(ctx); err != nil || !mine {
		r.fresh = true // another node may append meanwhile
		return 0, false, err
	}
	if len(r.rows) == 0 {
		if more, err = r.read(ctx); err != nil {
			return 0, false, err
		}
	}
	if len(r.rows) == 0 {
		r.fresh, r.known = false, nil
		return 0, false, nil
	}
	if err := r.append(ctx); err != nil {
		return 0, false, err
	}
	if err := r.remove(ctx); err != nil {
		return 0, false, err
	}
	n = len(r.rows)
	clear(r.rows)
	r.rows = r.rows[:0]
	r.box.metrics.oldest.Store(0)
	return n, more, nil
}

const selectRows = "SELECT id, body FROM outbox WHERE id >= ? ORDER BY id LIMIT ?"

// read reads rows and makes records of their events.
func (r *relay) read(ctx context.Context) (more bool, err error) {
	from := r.from.at(time.Now())
	err = r.box.db.Read(ctx, func(tx state.Tx) error {
		r.rows, r.bytes = r.rows[:0], 0
		rows, err := tx.Query(ctx, selectRows, from, int64(r.limit))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var w row
			if err := rows.Scan(&w.id, &w.body); err != nil {
				return err
			}
			r.rows = append(r.rows, w)
			r.bytes += len(w.body)
		}
		return rows.Err()
	})
	if err != nil {
		clear(r.rows)
		r.rows = r.rows[:0]
		return false, err
	}
	if r.fresh && len(r.rows) > 0 {
		if err := r.remember(ctx); err != nil {
			clear(r.rows)
			r.rows = r.rows[:0]
			return false, err
		}
		r.fresh = false
	}
	more = len(r.rows) == r.limit
	switch {
	case more && r.bytes < readBytes/2:
		r.limit = min(2*r.limit, maxRows)
	case r.bytes > 2*readBytes:
		r.limit = max(r.limit/2, 1)
	}
	r.unpack()
	return more, nil
}

func (r *relay) unpack() {
	r.events, r.buf = r.events[:0], r.buf[:0]
	if cap(r.buf) > 8*readBytes {
		r.buf = nil
	}
	oldest := time.Time{}
	for i := range r.rows {
		events, size := len(r.events), len(r.buf)
		err := unpack(r.rows[i].body, func(s *stored) {
			at := len(r.buf)
			r.buf = r.writer.append(r.buf, s)
			r.events = append(r.events, event{
				row: i, lane: eventlog.Partition(string(s.head.Device), len(r.lanes)), at: at, end: len(r.buf), source: s.head.Source,
				done: r.known[string(r.writer.correlation[:])],
			})
			if oldest.IsZero() || s.time.Before(oldest) {
				oldest = s.time
			}
		})
		if err != nil {
			r.events, r.buf = r.events[:events], r.buf[:size]
			r.rows[i].reason = err.Error()
		}
	}
	if !oldest.IsZero() {
		r.box.metrics.oldest.Store(oldest.UnixNano())
	}
}

// append brings the events that are not yet durable to the log and waits until
// all of them are.
func (r *relay) append(ctx context.Context) error {
	if err := r.wait(ctx, 0); err != nil { // what an earlier pass did not wait for
		return err
	}
	size, flight := 0, 0
	for i := range r.events {
		e := &r.events[i]
		if e.done {
			continue
		}
		l := &r.lanes[e.lane]
		l.chunk = append(l.chunk, r.buf[e.at:e.end])
		r.mu.Lock()
		l.flight = append(l.flight, i)
		r.left++
		r.mu.Unlock()
		if size += e.end - e.at; size < chunkBytes {
			continue
		}
		r.flush()
		flight += size
		size = 0
		if flight < flightBytes {
			if err := r.wait(ctx, len(r.events)); err != nil {
				return err
			}
			continue
		}
		flight = 0
		if err := r.wait(ctx, 0); err != nil {
			return err
		}
	}
	r.flush()
	if err := r.wait(ctx, 0); err != nil {
		return err
	}
	var failure error
	for i := range r.events {
		e := &r.events[i]
		switch {
		case e.done || failure != nil:
		case errors.Is(e.err, eventlog.ErrTooLarge):
			e.done = true
			r.rows[e.row].reason = e.err.Error()
		default:
			failure = e.err
		}
	}
	return failure
}

// flush hands the chunks of all lanes to the log.
func (r *relay) flush() {
	now := time.Now().UnixNano()
	for i := range r.lanes {
		l := &r.lanes[i]
		if len(l.chunk) == 0 {
			continue
		}
		if !l.producer.Append(now, l.chunk) {
			r.mu.Lock()
			r.blocked++
			r.mu.Unlock()
		}
		clear(l.chunk)
		l.chunk = l.chunk[:0]
	}
}

// wait waits until the log takes more and at most left records are on their
// way.
func (r *relay) wait(ctx context.Context, left int) error {
	for {
		r.mu.Lock()
		ok := r.left <= left && r.blocked <= 0
		r.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-r.settled:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

const (
	deleteMany = 64 // rows deleted by one statement
	asideRow   = "INSERT INTO outbox_aside (body, reason, at) VALUES (?, ?, ?)"
)

var deleteRows = "DELETE FROM outbox WHERE id IN (?" + strings.Repeat(",?", deleteMany-1) + ")"

// remove deletes the rows whose events are in the log, and puts those aside
// that could not be read.
func (r *relay) remove(ctx context.Context) error {
	err := r.box.db.Write(ctx, func(tx state.Tx) error {
		for _, w := range r.rows {
			if w.reason == "" {
				continue
			}
			if _, err := tx.Exec(ctx, asideRow, w.body, w.reason, time.Now().UnixNano()); err != nil {
				return err
			}
		}
		args := make([]any, deleteMany)
		for part := range slices.Chunk(r.rows, deleteMany) {
			for i := range args {
				args[i] = part[min(i, len(part)-1)].id
			}
			if _, err := tx.Exec(ctx, deleteRows, args...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, w := range r.rows {
		if w.reason != "" {
			r.box.metrics.aside.Inc()
			r.box.logger.Error("events of a change cannot be appended to the event log and are put aside in the table outbox_aside",
				slog.Int64("row", w.id), slog.String("reason", w.reason))
		}
	}
	r.box.metrics.appended(r.events)
	r.from.deleted(r.rows[len(r.rows)-1].id)
	return nil
}
