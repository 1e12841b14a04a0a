package outbox

import (
	"context"
	"time"

	"dunlin/internal/engine/state"
)

// How long a node relays without telling that it still does, and how often it
// tells. A node that dies holds up the others for as long.
const (
	leaseSeconds = "10 seconds"
	leaseRenewal = 3 * time.Second
)

// The clock of the server decides, as those of nodes differ.
const (
	takeLease    = "UPDATE outbox_relay SET holder = ?, until = clock_timestamp() + INTERVAL '" + leaseSeconds + "' WHERE holder = ? OR until < clock_timestamp()"
	releaseLease = "UPDATE outbox_relay SET until = '-infinity' WHERE holder = ?"
)

// lease lets one node of several relay. A store of SQLite has one node only.
type lease struct {
	box    *Box
	shared bool
	mine   bool
	until  time.Time // when to renew or to ask again
}

func (l *lease) init(x *Box) {
	l.box, l.shared = x, x.db.Dialect() == state.PostgreSQL
}

// hold reports whether this node is the one that relays.
func (l *lease) hold(ctx context.Context) (bool, error) {
	now := time.Now()
	if !l.shared || now.Before(l.until) {
		return !l.shared || l.mine, nil
	}
	l.mine = false
	err := l.box.db.Write(ctx, func(tx state.Tx) error {
		n, err := tx.Exec(ctx, takeLease, l.box.node, l.box.node)
		l.mine = n == 1
		return err
	})
	if err != nil {
		l.mine = false
		return false, err
	}
	l.until = now.Add(leaseRenewal)
	return l.mine, nil
}

// release lets another node go on at once.
func (l *lease) release(ctx context.Context) error {
	if !l.shared || !l.mine {
		return nil
	}
	l.mine, l.until = false, time.Time{}
	return l.box.db.Write(ctx, func(tx state.Tx) error {
		_, err := tx.Exec(ctx, releaseLease, l.box.node)
		return err
	})
}
