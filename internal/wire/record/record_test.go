package record

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"dunlin/internal/iot"
)

var device = iot.Origin{
	ID:         iot.ID{Device: "machine-1"},
	Generation: 638371234567890123,
	Auth:       iot.AuthMethod{Scope: iot.ScopeDevice, Type: iot.AuthSAS},
}

var module = iot.Origin{
	ID:         iot.ID{Device: "gw", Module: "filter"},
	Generation: 1,
	Auth:       iot.AuthMethod{Scope: iot.ScopeHub, Type: iot.AuthX509Authority},
	Source:     iot.SourceTwinChange,
	Model:      "dtmi:com:example:Thermostat;1",
}

func reading() *iot.Message {
	return &iot.Message{
		System: []iot.SystemProperty{
			{Key: iot.ContentType, Value: []byte("application/json")},
			{Key: iot.ContentEncoding, Value: []byte("utf-8")},
		},
		Properties: []iot.Property{{Name: []byte("alert"), Value: []byte("false")}},
		Body:       []byte(`{"timestamp":"2013-12-02 21:15:00","value":73.96732207,"unit":"celsius","site":"plant-7","line":12,"sensor":"bearing-temperature","quality":"good"}`),
	}
}

// cases are the golden events of version 1. Never change one: add another.
var cases = []struct {
	name   string
	origin iot.Origin
	msg    iot.Message
}{
	{"telemetry", device, *reading()},
	{"empty", iot.Origin{}, iot.Message{}},
	{"values", module, iot.Message{
		System: []iot.SystemProperty{{Key: iot.MessageID, Value: []byte{}}, {Key: iot.OriginalModule, Value: []byte("m\u00e9")}},
		Properties: []iot.Property{
			{Name: []byte("none")},
			{Name: []byte("empty"), Value: []byte{}},
			{Name: []byte("long"), Value: bytes.Repeat([]byte("x"), 300)},
			{Name: []byte("twice"), Value: []byte("1")},
			{Name: []byte("twice"), Value: []byte("2")},
		},
		Body: []byte{0, 0xff},
	}},
}

func encode(o iot.Origin, m *iot.Message) []byte {
	return AppendEvent(nil, AppendOrigin(nil, o), m)
}

// same compares messages; nil and empty differ for values of application
// properties only.
func same(a, b *iot.Message) bool {
	if len(a.System) != len(b.System) || len(a.Properties) != len(b.Properties) || !bytes.Equal(a.Body, b.Body) {
		return false
	}
	for i := range a.System {
		if a.System[i].Key != b.System[i].Key || !bytes.Equal(a.System[i].Value, b.System[i].Value) {
			return false
		}
	}
	for i := range a.Properties {
		p, q := a.Properties[i], b.Properties[i]
		if !bytes.Equal(p.Name, q.Name) || !bytes.Equal(p.Value, q.Value) || (p.Value == nil) != (q.Value == nil) {
			return false
		}
	}
	return true
}

// The golden files are hex text, 32 bytes to a line.
func TestGoldenVersion1(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := encode(c.origin, &c.msg)
			name := filepath.Join("testdata", "v1-"+c.name+".hex")
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatalf("%v; a new case needs a file with\n%s", err, hexLines(got))
			}
			want, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("encoding of version 1 has changed:\n got %x\nwant %x", got, want)
			}
			var e Event
			if err := Decode(want, &e); err != nil {
				t.Fatal(err)
			}
			if e.Origin != c.origin {
				t.Errorf("origin %+v, want %+v", e.Origin, c.origin)
			}
			if !same(&e.Message, &c.msg) {
				t.Errorf("message %+v, want %+v", e.Message, c.msg)
			}
		})
	}
}

func hexLines(b []byte) string {
	var s strings.Builder
	for len(b) > 0 {
		n := min(32, len(b))
		fmt.Fprintf(&s, "%x\n", b[:n])
		b = b[n:]
	}
	return s.String()
}

