package outbox

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/eventlog"
	"dunlin/internal/engine/leader"
	"dunlin/internal/engine/state"
)

//go:embed migrations
var migrations embed.FS

// Deps is what the box needs.
type Deps struct {
	DB         state.DB
	Log        eventlog.Log
	Hub        string // name of the hub, for the properties of events
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Box keeps events until they are in the log.
type Box struct {
	db      state.DB
	logger  *slog.Logger
	metrics *metrics
	wake    chan struct{} // capacity 1: something was put in

	running sync.Mutex // held by whoever relays
	relay   relay
}

// Open brings the schema up to date and gives the box. It holds nothing that
// must be closed.
func Open(ctx context.Context, d Deps) (*Box, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	if err := d.DB.Migrate(ctx, "outbox", files); err != nil {
		return nil, err
	}
	seat, err := leader.Open(ctx, d.DB, "outbox")
	if err != nil {
		return nil, err
	}
	x := &Box{db: d.DB, logger: d.Logger, wake: make(chan struct{}, 1)}
	x.metrics = newMetrics(context.WithoutCancel(ctx), d.DB, d.Registerer)
	x.relay.init(x, d.Log, seat, d.Hub)
	return x, nil
}

const insertRow = "INSERT INTO outbox (body) VALUES (?)"

// Put stores the events of b with the transaction, as one row, and does
// nothing when there are none; nor does a nil Box, whose events nobody wants.
// Call it last in the transaction: the order of events is the order of Put
// among transactions that wait for each other's rows. b stays the caller's and
// may be put again if the transaction is run again.
func (x *Box) Put(ctx context.Context, tx state.Tx, b *Batch) error {
	if x == nil || b == nil || b.count == 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, insertRow, b.seal()); err != nil {
		return err
	}
	select {
	case x.wake <- struct{}{}:
	default:
	}
	return nil
}
