package jsontext

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCheck(t *testing.T) {
	rules := Rules{Depth: 4, Number: 8, Opaque: []string{"Payload", "q"}}
	keys := func(n int) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(`,"k` + strings.Repeat("x", i) + `":1`)
		}
		return b.String()[1:]
	}
	for _, tt := range []struct{ text, word string }{
		{`{}`, ""},
		{`[]`, ""},
		{`"a"`, ""},
		{`12345678`, ""},
		{`true`, ""},
		{` { "a" : [ 1 , 2 , null ] , "b" : { "a" : 1 } } `, ""},
		{`[{"a":1},{"a":1}]`, ""},
		{`{"a":{"a":{"a":{}}}}`, ""},
		{`{"a":"a","b":"a"}`, ""},
		{`{"a":["b","b"],"b":1}`, ""},
		{`{"a":{"a":{"a":{"a":{}}}}}`, "byte 20"},
		{`[[[[[]]]]]`, "at most 4"},
		{`123456789`, "9 characters"},
		{`[-1.5e-22222]`, "byte 1"},
		{`[1e308]`, ""},
		{`[1e309]`, "out of range"},
		{`[1e-999]`, ""},
		{`{"payload":1e999}`, "out of range"},
		{`{"q":"\u0000"}`, ""},
		{`{"a":1,"a":2}`, `"a" stands twice`},
		{`{"a":1,"b":{"c":1,"c":1}}`, `"c"`},
		{`{"a":1,"\u0061":2}`, "twice"},
		{`{"":1,"":2}`, "twice"},
		{`{` + keys(40) + `}`, ""},
		{`{` + keys(40) + `,"kxx":1}`, "twice"},
		{`{"a":"\"","\"":"a","\\":1,"\\\\":1}`, ""},
		{`"\u0000"`, "U+0000"},
		{`{"\u0000":1}`, "U+0000"},
		{`"\\u0000"`, ""},
		{`"\ud83d\ude00"`, ""},
		{`"\ud83d"`, "first half"},
		{`"\ud83dx"`, "first half"},
		{`"\ud83d\u0041"`, "first half"},
		{`"\ude00"`, "second half"},
		{`"\uD83D\uD83D\uDE00"`, "first half"},
		{`{"payload":{"a":1,"a":"\u0000"},"b":1}`, ""},
		{`{"Payload":["\ud800"]}`, ""},
		{`{"payload":"\u0000"}`, ""},
		{`{"payload":{},"a":"\u0000"}`, "U+0000"},
		{`{"payload":1,"payload":2}`, "twice"},
		{`{"b":{"payload":"\u0000"}}`, ""},
		{`{"b":{"payload":1,"a":"\u0000"}}`, "U+0000"},
		{`{"payload":[[[[]]]]}`, "nested"},
		{`{"payload":123456789}`, "characters"},
		{`["payload","\u0000"]`, "U+0000"},
	} {
		if !json.Valid([]byte(tt.text)) {
			t.Errorf("%s is not valid", tt.text)
		}
		switch err := Check([]byte(tt.text), rules); {
		case err == nil && tt.word != "":
			t.Errorf("%s is let through", tt.text)
		case err != nil && (tt.word == "" || !strings.Contains(err.Error(), tt.word)):
			t.Errorf("%s: %v, want %q", tt.text, err, tt.word)
		}
	}
}

// FuzzCheck holds Check to never panic on valid texts, and to find a key twice
// exactly when the decoder of the standard library loses one.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{`{"a":1,"a":2}`, `{"a":{"b":[1,2]},"\u0061":"\ud83d\ude00"}`, `[1e5,"\\\"",null]`, `"\ud800"`, `{"payload":{"a":1,"a":2}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if !json.Valid(b) || !utf8.Valid(b) {
			return
		}
		err := Check(b, Rules{Depth: 64, Number: 128})
		if err != nil {
			return
		}
		if have, want := members(t, b), strings.Count(string(b), ":")-colons(b); have != want {
			t.Errorf("%s: %d members of %d are read", b, have, want)
		}
	})
}

// members counts the members of all objects that the decoder keeps.
func members(t *testing.T, b []byte) int {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Skip(err) // a number out of range
	}
	var count func(v any) int
	count = func(v any) (n int) {
		switch v := v.(type) {
		case map[string]any:
			n = len(v)
			for _, e := range v {
				n += count(e)
			}
		case []any:
			for _, e := range v {
				n += count(e)
			}
		}
		return n
	}
	return count(v)
}

// colons counts the colons within strings.
func colons(b []byte) (n int) {
	for i := 0; i < len(b); i++ {
		if b[i] == '"' {
			end := stringEnd(b, i)
			n += strings.Count(string(b[i:end]), ":")
			i = end - 1
		}
	}
	return n
}

func BenchmarkCheck(b *testing.B) {
	text := []byte(`[` + strings.Repeat(`{"id":"device-1","eTag":"AAAAAAAAAAE=","tags":{"site":"a","floor":3},"properties":{"desired":{"interval":30.5}}},`, 1000) + `{}]`)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if err := Check(text, Rules{Depth: 64, Number: 128}); err != nil {
			b.Fatal(err)
		}
	}
}
