package quota

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"dunlin/internal/engine/state"
)

// day counts the messages of a day, which ends at midnight UTC.
type day struct {
	add    func(ctx context.Context, day, n int64) (used int64, err error) // to what is stored
	logger *slog.Logger
	most   int64 // of the hub
	meter  int   // bytes that count as one

	number atomic.Int64 // days since 1970
	stored atomic.Int64 // of all nodes, as the store has it
	fresh  atomic.Int64 // of this node, not stored yet
}

// storeEvery is how often the count is stored. What was counted since is
// forgotten when the process is killed.
const storeEvery = time.Second

func dayOf(t time.Time) int64 { return t.Unix() / int64(24*time.Hour/time.Second) }

func untilMidnight(t time.Time) time.Duration {
	const whole = 24 * time.Hour
	return whole - time.Duration(t.UnixNano()%int64(whole))
}

func openDay(ctx context.Context, db state.DB, c Config, logger *slog.Logger) (*day, error) {
	d := &day{add: ledger{db}.add, logger: logger}
	d.most, d.meter = c.Tier.perDay(c.Units)
	today := dayOf(time.Now())
	var used int64
	err := db.Get(ctx, []any{&used}, "SELECT used FROM quota_day WHERE day = ?", today)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	d.number.Store(today)
	d.stored.Store(used)
	return d, nil
}

// chunks gives as how many messages something of size bytes counts.
func (d *day) chunks(size int) int64 { return max(1, int64((size+d.meter-1)/d.meter)) }

func (d *day) used() int64 { return d.stored.Load() + d.fresh.Load() }

func (d *day) over() bool { return d.used() >= d.most }

func (d *day) note(n int64) { d.fresh.Add(n) }

func (d *day) run(ctx context.Context) error {
	failed := false
	store := func(ctx context.Context) {
		err := d.store(ctx)
		if err != nil && !failed {
			d.logger.Error("messages of the day not stored, they are counted in memory", slog.Any("error", err))
		}
		failed = err != nil
	}
	for {
		t := time.NewTimer(min(storeEvery, untilMidnight(time.Now())))
		select {
		case <-ctx.Done():
			t.Stop()
			store(context.WithoutCancel(ctx))
			return nil
		case <-t.C:
		}
		store(ctx)
		if today := dayOf(time.Now()); today != d.number.Load() {
			// What was not stored of yesterday is of no use any more.
			d.number.Store(today)
			d.stored.Store(0)
			d.fresh.Store(0)
		}
	}
}

const (
	addUsed = `INSERT INTO quota_day (day, used) VALUES (?, ?)
ON CONFLICT (day) DO UPDATE SET used = quota_day.used + excluded.used RETURNING used`
	dropOld = "DELETE FROM quota_day WHERE day < ?"
	keep    = 31 // days
)

// ledger is the count as the store has it.
type ledger struct{ db state.DB }

func (l ledger) add(ctx context.Context, day, n int64) (used int64, err error) {
	err = l.db.Write(ctx, func(tx state.Tx) error {
		if err := tx.QueryRow(ctx, addUsed, day, n).Scan(&used); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, dropOld, day-keep)
		return err
	})
	return used, err
}

// store adds what is fresh to what the store has of all nodes.
func (d *day) store(ctx context.Context) error {
	n := d.fresh.Load()
	if n == 0 {
		return nil
	}
	used, err := d.add(ctx, d.number.Load(), n)
	if err != nil {
		return err
	}
	// In this order too little is seen for a moment, never too much.
	d.fresh.Add(-n)
	d.stored.Store(used)
	return nil
}
