package commit

import (
	"context"
	"sync"

	"dunlin/internal/engine/state"
)

// Readers is a fixed set of sessions for reading. The one that was used last
// is used first: its caches are warm. A session that was lost is replaced when
// it is needed next.
type Readers struct {
	engine *Engine
	tokens chan struct{} // one for each session in free
	closed chan struct{}
	once   sync.Once

	mu   sync.Mutex
	free []*Session // a stack; nil stands for a session that was lost
}

// NewReaders opens n sessions.
func NewReaders(ctx context.Context, e *Engine, n int) (*Readers, error) {
	r := &Readers{engine: e, tokens: make(chan struct{}, n), closed: make(chan struct{})}
	for range n {
		s, err := NewSession(ctx, e, true)
		if err != nil {
			for _, s := range r.free {
				_ = s.Close()
			}
			return nil, err
		}
		r.put(s)
	}
	return r, nil
}

// put gives a session back.
func (r *Readers) put(s *Session) {
	r.mu.Lock()
	r.free = append(r.free, s)
	r.mu.Unlock()
	r.tokens <- struct{}{}
}

// pop takes the session of a token.
func (r *Readers) pop() *Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := len(r.free) - 1
	s := r.free[last]
	r.free = r.free[:last]
	return s
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
	select {
	case <-r.tokens:
	case <-ctx.Done():
		return ctx.Err()
	case <-r.closed:
		return state.ErrClosed
	}
	s := r.pop()
	defer func() { r.put(s) }()
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
		for range cap(r.tokens) {
			<-r.tokens
			if s := r.pop(); s != nil {
				_ = s.Close()
			}
		}
	})
}
