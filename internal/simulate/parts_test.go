package simulate

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"dunlin/internal/iot"
)

const sample = "../../samples/machine-temperature/machine_temperature_system_failure.csv"

func TestTemplateFields(t *testing.T) {
	now := time.Date(2024, 5, 6, 7, 8, 9, 123456789, time.UTC)
	for text, want := range map[string]string{
		"plain":                         "plain",
		"{{device}}/{{ seq }}":          "d1/42",
		"{{time}}":                      "2024-05-06T07:08:09.123Z",
		"{{unixms}}":                    "1714979289123",
		"{{walk 5 5 0}}{{int 7 7}}":     "57",
		"{{walk 5 5.00 0.1}}":           "5.00",
		"{{pick only}}}}":               "only}}",
		"{ {{uniform 1.5 1.5}} }":       "{ 1.5 }",
		"{{sine 2.50 2.50 60}}{{seq}}x": "2.5042x",
	} {
		tpl, err := ParseTemplate(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := string(tpl.Generator("d1", 1).Append(nil, 42, now)); got != want {
			t.Errorf("%s gave %s, want %s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"{{seq":             "not closed",
		"{{}}":              "empty field",
		"{{wlak 1 2 3}}":    "unknown field",
		"{{walk 1 2}}":      "{{walk MIN MAX STEP}}",
		"{{walk a 2 3}}":    `"a" is not a number`,
		"{{walk 3 2 1}}":    "above MAX",
		"{{walk 1 2 -1}}":   "negative",
		"{{int 0.5 2}}":     "whole numbers",
		"{{sine 1 2 0}}":    "above 0",
		"{{pick}}":          "at least one word",
		"{{uniform 1 NaN}}": "not a number",
	} {
		if _, err := ParseTemplate(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", text, err, want)
		}
	}
}

func TestWalkStaysInsideAndMoves(t *testing.T) {
	tpl, err := ParseTemplate("{{walk -2.0 3.0 4}}")
	if err != nil {
		t.Fatal(err)
	}
	g := tpl.Generator("d", 9)
	seen := map[string]bool{}
	for i := range 5000 {
		text := string(g.Append(nil, int64(i), time.Time{}))
		var v float64
		if _, err := fmt.Sscan(text, &v); err != nil || v < -2 || v > 3 {
			t.Fatalf("value %s: %v", text, err)
		}
		seen[text] = true
	}
	if len(seen) != 51 {
		t.Errorf("%d different values with one decimal between -2 and 3, want 51", len(seen))
	}
	// Equal seeds repeat a run.
	a, b := tpl.Generator("d", 3), tpl.Generator("d", 3)
	for range 20 {
		if x, y := a.Append(nil, 1, time.Time{}), b.Append(nil, 1, time.Time{}); string(x) != string(y) {
			t.Fatalf("%s and %s from one seed", x, y)
		}
	}
}

func TestFleetsAreJSON(t *testing.T) {
	for _, f := range Fleets() {
		tpl, err := ParseTemplate(f.Template)
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		g := tpl.Generator("x-1", 5)
		for i := range 20 {
			if b := g.Append(nil, int64(i), time.Now()); !json.Valid(b) {
				t.Errorf("%s: %s", f.Name, b)
			}
		}
		if _, err := properties(Config{Properties: f.Properties, ContentType: jsonType}); err != nil {
			t.Errorf("%s: %v", f.Name, err)
		}
	}
}

func thermostat(tb testing.TB) source {
	tb.Helper()
	c, err := Config{ConnectionString: policyString()}.withDefaults()
	if err != nil {
		tb.Fatal(err)
	}
	srcs, err := sources(c, nil, []identity{{id: iot.ID{Device: "d"}}})
	if err != nil {
		tb.Fatal(err)
	}
	return srcs[0]
}

func TestHeading(t *testing.T) {
	c, err := Config{
		ConnectionString: policyString(), Template: "x", ContentType: "text/plain",
		Properties: map[string]string{"b c": "ä/{{seq}}", "$.mid": "{{device}}-{{seq}}", "$x": "", "a": "1"},
	}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	srcs, err := sources(c, nil, []identity{{id: iot.ID{Device: "d", Module: "m"}}})
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= 2; i++ {
		topic, body := srcs[0].next(nil, nil, time.Now())
		want := fmt.Sprintf("devices/d/modules/m/messages/events/%%24.ct=text%%2Fplain&%%24.mid=d-%d&%%24x=&a=1&b%%20c=%%C3%%A4%%2F%d", i, i)
		if string(topic) != want || string(body) != "x" {
			t.Errorf("topic %s, body %s, want %s", topic, body, want)
		}
	}
}

func TestMessagesAllocateNothing(t *testing.T) {
	src, now := thermostat(t), time.Now()
	topic, body := make([]byte, 0, 1024), make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(1000, func() { topic, body = src.next(topic[:0], body[:0], now) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkMessage(b *testing.B) {
	src, now := thermostat(b), time.Now()
	var topic, body []byte
	b.ReportAllocs()
	for b.Loop() {
		topic, body = src.next(topic[:0], body[:0], now)
	}
}

func TestRecordingKeepsOrderAndDigits(t *testing.T) {
	text := "\ufefftimestamp,machine,value,note\n" +
		"2024-01-01 00:00:00,b,1.50,\"say \"\"hi\"\"\"\n" +
		"2024-01-01 00:00:10,a,-2e3,\n" +
		"2024-01-01 00:00:05,b,007,x\n" + // the clock steps back
		"2024-01-01 00:01:00,b,74.93588199999998,true\n"
	rec, err := readRecording(strings.NewReader(text), ReplayConfig{TimeColumn: "timestamp", DeviceColumn: "machine"})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(rec.Devices(), rec.Rows()); got != "[b a] 4" {
		t.Error(got)
	}
	var out []string
	for _, d := range rec.Devices() {
		for _, r := range rec.rows[d] {
			out = append(out, fmt.Sprintf("%s %d %s %s", d, r.number, r.at, r.body))
		}
	}
	want := []string{
		`b 1 0s {"timestamp":"2024-01-01 00:00:00","value":1.50,"note":"say \"hi\""}`,
		`b 3 10s {"timestamp":"2024-01-01 00:00:05","value":"007","note":"x"}`,
		`b 4 1m0s {"timestamp":"2024-01-01 00:01:00","value":74.93588199999998,"note":"true"}`,
		`a 2 10s {"timestamp":"2024-01-01 00:00:10","value":-2e3,"note":null}`,
	}
	if strings.Join(out, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s", strings.Join(out, "\n"))
	}
	rec, err = readRecording(strings.NewReader(text), ReplayConfig{ValueColumns: []string{"value"}})
	if err != nil || string(rec.rows[""][0].body) != `{"value":1.50}` {
		t.Errorf("%v %v", err, rec)
	}
}

func TestRecordingErrorsNameTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "the file is empty",
		"t,v\n":                          "no rows",
		"t,x\n1,2\n":                     `no column "v"; the file has t, x`,
		"t,v\nyesterday,2\n":             `line 2: column t: "yesterday" is not a time`,
		"t,v\n1,2\n2024-01-01 00:00,3,4": "line 3",
	} {
		_, err := readRecording(strings.NewReader(text), ReplayConfig{TimeColumn: "t", ValueColumns: []string{"v"}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %s", text, err, want)
		}
	}
}

func TestParseTime(t *testing.T) {
	want := time.Date(2013, 12, 2, 21, 15, 0, 0, time.UTC)
	for _, s := range []string{
		"2013-12-02 21:15:00", "2013-12-02T21:15:00", "2013-12-02T21:15:00Z", "2013-12-02 22:15:00+01:00",
		"2013-12-02T21:15:00.000", "2013-12-02 21:15", "1386018900", "1386018900000", "1386018900000000", "1386018900000000000", "1386018900.0",
	} {
		if got, err := parseTime(s); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
}

func TestFlightSettlesInAnyOrder(t *testing.T) {
	var f flight
	rng := rand.New(rand.NewPCG(1, 2))
	var waiting []uint16
	start := time.Now()
	for i := range 200_000 { // identifiers come round three times
		if len(waiting) < 100 && (len(waiting) == 0 || rng.IntN(2) == 0) {
			m, id := f.push()
			m.at = start.Add(time.Duration(i))
			if id == 0 {
				t.Fatal("identifier 0")
			}
			waiting = append(waiting, id)
			continue
		}
		k := rng.IntN(len(waiting))
		if rng.IntN(4) > 0 {
			k = 0 // mostly in order
		}
		id := waiting[k]
		if _, ok := f.ack(id); !ok {
			t.Fatalf("acknowledgement of %d is not known", id)
		}
		if _, ok := f.ack(id); ok {
			t.Fatalf("acknowledgement of %d counted twice", id)
		}
		waiting = append(waiting[:k], waiting[k+1:]...)
	}
	for _, id := range waiting {
		if _, ok := f.ack(id); !ok {
			t.Fatalf("acknowledgement of %d is not known", id)
		}
	}
	if _, ok := f.ack(1); ok || f.n != 0 {
		t.Errorf("%d messages left", f.n)
	}
}

func TestHistogramError(t *testing.T) {
	for us := int64(0); us < 5_000_000; us += 1 + us/50 {
		if top := bucketTop(bucketOf(us)); top < us || float64(top) > float64(us)*1.07 {
			t.Fatalf("%d falls below %d", us, top)
		}
	}
}
