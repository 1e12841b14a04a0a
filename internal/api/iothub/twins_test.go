package iothub_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
)

// moving blanks what differs from run to run.
var moving = regexp.MustCompile(`"(deviceEtag|\$lastUpdated)":"[^"]{12,}"`)

func (a answer) want(status int, body string) {
	a.t.Helper()
	a.ok(status, nil)
	if have := moving.ReplaceAllString(a.body, `"$1":"-"`); have != body {
		a.t.Errorf("have %s\nwant %s", have, body)
	}
}

func TestTwinLife(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.send("GET", "/twins/d", "").refused("unknown", 404, "DeviceNotFound", "d")
		s.send("PUT", "/devices/d", `{}`).ok(200, nil)
		const head = `{"deviceId":"d","etag":"%s","deviceEtag":"-","status":"enabled","statusUpdateTime":"0001-01-01T00:00:00Z","connectionState":"Disconnected",` +
			`"lastActivityTime":"0001-01-01T00:00:00Z","cloudToDeviceMessageCount":0,"authenticationType":"sas","x509Thumbprint":{"primaryThumbprint":null,"secondaryThumbprint":null},` +
			`"modelId":"","version":%d,"tags":%s,"properties":{"desired":%s,"reported":{"$metadata":{"$lastUpdated":"-"},"$version":1}},"capabilities":{"iotEdge":false}}`
		a := s.send("GET", "/twins/d", "")
		a.want(200, fmt.Sprintf(head, "AAAAAAAAAAE=", 2, `{}`, `{"$metadata":{"$lastUpdated":"-"},"$version":1}`))
		if a.header.Get("ETag") != `"AAAAAAAAAAE="` {
			t.Errorf("ETag %s", a.header.Get("ETag"))
		}
		s.send("PATCH", "/twins/d", `{"tags":{"a":{"b":1.0}},"properties":{"desired":{"x":12345678901234.50}}}`).want(200, fmt.Sprintf(head, "AAAAAAAAAAI=", 3,
			`{"a":{"b":1.0}}`, `{"x":12345678901234.50,"$metadata":{"$lastUpdated":"-","$lastUpdatedVersion":2,"x":{"$lastUpdated":"-","$lastUpdatedVersion":2}},"$version":2}`))
		for _, match := range []string{`"AAAAAAAAAAE="`, `AAAAAAAAAAE=`, `W/"AAAAAAAAAAE="`, `""`} {
			s.send("PATCH", "/twins/d", `{"tags":{}}`, "If-Match", match).refused("stale "+match, 412, "PreconditionFailed", "ETag")
			s.send("PUT", "/twins/d", `{"tags":{}}`, "If-Match", match).refused("stale "+match, 412, "PreconditionFailed", "ETag")
		}
		s.send("PATCH", "/twins/d", `{"properties":{"desired":{"x":null}}}`, "If-Match", `"AAAAAAAAAAI="`).ok(200, nil)
		a = s.send("PUT", "/twins/d", `{"deviceId":"d","tags":{"c":true},"properties":{"desired":{"y":{"z":[1,2]}},"reported":{"no":1}}}`, "If-Match", "*")
		a.ok(200, nil)
		if !strings.Contains(a.body, `"version":5,"tags":{"c":true},"properties":{"desired":{"y":{"z":[1,2]},"$metadata"`) || strings.Contains(a.body, `"no"`) {
			t.Error(a.body)
		}
		// What was read can be sent back.
		s.send("PUT", "/twins/d", a.body, "If-Match", `"*"`).ok(200, nil)

		s.conns.mu.Lock()
		s.conns.online[iot.ID{Device: "d"}] = time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)
		s.conns.mu.Unlock()
		s.send("PUT", "/devices/d", `{"status":"disabled","statusReason":"a \"b\""}`, "If-Match", "*").ok(200, nil)
		a = s.send("GET", "/twins/d", "")
		if !strings.Contains(a.body, `"status":"disabled","statusReason":"a \"b\"","statusUpdateTime":"20`) ||
			!strings.Contains(a.body, `"connectionState":"Connected","lastActivityTime":"2026-01-02T03:05:05.0000006Z"`) || !json.Valid([]byte(a.body)) {
			t.Error(a.body)
		}
		s.send("DELETE", "/devices/d", "").ok(204, nil)
		s.send("GET", "/twins/d", "").refused("deleted", 404, "DeviceNotFound")
		s.send("PUT", "/devices/d", `{}`).ok(200, nil)
		if a := s.send("GET", "/twins/d", ""); !strings.Contains(a.body, `"version":2,"tags":{}`) {
			t.Errorf("a device made anew has the twin %s", a.body)
		}
	})
}

