package run_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"dunlin/internal/insights/stream/clock"
	"dunlin/internal/insights/stream/run"
	"dunlin/internal/insights/stream/value"
	"dunlin/internal/lang/asa"
)

// TestCSV runs a query from CSV to CSV and lines of JSON: sections 4, 17, 18.
func TestCSV(t *testing.T) {
	const file = "\ufeffid;t;v\na;2024-01-01T00:00:01Z;1.5\nb;2024-01-01T00:00:02Z\n\"c;d\";2024-01-01T00:00:03Z;2\n"
	in, err := run.NewSource("i", "events.CSV", strings.NewReader(file), "t", 0)
	if err != nil {
		t.Fatal(err)
	}
	var table, lines strings.Builder
	rows, err := run.NewCSVWriter(&table, ',')
	if err != nil {
		t.Fatal(err)
	}
	json := run.NewJSONWriter(&lines)
	r, err := run.New(run.Script{
		Query:  "SELECT id, v + 1 AS n, v, t, System.Timestamp() AS at, CAST(v AS float) * 2.0 AS f, TRY_CAST('x' AS bigint) AS none FROM i",
		Policy: clock.Default(), Catalog: asa.Catalog{Streams: []string{"i"}},
	}, func(row run.Row) error {
		return errors.Join(rows.Write(row.Value), json.Write(row.Value))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Merge([]*run.Lines{in}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(rows.Flush(), json.Flush()); err != nil {
		t.Fatal(err)
	}
	const (
		wantTable = "id,n,v,t,at,f,none\n" +
			"a,2.5,1.5,2024-01-01T00:00:01Z,2024-01-01T00:00:01.0000000Z,3.0,\n" +
			"c;d,3,2,2024-01-01T00:00:03Z,2024-01-01T00:00:03.0000000Z,4.0,\n"
		wantLines = `{"id":"a","n":2.5,"v":"1.5","t":"2024-01-01T00:00:01Z","at":"2024-01-01T00:00:01.0000000Z","f":3.0,"none":null}` + "\n" +
			`{"id":"c;d","n":3,"v":"2","t":"2024-01-01T00:00:03Z","at":"2024-01-01T00:00:03.0000000Z","f":4.0,"none":null}` + "\n"
	)
	if table.String() != wantTable || lines.String() != wantLines {
		t.Errorf("rows:\n%s%s\nwant\n%s%s", table.String(), lines.String(), wantTable, wantLines)
	}
	if c := r.Counts()["i"]; c.Events != 2 || c.DeserializeErrors != 1 {
		t.Errorf("%+v", c)
	}
}

// TestDelimiter: a file tells its delimiter by its first row.
func TestDelimiter(t *testing.T) {
	for header, want := range map[string]string{"a,b\n1,2": `{"a":"1","b":"2"}`, "a\tb,c\td\n1\t2\t3": `{"a":"1","b,c":"2","d":"3"}`, "a|b\n1|2": `{"a":"1","b":"2"}`, "a b\n1 2": `{"a":"1","b":"2"}`, "a\n1,2": ""} {
		l, err := run.NewSource("i", "x.csv", strings.NewReader(header), "", 0)
		if err != nil {
			t.Error(err)
			continue
		}
		if e, err := l.Next(); err != nil || e.JSON != want {
			t.Errorf("%q: %s %v, want %s", header, e.JSON, err, want)
		}
	}
	if _, err := run.NewSource("i", "x.csv", strings.NewReader("a,a\n"), "", 0); err == nil || !strings.Contains(err.Error(), "x.csv: two columns") {
		t.Error(err)
	}
}

// TestWriters: what becomes of each kind of value, and of other columns.
func TestWriters(t *testing.T) {
	row := func(s string) value.Value {
		v, err := value.FromJSON(s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	var table strings.Builder
	w, err := run.NewCSVWriter(&table, ';')
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{`{"a":1,"b":"x;\"y\"","c":2.0,"d":true,"e":{"x":1},"f":[1],"g":null}`, `{"g":"later","A":2}`} {
		if err := w.Write(row(s)); err != nil {
			t.Error(err)
		}
	}
	var other *run.ColumnError
	if err := w.Write(row(`{"a":1,"h":2}`)); !errors.As(err, &other) || other.Name != "h" {
		t.Error(err)
	}
	if err := w.Flush(); err != nil {
		t.Error(err)
	}
	if want := "a;b;c;d;e;f;g\n1;\"x;\"\"y\"\"\";2.0;true;Record;Array;\n2;;;;;;later\n"; table.String() != want {
		t.Errorf("%s, want %s", table.String(), want)
	}
	if _, err := run.NewCSVWriter(io.Discard, 'x'); err == nil {
		t.Error("x is no delimiter")
	}
}
