package registry

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

const maxManagedBy = 128 // bytes

// Module gives one module.
func (r *Registry) Module(ctx context.Context, id iot.ID) (m Module, err error) {
	if err := checkModuleID(id); err != nil {
		return m, err
	}
	err = r.db.Read(ctx, func(tx state.Tx) error {
		m, err = r.getModule(ctx, tx, id)
		return err
	})
	return m, stored(err, "read a module")
}

// Modules gives all modules of a device in the order of their ids.
func (r *Registry) Modules(ctx context.Context, device string) (list []Module, err error) {
	if !iot.ValidID(device) {
		return nil, errBadID("device", device)
	}
	err = r.db.Read(ctx, func(tx state.Tx) error {
		list = nil
		if err := deviceExists(ctx, tx, device); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, "SELECT "+moduleColumns+" FROM module WHERE device = ? ORDER BY id", device)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var m Module
			if err := scanModule(r.db, rows, &m); err != nil {
				if r.passOver(err) {
					continue
				}
				return err
			}
			list = append(list, m)
		}
		return rows.Err()
	})
	return list, stored(err, "list modules")
}

// PutModule makes a module when match is not set, else it changes one.
func (r *Registry) PutModule(ctx context.Context, spec ModuleSpec, match Match, now time.Time) (m Module, ended []Ended, err error) {
	if err := spec.check(); err != nil {
		return m, nil, err
	}
	err = r.db.Write(ctx, func(tx state.Tx) error {
		var err error
		if match.set {
			m, ended, err = r.changeModule(ctx, tx, spec, match)
			return err
		}
		l := r.lifecycle(now)
		ended = nil
		if m, err = r.makeModule(ctx, tx, spec, l); err != nil {
			return err
		}
		return l.put(ctx, tx)
	})
	return m, ended, stored(err, "write a module")
}

// DeleteModule deletes a module.
func (r *Registry) DeleteModule(ctx context.Context, id iot.ID, match Match) (ended []Ended, err error) {
	if err := checkModuleID(id); err != nil {
		return nil, err
	}
	err = r.db.Write(ctx, func(tx state.Tx) error {
		var err error
		l := r.lifecycle(time.Now())
		if ended, err = dropModule(ctx, tx, id, match, l); err != nil {
			return err
		}
		return l.put(ctx, tx)
	})
	return ended, stored(err, "delete a module")
}

func checkModuleID(id iot.ID) error {
	if !iot.ValidID(id.Device) {
		return errBadID("device", id.Device)
	}
	if !iot.ValidID(id.Module) {
		return errBadID("module", id.Module)
	}
	return nil
}

func isSystem(module string) bool { return module == EdgeAgent || module == EdgeHub }

func errSystem(verb, module string) error {
	return iot.Errorf(iot.SystemModuleUnauthorized, "the system module %s cannot be %s: it comes and goes with capabilities.iotEdge of its device", module, verb)
}

func (spec *ModuleSpec) check() error {
	if err := checkModuleID(spec.ID); err != nil {
		return err
	}
	if spec.ManagedBy != nil && (len(*spec.ManagedBy) > maxManagedBy || strings.ContainsRune(*spec.ManagedBy, 0)) {
		return iot.Errorf(iot.ArgumentInvalid, "managedBy is not valid: at most %d bytes of text", maxManagedBy)
	}
	return nil
}

func (r *Registry) makeModule(ctx context.Context, tx state.Tx, spec ModuleSpec, l *lifecycle) (Module, error) {
	if isSystem(spec.ID.Module) {
		return Module{}, errSystem("created", spec.ID.Module)
	}
	m := Module{ID: spec.ID, Generation: r.nextGeneration(l.now, 1), ETag: newETag()}
	var err error
	if m.Secrets, err = spec.Secrets.change(Secrets{}); err != nil {
		return m, err
	}
	if spec.ManagedBy != nil {
		m.ManagedBy = *spec.ManagedBy
	}
	if err := deviceExists(ctx, tx, m.ID.Device); err != nil {
		return m, err
	}
	_, err = r.getModule(ctx, tx, m.ID)
	if err == nil {
		return m, iot.Errorf(iot.ModuleAlreadyExists, "A module with ID '%s' is already registered on device '%s'.", m.ID.Module, m.ID.Device)
	}
	if iot.CodeOf(err) != iot.ModuleNotFound {
		return m, err
	}
	if err := room(ctx, tx, m.ID.Device, 1); err != nil {
		return m, err
	}
	l.created(m.ID, m.Generation)
	return m, insertModule(ctx, tx, &m)
}

