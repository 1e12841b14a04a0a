// Package leader lets one node of several on one database do a piece of work:
// relay events, run jobs, bring twins in line with configurations. The table
// leader_seat says who does, and until when; a node that dies holds up the
// others until then. A store of SQLite has one node only, which always leads.
package leader

import (
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"dunlin/internal/engine/state"
)

//go:embed migrations
var migrations embed.FS

// ErrLost reports work of a node that does not lead any more.
var ErrLost = errors.New("leader: another node does this work now")

// How long a node leads without telling that it still does, and how often it
// tells. trust is how long it may go on when it cannot tell: less than a lease,
// as it takes time to stop.
const (
	length  = "10 seconds"
	renewal = 3 * time.Second
	trust   = 7 * time.Second
	patient = 3 * time.Second // for the answer of the store
)

// The clock of the server decides, as those of nodes differ.
const (
	renew = "UPDATE leader_seat SET until = clock_timestamp() + INTERVAL '" + length + "' WHERE name = ? AND holder = ?"
	take  = "INSERT INTO leader_seat (name, holder, until) VALUES (?, ?, clock_timestamp() + INTERVAL '" + length + "') " +
		"ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until " +
		"WHERE leader_seat.holder = excluded.holder OR leader_seat.until < clock_timestamp()"
	leave = "UPDATE leader_seat SET until = '-infinity' WHERE name = ? AND holder = ?"
	// The lock makes whoever takes over wait for the end of the transaction.
	guard = "SELECT holder FROM leader_seat WHERE name = ? FOR SHARE"
)

// Seat is one piece of work as one node sees it. Hold and Release belong to one
// goroutine; the other methods may be called by any.
type Seat struct {
	db     state.DB
	name   string
	node   string // names this seat among those of other nodes
	shared bool

	mine  bool
	again time.Time // when to renew or to ask again
	sure  time.Time // until when it is this node's, whatever the store says
}

// Open gives the seat for a piece of work, and brings the schema up to date.
func Open(ctx context.Context, db state.DB, name string) (*Seat, error) {
	s := &Seat{db: db, name: name, node: rand.Text(), shared: db.Dialect() == state.PostgreSQL}
	if !s.shared {
		return s, nil
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("leader: %w", err)
	}
	return s, db.Migrate(ctx, "leader", files)
}

// Shared reports whether there may be other nodes.
func (s *Seat) Shared() bool { return s.shared }

// Hold reports whether this node leads, and makes it the leader if there is
// none. Call it every second or so while there is work; mostly it answers
// without a question to the store. A leader that cannot reach the store remains
// one for some seconds; then the error is answered. Whoever is told that it
// does not lead any more stops its work before it calls again.
func (s *Seat) Hold(ctx context.Context) (bool, error) {
	now := time.Now()
	if !s.shared || now.Before(s.again) {
		return !s.shared || s.mine, nil
	}
	within, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	// A leader that was replaced for a while must learn of it, so it renews only
	// what is still its own.
	statement := take
	if s.mine {
		statement = renew
	}
	var n int64
	err := s.db.Write(within, func(tx state.Tx) (err error) {
		n, err = tx.Exec(within, statement, s.name, s.node)
		return err
	})
	switch {
	case err == nil:
		s.mine = n == 1
		s.again, s.sure = now.Add(renewal), now.Add(trust)
		return s.mine, nil
	case s.mine && time.Now().Before(s.sure):
		return true, nil
	}
	s.mine = false
	return false, err
}

// Release lets another node go on at once. A node that led must have stopped
// its work.
func (s *Seat) Release(ctx context.Context) error {
	if !s.shared || !s.mine {
		return nil
	}
	s.mine, s.again = false, time.Time{}
	return s.db.Write(ctx, func(tx state.Tx) error {
		_, err := tx.Exec(ctx, leave, s.name, s.node)
		return err
	})
}

// Guard is called first in a transaction that only the leader may make. It
// answers ErrLost when another node has taken over, and holds others off until
// the transaction ends.
func (s *Seat) Guard(ctx context.Context, tx state.Tx) error {
	if !s.shared {
		return nil
	}
	var holder string
	if err := tx.QueryRow(ctx, guard, s.name).Scan(&holder); err != nil {
		return err
	}
	if holder != s.node {
		return ErrLost
	}
	return nil
}
