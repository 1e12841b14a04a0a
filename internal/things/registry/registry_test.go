package registry_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
	"dunlin/internal/things/registry"
)

// each runs a test on every engine.
func each(t *testing.T, test func(t *testing.T, r *registry.Registry)) {
	t.Helper()
	statetest.Each(t, func(t *testing.T, db state.DB) {
		r, _ := open(t, db)
		test(t, r)
	})
}

func wantCode(t *testing.T, err error, code iot.Code) {
	t.Helper()
	if iot.CodeOf(err) != code {
		t.Errorf("error %v, want the code %s", err, code.Name())
	}
}

func create(t *testing.T, r *registry.Registry, id string) registry.Device {
	t.Helper()
	d, _, err := r.PutDevice(t.Context(), registry.DeviceSpec{ID: id}, registry.Match{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDeviceLife(t *testing.T) {
	each(t, func(t *testing.T, r *registry.Registry) {
		ctx := t.Context()
		_, err := r.Device(ctx, "d1")
		wantCode(t, err, iot.DeviceNotFound)
		made := create(t, r, "d1")
		if len(made.PrimaryKey) != 32 || len(made.SecondaryKey) != 32 || bytes.Equal(made.PrimaryKey, made.SecondaryKey) {
			t.Errorf("keys were not made: %d and %d bytes", len(made.PrimaryKey), len(made.SecondaryKey))
		}
		if n := len(fmt.Sprint(made.Generation)); n != 18 {
			t.Errorf("generation %d has %d digits, want 18", made.Generation, n)
		}
		got, err := r.Device(ctx, "d1")
		if err != nil || got.ETag != made.ETag || got.Generation != made.Generation || !bytes.Equal(got.PrimaryKey, made.PrimaryKey) || got.Status != registry.Enabled {
			t.Fatalf("read %+v, %v; made %+v", got, err, made)
		}
		_, _, err = r.PutDevice(ctx, registry.DeviceSpec{ID: "d1"}, registry.Match{}, time.Now())
		wantCode(t, err, iot.DeviceAlreadyExists)
		_, _, err = r.PutDevice(ctx, registry.DeviceSpec{ID: "D1"}, registry.Any(), time.Now())
		wantCode(t, err, iot.DeviceNotFound)

		now := time.Now()
		changed, ended, err := r.PutDevice(ctx, registry.DeviceSpec{ID: "d1", Status: new(registry.Disabled), StatusReason: new(new("lost"))}, registry.IfETag(made.ETag), now)
		if err != nil {
			t.Fatal(err)
		}
		if changed.ETag == made.ETag || changed.Status != registry.Disabled || *changed.StatusReason != "lost" || !changed.StatusSince.Equal(now) ||
			!bytes.Equal(changed.PrimaryKey, made.PrimaryKey) || changed.Generation != made.Generation {
			t.Errorf("changed to %+v", changed)
		}
		if len(ended) != 1 || ended[0].ID.Device != "d1" || ended[0].Reason.Code != iot.DeviceDisabled {
			t.Errorf("connections to end: %v", ended)
		}
		_, _, err = r.PutDevice(ctx, registry.DeviceSpec{ID: "d1"}, registry.IfETag(made.ETag), now)
		wantCode(t, err, iot.PreconditionFailed)
		again, ended, err := r.PutDevice(ctx, registry.DeviceSpec{ID: "d1"}, registry.Any(), now)
		if err != nil || again.Status != registry.Disabled || again.StatusReason == nil || len(ended) != 0 {
			t.Errorf("a change of nothing gave %+v, %v, %v", again, ended, err)
		}
		cleared, _, err := r.PutDevice(ctx, registry.DeviceSpec{ID: "d1", StatusReason: new(*string)}, registry.Any(), now)
		if err != nil || cleared.StatusReason != nil {
			t.Errorf("the status reason stayed: %+v, %v", cleared, err)
		}

		_, err = r.DeleteDevice(ctx, "d1", registry.IfETag("stale"))
		wantCode(t, err, iot.PreconditionFailed)
		ended, err = r.DeleteDevice(ctx, "d1", registry.Match{})
		if err != nil || len(ended) != 1 || ended[0].Reason.Code != iot.DeviceNotFound {
			t.Errorf("delete: %v, %v", ended, err)
		}
		_, err = r.DeleteDevice(ctx, "d1", registry.Match{})
		wantCode(t, err, iot.DeviceNotFound)
		if d := create(t, r, "d1"); d.Generation <= made.Generation || bytes.Equal(d.PrimaryKey, made.PrimaryKey) {
			t.Error("the device made anew has the generation or key of the old one")
		}
	})
}

func TestSecrets(t *testing.T) {
	each(t, func(t *testing.T, r *registry.Registry) {
		ctx, now := t.Context(), time.Now()
		key := func(n int) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, n)) }
		sha1, sha256 := strings.Repeat("aB", 20), strings.Repeat("0F", 32)
		for name, c := range map[string]struct {
			spec registry.SecretsSpec
			code iot.Code
			want registry.Proof
		}{
			"nothing":                 {registry.SecretsSpec{}, 0, registry.ProofSAS},
			"both keys":               {registry.SecretsSpec{PrimaryKey: key(16), SecondaryKey: key(64)}, 0, registry.ProofSAS},
			"only one key":            {registry.SecretsSpec{PrimaryKey: key(32)}, iot.ArgumentInvalid, 0},
			"only the second key":     {registry.SecretsSpec{SecondaryKey: key(32)}, iot.ArgumentInvalid, 0},
			"a short key":             {registry.SecretsSpec{PrimaryKey: key(15), SecondaryKey: key(32)}, iot.ArgumentInvalid, 0},
			"a long key":              {registry.SecretsSpec{PrimaryKey: key(32), SecondaryKey: key(65)}, iot.ArgumentInvalid, 0},
			"no base64":               {registry.SecretsSpec{PrimaryKey: "not base64 at all", SecondaryKey: key(32)}, iot.ArgumentInvalid, 0},
			"thumbprint, type left":   {registry.SecretsSpec{PrimaryThumbprint: sha1}, 0, registry.ProofThumbprint},
			"both kinds":              {registry.SecretsSpec{Proof: new(registry.ProofThumbprint), PrimaryThumbprint: sha1, SecondaryThumbprint: sha256}, 0, registry.ProofThumbprint},
			"selfSigned without":      {registry.SecretsSpec{Proof: new(registry.ProofThumbprint)}, iot.ArgumentInvalid, 0},
			"a thumbprint with colon": {registry.SecretsSpec{PrimaryThumbprint: strings.Repeat("aB:", 13) + "a"}, iot.ArgumentInvalid, 0},
			"a thumbprint too short":  {registry.SecretsSpec{PrimaryThumbprint: "abcd"}, iot.ArgumentInvalid, 0},
			"authority":               {registry.SecretsSpec{Proof: new(registry.ProofAuthority)}, 0, registry.ProofAuthority},
			"none":                    {registry.SecretsSpec{Proof: new(registry.ProofNone)}, 0, registry.ProofNone},
		} {
			id := strings.NewReplacer(" ", "-", ",", "").Replace(name)
			d, _, err := r.PutDevice(ctx, registry.DeviceSpec{ID: id, Secrets: &c.spec}, registry.Match{}, now)
			if c.code != 0 {
				if iot.CodeOf(err) != c.code {
					t.Errorf("%s: error %v, want %s", name, err, c.code.Name())
				}
				continue
			}
			if err != nil || d.Proof != c.want {
				t.Errorf("%s: %v, proof %s, want %s", name, err, d.Proof, c.want)
				continue
			}
			got, err := r.Device(ctx, id)
			if err != nil || got.Proof != d.Proof || !bytes.Equal(got.PrimaryKey, d.PrimaryKey) || !bytes.Equal(got.SecondaryKey, d.SecondaryKey) ||
				got.PrimaryThumbprint != d.PrimaryThumbprint || got.SecondaryThumbprint != d.SecondaryThumbprint {
				t.Errorf("%s: read %+v, %v; made %+v", name, got.Secrets, err, d.Secrets)
			}
			if (len(d.PrimaryKey) > 0) != (c.want == registry.ProofSAS) {
				t.Errorf("%s: a key of %d bytes", name, len(d.PrimaryKey))
			}
		}
		// Changes: empty keys keep, another type ends the connection.
		d := create(t, r, "change")
		same, ended, err := r.PutDevice(ctx, registry.DeviceSpec{ID: "change", Secrets: &registry.SecretsSpec{Proof: new(registry.ProofSAS)}}, registry.Any(), now)
		if err != nil || !bytes.Equal(same.PrimaryKey, d.PrimaryKey) || len(ended) != 0 {
			t.Errorf("empty keys did not keep the old ones: %v %v", err, ended)
		}
		x, ended, err := r.PutDevice(ctx, registry.DeviceSpec{ID: "change", Secrets: &registry.SecretsSpec{PrimaryThumbprint: sha1}}, registry.Any(), now)
		if err != nil || x.PrimaryKey != nil || len(ended) != 1 {
			t.Errorf("to a thumbprint: %+v, %v, %v", x.Secrets, ended, err)
		}
		back, ended, err := r.PutDevice(ctx, registry.DeviceSpec{ID: "change", Secrets: &registry.SecretsSpec{Proof: new(registry.ProofSAS)}}, registry.Any(), now)
		if err != nil || len(back.PrimaryKey) != 32 || back.PrimaryThumbprint != "" || len(ended) != 1 {
			t.Errorf("back to keys: %+v, %v, %v", back.Secrets, ended, err)
		}
	})
}

