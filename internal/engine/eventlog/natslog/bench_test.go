package natslog

import (
	"fmt"
	"sync/atomic"
	"testing"

	"dunlin/internal/engine/eventlog"
)

// credits is a waiter that gives what is durable back to whoever appends.
type credits struct {
	free   atomic.Int64
	failed atomic.Int64
	signal chan struct{}
}

func (c *credits) Durable(n int, err error) {
	if err != nil {
		c.failed.Add(int64(n))
	}
	c.free.Add(int64(n))
	c.poke()
}

func (c *credits) Ready() { c.poke() }

func (c *credits) poke() {
	select {
	case c.signal <- struct{}{}:
	default:
	}
}

// BenchmarkAppend is what an appending goroutine spends for each record.
// Commits run beside it; it waits, off the clock, when the log is full.
func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 16} {
		b.Run(fmt.Sprintf("records=%d", n), func(b *testing.B) {
			l := open(b, Config{Dir: b.TempDir(), Durability: OS})
			defer l.Close()
			c := &credits{signal: make(chan struct{}, 1)}
			p := l.Producer(0, c)
			recs := make([][]byte, n)
			for i := range recs {
				recs[i] = make([]byte, 180)
			}
			appended := int64(0)
			b.ReportAllocs()
			b.ResetTimer()
			for appended < int64(b.N) {
				p.Append(1, recs)
				if appended += int64(n); appended-c.free.Load() > 20000 {
					b.StopTimer()
					for appended != c.free.Load() {
						<-c.signal
					}
					b.StartTimer()
				}
			}
		})
	}
}

// BenchmarkClosedLoop keeps 16 records of each of 100 producers in flight.
func BenchmarkClosedLoop(b *testing.B) {
	for _, d := range []Durability{Sync, OS} {
		b.Run(string(d), func(b *testing.B) {
			l := open(b, Config{Dir: b.TempDir(), Durability: d})
			defer l.Close()
			signal := make(chan struct{}, 1)
			var waiters [100]*credits
			var producers [100]eventlog.Producer
			for i := range waiters {
				waiters[i] = &credits{signal: signal}
				waiters[i].free.Store(16)
				producers[i] = l.Producer(i%4, waiters[i])
			}
			var recs [64][]byte
			for i := range recs {
				recs[i] = make([]byte, 180)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for sent := 0; sent < b.N; {
				taken := false
				for i, w := range waiters {
					if n := w.free.Swap(0); n > 0 {
						producers[i].Append(1, recs[:n])
						sent += int(n)
						taken = true
					}
				}
				if !taken {
					<-signal
				}
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// BenchmarkRead reads 50,000 records of 180 bytes, half of them from each of
// two partitions, from the store and from memory.
func BenchmarkRead(b *testing.B) {
	const n = 50000
	dir := b.TempDir()
	l := open(b, Config{Dir: dir, Durability: OS})
	c := &credits{signal: make(chan struct{}, 1)}
	rec := make([]byte, 180)
	for i := range n {
		if !l.Producer(i%2, c).Append(1, [][]byte{rec}) {
			for c.free.Load() < int64(i) {
				<-c.signal
			}
		}
	}
	for c.free.Load() < n {
		<-c.signal
	}
	run := func(b *testing.B, l *Log) {
		b.SetBytes(n / 2 * 180)
		b.ReportAllocs()
		for b.Loop() {
			got := 0
			for _, err := range l.Read(b.Context(), 0, eventlog.ReadOptions{}) {
				if err != nil {
					b.Fatal(err)
				}
				got++
			}
			if got != n/2 {
				b.Fatalf("%d records", got)
			}
		}
		b.ReportMetric(float64(b.N)*n/2/b.Elapsed().Seconds(), "records/s")
	}
	b.Run("tail", func(b *testing.B) { run(b, l) })
	l.Close()
	l = open(b, Config{Dir: dir})
	defer l.Close()
	b.Run("store", func(b *testing.B) { run(b, l) })
}
