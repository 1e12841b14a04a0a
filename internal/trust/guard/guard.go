// Package guard keeps the connects that were refused, with their decoded
// reason: why does my device not connect is what device developers ask most.
// Refusals of the same kind from the same place are counted, not repeated, so
// that a device which knocks every second fills one row.
package guard

import (
	"context"
	"embed"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

//go:embed migrations
var migrations embed.FS

// Refusal is one kind of refused connect of one identity from one address.
type Refusal struct {
	Device   string    `json:"deviceId"` // as claimed; empty when the peer never said
	Module   string    `json:"moduleId,omitempty"`
	Reason   string    `json:"reason"` // short and stable, such as token_expired
	Detail   string    `json:"detail"` // for people: what was wrong and what to do
	Remote   string    `json:"remote"` // address without port
	Protocol string    `json:"protocol"`
	Count    int64     `json:"count"`
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
}

// What is kept: rows in the store, and kinds waiting to be stored. Peers that
// have proven nothing can make rows, so both are bounded.
const (
	keepRows    = 10_000
	keepPending = 4_096
	flushEvery  = 2 * time.Second
	maxDetail   = 1_000
)

type key struct{ device, module, reason, remote string }

// Log keeps refusals.
type Log struct {
	db      state.DB
	logger  *slog.Logger
	refused *prometheus.CounterVec
	dropped prometheus.Counter

	mu      sync.Mutex
	pending map[key]*Refusal
}

// Open brings the store's schema up to date and gives the log; Run keeps it going.
func Open(ctx context.Context, db state.DB, logger *slog.Logger, reg prometheus.Registerer) (*Log, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	if err := db.Migrate(ctx, "guard", files); err != nil {
		return nil, err
	}
	l := &Log{
		db: db, logger: logger, pending: map[key]*Refusal{},
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dunlin_connects_refused_total",
			Help: "Refused connects by reason.",
		}, []string{"reason"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dunlin_refusals_dropped_total",
			Help: "Refused connects counted above but not kept for device problems, because too many kinds came at once.",
		}),
	}
	reg.MustRegister(l.refused, l.dropped)
	return l, nil
}

// Add notes a refusal; it never blocks on the store.
func (l *Log) Add(r Refusal) {
	l.refused.WithLabelValues(r.Reason).Inc()
	if !iot.ValidID(r.Device) {
		// What cannot be an id is of no use to search by, and may be anything.
		r.Detail = "claimed device id " + quote(r.Device) + ": " + r.Detail
		r.Device = ""
	}
	if r.Module != "" && !iot.ValidID(r.Module) {
		r.Module = ""
	}
	r.Detail = r.Detail[:min(len(r.Detail), maxDetail)]
	now := time.Now()
	k := key{r.Device, r.Module, r.Reason, r.Remote}
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.pending[k]; p != nil {
		p.Count++
		p.Last, p.Detail, p.Protocol = now, r.Detail, r.Protocol
		return
	}
	if len(l.pending) >= keepPending {
		l.dropped.Inc()
		return
	}
	r.Count, r.First, r.Last = 1, now, now
	l.pending[k] = &r
}

func quote(s string) string {
	const most = 64
	cut := s[:min(len(s), most)]
	b := make([]byte, 0, len(cut)+2)
	b = append(b, '"')
	for i := range len(cut) {
		if c := cut[i]; c >= 0x20 && c < 0x7f && c != '"' {
			b = append(b, c)
		} else {
			b = append(b, '?')
		}
	}
	return string(append(b, '"'))
}

// Run stores refusals in batches until ctx ends, then stores what is left.
func (l *Log) Run(ctx context.Context) error {
	t := time.NewTicker(flushEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			l.report(l.flush(context.WithoutCancel(ctx)))
			return nil
		case <-t.C:
			l.report(l.flush(ctx))
		}
	}
}

func (l *Log) report(err error) {
	if err != nil {
		l.logger.Error("refused connects not stored", slog.Any("error", err))
	}
}

const upsert = `INSERT INTO refusals (device, module, reason, remote, protocol, detail, count, first_at, last_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (device, module, reason, remote) DO UPDATE SET
  protocol = excluded.protocol, detail = excluded.detail,
  count = refusals.count + excluded.count, last_at = excluded.last_at`

// prune keeps the newest rows: what a flood of made-up ids writes, it also pushes out.
const prune = `DELETE FROM refusals WHERE last_at <
  (SELECT last_at FROM refusals ORDER BY last_at DESC LIMIT 1 OFFSET ?)`

func (l *Log) flush(ctx context.Context) error {
	l.mu.Lock()
	batch := l.pending
	if len(batch) == 0 {
		l.mu.Unlock()
		return nil
	}
	l.pending = map[key]*Refusal{}
	l.mu.Unlock()
	return l.db.Write(ctx, func(tx state.Tx) error {
		for _, r := range batch {
			if _, err := tx.Exec(ctx, upsert, r.Device, r.Module, r.Reason, r.Remote, r.Protocol,
				r.Detail, r.Count, r.First.UnixNano(), r.Last.UnixNano()); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, prune, keepRows)
		return err
	})
}

// Recent gives the newest refusals, newest first, of one device or, with an
// empty id, of all; n is at most 1000.
func (l *Log) Recent(ctx context.Context, device string, n int) ([]Refusal, error) {
	if err := l.flush(ctx); err != nil {
		return nil, err
	}
	query := `SELECT device, module, reason, remote, protocol, detail, count, first_at, last_at FROM refusals`
	var args []any
	if device != "" {
		query += ` WHERE device = ?`
		args = append(args, device)
	}
	query += ` ORDER BY last_at DESC LIMIT ?`
	args = append(args, max(1, min(n, 1000)))
	var out []Refusal
	err := l.db.Read(ctx, func(tx state.Tx) error {
		out = out[:0]
		rows, err := tx.Query(ctx, query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var r Refusal
			var first, last int64
			if err := rows.Scan(&r.Device, &r.Module, &r.Reason, &r.Remote, &r.Protocol, &r.Detail,
				&r.Count, &first, &last); err != nil {
				return err
			}
			r.First, r.Last = time.Unix(0, first).UTC(), time.Unix(0, last).UTC()
			out = append(out, r)
		}
		return rows.Err()
	})
	return out, err
}
