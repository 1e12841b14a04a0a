package twin_test

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
	"dunlin/internal/lang/twinql"
	"dunlin/internal/things/twin"
)

// modelGroup is a group of the plain model: the decoded rows themselves.
type modelGroup struct {
	keys map[string]any // result members of GROUP BY
	rows []any
}

// modelAggregate computes an aggregate over whole rows.
func modelAggregate(a *twinql.Aggregate, rows []any) any {
	var numbers []float64
	var texts []string
	defined := 0
	for _, doc := range rows {
		if a.Path == nil {
			defined++
			continue
		}
		switch v := (decodedSource{doc}).at(a.Path).(type) {
		case absent:
			continue
		case float64:
			numbers = append(numbers, v)
		case string:
			texts = append(texts, v)
		}
		defined++
	}
	sum := 0.0
	for _, n := range numbers {
		sum += n
	}
	switch {
	case a.Kind == twinql.Count:
		return float64(defined)
	case a.Kind == twinql.Sum && len(numbers) > 0:
		return sum
	case a.Kind == twinql.Average && len(numbers) > 0:
		return sum / float64(len(numbers))
	case a.Kind == twinql.Minimum && len(numbers) > 0:
		return slices.Min(numbers)
	case a.Kind == twinql.Minimum && len(texts) > 0:
		return slices.Min(texts)
	case a.Kind == twinql.Maximum && len(texts) > 0:
		return slices.Max(texts)
	case a.Kind == twinql.Maximum && len(numbers) > 0:
		return slices.Max(numbers)
	}
	return absent{}
}

func modelGroups(f *fleet, q *twinql.Query) []any {
	groups := map[string]*modelGroup{}
	if q.GroupBy == nil {
		groups[""] = &modelGroup{}
	}
	for _, id := range f.ids {
		doc := f.docs[id]
		if strings.Contains(id, "/") != (q.From == twinql.Modules) || (q.Where != nil && !twinql.Eval(q.Where, decodedSource{doc}).IsTrue()) {
			continue
		}
		name := ""
		keys := map[string]any{}
		for _, p := range q.GroupBy {
			v := decodedSource{doc}.at(p)
			if _, ok := v.(absent); !ok {
				keys[twinql.Print(p)] = v
			}
			text, _ := json.Marshal(v)
			name += fmt.Sprintf("%T %s\n", v, text)
		}
		if groups[name] == nil {
			groups[name] = &modelGroup{keys: keys}
		}
		groups[name].rows = append(groups[name].rows, doc)
	}
	out := []any{}
	for _, g := range groups {
		row := map[string]any{}
		for i := range q.Columns {
			c := &q.Columns[i]
			var v any
			switch e := c.Expr.(type) {
			case *twinql.Aggregate:
				v = modelAggregate(e, g.rows)
			case *twinql.Path:
				var ok bool
				if v, ok = g.keys[twinql.Print(e)]; !ok {
					v = absent{}
				}
			}
			if _, ok := v.(absent); !ok {
				row[c.Name()] = v
			}
		}
		out = append(out, row)
	}
	return out
}

// alike compares values, with some room in sums of doubles, which depend on
// the order of adding.
func alike(a, b any) bool {
	if fmt.Sprintf("%T", a) != fmt.Sprintf("%T", b) {
		return false
	}
	switch a := a.(type) {
	case float64:
		b, ok := b.(float64)
		return ok && (a == b || math.Abs(a-b) <= 1e-9*math.Max(math.Abs(a), math.Abs(b)))
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for k := range a {
			if v, ok := b[k]; !ok || !alike(a[k], v) {
				return false
			}
		}
		return true
	}
	return fmt.Sprint(a) == fmt.Sprint(b)
}

