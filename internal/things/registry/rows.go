package registry

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

const deviceColumns = "id, generation, etag, status, status_reason, status_at, auth, key1, key2, thumb1, thumb2, sum, edge, scope, parents"

// selectDevices reads devices with their connection state, which a device that
// never connected does not have.
const selectDevices = "SELECT " + deviceColumns + ", COALESCE(connected, 0), COALESCE(connected_at, 0), COALESCE(active_at, 0) FROM device LEFT JOIN seen ON seen.device = device.id"

const moduleColumns = "device, id, generation, etag, managed_by, auth, key1, key2, thumb1, thumb2, sum, connected, connected_at, active_at"

type scanner interface{ Scan(dest ...any) error }

func scanDevice(db state.DB, row scanner, d *Device) error {
	var (
		generation, statusAt, connectedAt, activeAt int64
		sum                                         int64
		thumb1, thumb2                              sql.NullString
		parents                                     string
	)
	err := row.Scan(&d.ID, &generation, &d.ETag, &d.Status, &d.StatusReason, &statusAt, &d.Proof, &d.PrimaryKey, &d.SecondaryKey,
		&thumb1, &thumb2, &sum, &d.Edge, &d.Scope, &parents, &d.Connected, &connectedAt, &activeAt)
	if err != nil {
		return err
	}
	d.Generation, d.StatusSince = uint64(generation), moment(statusAt)
	d.PrimaryThumbprint, d.SecondaryThumbprint = thumb1.String, thumb2.String
	if sum != d.sum(iot.ID{Device: d.ID}, d.Generation, d.Status) {
		return state.DamagedRow(db, "device "+d.ID)
	}
	d.ParentScopes = strings.Fields(parents)
	d.Since, d.Last = moment(connectedAt), moment(activeAt)
	return nil
}

func scanModule(db state.DB, row scanner, m *Module) error {
	var (
		generation, connectedAt, activeAt int64
		sum                               int64
		thumb1, thumb2                    sql.NullString
	)
	err := row.Scan(&m.ID.Device, &m.ID.Module, &generation, &m.ETag, &m.ManagedBy, &m.Proof, &m.PrimaryKey, &m.SecondaryKey,
		&thumb1, &thumb2, &sum, &m.Connected, &connectedAt, &activeAt)
	if err != nil {
		return err
	}
	m.Generation = uint64(generation)
	m.PrimaryThumbprint, m.SecondaryThumbprint = thumb1.String, thumb2.String
	if sum != m.sum(m.ID, m.Generation, Enabled) {
		return state.DamagedRow(db, "module "+m.ID.String())
	}
	m.Since, m.Last = moment(connectedAt), moment(activeAt)
	return nil
}

func errNoDevice(id string) error {
	return iot.Errorf(iot.DeviceNotFound, "The requested device %s was not found.", id)
}

func errNoModule(id iot.ID) error {
	return iot.Errorf(iot.ModuleNotFound, "The requested module %s of device %s was not found.", id.Module, id.Device)
}

func (r *Registry) getDevice(ctx context.Context, tx state.Tx, id string) (Device, error) {
	var d Device
	err := scanDevice(r.db, tx.QueryRow(ctx, selectDevices+" WHERE id = ?", id), &d)
	if errors.Is(err, sql.ErrNoRows) {
		return d, errNoDevice(id)
	}
	return d, err
}

func (r *Registry) getModule(ctx context.Context, tx state.Tx, id iot.ID) (Module, error) {
	var m Module
	err := scanModule(r.db, tx.QueryRow(ctx, "SELECT "+moduleColumns+" FROM module WHERE device = ? AND id = ?", id.Device, id.Module), &m)
	if !errors.Is(err, sql.ErrNoRows) {
		return m, err
	}
	if err := deviceExists(ctx, tx, id.Device); err != nil {
		return m, err
	}
	return m, errNoModule(id)
}

