package registry

import (
	"context"
	"crypto/rand"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync/atomic"
	"time"

	"dunlin/internal/engine/outbox"
	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
	"dunlin/internal/trust/access"
)

//go:embed migrations
var migrations embed.FS

// Deps is what the room needs.
type Deps struct {
	DB       state.DB
	Policies *access.Policies // for tokens of devices signed by a hub policy, and the names of the hub
	Outbox   *outbox.Box      // for events of what is made, deleted, connected; nil when nobody wants them
	// QuietConnections leaves out the events of connections.
	QuietConnections bool
	Logger           *slog.Logger
}

// Registry is the room. All methods may be called by any goroutine.
type Registry struct {
	db       state.DB
	policies *access.Policies
	outbox   *outbox.Box
	quiet    bool // no events of connections
	logger   *slog.Logger

	generation  atomic.Uint64 // the last one given
	sequence    sequence
	authorities authorityCache
}

// Open brings the schema up to date and gives the room.
func Open(ctx context.Context, d Deps) (*Registry, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	if err := d.DB.Migrate(ctx, "registry", files); err != nil {
		return nil, err
	}
	r := &Registry{db: d.DB, policies: d.Policies, outbox: d.Outbox, quiet: d.QuietConnections || d.Outbox == nil, logger: d.Logger}
	if err := r.sequence.open(ctx, d.DB); err != nil {
		return nil, err
	}
	if _, err := r.authorities.load(ctx, d.DB, true); err != nil {
		return nil, fmt.Errorf("registry: read the device CA certificates: %w", err)
	}
	return r, nil
}

// ticksAtEpoch is 1970-01-01 in units of 100 ns since the year 1, the unit of
// generation ids.
const ticksAtEpoch = 621_355_968_000_000_000

// nextGeneration gives a number that no identity had before: the time, or one
// more than the last when the clock did not move on.
func (r *Registry) nextGeneration(now time.Time, n int) (first uint64) {
	for {
		last := r.generation.Load()
		first = max(ticksAtEpoch+uint64(now.UnixNano())/100, last+1)
		if r.generation.CompareAndSwap(last, first+uint64(n)-1) {
			return first
		}
	}
}

// madeAt is the time behind a generation id.
func madeAt(generation uint64) time.Time {
	return time.Unix(0, int64(generation-ticksAtEpoch)*100).UTC()
}

// newETag gives base64 text that does not repeat.
func newETag() string {
	var b [9]byte
	rand.Read(b[:])
	return base64.StdEncoding.EncodeToString(b[:])
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
		return &iot.Error{Code: iot.ServiceUnavailable, Message: "the registry is not available at the moment: try again later", Err: err}
	}
	return fmt.Errorf("registry: %s: %w", doing, err)
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func moment(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
