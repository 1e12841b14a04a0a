package jsontext

import (
	"encoding/json"
	"strings"
	"testing"
)

var texts = []string{
	``, ` `, `{}`, `[]`, ` [ ] `, `{ }`, `null`, `nul`, `nullx`, `true`, `false`, `1`, `-`, `-0`, `01`, `1.`, `1.5`, `.5`, `1e`, `1e+`, `1E-7`, `1e5 `, `1 2`,
	`"a"`, `"a`, `"\u12g4"`, `"\u12AF"`, `"\x"`, "\"a\nb\"", "\"\x1f\"", "\"\x7f\x80\xff\"", `"12345678"`, `"1234567\"9"`, `"12345678\\"`, `"\`, `"\u00`,
	`[1,2]`, `[1,]`, `[,1]`, `[1 2]`, `{"a":1}`, `{"a":1,}`, `{"a"}`, `{"a":}`, `{a:1}`, `{"a":1]`, `[1}`, `[[[]]]`, `{"a":{"b":[{}]}}`, `[]]`, `{}}`, `[`, `{`, `{"a":[1,{"b":2}],"c":"d"}`,
	strings.Repeat("[", 10000) + strings.Repeat("]", 10000), strings.Repeat("[", 10001) + strings.Repeat("]", 10001),
	strings.Repeat(`{"a":`, 700) + "1" + strings.Repeat("}", 700),
}

func TestValid(t *testing.T) {
	for _, s := range texts {
		if got, want := Valid([]byte(s)), json.Valid([]byte(s)); got != want {
			t.Errorf("Valid(%.80q) = %t, encoding/json says %t", s, got, want)
		}
	}
}

func FuzzValid(f *testing.F) {
	for _, s := range texts {
		if len(s) < 1000 {
			f.Add([]byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, want := Valid(b), json.Valid(b); got != want {
			t.Errorf("Valid(%q) = %t, encoding/json says %t", b, got, want)
		}
	})
}

var reading = []byte(`{"temperature":21.5,"humidity":40,"pad":"` + strings.Repeat("x", 100) + `"}`)

func TestValidDoesNotAllocate(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { Valid(reading) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkValid(b *testing.B) {
	b.SetBytes(int64(len(reading)))
	for b.Loop() {
		Valid(reading)
	}
}

func BenchmarkEncodingJSON(b *testing.B) {
	b.SetBytes(int64(len(reading)))
	for b.Loop() {
		json.Valid(reading)
	}
}