// readDevice is getDevice outside a transaction.
func readDevice(ctx context.Context, db state.DB, id string) (d Device, err error) {
	err = scanDevice(db, getter{ctx, db, selectDevices + " WHERE id = ?", []any{id}}, &d)
	if errors.Is(err, sql.ErrNoRows) {
		return d, errNoDevice(id)
	}
	return d, err
}

// getter is a scanner of one row that is read when it is scanned.
type getter struct {
	ctx   context.Context
	db    state.DB
	query string
	args  []any
}

func (g getter) Scan(dest ...any) error { return g.db.Get(g.ctx, dest, g.query, g.args...) }

func deviceExists(ctx context.Context, tx state.Tx, id string) error {
	var one int
	err := tx.QueryRow(ctx, "SELECT 1 FROM device WHERE id = ?", id).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return errNoDevice(id)
	}
	return err
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// null keeps an empty text out of the row.
func null(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// blob keeps a nil key as NULL in both databases.
func blob(b []byte) any {
	if b == nil {
		return nil
	}
	return b
}

func deviceValues(d *Device) []any {
	return []any{
		d.ID, int64(d.Generation), d.ETag, int64(d.Status), d.StatusReason, nanos(d.StatusSince), int64(d.Proof),
		blob(d.PrimaryKey), blob(d.SecondaryKey), null(d.PrimaryThumbprint), null(d.SecondaryThumbprint),
		d.sum(iot.ID{Device: d.ID}, d.Generation, d.Status), flag(d.Edge), d.Scope, strings.Join(d.ParentScopes, " "),
	}
}

func moduleValues(m *Module) []any {
	return []any{
		m.ID.Device, m.ID.Module, int64(m.Generation), m.ETag, m.ManagedBy, int64(m.Proof),
		blob(m.PrimaryKey), blob(m.SecondaryKey), null(m.PrimaryThumbprint), null(m.SecondaryThumbprint),
		m.sum(m.ID, m.Generation, Enabled), flag(m.Connected), nanos(m.Since), nanos(m.Last),
	}
}

// insertDevice answers false when the id is taken.
func insertDevice(ctx context.Context, tx state.Tx, d *Device) (bool, error) {
	n, err := tx.Exec(ctx, "INSERT INTO device ("+deviceColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
		deviceValues(d)...)
	return n == 1, err
}

// insertModule is for an id that is known to be free.
func insertModule(ctx context.Context, tx state.Tx, m *Module) error {
	_, err := tx.Exec(ctx, "INSERT INTO module ("+moduleColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		moduleValues(m)...)
	return err
}

// updateDevice writes what a caller may change; connection state is left to
// SaveActivity.
func updateDevice(ctx context.Context, tx state.Tx, d *Device) error {
	_, err := tx.Exec(ctx, "UPDATE device SET etag = ?, status = ?, status_reason = ?, status_at = ?, auth = ?, key1 = ?, key2 = ?, thumb1 = ?, thumb2 = ?, sum = ?, edge = ?, scope = ?, parents = ? WHERE id = ?",
		d.ETag, int64(d.Status), d.StatusReason, nanos(d.StatusSince), int64(d.Proof), blob(d.PrimaryKey), blob(d.SecondaryKey),
		null(d.PrimaryThumbprint), null(d.SecondaryThumbprint), d.sum(iot.ID{Device: d.ID}, d.Generation, d.Status), flag(d.Edge), d.Scope, strings.Join(d.ParentScopes, " "), d.ID)
	return err
}

func updateModule(ctx context.Context, tx state.Tx, m *Module) error {
	_, err := tx.Exec(ctx, "UPDATE module SET etag = ?, managed_by = ?, auth = ?, key1 = ?, key2 = ?, thumb1 = ?, thumb2 = ?, sum = ? WHERE device = ? AND id = ?",
		m.ETag, m.ManagedBy, int64(m.Proof), blob(m.PrimaryKey), blob(m.SecondaryKey), null(m.PrimaryThumbprint), null(m.SecondaryThumbprint),
		m.sum(m.ID, m.Generation, Enabled), m.ID.Device, m.ID.Module)
	return err
}
