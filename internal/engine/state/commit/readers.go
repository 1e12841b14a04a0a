package commit

import (
	"context"
	"sync"

	"dunlin/internal/engine/state"
)

// Readers is a fixed set of sessions for reading. A session that was lost is
// replaced when it is needed next.
type Readers struct {
	engine *Engine
	free   chan *Session
	closed chan struct{}
	once   sync.Once
}

// NewReaders opens n sessions.
func NewReaders(ctx context.Context, e *Engine, n int) (*Readers, error) {
	r := &Readers{engine: e, free: make(chan *Session, n), closed: make(chan struct{})}
	for range n {
		s, err := NewSession(ctx, e, true)
		if err != nil {
			for len(r.free) > 0 {
				_ = (<-r.free).Close()
			}
			return nil, err
		}
		r.free <- s
	}
	return r, nil
}

// Do runs fn in a read transaction.
func (r *Readers) Do(ctx context.Context, fn func(tx state.Tx) error) error {
	return r.with(ctx, func(s *Session) error { return s.Read(ctx, fn) })
}

// Get reads one row outside a transaction.
func (r *Readers) Get(ctx context.Context, dest []any, query string, args ...any) error {
	return r.with(ctx, func(s *Session) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return r.engine.Wrap(s.QueryRow(ctx, query, args...).Scan(dest...))
	})
}

func (r *Readers) with(ctx context.Context, read func(s *Session) error) error {
	select {
	case <-r.closed:
		return state.ErrClosed
	default:
	}
	var s *Session
	select {
	case s = <-r.free:
	case <-ctx.Done():
		return ctx.Err()
	case <-r.closed:
		return state.ErrClosed
	}
	defer func() { r.free <- s }()
	for try := 0; ; try++ {
		if s == nil {
			fresh, err := NewSession(ctx, r.engine, true)
			if err != nil {
				return err
			}
			s = fresh
		}
		err := read(s)
		if err != nil && r.engine.Lost(err) {
			_ = s.Close()
			s = nil
			if try == 0 {
				continue // reading again does no harm
			}
		}
		if err != nil && try < soloTries && r.engine.Retry(err) {
			continue
		}
		return err
	}
}

// Close waits for running reads and closes the sessions.
func (r *Readers) Close() {
	r.once.Do(func() {
		close(r.closed)
		for range cap(r.free) {
			if s := <-r.free; s != nil {
				_ = s.Close()
			}
		}
	})
}
