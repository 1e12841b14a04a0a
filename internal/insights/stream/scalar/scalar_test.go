package scalar_test

import (
	"math"
	"testing"

	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/value"
)

func show(v value.Value) string { return v.Kind().String() + " " + string(value.AppendJSON(nil, v)) }

// TestCasts is the table of section 4 of the language.
func TestCasts(t *testing.T) {
	at, _ := value.ParseTime("2014-02-07T14:55:00Z")
	for _, c := range []struct {
		v    value.Value
		to   value.Kind
		want string // empty: refused
	}{
		{value.Int(5), value.Float, "float 5.0"},
		{value.Int(5), value.Text, `nvarchar(max) "5"`},
		{value.Int(5), value.Datetime, ""},
		{value.Int(0), value.Bit, "bit false"},
		{value.Int(-3), value.Bit, "bit true"},
		{value.Int(5), value.Record, ""},
		{value.Number(2.9), value.Bigint, "bigint 2"},
		{value.Number(-2.9), value.Bigint, "bigint -2"},
		{value.Number(1e19), value.Bigint, ""},
		{value.Number(math.NaN()), value.Bigint, ""},
		{value.Number(1.5), value.Text, `nvarchar(max) "1.5"`},
		{value.Number(2), value.Text, `nvarchar(max) "2"`},
		{value.Number(0), value.Bit, "bit false"},
		{value.Number(0.1), value.Bit, "bit true"},
		{value.String(" 12 "), value.Bigint, "bigint 12"},
		{value.String("12.5"), value.Bigint, ""},
		{value.String("1e3"), value.Float, "float 1000.0"},
		{value.String("NaN"), value.Float, ""},
		{value.String("0x10"), value.Float, ""},
		{value.String("2014-02-07T14:55:00"), value.Datetime, `datetime "2014-02-07T14:55:00.0000000Z"`},
		{value.String("yesterday"), value.Datetime, ""},
		{value.String("True"), value.Bit, "bit true"},
		{value.String("x"), value.Bit, ""},
		{value.String("{}"), value.Record, ""},
		{value.Time(at), value.Text, `nvarchar(max) "2014-02-07T14:55:00.0000000Z"`},
		{value.Time(at), value.Bigint, ""},
		{value.Bool(true), value.Bigint, "bigint 1"},
		{value.Bool(true), value.Float, "float 1.0"},
		{value.Bool(true), value.Text, `nvarchar(max) "1"`},
		{value.RawRecord(`{"a":1}`), value.Text, `nvarchar(max) "{\"a\":1}"`},
		{value.RawRecord(`{"a":1}`), value.Array, ""},
		{value.RawArray(`[1]`), value.Array, "array [1]"},
		{value.Value{}, value.Bigint, "null null"},
	} {
		v, err := scalar.Cast(c.v, c.to)
		got := show(v)
		if err != nil {
			got = ""
		}
		if got != c.want {
			t.Errorf("%s as %s: %s (%v), want %s", show(c.v), c.to, got, err, c.want)
		}
	}
}

func TestCompare(t *testing.T) {
	at, _ := value.ParseTime("2014-02-07")
	const refused = 99
	for _, c := range []struct {
		a, b value.Value
		want int // -2: no comparison is true
	}{
		{value.Int(1), value.Int(2), -1},
		{value.Int(1), value.Number(1), 0},
		{value.Int(math.MaxInt64), value.Number(math.MaxInt64), -1}, // the float is 2^63
		{value.Number(1.5), value.Int(1), 1},
		{value.Number(math.NaN()), value.Int(1), -2},
		{value.String("a"), value.String("b"), -1},
		{value.String("A"), value.String("a"), -1},
		{value.String("10"), value.Int(9), 1},
		{value.String("x"), value.Int(9), refused},
		{value.String("2014-02-08"), value.Time(at), 1},
		{value.String("x"), value.Time(at), refused},
		{value.Int(1), value.Time(at), refused},
		{value.Bool(true), value.Int(1), 0},
		{value.Bool(false), value.Bool(true), -1},
		{value.Value{}, value.Value{}, -2},
		{value.Value{}, value.RawRecord("{}"), -2},
		{value.RawRecord("{}"), value.RawRecord("{}"), refused},
		{value.RawArray("[]"), value.Int(1), refused},
	} {
		order, ok, err := scalar.Compare(c.a, c.b)
		got := order
		switch {
		case err != nil:
			got = refused
		case !ok:
			got = -2
		}
		if got != c.want {
			t.Errorf("%s and %s: %d (%v), want %d", show(c.a), show(c.b), got, err, c.want)
		}
	}
}

