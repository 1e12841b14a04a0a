package eval_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"dunlin/internal/insights/stream/batch"
	"dunlin/internal/insights/stream/eval"
	"dunlin/internal/insights/stream/value"
	"dunlin/internal/lang/asa"
)

// names keeps whole events in column 0, or the first columns of events in
// columns of their own.
type names struct{ columns []string }

func (n names) Field(f *asa.Field) (int, []string) {
	if i := slices.Index(n.columns, f.Path[0]); i >= 0 {
		return i, f.Path[1:]
	}
	return len(n.columns), f.Path
}

func (names) Ref(*asa.Ref) int { panic("nothing was computed") }

func (names) Call(c *asa.Call, _ eval.Compiler) (eval.Value, error) {
	return nil, fmt.Errorf("no function %s", c.Name)
}

// query evaluates SELECT x FROM i WHERE ... and gives the results as JSON.
func query(t *testing.T, text string, columns []string, events []string) ([]string, error) {
	t.Helper()
	s, _, err := asa.Parse(text)
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	p, _, err := asa.Bind(s, text, asa.Catalog{})
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	q := p.Relations[1].Query
	var paths [][]string
	for _, c := range columns {
		paths = append(paths, []string{c})
	}
	r := batch.NewProjector(paths, true)
	b := batch.New(r.Columns())
	for i, e := range events {
		vals, err := r.Read(e)
		if err != nil {
			t.Fatal(err)
		}
		for c, v := range vals {
			b.Cols[c].Append(v)
		}
		b.Time = append(b.Time, int64(i)*value.Second)
	}
	var f eval.Frame
	f.Of(b.Time, b.Cols)
	c := eval.Compiler{Names: names{columns}}
	v, err := c.Value(q.Columns[0].Expr)
	if err != nil {
		t.Fatal(err)
	}
	if q.Where != nil {
		where, err := c.Cond(q.Where)
		if err != nil {
			t.Fatal(err)
		}
		keep, err := where(&f, nil)
		if err != nil {
			return nil, err
		}
		kept := batch.New(len(b.Cols))
		for i := range kept.Cols {
			kept.Cols[i].Gather(b.Cols[i], keep)
		}
		for _, k := range keep {
			kept.Time = append(kept.Time, b.Time[k])
		}
		f.Of(kept.Time, kept.Cols)
	}
	col, err := v(&f)
	if err != nil {
		return nil, err
	}
	var out []string
	for i := range f.Len() {
		out = append(out, string(value.AppendJSON(nil, col.At(i))))
	}
	return out, nil
}

var events = []string{
	`{"a":1,"f":1.5,"s":"x","t":"2024-01-01","b":true,"r":{"k":{"l":[7,8]}}}`,
	`{"a":2,"f":2.5,"s":"yy","n":null}`,
	`{"a":"3","f":3,"s":5}`,
	`{"f":-1.0,"s":"Zz"}`,
}

