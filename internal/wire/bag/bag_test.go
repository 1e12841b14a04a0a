package bag

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"dunlin/internal/iot"
)

// show writes properties as text: system properties by their names in the
// log, nil values as <nil>.
func show(m *iot.Message) string {
	var parts []string
	for _, p := range m.System {
		parts = append(parts, fmt.Sprintf("[%s]=%q", p.Key, p.Value))
	}
	for _, p := range m.Properties {
		if p.Value == nil {
			parts = append(parts, fmt.Sprintf("%s=<nil>", p.Name))
		} else {
			parts = append(parts, fmt.Sprintf("%s=%q", p.Name, p.Value))
		}
	}
	return strings.Join(parts, " ")
}

func parse(t *testing.T, b string) *iot.Message {
	t.Helper()
	var m iot.Message
	if _, err := Parse(&m, nil, []byte(b)); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return &m
}

func TestParseSpellings(t *testing.T) {
	for _, c := range []struct{ name, bag, want string }{
		{"empty", "", ""},
		{
			"Node, all encoded", "%24.mid=mid%201&%24.cid=cid%2F1&%24.uid=u&%24.ct=application%2Fjson&%24.ce=utf-8&a%20b=c%26d%3D%C3%A9&%24.sub=comp1",
			`[message-id]="mid 1" [correlation-id]="cid/1" [user-id]="u" [content-type]="application/json" [content-encoding]="utf-8" [dt-subject]="comp1" a b="c&d=é"`,
		},
		{"Node module output", "%24.on=out1/", `[iothub-outputname]="out1"`},
		{"Node module output with properties", "%24.on=out1&%24.mid=m1&p=v/", `[iothub-outputname]="out1" [message-id]="m1" p="v"`},
		{"C, raw slashes, application first", "p=v&%24.mid=m1&%24.ct=application/json&%24.ce=utf-8", `[message-id]="m1" [content-type]="application/json" [content-encoding]="utf-8" p="v"`},
		{"C module output", "p=v&%24.on=out1/", `[iothub-outputname]="out1" p="v"`},
		{"C, raw slashes kept", "path=/a/b/&u=x/", `path="/a/b/" u="x/"`},
		{"Python", "%24.mid=ee9e738b&%24.ct=application%2Fjson&%24.ce=utf-8&custom%20key=custom%20value", `[message-id]="ee9e738b" [content-type]="application/json" [content-encoding]="utf-8" custom key="custom value"`},
		{"Python security message", "%24.ifid=urn%3Aazureiot%3ASecurity%3ASecurityAgent%3A1", `[iothub-interface-id]="urn:azureiot:Security:SecurityAgent:1"`},
		{"C#, dollar raw, lower-case escapes", "$.mid=m%2f1&$.ct=application%2fjson&$.ctime=2026-01-01T00%3a00%3a00Z&x=%c3%a9", `[message-id]="m/1" [content-type]="application/json" [iothub-creation-time-utc]="2026-01-01T00:00:00Z" x="é"`},
		{"mixed dollars", "$.mid=1&%24.cid=2&%24%2Euid=3", `[message-id]="1" [correlation-id]="2" [user-id]="3"`},
		{"question mark", "?prop=a&$.ct=text%2Fplain", `[content-type]="text/plain" prop="a"`},
		{"question mark alone", "?", ""},
		{"slash alone", "/", ""},
		{"question mark and slash", "?/", ""},
		{"question mark inside", "a?=b?", `a?="b?"`},
		{"no value, empty value", "p1&p2=&p3=x", `p1=<nil> p2="" p3="x"`},
		{"system without value", "%24.mid&%24.cid=", `[message-id]="" [correlation-id]=""`},
		{"plus is plus", "a+b=c+d%2B%20e", `a+b="c+d+ e"`},
		{"equals in the value", "a=b=c==", `a="b=c=="`},
		{"unknown dollar names", "$.foo=1&%24bar=2&$=3&$.MID=4", `$.foo="1" $bar="2" $="3" $.MID="4"`},
		{"repeated names", "a=1&%24.mid=x&b=2&a=3&$.mid=y&b", `[message-id]="y" a="3" b=<nil>`},
		{"empty pairs", "&&a=1&&b=2&", `a="1" b="2"`},
		{"feedback request", "iothub-ack=full", `iothub-ack="full"`},
		{
			"all system keys", "$.to=1&$.exp=2&$.schema=3&$.diagid=4&$.diagctx=5&$.cdid=6&$.cmid=7",
			`[to]="1" [absolute-expiry-time]="2" [iothub-message-schema]="3" [Diagnostic-Id]="4" [Correlation-Context]="5" [iothub-original-connection-device-id]="6" [iothub-original-connection-module-id]="7"`,
		},
		{"UTF-8 as it is", "é=ü%F0%9F%98%80", `é="ü😀"`},
		{"control characters", "a=%00%0A", `a="\x00\n"`},
		{"encoded slash at the end of an output", "%24.on=out%2F", `[iothub-outputname]="out/"`},
		{"slash after a bare output", "%24.on/", `[iothub-outputname]=""`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := show(parse(t, c.bag)); got != c.want {
				t.Errorf("%s\n got %s\nwant %s", c.bag, got, c.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct {
		bag, want string
		offset    int
	}{
		{"a=%", "percent sign", 2},
		{"a=%2", "percent sign", 2},
		{"ok=1&a=xy%2", "percent sign", 9},
		{"a%zz=1", "percent sign", 1},
		{"a=1%4&b=2", "percent sign", 3},
		{"a=%\x10\x11", "percent sign", 2},
		{"?%24.mid=%G0", "percent sign", 9},
		{"=v", "without a name", 0},
		{"a=1&=v", "without a name", 4},
		{"=", "without a name", 0},
		{"a=\xff", "not UTF-8", 2},
		{"ab\xc3=1", "not UTF-8", 2},
		{"a=1&b=%ff", "not UTF-8", 6},
		{"a=%ED%A0%80", "not UTF-8", 2}, // a surrogate
		{"%C3=%A9", "not UTF-8", 4},
		{"%C3=b", "not UTF-8", 0},
		{"a=1\x00", "U+0000", 3},
	} {
		var m iot.Message
		_, err := Parse(&m, nil, []byte(c.bag))
		var se *SyntaxError
		if !errors.As(err, &se) || se.Offset != c.offset || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want %q at %d", c.bag, err, c.want, c.offset)
		}
	}
}

// The spellings that are found without decoding must name the same keys as the
// table of package iot.
func TestSystemKeysAreThoseOfIot(t *testing.T) {
	for k := range 256 {
		key := iot.SystemKey(k)
		name := key.Bag()
		if name == "" {
			continue
		}
		for _, spelling := range []string{name, "%24" + name[1:]} {
			if got := systemKey([]byte(spelling)); got != key {
				t.Errorf("%s is key %d, want %d", spelling, got, key)
			}
		}
	}
	for _, name := range []string{"", "$", "$.", "%24", "%24.", "mid", ".mid", "$mid", "$.MID", "$.mid ", "%25.mid"} {
		if got := systemKey([]byte(name)); got != 0 {
			t.Errorf("%q is key %d, want none", name, got)
		}
	}
}

// What stood in the message before stays, even under the same names.
func TestParseAdds(t *testing.T) {
	m := iot.Message{
		System:     []iot.SystemProperty{{Key: iot.MessageID, Value: []byte("0")}},
		Properties: []iot.Property{{Name: []byte("a"), Value: []byte("0")}},
	}
	scratch := []byte("keep")
	scratch, err := Parse(&m, scratch, []byte("a=%31&$.mid=%32"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := show(&m), `[message-id]="0" [message-id]="2" a="0" a="1"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if string(scratch) != "keep12" {
		t.Errorf("scratch is %q", scratch)
	}
}

// Views stay right when scratch has to grow in the middle of a bag.
func TestParseScratchGrows(t *testing.T) {
	var b strings.Builder
	var want []string
	for i := range 100 {
		fmt.Fprintf(&b, "&n%%20%d=%%3D%d", i, i)
		want = append(want, fmt.Sprintf("n %d=%q", i, fmt.Sprint("=", i)))
	}
	var m iot.Message
	if _, err := Parse(&m, make([]byte, 0, 7), []byte(b.String())); err != nil {
		t.Fatal(err)
	}
	if got := show(&m); got != strings.Join(want, " ") {
		t.Errorf("got %s", got)
	}
}

// A bag as long as a topic can be, of distinct names, must not take quadratic
// time, and the last value counts there too.
func TestParseManyNames(t *testing.T) {
	var b strings.Builder
	n := 0
	for ; b.Len() < 60_000; n++ {
		fmt.Fprintf(&b, "%x&", n)
	}
	b.WriteString("0=last&1f=last")
	m := parse(t, b.String())
	if len(m.Properties) != n {
		t.Errorf("%d properties, want %d", len(m.Properties), n)
	}
	for _, i := range []int{0, 0x1f} {
		if got := string(m.Properties[i].Value); got != "last" {
			t.Errorf("property %d is %q", i, got)
		}
	}
}

func TestAppend(t *testing.T) {
	m := iot.Message{
		System: []iot.SystemProperty{
			{Key: iot.To, Value: []byte("/devices/dev1/messages/devicebound")},
			{Key: 200, Value: []byte("of a later build")},
			{Key: iot.MessageID, Value: []byte("m1")},
		},
		Properties: []iot.Property{
			{Name: []byte("p1"), Value: []byte("v 1")},
			{Name: []byte("p2")},
			{Name: []byte("p3"), Value: []byte{}},
			{Name: []byte("é+"), Value: []byte("a/b&c=d%-._~")},
		},
	}
	const want = "x/%24.to=%2Fdevices%2Fdev1%2Fmessages%2Fdevicebound&%24.mid=m1&p1=v%201&p2&p3=&%C3%A9%2B=a%2Fb%26c%3Dd%25-._~"
	if got := string(Append([]byte("x/"), &m)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := string(Append(nil, &iot.Message{Properties: m.Properties[1:3]})); got != "p2&p3=" {
		t.Errorf("got %s", got)
	}
}

func TestAllocations(t *testing.T) {
	b := []byte("%24.mid=mid%201&%24.ct=application%2Fjson&%24.ce=utf-8&a%20b=c%26d%3D%C3%A9&p2&$.sub=c/")
	var m iot.Message
	var scratch, out []byte
	round := func() {
		m.System, m.Properties = m.System[:0], m.Properties[:0]
		var err error
		if scratch, err = Parse(&m, scratch[:0], b); err != nil {
			t.Fatal(err)
		}
		out = Append(out[:0], &m)
	}
	round()
	if n := testing.AllocsPerRun(1000, round); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"%24.mid=mid%201&%24.cid=cid%2F1&a%20b=c%26d%3D%C3%A9&%24.sub=comp1",
		"p=v&$.mid=m1&%24.ct=application/json&p2&p3=", "?a=b", "%24.on=out1/", "a=1&a=2&$.mid=x&$.mid", "%", "=&==", "\xff",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m iot.Message
		scratch, err := Parse(&m, nil, b)
		// A property takes a byte of its own and a separator, and append at
		// most doubles (with a small start).
		if n := len(m.System) + len(m.Properties); n > len(b)/2+1 || len(scratch) > len(b) {
			t.Errorf("%d properties and %d bytes of scratch from %d bytes", n, len(scratch), len(b))
		}
		if err != nil {
			var se *SyntaxError
			if !errors.As(err, &se) || se.Offset < 0 || se.Offset > len(b) {
				t.Errorf("error %v", err)
			}
			return
		}
		for _, p := range m.Properties {
			if !utf8.Valid(p.Name) || !utf8.Valid(p.Value) || len(p.Name) == 0 {
				t.Errorf("property %q=%q", p.Name, p.Value)
			}
		}
		var again iot.Message
		out := Append(nil, &m)
		if _, err := Parse(&again, nil, out); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		if show(&again) != show(&m) {
			t.Errorf("written and read again:\n got %s\nwant %s", show(&again), show(&m))
		}
		if !bytes.Equal(Append(nil, &again), out) {
			t.Error("written twice, differs")
		}
	})
}

func BenchmarkParse(b *testing.B) {
	bag := []byte("%24.ct=application%2Fjson&%24.ce=utf-8&alert=false")
	var m iot.Message
	var scratch []byte
	b.ReportAllocs()
	for b.Loop() {
		m.System, m.Properties = m.System[:0], m.Properties[:0]
		var err error
		if scratch, err = Parse(&m, scratch[:0], bag); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	m := iot.Message{
		System:     []iot.SystemProperty{{Key: iot.ContentType, Value: []byte("application/json")}, {Key: iot.ContentEncoding, Value: []byte("utf-8")}},
		Properties: []iot.Property{{Name: []byte("alert"), Value: []byte("false")}},
	}
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out = Append(out[:0], &m)
	}
}
