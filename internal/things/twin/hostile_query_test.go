package twin_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
	"dunlin/internal/lang/twinql"
	"dunlin/internal/things/twin"
)

// evil are texts that would end a literal, a name or a statement of SQL, of
// JSON paths or of patterns, if anything but a parameter carried them.
var evil = []string{
	`'`, `"`, `''`, `' OR '1'='1`, `'; DROP TABLE twin; --`, `"; DELETE FROM device; --`, `') UNION SELECT id, etag FROM device --`, `\`, `\'`, `\"`, `$$`, `$1`, `?`, `:a`, `@a`, `%`, `_`, `%s`,
	`/* */`, `--`, `a]]b`, `[[`, `]]`, `$.a`, `$[0]`, `a.b`, `{a,b}`, "a\tb", "a\nb", `${1}`, `E'\x27'`, `pg_sleep(9)`, `1 = 1`, `NULL`, `tags.a`, "\u2028", "\U0001F600", "é", strings.Repeat("'", 500), strings.Repeat("a", 2000),
}

// quoted writes a literal of the query language.
func quoted(s string) string {
	return "'" + strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), "'", `\'`) + "'"
}

// bracketed writes any key as a step of a path.
func bracketed(s string) string { return "[[" + strings.ReplaceAll(s, "]]", "]]]]") + "]]" }

// TestInjection puts hostile texts wherever a query takes one. Each finds what
// is really called like that, and nothing else.
func TestInjection(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		f := newFleet(t, db)
		for i, text := range evil {
			id := twin.Identity{ID: iot.ID{Device: fmt.Sprintf("d%d", i)}, ETag: "e", AuthType: "sas", StatusReason: &text}
			f.device(&id)
			f.twin(id.ID, fmt.Sprintf(`{"tags":{"v":%q}}`, "plain"), "")
			f.rooms.Set(t, id.ID, text)
			f.note(&id)
		}
		count := f.count()
		for i, text := range evil {
			want := fmt.Sprintf("d%d", i)
			lit := quoted(text)
			for _, where := range []string{
				"tags.text = " + lit, "tags.text IN [" + lit + "]", lit + " = tags.text", "statusReason = " + lit,
				"tags.text = " + lit + " AND tags.text >= " + lit + " AND NOT tags.text != " + lit,
			} {
				f.finds(where, want)
			}
			for _, where := range []string{
				"deviceId = " + lit, "deviceId IN [" + lit + "]", "tags.a = " + lit, "status = " + lit, "properties.reported.b[0] = " + lit, "lastActivityTime = " + lit,
				"startswith(deviceId, " + lit + ") AND deviceId = 'none'", "tags" + "." + bracketed(text) + " = 'none'", "tags.text." + bracketed(text) + " = 1", "is_defined(tags." + bracketed(text) + ")",
				"properties.desired." + bracketed(text) + " = " + lit, "deviceId = 'none' OR tags.text = " + lit + " AND 1 = 2",
			} {
				f.finds(where)
			}
			for _, query := range []string{
				"SELECT tags." + bracketed(text) + " FROM devices", "SELECT tags.text AS x FROM devices WHERE tags.text = " + lit,
				"SELECT tags." + bracketed(text) + ", COUNT() FROM devices GROUP BY tags." + bracketed(text),
				"SELECT TOP 3 * FROM devices ORDER BY tags." + bracketed(text),
				"SELECT * FROM devices WHERE " + text, "SELECT " + text + " FROM devices", "SELECT * FROM " + text, "SELECT * FROM devices ORDER BY " + text,
			} {
				f.survives(query)
			}
			// Tokens are not trusted either.
			if _, err := f.rooms.Query(t.Context(), "SELECT * FROM devices", text, 10, nil); iot.CodeOf(err).Status() != 400 {
				t.Errorf("the token %.40q: %v", text, err)
			}
		}
		if have := f.count(); have != count {
			t.Errorf("%v rows, were %v", have, count)
		}
	})
}

// Set writes a tag that may hold any text.
func (s *site) Set(t testing.TB, id iot.ID, text string) {
	t.Helper()
	body := `{"tags":{"text":` + jsonText(text) + `}}`
	if _, err := s.Patch(t.Context(), twin.Key{ID: id, Generation: 1}, []byte(body), nil); err != nil {
		t.Fatal(err, body)
	}
}

