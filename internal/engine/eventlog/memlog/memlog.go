// Package memlog is an event log in memory, for tests and for places that
// need no durability. Records are durable as soon as they are appended.
package memlog

import (
	"context"
	"fmt"
	"iter"
	"sync"

	"dunlin/internal/engine/eventlog"
)

// Config describes a log.
type Config struct {
	Partitions int // default 4
	MaxHeld    int // bytes not settled yet above which Append answers false; default 8 MiB
}

// Store holds what a log has stored, so that it can be opened again.
type Store struct {
	mu    sync.Mutex
	parts []part
}

type part struct {
	recs []record
	time int64 // of the newest
	wake chan struct{}
}

type record struct {
	time int64
	data []byte
}

// Log implements eventlog.Log.
type Log struct {
	s       *Store
	maxHeld int
	closed  chan struct{} // Close has begun
	done    chan struct{} // and settle has ended
	kick    chan struct{} // capacity 1

	// under s.mu
	ended    bool
	stalled  bool
	held     int
	queue    []settle
	blocked  []*producer
	late     int // calls of waiters after the end
	lateDone *sync.Cond
}

type settle struct {
	p    *producer
	recs []record
	n    int
	err  error
}

// NewStore makes an empty store.
func NewStore(partitions int) *Store {
	if partitions == 0 {
		partitions = 4
	}
	s := &Store{parts: make([]part, partitions)}
	for i := range s.parts {
		s.parts[i].wake = make(chan struct{})
	}
	return s
}

// New makes an empty log.
func New(cfg Config) *Log { return NewStore(cfg.Partitions).Open(cfg) }

// Open opens the log of a store. Only one may be open at a time.
func (s *Store) Open(cfg Config) *Log {
	if cfg.MaxHeld == 0 {
		cfg.MaxHeld = 8 << 20
	}
	l := &Log{s: s, maxHeld: cfg.MaxHeld, closed: make(chan struct{}), done: make(chan struct{}), kick: make(chan struct{}, 1)}
	l.lateDone = sync.NewCond(&s.mu)
	go l.settle() // Close waits for it
	return l
}

// Stall keeps the log from making anything durable until it is called with
// false.
func (l *Log) Stall(on bool) {
	l.s.mu.Lock()
	l.stalled = on
	l.s.mu.Unlock()
	l.poke()
}

func (l *Log) poke() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

type producer struct {
	l       *Log
	part    int
	w       eventlog.Waiter
	blocked bool
}

// Partitions implements eventlog.Log.
func (l *Log) Partitions() int { return len(l.s.parts) }

// Producer implements eventlog.Log.
func (l *Log) Producer(partition int, w eventlog.Waiter) eventlog.Producer {
	if partition < 0 || partition >= len(l.s.parts) {
		panic(fmt.Sprintf("eventlog: partition %d of %d", partition, len(l.s.parts)))
	}
	return &producer{l: l, part: partition, w: w}
}

// Append implements eventlog.Producer.
func (p *producer) Append(now int64, recs [][]byte) bool {
	l := p.l
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if l.ended {
		l.late++
		n := len(recs)
		go func() { // Close waits for it
			p.w.Durable(n, eventlog.ErrClosed)
			l.s.mu.Lock()
			defer l.s.mu.Unlock()
			l.late--
			l.lateDone.Broadcast()
		}()
		return true
	}
	q := settle{p: p, n: len(recs)}
	for _, r := range recs {
		q.recs = append(q.recs, record{now, append([]byte(nil), r...)})
		l.held += len(r)
	}
	l.queue = append(l.queue, q)
	ok := l.held <= l.maxHeld
	if !ok && !p.blocked {
		p.blocked = true
		l.blocked = append(l.blocked, p)
	}
	l.poke()
	return ok
}

