package registry

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

// Ended names a connection that a change has taken the ground from, and why.
// Whoever made the change ends it.
type Ended struct {
	ID         iot.ID
	Generation uint64
	Reason     *iot.Error
	connected  bool // as it is stored
}

// Deleted reports whether the identity is gone, and not only its connection.
func (e *Ended) Deleted() bool {
	return e.Reason.Code == iot.DeviceNotFound || e.Reason.Code == iot.ModuleNotFound
}

const maxStatusReason = 128 // characters

// Device gives one device.
func (r *Registry) Device(ctx context.Context, id string) (d Device, err error) {
	if !iot.ValidID(id) {
		return d, errBadID("device", id)
	}
	d, err = readDevice(ctx, r.db, id)
	return d, stored(err, "read a device")
}

// PutDevice makes a device when match is not set, else it changes one. It
// answers the device as it is afterwards and the connections to end.
func (r *Registry) PutDevice(ctx context.Context, spec DeviceSpec, match Match, now time.Time) (d Device, ended []Ended, err error) {
	if err := spec.check(); err != nil {
		return d, nil, err
	}
	err = r.db.Write(ctx, func(tx state.Tx) error {
		var err error
		l := r.lifecycle(now)
		if match.set {
			d, ended, err = r.changeDevice(ctx, tx, spec, match, l)
		} else {
			d, err = r.makeDevice(ctx, tx, spec, l)
			ended = nil
		}
		if err != nil {
			return err
		}
		return l.put(ctx, tx)
	})
	return d, ended, stored(err, "write a device")
}

// DeleteDevice deletes a device with its modules.
func (r *Registry) DeleteDevice(ctx context.Context, id string, match Match) (ended []Ended, err error) {
	if !iot.ValidID(id) {
		return nil, errNoDevice(id)
	}
	err = r.db.Write(ctx, func(tx state.Tx) error {
		var err error
		l := r.lifecycle(time.Now())
		if ended, err = dropDevice(ctx, tx, id, match, l); err != nil {
			return err
		}
		return l.put(ctx, tx)
	})
	return ended, stored(err, "delete a device")
}

func errBadID(kind, id string) *iot.Error {
	return iot.Errorf(iot.ArgumentInvalid,
		"the %s id '%.140s' is not valid: 1 to 128 of A-Z a-z 0-9 and - . + %% _ # * ? ! ( ) , : = @ $ '", kind, id)
}

// check finds what is wrong with a spec whatever the device is so far.
func (spec *DeviceSpec) check() error {
	if !iot.ValidID(spec.ID) {
		return errBadID("device", spec.ID)
	}
	if spec.StatusReason != nil && *spec.StatusReason != nil {
		if text := **spec.StatusReason; utf8.RuneCountInString(text) > maxStatusReason || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
			return iot.Errorf(iot.ArgumentInvalid, "statusReason is not valid: at most %d characters of UTF-8 text", maxStatusReason)
		}
	}
	if spec.ParentScopes != nil && len(*spec.ParentScopes) > 1 {
		return iot.Errorf(iot.InvalidDeviceScope, "parentScopes has %d entries, a device has at most one parent", len(*spec.ParentScopes))
	}
	return nil
}

// makeDevice makes every check before its first write, so that a bulk call can
// go on after the error of one entry.
func (r *Registry) makeDevice(ctx context.Context, tx state.Tx, spec DeviceSpec, l *lifecycle) (Device, error) {
	d := Device{ID: spec.ID, Generation: r.nextGeneration(l.now, 1), ETag: newETag()}
	var err error
	if d.Secrets, err = spec.Secrets.change(Secrets{}); err != nil {
		return d, err
	}
	if spec.Status != nil {
		d.Status = *spec.Status
	}
	if spec.StatusReason != nil {
		d.StatusReason = *spec.StatusReason
	}
	d.Edge = spec.Edge != nil && *spec.Edge
	if d.Edge {
		d.Scope = edgeScope(d.ID, d.Generation)
	}
	if err := d.place(ctx, tx, spec); err != nil {
		return d, err
	}
	fresh, err := insertDevice(ctx, tx, &d)
	if err != nil {
		return d, err
	}
	if !fresh {
		return d, iot.Errorf(iot.DeviceAlreadyExists, "A device with ID '%s' is already registered.", d.ID)
	}
	l.created(iot.ID{Device: d.ID}, d.Generation)
	if d.Edge {
		err = r.addEdgeModules(ctx, tx, d.ID, l)
	}
	return d, err
}

