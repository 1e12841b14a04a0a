package registry

import (
	"context"

	"dunlin/internal/engine/state"
)

// Page gives up to n devices in the order of their ids, those after the id
// after, with all of their modules. more reports whether there are others
// behind last.
func (r *Registry) Page(ctx context.Context, after string, n int) (devices []Device, modules map[string][]Module, last string, more bool, err error) {
	err = r.db.Read(ctx, func(tx state.Tx) error {
		devices, modules, last, more = make([]Device, 0, n), nil, after, false
		read := 0
		if err := each(ctx, tx, selectDevices+" WHERE id > ? ORDER BY id LIMIT ?", []any{after, n}, func(row scanner) error {
			read++
			var d Device
			err := scanDevice(r.db, row, &d)
			if d.ID > last {
				last = d.ID
			}
			if err == nil {
				devices = append(devices, d)
			} else if r.passOver(err) {
				return nil
			}
			return err
		}); err != nil {
			return err
		}
		if more = read == n; read == 0 {
			return nil
		}
		return each(ctx, tx, "SELECT "+moduleColumns+" FROM module WHERE device > ? AND device <= ? ORDER BY device, id", []any{after, last}, func(row scanner) error {
			var m Module
			if err := scanModule(r.db, row, &m); err != nil {
				if r.passOver(err) {
					return nil
				}
				return err
			}
			if modules == nil {
				modules = map[string][]Module{}
			}
			modules[m.ID.Device] = append(modules[m.ID.Device], m)
			return nil
		})
	})
	return devices, modules, last, more, stored(err, "read a page of devices")
}

func each(ctx context.Context, tx state.Tx, query string, args []any, take func(row scanner) error) error {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := take(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
