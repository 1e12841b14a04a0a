package twin

import (
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
)

func openIndexed(t testing.TB, db state.DB, paths ...string) (*Room, error) {
	t.Helper()
	if err := db.Migrate(t.Context(), "registry", os.DirFS("../registry/migrations")); err != nil {
		t.Fatal(err)
	}
	r, err := Open(t.Context(), Deps{
		DB: db, Deliver: func(iot.ID, *iot.Inbound) bool { return false }, Limits: StrictLimits(), Logger: slog.New(slog.DiscardHandler),
		Registerer: prometheus.NewRegistry(), Indexes: paths,
	})
	if err == nil {
		t.Cleanup(func() {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return r, err
}

// explain gives the plan of the first page of a query.
func explain(t *testing.T, r *Room, text string) string {
	t.Helper()
	p, err := r.queries.plan(text, "", 100)
	if err != nil {
		t.Fatal(err)
	}
	query, args := p.rowsSQL(101)
	before := "EXPLAIN QUERY PLAN "
	if r.db.Dialect() == state.PostgreSQL {
		before = "EXPLAIN "
	}
	var out strings.Builder
	err = r.db.Read(t.Context(), func(tx state.Tx) error {
		// A reader of SQLite takes notice of new indexes when it runs a statement.
		var n int
		if err := tx.QueryRow(t.Context(), "SELECT count(*) FROM twin").Scan(&n); err != nil {
			return err
		}
		if r.db.Dialect() == state.PostgreSQL {
			// The tables are empty, and then reading them whole is best.
			for _, off := range []string{"enable_seqscan", "enable_sort", "enable_bitmapscan"} {
				if _, err := tx.Exec(t.Context(), "SET LOCAL "+off+" = off"); err != nil {
					return err
				}
			}
		}
		rows, err := tx.Query(t.Context(), before+query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		columns, err := rows.Columns()
		if err != nil {
			return err
		}
		for rows.Next() {
			line := make([]any, len(columns))
			for i := range line {
				line[i] = new(any)
			}
			if err := rows.Scan(line...); err != nil {
				return err
			}
			text, _ := (*line[len(line)-1].(*any)).(string)
			out.WriteString(text + "\n")
		}
		return rows.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestIndexesAreUsed shows that what is declared is what queries go along, in
// the order of ids.
func TestIndexesAreUsed(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		r, err := openIndexed(t, db, "tags.site", "properties.reported.place.floor", "Tags.site")
		if err != nil {
			t.Fatal(err)
		}
		if n := len(r.queries.indexes.declared); n != 2 {
			t.Fatalf("%d indexes, two of the three are the same", n)
		}
		names := map[string]string{}
		for _, i := range r.queries.indexes.declared {
			names[i.path] = i.name
		}
		for text, index := range map[string]string{
			"SELECT * FROM devices WHERE tags.site = 'Oslo'":                                 names["tags.site"],
			"SELECT * FROM devices WHERE 'Oslo' = tags.site AND status = 'enabled'":          names["tags.site"],
			"SELECT * FROM devices.modules WHERE tags.site = 'Oslo'":                         names["tags.site"],
			"SELECT deviceId FROM devices WHERE tags.site IN ['Oslo', 'Rome']":               names["tags.site"],
			"SELECT * FROM devices WHERE properties.reported.place.floor = '2' AND tags.a=1": names["properties.reported.place.floor"],
		} {
			if db.Dialect() == state.PostgreSQL && strings.Contains(text, " IN ") {
				continue // in the order of ids it goes along those while the tables are small
			}
			if plan := explain(t, r, text); !strings.Contains(plan, index) {
				t.Errorf("%s is read as\n%s", text, plan)
			}
		}
		for _, text := range []string{
			"SELECT * FROM devices WHERE tags.other = 'Oslo'", "SELECT * FROM devices WHERE tags.site = 'Oslo' OR tags.a = 1", "SELECT * FROM devices WHERE NOT tags.site = 'Oslo'",
		} {
			if plan := explain(t, r, text); strings.Contains(plan, indexPrefix) {
				t.Errorf("%s is read as\n%s", text, plan)
			}
		}
		if plan := explain(t, r, "SELECT * FROM devices WHERE tags.site = 'Oslo'"); strings.Contains(plan, "TEMP B-TREE") || strings.Contains(plan, "Sort") {
			t.Errorf("the page is sorted:\n%s", plan)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		// Open again with others.
		r, err = openIndexed(t, db, "tags.other")
		if err != nil {
			t.Fatal(err)
		}
		if plan := explain(t, r, "SELECT * FROM devices WHERE tags.site = 'Oslo'"); strings.Contains(plan, names["tags.site"]) {
			t.Errorf("the index that is not declared any more is still there:\n%s", plan)
		}
		if plan := explain(t, r, "SELECT * FROM devices WHERE tags.other = 'Oslo'"); !strings.Contains(plan, indexPrefix) {
			t.Errorf("the new index is not used:\n%s", plan)
		}
	})
}

// TestConnectedIsFound shows that the few devices that are connected are found
// without reading the others, also when one has never connected.
func TestConnectedIsFound(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		r, err := openIndexed(t, db)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{
			"SELECT * FROM devices WHERE connectionState = 'Connected'",
			"SELECT deviceId FROM devices WHERE NOT connectionState != 'Connected' AND status = 'enabled'",
			"SELECT COUNT() AS n FROM devices WHERE connectionState IN ['Connected']",
		} {
			plan := explain(t, r, text)
			if !strings.Contains(plan, "seen_connected") {
				t.Errorf("%s is read as\n%s", text, plan)
			}
			if strings.Contains(plan, "TEMP B-TREE") || strings.Contains(plan, "Sort") {
				t.Errorf("%s is sorted:\n%s", text, plan)
			}
		}
		for _, text := range []string{
			"SELECT * FROM devices WHERE connectionState = 'Disconnected'",
			"SELECT * FROM devices WHERE connectionState = 'Connected' OR status = 'disabled'",
			"SELECT * FROM devices.modules WHERE connectionState = 'Connected'",
		} {
			if plan := explain(t, r, text); strings.Contains(plan, "seen_connected") {
				t.Errorf("%s is read as\n%s", text, plan)
			}
		}
	})
}

func TestIndexesRefused(t *testing.T) {
	db := statetest.SQLite(t)
	for path, want := range map[string]string{
		"":                     "is not the path of a member",
		"tags":                 "needs the name of a member",
		"deviceId":             "begins with tags",
		"properties.x":         "begins with tags",
		"tags.a = 1":           "is not the path of a member",
		"tags.[[a'b]]":         "cannot be indexed",
		"tags.[[a?]]":          "cannot be indexed",
		`tags.[[a"b]]`:         "cannot be indexed",
		"tags.[[a') DROP --]]": "cannot be indexed",
	} {
		_, err := openIndexed(t, db, path)
		if iot.CodeOf(err) != iot.ArgumentInvalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
