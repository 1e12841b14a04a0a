package window_test

import (
	"fmt"
	"testing"

	"dunlin/internal/insights/stream/batch"
	"dunlin/internal/insights/stream/value"
	"dunlin/internal/insights/stream/window"
	"dunlin/internal/lang/asa"
)

const (
	benchKeys = 10000
	benchRows = 1000
)

// benchBatches are columns as those of events of 105 bytes: a text key, a time
// with 100,000 events a second, and numbers. Whoever goes through them again
// adds the time that they span.
func benchBatches(keys int) (list []*batch.Batch, span int64) {
	const batches = 1000
	n := 0
	for range batches {
		b := batch.New(3)
		for range benchRows {
			b.Time = append(b.Time, int64(n)*100+1)
			b.Cols[0].Append(value.String(fmt.Sprintf("device-%05d", n*7919%keys)))
			b.Cols[1].Append(value.Number(float64(n%90) + 0.5))
			b.Cols[2].Append(value.Int(int64(n)))
			n++
		}
		list = append(list, b)
	}
	return list, int64(n) * 100
}

func benchmarkGroup(b *testing.B, aggregates, group string, keys int) {
	b.Helper()
	q := queryOf(b, "SELECT "+aggregates+" FROM i GROUP BY "+group)
	spec, err := window.SpecOf(q, nil)
	if err != nil {
		b.Fatal(err)
	}
	out := 0
	g, err := window.New(spec, func(r *batch.Batch) error { out += r.Len(); return nil })
	if err != nil {
		b.Fatal(err)
	}
	batches, span := benchBatches(keys)
	column := func(in *batch.Batch, x asa.Expr) *batch.Column {
		return in.Cols[map[string]int{"k": 0, "x": 1, "y": 2}[x.(*asa.Field).Path[0]]]
	}
	var most int64
	var time []int64
	var keyCols []*batch.Column
	args := make([][]*batch.Column, len(spec.Aggregates))
	run := func(n int) {
		in := batches[n%len(batches)]
		time = time[:0]
		for _, t := range in.Time {
			time = append(time, t+int64(n/len(batches))*span)
		}
		keyCols = keyCols[:0]
		for _, k := range spec.Keys {
			keyCols = append(keyCols, column(in, k))
		}
		for i, a := range spec.Aggregates {
			args[i] = args[i][:0]
			for _, x := range a.Args {
				args[i] = append(args[i], column(in, x))
			}
		}
		if err := g.Rows(time, keyCols, args); err != nil {
			b.Fatal(err)
		}
		if n%64 == 0 {
			most = max(most, g.Bytes())
		}
	}
	n := 0
	for range len(batches) { // until all keys are known and the first windows are over
		run(n)
		n++
	}
	out = 0
	b.ReportAllocs()
	rows := 0
	for b.Loop() {
		run(n)
		n++
		rows += benchRows
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(rows), "ns/row")
	b.ReportMetric(float64(out)/float64(rows), "out/row")
	b.ReportMetric(float64(most)/float64(keys), "B/key")
	b.ReportMetric(0, "ns/op")
}

func BenchmarkGroup(b *testing.B) {
	for _, bench := range []struct {
		name, aggregates, group string
		keys                    int
	}{
		{"tumbling AVG", "AVG(x) AS a", "k, TumblingWindow(second, 5)", benchKeys},
		{"tumbling AVG COUNT", "AVG(x) AS a, COUNT(*) AS n", "k, TumblingWindow(second, 5)", benchKeys},
		{"tumbling five", "AVG(x) AS a, COUNT(*) AS n, MIN(x) AS lo, MAX(x) AS hi, SUM(y) AS s", "k, TumblingWindow(second, 5)", benchKeys},
		{"hopping 10 1", "AVG(x) AS a", "k, HoppingWindow(second, 10, 1)", benchKeys},
		{"hopping 60 1", "AVG(x) AS a", "k, HoppingWindow(second, 60, 1)", benchKeys},
		{"several", "AVG(x) AS a", "k, Windows(TumblingWindow(second, 1), TumblingWindow(second, 5), TumblingWindow(second, 60))", benchKeys},
		{"one group", "AVG(x) AS a", "TumblingWindow(second, 5)", 1},
		{"number key", "AVG(x) AS a", "y, TumblingWindow(second, 5)", benchKeys},
		{"session", "AVG(x) AS a", "k, SessionWindow(second, 1, 5)", benchKeys},
		{"sliding 1 s", "AVG(x) AS a", "k, SlidingWindow(second, 1)", benchKeys},
		{"variance", "STDEV(x) AS a", "k, TumblingWindow(second, 5)", benchKeys},
		{"percentile", "PERCENTILE_CONT(0.9) OVER (ORDER BY x) AS a", "k, TumblingWindow(second, 5)", benchKeys},
		{"new keys only", "COUNT(*) AS n", "y, TumblingWindow(second, 1)", benchKeys},
	} {
		b.Run(bench.name, func(b *testing.B) {
			benchmarkGroup(b, bench.aggregates, bench.group, bench.keys)
		})
	}
}

func BenchmarkState(b *testing.B) {
	g := newGrouping(b, queryOf(b, "SELECT k, AVG(x) AS a FROM i GROUP BY k, HoppingWindow(second, 10, 1)"))
	batches, _ := benchBatches(benchKeys)
	for _, in := range batches {
		if err := g.Rows(in.Time, in.Cols[:1], [][]*batch.Column{in.Cols[1:2]}); err != nil {
			b.Fatal(err)
		}
	}
	state := g.AppendState(nil)
	b.Run("write", func(b *testing.B) {
		for b.Loop() {
			state = g.AppendState(state[:0])
		}
		b.SetBytes(int64(len(state)))
		b.ReportMetric(float64(len(state))/benchKeys, "B/key")
	})
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			g.make()
			if err := g.ReadState(state); err != nil {
				b.Fatal(err)
			}
		}
		b.SetBytes(int64(len(state)))
	})
}

func BenchmarkSlider(b *testing.B) {
	for _, f := range []string{"AVG(x)", "MAX(x)", "COUNT(*)"} {
		b.Run(f, func(b *testing.B) {
			a := analyticOf(b, "SELECT "+f+" OVER (LIMIT DURATION(second, 100)) AS a FROM i")
			s := window.NewSlider(a, 100)
			args := make([]value.Value, len(a.Args))
			t := int64(0)
			b.ReportAllocs()
			for b.Loop() {
				t++
				for i := range args {
					args[i] = value.Number(float64(t % 17))
				}
				if err := s.Expire(t); err != nil {
					b.Fatal(err)
				}
				if err := s.Add(t, args); err != nil {
					b.Fatal(err)
				}
				if _, err := s.Result(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