// room checks that the device can take n more modules.
func room(ctx context.Context, tx state.Tx, device string, n int) error {
	var have int
	if err := tx.QueryRow(ctx, "SELECT count(*) FROM module WHERE device = ?", device).Scan(&have); err != nil {
		return err
	}
	if have+n > MaxModules {
		return iot.Errorf(iot.TooManyModules, "the device %s has %d modules, at most %d are allowed", device, have, MaxModules)
	}
	return nil
}

func (r *Registry) changeModule(ctx context.Context, tx state.Tx, spec ModuleSpec, match Match) (Module, []Ended, error) {
	old, err := r.getModule(ctx, tx, spec.ID)
	if err != nil {
		return old, nil, err
	}
	if err := match.check(spec.ID, old.ETag); err != nil {
		return old, nil, err
	}
	m := old
	m.ETag = newETag()
	if m.Secrets, err = spec.Secrets.change(old.Secrets); err != nil {
		return old, nil, err
	}
	if spec.ManagedBy != nil {
		m.ManagedBy = *spec.ManagedBy
	}
	var ended []Ended
	if m.weaker(&old.Secrets) {
		ended = []Ended{{ID: m.ID, Generation: m.Generation, Reason: iot.Errorf(iot.UnauthorizedAccess, "the keys or thumbprints of the module %s were changed", m.ID)}}
	}
	return m, ended, updateModule(ctx, tx, &m)
}

// dropModule reads no more than it needs, so that a damaged row can be deleted.
func dropModule(ctx context.Context, tx state.Tx, id iot.ID, match Match, l *lifecycle) ([]Ended, error) {
	var (
		etag       string
		generation int64
		connected  bool
	)
	err := tx.QueryRow(ctx, "SELECT etag, generation, connected FROM module WHERE device = ? AND id = ?", id.Device, id.Module).
		Scan(&etag, &generation, &connected)
	if errors.Is(err, sql.ErrNoRows) {
		if err := deviceExists(ctx, tx, id.Device); err != nil {
			return nil, err
		}
		return nil, errNoModule(id)
	}
	if err != nil {
		return nil, err
	}
	if isSystem(id.Module) {
		return nil, errSystem("deleted", id.Module)
	}
	if err := match.check(id, etag); err != nil {
		return nil, err
	}
	l.deleted(id, uint64(generation), connected)
	_, err = tx.Exec(ctx, "DELETE FROM module WHERE device = ? AND id = ?", id.Device, id.Module)
	return []Ended{{ID: id, Generation: uint64(generation), Reason: iot.Errorf(iot.ModuleNotFound, "the module %s was deleted", id)}}, err
}

func (r *Registry) addEdgeModules(ctx context.Context, tx state.Tx, device string, l *lifecycle) error {
	for _, name := range [...]string{EdgeAgent, EdgeHub} {
		m := Module{
			ID: iot.ID{Device: device, Module: name}, Generation: r.nextGeneration(l.now, 1), ETag: newETag(),
			ManagedBy: "iotEdge", Secrets: Secrets{PrimaryKey: newKey(), SecondaryKey: newKey()},
		}
		if err := insertModule(ctx, tx, &m); err != nil {
			return err
		}
		l.created(m.ID, m.Generation)
	}
	return nil
}

func dropEdgeModules(ctx context.Context, tx state.Tx, device string, l *lifecycle) ([]Ended, error) {
	var ended []Ended
	for _, name := range [...]string{EdgeAgent, EdgeHub} {
		id := iot.ID{Device: device, Module: name}
		var generation int64
		var connected bool
		err := tx.QueryRow(ctx, "DELETE FROM module WHERE device = ? AND id = ? RETURNING generation, connected", device, name).Scan(&generation, &connected)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, err
		}
		if err == nil {
			l.deleted(id, uint64(generation), connected)
		}
		ended = append(ended, Ended{ID: id, Generation: uint64(generation), Reason: iot.Errorf(iot.ModuleNotFound, "the module %s was deleted", id)})
	}
	return ended, nil
}