func TestArithmetic(t *testing.T) {
	for _, c := range []struct {
		op   scalar.Op
		a, b value.Value
		want string
	}{
		{'+', value.Int(1), value.Int(2), "bigint 3"},
		{'+', value.Int(1), value.Number(2), "float 3.0"},
		{'+', value.String("a"), value.String("b"), `nvarchar(max) "ab"`},
		{'+', value.String("1"), value.Int(2), "bigint 3"},
		{'+', value.String("x"), value.Int(2), ""},
		{'-', value.String("5"), value.String("2.5"), "float 2.5"},
		{'/', value.Int(7), value.Int(2), "bigint 3"},
		{'/', value.Int(-7), value.Int(2), "bigint -3"},
		{'/', value.Int(7), value.Int(0), "null null"},
		{'/', value.Number(7), value.Number(0), "null null"},
		{'%', value.Int(7), value.Int(4), "bigint 3"},
		{'%', value.Number(7.5), value.Int(2), "float 1.5"},
		{'%', value.Int(math.MinInt64), value.Int(-1), "bigint 0"},
		{'/', value.Int(math.MinInt64), value.Int(-1), ""},
		{'*', value.Int(math.MinInt64), value.Int(1), "bigint -9223372036854775808"},
		{'*', value.Int(math.MinInt64), value.Int(-1), ""},
		{'*', value.Int(1 << 32), value.Int(1 << 31), ""},
		{'+', value.Int(math.MaxInt64), value.Int(1), ""},
		{'-', value.Int(math.MinInt64), value.Int(1), ""},
		{'-', value.Int(0), value.Int(0), "bigint 0"},
		{'|', value.Int(170), value.Int(75), "bigint 235"},
		{'&', value.Int(170), value.Int(75), "bigint 10"},
		{'^', value.Int(170), value.Int(75), "bigint 225"},
		{'^', value.Bool(true), value.Bool(true), "bit false"},
		{'&', value.Bool(true), value.Int(3), "bigint 1"},
		{'|', value.Bool(false), value.Number(2.5), "bit true"},
		{'|', value.Int(1), value.Number(2.5), "bigint 3"},
		{'+', value.Value{}, value.Int(1), "null null"},
		{'+', value.RawRecord("{}"), value.Int(1), ""},
	} {
		v, err := scalar.Arithmetic(c.op, c.a, c.b)
		got := show(v)
		if err != nil {
			got = ""
		}
		if got != c.want {
			t.Errorf("%s %c %s: %s (%v), want %s", show(c.a), c.op, show(c.b), got, err, c.want)
		}
	}
	if v, err := scalar.Complement(value.Int(170)); err != nil || v.Int() != -171 {
		t.Errorf("~170 is %s, %v", show(v), err)
	}
}

func TestLike(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"abc", "abc", true},
		{"abc", "ABC", false},
		{"a%", "abc", true},
		{"%c", "abc", true},
		{"%b%", "abc", true},
		{"%", "", true},
		{"", "", true},
		{"", "a", false},
		{"a_c", "abc", true},
		{"a_c", "ac", false},
		{"_", "é", true},
		{"[a-c]x", "bx", true},
		{"[^a-c]x", "bx", false},
		{"[^a-c]x", "dx", true},
		{"[]]", "]", true},
		{"a%b%c", "aXbYbZc", true},
		{"a%b%c", "aXcY", false},
		{"%[0-9]", "abc7", true},
		{"[", "[", true},
		{"%a_%", "xxab", true},
		{"[%]", "%", true},
		{"[%]", "x", false},
		{"%%%a", "bbba", true},
		{"a-[x-]", "a--", true},
	} {
		if got := scalar.NewPattern(c.pattern).Match(c.s); got != c.want {
			t.Errorf("%q LIKE %q: %t", c.s, c.pattern, got)
		}
	}
}
