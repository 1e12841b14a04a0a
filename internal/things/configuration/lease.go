package configuration

import (
	"context"
	"log/slog"
	"time"

	"dunlin/internal/engine/state"
)

// leaseRenewal is how often the node that does the work tells that it still
// does. A node that dies holds up the others for as long as a lease lasts.
const leaseRenewal = 3 * time.Second

// The clock of the server decides, as those of nodes differ.
const (
	takeLease    = "UPDATE configuration_lease SET holder = ?, until = clock_timestamp() + INTERVAL '10 seconds' WHERE holder = ? OR until < clock_timestamp()"
	releaseLease = "UPDATE configuration_lease SET until = '-infinity' WHERE holder = ?"
)

// lease lets one node of several bring twins in line: two could write what the
// other has just taken back. A store of SQLite has one node only.
type lease struct {
	room   *Room
	shared bool
	mine   bool
	until  time.Time // when to renew or to ask again
}

func (l *lease) hold(ctx context.Context) (bool, error) {
	now := time.Now()
	if !l.shared || now.Before(l.until) {
		return !l.shared || l.mine, nil
	}
	l.mine = false
	err := l.room.db.Write(ctx, func(tx state.Tx) error {
		n, err := tx.Exec(ctx, takeLease, l.room.node, l.room.node)
		l.mine = n == 1
		return err
	})
	if err != nil {
		l.mine = false
		return false, stored(err, "take the lease")
	}
	l.until = now.Add(leaseRenewal)
	return l.mine, nil
}

// release lets another node go on at once.
func (l *lease) release(ctx context.Context) {
	if !l.shared || !l.mine {
		return
	}
	l.mine = false
	err := l.room.db.Write(ctx, func(tx state.Tx) error {
		_, err := tx.Exec(ctx, releaseLease, l.room.node)
		return err
	})
	if err != nil {
		l.room.logger.Warn("lease not given back, other nodes wait for its end", slog.Any("error", err))
	}
}