func TestEvaluate(t *testing.T) {
	for _, c := range []struct {
		text string
		want string // joined; an error begins with !
	}{
		{"SELECT a FROM i", `1 2 "3" null`},
		{"SELECT a + 1 AS x FROM i", `2 3 4 null`},
		{"SELECT f * 2.0 AS x FROM i", `3.0 5.0 6.0 -2.0`},
		{"SELECT -f AS x FROM i", `-1.5 -2.5 -3 1.0`},
		{"SELECT r.k.l AS x FROM i", `[7,8] null null null`},
		{"SELECT GetArrayElement(r.k.l, 1) AS x FROM i", `8 null null null`},
		{"SELECT System.Timestamp() AS x FROM i WHERE f > 2", `"0001-01-01T00:00:01.0000000Z" "0001-01-01T00:00:02.0000000Z"`},
		{"SELECT s FROM i WHERE a = 1 OR f < 0", `"x" "Zz"`},
		{"SELECT s FROM i WHERE NOT a = 1", `"yy" 5 "Zz"`},
		{"SELECT s FROM i WHERE a <> 1", `"yy" 5`},
		{"SELECT s FROM i WHERE a IS NULL", `"Zz"`},
		{"SELECT s FROM i WHERE a IS NOT NULL AND a > 1 AND f BETWEEN 2.5 AND 3", `"yy" 5`},
		{"SELECT s FROM i WHERE f NOT BETWEEN 2 AND 3", `"x" "Zz"`},
		{"SELECT f FROM i WHERE s IN ('x', 'Zz', 'q')", "!"}, // a number is not 'x'
		{"SELECT f FROM i WHERE GetType(s) = 'nvarchar(max)' AND s IN ('x', 'Zz')", `1.5 -1.0`},
		{"SELECT f FROM i WHERE s LIKE '%y' OR s LIKE '[A-Z]_'", `2.5 -1.0`},
		{"SELECT f FROM i WHERE 2 <= f", `2.5 3`},
		{"SELECT CASE WHEN a = 1 THEN 'one' WHEN f > 2 THEN s ELSE 0 END AS x FROM i", `"one" "yy" 5 0`},
		{"SELECT CASE a WHEN 1 THEN 10 WHEN 2 THEN 20 ELSE NULL END AS x FROM i", `10 20 null null`},
		{"SELECT CASE WHEN GetType(s) = 'bigint' THEN s + 1 ELSE LEN(s) END AS x FROM i", `1 2 6 2`},
		{"SELECT CAST(s AS bigint) AS x FROM i", "!"},
		{"SELECT TRY_CAST(s AS bigint) AS x FROM i", `null null 5 null`},
		{"SELECT CAST(f AS nvarchar(max)) AS x FROM i", `"1.5" "2.5" "3" "-1"`},
		{"SELECT b FROM i WHERE b = 1", `true`},
		{"SELECT a FROM i WHERE t < '2024-06-01'", `1`},
		{"SELECT CONCAT(s, '-', a) AS x FROM i", `"x-1" "yy-2" "5-3" "Zz-"`},
		{"SELECT a / 0 AS x FROM i", `null null null null`},
		{"SELECT a | 4 AS x FROM i", `5 6 7 null`},
		{"SELECT f + f AS x FROM i WHERE f = f AND f <> 3", `3.0 5.0 -2.0`},
		{"SELECT COALESCE(a, s) AS x FROM i", `1 2 "3" "Zz"`},
	} {
		for _, columns := range [][]string{nil, {"a", "f", "s"}} {
			got, err := query(t, c.text, columns, events)
			if c.want == "!" {
				if err == nil {
					t.Errorf("%s %v: %s, want an error", c.text, columns, got)
				}
				continue
			}
			if s := strings.Join(got, " "); err != nil || s != c.want {
				t.Errorf("%s %v\ngot  %s %v\nwant %s", c.text, columns, s, err, c.want)
			}
		}
	}
}

func TestManyRows(t *testing.T) {
	var many []string
	for i := range 3000 {
		many = append(many, fmt.Sprintf(`{"a":%d,"f":%d.5}`, i, i%7))
	}
	got, err := query(t, "SELECT a FROM i WHERE (a % 3 = 0 OR f > 5) AND NOT (a < 1000 AND a > 10) AND f * 2.0 <> 1.0", []string{"a", "f"}, many)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range 3000 {
		f := float64(i%7) + 0.5
		if (i%3 == 0 || f > 5) && (i >= 1000 || i <= 10) && f*2 != 1 {
			want = append(want, fmt.Sprint(i))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d rows, want %d", len(got), len(want))
	}
}

func BenchmarkFilter(b *testing.B) {
	const rows = 4096
	text := "SELECT a FROM i WHERE f > 99"
	s, _, _ := asa.Parse(text)
	p, _, err := asa.Bind(s, text, asa.Catalog{})
	if err != nil {
		b.Fatal(err)
	}
	in := batch.New(3)
	for i := range rows {
		in.Cols[0].Append(value.Int(int64(i)))
		in.Cols[1].Append(value.Number(float64(i % 101)))
		in.Cols[2].Append(value.Value{})
		in.Time = append(in.Time, int64(i))
	}
	where, err := eval.Compiler{Names: names{[]string{"a", "f"}}}.Cond(p.Relations[1].Query.Where)
	if err != nil {
		b.Fatal(err)
	}
	var f eval.Frame
	var keep []int32
	b.ReportAllocs()
	for b.Loop() {
		f.Of(in.Time, in.Cols)
		if keep, err = where(&f, keep[:0]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
}
