package value_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"dunlin/internal/insights/stream/value"
)

func TestTimeTexts(t *testing.T) {
	for text, want := range map[string]string{
		"2014-02-07":                     "2014-02-07T00:00:00.0000000Z",
		"2014-2-7 6:05":                  "2014-02-07T06:05:00.0000000Z",
		"2014-02-07T14:55:01.1234567Z":   "2014-02-07T14:55:01.1234567Z",
		"2014-02-07T14:55:01.123456789Z": "2014-02-07T14:55:01.1234567Z",
		"2014-02-07T14:55:01.5+02:30":    "2014-02-07T12:25:01.5000000Z",
		"2014-02-07T14:55:01-0100":       "2014-02-07T15:55:01.0000000Z",
		"0001-01-01T00:00:00Z":           "0001-01-01T00:00:00.0000000Z",
		"9999-12-31T23:59:59.9999999Z":   "9999-12-31T23:59:59.9999999Z",
		"2000-02-29":                     "2000-02-29T00:00:00.0000000Z",
		"":                               "",
		"x":                              "",
		"2014-02-30":                     "",
		"1900-02-29":                     "",
		"2014-13-01":                     "",
		"2014-02-07T24:00:00Z":           "",
		"2014-02-07T14:55:01.Z":          "",
		"2014-02-07T14:55:01 UTC":        "",
		"0001-01-01T00:00:00+01:00":      "",
		"9999-12-31T23:59:59-01:00":      "",
		"2014-02-07T14:55:01Zz":          "",
		"10000-01-01":                    "",
	} {
		ticks, ok := value.ParseTime(text)
		got := ""
		if ok {
			got = string(value.AppendTime(nil, ticks))
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestTicksAgreeWithTime(t *testing.T) {
	for _, at := range []time.Time{
		time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(1969, 12, 31, 23, 59, 59, 999999900, time.UTC),
		time.Date(2026, 2, 28, 12, 30, 1, 100, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999999900, time.UTC),
	} {
		ticks := value.TicksOf(at)
		if got := value.GoTime(ticks); !got.Equal(at) {
			t.Errorf("%v came back as %v", at, got)
		}
		if parsed, ok := value.ParseTime(at.Format(time.RFC3339Nano)); !ok || parsed != ticks {
			t.Errorf("%v: %d ticks, the text has %d", at, ticks, parsed)
		}
	}
}

func TestJSON(t *testing.T) {
	for text, want := range map[string]string{
		`{"a":1,"b":[1.0,-2.5e3,1e30,true,null,"x\u00e9\n"],"a":2}`: `{"a":2,"b":[1.0,-2500.0,1e+30,true,null,"xé\n"]}`,
		` [ ] `:                `[]`,
		`{}`:                   `{}`,
		`9223372036854775807`:  `9223372036854775807`,
		`"\ud83d\ude00\ud83d"`: "\"😀\ufffd\"",
	} {
		v, err := value.FromJSON(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := string(value.AppendJSON(nil, v)); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	if _, err := value.FromJSON(`[9223372036854775808]`); !errors.Is(err, value.ErrBigint) {
		t.Errorf("a number beyond bigint: %v", err)
	}
}

// FuzzFromJSON holds what is accepted against encoding/json.
func FuzzFromJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5,"x\u0041"],"b":{}}`, `[`, `1e999`, `"\ud800"`, `-0`, ` null `} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := value.FromJSON(s)
		if errors.Is(err, value.ErrBigint) || errors.Is(err, value.ErrDepth) {
			return
		}
		if valid := json.Valid([]byte(s)); valid != (err == nil) {
			t.Fatalf("%q: %v, encoding/json says %t", s, err, valid)
		}
		if err != nil {
			return
		}
		out := value.AppendJSON(nil, v)
		again, err := value.FromJSON(string(out))
		if err != nil {
			t.Fatalf("%q was written as %q, which is refused: %v", s, out, err)
		}
		if b := value.AppendJSON(nil, again); string(b) != string(out) {
			t.Fatalf("%q was written as %q and then as %q", s, out, b)
		}
	})
}
