package run_test

import (
	"fmt"
	"testing"

	"dunlin/internal/insights/stream/clock"
	"dunlin/internal/insights/stream/run"
	"dunlin/internal/insights/stream/value"
)

// BenchmarkStream measures raw JSON to rows of the result: events of 105 bytes
// of 10,000 devices, 100,000 events for each second of their time.
func BenchmarkStream(b *testing.B) {
	const devices, perSecond = 10000, 100000
	events := make([]string, 200000)
	times := make([]int64, len(events))
	start, _ := value.ParseTime("2026-01-01T00:00:00Z")
	for i := range events {
		times[i] = start + int64(i)*(value.Second/perSecond)
		at := string(value.AppendTime(nil, times[i]))
		events[i] = fmt.Sprintf(`{"deviceId":"d%05d","ts":"%s","temperature":%d.%d,"humidity":40,"seq":%06d}`, i*7919%devices, at[:23]+"Z", i%100, i%10, i)
	}
	for _, c := range []struct{ name, query string }{
		{"filter", "SELECT deviceId, temperature FROM s TIMESTAMP BY ts WHERE temperature > 99.0"},
		{"tumbling", "SELECT deviceId, AVG(temperature) AS a, COUNT(*) AS n FROM s TIMESTAMP BY ts GROUP BY deviceId, TumblingWindow(second, 5)"},
		{"hopping", "SELECT deviceId, AVG(temperature) AS a, COUNT(*) AS n FROM s TIMESTAMP BY ts GROUP BY deviceId, HoppingWindow(second, 10, 1)"},
	} {
		b.Run(c.name, func(b *testing.B) {
			rows := 0
			r, err := run.New(run.Script{Query: c.query, Policy: clock.Policy{Early: -1, Late: -1}}, func(run.Row) error {
				rows++
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			n, round := 0, int64(0)
			for b.Loop() {
				i := n % len(events)
				if i == 0 {
					round++
				}
				if _, err := r.Event("s", events[i], times[i]+round*value.Day, value.Value{}); err != nil {
					b.Fatal(err)
				}
				n++
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(len(events[0])), "bytes/event")
		})
	}
}