// Every cut of a record's head is refused or read as a shorter body, and an
// Event works on after an error.
func TestDecodeCutShort(t *testing.T) {
	for _, c := range cases {
		b := encode(c.origin, &c.msg)
		var e Event
		for n := range len(b) - len(c.msg.Body) {
			if err := Decode(b[:n], &e); !errors.Is(err, ErrDamaged) {
				t.Fatalf("%s cut to %d of %d bytes: error %v, want ErrDamaged", c.name, n, len(b), err)
			}
		}
		if err := Decode(b, &e); err != nil || e.Origin != c.origin || !same(&e.Message, &c.msg) {
			t.Fatalf("%s after errors: %v %+v", c.name, err, e)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		b    string
		want string
	}{
		"no bytes":                  {"", "no bytes"},
		"origin beyond the end":     {"01ff01", "cut short"},
		"origin with a rest":        {"0108000000000000" + "00" + "00" + "0000", "longer than its fields"},
		"origin cut inside":         {"0103000000" + "0000", "cut short"},
		"number not shortest":       {"018700" + "00000000000000" + "0000", "shortest form"},
		"number above 64 bits":      {"01ffffffffffffffffffff01", "too long"},
		"system key 0":              {"0107" + "00000000000000" + "010000" + "00", "key 0"},
		"count of system too high":  {"0107" + "00000000000000" + "ffffffff0f" + "0100", "cut short"},
		"count of props too high":   {"0107" + "00000000000000" + "00" + "ffffffff0f" + "0161" + "00", "cut short"},
		"value longer than the end": {"0107" + "00000000000000" + "00" + "01" + "0161" + "05" + "62", "cut short"},
		"value of 2^64-1 bytes":     {"0107" + "00000000000000" + "00" + "01" + "0161" + "ffffffffffffffffff01", "cut short"},
	} {
		b, err := hex.DecodeString(c.b)
		if err != nil {
			t.Fatal(name, err)
		}
		var e Event
		if err := Decode(b, &e); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}

func TestDecodeNewerVersion(t *testing.T) {
	var v *VersionError
	err := Decode([]byte{Version + 1, 0}, new(Event))
	if !errors.As(err, &v) || v.Version != Version+1 || !strings.Contains(err.Error(), "newer build") {
		t.Fatalf("got %v", err)
	}
}

// A system property that a later build of the same version adds is kept.
func TestDecodeUnknownSystemKey(t *testing.T) {
	m := iot.Message{System: []iot.SystemProperty{{Key: 200, Value: []byte("v")}}}
	var e Event
	if err := Decode(encode(device, &m), &e); err != nil || !same(&e.Message, &m) {
		t.Fatalf("%v %+v", err, e.Message)
	}
}

// Origins of earlier events stay right when the event's memory is reused and
// when more origins turn up than are remembered.
func TestOriginsAreCopies(t *testing.T) {
	var e Event
	var kept []iot.Origin
	buf := make([]byte, 0, 256)
	const n = maxOrigins + 10
	for round := range 2 {
		for i := range n {
			o := iot.Origin{ID: iot.ID{Device: fmt.Sprint("d", i), Module: "m"}, Generation: uint64(i)}
			buf = AppendEvent(buf[:0], AppendOrigin(nil, o), &iot.Message{})
			if err := Decode(buf, &e); err != nil {
				t.Fatal(err)
			}
			if round == 0 {
				kept = append(kept, e.Origin)
			} else if e.Origin != kept[i] || e.Origin != o {
				t.Fatalf("origin %d is %+v, was %+v, want %+v", i, e.Origin, kept[i], o)
			}
		}
	}
	if len(e.known) > maxOrigins {
		t.Fatalf("%d origins remembered, want at most %d", len(e.known), maxOrigins)
	}
}

// Views must not reach into their neighbours when a caller appends to them.
func TestViewsHaveNoSpareCapacity(t *testing.T) {
	var e Event
	if err := Decode(append(encode(module, &cases[2].msg), 1)[:len(encode(module, &cases[2].msg))], &e); err != nil {
		t.Fatal(err)
	}
	views := [][]byte{e.Body}
	for _, p := range e.System {
		views = append(views, p.Value)
	}
	for _, p := range e.Properties {
		views = append(views, p.Name, p.Value)
	}
	for i, v := range views {
		if cap(v) != len(v) {
			t.Errorf("view %d has %d bytes of spare capacity", i, cap(v)-len(v))
		}
	}
}

func TestAllocations(t *testing.T) {
	origins := [][]byte{AppendOrigin(nil, device), AppendOrigin(nil, module)}
	m := reading()
	buf := AppendEvent(nil, origins[1], m)
	if n := testing.AllocsPerRun(1000, func() { buf = AppendEvent(buf[:0], origins[0], m) }); n > 0 {
		t.Errorf("AppendEvent: %v allocations", n)
	}
	// Origins in turn, as they come when devices share a partition.
	events := [][]byte{AppendEvent(nil, origins[0], m), AppendEvent(nil, origins[1], m)}
	var e Event
	i := 0
	n := testing.AllocsPerRun(1000, func() {
		i++
		if err := Decode(events[i%2], &e); err != nil {
			t.Fatal(err)
		}
	})
	if n > 0 {
		t.Errorf("Decode: %v allocations", n)
	}
}

func FuzzDecode(f *testing.F) {
	for _, c := range cases {
		f.Add(encode(c.origin, &c.msg))
	}
	f.Add([]byte("\x01\x07\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\x0f"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var e Event
		if err := Decode(b, &e); err != nil {
			return
		}
		// Each entry stands for at least two bytes of input, and append at
		// most doubles.
		if c := cap(e.System) + cap(e.Properties); c > 2*len(b) {
			t.Errorf("%d entries allocated for %d bytes", c, len(b))
		}
		if got := encode(e.Origin, &e.Message); !bytes.Equal(got, b) {
			t.Errorf("decoded and encoded again:\n got %x\nwant %x", got, b)
		}
	})
}

// FuzzEncode makes events from pieces of text and expects them back.
func FuzzEncode(f *testing.F) {
	f.Add("d", "m", "dtmi:x;1", uint64(7), byte(1), byte(2), []byte("body"), "k=v&n&e=")
	f.Add("", "", "", uint64(1)<<63, byte(255), byte(0), []byte{}, "")
	f.Fuzz(func(t *testing.T, dev, mod, model string, gen uint64, source, auth byte, body []byte, props string) {
		o := iot.Origin{
			ID: iot.ID{Device: dev, Module: mod}, Generation: gen, Model: model, Source: iot.EventSource(source),
			Auth: iot.AuthMethod{Scope: iot.AuthScope(auth & 15), Type: iot.AuthType(auth >> 4)},
		}
		m := iot.Message{Body: body}
		for i, pair := range strings.Split(props, "&") {
			k, v, ok := strings.Cut(pair, "=")
			p := iot.Property{Name: []byte(k)}
			if ok {
				p.Value = []byte(v)
			}
			m.Properties = append(m.Properties, p)
			m.System = append(m.System, iot.SystemProperty{Key: iot.SystemKey(i%255 + 1), Value: []byte(v)})
		}
		var e Event
		if err := Decode(encode(o, &m), &e); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(e.Origin, o) || !same(&e.Message, &m) {
			t.Errorf("got %+v %+v, want %+v %+v", e.Origin, e.Message, o, m)
		}
	})
}

func BenchmarkAppendEvent(b *testing.B) {
	origin, m := AppendOrigin(nil, device), reading()
	buf := AppendEvent(nil, origin, m)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendEvent(buf[:0], origin, m)
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprint("origins=", n), func(b *testing.B) {
			events := make([][]byte, n)
			for i := range events {
				o := device
				o.ID.Device = fmt.Sprint("machine-", i)
				events[i] = encode(o, reading())
			}
			var e Event
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				if err := Decode(events[i], &e); err != nil {
					b.Fatal(err)
				}
				if i++; i == n {
					i = 0
				}
			}
		})
	}
}