func TestModules(t *testing.T) {
	each(t, func(t *testing.T, r *registry.Registry) {
		ctx, now := t.Context(), time.Now()
		put := func(device, module string, m registry.Match) (registry.Module, error) {
			out, _, err := r.PutModule(ctx, registry.ModuleSpec{ID: iot.ID{Device: device, Module: module}}, m, now)
			return out, err
		}
		_, err := put("d", "m", registry.Match{})
		wantCode(t, err, iot.DeviceNotFound)
		_, err = r.Modules(ctx, "d")
		wantCode(t, err, iot.DeviceNotFound)
		create(t, r, "d")
		_, err = r.Module(ctx, iot.ID{Device: "d", Module: "m"})
		wantCode(t, err, iot.ModuleNotFound)
		_, err = put("d", "m", registry.Any())
		wantCode(t, err, iot.ModuleNotFound)
		m, err := put("d", "m", registry.Match{})
		if err != nil || len(m.PrimaryKey) != 32 {
			t.Fatalf("%+v, %v", m, err)
		}
		_, err = put("d", "m", registry.Match{})
		wantCode(t, err, iot.ModuleAlreadyExists)
		_, err = put("d", "m", registry.IfETag("stale"))
		wantCode(t, err, iot.PreconditionFailed)
		if c, err := put("d", "m", registry.IfETag(m.ETag)); err != nil || c.ETag == m.ETag {
			t.Errorf("change: %+v, %v", c, err)
		}
		_, err = put("d", registry.EdgeHub, registry.Match{})
		wantCode(t, err, iot.SystemModuleUnauthorized)
		for i := 1; i < registry.MaxModules; i++ {
			if _, err := put("d", fmt.Sprintf("m%02d", i), registry.Match{}); err != nil {
				t.Fatal(err)
			}
		}
		_, err = put("d", "one-too-many", registry.Match{})
		wantCode(t, err, iot.TooManyModules)
		list, err := r.Modules(ctx, "d")
		if err != nil || len(list) != registry.MaxModules || list[0].ID.Module != "m" || list[1].ID.Module != "m01" {
			t.Errorf("%d modules, %v", len(list), err)
		}
		_, err = r.DeleteModule(ctx, iot.ID{Device: "d", Module: "none"}, registry.Match{})
		wantCode(t, err, iot.ModuleNotFound)
		if ended, err := r.DeleteModule(ctx, iot.ID{Device: "d", Module: "m"}, registry.Any()); err != nil || len(ended) != 1 {
			t.Errorf("delete: %v, %v", ended, err)
		}
		// The modules go with their device, and their connections too.
		ended, err := r.DeleteDevice(ctx, "d", registry.Match{})
		if err != nil || len(ended) != registry.MaxModules {
			t.Errorf("%d connections to end, %v", len(ended), err)
		}
		create(t, r, "d")
		if list, err := r.Modules(ctx, "d"); err != nil || len(list) != 0 {
			t.Errorf("the device made anew has %d modules, %v", len(list), err)
		}
	})
}

