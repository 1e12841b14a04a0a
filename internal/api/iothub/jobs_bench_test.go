package iothub_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/api/iothub"
	"dunlin/internal/engine/blob/dir"
	"dunlin/internal/engine/eventlog/memlog"
	"dunlin/internal/engine/outbox"
	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/hub"
	"dunlin/internal/iot"
	"dunlin/internal/things/command"
	"dunlin/internal/things/job"
	"dunlin/internal/things/registry"
	"dunlin/internal/things/twin"
	"dunlin/internal/trust/access"
)

// yard is a hub with many devices and jobs over them.
type yard struct {
	b       *testing.B
	reg     *registry.Registry
	twins   *twin.Room
	jobs    *job.Room
	devices int
}

const yardBox = "yard"

func newYard(b *testing.B, db state.DB, devices int) *yard {
	b.Helper()
	check := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	ctx, quiet := b.Context(), slog.New(slog.DiscardHandler)
	policies, err := access.Open(ctx, db, access.NewHosts(hubName))
	check(err)
	log := memlog.New(memlog.Config{Partitions: 4, MaxHeld: 1 << 30})
	box, err := outbox.Open(ctx, outbox.Deps{DB: db, Log: log, Hub: "hub", Logger: quiet, Registerer: prometheus.NewRegistry()})
	check(err)
	y := &yard{b: b, devices: devices}
	y.reg, err = registry.Open(ctx, registry.Deps{DB: db, Policies: policies, Logger: quiet})
	check(err)
	nobody := func(iot.ID, *iot.Inbound) bool { return false }
	y.twins, err = twin.Open(ctx, twin.Deps{DB: db, Deliver: nobody, Outbox: box, Limits: twin.StrictLimits(), Logger: quiet, Registerer: prometheus.NewRegistry()})
	check(err)
	absent := func(iot.ID) bool { return false }
	commands, err := command.Open(ctx, command.Deps{DB: db, Deliver: nobody, Connected: absent, Limits: command.StrictLimits(), Logger: quiet, Registerer: prometheus.NewRegistry()})
	check(err)
	store, err := dir.Open(ctx, dir.Config{Path: b.TempDir(), Logger: quiet, Registerer: prometheus.NewRegistry()})
	check(err)
	check(store.MakeContainer(ctx, yardBox))
	var services *hub.Services
	transfer := iothub.ForTransfers(func() *hub.Service { return services.For(access.Admin()) })
	transfer.Blobs = store
	transfer.Container = func(string, bool) (string, bool, bool, error) { return yardBox, true, true, nil }
	d := hub.Tools{Registry: y.reg, Twins: y.twins, Commands: commands}.ForJobs()
	d.DB, d.Outbox, d.Connected, d.Transfer, d.Logger, d.Registerer = db, box, absent, &transfer, quiet, prometheus.NewRegistry()
	y.jobs, err = job.Open(ctx, d)
	check(err)
	services = hub.NewServices(hub.ServiceDeps{Registry: y.reg, Policies: policies, Presence: &connections{}, Commands: commands, Twins: y.twins, Jobs: y.jobs})

	life, end := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{box.Run, y.jobs.Run} {
		running.Go(func() {
			if err := run(life); err != nil {
				b.Error(err)
			}
		})
	}
	b.Cleanup(func() {
		end()
		running.Wait()
		for _, closing := range []func() error{y.twins.Close, commands.Close, store.Close, log.Close} {
			if err := closing(); err != nil {
				b.Error(err)
			}
		}
	})
	for n := 0; n < devices; n += registry.ImportBatch {
		ids := make([]string, 0, registry.ImportBatch)
		for i := n; i < min(n+registry.ImportBatch, devices); i++ {
			ids = append(ids, fmt.Sprintf("device-%07d", i))
		}
		_, err := y.reg.Import(ctx, ids, nil, time.Now())
		check(err)
	}
	return y
}

func (y *yard) ended(id string) job.Job {
	y.b.Helper()
	for {
		j, err := y.jobs.Job(y.b.Context(), id)
		if err != nil {
			y.b.Fatal(err)
		}
		if j.Status.Ended() {
			if j.Status != job.Completed || j.FailedCount > 0 {
				y.b.Fatalf("%+v", j)
			}
			return j
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func eachStore(b *testing.B, bench func(b *testing.B, db state.DB)) {
	b.Helper()
	b.Run("sqlite", func(b *testing.B) { bench(b, statetest.SQLite(b)) })
	b.Run("postgres", func(b *testing.B) { bench(b, statetest.Postgres(b)) })
}

// BenchmarkTwinJob changes the twins of many devices with one job, while
// somebody else changes another twin 50 times a second.
func BenchmarkTwinJob(b *testing.B) {
	eachStore(b, func(b *testing.B, db state.DB) {
		const devices = 20_000
		y := newYard(b, db, devices)
		other, err := y.reg.Standing(b.Context(), iot.ID{Device: "device-0000000"})
		if err != nil {
			b.Fatal(err)
		}
		key := twin.Key{ID: iot.ID{Device: "device-0000000"}, Generation: other.Generation}
		condition := "deviceId > 'device-0000000'"
		n := 0
		for b.Loop() {
			n++
			id := fmt.Sprint("job", n)
			_, err := y.jobs.Schedule(b.Context(), job.Spec{
				ID: id, Type: "scheduleUpdateTwin", Condition: &condition,
				UpdateTwin: json.RawMessage(fmt.Sprintf(`{"etag":"*","tags":{"site":"north"},"properties":{"desired":{"interval":%d,"fan":{"speed":3}}}}`, n)),
			})
			if err != nil {
				b.Fatal(err)
			}
			done := make(chan job.Job, 1)
			go func() { done <- y.ended(id) }()
			var took []time.Duration
			t := time.NewTicker(20 * time.Millisecond)
			for more := true; more; {
				select {
				case j := <-done:
					more = false
					b.ReportMetric(float64(j.Total)/j.Ended.Sub(j.Begun).Seconds(), "devices/s")
				case <-t.C:
					start := time.Now()
					if _, err := y.twins.Patch(b.Context(), key, []byte(`{"tags":{"a":1}}`), nil); err != nil {
						b.Fatal(err)
					}
					took = append(took, time.Since(start))
				}
			}
			t.Stop()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "patch-p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "patch-p99-ms")
		}
	})
}

// BenchmarkTransfer exports many devices with twins, and imports them again,
// which changes all of them.
func BenchmarkTransfer(b *testing.B) {
	eachStore(b, func(b *testing.B, db state.DB) {
		const devices = 10_000
		y := newYard(b, db, devices)
		condition := "*"
		if _, err := y.jobs.Schedule(b.Context(), job.Spec{
			ID: "fill", Type: "scheduleUpdateTwin", Condition: &condition,
			UpdateTwin: json.RawMessage(`{"tags":{"site":"north","floor":3},"properties":{"desired":{"interval":5}}}`),
		}); err != nil {
			b.Fatal(err)
		}
		y.ended("fill")
		for b.Loop() {
			for _, kind := range []string{"export", "import"} {
				j, err := y.jobs.StartTransfer(b.Context(), job.TransferSpec{Type: kind, Input: "https://x/yard", Output: "https://x/yard"})
				if err != nil {
					b.Fatal(err)
				}
				j = y.ended(j.ID)
				if j.Total != devices {
					b.Fatalf("%+v", j)
				}
				b.ReportMetric(devices/j.Ended.Sub(j.Begun).Seconds(), kind+"ed/s")
			}
		}
	})
}
