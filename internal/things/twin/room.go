package twin

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/outbox"
	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

//go:embed migrations
var migrations embed.FS

// Key says whose twin is meant: an id may be deleted and made again, and then
// its generation is higher.
type Key struct {
	ID         iot.ID
	Generation uint64
}

// Deps is what the room needs.
type Deps struct {
	DB state.DB
	// Deliver hands a change of desired properties to the live connection of
	// an identity that has asked for them; false when there is none. It must
	// not block.
	Deliver    func(id iot.ID, in *iot.Inbound) bool
	Outbox     *outbox.Box // for events of changes; nil when nobody wants them
	Limits     Limits
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	CacheBytes int // memory for twins that were used last; 0 means 64 MiB
	// Indexes are the members that queries find fast by their texts, such as
	// "tags.site". Open builds those that are new, which takes some seconds
	// for a million twins, and drops those that are not declared any more.
	Indexes []string
	// Configurations are those of twins; nil: there are none. With it, the
	// tables of configurations must be there before the first query.
	Configurations Configurations
	// Queued says that the queues of cloud-to-device messages are in the same
	// store, so that queries can count them.
	Queued bool
}

const (
	defaultCache = 64 << 20
	// maxWaiting bounds the bytes of all changes that wait to be stored.
	maxWaiting = 64 << 20
)

// Room is the room. All methods may be called by any goroutine.
type Room struct {
	db      state.DB
	deliver func(id iot.ID, in *iot.Inbound) bool
	outbox  *outbox.Box
	limits  Limits
	logger  *slog.Logger
	alone   bool       // no other node writes to the store, so what is kept is true
	writing sync.Mutex // held while rows are written, unless alone
	metrics metrics
	queries *queries
	wait    sync.WaitGroup
	life    context.Context // of reads and writes; Close waits for them

	mu      sync.Mutex
	some    sync.Cond // ready or closed has changed
	entries map[iot.ID]*entry
	ready   []*entry // with operations that nobody works on, in order
	cache   cache
	refused []refusal
	waiting int // bytes of operations
	closed  bool
}

// Open brings the schema up to date and starts the room; Close ends it.
func Open(ctx context.Context, d Deps) (*Room, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("twin: %w", err)
	}
	if err := d.DB.Migrate(ctx, "twin", files); err != nil {
		return nil, err
	}
	declared, err := readIndexes(d.DB.Dialect(), d.Indexes)
	if err != nil {
		return nil, err
	}
	if err := declared.build(ctx, d.DB, d.Logger); err != nil {
		return nil, fmt.Errorf("twin: indexes: %w", err)
	}
	r := &Room{
		db: d.DB, deliver: d.Deliver, outbox: d.Outbox, limits: d.Limits, logger: d.Logger,
		alone:   d.DB.Dialect() == state.SQLite,
		metrics: newMetrics(d.Registerer), life: context.WithoutCancel(ctx),
		entries: map[iot.ID]*entry{},
	}
	r.queries = newQueries(r.db, &r.limits, r.logger, declared)
	r.queries.configurations, r.queries.queued = d.Configurations, d.Queued
	r.some.L = &r.mu
	r.cache.limit = d.CacheBytes
	if r.cache.limit == 0 {
		r.cache.limit = defaultCache
	}
	// One worker merges while the commit of the other is on its way to the
	// disk.
	const workers = 2
	for range workers {
		r.wait.Go(r.work)
	}
	return r, nil
}

// Close answers what is waiting, and then nothing more.
func (r *Room) Close() error {
	r.mu.Lock()
	r.closed = true
	r.some.Broadcast()
	r.mu.Unlock()
	r.wait.Wait()
	return nil
}

// Limits gives what the hub allows.
func (r *Room) Limits() Limits { return r.limits }

// Get gives a twin as it is stored; one that was never changed has the
// defaults.
func (r *Room) Get(ctx context.Context, k Key) (Doc, error) {
	if r.alone {
		r.mu.Lock()
		if e := r.entries[k.ID]; e != nil && !e.busy && len(e.ops) == 0 && e.known && e.rec != nil && e.rec.generation == k.Generation {
			d := Doc{key: k, rec: *e.rec, lim: &r.limits}
			r.cache.used(e)
			r.mu.Unlock()
			return d, nil
		}
		r.mu.Unlock()
	}
	return r.ask(ctx, k, op{kind: opGet})
}

// Patch merges a change by the back end: JSON with tags and properties.desired,
// each of which may be absent, and null to clear it. etag, when not nil, must
// be that of the twin.
func (r *Room) Patch(ctx context.Context, k Key, body []byte, etag *string) (Doc, error) {
	return r.ask(ctx, k, op{kind: opPatch, text: string(body), etag: etag})
}

// Replace puts the given sections in the place of what is there.
func (r *Room) Replace(ctx context.Context, k Key, body []byte, etag *string) (Doc, error) {
	return r.ask(ctx, k, op{kind: opReplace, text: string(body), etag: etag})
}

// PatchDigital applies a JSON patch of the digital twin, whose paths name
// properties and components, to the desired properties. etag is as for Patch.
func (r *Room) PatchDigital(ctx context.Context, k Key, patch []byte, etag *string) (Doc, error) {
	return r.ask(ctx, k, op{kind: opDigital, text: string(patch), etag: etag})
}