func TestEdgeAndScopes(t *testing.T) {
	each(t, func(t *testing.T, r *registry.Registry) {
		ctx, now := t.Context(), time.Now()
		put := func(spec registry.DeviceSpec, m registry.Match) (registry.Device, error) {
			d, _, err := r.PutDevice(ctx, spec, m, now)
			return d, err
		}
		edge, err := put(registry.DeviceSpec{ID: "edge-1", Edge: new(true)}, registry.Match{})
		if err != nil || edge.Scope != fmt.Sprintf("ms-azure-iot-edge://edge-1-%d", edge.Generation) {
			t.Fatalf("%+v, %v", edge, err)
		}
		list, err := r.Modules(ctx, "edge-1")
		if err != nil || len(list) != 2 || list[0].ID.Module != registry.EdgeAgent || list[1].ID.Module != registry.EdgeHub || list[0].ManagedBy != "iotEdge" {
			t.Errorf("modules %+v, %v", list, err)
		}
		_, err = r.DeleteModule(ctx, iot.ID{Device: "edge-1", Module: registry.EdgeAgent}, registry.Match{})
		wantCode(t, err, iot.SystemModuleUnauthorized)

		leaf, err := put(registry.DeviceSpec{ID: "leaf", Scope: &edge.Scope}, registry.Match{})
		if err != nil || leaf.Scope != edge.Scope || len(leaf.ParentScopes) != 1 || leaf.ParentScopes[0] != edge.Scope {
			t.Errorf("leaf %+v, %v", leaf, err)
		}
		for name, spec := range map[string]registry.DeviceSpec{
			"unknown scope":           {ID: "x", Scope: new("ms-azure-iot-edge://other-637000000000000000")},
			"scope of an old edge":    {ID: "x", Scope: new("ms-azure-iot-edge://edge-1-637000000000000000")},
			"no scope at all":         {ID: "x", Scope: new("edge-1")},
			"scope of a leaf":         {ID: "x", Scope: new("ms-azure-iot-edge://leaf-1")},
			"different parents":       {ID: "x", Scope: &edge.Scope, ParentScopes: new([]string{"ms-azure-iot-edge://leaf-1"})},
			"two parents":             {ID: "x", ParentScopes: new([]string{edge.Scope, edge.Scope})},
			"an edge's own scope set": {ID: "x", Edge: new(true), Scope: new("ms-azure-iot-edge://mine-1")},
		} {
			if _, err := put(spec, registry.Match{}); iot.CodeOf(err) != iot.InvalidDeviceScope {
				t.Errorf("%s: %v, want InvalidDeviceScope", name, err)
			}
		}
		// An edge below an edge, but not in a ring.
		below, err := put(registry.DeviceSpec{ID: "edge-2", Edge: new(true), ParentScopes: &[]string{edge.Scope}}, registry.Match{})
		if err != nil || below.ParentScopes[0] != edge.Scope || below.Scope == edge.Scope {
			t.Errorf("nested edge %+v, %v", below, err)
		}
		_, err = put(registry.DeviceSpec{ID: "edge-1", ParentScopes: &[]string{below.Scope}}, registry.Any())
		wantCode(t, err, iot.InvalidDeviceScope)
		_, err = put(registry.DeviceSpec{ID: "edge-1", Scope: &below.Scope}, registry.Any())
		wantCode(t, err, iot.InvalidDeviceScope)

		kept, err := put(registry.DeviceSpec{ID: "leaf", Status: new(registry.Disabled)}, registry.Any())
		if err != nil || kept.Scope != edge.Scope {
			t.Errorf("a change of the status lost the scope: %+v, %v", kept, err)
		}
		free, err := put(registry.DeviceSpec{ID: "leaf", Scope: new("")}, registry.Any())
		if err != nil || free.Scope != "" || len(free.ParentScopes) != 0 {
			t.Errorf("the scope was not cleared: %+v, %v", free, err)
		}
		up, err := put(registry.DeviceSpec{ID: "leaf", Edge: new(true)}, registry.Any())
		if err != nil || up.Scope == "" {
			t.Errorf("a device turned edge: %+v, %v", up, err)
		}
		if list, err := r.Modules(ctx, "leaf"); err != nil || len(list) != 2 {
			t.Errorf("%d modules, %v", len(list), err)
		}
		if _, err := put(registry.DeviceSpec{ID: "leaf", Edge: new(false)}, registry.Any()); err != nil {
			t.Error(err)
		}
		if list, err := r.Modules(ctx, "leaf"); err != nil || len(list) != 0 {
			t.Errorf("%d modules after it, %v", len(list), err)
		}
	})
}

