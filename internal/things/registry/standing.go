package registry

import (
	"context"
	"database/sql"
	"errors"

	"dunlin/internal/iot"
)

// Standing is what other rooms need to know of an identity.
type Standing struct {
	// Generation is that of the device or of the module itself.
	Generation uint64
	// Status is that of the device.
	Status Status
}

const (
	deviceStanding = "SELECT generation, status FROM device WHERE id = ?"
	moduleStanding = "SELECT m.generation, d.status FROM module m JOIN device d ON d.id = m.device WHERE m.device = ? AND m.id = ?"
)

// Standing tells whether an identity exists, with one read by primary key.
func (r *Registry) Standing(ctx context.Context, id iot.ID) (Standing, error) {
	var (
		s          Standing
		generation int64
		err        error
	)
	switch {
	case !iot.ValidID(id.Device):
		return s, errBadID("device", id.Device)
	case id.IsModule():
		if err := checkModuleID(id); err != nil {
			return s, err
		}
		err = r.db.Get(ctx, []any{&generation, &s.Status}, moduleStanding, id.Device, id.Module)
	default:
		err = r.db.Get(ctx, []any{&generation, &s.Status}, deviceStanding, id.Device)
	}
	s.Generation = uint64(generation)
	if !errors.Is(err, sql.ErrNoRows) {
		return s, stored(err, "read an identity")
	}
	if id.IsModule() {
		if _, err := r.Standing(ctx, iot.ID{Device: id.Device}); err != nil {
			return s, err
		}
		return s, errNoModule(id)
	}
	return s, errNoDevice(id.Device)
}
