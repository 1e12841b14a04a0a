package registry_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
	"dunlin/internal/things/registry"
	"dunlin/internal/wire/sas"
)

// TestAlteredRow changes values behind the back of the registry, as a bit that
// flips on the disk does: the row is reported as damaged, with its place and a
// remedy, and never taken for a wrong key. Other rows stay readable.
func TestAlteredRow(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		ctx, now := t.Context(), time.Now()
		r, _ := open(t, db)
		d, whole := create(t, r, "d1"), create(t, r, "whole")
		id := iot.ID{Device: "d1", Module: "m"}
		if _, _, err := r.PutModule(ctx, registry.ModuleSpec{ID: id}, registry.Match{}, now); err != nil {
			t.Fatal(err)
		}
		alter := func(query string, args ...any) {
			t.Helper()
			err := db.Write(ctx, func(tx state.Tx) error {
				_, err := tx.Exec(ctx, query, args...)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		key := append([]byte(nil), d.PrimaryKey...)
		key[7] ^= 4
		alter("UPDATE device SET key1 = ? WHERE id = 'd1'", key)
		alter("UPDATE module SET auth = 3 WHERE device = 'd1'")

		damaged := func(what string, err error) {
			t.Helper()
			if !errors.Is(err, state.ErrDamaged) || !strings.Contains(err.Error(), "d1") || !strings.Contains(err.Error(), db.Location()) || !strings.Contains(err.Error(), "remedy") {
				t.Errorf("%s: %v, want ErrDamaged with place and remedy", what, err)
			}
		}
		_, err := r.Device(ctx, "d1")
		damaged("read", err)
		_, err = r.Module(ctx, id)
		damaged("read the module", err)
		if list, err := r.Devices(ctx, "", 10); err != nil || len(list) != 1 || list[0].ID != "whole" {
			t.Errorf("the list has %d devices, %v; want the one that is whole", len(list), err)
		}
		claim := registry.Claim{ID: iot.ID{Device: "d1"}, Token: sas.Sign(hubName+"/devices/d1", d.PrimaryKey, now.Add(time.Hour), "")}
		_, err = r.Authenticate(ctx, claim, now)
		wantRefusal(t, err, registry.ReasonStoreNotAvailable, iot.ServiceUnavailable)
		if refused, ok := errors.AsType[*registry.Refused](err); ok {
			damaged("authenticate", refused.Err.Err)
		}
		if got, err := r.Device(ctx, "whole"); err != nil || got.ETag != whole.ETag {
			t.Errorf("another device: %+v, %v", got, err)
		}
		// The remedy works.
		if _, err := r.DeleteDevice(ctx, "d1", registry.Match{}); err != nil {
			t.Errorf("delete: %v", err)
		}
		create(t, r, "d1")
		if _, err := r.Authenticate(ctx, claim, now); err == nil {
			t.Error("the old key still works")
		}
	})
}
