package iothub_test

import (
	"encoding/json"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"dunlin/internal/api/iothub"
	"dunlin/internal/trust/access"
)

// bomb is a body that is meant to hurt.
type bomb struct{ name, body string }

// bombs makes them; holder is the name of a member that is read, since what
// nobody knows is passed over.
func bombs(holder string) []bomb {
	nest := func(open, leaf, end string, n int) string {
		return strings.Repeat(open, n) + leaf + strings.Repeat(end, n)
	}
	member := func(value string) string { return `{"` + holder + `":{"x":` + value + `}}` }
	return []bomb{
		{"nothing", " "},
		{"null", "null"},
		{"a number", "1"},
		{"half", `{"a":`},
		{"comma at the end", `{"a":1,}`},
		{"two values", `{} {}`},
		{"byte order mark, twice", "\ufeff\ufeff{}"},
		{"single quotes", `{'a':1}`},
		{"deep arrays, open", strings.Repeat("[", 100_000)},
		{"deep objects, open", strings.Repeat(`{"a":`, 40_000)},
		{"deep arrays", nest("[", "", "]", 100_000)},
		{"deep arrays that decoders take", nest("[", "", "]", 9_000)},
		{"deep objects in a member", member(nest(`{"a":`, "1", "}", 9_000))},
		{"a key twice", member(`{"a":1,"a":2}`)},
		{"a key twice, escaped", member(`{"\u0061":1,"a":2}`)},
		{"a member twice", `{"` + holder + `":{},"` + holder + `":{}}`},
		{"a key a thousand times", member("{" + strings.Repeat(`"a":1,`, 1000) + `"a":1}`)},
		{"many keys, and one twice", member(keys(20_000))},
		{"huge exponent", member("1e999999999999999999")},
		{"many digits", member(strings.Repeat("9", 100_000))},
		{"many digits behind the point", member("0." + strings.Repeat("1", 100_000))},
		{"not a number", member("NaN")},
		{"UTF-8 with a stray byte", member("\"\xff\"")},
		{"UTF-8, overlong", member("\"\xc0\xaf\"")},
		{"UTF-8, surrogate", member("\"\xed\xa0\x80\"")},
		{"NUL", member("\"\x00\"")},
		{"NUL, escaped", member(`"a\u0000b"`)},
		{"NUL in a key", member(`{"a\u0000":1}`)},
		{"half a surrogate pair", member(`"\ud800"`)},
		{"the other half", member(`"\udc00"`)},
		{"half a surrogate pair in a key", member(`{"\ud83d":1}`)},
		{"bad escape", member(`"\x"`)},
	}
}

// keys is an object of n members and one of them again.
func keys(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(`"k` + strings.Repeat("a", i%7) + time.Duration(i).String() + `":1,`)
	}
	return "{" + b.String() + `"k0s":2}`
}

// opaque are operations whose body is a payload, which may be anything.
var opaque = map[string]bool{
	"POST /messages/devicebound":                                            true,
	"POST /devices/{device}/messages/events":                                true,
	"POST /devices/{device}/modules/{module}/messages/events":               true,
	"POST /digitaltwins/{device}/commands/{command}":                        true,
	"POST /digitaltwins/{device}/components/{component}/commands/{command}": true,
}

// bodiless are operations that do not read a body.
var bodiless = map[string]bool{
	"POST /messages/servicebound/feedback/{token}/abandon":                         true,
	"POST /devices/{device}/messages/devicebound/{token}/abandon":                  true,
	"POST /devices/{device}/modules/{module}/messages/devicebound/{token}/abandon": true,
	"POST /messages/serviceBound/filenotifications/{token}/abandon":                true,
	"POST /messages/servicebound/filenotifications/{token}/abandon":                true,
}

const (
	bombTime   = 100 * time.Millisecond // to answer one
	bombMemory = 32 << 20               // allocated for one, in bytes, beside four times its length
)

var fill = strings.NewReplacer("{device}", "d", "{module}", "m", "{token}", "00000000-0000-0000-0000-000000000000",
	"{component}", "c", "{command}", "m", "{job}", "j", "{id}", "i", "{configuration}", "i")

// TestBombs sends every bomb to every operation that takes a body: each answers
// a documented error, soon and in little memory.
func TestBombs(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.send("PUT", "/devices/d", `{}`).ok(200, nil)
		s.send("PUT", "/devices/d/modules/m", `{}`).ok(201, nil)
		token := s.deviceToken("d")
		for _, row := range iothub.Rows() {
			name := row.Method + " " + row.Path
			if row.Missing || bodiless[name] || row.Method == http.MethodGet || row.Method == http.MethodDelete {
				continue
			}
			holder := "any"
			if strings.Contains(row.Path, "/twins/") && !strings.HasSuffix(row.Path, "methods") {
				holder = "tags"
			}
			list := append(bombs(holder), bomb{"large", `{"x":"` + strings.Repeat("a", 8<<20) + `"}`})
			for _, b := range list {
				headers := []string{"Authorization", "", "iothub-to", "/devices/d/messages/devicebound"}
				headers[1] = s.token("iothubowner")
				if row.Need == access.DeviceConnect {
					headers[1] = token
				}
				s.bomb(name+": "+b.name, row, b.body, opaque[name] && b.name != "large", headers)
			}
		}
		// Batches are JSON in any case.
		row := iothub.Row{Method: "POST", Path: "/devices/{device}/messages/events"}
		for _, b := range bombs("properties") {
			s.bomb("batch: "+b.name, row, "["+b.body+"]", false, []string{"Authorization", token, "Content-Type", "application/vnd.microsoft.iothub.json"})
		}
		// Nothing of it has changed anything.
		var d device
		s.send("GET", "/devices/d", "").ok(200, &d)
		if d.Status != "enabled" {
			t.Errorf("%+v", d)
		}
		if s.logged.Len() > 0 {
			t.Errorf("the server complains: %.2000s", s.logged)
		}
	})
}

// bomb sends one, and again where the machine was busy.
func (s *site) bomb(what string, row iothub.Row, body string, free bool, headers []string) {
	s.t.Helper()
	var before, after runtime.MemStats
	took, used := time.Hour, uint64(1<<62)
	var a answer
	for range 4 {
		runtime.ReadMemStats(&before)
		start := time.Now()
		a = s.send(row.Method, fill.Replace(row.Path), body, headers...)
		took = min(took, time.Since(start))
		runtime.ReadMemStats(&after)
		used = min(used, after.TotalAlloc-before.TotalAlloc)
		if took < bombTime && used < bombMemory {
			break
		}
	}
	if took > bombTime {
		s.t.Errorf("%s: answered after %v", what, took)
	}
	if used > bombMemory+4*uint64(len(body)) {
		s.t.Errorf("%s: %d bytes allocated", what, used)
	}
	if free && a.status < 300 {
		return
	}
	s.documented(what, a)
}

// documented checks that an answer is an error of the caller, in the form that
// SDKs take apart.
func (s *site) documented(what string, a answer) {
	s.t.Helper()
	var body struct{ Message, ExceptionMessage *string }
	err := json.Unmarshal([]byte(a.body), &body)
	code := a.header.Get("iothub-errorcode")
	if a.status < 400 || a.status > 499 || err != nil || body.Message == nil || body.ExceptionMessage == nil || code == "" || code == "ServerError" {
		s.t.Errorf("%s: %d %s %.300s", what, a.status, code, a.body)
	}
}
