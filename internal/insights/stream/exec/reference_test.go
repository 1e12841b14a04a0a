package exec

import (
	"strings"
	"testing"

	"dunlin/internal/insights/stream/batch"
	"dunlin/internal/insights/stream/clock"
	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/value"
	"dunlin/internal/lang/asa"
)

func tableRows(t *testing.T, json ...string) (rows []value.Value) {
	for _, s := range json {
		v, err := value.FromJSON(s)
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, v)
	}
	return rows
}

// TestReferenceVersions joins events with the version of their time, and
// forgets versions when no event can need them any more.
func TestReferenceVersions(t *testing.T) {
	query := "SELECT i.k, r.x FROM i JOIN r ON i.k = r.k"
	s, _, err := asa.Parse(query)
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := asa.Bind(s, query, asa.Catalog{Streams: []string{"i"}, References: []string{"r"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(p, Options{Policy: clock.Default()}); err == nil || !strings.Contains(err.Error(), "'r'") {
		t.Fatal("a table that is not there: ", err)
	}
	var rows []string
	j, err := New(p, Options{
		Policy:    clock.Default(),
		Reference: map[string][]Version{"R": {{From: 100, Rows: tableRows(t, `{"k":1,"x":"old"}`)}, {From: 200, Rows: tableRows(t, `{"k":1,"x":"new"}`, `{"k":1,"x":"more"}`)}}},
		Output: func(_ string, _ []string, b *batch.Batch) error {
			for i := range b.Time {
				rows = append(rows, scalar.Show(b.Cols[1].At(i)))
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	give := func(times ...int64) error {
		for _, at := range times {
			if err := j.inputs[0].Event(`{"k":1}`, at, value.Value{}); err != nil {
				t.Fatal(err)
			}
		}
		return j.inputs[0].Flush()
	}
	if err := give(150, 199); err != nil {
		t.Fatal(err)
	}
	if n := len(j.tables[0].versions); n != 2 {
		t.Fatal(n, " versions: one more event of 199 is possible")
	}
	if err := give(200); err != nil {
		t.Fatal(err)
	}
	if err := j.SetReference("r", Version{From: 300, Rows: tableRows(t, `{"k":1,"x":"last"}`)}); err != nil {
		t.Fatal(err)
	}
	if err := give(299, 300, 301); err != nil {
		t.Fatal(err)
	}
	if n := len(j.tables[0].versions); n != 1 {
		t.Fatal(n, " versions are kept")
	}
	expect(t, query, rows, []string{"old", "old", "new", "more", "new", "more", "last", "last"})

	j, err = New(p, Options{Policy: clock.Default(), Reference: map[string][]Version{"r": {{From: 100}}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := give(99); err == nil || !strings.Contains(err.Error(), "'r' begins at") {
		t.Fatal("an event before the table: ", err)
	}
}