// TestQueryGroupsAreSums compares grouped results with those of a plain model.
func TestQueryGroupsAreSums(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		f := randomFleet(t, db, 150)
		facts := f.facts()
		rapid.Check(t, func(t *rapid.T) {
			short := rapid.OneOf(
				rapid.SampledFrom([]string{
					"status", "connectionState", "tags.a", "tags.b", "properties.reported.a", "properties.desired.b", "version", "authenticationType", "etag", "statusReason",
					"statusUpdateTime", "lastActivityTime", "capabilities.iotEdge", "x509Thumbprint.primaryThumbprint", "moduleId", "nothing", "tags", "deviceScope", "parentScopes",
				}), pathGen())
			keys := rapid.SliceOfN(short, 0, 2).Draw(t, "keys")
			var columns []string
			for i, k := range keys {
				columns = append(columns, fmt.Sprintf("%s AS k%d", k, i))
			}
			for i, a := range rapid.SliceOfN(rapid.SampledFrom([]string{"COUNT(", "AVG(", "SUM(", "MIN(", "MAX("}), 1, 3).Draw(t, "aggregates") {
				path := short.Draw(t, "of")
				if a == "COUNT(" && rapid.Bool().Draw(t, "all") {
					path = ""
				}
				columns = append(columns, fmt.Sprintf("%s%s) AS a%d", a, path, i))
			}
			query := "SELECT " + strings.Join(columns, ", ") + " FROM " + rapid.SampledFrom([]string{"devices", "devices.modules"}).Draw(t, "from")
			if rapid.Bool().Draw(t, "where") {
				query += " WHERE " + conditionGen(facts, 1).Draw(t, "condition")
			}
			if len(keys) > 0 {
				query += " GROUP BY " + strings.Join(keys, ", ")
			}
			parsed, err := twinql.Parse(query)
			if err != nil {
				t.Skip(err)
			}
			if _, err := twinql.Bind(parsed, query); err != nil {
				t.Fatal(err, query)
			}
			want := modelGroups(f, parsed)
			f.rooms.SplitFrom(rapid.SampledFrom([]int64{1, 1 << 40}).Draw(t, "split from"))
			got := f.run(t, query, rapid.SampledFrom([]int{1000, 3}).Draw(t, "size"))
			rest := slices.Clone(want)
			for _, g := range got {
				i := slices.IndexFunc(rest, func(w any) bool { return alike(g, w) })
				if i < 0 {
					t.Fatalf("%s\ngives the group %v, which is none of %v", query, g, rest)
				}
				rest = slices.Delete(rest, i, i+1)
			}
			if len(rest) > 0 {
				t.Fatalf("%s\nleaves out %v", query, rest)
			}
		})
	})
}

// TestQueryTop shows that TOP counts rows over all pages.
func TestQueryTop(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		f := newFleet(t, db)
		for i := range 10 {
			f.device(&twin.Identity{ID: iot.ID{Device: fmt.Sprint("d", i)}, AuthType: "sas"})
			f.twin(iot.ID{Device: fmt.Sprint("d", i)}, fmt.Sprintf(`{"tags":{"n":%d,"s":"x%d"}}`, i, i), "")
		}
		for _, c := range []struct {
			query string
			size  int
			want  int
		}{
			{"SELECT TOP 5 * FROM devices", 2, 5},
			{"SELECT TOP 5 * FROM devices", 5, 5},
			{"SELECT TOP 4 deviceId FROM devices WHERE LENGTH(tags.s) = 2", 2, 4},
			{"SELECT TOP 50 * FROM devices", 3, 10},
			{"SELECT TOP 3 tags.n FROM devices GROUP BY tags.n", 2, 3},
			{"SELECT TOP 1 * FROM devices", 1, 1},
		} {
			if got := f.run(t, c.query, c.size); len(got) != c.want {
				t.Errorf("%s in pages of %d gives %d rows", c.query, c.size, len(got))
			}
			p, err := f.rooms.Query(t.Context(), c.query, "", 1000, nil)
			if err != nil || p.Continuation != "" {
				t.Errorf("%s: a continuation %q, %v", c.query, p.Continuation, err)
			}
		}
	})
}

// TestQueryPassesOverDamage shows that a damaged row is left out, and that a
// page of them does not end the result.
func TestQueryPassesOverDamage(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		f := newFleet(t, db)
		for i := range 8 {
			id := iot.ID{Device: fmt.Sprint("d", i)}
			f.device(&twin.Identity{ID: id, AuthType: "sas"})
			f.twin(id, `{"tags":{"s":"x"}}`, "")
		}
		err := db.Write(t.Context(), func(tx state.Tx) error {
			_, err := tx.Exec(t.Context(), "UPDATE twin SET desired_version = 77 WHERE device >= 'd2' AND device < 'd7'")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, query := range []string{"SELECT deviceId FROM devices", "SELECT deviceId FROM devices WHERE LENGTH(tags.s) = 1"} {
			if got := fmt.Sprint(f.run(t, query, 2)); got != "[map[deviceId:d0] map[deviceId:d1] map[deviceId:d7]]" {
				t.Errorf("%s gives %s", query, got)
			}
		}
	})
}

