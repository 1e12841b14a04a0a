package command

import (
	"fmt"
	"sync"
	"testing"

	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
)

// BenchmarkEnqueueToSettled sends messages from 64 senders to 100 connected
// devices, each of which completes what it gets: durable from end to end.
func BenchmarkEnqueueToSettled(b *testing.B) {
	limits := StrictLimits()
	limits.Depth = 1 << 30
	r, f := newRoom(b, statetest.SQLite(b), limits)
	var settled sync.WaitGroup
	ids := make([]iot.ID, 100)
	for i := range ids {
		id := iot.ID{Device: fmt.Sprint("d", i)}
		ids[i] = id
		f.set(id, func(in *iot.Inbound) {
			r.Settle(id, in.Token, iot.Complete, func(err error) {
				if err != nil {
					b.Error(err)
				}
				settled.Done()
			})
		})
		r.Pump(id, 1, generation)
	}
	m := text(`{"temperature":21.5,"unit":"C"}`, "$mid", "m1", "kind", "setpoint")
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			settled.Add(1)
			if err := r.Enqueue(b.Context(), ids[i%len(ids)], generation, m); err != nil {
				b.Error(err)
				settled.Done()
			}
		}
	})
	settled.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
