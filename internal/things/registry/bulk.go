package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

// MaxBulk is the largest number of entries of one bulk call.
const MaxBulk = 100

// BulkMode says what to do with one entry of a bulk call.
type BulkMode uint8

// The modes.
const (
	BulkCreate BulkMode = iota
	BulkUpdate
	BulkUpdateIfMatch
	BulkDelete
	BulkDeleteIfMatch
	BulkCreateOrUpdate
	BulkCreateOrUpdateIfMatch
	BulkUpdateTwin
	BulkUpdateTwinIfMatch
)

var bulkModes = [...]string{
	"create", "update", "updateIfMatchETag", "delete", "deleteIfMatchETag", "createOrUpdate", "createOrUpdateIfMatchETag",
	"updateTwin", "updateTwinIfMatchETag",
}

// String gives the name of the mode, such as "updateIfMatchETag".
func (m BulkMode) String() string { return bulkModes[min(int(m), len(bulkModes)-1)] }

// ParseBulkMode reads the name of a mode in any case.
func ParseBulkMode(s string) (BulkMode, error) {
	for i, name := range bulkModes {
		if strings.EqualFold(s, name) {
			return BulkMode(i), nil
		}
	}
	return 0, iot.Errorf(iot.ArgumentInvalid, "importMode '%.40s' is not known: use one of %s", s, strings.Join(bulkModes[:], ", "))
}

// BulkEntry is one entry of a bulk call: a device, or a module when Module has
// an id.
type BulkEntry struct {
	Mode   BulkMode
	ETag   string
	Device DeviceSpec
	Module ModuleSpec
	// Err is what the caller already found wrong with the entry.
	Err error
}

// ID names the device or module of the entry.
func (e *BulkEntry) ID() iot.ID {
	if e.Module.ID.Module != "" {
		return e.Module.ID
	}
	return iot.ID{Device: e.Device.ID}
}

// BulkError is why one entry was not done.
type BulkError struct {
	ID   iot.ID
	Mode BulkMode
	Err  *iot.Error
}

// Bulk does each entry for itself and answers those that were refused. err is
// for the call as a whole; then nothing was done.
func (r *Registry) Bulk(ctx context.Context, entries []BulkEntry, now time.Time) (failed []BulkError, ended []Ended, err error) {
	switch {
	case len(entries) == 0:
		return nil, nil, iot.Errorf(iot.ArgumentInvalid, "the list of devices is empty: 1 to %d entries are allowed", MaxBulk)
	case len(entries) > MaxBulk:
		return nil, nil, iot.Errorf(iot.TooManyDevices, "the call has %d entries, at most %d are allowed", len(entries), MaxBulk)
	}
	times := make(map[iot.ID]int, len(entries))
	for i := range entries {
		times[entries[i].ID()]++
	}
	err = r.db.Write(ctx, func(tx state.Tx) error {
		failed, ended = nil, nil
		l := r.lifecycle(now)
		for i := range entries {
			e := &entries[i]
			err := e.Err
			if err == nil && times[e.ID()] > 1 {
				err = iot.Errorf(iot.DeviceDefinedTwice, "the identity %s is in the call %d times", e.ID(), times[e.ID()])
			}
			var gone []Ended
			if err == nil {
				gone, err = r.bulkOne(ctx, tx, e, l)
			}
			var refused *iot.Error
			switch {
			case err == nil:
				ended = append(ended, gone...)
			case errors.As(err, &refused):
				failed = append(failed, BulkError{ID: e.ID(), Mode: e.Mode, Err: refused})
			default:
				return fmt.Errorf("entry %d: %w", i, err)
			}
		}
		return l.put(ctx, tx)
	})
	if err != nil {
		return nil, nil, stored(err, "bulk call")
	}
	return failed, ended, nil
}

func (r *Registry) bulkOne(ctx context.Context, tx state.Tx, e *BulkEntry, l *lifecycle) ([]Ended, error) {
	match := Match{}
	switch e.Mode {
	case BulkUpdate, BulkDelete, BulkCreateOrUpdate:
		match = Any()
	case BulkUpdateIfMatch, BulkDeleteIfMatch, BulkCreateOrUpdateIfMatch:
		match = IfETag(e.ETag)
	case BulkUpdateTwin, BulkUpdateTwinIfMatch, BulkCreate:
	}
	id := e.ID()
	if e.Mode == BulkUpdateTwin || e.Mode == BulkUpdateTwinIfMatch {
		return nil, exists(ctx, tx, id)
	}
	if e.Mode == BulkDelete || e.Mode == BulkDeleteIfMatch {
		if id.IsModule() {
			if err := checkModuleID(id); err != nil {
				return nil, err
			}
			return dropModule(ctx, tx, id, match, l)
		}
		if !iot.ValidID(id.Device) {
			return nil, errBadID("device", id.Device)
		}
		return dropDevice(ctx, tx, id.Device, match, l)
	}
	change := e.changeDevice
	if id.IsModule() {
		change = e.changeModule
	}
	if e.Mode != BulkCreateOrUpdate && e.Mode != BulkCreateOrUpdateIfMatch {
		return change(ctx, tx, r, match, l)
	}
	ended, err := change(ctx, tx, r, match, l)
	if c := iot.CodeOf(err); c == iot.ModuleNotFound || (c == iot.DeviceNotFound && !id.IsModule()) {
		return change(ctx, tx, r, Match{}, l)
	}
	return ended, err
}

// exists is all that the registry has to do with a change of a twin.
func exists(ctx context.Context, tx state.Tx, id iot.ID) error {
	if !iot.ValidID(id.Device) {
		return errBadID("device", id.Device)
	}
	if err := deviceExists(ctx, tx, id.Device); err != nil || !id.IsModule() {
		return err
	}
	if err := checkModuleID(id); err != nil {
		return err
	}
	var one int
	err := tx.QueryRow(ctx, "SELECT 1 FROM module WHERE device = ? AND id = ?", id.Device, id.Module).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return errNoModule(id)
	}
	return err
}

func (e *BulkEntry) changeDevice(ctx context.Context, tx state.Tx, r *Registry, match Match, l *lifecycle) (ended []Ended, err error) {
	if err := e.Device.check(); err != nil {
		return nil, err
	}
	if match.set {
		_, ended, err = r.changeDevice(ctx, tx, e.Device, match, l)
	} else {
		_, err = r.makeDevice(ctx, tx, e.Device, l)
	}
	return ended, err
}

func (e *BulkEntry) changeModule(ctx context.Context, tx state.Tx, r *Registry, match Match, l *lifecycle) (ended []Ended, err error) {
	if err := e.Module.check(); err != nil {
		return nil, err
	}
	if match.set {
		_, ended, err = r.changeModule(ctx, tx, e.Module, match)
	} else {
		_, err = r.makeModule(ctx, tx, e.Module, l)
	}
	return ended, err
}
