package configuration

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/eventlog"
	"dunlin/internal/engine/leader"
	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
	"dunlin/internal/lang/twinql"
)

//go:embed migrations
var migrations embed.FS

// Document is an identity with its twin.
type Document struct {
	ID         iot.ID
	Generation uint64
	Edge       bool // an edge device
	ETag       string
	Desired    string        // JSON object, without "$metadata" and "$version"
	Source     twinql.Source // the whole twin, for conditions
}

// Twins is what the room needs of twins and identities. Reads give what is
// committed.
type Twins interface {
	// Documents calls each for those of the devices that exist or, from
	// twinql.Modules, for all of their modules.
	Documents(ctx context.Context, from twinql.Collection, devices []string, each func(Document) error) error
	// Select gives up to n identities after a place that a target selects, in
	// the order of their ids, and the next place. There may be more, even when
	// fewer came or none, until more is false.
	Select(ctx context.Context, t *twinql.Target, after iot.ID, n int) (ids []iot.ID, next iot.ID, more bool, err error)
	// Patch merges a change as the back end does, and gives the desired
	// properties and the version of the twin afterwards. An empty etag is any.
	Patch(ctx context.Context, id iot.ID, generation uint64, body []byte, etag string) (desired string, version int64, err error)
	// Check reports what Patch would refuse whatever the twin is.
	Check(id iot.ID, body []byte) error
	// Count gives the number n of a query SELECT COUNT() AS n.
	Count(ctx context.Context, query string) (int64, error)
	// AddModule makes a module that the edge runtime manages, unless it is there.
	AddModule(ctx context.Context, id iot.ID) error
}

// Deps is what the room needs.
type Deps struct {
	DB         state.DB
	Log        eventlog.Log
	Twins      Twins
	Limits     Limits
	Refresh    time.Duration // between refreshes of custom metrics; 0 means 5 minutes
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

const defaultRefresh = 5 * time.Minute

// Room is the room. All methods may be called by any goroutine.
type Room struct {
	db      state.DB
	log     eventlog.Log
	twins   Twins
	limits  Limits
	refresh time.Duration
	logger  *slog.Logger
	metrics metrics
	seat    *leader.Seat // two nodes could write what the other has just taken back

	loading sync.Mutex // held while the set is read and replaced
	set     atomic.Pointer[set]
	wake    chan struct{} // capacity 1: there may be something to do
	changes changes
	results results

	applying sync.Map // device id, while content is applied to it
}

// Open brings the schema up to date and reads the configurations. Run does
// the work.
func Open(ctx context.Context, d Deps) (*Room, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if err := d.DB.Migrate(ctx, "configuration", files); err != nil {
		return nil, err
	}
	seat, err := leader.Open(ctx, d.DB, "configuration")
	if err != nil {
		return nil, err
	}
	r := &Room{
		db: d.DB, log: d.Log, twins: d.Twins, limits: d.Limits, refresh: d.Refresh, logger: d.Logger,
		seat: seat, wake: make(chan struct{}, 1), metrics: newMetrics(d.Registerer),
	}
	if r.refresh <= 0 {
		r.refresh = defaultRefresh
	}
	r.changes.init()
	r.results.init()
	return r, r.reload(ctx)
}

// stir wakes the worker.
func (r *Room) stir() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// stored turns an error of the store into one of the domain where a caller can
// do something about it; other errors stay as they are and are for the log.
func stored(err error, doing string) error {
	var domain *iot.Error
	switch {
	case err == nil, errors.As(err, &domain):
		return err
	case errors.Is(err, state.ErrFull):
		return &iot.Error{Code: iot.ServiceUnavailable, Message: "the disk of the server is full, nothing was changed: try again once there is space", Err: err}
	case errors.Is(err, state.ErrUnavailable), errors.Is(err, state.ErrClosed):
		return &iot.Error{Code: iot.ServiceUnavailable, Message: "the configurations are not available at the moment: try again later", Err: err}
	}
	return fmt.Errorf("configuration: %s: %w", doing, err)
}

type metrics struct {
	evaluated prometheus.Counter
	applied   prometheus.Counter
	failed    prometheus.Counter
	events    prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := metrics{
		evaluated: counter("dunlin_configuration_evaluated_total", "Devices for which the conditions of configurations were evaluated."),
		applied:   counter("dunlin_configuration_applied_total", "Twins whose desired properties were changed by configurations."),
		failed:    counter("dunlin_configuration_failed_total", "Changes of twins by configurations that were refused; they are tried again."),
		events:    counter("dunlin_configuration_events_total", "Events of twins and identities that can change what configurations are for."),
	}
	reg.MustRegister(m.evaluated, m.applied, m.failed, m.events)
	return m
}
