package registry

import (
	"context"
	"errors"
	"log/slog"

	"dunlin/internal/engine/state"
)

// MaxPage is the largest number of devices in one page.
const MaxPage = 1000

// Devices gives up to n devices in the order of their ids, those after the id
// after; empty begins with the first.
func (r *Registry) Devices(ctx context.Context, after string, n int) (list []Device, err error) {
	n = max(0, min(n, MaxPage))
	err = r.db.Read(ctx, func(tx state.Tx) error {
		list = make([]Device, 0, min(n, 100))
		rows, err := tx.Query(ctx, selectDevices+" WHERE id > ? ORDER BY id LIMIT ?", after, n)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var d Device
			if err := scanDevice(r.db, rows, &d); err != nil {
				if r.passOver(err) {
					continue
				}
				return err
			}
			list = append(list, d)
		}
		return rows.Err()
	})
	return list, stored(err, "list devices")
}

// passOver leaves a damaged row out of a list, so that the others can be read.
func (r *Registry) passOver(err error) bool {
	damaged := errors.Is(err, state.ErrDamaged)
	if damaged {
		r.logger.Error("damaged row left out of a list", slog.Any("error", err))
	}
	return damaged
}

// Counts is the number of devices by status.
type Counts struct{ Total, Enabled, Disabled int64 }

// Count counts the devices.
func (r *Registry) Count(ctx context.Context) (c Counts, err error) {
	err = r.db.Read(ctx, func(tx state.Tx) error {
		if err := tx.QueryRow(ctx, "SELECT count(*) FROM device").Scan(&c.Total); err != nil {
			return err
		}
		return tx.QueryRow(ctx, "SELECT count(*) FROM device WHERE status = 1").Scan(&c.Disabled)
	})
	c.Enabled = c.Total - c.Disabled
	return c, stored(err, "count devices")
}
