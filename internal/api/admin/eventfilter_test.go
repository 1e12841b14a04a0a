package admin

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"dunlin/internal/iot"
	"dunlin/internal/wire/record"
)

func TestMatches(t *testing.T) {
	for _, tt := range []struct {
		pattern, text string
		want          bool
	}{
		{"", "", true},
		{"", "a", false},
		{"pump-1", "pump-1", true},
		{"pump-1", "pump-12", false},
		{"pump-1", "pump-", false},
		{"*", "", true},
		{"*", "anything", true},
		{"pump-*", "pump-", true},
		{"pump-*", "pump-7", true},
		{"pump-*", "a-pump-7", false},
		{"*-7", "pump-7", true},
		{"*-7", "pump-77", false},
		{"a*b*c", "abc", true},
		{"a*b*c", "a12b34c", true},
		{"a*b*c", "acb", false},
		{"a*a", "a", false},
		{"a*a", "aa", true},
		{"*a*a*", "xaxa", true},
		{"**", "x", true},
	} {
		if got := matches(tt.pattern, []byte(tt.text)); got != tt.want {
			t.Errorf("matches(%q, %q) = %t", tt.pattern, tt.text, got)
		}
	}
	began := time.Now()
	matches(strings.Repeat("*a", 2000)+"b", []byte(strings.Repeat("a", 100_000)))
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("a hostile pattern took %v", took)
	}
}

func TestEventFilter(t *testing.T) {
	event := func(source iot.EventSource, id iot.ID, properties ...string) []byte {
		m := iot.Message{System: []iot.SystemProperty{{Key: iot.ContentType, Value: []byte("text/plain")}}}
		for _, p := range properties {
			name, value, _ := strings.Cut(p, "=")
			m.Properties = append(m.Properties, iot.Property{Name: []byte(name), Value: []byte(value)})
		}
		return record.AppendEvent(nil, record.AppendOrigin(nil, iot.Origin{ID: id, Source: source}), &m)
	}
	pump, module, fan := iot.ID{Device: "pump-1"}, iot.ID{Device: "pump-1", Module: "m"}, iot.ID{Device: "fan"}
	all := [][]byte{
		event(iot.SourceTelemetry, pump, "level=high", "room=a"),
		event(iot.SourceTelemetry, fan, "level=low"),
		event(iot.SourceTwinChange, module, "opType=updateTwin"),
		event(iot.SourceDeviceLifecycle, fan, "opType=createDeviceIdentity"),
		event(9, fan), // of a later build
		{0xff},        // not to be read
	}
	for query, want := range map[string]string{
		"":                                       "01...5",
		"source=all":                             "012345",
		"source=twin,lifecycle":                  "..23.5",
		"source=telemetry&device=fan":            ".1...5",
		"source=all&device=pump":                 ".....5",
		"source=all&devices=pump*":               "0.2..5",
		"source=all&devices=**":                  "012345",
		"source=all&property=level":              "01....",
		"property=level=h*":                      "0.....",
		"property=level=h*&property=room=b":      ".....",
		"source=all&property=content-type=text*": "01234.",
		"source=all&property=opType=update*":     "..2...",
	} {
		v, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parseEventFilter(v)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		var e record.Event
		got := ""
		for i, data := range all {
			shown := f.begins(data)
			if shown && record.Decode(data, &e) == nil {
				shown = f.wants(&e)
			} else if shown && len(f.properties) > 0 {
				shown = false
			}
			if shown {
				got += string(rune('0' + i))
			} else {
				got += "."
			}
		}
		if strings.TrimRight(got, ".") != strings.TrimRight(want, ".") {
			t.Errorf("%q shows %s, want %s", query, got, want)
		}
	}
	for _, query := range []string{"source=weather", "source=twin,,", "source=Telemetry", "property==x"} {
		v, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseEventFilter(v); iot.CodeOf(err) != iot.ArgumentInvalid {
			t.Errorf("%q: %v", query, err)
		}
	}
}

func TestPositions(t *testing.T) {
	got, err := parsePositions("0:12,3:9007199254740993", 4)
	if err != nil || len(got) != 2 || got[0] != 12 || got[3] != 9007199254740993 {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"4:1", "-1:1", "0", "0:", "0:-1", "0:1,", "x:1", "0:99999999999999999999"} {
		if _, err := parsePositions(bad, 4); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func BenchmarkPeek(b *testing.B) {
	m := iot.Message{Body: make([]byte, 150)}
	data := record.AppendEvent(nil, record.AppendOrigin(nil, iot.Origin{ID: iot.ID{Device: "device-123"}, Source: iot.SourceTwinChange}), &m)
	f := eventFilter{sources: 1 << iot.SourceTelemetry}
	b.ReportAllocs()
	for b.Loop() {
		if f.begins(data) {
			b.Fatal("shown")
		}
	}
}
