package registry_test

import (
	"context"
	"fmt"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
	"dunlin/internal/things/registry"
	"dunlin/internal/trust/access"
	"dunlin/internal/wire/sas"
)

const hubName = "hub.example"

func open(tb testing.TB, db state.DB) (*registry.Registry, *access.Policies) {
	tb.Helper()
	policies, err := access.Open(tb.Context(), db, access.NewHosts(hubName, "localhost"))
	if err != nil {
		tb.Fatal(err)
	}
	r, err := registry.Open(tb.Context(), registry.Deps{DB: db, Policies: policies, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	return r, policies
}

func fill(tb testing.TB, r *registry.Registry, n int) [][]byte {
	tb.Helper()
	keys := make([][]byte, 0, n)
	ids := make([]string, 0, registry.ImportBatch)
	for i := 0; i < n; i += len(ids) {
		ids = ids[:0]
		for j := i; j < min(n, i+registry.ImportBatch); j++ {
			ids = append(ids, fmt.Sprint("dev-", j))
		}
		done, err := r.Import(tb.Context(), ids, nil, time.Now())
		if err != nil {
			tb.Fatal(err)
		}
		for _, d := range done {
			if d.Err != nil {
				tb.Fatal(d.Err)
			}
			keys = append(keys, d.PrimaryKey)
		}
	}
	return keys
}

// cpu measures what the process used, as other work on the machine bends the
// time on the wall.
func cpu(b *testing.B) func() {
	b.Helper()
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	begin := used()
	return func() { b.ReportMetric(float64(used()-begin)/1e3/float64(b.N), "cpu-µs/op") }
}

func benchmarkAuthenticate(b *testing.B, db state.DB, devices int) {
	r, _ := open(b, db)
	begin := time.Now()
	keys := fill(b, r, devices)
	b.Logf("%d devices imported in %v, %.0f/s", devices, time.Since(begin).Round(time.Millisecond), float64(devices)/time.Since(begin).Seconds())
	now := time.Now()
	claims := make([]registry.Claim, min(devices, 5000))
	for i := range claims {
		n := i * 7919 % devices
		id := fmt.Sprint("dev-", n)
		claims[i] = registry.Claim{
			ID: iot.ID{Device: id}, HostName: hubName,
			Token: sas.Sign(hubName+"/devices/"+id, keys[n], now.Add(time.Hour), ""),
		}
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	b.Run("authenticate", func(b *testing.B) {
		defer cpu(b)()
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := r.Authenticate(ctx, claims[i%len(claims)], now); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("get", func(b *testing.B) {
		defer cpu(b)()
		for i := 0; b.Loop(); i++ {
			if _, err := r.Device(ctx, claims[i%len(claims)].ID.Device); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("page", func(b *testing.B) {
		defer cpu(b)()
		for i := 0; b.Loop(); i++ {
			if _, err := r.Devices(ctx, claims[i%len(claims)].ID.Device, 100); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("count", func(b *testing.B) {
		defer cpu(b)()
		for b.Loop() {
			if c, err := r.Count(ctx); err != nil || c.Total != int64(devices) {
				b.Fatal(c, err)
			}
		}
	})
	b.Run("create", func(b *testing.B) {
		defer cpu(b)()
		i := 0
		for b.Loop() {
			i++
			if _, _, err := r.PutDevice(ctx, registry.DeviceSpec{ID: fmt.Sprintf("new-%d-%d", i, time.Now().UnixNano())}, registry.Match{}, now); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkSQLite10k(b *testing.B)   { benchmarkAuthenticate(b, statetest.SQLite(b), 10_000) }
func BenchmarkSQLite1M(b *testing.B)    { benchmarkAuthenticate(b, statetest.SQLite(b), 1_000_000) }
func BenchmarkPostgres10k(b *testing.B) { benchmarkAuthenticate(b, statetest.Postgres(b), 10_000) }