func (r *Registry) changeDevice(ctx context.Context, tx state.Tx, spec DeviceSpec, match Match, l *lifecycle) (Device, []Ended, error) {
	old, err := r.getDevice(ctx, tx, spec.ID)
	if err != nil {
		return old, nil, err
	}
	if err := match.check(iot.ID{Device: spec.ID}, old.ETag); err != nil {
		return old, nil, err
	}
	d := old
	d.ETag = newETag()
	if d.Secrets, err = spec.Secrets.change(old.Secrets); err != nil {
		return old, nil, err
	}
	if spec.Status != nil && *spec.Status != old.Status {
		d.Status, d.StatusSince = *spec.Status, l.now
	}
	if spec.StatusReason != nil {
		d.StatusReason = *spec.StatusReason
	}
	if spec.Edge != nil && *spec.Edge != old.Edge {
		d.Edge, d.Scope, d.ParentScopes = *spec.Edge, "", nil
		if d.Edge {
			d.Scope = edgeScope(d.ID, d.Generation)
			if err := room(ctx, tx, d.ID, 2); err != nil {
				return old, nil, err
			}
		}
	}
	if err := d.place(ctx, tx, spec); err != nil {
		return old, nil, err
	}
	var ended []Ended
	switch {
	case d.Status == Disabled && old.Status != Disabled:
		ended, err = endAll(ctx, tx, d.ID, d.Generation, iot.Errorf(iot.DeviceDisabled, "the device %s was disabled", d.ID))
		if err != nil {
			return old, nil, err
		}
	case d.weaker(&old.Secrets):
		ended = []Ended{{
			ID: iot.ID{Device: d.ID}, Generation: d.Generation,
			Reason: iot.Errorf(iot.UnauthorizedAccess, "the keys or thumbprints of the device %s were changed", d.ID),
		}}
	}
	if err := updateDevice(ctx, tx, &d); err != nil {
		return old, nil, err
	}
	if d.Edge == old.Edge {
		return d, ended, nil
	}
	if d.Edge {
		return d, ended, r.addEdgeModules(ctx, tx, d.ID, l)
	}
	gone, err := dropEdgeModules(ctx, tx, d.ID, l)
	return d, append(ended, gone...), err
}

// dropDevice reads no more than it needs, so that a damaged row can be deleted.
func dropDevice(ctx context.Context, tx state.Tx, id string, match Match, l *lifecycle) ([]Ended, error) {
	var (
		etag       string
		generation int64
	)
	err := tx.QueryRow(ctx, "SELECT etag, generation FROM device WHERE id = ?", id).Scan(&etag, &generation)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, errNoDevice(id)
	}
	if err != nil {
		return nil, err
	}
	if err := match.check(iot.ID{Device: id}, etag); err != nil {
		return nil, err
	}
	ended, err := endAll(ctx, tx, id, uint64(generation), iot.Errorf(iot.DeviceNotFound, "the device %s was deleted", id))
	if err != nil {
		return nil, err
	}
	if _, err := tx.Exec(ctx, "DELETE FROM module WHERE device = ?", id); err != nil {
		return nil, err
	}
	err = tx.QueryRow(ctx, "DELETE FROM seen WHERE device = ? RETURNING connected", id).Scan(&ended[0].connected)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	for _, e := range slices.Backward(ended) { // modules first
		l.deleted(e.ID, e.Generation, e.connected)
	}
	_, err = tx.Exec(ctx, "DELETE FROM device WHERE id = ?", id)
	return ended, err
}

// endAll names the device, first, and all of its modules.
func endAll(ctx context.Context, tx state.Tx, id string, generation uint64, reason *iot.Error) ([]Ended, error) {
	ended := []Ended{{ID: iot.ID{Device: id}, Generation: generation, Reason: reason}}
	rows, err := tx.Query(ctx, "SELECT id, generation, connected FROM module WHERE device = ?", id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		e := Ended{ID: iot.ID{Device: id}, Reason: reason}
		var generation int64
		if err := rows.Scan(&e.ID.Module, &generation, &e.connected); err != nil {
			return nil, err
		}
		e.Generation = uint64(generation)
		ended = append(ended, e)
	}
	return ended, rows.Err()
}
