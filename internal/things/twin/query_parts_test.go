package twin

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
)

// TestQueryParts shows which queries are read in parts, and that the parts
// together are the whole, also while another query has the second reader.
func TestQueryParts(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		r, err := openIndexed(t, db, "tags.site")
		if err != nil {
			t.Fatal(err)
		}
		const twins = 500
		fillTwins(t, db, twins)
		// Rows with gaps between them, and ids of rows that begin late.
		if err := db.Write(t.Context(), func(tx state.Tx) error {
			_, err := tx.Exec(t.Context(), "DELETE FROM twin WHERE device < 'device-0000200' OR device LIKE '%3'")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		for query, alias := range map[string]string{
			"SELECT COUNT() AS n FROM devices WHERE tags.floor = '3'":                                                             "t",
			"SELECT COUNT() AS n FROM devices WHERE properties.reported.temperature > 50 OR tags.floor = '1'":                     "t",
			"SELECT tags.floor, COUNT() AS n, AVG(properties.reported.uptime) AS u FROM devices GROUP BY tags.floor":              "d",
			"SELECT status, COUNT() AS n, MIN(tags.site) AS s, MAX(properties.reported.uptime) AS u FROM devices GROUP BY status": "d",
			"SELECT COUNT() AS n FROM devices WHERE tags.site = 'site7'":                                                          "",
			"SELECT COUNT() AS n FROM devices WHERE deviceId = 'device-0000301'":                                                  "",
			"SELECT COUNT() AS n FROM devices WHERE status = 'disabled'":                                                          "",
			"SELECT COUNT() AS n FROM devices.modules WHERE tags.floor = '3'":                                                     "t",
		} {
			p, err := r.queries.plan(query, "", 100)
			if err != nil {
				t.Fatal(err)
			}
			s, ok := p.groupSQL()
			if !ok {
				t.Fatalf("%s: SQL cannot say it", query)
			}
			r.SplitFrom(100)
			parts, err := r.queries.split(t.Context(), &s)
			if err != nil {
				t.Fatal(err)
			}
			if db.Dialect() == state.PostgreSQL {
				alias = ""
			}
			if (alias == "") != (len(parts) == 0) || (alias != "" && parts[0].alias != alias) {
				t.Errorf("%s has the parts %v, want them of %q", query, parts, alias)
			}
			inParts := items(t, r, query)
			r.queries.turn <- struct{}{} // another query takes the second reader
			alone := items(t, r, query)
			<-r.queries.turn
			r.SplitFrom(1 << 40)
			if whole := items(t, r, query); whole != inParts || whole != alone {
				t.Errorf("%s\n%s, in parts\n%s, in parts by one reader\n%s", query, whole, inParts, alone)
			}
			if n := len(r.queries.turn); n != 0 {
				t.Fatalf("%d turns were not given back", n)
			}
		}
		r.SplitFrom(100)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := r.Query(ended, "SELECT COUNT() AS n FROM devices WHERE tags.floor = '3'", "", 100, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("a caller that has gone: %v", err)
		}
		// What comes in behind the last row belongs to the last part.
		parts := partsOf("t", -3, 10)
		if parts[0].low >= -3 || parts[splitParts-1].high <= 10*splitParts {
			t.Error(parts)
		}
		for i, p := range parts[1:] {
			if p.low != parts[i].high+1 {
				t.Errorf("the parts %v leave a gap or overlap", parts)
			}
		}
	})
}

func items(t *testing.T, r *Room, query string) string {
	t.Helper()
	p, err := r.Query(t.Context(), query, "", 100, nil)
	if err != nil {
		t.Fatal(fmt.Errorf("%s: %w", query, err))
	}
	return string(p.Items)
}