func TestTwinOfModule(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.send("PATCH", "/twins/d/modules/m", `{}`).refused("unknown device", 404, "DeviceNotFound")
		s.send("PUT", "/devices/d", `{}`).ok(200, nil)
		s.send("GET", "/twins/d/modules/m", "").refused("unknown module", 404, "ModuleNotFound")
		s.send("PUT", "/devices/d/modules/m", `{}`).ok(201, nil)
		s.send("PATCH", "/twins/d/modules/m", `{"moduleId":"n"}`).refused("other id", 400, "ArgumentInvalid", "'n'")
		s.send("PATCH", "/twins/d/modules/m", `{"moduleId":"m","tags":{"t":1}}`).ok(200, nil)
		a := s.send("GET", "/twins/d/modules/m", "")
		a.ok(200, nil)
		if !strings.HasPrefix(a.body, `{"deviceId":"d","moduleId":"m","etag":"AAAAAAAAAAI="`) || !strings.Contains(a.body, `"tags":{"t":1}`) || strings.Contains(a.body, "capabilities") {
			t.Error(a.body)
		}
		if a := s.send("GET", "/twins/d", ""); !strings.Contains(a.body, `"tags":{}`) {
			t.Errorf("the twin of the device has changed: %s", a.body)
		}
		s.send("DELETE", "/devices/d/modules/m", "").ok(204, nil)
		s.send("PUT", "/devices/d/modules/m", `{}`).ok(201, nil)
		if a := s.send("PUT", "/twins/d/modules/m", "{}"); !strings.Contains(a.body, `"version":2,"tags":{}`) {
			t.Errorf("a module made anew has the twin %s", a.body)
		}
	})
}

