package scalar_test

import (
	"testing"

	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/value"
)

// TestFunctions has rows for the tables of section 13 of the language.
func TestFunctions(t *testing.T) {
	null := value.Value{}
	text, num, whole := value.String, value.Number, value.Int
	at := func(s string) value.Value {
		ticks, ok := value.ParseTime(s)
		if !ok {
			t.Fatal(s)
		}
		return value.Time(ticks)
	}
	for _, c := range []struct {
		name string
		args []value.Value
		want string // empty: stops the job
	}{
		{"ABS", []value.Value{whole(-3)}, "bigint 3"},
		{"ABS", []value.Value{text("-2.5")}, "float 2.5"},
		{"ABS", []value.Value{text("x")}, ""},
		{"ABS", []value.Value{null}, "null null"},
		{"ABS", []value.Value{whole(-1 << 63)}, ""},
		{"CEILING", []value.Value{num(1.2)}, "float 2.0"},
		{"FLOOR", []value.Value{num(-1.2)}, "float -2.0"},
		{"FLOOR", []value.Value{whole(5)}, "bigint 5"},
		{"SIGN", []value.Value{whole(-7)}, "bigint -1"},
		{"SIGN", []value.Value{num(0.5)}, "float 1.0"},
		{"SQUARE", []value.Value{whole(3)}, "float 9.0"},
		{"SQRT", []value.Value{whole(9)}, "float 3.0"},
		{"SQRT", []value.Value{whole(-1)}, "null null"},
		{"EXP", []value.Value{whole(0)}, "float 1.0"},
		{"POWER", []value.Value{whole(2), whole(10)}, "bigint 1024"},
		{"POWER", []value.Value{whole(2), whole(-1)}, "bigint 0"},
		{"POWER", []value.Value{num(2), num(0.5)}, "float 1.4142135623730951"},
		{"POWER", []value.Value{whole(10), whole(30)}, ""},
		{"ROUND", []value.Value{num(2.5), whole(0)}, "float 3.0"},
		{"ROUND", []value.Value{num(-2.5), whole(0)}, "float -3.0"},
		{"ROUND", []value.Value{num(2.675), whole(2)}, "float 2.68"},
		{"ROUND", []value.Value{whole(1250), whole(-2)}, "bigint 1300"},
		{"ROUND", []value.Value{whole(-1249), whole(-2)}, "bigint -1200"},
		{"ROUND", []value.Value{num(748.58), whole(-2)}, "float 700.0"},
		{"ROUND", []value.Value{num(1.005), whole(20)}, "float 1.005"},

		{"CHARINDEX", []value.Value{text("b"), text("abcb")}, "bigint 2"},
		{"CHARINDEX", []value.Value{text("b"), text("abcb"), whole(3)}, "bigint 4"},
		{"CHARINDEX", []value.Value{text("b"), text("abcb"), whole(-3)}, "bigint 2"},
		{"CHARINDEX", []value.Value{text("é"), text("äé")}, "bigint 2"},
		{"CHARINDEX", []value.Value{text("x"), text("abc")}, "bigint 0"},
		{"CHARINDEX", []value.Value{null, text("abc")}, "null null"},
		{"CONCAT", []value.Value{text("a"), null, whole(1), num(2.5)}, `nvarchar(max) "a12.5"`},
		{"CONCAT_WS", []value.Value{text("-"), text("a"), null, whole(1)}, `nvarchar(max) "a-1"`},
		{"LEN", []value.Value{text("äb  ")}, "bigint 2"},
		{"UPPER", []value.Value{text("äb")}, `nvarchar(max) "ÄB"`},
		{"REVERSE", []value.Value{text("aé😀")}, `nvarchar(max) "😀éa"`},
		{"SPACE", []value.Value{whole(3)}, `nvarchar(max) "   "`},
		{"NCHAR", []value.Value{whole(65)}, `nvarchar(max) "A"`},
		{"UNICODE", []value.Value{text("A")}, "bigint 65"},
		{"LEFT", []value.Value{text("äbc"), whole(2)}, `nvarchar(max) "äb"`},
		{"LEFT", []value.Value{text("abc"), whole(-1)}, ""},
		{"RIGHT", []value.Value{text("abé"), whole(2)}, `nvarchar(max) "bé"`},
		{"RIGHT", []value.Value{text("ab"), whole(9)}, `nvarchar(max) "ab"`},
		{"TRIM", []value.Value{text("\t a \u00a0\n")}, `nvarchar(max) "a"`},
		{"LTRIM", []value.Value{text(" a ")}, `nvarchar(max) "a "`},
		{"RTRIM", []value.Value{text(" a ")}, `nvarchar(max) " a"`},
		{"PATINDEX", []value.Value{text("%b_d%"), text("abcd")}, "bigint 2"},
		{"PATINDEX", []value.Value{text("b%"), text("abcd")}, "bigint 0"},
		{"PATINDEX", []value.Value{text("%d"), text("abcd")}, "bigint 4"},
		{"PATINDEX", []value.Value{text("%[0-9]%"), text("ab7")}, "bigint 3"},
		{"REGEXMATCH", []value.Value{text("abCd"), text("bc")}, "bigint 2"},
		{"REGEXMATCH", []value.Value{text("abc"), text("(")}, "bigint 0"},
		{"REGEXMATCH", []value.Value{text("abc"), text("^c")}, "bigint 0"},
		{"REGEXMATCH", []value.Value{null, text("c")}, "null null"},
		{"REPLACE", []value.Value{text("abab"), text("a"), text("x")}, `nvarchar(max) "xbxb"`},
		{"REPLACE", []value.Value{text("ab"), text(""), text("x")}, `nvarchar(max) "ab"`},
		{"REPLACE", []value.Value{text("ab"), null, text("x")}, "null null"},
		{"REPLICATE", []value.Value{text("ab"), whole(2)}, `nvarchar(max) "abab"`},
		{"REPLICATE", []value.Value{text("ab"), whole(-2)}, "null null"},
		{"REPLICATE", []value.Value{text("ab"), whole(1 << 40)}, ""},
		{"STUFF", []value.Value{text("abcdef"), whole(2), whole(3), text("XY")}, `nvarchar(max) "aXYef"`},
		{"STUFF", []value.Value{text("abc"), whole(5), whole(1), text("X")}, `nvarchar(max) ""`},
		{"SUBSTRING", []value.Value{text("abcdef"), whole(2), whole(3)}, `nvarchar(max) "bcd"`},
		{"SUBSTRING", []value.Value{text("abcdef"), whole(-1), whole(4)}, `nvarchar(max) "ab"`},
		{"SUBSTRING", []value.Value{text("abc"), whole(0), whole(0)}, `nvarchar(max) ""`},
		{"SUBSTRING", []value.Value{text("abc"), whole(1), whole(-1)}, ""},
		{"SUBSTRING", []value.Value{text("abc"), whole(-1 << 63), whole(5)}, `nvarchar(max) ""`},
		{"TRANSLATE", []value.Value{text("2*[3+4]"), text("[]"), text("()")}, `nvarchar(max) "2*(3+4)"`},
		{"TRANSLATE", []value.Value{text("a"), text("ab"), text("x")}, ""},
		{"JSON_PARSE", []value.Value{text(`{"a":[1]}`)}, `record {"a":[1]}`},
		{"JSON_PARSE", []value.Value{text(`{`)}, "null null"},

		{"DATEADD", []value.Value{text("month"), whole(1), at("2024-01-31T10:00:00Z")}, `datetime "2024-02-29T10:00:00.0000000Z"`},
		{"DATEADD", []value.Value{text("second"), num(-1.9), at("2024-01-01")}, `datetime "2023-12-31T23:59:59.0000000Z"`},
		{"DATEADD", []value.Value{text("year"), whole(-4000), at("2024-01-01")}, ""},
		{"DATEADD", []value.Value{text("day"), whole(1 << 60), at("2024-01-01")}, ""},
		{"DATEADD", []value.Value{text("quarter"), whole(-1), text("2024-02-29")}, `datetime "2023-11-29T00:00:00.0000000Z"`},
		{"DATEDIFF", []value.Value{text("minute"), at("2024-01-01T00:00:59Z"), at("2024-01-01T00:01:00Z")}, "bigint 1"},
		{"DATEDIFF", []value.Value{text("year"), at("2024-12-31"), at("2023-01-01")}, "bigint -1"},
		{"DATEDIFF", []value.Value{text("week"), at("2026-11-21"), at("2026-11-22")}, "bigint 1"}, // a Sunday
		{"DATEDIFF", []value.Value{text("week"), at("2026-11-22"), at("2026-11-28")}, "bigint 0"},
		{"DATEDIFF", []value.Value{text("month"), at("2024-01-31"), at("2024-02-01")}, "bigint 1"},
		{"DATEPART", []value.Value{text("weekday"), at("2026-11-22")}, "bigint 1"},
		{"DATEPART", []value.Value{text("week"), at("2024-01-01")}, "bigint 1"},
		{"DATEPART", []value.Value{text("week"), at("2024-01-07")}, "bigint 2"},
		{"DATEPART", []value.Value{text("dayofyear"), at("2024-12-31")}, "bigint 366"},
		{"DATEPART", []value.Value{text("microsecond"), at("2024-01-01T00:00:00.1234567Z")}, "bigint 123456"},
		{"DATEPART", []value.Value{text("quarter"), at("2024-04-01")}, "bigint 2"},
		{"DATENAME", []value.Value{text("month"), at("2024-04-01")}, `nvarchar(max) "April"`},
		{"DATENAME", []value.Value{text("hour"), at("2024-04-01T07:00:00Z")}, `nvarchar(max) "7"`},
		{"DAY", []value.Value{text("2024-04-05")}, "bigint 5"},
		{"MONTH", []value.Value{whole(5)}, ""},
		{"YEAR", []value.Value{null}, "null null"},
		{"DATETIMEFROMPARTS", []value.Value{whole(2024), whole(2), whole(29), whole(1), whole(2), whole(3), whole(4)}, `datetime "2024-02-29T01:02:03.0040000Z"`},
		{"DATETIMEFROMPARTS", []value.Value{whole(2023), whole(2), whole(29), whole(1), whole(2), whole(3), whole(4)}, ""},

		{"GetArrayElement", []value.Value{value.RawArray(`[1,"x"]`), whole(1)}, `nvarchar(max) "x"`},
		{"GetArrayElement", []value.Value{value.RawArray(`[1]`), whole(5)}, "null null"},
		{"GetArrayElement", []value.Value{text("x"), whole(5)}, ""},
		{"GetArrayLength", []value.Value{value.RawArray(`[1,2]`)}, "bigint 2"},
		{"GetRecordPropertyValue", []value.Value{value.RawRecord(`{"a":1,"A":2}`), text("A")}, "bigint 2"},
		{"GetRecordPropertyValue", []value.Value{value.RawRecord(`{"abc":1}`), text("ABC")}, "bigint 1"},
		{"GetRecordPropertyValue", []value.Value{value.RawRecord(`{}`), text("x")}, "null null"},
		{"GetType", []value.Value{value.RawRecord(`{}`)}, `nvarchar(max) "record"`},
		{"GetType", []value.Value{text("")}, `nvarchar(max) "nvarchar(max)"`},
		{"COALESCE", []value.Value{null, whole(2), text("x")}, "bigint 2"},
		{"NULLIF", []value.Value{whole(2), num(2)}, "null null"},
		{"NULLIF", []value.Value{whole(2), null}, "bigint 2"},
	} {
		f := scalar.Lookup(c.name)
		if f == nil {
			t.Errorf("there is no %s", c.name)
			continue
		}
		v, err := f(c.args)
		got := show(v)
		if err != nil {
			got = ""
		}
		if got != c.want {
			t.Errorf("%s of %d %v: %s (%v), want %s", c.name, len(c.args), shows(c.args), got, err, c.want)
		}
		prepared := scalar.Prepare(c.name, func(i int) (value.Value, bool) { return c.args[i], true })
		if v, err := prepared(c.args); err == nil && show(v) != c.want {
			t.Errorf("%s, prepared: %s, want %s", c.name, show(v), c.want)
		}
	}
}

func shows(args []value.Value) (out []string) {
	for _, a := range args {
		out = append(out, show(a))
	}
	return out
}