func TestBadDevices(t *testing.T) {
	each(t, func(t *testing.T, r *registry.Registry) {
		for _, id := range []string{"", "a b", "a/b", "ä", "a\x00b", strings.Repeat("x", 129), "a;b", "a\"b"} {
			_, _, err := r.PutDevice(t.Context(), registry.DeviceSpec{ID: id}, registry.Match{}, time.Now())
			wantCode(t, err, iot.ArgumentInvalid)
		}
		for _, id := range []string{"a", "A", "-.+%_#*?!(),:=@$'", strings.Repeat("x", 128), "..", "%2F"} {
			if d := create(t, r, id); d.ID != id {
				t.Errorf("made %q for %q", d.ID, id)
			}
		}
		for _, reason := range []string{strings.Repeat("ü", 129), "nul\x00", "\xff"} {
			_, _, err := r.PutDevice(t.Context(), registry.DeviceSpec{ID: "r", StatusReason: new(&reason)}, registry.Match{}, time.Now())
			wantCode(t, err, iot.ArgumentInvalid)
		}
	})
}

func TestListAndCount(t *testing.T) {
	each(t, func(t *testing.T, r *registry.Registry) {
		ctx := t.Context()
		ids := []string{"B", "Z1", "_", "a", "a-1", "a1", "b", "z"} // in the order of their bytes
		for i := range ids {
			create(t, r, ids[(i*5)%len(ids)])
		}
		var got []string
		after := ""
		for {
			page, err := r.Devices(ctx, after, 3)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			for _, d := range page {
				got = append(got, d.ID)
			}
			after = page[len(page)-1].ID
		}
		if strings.Join(got, " ") != strings.Join(ids, " ") {
			t.Errorf("pages give %v, want %v", got, ids)
		}
		if _, _, err := r.PutDevice(ctx, registry.DeviceSpec{ID: "a", Status: new(registry.Disabled)}, registry.Any(), time.Now()); err != nil {
			t.Fatal(err)
		}
		c, err := r.Count(ctx)
		if err != nil || c != (registry.Counts{Total: 8, Enabled: 7, Disabled: 1}) {
			t.Errorf("counts %+v, %v", c, err)
		}
	})
}

