package commit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"dunlin/internal/engine/state"
)

// MaxGroup is the largest number of writes in one commit; larger groups gain
// nothing, as the commit is then a small part of the cost.
const MaxGroup = 256

const (
	groupTries = 2  // as a group, before each write is tried on its own
	soloTries  = 12 // of one write on its own; the last ones exclude others
)

type write struct {
	ctx   context.Context
	fn    func(tx state.Tx) error
	err   error
	fault any // what fn panicked with, to be raised where Write was called
	done  chan struct{}
}

// Writer commits writes in groups. Several sessions may serve it: then groups
// run side by side and the database must keep them apart.
type Writer struct {
	engine *Engine
	queue  chan *write
	wait   sync.WaitGroup

	mu     sync.RWMutex // held for reading while something is put in the queue
	closed bool

	stop context.Context // ends pauses between tries when the writer closes
	quit context.CancelFunc
	solo sync.RWMutex // held alone by a write that others keep defeating
}

// NewWriter starts a goroutine for each session; the writer owns the sessions
// from now on.
func NewWriter(ctx context.Context, e *Engine, sessions []*Session) *Writer {
	w := &Writer{engine: e, queue: make(chan *write, 4*MaxGroup)}
	w.stop, w.quit = context.WithCancel(context.WithoutCancel(ctx))
	for _, s := range sessions {
		w.wait.Go(func() { w.serve(s) }) //nolint:contextcheck // it lives until Close, not until ctx ends
	}
	return w
}

// Do runs fn in a transaction and returns when its outcome is known.
func (w *Writer) Do(ctx context.Context, fn func(tx state.Tx) error) error {
	q := &write{ctx: ctx, fn: fn, done: make(chan struct{})}
	if err := w.put(ctx, q); err != nil {
		return err
	}
	// Not ctx: the outcome is near, and fn must not run on behind its caller.
	<-q.done
	if q.fault != nil {
		panic(q.fault)
	}
	return q.err
}

func (w *Writer) put(ctx context.Context, q *write) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return state.ErrClosed
	}
	select {
	case w.queue <- q:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close commits what was accepted and closes the sessions.
func (w *Writer) Close() {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.queue)
	}
	w.mu.Unlock()
	w.wait.Wait()
	w.quit()
}

func (w *Writer) serve(s *Session) {
	group := make([]*write, 0, MaxGroup)
	for q := range w.queue {
		group = append(group[:0], q)
	gather:
		for len(group) < MaxGroup {
			select {
			case q, ok := <-w.queue:
				if !ok {
					break gather
				}
				group = append(group, q)
			default:
				break gather
			}
		}
		s = w.commit(s, group)
	}
	if s != nil {
		_ = s.Close()
	}
}

// commit brings each write of the group to its end and answers the session to
// go on with: nil when the connection was lost and a new one is needed.
func (w *Writer) commit(s *Session, group []*write) *Session {
	defer func() {
		for _, q := range group {
			close(q.done)
		}
	}()
	for range groupTries {
		w.solo.RLock()
		next, again := w.attempt(s, group)
		w.solo.RUnlock()
		s = next
		if !again {
			return s
		}
		if len(group) > 1 {
			break
		}
	}
	// Something in the group clashes with another writer. Alone, a write
	// clashes less and takes no innocent one down with it.
	for i := range group {
		s = w.alone(s, group[i:i+1])
	}
	return s
}

func (w *Writer) alone(s *Session, one []*write) *Session {
	for try := range soloTries {
		if try >= soloTries-2 {
			w.solo.Lock()
		} else {
			w.solo.RLock()
		}
		next, again := w.attempt(s, one)
		if try >= soloTries-2 {
			w.solo.Unlock()
		} else {
			w.solo.RUnlock()
		}
		s = next
		if !again {
			return s
		}
		w.pause(try)
	}
	return s
}

// pause waits a little longer after each try, and not always the same time,
// so that two writers which clash do not meet again.
func (w *Writer) pause(try int) {
	t := time.NewTimer(time.Duration(rand.Int64N(int64(time.Millisecond) << min(try, 6))))
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.stop.Done():
	}
}

// attempt runs the group once. again says that it must be repeated; the error
// of that try is kept in each write in case it was the last.
func (w *Writer) attempt(s *Session, group []*write) (next *Session, again bool) {
	ctx := w.stop
	if s == nil {
		open, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		fresh, err := NewSession(open, w.engine, false)
		if err != nil {
			fail(group, fmt.Errorf("%w: %w", state.ErrUnavailable, err))
			return nil, false
		}
		s = fresh
	}
	if err := s.run(ctx, w.engine.Begin); err != nil {
		fail(group, err)
		if w.engine.Lost(err) {
			// Nothing was sent yet: a server that was restarted gets another try.
			_ = s.Close()
			return nil, true
		}
		return s, w.engine.Retry(err)
	}
	kept := 0
	for _, q := range group {
		q.err, q.fault = nil, nil
		if q.err = q.ctx.Err(); q.err != nil {
			continue
		}
		if len(group) > 1 {
			if err := s.run(ctx, "SAVEPOINT w"); err != nil {
				return w.abandon(s, group, err, false)
			}
		}
		q.err = w.call(q, s)
		if q.err == nil && q.fault == nil {
			kept++
			if len(group) > 1 {
				if err := s.run(ctx, "RELEASE SAVEPOINT w"); err != nil {
					return w.abandon(s, group, err, false)
				}
			}
			continue
		}
		if w.engine.Retry(q.err) || w.engine.Lost(q.err) || errors.Is(q.err, state.ErrFull) {
			return w.abandon(s, group, q.err, false)
		}
		if len(group) > 1 {
			if err := s.run(ctx, "ROLLBACK TO SAVEPOINT w"); err != nil {
				return w.abandon(s, group, err, false)
			}
		}
	}
	end := "COMMIT"
	if kept == 0 {
		end = "ROLLBACK"
	}
	err := s.run(ctx, end)
	if err == nil || (kept == 0 && !w.engine.Lost(err)) {
		return s, false
	}
	return w.abandon(s, group, err, kept > 0)
}

// abandon undoes the transaction. Writes that had failed for reasons of their
// own keep their error. sent says that COMMIT was sent: when the connection is
// lost then, nobody knows the outcome and the write must not be repeated.
func (w *Writer) abandon(s *Session, group []*write, err error, sent bool) (next *Session, again bool) {
	again = w.engine.Retry(err) || (!sent && w.engine.Lost(err))
	for _, q := range group {
		if again || q.err == nil {
			q.err = err
		}
	}
	if w.engine.Lost(err) {
		_ = s.Close()
		return nil, again
	}
	// SQLite may have undone the transaction itself; then there is nothing to
	// roll back and the error of it means nothing.
	if rerr := s.run(w.stop, "ROLLBACK"); rerr != nil && w.engine.Lost(rerr) {
		_ = s.Close()
		return nil, again
	}
	return s, again
}

func (w *Writer) call(q *write, s *Session) error {
	defer func() { q.fault = recover() }()
	return w.engine.Wrap(q.fn(s))
}

func fail(group []*write, err error) {
	for _, q := range group {
		q.err = err
	}
}
