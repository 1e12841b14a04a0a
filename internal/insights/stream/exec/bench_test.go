package exec

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"dunlin/internal/insights/stream/batch"
	"dunlin/internal/insights/stream/value"
)

const benchRows = 4096

// bench pushes batches of rows through a job, behind its JSON: columns as given
// and a time that goes on. It reports the time for each row.
func bench(b *testing.B, query string, keys int) {
	var n int64
	p := planOf(b, query)
	j, err := New(p, Options{Output: func(_ string, _ []string, x *batch.Batch) error {
		n += int64(x.Len())
		return nil
	}})
	if err != nil {
		b.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	names := make([]string, keys)
	for i := range names {
		names[i] = fmt.Sprintf("device-%05d", i)
	}
	var batches []*batch.Batch
	for _, in := range j.inputs {
		x := batch.New(in.layout.width())
		for range benchRows {
			for c, path := range in.layout.paths {
				switch path[0] {
				case "k":
					x.Cols[c].Append(value.String(names[r.IntN(keys)]))
				default:
					x.Cols[c].Append(value.Number(r.Float64()))
				}
			}
			x.Time = append(x.Time, 0)
		}
		batches = append(batches, x)
	}
	now := int64(1e17)
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += benchRows {
		// Every batch is 40 ms: 100,000 rows a second of each input.
		for n, in := range j.inputs {
			for k := range batches[n].Time {
				batches[n].Time[k] = now + int64(k)*100
			}
			if err := in.next.rows(batches[n]); err != nil {
				b.Fatal(err)
			}
		}
		now += benchRows * 100
	}
	b.StopTimer()
	b.ReportMetric(float64(n)/float64(b.N), "rows-out/row")
	b.ReportMetric(float64(j.StateBytes())/1e6, "state-MB")
}

func BenchmarkLag(b *testing.B) {
	bench(b, "SELECT v, LAG(v) OVER (PARTITION BY k LIMIT DURATION(minute, 1)) AS was FROM a", 10_000)
}

func BenchmarkSlidingSum(b *testing.B) {
	bench(b, "SELECT v, SUM(v) OVER (PARTITION BY k LIMIT DURATION(second, 10)) AS s FROM a", 10_000)
}

func BenchmarkScore(b *testing.B) {
	bench(b, "SELECT v, AnomalyScore(v) OVER (PARTITION BY k LIMIT DURATION(minute, 1)) AS s FROM a", 1_000)
}

func BenchmarkJoin(b *testing.B) {
	bench(b, "SELECT a.v AS x, b.v AS y FROM a JOIN b ON a.k = b.k AND DATEDIFF(millisecond, a, b) BETWEEN 0 AND 100", 10_000)
}

func BenchmarkLeftJoin(b *testing.B) {
	bench(b, "SELECT a.v AS x, b.v AS y FROM a LEFT JOIN b ON a.k = b.k AND DATEDIFF(millisecond, a, b) BETWEEN 0 AND 100 AND a.v < b.v", 10_000)
}

func BenchmarkMatch(b *testing.B) {
	bench(b, "SELECT k, f FROM a MATCH_RECOGNIZE (LIMIT DURATION(second, 1) PARTITION BY k MEASURES FIRST(A.v) AS f PATTERN (A+ B) DEFINE A AS A.v < 0.5, B AS B.v > 0.9) AS m", 10_000)
}
