package configuration

import (
	"context"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

// Status says that a twin is or is to be as a configuration wants it.
type Status struct {
	ID            iot.ID
	Generation    uint64 // of the identity
	Configuration string
	Status        string // Targeted or Applied
}

// Statuses calls each for what is noted of devices and, in the order of the
// ids of configurations, of their modules. It is for those who read twins with
// a transaction of their own; db is the store of tx.
func Statuses(ctx context.Context, db state.DB, tx state.Tx, devices []string, each func(Status)) error {
	where, arg, err := among(db.Dialect(), "t.device", devices)
	if err != nil {
		return err
	}
	rows, err := tx.Query(ctx, `SELECT t.device, t.module, t.generation, c.id, t.status FROM configuration_target t JOIN configuration c ON c.number = t.configuration AND c.deleted = 0
WHERE `+where+" ORDER BY t.device, t.module, c.id", arg)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var s Status
		var generation int64
		var status int
		if err := rows.Scan(&s.ID.Device, &s.ID.Module, &generation, &s.Configuration, &status); err != nil {
			return err
		}
		s.Generation, s.Status = uint64(generation), statusWords[status]
		each(s)
	}
	return rows.Err()
}

// Of gives what is noted of one twin, by the id of the configuration, nil
// when there is nothing.
func (r *Room) Of(ctx context.Context, id iot.ID, generation uint64) (out []Status, err error) {
	if !r.busy() {
		return nil, nil
	}
	err = r.db.Read(ctx, func(tx state.Tx) error {
		out = nil
		return Statuses(ctx, r.db, tx, []string{id.Device}, func(s Status) {
			if s.ID == id && s.Generation == generation {
				out = append(out, s)
			}
		})
	})
	return out, stored(err, "read the configurations of a twin")
}
