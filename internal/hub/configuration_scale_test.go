package hub_test

import (
	"fmt"
	"testing"
	"time"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
	"dunlin/internal/things/configuration"
)

// TestConfiguredIsFound shows that twins are found by the status of a
// configuration without reading the others.
func TestConfiguredIsFound(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		c := openConfigured(t, db)
		fill(c, 100_000)
		c.device("target", `{"site":"north"}`)
		c.put("c", 1, "tags.site = 'north'", `{"deviceContent":{"properties.desired.a":1}}`, configuration.Match{})
		c.becomes(iot.ID{Device: "target"}, `{"a":1} c:Applied`)
		if db.Dialect() == state.PostgreSQL {
			exec(c, "ANALYZE")
		}
		best := func(text string) time.Duration {
			best := time.Hour
			for range 10 {
				began := time.Now()
				c.query(text)
				best = min(best, time.Since(began))
			}
			return best
		}
		all := best("SELECT COUNT() AS n FROM devices WHERE statusReason = 'nobody has it'")
		for text, want := range map[string]string{
			"SELECT deviceId FROM devices WHERE configurations.[[c]].status = 'Applied'":            `[{"deviceId":"target"}]`,
			"SELECT deviceId FROM devices WHERE configurations.c.status IN ['Targeted', 'Applied']": `[{"deviceId":"target"}]`,
			"SELECT COUNT() AS n FROM devices WHERE configurations.c.status = 'Applied'":            `[{"n":1}]`,
		} {
			if got := c.query(text); got != want {
				t.Errorf("%s gives %s, want %s", text, got, want)
			}
			if took := best(text); took > all/2 {
				t.Errorf("%s took %s; to read all devices takes %s", text, took, all)
			}
		}
	})
}

func exec(c *configured, query string, args ...any) {
	c.tb.Helper()
	err := c.db.Write(c.tb.Context(), func(tx state.Tx) error {
		_, err := tx.Exec(c.tb.Context(), query, args...)
		return err
	})
	if err != nil {
		c.tb.Fatal(err)
	}
}

// fill makes devices without the work of making them.
func fill(c *configured, n int) {
	c.tb.Helper()
	rows := fmt.Sprintf("WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < %d)", n)
	exec(c, `INSERT INTO device (id, generation, etag, status, status_at, auth, sum, edge, scope, parents) `+rows+
		` SELECT 'filler-' || n, 1, 'e', 0, 0, 0, 0, 0, '', '' FROM i`)
}

// BenchmarkConfigurationEvent changes a tag of one of many devices, with a
// hundred configurations, and waits for the device to follow.
func BenchmarkConfigurationEvent(b *testing.B) {
	for _, n := range []int{1000, 200_000} {
		b.Run(fmt.Sprint(n, " devices"), func(b *testing.B) {
			c := openConfigured(b, statetest.SQLite(b))
			fill(c, n)
			c.device("d", "")
			for i := range 100 {
				c.put(fmt.Sprintf("c%d", i), int64(i), fmt.Sprintf("tags.site = 's%d'", i), fmt.Sprintf(`{"deviceContent":{"properties.desired.a":%d}}`, i), configuration.Match{})
			}
			becomesWithin(b, time.Minute, "0", func() string {
				var left int
				if err := c.db.Get(b.Context(), []any{&left}, "SELECT count(*) FROM configuration WHERE done < aim"); err != nil {
					b.Fatal(err)
				}
				return fmt.Sprint(left)
			})
			id, k := iot.ID{Device: "d"}, c.key(iot.ID{Device: "d"})
			i := 0
			for b.Loop() {
				i = (i + 1) % 100
				c.patch(id, fmt.Sprintf(`{"tags":{"site":"s%d"}}`, i))
				for want := fmt.Sprintf(`{"a":%d}`, i); ; time.Sleep(100 * time.Microsecond) {
					d, err := c.twins.Get(b.Context(), k)
					if err != nil {
						b.Fatal(err)
					}
					if d.Desired() == want {
						break
					}
				}
			}
		})
	}
}