func jsonText(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		if r < ' ' || r == '"' || r == '\\' {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String() + `"`
}

// finds runs a condition that the language takes, and compares the devices.
func (f *fleet) finds(where string, want ...string) {
	f.tb.Helper()
	query := "SELECT deviceId FROM devices WHERE " + where
	p, err := f.rooms.Query(f.tb.Context(), query, "", 100, nil)
	if err != nil {
		if iot.CodeOf(err).Status() == 400 && len(want) == 0 {
			return // a type that cannot be
		}
		f.tb.Errorf("%.200s: %v", query, err)
		return
	}
	var have []string
	for _, row := range decoded(f.tb, p.Items).([]any) {
		have = append(have, row.(map[string]any)["deviceId"].(string))
	}
	if strings.Join(have, " ") != strings.Join(want, " ") {
		f.tb.Errorf("%.200s: found %v, want %v", query, have, want)
	}
}

// survives runs any text as a query: an answer, or an error of the caller.
func (f *fleet) survives(query string) {
	f.tb.Helper()
	_, err := f.rooms.Query(f.tb.Context(), query, "", 10, nil)
	if code := iot.CodeOf(err); code != 0 && code.Status() != 400 {
		f.tb.Errorf("%.200s: %v", query, err)
	}
}

// count counts the rows of every table that queries read.
func (f *fleet) count() (n [3]int) {
	f.tb.Helper()
	for i, table := range []string{"device", "module", "twin"} {
		if err := f.db.Get(f.tb.Context(), []any{&n[i]}, "SELECT count(*) FROM "+table); err != nil {
			f.tb.Fatal(err)
		}
	}
	return n
}

// TestHugeQueries answers queries that are meant to cost time or memory.
func TestHugeQueries(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		f := newFleet(t, db)
		f.device(&twin.Identity{ID: iot.ID{Device: "d"}, ETag: "e", AuthType: "sas"})
		f.twin(iot.ID{Device: "d"}, `{"tags":{"a":"b"}}`, "")
		const n = 1 << 20
		many := func(what, sep string, n int) string { return strings.TrimSuffix(strings.Repeat(what+sep, n), sep) }
		for name, query := range map[string]string{
			"a megabyte":            "SELECT * FROM devices WHERE tags.a = '" + strings.Repeat("a", n) + "'",
			"a megabyte of blanks":  "SELECT * FROM devices" + strings.Repeat(" ", n),
			"a megabyte of letters": strings.Repeat("a", n),
			"open parentheses":      "SELECT * FROM devices WHERE " + strings.Repeat("(", n),
			"parentheses":           "SELECT * FROM devices WHERE " + strings.Repeat("(", 3000) + "tags.a = 1" + strings.Repeat(")", 3000),
			"NOT":                   "SELECT * FROM devices WHERE " + strings.Repeat("NOT ", 2500) + "tags.a = 1",
			"minus":                 "SELECT * FROM devices WHERE tags.a = " + strings.Repeat("-", 9000) + "1",
			"OR":                    "SELECT * FROM devices WHERE " + many("tags.a = 1", " OR ", 700),
			"AND":                   "SELECT * FROM devices WHERE " + many("tags.a != 1", " AND ", 650),
			"AND and OR":            "SELECT * FROM devices WHERE " + many("tags.a = 1 AND tags.b = 2", " OR ", 340),
			"IN":                    "SELECT * FROM devices WHERE tags.a IN [" + many("1", ",", 4500) + "]",
			"IN with texts":         "SELECT * FROM devices WHERE tags.a IN [" + many("'x'", ",", 2400) + "]",
			"a long path":           "SELECT * FROM devices WHERE tags." + many("a", ".", 4000) + " = 1",
			"an index":              "SELECT * FROM devices WHERE tags.a[99999999999999999999] = 1",
			"a number":              "SELECT * FROM devices WHERE tags.a = " + strings.Repeat("9", 5000),
			"an exponent":           "SELECT * FROM devices WHERE tags.a = 1e999999999",
			"columns":               "SELECT " + many("tags.a", ",", 1400) + " FROM devices",
			"groups":                "SELECT COUNT() FROM devices GROUP BY " + many("tags.a", ",", 1300),
			"TOP":                   "SELECT TOP 99999999999999999999 * FROM devices",
		} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			f.survives(query)
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 || took > 2*time.Second {
				t.Errorf("%s: %v, %d bytes", name, took, used)
			}
		}
	})
}

// FuzzSQL runs every query that the language takes against SQLite: what was
// accepted must not be an error of the database.
func FuzzSQL(f *testing.F) {
	files, err := filepath.Glob("../../lang/twinql/testdata/*.txt")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			kind, query, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			switch kind {
			case "query", "bind":
				f.Add(query)
			case "condition":
				f.Add("SELECT * FROM devices WHERE " + query)
			}
		}
	}
	for _, text := range evil {
		f.Add("SELECT * FROM devices WHERE tags.a = " + quoted(text))
		f.Add("SELECT tags." + bracketed(text) + " FROM devices.modules")
	}
	fl := newFleet(f, statetest.SQLite(f))
	fl.device(&twin.Identity{ID: iot.ID{Device: "d"}, ETag: "e", AuthType: "sas", Connected: true})
	fl.device(&twin.Identity{ID: iot.ID{Device: "d", Module: "m"}, ETag: "e", AuthType: "sas"})
	fl.twin(iot.ID{Device: "d"}, `{"tags":{"a":"b","n":1.5,"t":true,"z":[1,{"y":null}],"o":{"p":"q"}},"properties":{"desired":{"x":-3}}}`, `{"b":["c"],"big":4503599627370495}`)
	f.Fuzz(func(t *testing.T, text string) {
		_, err := fl.rooms.Query(t.Context(), text, "", 10, nil)
		if code := iot.CodeOf(err); code != 0 && code.Status() != 400 {
			if _, perr := twinql.Parse(text); perr == nil {
				t.Fatalf("accepted, and then: %v", err)
			}
			t.Fatal(err)
		}
	})
}
