package registry

import (
	"context"
	"strings"
	"time"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

// Visit is a last activity of an identity without a connection.
type Visit struct {
	ID         iot.ID
	Generation uint64
	Last       time.Time
}

// A visit moves the last activity forward and leaves the connection as it is.
// Identities that are gone are passed over.
const (
	visitHead = "INSERT INTO seen (device, made, connected, connected_at, active_at)" +
		" SELECT d.id, d.generation, 0, 0, v.column3 FROM (VALUES "
	visitFirst = "(CAST(? AS TEXT), CAST(? AS BIGINT), CAST(? AS BIGINT))"
	visitMore  = ",(?,?,?)"
	visitTail  = ") AS v JOIN device d ON d.id = v.column1 AND d.generation = v.column2 WHERE true" +
		" ON CONFLICT (device) DO UPDATE SET" +
		" connected = CASE WHEN seen.made = excluded.made THEN seen.connected ELSE 0 END," +
		" connected_at = CASE WHEN seen.made = excluded.made THEN seen.connected_at ELSE 0 END," +
		" active_at = CASE WHEN seen.made = excluded.made AND seen.active_at > excluded.active_at THEN seen.active_at ELSE excluded.active_at END," +
		" made = excluded.made"
	visitModule = "UPDATE module SET active_at = ? WHERE device = ? AND id = ? AND generation = ? AND active_at < ?"
)

// SaveVisits stores visits, each identity once: all of them or none. They make
// no events and change no ETag.
func (r *Registry) SaveVisits(ctx context.Context, list []Visit) error {
	var devices, modules []Visit
	for i := range list {
		if list[i].ID.IsModule() {
			modules = append(modules, list[i])
		} else {
			devices = append(devices, list[i])
		}
	}
	return stored(r.db.Write(ctx, func(tx state.Tx) error {
		for left := devices; len(left) > 0; {
			n := min(len(left), visitsAtOnce)
			args := make([]any, 0, 3*n)
			for i := range left[:n] {
				v := &left[i]
				args = append(args, v.ID.Device, int64(v.Generation), nanos(v.Last))
			}
			if _, err := tx.Exec(ctx, visitHead+visitFirst+strings.Repeat(visitMore, n-1)+visitTail, args...); err != nil {
				return err
			}
			left = left[n:]
		}
		for i := range modules {
			v := &modules[i]
			if _, err := tx.Exec(ctx, visitModule, nanos(v.Last), v.ID.Device, v.ID.Module, int64(v.Generation), nanos(v.Last)); err != nil {
				return err
			}
		}
		return nil
	}), "store visits")
}

// visitsAtOnce is the number of rows in one statement.
const visitsAtOnce = 64