// TestTwinRefusals shows the documented rules of documents over REST.
func TestTwinRefusals(t *testing.T) {
	s := newSite(t, statetest.SQLite(t))
	s.send("PUT", "/devices/d", `{}`).ok(200, nil)
	nest := func(n int, open, end string) string {
		return `{"tags":{"a":` + strings.Repeat(open, n) + "1" + strings.Repeat(end, n) + `}}`
	}
	for what, c := range map[string]struct{ body, code, word string }{
		"empty":              {"", "ArgumentNull", "empty"},
		"blank":              {"  \n", "ArgumentNull", "empty"},
		"no object":          {"[]", "ArgumentInvalid", "object"},
		"cut":                {`{"tags":{"a":1`, "DeserializationError", "ends early"},
		"more behind":        {`{} {}`, "DeserializationError", "offset 3"},
		"bad number":         {`{"tags":{"a":01}}`, "DeserializationError", "offset 14"},
		"tags no object":     {`{"tags":7}`, "ArgumentInvalid", "tags"},
		"desired no object":  {`{"properties":{"desired":[]}}`, "ArgumentInvalid", "properties.desired"},
		"double key":         {`{"properties":{"desired":{"a":{"b":1,"\u0062":2}}}}`, "ArgumentInvalid", "twice"},
		"double section":     {`{"tags":{},"tags":{}}`, "ArgumentInvalid", "twice"},
		"dot in key":         {`{"tags":{"a.b":1}}`, "ArgumentInvalid", "key"},
		"dollar in key":      {`{"tags":{"a":{"$version":1}}}`, "ArgumentInvalid", "key"},
		"blank in key":       {`{"tags":{"a b":1}}`, "ArgumentInvalid", "key"},
		"control in key":     {`{"tags":{"a\u0085b":1}}`, "ArgumentInvalid", "control"},
		"long key":           {`{"tags":{"` + strings.Repeat("k", 1025) + `":1}}`, "ArgumentInvalid", "1024"},
		"long text":          {`{"tags":{"a":"` + strings.Repeat("é", 2049) + `"}}`, "ArgumentInvalid", "4096"},
		"large integer":      {`{"tags":{"a":4503599627370496}}`, "ArgumentInvalid", "4503599627370495"},
		"small integer":      {`{"tags":{"a":-4503599627370497}}`, "ArgumentInvalid", "-4503599627370496"},
		"huge number":        {`{"tags":{"a":1e400}}`, "ArgumentInvalid", "double"},
		"tiny number":        {`{"tags":{"a":1e-400}}`, "ArgumentInvalid", "double"},
		"long number":        {`{"tags":{"a":0.` + strings.Repeat("1", 200) + `}}`, "ArgumentInvalid", "128"},
		"U+0000":             {`{"tags":{"a":"\u0000"}}`, "ArgumentInvalid", "u0000"},
		"half a pair":        {`{"tags":{"a":"\ud800x"}}`, "DeserializationError", "escape"},
		"no UTF-8":           {"{\"tags\":{\"a\":\"\xff\"}}", "DeserializationError", "UTF-8"},
		"too deep":           {nest(11, `{"a":`, "}"), "ArgumentInvalid", "10 objects"},
		"too many arrays":    {nest(70, `[`, "]"), "ArgumentInvalid", "64"},
		"bomb":               {nest(100000, `[`, "]"), "ArgumentInvalid", "64"},
		"bomb where ignored": {`{"x":` + strings.Repeat("[", 100000) + `}`, "ArgumentInvalid", "64"},
		"tags too large":     {`{"tags":{"a":["` + strings.Repeat("x", 4096) + `","` + strings.Repeat("x", 4096) + `"]}}`, "ArgumentInvalid", "DeviceTwin too large"},
		"other id":           {`{"deviceId":"e"}`, "ArgumentInvalid", "'e'"},
		"other id in case":   {`{"deviceId":"D"}`, "ArgumentInvalid", "'D'"},
	} {
		for _, method := range []string{"PATCH", "PUT"} {
			s.send(method, "/twins/d", c.body).refused(method+" "+what, 400, c.code, c.word)
		}
	}
	s.send("PATCH", "/twins/d", `{"x":"`+strings.Repeat("x", 1<<20)+`"}`).refused("body", 413, "MessageTooLarge", "bytes")
	s.send("PATCH", "/twins/d", nest(10, `{"a":`, "}")).ok(200, nil)
	s.send("PATCH", "/twins/d", `{"tags":{"a":{"i":-4503599627370496,"j":4503599627370495,"f":1.5e300,"s":"\u0001\ud83d\ude00"}}}`).ok(200, nil)
	if s.logged.Len() > 0 {
		t.Errorf("errors of callers were logged: %s", s.logged)
	}
}

func TestBulkTwins(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		a := s.send("POST", "/devices", `[{"id":"a","importMode":"create","tags":{"x":1.0},"properties":{"desired":{"d":1}}},{"id":"b","tags":{},"properties":null},{"id":"c","tags":{"a.b":1}}]`)
		if a.ok(400, nil); !strings.Contains(a.body, `"errors":[{"deviceId":"c","errorCode":"ArgumentInvalid"`) || !strings.HasSuffix(a.body, `"warnings":[]}`) {
			t.Error(a.body)
		}
		s.send("GET", "/devices/c", "").refused("refused for its twin", 404, "DeviceNotFound")
		if a = s.send("GET", "/twins/a", ""); !strings.Contains(a.body, `"tags":{"x":1.0},"properties":{"desired":{"d":1,`) {
			t.Error(a.body)
		}
		a = s.send("POST", "/devices", `[{"id":"a","importMode":"updateTwin","tags":{"y":2}},{"id":"b","importMode":"updateTwinIfMatchETag","twinETag":"old","tags":{"y":2}},{"id":"z","importMode":"updateTwin","tags":{"y":2}}]`)
		if a.ok(400, nil); !strings.Contains(a.body, `{"deviceId":"z","errorCode":"DeviceNotFound"`) || !strings.Contains(a.body, `{"deviceId":"b","errorCode":"PreconditionFailed"`) || strings.Contains(a.body, `"deviceId":"a"`) {
			t.Error(a.body)
		}
		if a = s.send("GET", "/twins/a", ""); !strings.Contains(a.body, `"tags":{"x":1.0,"y":2}`) {
			t.Error(a.body)
		}
		s.send("POST", "/devices", `[{"id":"b","importMode":"updateTwinIfMatchETag","twinETag":"AAAAAAAAAAE=","tags":{"y":2}}]`).ok(200, nil)
	})
}