func TestBulk(t *testing.T) {
	each(t, func(t *testing.T, r *registry.Registry) {
		ctx, now := t.Context(), time.Now()
		d := create(t, r, "there")
		entry := func(mode registry.BulkMode, id string) registry.BulkEntry {
			return registry.BulkEntry{Mode: mode, Device: registry.DeviceSpec{ID: id}}
		}
		module := func(mode registry.BulkMode, device, id string) registry.BulkEntry {
			e := entry(mode, device)
			e.Module = registry.ModuleSpec{ID: iot.ID{Device: device, Module: id}}
			return e
		}
		stale := entry(registry.BulkUpdateIfMatch, "there")
		stale.ETag = "stale"
		entries := []registry.BulkEntry{
			entry(registry.BulkCreate, "new-1"),
			stale,
			entry(registry.BulkUpdate, "missing"),
			entry(registry.BulkDelete, "missing-2"),
			entry(registry.BulkCreate, "bad id"),
			entry(registry.BulkCreate, "twice"),
			entry(registry.BulkCreate, "twice"),
			entry(registry.BulkCreateOrUpdate, "new-2"),
			module(registry.BulkCreate, "new-1", "m"),
			module(registry.BulkCreate, "nowhere", "m"),
			entry(registry.BulkUpdateTwin, "new-3"),
		}
		failed, ended, err := r.Bulk(ctx, entries, now)
		if err != nil || len(ended) != 0 {
			t.Fatal(ended, err)
		}
		want := []string{
			"there PreconditionFailed", "missing DeviceNotFound", "missing-2 DeviceNotFound", "bad id ArgumentInvalid",
			"twice DeviceDefinedMultipleTimes", "twice DeviceDefinedMultipleTimes", "nowhere/m DeviceNotFound", "new-3 DeviceNotFound",
		}
		var got []string
		for _, f := range failed {
			got = append(got, f.ID.String()+" "+f.Err.Code.Name())
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("failed:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if _, err := r.Module(ctx, iot.ID{Device: "new-1", Module: "m"}); err != nil {
			t.Error(err)
		}
		match := entry(registry.BulkDeleteIfMatch, "there")
		match.ETag = d.ETag
		failed, ended, err = r.Bulk(ctx, []registry.BulkEntry{match, entry(registry.BulkDelete, "new-1"), entry(registry.BulkCreateOrUpdate, "new-2")}, now)
		if err != nil || len(failed) != 0 || len(ended) != 3 {
			t.Errorf("%v, %v, %v", failed, ended, err)
		}
		_, _, err = r.Bulk(ctx, nil, now)
		wantCode(t, err, iot.ArgumentInvalid)
		_, _, err = r.Bulk(ctx, make([]registry.BulkEntry, 101), now)
		wantCode(t, err, iot.TooManyDevices)
	})
}

func TestImport(t *testing.T) {
	each(t, func(t *testing.T, r *registry.Registry) {
		ctx := t.Context()
		create(t, r, "i2")
		key := bytes.Repeat([]byte{9}, 32)
		done, err := r.Import(ctx, []string{"i1", "i2", "i3", "bad id", "i1"}, [][]byte{nil, nil, key, nil, nil}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		codes := []iot.Code{0, iot.DeviceAlreadyExists, 0, iot.ArgumentInvalid, iot.DeviceDefinedTwice}
		for i, d := range done {
			var code iot.Code
			if d.Err != nil {
				code = d.Err.Code
			}
			if code != codes[i] {
				t.Errorf("%s: %v, want %v", d.ID, d.Err, codes[i])
			}
		}
		for i, id := range []string{"i1", "", "i3"} {
			if id == "" {
				continue
			}
			d, err := r.Device(ctx, id)
			if err != nil || !bytes.Equal(d.PrimaryKey, done[i].PrimaryKey) || len(d.SecondaryKey) != 32 || d.Status != registry.Enabled || d.ETag == "" {
				t.Errorf("%s: %+v, %v", id, d, err)
			}
		}
		if d, err := r.Device(ctx, "i3"); err != nil || !bytes.Equal(d.PrimaryKey, key) {
			t.Error("the key that was given was not taken", err)
		}
	})
}

func TestActivity(t *testing.T) {
	each(t, func(t *testing.T, r *registry.Registry) {
		ctx, now := t.Context(), time.Now()
		d := create(t, r, "d")
		m, _, err := r.PutModule(ctx, registry.ModuleSpec{ID: iot.ID{Device: "d", Module: "m"}}, registry.Match{}, now)
		if err != nil {
			t.Fatal(err)
		}
		a := registry.Activity{Connected: true, Since: now.Add(-time.Minute), Last: now}
		list := []registry.Seen{{ID: iot.ID{Device: "d"}, Generation: d.Generation, Activity: a}, {ID: m.ID, Generation: m.Generation, Activity: a}}
		for range 1000 {
			list = append(list, registry.Seen{ID: iot.ID{Device: "gone"}, Activity: a})
		}
		if err := r.SaveActivity(ctx, list); err != nil {
			t.Fatal(err)
		}
		check := func(connected bool, since time.Time) {
			t.Helper()
			got, err := r.Device(ctx, "d")
			if err != nil || got.Connected != connected || !got.Since.Equal(since) || !got.Last.Equal(a.Last) || got.ETag != d.ETag {
				t.Errorf("device %+v, %v", got, err)
			}
			m, err := r.Module(ctx, iot.ID{Device: "d", Module: "m"})
			if err != nil || m.Connected != connected || !m.Since.Equal(since) {
				t.Errorf("module %+v, %v", m, err)
			}
		}
		check(true, a.Since)
		if err := r.ForgetConnections(ctx, now.Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		check(false, now.Add(time.Second))
	})
}

// TestOneWinsAnETag lets many writers change one device, each on the ETag it
// read last: every ETag is used up by one of them only.
func TestOneWinsAnETag(t *testing.T) {
	each(t, func(t *testing.T, r *registry.Registry) {
		ctx := t.Context()
		create(t, r, "d")
		var won, lost atomic.Int64
		var used sync.Map
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				for i := range 15 {
					d, err := r.Device(ctx, "d")
					if err != nil {
						t.Error(err)
						return
					}
					_, _, err = r.PutDevice(ctx, registry.DeviceSpec{ID: "d", StatusReason: new(new(fmt.Sprint(g, "-", i)))}, registry.IfETag(d.ETag), time.Now())
					var refused *iot.Error
					switch {
					case err == nil:
						won.Add(1)
						if _, before := used.LoadOrStore(d.ETag, g); before {
							t.Errorf("the ETag %s let two changes through", d.ETag)
						}
					case errors.As(err, &refused) && refused.Code == iot.PreconditionFailed:
						lost.Add(1)
					default:
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		t.Logf("%d changes, %d refused", won.Load(), lost.Load())
		if won.Load() == 0 || won.Load()+lost.Load() != 120 {
			t.Errorf("%d changes and %d refusals of 120", won.Load(), lost.Load())
		}
	})
}
