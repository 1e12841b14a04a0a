package registry

import (
	"context"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

// Seen is a connection state to be stored.
type Seen struct {
	ID iot.ID
	Activity
}

// seenBatch is the number of states in one write, so that a large batch does
// not hold up other writes.
const seenBatch = 500

// SaveActivity stores connection states and last activities. Identities that
// are gone are passed over. ETags do not change.
func (r *Registry) SaveActivity(ctx context.Context, list []Seen) error {
	for len(list) > 0 {
		part := list[:min(seenBatch, len(list))]
		list = list[len(part):]
		err := r.db.Write(ctx, func(tx state.Tx) error {
			for _, s := range part {
				query, args := "UPDATE device SET connected = ?, connected_at = ?, active_at = ? WHERE id = ?",
					[]any{flag(s.Connected), nanos(s.Since), nanos(s.Last), s.ID.Device}
				if s.ID.IsModule() {
					query = "UPDATE module SET connected = ?, connected_at = ?, active_at = ? WHERE device = ? AND id = ?"
					args = append(args, s.ID.Module)
				}
				if _, err := tx.Exec(ctx, query, args...); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return stored(err, "store connection states")
		}
	}
	return nil
}

// ForgetConnections clears the stored state "connected" of every identity: at
// the start of the only node nobody is connected.
func (r *Registry) ForgetConnections(ctx context.Context) error {
	return stored(r.db.Write(ctx, func(tx state.Tx) error {
		if _, err := tx.Exec(ctx, "UPDATE device SET connected = 0, connected_at = active_at WHERE connected = 1"); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "UPDATE module SET connected = 0, connected_at = active_at WHERE connected = 1")
		return err
	}), "clear connection states")
}
