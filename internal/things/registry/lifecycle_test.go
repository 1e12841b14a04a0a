package registry_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/eventlog"
	"dunlin/internal/engine/eventlog/memlog"
	"dunlin/internal/engine/outbox"
	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
	"dunlin/internal/things/registry"
	"dunlin/internal/trust/access"
	"dunlin/internal/wire/record"
)

// openEvents opens a registry whose events go to the log that the function
// reads: "opType device/module" of each, sorted by device and then in order.
func openEvents(tb testing.TB, db state.DB) (*registry.Registry, *memlog.Log, *outbox.Box) {
	tb.Helper()
	log := memlog.New(memlog.Config{Partitions: 1})
	tb.Cleanup(func() { _ = log.Close() })
	box, err := outbox.Open(tb.Context(), outbox.Deps{DB: db, Log: log, Hub: hubName, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	if err != nil {
		tb.Fatal(err)
	}
	policies, err := access.Open(tb.Context(), db, access.NewHosts(hubName, "localhost"))
	if err != nil {
		tb.Fatal(err)
	}
	r, err := registry.Open(tb.Context(), registry.Deps{DB: db, Policies: policies, Outbox: box, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	return r, log, box
}

// drained appends what waits and gives everything that was appended.
func drained(t *testing.T, log *memlog.Log, box *outbox.Box) (list []string, last record.Event) {
	t.Helper()
	if err := box.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	for rec, err := range log.Read(t.Context(), 0, eventlog.ReadOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		if err := record.Decode(rec.Data, &last); err != nil {
			t.Fatal(err)
		}
		op := ""
		for _, p := range last.Properties {
			if string(p.Name) == "opType" {
				op = string(p.Value)
			}
		}
		if last.Origin.Source != iot.SourceDeviceLifecycle || last.Origin.Generation == 0 {
			t.Errorf("origin %+v", last.Origin)
		}
		list = append(list, op+" "+last.Origin.ID.String())
	}
	return list, last
}

func TestLifecycleEvents(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		r, log, box := openEvents(t, db)
		ctx, now := t.Context(), time.Now()
		yes, no := true, false
		step := func(what string, err error) {
			t.Helper()
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
		_, _, err := r.PutDevice(ctx, registry.DeviceSpec{ID: "a"}, registry.Match{}, now)
		step("make a", err)
		list, last := drained(t, log, box)
		if !slices.Equal(list, []string{"createDeviceIdentity a"}) {
			t.Fatalf("events %q", list)
		}
		if want := `{"deviceId":"a","etag":"AAAAAAAAAAE=","version":2,"properties":{"desired":{"$metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"$version":1},` +
			`"reported":{"$metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"$version":1}}}`; string(last.Body) != want || !json.Valid(last.Body) {
			t.Errorf("body\n%s, want\n%s", last.Body, want)
		}
		if _, _, err = r.PutDevice(ctx, registry.DeviceSpec{ID: "a"}, registry.Match{}, now); iot.CodeOf(err) != iot.DeviceAlreadyExists {
			t.Fatal(err)
		}
		m := iot.ID{Device: "a", Module: "m"}
		_, _, err = r.PutModule(ctx, registry.ModuleSpec{ID: m}, registry.Match{}, now)
		step("make a/m", err)
		_, last = drained(t, log, box)
		if want := `{"deviceId":"a","moduleId":"m","etag":`; !strings.HasPrefix(string(last.Body), want) || !json.Valid(last.Body) {
			t.Errorf("body\n%s, want\n%s...", last.Body, want)
		}
		_, _, err = r.PutDevice(ctx, registry.DeviceSpec{ID: "a", Edge: &yes}, registry.Any(), now)
		step("make a an edge device", err)
		_, _, err = r.PutDevice(ctx, registry.DeviceSpec{ID: "a", Edge: &no}, registry.Any(), now)
		step("make a a plain device", err)
		_, _, err = r.PutModule(ctx, registry.ModuleSpec{ID: iot.ID{Device: "a", Module: "n"}}, registry.Match{}, now)
		step("make a/n", err)
		_, err = r.DeleteModule(ctx, m, registry.Any())
		step("delete a/m", err)
		_, err = r.DeleteDevice(ctx, "a", registry.Any())
		step("delete a", err)
		failed, _, err := r.Bulk(ctx, []registry.BulkEntry{
			{Mode: registry.BulkCreate, Device: registry.DeviceSpec{ID: "b"}},
			{Mode: registry.BulkDelete, Device: registry.DeviceSpec{ID: "none"}},
			{Mode: registry.BulkCreateOrUpdate, Device: registry.DeviceSpec{ID: "c", Edge: &yes}},
			{Mode: registry.BulkCreate, Module: registry.ModuleSpec{ID: iot.ID{Device: "b", Module: "m"}}},
		}, now)
		if err != nil || len(failed) != 1 {
			t.Fatal(failed, err)
		}
		failed, _, err = r.Bulk(ctx, []registry.BulkEntry{
			{Mode: registry.BulkDelete, Device: registry.DeviceSpec{ID: "b"}},
			{Mode: registry.BulkUpdate, Device: registry.DeviceSpec{ID: "c"}},
		}, now)
		if err != nil || len(failed) != 0 {
			t.Fatal(failed, err)
		}
		_, err = r.Import(ctx, []string{"c", "d", "e", "bad id"}, nil, now)
		step("import", err)
		list, _ = drained(t, log, box)
		want := strings.Split(`createDeviceIdentity a
createDeviceIdentity a/m
createDeviceIdentity a/$edgeAgent
createDeviceIdentity a/$edgeHub
deleteDeviceIdentity a/$edgeAgent
deleteDeviceIdentity a/$edgeHub
createDeviceIdentity a/n
deleteDeviceIdentity a/m
deleteDeviceIdentity a/n
deleteDeviceIdentity a
createDeviceIdentity b
createDeviceIdentity c
createDeviceIdentity c/$edgeAgent
createDeviceIdentity c/$edgeHub
createDeviceIdentity b/m
deleteDeviceIdentity b/m
deleteDeviceIdentity b
createDeviceIdentity d
createDeviceIdentity e`, "\n")
		if !slices.Equal(list, want) {
			t.Errorf("events\n%s\nwant\n%s", strings.Join(list, "\n"), strings.Join(want, "\n"))
		}
	})
}

// BenchmarkImport makes devices with and without events; with them the relay
// runs beside it.
func BenchmarkImport(b *testing.B) {
	for _, events := range []bool{false, true} {
		b.Run(fmt.Sprintf("sqlite/events=%t", events), func(b *testing.B) {
			db := statetest.SQLite(b)
			r, _ := open(b, db)
			if events {
				var box *outbox.Box
				r, _, box = openEvents(b, db)
				go func() { _ = box.Run(b.Context()) }()
			}
			defer cpu(b)()
			b.ResetTimer()
			fill(b, r, b.N)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "devices/s")
		})
	}
}
