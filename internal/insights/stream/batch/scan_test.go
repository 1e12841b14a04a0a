package batch_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"dunlin/internal/insights/stream/batch"
	"dunlin/internal/insights/stream/value"
)

func TestProjector(t *testing.T) {
	p := batch.NewProjector([][]string{{"a"}, {"b", "c"}, {"b"}, {"B", "d", "e"}, {"list"}}, true)
	for _, c := range []struct{ text, want string }{
		{`{"a":1,"b":{"c":2.5,"d":{"e":"x"}},"list":[1,{"a":2}]}`, `1|2.5|{"c":2.5,"d":{"e":"x"}}|null|[1,{"a":2}]|{"a":1,"b":{"c":2.5,"d":{"e":"x"}},"list":[1,{"a":2}]}`},
		{` {"A":"up", "z":[[[]]], "B":{"D":{"E":true}}} `, `"up"|null|null|true|null|{"A":"up", "z":[[[]]], "B":{"D":{"E":true}}}`},
		{`{"a":1,"A":2}`, `1|null|null|null|null|{"a":1,"A":2}`},
		{`{"A":2,"a":1}`, `1|null|null|null|null|{"A":2,"a":1}`},
		{`{"a":1,"a":3}`, `3|null|null|null|null|{"a":1,"a":3}`},
		{`{"b":7}`, `null|null|7|null|null|{"b":7}`},
		{`{}`, `null|null|null|null|null|{}`},
		{`{"\u0061":"\u0041\n"}`, `"A\n"|null|null|null|null|{"\u0061":"\u0041\n"}`},
		{`{"a":-0.1e1}`, `-1.0|null|null|null|null|{"a":-0.1e1}`},
		{`{"a":-12345.678}`, `-12345.678|null|null|null|null|{"a":-12345.678}`},
		{`{"a":-9223372036854775808}`, `-9223372036854775808|null|null|null|null|{"a":-9223372036854775808}`},
	} {
		vals, err := p.Read(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		var got []string
		for _, v := range vals {
			got = append(got, string(value.AppendJSON(nil, v)))
		}
		if s := strings.Join(got, "|"); s != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.text, s, c.want)
		}
	}
	for text, want := range map[string]error{
		``: value.ErrJSON, `1`: value.ErrJSON, `{"a":1`: value.ErrJSON, `{"a":1}}`: value.ErrJSON, `{"z":01}`: value.ErrJSON, `{"z":"\x"}`: value.ErrJSON,
		`{"z":9223372036854775808}`: value.ErrBigint, `{"a":9223372036854775808}`: value.ErrBigint,
		`{"z":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`: value.ErrDepth,
	} {
		if _, err := p.Read(text); !errors.Is(err, want) {
			t.Errorf("%.40s: %v, want %v", text, err, want)
		}
	}
}

// FuzzProjector holds the projector against the general reader: it takes what
// that takes, and gives what that has at the path.
func FuzzProjector(f *testing.F) {
	for _, s := range []string{`{"a":1,"b":{"c":2.5}}`, `{"a":"\u0041","A":[1]}`, `{"b":{"c":{}},"b":1e400}`, `{"a":123456789012345678.5}`, `{"a":0.30000000000000004}`} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, first, s string) {
		p := batch.NewProjector([][]string{{"a"}, {"b", "c"}}, true)
		_, _ = p.Read(first) // the order of names is remembered from it
		vals, err := p.Read(s)
		want, wantErr := value.FromJSON(s)
		if wantErr == nil && want.Kind() != value.Record {
			wantErr = value.ErrJSON
		}
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%q: %v, the general reader says %v", s, err, wantErr)
		}
		if err != nil {
			return
		}
		if a := get(want, "a"); !alike(vals[0], a) {
			t.Fatalf("%q: a is %v, want %v", s, show(vals[0]), show(a))
		}
		if c := get(get(want, "b"), "c"); strings.Count(s, "b") == 1 && !strings.ContainsAny(s, `\BC`) && !alike(vals[1], c) {
			t.Fatalf("%q: b.c is %v, want %v", s, show(vals[1]), show(c))
		}
	})
}

func get(v value.Value, name string) value.Value {
	if v.Kind() != value.Record {
		return value.Value{}
	}
	t := v.Tree()
	found := value.Value{}
	for i, n := range t.Names {
		if n == name {
			return t.Values[i]
		}
		if strings.EqualFold(n, name) {
			found = t.Values[i]
		}
	}
	return found
}

func show(v value.Value) string { return string(value.AppendJSON(nil, v)) }

func alike(a, b value.Value) bool {
	if a.Kind() == value.Record || a.Kind() == value.Array {
		if a.Kind() != b.Kind() {
			return false
		}
		again, err := value.FromJSON(show(a))
		return err == nil && show(again) == show(b)
	}
	return show(a) == show(b)
}

func TestColumns(t *testing.T) {
	var c batch.Column
	for _, v := range []value.Value{{}, value.Int(1), {}, value.Int(2), value.Number(2.5), value.String("x"), {}} {
		c.Append(v)
	}
	if !c.Mixed || c.Len() != 7 || !c.IsNull(0) || !c.IsNull(2) || !c.IsNull(6) || c.At(3).Int() != 2 || c.At(4).Float() != 2.5 || c.At(5).Text() != "x" {
		t.Errorf("%+v", c)
	}
	c.Reset()
	for i := range 200 {
		if i%3 == 0 {
			c.Append(value.Value{})
		} else {
			c.Append(value.Number(float64(i)))
		}
	}
	if c.Mixed || c.Kind != value.Float || len(c.Floats) != 200 {
		t.Fatalf("%+v", c)
	}
	for i := range 200 {
		if v := c.At(i); v.IsNull() != (i%3 == 0) || !v.IsNull() && v.Float() != float64(i) {
			t.Errorf("row %d: %s", i, show(v))
		}
	}
}

func BenchmarkProjector(b *testing.B) {
	events := make([]string, 1000)
	for i := range events {
		events[i] = fmt.Sprintf(`{"deviceId":"device-%05d","ts":"2026-01-01T00:%02d:%02d.000Z","temperature":%d.%d,"humidity":40,"seq":%d,"status":"ok"}`, i*7%10000, i/60%60, i%60, i%90, i%10, i)
	}
	for name, paths := range map[string][][]string{"three": {{"deviceId"}, {"ts"}, {"temperature"}}, "one": {{"temperature"}}} {
		b.Run(name, func(b *testing.B) {
			p := batch.NewProjector(paths, false)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if _, err := p.Read(events[n%len(events)]); err != nil {
					b.Fatal(err)
				}
				n++
			}
		})
	}
}