// Check reports what Patch and Replace would refuse in a body, whatever the
// twin is.
func (r *Room) Check(id iot.ID, body []byte) error {
	b, err := readBody(&r.limits, id, string(body))
	if err != nil {
		return err
	}
	for _, g := range [...]struct {
		*given
		name  string
		limit int
	}{{&b.tags, "tags", r.limits.Tags}, {&b.desired, "desired", r.limits.Desired}} {
		full := merge(&node{}, &g.tree, stamp{})
		if err := fits(&full, g.name, g.limit, &r.limits); err != nil {
			return err
		}
	}
	return nil
}

func (r *Room) ask(ctx context.Context, k Key, o op) (Doc, error) {
	type answer struct {
		doc Doc
		err error
	}
	answers := make(chan answer, 1)
	o.finished = func(d Doc, err error) { answers <- answer{d, err} }
	r.put(k, o)
	select {
	case a := <-answers:
		return a.doc, a.err
	case <-ctx.Done():
		return Doc{}, ctx.Err()
	}
}

// Report merges a change of reported properties by the device. It returns at
// once and keeps no view of patch; done runs once, on another goroutine, when
// the change is durable or refused, and must not block. Changes of one twin
// keep their order. ifVersion is the version that the reported properties must
// have, 0 for none; a version that they never have, such as -1, is refused.
func (r *Room) Report(k Key, patch []byte, ifVersion int64, done func(version int64, err error)) {
	r.metrics.reports.Inc()
	r.put(k, op{kind: opReport, text: string(patch), ifVersion: ifVersion, reported: done})
}

// View gives the document as the device itself reads it, after every change
// that was put before. It returns at once; done runs once, on another
// goroutine, and must not block.
func (r *Room) View(k Key, done func(doc []byte, err error)) {
	r.put(k, op{kind: opView, viewed: done})
}

// SetModel notes the DTDL model id that the identity named when it connected.
// It returns at once; a failure is logged.
func (r *Room) SetModel(k Key, model string) {
	r.put(k, op{kind: opModel, text: model, reported: func(_ int64, err error) {
		if err != nil && !errors.Is(err, errGone) {
			r.logger.Warn("model id not stored", slog.String("device", k.ID.Device), slog.String("module", k.ID.Module), slog.Any("error", cause(err)))
		}
	}})
}

// Drop deletes the twin of an identity that was deleted. It returns at once; a
// failure is logged, and leaves a row that no later identity is shown.
func (r *Room) Drop(k Key) {
	r.put(k, op{kind: opDrop, reported: func(_ int64, err error) {
		if err != nil {
			r.logger.Warn("twin not deleted", slog.String("device", k.ID.Device), slog.String("module", k.ID.Module), slog.Any("error", cause(err)))
		}
	}})
}

// cause prefers what lies behind a text that is meant for callers.
func cause(err error) error {
	var domain *iot.Error
	if errors.As(err, &domain) && domain.Err != nil {
		return domain.Err
	}
	return err
}

// errGone is behind the error for an identity that was deleted.
var errGone = errors.New("twin: the identity was deleted")

func notFound(id iot.ID) error {
	if id.IsModule() {
		return &iot.Error{Code: iot.ModuleNotFound, Message: fmt.Sprintf("The requested module %s of device %s was not found.", id.Module, id.Device), Err: errGone}
	}
	return &iot.Error{Code: iot.DeviceNotFound, Message: fmt.Sprintf("The requested device %s was not found.", id.Device), Err: errGone}
}

// stored turns an error of the store into one of the domain where a caller can
// do something about it; other errors stay as they are and are for the log.
func stored(err error) error {
	var domain *iot.Error
	switch {
	case errors.As(err, &domain):
		return err
	case errors.Is(err, state.ErrFull):
		return &iot.Error{Code: iot.ServiceUnavailable, Message: "the disk of the server is full, nothing was changed: try again once there is space", Err: err}
	case errors.Is(err, state.ErrUnavailable), errors.Is(err, state.ErrClosed):
		return &iot.Error{Code: iot.ServiceUnavailable, Message: "the twins are not available at the moment: try again later", Err: err}
	case errors.Is(err, errStale):
		return &iot.Error{Code: iot.ServerBusy, Message: "the twin is being changed by many at once: try again later", Err: err}
	}
	return fmt.Errorf("twin: %w", err)
}

type metrics struct {
	reports prometheus.Counter
	changes prometheus.Counter
	rows    prometheus.Counter
	refused prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := metrics{
		reports: counter("dunlin_twin_reports_total", "Changes of reported properties that devices sent."),
		changes: counter("dunlin_twin_changes_total", "Changes of twins that were stored."),
		rows:    counter("dunlin_twin_rows_written_total", "Rows written for those changes; changes of one twin share a row."),
		refused: counter("dunlin_twin_refused_total", "Changes of twins that were refused or could not be stored."),
	}
	reg.MustRegister(m.reports, m.changes, m.rows, m.refused)
	return m
}
