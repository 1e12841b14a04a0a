package twin_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
	"dunlin/internal/things/twin"
)

// BenchmarkReport has 1,000 devices that each keep one change, or eight, on
// its way; every change is answered when it is durable.
//
// With events, the relay takes them away meanwhile.
func BenchmarkReport(b *testing.B) {
	for _, flight := range []int{1, 8} {
		for _, events := range []bool{false, true} {
			name := fmt.Sprintf("flight=%d/events=%t", flight, events)
			b.Run("sqlite/"+name, func(b *testing.B) { benchmarkReport(b, statetest.SQLite(b), flight, events) })
			b.Run("postgres/"+name, func(b *testing.B) { benchmarkReport(b, statetest.Postgres(b), flight, events) })
		}
	}
}

func benchmarkReport(b *testing.B, db state.DB, flight int, events bool) {
	const devices = 1000
	var s *site
	if events {
		told := openTold(b, db)
		s = told.site
		go func() { _ = told.box.Run(b.Context()) }()
	} else {
		s = open(b, db, twin.StrictLimits())
	}
	keys := make([]twin.Key, devices)
	var ready sync.WaitGroup
	for i := range keys {
		keys[i] = twin.Key{ID: iot.ID{Device: fmt.Sprint("device-", i)}, Generation: 1}
		ready.Add(1)
		s.Report(keys[i], []byte(`{"firmware":{"version":"1.4.12","state":"idle"},"interval":30,"sensor1":{"unit":"C","value":21.5,"ok":true},"sensor2":{"unit":"C","value":21.5,"ok":true}}`), 0,
			func(_ int64, err error) {
				if err != nil {
					b.Error(err)
				}
				ready.Done()
			})
	}
	ready.Wait()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wait sync.WaitGroup
	patches := make([][]byte, 64)
	for i := range patches {
		patches[i] = fmt.Appendf(nil, `{"sensor1":{"value":%d.25},"interval":%d}`, i, i)
	}
	var next func(i, n int)
	next = func(i, n int) {
		if left.Add(-1) < 0 {
			wait.Done()
			return
		}
		s.Report(keys[i], patches[n%len(patches)], 0, func(_ int64, err error) {
			if err != nil {
				b.Error(err)
			}
			next(i, n+1)
		})
	}
	b.ReportAllocs()
	b.ResetTimer()
	stop := cpu(b)
	for i := range keys {
		for range flight {
			wait.Add(1)
			next(i, i)
		}
	}
	wait.Wait()
	stop()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "patches/s")
}
