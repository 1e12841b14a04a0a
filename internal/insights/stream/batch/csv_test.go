package batch_test

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"dunlin/internal/insights/stream/batch"
	"dunlin/internal/insights/stream/value"
)

// TestCSV: section 17, a header row, unique names, five delimiters, UTF-8, and
// texts only (section 4).
func TestCSV(t *testing.T) {
	for _, c := range []struct {
		delimiter  rune
		text, want string // rows, or an error in < >
	}{
		{',', "a,b\n1,x\n2,\n", `[a b] ["1" "x"] ["2" ""]`},
		{';', "a;b\r\n1,5;x\r\n", `[a b] ["1,5" "x"]`},
		{'\t', "a\tb\n1\t2\n", `[a b] ["1" "2"]`},
		{'|', "a|b\n1|2", `[a b] ["1" "2"]`},
		{' ', "a b\n1 \"x y\"\n", `[a b] ["1" "x y"]`},
		{',', "a,b\n\"x, \"\"y\"\"\nz\",2\n", `[a b] ["x, \"y\"\nz" "2"]`},
		{',', "\ufeffa, b \n1,2\n\n3,4\n", `[a b] ["1" "2"] ["3" "4"]`},
		{',', "a,b\n1\n1,2\n1,2,3\nx\"y,2\n\"x\" y,2\n\xff,1\n5,6\n", `[a b] <line 2: 1 fields, the columns are 2> ["1" "2"] <line 4: 3 fields, the columns are 2> <line 5: bare " in non-quoted-field> <line 6: extraneous or missing " in quoted-field> <line 7: not UTF-8> ["5" "6"]`},
		{',', "a\n\"x\n", `[a] <line 2: extraneous or missing " in quoted-field>`},
		{',', "", "<there is no row with the names of the columns>"},
		{',', "a,A\n", "<two columns have the name 'A'>"},
		{',', "a,,b\n", "<column 2 has no name>"},
		{'x', "a\n", "<batch: 'x' is no delimiter of CSV: comma, semicolon, space, tab or bar>"},
	} {
		var got []string
		r, err := batch.NewCSV(strings.NewReader(c.text), c.delimiter)
		if err != nil {
			got = append(got, "<"+err.Error()+">")
		} else {
			got = append(got, fmt.Sprint(r.Names()))
		}
		for err == nil {
			var fields []string
			fields, err = r.Next()
			if _, ok := errors.AsType[*batch.RowError](err); ok {
				got = append(got, "<"+err.Error()+">")
				err = nil
			} else if err == nil {
				got = append(got, fmt.Sprintf("%q", fields))
			} else if !errors.Is(err, io.EOF) {
				t.Error(err)
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%q: %s, want %s", c.text, s, c.want)
		}
	}
}

// TestFields: columns are found without case; what is missing is null, and
// texts have no members.
func TestFields(t *testing.T) {
	p := batch.NewProjector([][]string{{"B"}, {"c"}, {"a", "x"}, {"a"}}, true)
	vals := p.Fields([]string{"a", "b"}, []string{"1", "true"})
	got := ""
	for _, v := range vals {
		got += v.Kind().String() + " " + string(value.AppendJSON(nil, v)) + "; "
	}
	if want := `nvarchar(max) "true"; null null; null null; nvarchar(max) "1"; record {"a":"1","b":"true"}; `; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// FuzzCSV: what the standard library writes is read again.
func FuzzCSV(f *testing.F) {
	f.Add("x", "a b", "1,\"2\"\r\n3", uint8(0))
	f.Fuzz(func(t *testing.T, a, b, c string, d uint8) {
		delimiter := rune(batch.Delimiters[int(d)%len(batch.Delimiters)])
		var text strings.Builder
		w := csv.NewWriter(&text)
		w.Comma = delimiter
		w.Write([]string{"k", "l", "m"})
		w.Write([]string{a, b, c})
		w.Flush()
		r, err := batch.NewCSV(strings.NewReader(text.String()), delimiter)
		if err != nil {
			t.Fatal(err)
		}
		fields, err := r.Next()
		var row *batch.RowError
		if errors.As(err, &row) && strings.Contains(row.Message, "UTF-8") {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []string{a, b, c} {
			// Line ends are those of Unix inside, too.
			if plain := strings.ReplaceAll(want, "\r\n", "\n"); strings.ReplaceAll(fields[i], "\r\n", "\n") != plain {
				t.Fatalf("%q, want %q", fields[i], want)
			}
		}
	})
}

func BenchmarkCSV(b *testing.B) {
	text := "deviceId,ts,temperature,humidity,seq,status\n" + strings.Repeat("dev-00042,2026-01-01T00:00:00.000Z,21.5,40.25,12345,ok\n", 1000)
	p := batch.NewProjector([][]string{{"deviceId"}, {"ts"}, {"temperature"}}, false)
	b.ReportAllocs()
	for n := 0; n < b.N; n += 1000 {
		r, err := batch.NewCSV(strings.NewReader(text), ',')
		if err != nil {
			b.Fatal(err)
		}
		for {
			fields, err := r.Next()
			if err != nil {
				break
			}
			p.Fields(r.Names(), fields)
		}
	}
}
