package command

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/lease"
	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

//go:embed migrations
var migrations embed.FS

// Deps is what the room needs.
type Deps struct {
	DB state.DB
	// Deliver hands something to the connection of an identity, if there is one
	// that has asked for its kind; it does not block.
	Deliver func(id iot.ID, in *iot.Inbound) bool
	// Connected reports whether an identity has a connection.
	Connected  func(id iot.ID) bool
	Limits     Limits
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Room is the room. All methods may be called by any goroutine.
type Room struct {
	db        state.DB
	deliver   func(id iot.ID, in *iot.Inbound) bool
	connected func(id iot.ID) bool
	limits    Limits
	logger    *slog.Logger
	metrics   *metrics

	calls    calls
	journal  journal
	feedback *lease.Desk

	mu       sync.Mutex // guards what follows; held for moments only
	lanes    map[iot.ID]*lane
	pumps    []*lane // that a worker is to look after, from pumpHead on
	pumpHead int
	pumpWake sync.Cond
	stopped  bool // the workers are to end
	timers   timers

	closing   chan struct{} // closed when nobody is to wait any longer
	timeEnd   chan struct{} // closed when keepTime is to end
	drain     sync.Once
	close     sync.Once
	wait      sync.WaitGroup // keepTime and the workers
	written   sync.WaitGroup // keepJournal
	endOfRead context.CancelFunc
}

// workers is how many goroutines read queues for connections.
const workers = 4

// Open brings the schema up to date and gives the room; Close ends it.
func Open(ctx context.Context, d Deps) (*Room, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("command: %w", err)
	}
	if err := d.DB.Migrate(ctx, "command", files); err != nil {
		return nil, err
	}
	r := &Room{
		db: d.DB, deliver: d.Deliver, connected: d.Connected, limits: d.Limits, logger: d.Logger,
		feedback: lease.NewDesk(), lanes: map[iot.ID]*lane{}, closing: make(chan struct{}), timeEnd: make(chan struct{}),
	}
	r.calls.init()
	r.journal.init()
	r.timers.init()
	r.pumpWake.L = &r.mu
	r.metrics = newMetrics(d.Registerer, func() float64 {
		r.calls.mu.Lock()
		defer r.calls.mu.Unlock()
		return float64(r.calls.count)
	})
	if err := r.loadExpiry(ctx); err != nil {
		return nil, stored(err, "read what expires")
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	r.endOfRead = end
	r.written.Go(func() { r.keepJournal(life) })
	r.wait.Go(func() { r.keepTime(life) })
	for range workers {
		r.wait.Go(func() { r.servePumps(life) })
	}
	return r, nil
}

// loadExpiry finds out what expires first.
func (r *Room) loadExpiry(ctx context.Context) error {
	for table, at := range map[string]*int64{"c2d_message": &r.timers.messages, "c2d_feedback": &r.timers.feedback} {
		var first sql.NullInt64
		if err := r.db.Get(ctx, []any{&first}, "SELECT min(expires) FROM "+table); err != nil {
			return err
		}
		if first.Valid {
			*at = first.Int64
		}
	}
	return nil
}

// Drain ends the calls under way, and those to come, with ServiceUnavailable:
// the server stops and cannot wait for minutes.
func (r *Room) Drain() { r.drain.Do(func() { close(r.closing) }) }

// Close ends the room. What was accepted is written before; nothing is
// delivered any more.
func (r *Room) Close() error {
	r.Drain()
	r.close.Do(func() {
		r.mu.Lock()
		r.stopped = true
		r.pumpWake.Broadcast()
		r.mu.Unlock()
		close(r.timeEnd)
		r.wait.Wait()
		r.journal.close()
		r.written.Wait()
		r.endOfRead()
	})
	return nil
}
