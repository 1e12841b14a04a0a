package command

import (
	"context"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

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

	calls calls

	closing chan struct{} // closed when nobody is to wait any longer
	once    sync.Once
}

// Open brings the schema up to date and gives the room; Close ends it.
func Open(_ context.Context, d Deps) (*Room, error) {
	r := &Room{
		db: d.DB, deliver: d.Deliver, connected: d.Connected, limits: d.Limits, logger: d.Logger,
		closing: make(chan struct{}),
	}
	r.calls.init()
	r.metrics = newMetrics(d.Registerer, func() float64 {
		r.calls.mu.Lock()
		defer r.calls.mu.Unlock()
		return float64(r.calls.count)
	})
	return r, nil
}

// Drain ends the calls under way, and those to come, with ServiceUnavailable:
// the server stops and cannot wait for minutes.
func (r *Room) Drain() { r.once.Do(func() { close(r.closing) }) }

// Close ends the room.
func (r *Room) Close() error {
	r.Drain()
	return nil
}
