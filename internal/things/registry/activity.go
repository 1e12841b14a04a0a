package registry

import (
	"context"
	"slices"
	"strings"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

// Seen is a connection state to be stored.
type Seen struct {
	ID iot.ID
	Activity
}

// seenBatch is the number of states in one write, so that a large batch does
// not hold up other writes; seenRows of devices go with one statement, since
// most of what a state costs is the statement around it.
const (
	seenBatch = 512
	seenRows  = 64
)

// Statements for one row and for seenRows of them. The values of the first row
// carry the types; both databases name the columns of VALUES column1 and so on.
const (
	seenHead = `INSERT INTO seen (device, connected, connected_at, active_at)
SELECT v.column1, v.column2, v.column3, v.column4
FROM (VALUES (CAST(? AS TEXT), CAST(? AS SMALLINT), CAST(? AS BIGINT), CAST(? AS BIGINT))`

	seenTail = `) AS v WHERE EXISTS (SELECT 1 FROM device WHERE device.id = v.column1)
ON CONFLICT (device) DO UPDATE SET connected = excluded.connected, connected_at = excluded.connected_at, active_at = excluded.active_at`
)

var (
	seenOne  = seenHead + seenTail
	seenMany = seenHead + strings.Repeat(",(?,?,?,?)", seenRows-1) + seenTail
)

// SaveActivity stores connection states and last activities, at most one of
// each identity. Identities that are gone are passed over. ETags do not change.
// It sorts the list: neighbours share pages, and a write costs by the page.
func (r *Registry) SaveActivity(ctx context.Context, list []Seen) error {
	slices.SortFunc(list, func(a, b Seen) int { return strings.Compare(a.ID.Device, b.ID.Device) })
	for len(list) > 0 {
		part := list[:min(seenBatch, len(list))]
		list = list[len(part):]
		if err := r.db.Write(ctx, func(tx state.Tx) error { return saveSeen(ctx, tx, part) }); err != nil {
			return stored(err, "store connection states")
		}
	}
	return nil
}

func saveSeen(ctx context.Context, tx state.Tx, list []Seen) error {
	args := make([]any, 0, 4*seenRows)
	for _, s := range list {
		if s.ID.IsModule() {
			if _, err := tx.Exec(ctx, "UPDATE module SET connected = ?, connected_at = ?, active_at = ? WHERE device = ? AND id = ?",
				flag(s.Connected), nanos(s.Since), nanos(s.Last), s.ID.Device, s.ID.Module); err != nil {
				return err
			}
			continue
		}
		args = append(args, s.ID.Device, flag(s.Connected), nanos(s.Since), nanos(s.Last))
		if len(args) == 4*seenRows {
			if _, err := tx.Exec(ctx, seenMany, args...); err != nil {
				return err
			}
			args = args[:0]
		}
	}
	for ; len(args) > 0; args = args[4:] {
		if _, err := tx.Exec(ctx, seenOne, args[:4]...); err != nil {
			return err
		}
	}
	return nil
}

// ForgetConnections clears the stored state "connected" of every identity: at
// the start of the only node nobody is connected.
func (r *Registry) ForgetConnections(ctx context.Context) error {
	return stored(r.db.Write(ctx, func(tx state.Tx) error {
		if _, err := tx.Exec(ctx, "UPDATE seen SET connected = 0, connected_at = active_at WHERE connected = 1"); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "UPDATE module SET connected = 0, connected_at = active_at WHERE connected = 1")
		return err
	}), "clear connection states")
}