// TestQueryFindsEscapes shows that a value is found however a device spelled it.
func TestQueryFindsEscapes(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		f := newFleet(t, db)
		for i, c := range [][2]string{
			{`\u0061bc`, "abc"}, {`abc\u0064`, "abcd"}, {`q\"t`, `q"t`}, {`q\u0022s`, `q"s`}, {`b\\s`, `b\\s`}, {`b\/c`, "b/c"}, {`\ud83d\ude00`, "😀"}, {`a\tb`, `a\tb`}, {"plain", "plain"},
		} {
			id := iot.ID{Device: fmt.Sprint("d", i)}
			f.device(&twin.Identity{ID: id, AuthType: "sas"})
			f.twin(id, `{"tags":{"x":"`+c[0]+`","y":["`+c[0]+`"]}}`, `{"b":["`+c[0]+`"],"c":"`+c[0]+`"}`)
			for _, path := range []string{"tags.x", "tags.y[0]", "properties.reported.b[0]", "properties.reported.c"} {
				for _, query := range []string{"SELECT deviceId FROM devices WHERE %s = '%s'", "SELECT deviceId FROM devices WHERE NOT %s != '%s'", "SELECT deviceId FROM devices WHERE %s IN ['%s']"} {
					query = fmt.Sprintf(query, path, c[1])
					if got, want := fmt.Sprint(f.run(t, query, 10)), fmt.Sprintf("[map[deviceId:%s]]", id.Device); got != want {
						t.Errorf("%s finds %s and not %s", query, got, want)
					}
				}
			}
		}
	})
}

// TestQueryAtItsLimits runs the largest queries that are read: none may meet a
// limit of a database.
func TestQueryAtItsLimits(t *testing.T) {
	fill := func(first, term, last string) string {
		n := (twinql.MaxLength - len(first) - len(last)) / len(term)
		return first + strings.Repeat(term, n) + last
	}
	statetest.Each(t, func(t *testing.T, db state.DB) {
		f := newFleet(t, db)
		id := iot.ID{Device: "d"}
		f.device(&twin.Identity{ID: id, AuthType: "sas"})
		f.twin(id, `{"tags":{"a":1,"s":"x"}}`, "")
		for name, query := range map[string]string{
			"or":         fill("SELECT deviceId FROM devices WHERE ", "tags.a=2 or ", "tags.a=1"),
			"and":        fill("SELECT deviceId FROM devices WHERE ", "tags.a=1 and ", "tags.a=1"),
			"not":        "SELECT deviceId FROM devices WHERE " + strings.Repeat("NOT ", 62) + "tags.a = 1",
			"in":         fill("SELECT deviceId FROM devices WHERE tags.a IN [", "2,", "1]"),
			"texts":      fill("SELECT deviceId FROM devices WHERE tags.s IN [", "'y',", "'x']"),
			"not in":     fill("SELECT deviceId FROM devices WHERE tags.a NOT IN [", "2,", "3]"),
			"sum":        fill("SELECT deviceId FROM devices WHERE tags.a ", "+ 0 ", "= 1"),
			"path":       fill("SELECT deviceId FROM devices WHERE tags.a = 1 OR tags.[[", "k", "]] = 1"),
			"brackets":   "SELECT deviceId FROM devices WHERE " + strings.Repeat("(", 64) + "tags.a = 1" + strings.Repeat(")", 64),
			"text":       fill("SELECT deviceId FROM devices WHERE NOT tags.s = '", "y", "'"),
			"mixed":      fill("SELECT deviceId FROM devices WHERE ", "(tags.a=2 and tags.s!='z' or not contains(tags.s,'q')) and ", "tags.a=1"),
			"many sorts": fill("SELECT deviceId FROM devices WHERE ", "lower(tags.s)='y' or ", "tags.a=1"),
		} {
			if got := fmt.Sprint(f.run(t, query, 10)); got != "[map[deviceId:d]]" {
				t.Errorf("%s gives %s", name, got)
			}
			count := strings.Replace(query, "SELECT deviceId", "SELECT COUNT() AS n", 1)
			if len(count) > twinql.MaxLength {
				continue
			}
			if got := fmt.Sprint(f.run(t, count, 10)); got != "[map[n:1]]" {
				t.Errorf("%s counts %s", name, got)
			}
		}
	})
}