// settle makes records visible and tells their waiters.
func (l *Log) settle() {
	defer close(l.done)
	for {
		ending := false
		select {
		case <-l.kick:
		case <-l.closed:
			ending = true
		}
		l.s.mu.Lock()
		if l.stalled && !ending {
			l.s.mu.Unlock()
			continue
		}
		queue := l.queue
		l.queue = nil
		l.held = 0
		for _, q := range queue {
			t := &l.s.parts[q.p.part]
			for _, r := range q.recs {
				t.time = max(t.time, r.time)
				r.time = t.time
				t.recs = append(t.recs, r)
			}
			close(t.wake)
			t.wake = make(chan struct{})
		}
		ready := l.blocked
		l.blocked = nil
		for _, p := range ready {
			p.blocked = false
		}
		ended := ending && len(queue) == 0
		l.ended = ended
		l.s.mu.Unlock()
		for _, q := range queue {
			q.p.w.Durable(q.n, q.err)
		}
		for _, p := range ready {
			p.w.Ready()
		}
		if ended {
			return
		}
	}
}

// Info implements eventlog.Log.
func (l *Log) Info(_ context.Context, partition int) (eventlog.Info, error) {
	if partition < 0 || partition >= len(l.s.parts) {
		return eventlog.Info{}, fmt.Errorf("eventlog: no partition %d: there are %d", partition, len(l.s.parts))
	}
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if l.ended {
		return eventlog.Info{}, eventlog.ErrClosed
	}
	t := &l.s.parts[partition]
	n := len(t.recs)
	return eventlog.Info{Next: int64(n), LastOffset: eventlog.Offset(n), LastTime: t.time}, nil
}

// Read implements eventlog.Log.
func (l *Log) Read(ctx context.Context, partition int, o eventlog.ReadOptions) iter.Seq2[eventlog.Record, error] {
	if partition < 0 || partition >= len(l.s.parts) {
		return func(yield func(eventlog.Record, error) bool) {
			yield(eventlog.Record{}, fmt.Errorf("eventlog: no partition %d: there are %d", partition, len(l.s.parts)))
		}
	}
	t := &l.s.parts[partition]
	l.s.mu.Lock()
	end := len(t.recs)
	l.s.mu.Unlock()
	return func(yield func(eventlog.Record, error) bool) {
		at, since, err := 0, int64(0), error(nil)
		switch v := o.From.Value; o.From.Kind {
		case eventlog.Earliest:
		case eventlog.Latest:
			at = end
		case eventlog.AtSequence:
			at = int(max(0, v))
		case eventlog.AtOffset:
			at = int(max(1, v)) - 1
		case eventlog.AfterOffset:
			at = int(max(0, v))
		case eventlog.AtTime:
			since = v
		default:
			err = fmt.Errorf("eventlog: no such starting point: %d", o.From.Kind)
		}
		for err == nil {
			if err = ctx.Err(); err != nil {
				break
			}
			l.s.mu.Lock()
			wake, ended := t.wake, l.ended
			limit := len(t.recs)
			if !o.Follow {
				limit = end
			}
			var r record
			if at < limit {
				r = t.recs[at]
			}
			l.s.mu.Unlock()
			switch {
			case at < limit:
				at++
				if r.time < since {
					continue
				}
				if !yield(eventlog.Record{Offset: eventlog.Offset(at), Sequence: int64(at - 1), Time: r.time, Data: r.data}, nil) {
					return
				}
			case !o.Follow:
				return
			case ended:
				err = eventlog.ErrClosed
			default:
				select {
				case <-wake:
				case <-l.done:
				case <-ctx.Done():
				}
			}
		}
		if o.Follow && ctx.Err() != nil {
			return
		}
		yield(eventlog.Record{}, err)
	}
}

// Close implements eventlog.Log.
func (l *Log) Close() error {
	l.s.mu.Lock()
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	l.s.mu.Unlock()
	<-l.done
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	for l.late > 0 {
		l.lateDone.Wait()
	}
	return nil
}
