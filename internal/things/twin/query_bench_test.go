package twin

import (
	"flag"
	"fmt"
	"testing"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
)

var benchTwins = flag.Int("twins", 20000, "twins in the stores of query benchmarks")

// BenchmarkQuery measures pages and counts over many twins; 1 % of them have
// the site that is asked for.
func BenchmarkQuery(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) { benchmarkQuery(b, statetest.SQLite(b)) })
	b.Run("postgres", func(b *testing.B) { benchmarkQuery(b, statetest.Postgres(b)) })
}

func benchmarkQuery(b *testing.B, db state.DB) {
	r, err := openIndexed(b, db, "tags.site")
	if err != nil {
		b.Fatal(err)
	}
	fillTwins(b, db, *benchTwins)
	for _, c := range []struct{ name, query string }{
		{"first page by indexed tag", "SELECT * FROM devices WHERE tags.site = 'site7'"},
		{"first page by id", "SELECT * FROM devices WHERE deviceId = 'device-0000123'"},
		{"first page of all", "SELECT deviceId, tags.site FROM devices"},
		{"count by tag that is not indexed", "SELECT COUNT() AS n FROM devices WHERE tags.floor = '3'"},
		{"count by reported number", "SELECT COUNT() AS n FROM devices WHERE properties.reported.temperature > 50"},
		{"count by indexed tag", "SELECT COUNT() AS n FROM devices WHERE tags.site = 'site7'"},
		{"count connected", "SELECT COUNT() AS n FROM devices WHERE connectionState = 'Connected'"},
		{"count by site", "SELECT tags.site, COUNT() AS n FROM devices GROUP BY tags.site"},
		{"page that SQL cannot say", "SELECT deviceId FROM devices WHERE LOWER(tags.floor) = '3'"},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				p, err := r.Query(b.Context(), c.query, "", 100, nil)
				if err != nil || len(p.Items) < 10 {
					b.Fatal(err, string(p.Items))
				}
			}
		})
	}
}

func fillTwins(b testing.TB, db state.DB, n int) {
	b.Helper()
	const batch = 2000
	lim := StrictLimits()
	for from := 0; from < n; from += batch {
		err := db.Write(b.Context(), func(tx state.Tx) error {
			for i := from; i < min(n, from+batch); i++ {
				id := fmt.Sprintf("device-%07d", i)
				if _, err := tx.Exec(b.Context(), `INSERT INTO device (id, generation, etag, status, status_at, auth, sum, edge, scope, parents)
					VALUES (?, 1, 'e', 0, 0, 0, 0, 0, '', '')`, id); err != nil {
					return err
				}
				if _, err := tx.Exec(b.Context(), "INSERT INTO seen (device, made, connected, connected_at, active_at) VALUES (?, 1, ?, 0, 0)", id, max(0, 1-i%50)); err != nil {
					return err
				}
				rec := fresh(1)
				rec.tags.text = fmt.Sprintf(`{"site":"site%d","floor":"%d","customer":{"name":"somebody %d","since":2020}}`, i%100, i%8, i%1000)
				n, err := readReport(&lim, fmt.Sprintf(`{"temperature":%d.5,"firmware":{"version":"1.%d.0","state":"idle"},"uptime":%d}`, i%100, i%7, i))
				if err != nil {
					return err
				}
				rec.reported, _ = seal(&n, nil, true)
				w := row{key: Key{iot.ID{Device: id}, 1}, rec: &rec}
				w.sum, _ = rec.sum(w.key, nil)
				if err := putOne(b.Context(), tx, &w); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
