package iothub_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"dunlin/internal/iot"
)

// query sends a query; headers come as name and value in turn.
func (s *site) query(text string, headers ...string) answer {
	s.t.Helper()
	body, err := json.Marshal(map[string]string{"query": text})
	if err != nil {
		s.t.Fatal(err)
	}
	return s.send("POST", "/devices/query", string(body), headers...)
}

func TestQueryDevices(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		for i := range 5 {
			s.send("PUT", fmt.Sprintf("/devices/d%d", i), fmt.Sprintf(`{"deviceId":"d%d"}`, i))
		}
		s.send("PUT", "/devices/d1/modules/m", `{"deviceId":"d1","moduleId":"m"}`)
		s.send("PATCH", "/twins/d1", `{"tags":{"site":"Oslo","n":1}}`)
		s.send("PATCH", "/twins/d3", `{"tags":{"site":"Oslo","n":2}}`)
		s.send("PATCH", "/twins/d1/modules/m", `{"tags":{"site":"Rome"}}`)
		s.conns.mu.Lock()
		s.conns.online[iot.ID{Device: "d3"}] = time.Now()
		s.conns.mu.Unlock()

		a := s.query("SELECT * FROM devices WHERE tags.site = 'Oslo' AND tags.n > 1")
		if a.status != http.StatusOK || a.header.Get("x-ms-item-type") != "Twin" || a.header.Get("Content-Type") != "application/json; charset=utf-8" {
			t.Fatalf("%d %v %s", a.status, a.header, a.body)
		}
		// A row of SELECT * is what the read of the twin gives, live connection included.
		if got, want := a.body, "["+s.send("GET", "/twins/d3", "").body+"]"; got != want || !strings.Contains(got, `"connectionState":"Connected"`) {
			t.Errorf("the query gives\n%s\nand the twin is\n%s", got, want)
		}
		if _, ok := a.header["X-Ms-Continuation"]; ok {
			t.Error("a continuation, but there is no further page")
		}
		a = s.query("SELECT moduleId, tags.site FROM devices.modules WHERE IS_DEFINED(tags.site)")
		if a.body != `[{"moduleId":"m","site":"Rome"}]` || a.header.Get("x-ms-item-type") != "Raw" {
			t.Errorf("%v %s", a.header, a.body)
		}
		a = s.query("SELECT COUNT() AS n, tags.site FROM devices GROUP BY tags.site")
		if a.body != `[{"n":3},{"n":2,"site":"Oslo"}]` {
			t.Error(a.body)
		}
		a = s.query("SELECT * FROM devices.jobs")
		if a.body != "[]" || a.header.Get("x-ms-item-type") != "DeviceJob" {
			t.Errorf("%v %s", a.header, a.body)
		}
		a = s.query("SELECT * FROM devices WHERE tag.site = 'Oslo'")
		if a.body != "[]" || !strings.Contains(a.header.Get("x-dunlin-note"), "did you mean tags?") {
			t.Errorf("%v %s", a.header, a.body)
		}
	})
}

func TestQueryPages(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		for i := range 7 {
			s.send("PUT", fmt.Sprintf("/devices/d%d", i), fmt.Sprintf(`{"deviceId":"d%d"}`, i))
		}
		const text = "SELECT deviceId FROM devices"
		var seen []string
		var token string
		for page := range 10 {
			a := s.query(text, "x-ms-max-item-count", "3", "x-ms-continuation", token)
			seen = append(seen, a.body)
			if token = a.header.Get("x-ms-continuation"); token == "" {
				break
			}
			// What is written between pages neither repeats nor hides rows.
			s.send("DELETE", fmt.Sprintf("/devices/d%d", page*3), "")
			s.send("PUT", fmt.Sprintf("/devices/c%d", page), fmt.Sprintf(`{"deviceId":"c%d"}`, page))
		}
		want := `[{"deviceId":"d0"},{"deviceId":"d1"},{"deviceId":"d2"}] [{"deviceId":"d3"},{"deviceId":"d4"},{"deviceId":"d5"}] [{"deviceId":"d6"}]`
		if got := strings.Join(seen, " "); got != want {
			t.Errorf("pages %s", got)
		}
	})
}

func TestQueryRefused(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.send("PUT", "/devices/d", `{"deviceId":"d"}`)
		s.send("PUT", "/devices/e", `{"deviceId":"e"}`)
		token := s.query("SELECT * FROM devices", "x-ms-max-item-count", "1").header.Get("x-ms-continuation")
		if token == "" || len(token) > 4096 {
			t.Fatalf("token %q", token)
		}
		for name, c := range map[string]struct {
			a    answer
			code string
			text string
		}{
			"no JSON":       {s.send("POST", "/devices/query", "SELECT"), "DeserializationError", "not valid JSON"},
			"no query":      {s.send("POST", "/devices/query", "{}"), "ArgumentNull", "the body has no query"},
			"not a text":    {s.send("POST", "/devices/query", `{"query":5}`), "ArgumentInvalid", "query has the wrong JSON type"},
			"a slip":        {s.query("SELECT * FORM devices"), "ArgumentInvalid", "at character 10: FROM is expected, not 'FORM' (did you mean FROM?)"},
			"a semicolon":   {s.query("SELECT * FROM devices; DROP TABLE device"), "ArgumentInvalid", "a query has no semicolon"},
			"too long":      {s.query("SELECT * FROM devices WHERE deviceId = '" + strings.Repeat("x", 8192) + "'"), "ArgumentInvalid", "longer than 8192 characters"},
			"1 MB":          {s.query(strings.Repeat("x", 1<<20)), "MessageTooLarge", "larger than"},
			"nested":        {s.query("SELECT * FROM devices WHERE " + strings.Repeat("(", 1000) + "a = 1" + strings.Repeat(")", 1000)), "ArgumentInvalid", "nested deeper than 64"},
			"a page of 0":   {s.query("SELECT * FROM devices", "x-ms-max-item-count", "0"), "ArgumentInvalid", "x-ms-max-item-count '0' is not valid"},
			"a token":       {s.query("SELECT * FROM devices", "x-ms-continuation", "zzz"), "ArgumentInvalid", "the continuation token is not valid"},
			"another query": {s.query("SELECT deviceId FROM devices", "x-ms-continuation", token), "ArgumentInvalid", "belongs to another query"},
		} {
			if c.a.status < 400 || c.a.status > 413 || c.a.header.Get("iothub-errorcode") != c.code || !strings.Contains(c.a.body, c.text) {
				t.Errorf("%s: %d %s", name, c.a.status, c.a.body)
			}
		}
	})
}

// TestQueryInjection shows that what a caller writes stays a value or a name.
func TestQueryInjection(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.send("PUT", "/devices/d", `{"deviceId":"d"}`)
		s.send("PATCH", "/twins/d", `{"tags":{"a'--":{"b\"]":"x' OR '1'='1"},"?":"?","$1x":1}}`)
		if a := s.send("PATCH", "/twins/d", `{"tags":{"a'--":{"b\"]":"x' OR '1'='1"},"?":"?"}}`); a.status != http.StatusOK {
			t.Fatal(a.body)
		}
		for text, want := range map[string]string{
			`SELECT deviceId FROM devices WHERE deviceId = "x' OR '1'='1"`:                           "[]",
			`SELECT deviceId FROM devices WHERE tags.[[a'--]].[[b"]]] = "x' OR '1'='1"`:              "",
			`SELECT deviceId FROM devices WHERE tags.[[?]] = '?'`:                                    `[{"deviceId":"d"}]`,
			`SELECT deviceId FROM devices WHERE tags.[[a') OR TRUE --]] = 'x'`:                       "[]",
			`SELECT deviceId FROM devices WHERE tags.[[a"]') OR TRUE --]] = 'x'`:                     "[]",
			`SELECT COUNT() AS n FROM devices WHERE tags.[[?]] IN ["'; DROP TABLE device; --", '?']`: `[{"n":1}]`,
			`SELECT tags.[[?]] AS "a'b\"c;" FROM devices WHERE CONTAINS(tags.[[?]], '?')`:            `[{"a'b\"c;":"?"}]`,
			`SELECT deviceId FROM devices WHERE STARTS_WITH(deviceId, '%') OR deviceId = '_'`:        "[]",
			"SELECT deviceId FROM devices WHERE deviceId > '\x00' OR deviceId = 'd'":                 `[{"deviceId":"d"}]`,
		} {
			a := s.query(text)
			if want != "" && a.body != want {
				t.Errorf("%s: %s", text, a.body)
			}
			if a.status >= 500 {
				t.Errorf("%s: %d %s", text, a.status, a.body)
			}
		}
	})
}

// TestQueryMessageCounts: the number of messages that wait is a member as any.
func TestQueryMessageCounts(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		for i := range 4 {
			s.send("PUT", fmt.Sprintf("/devices/d%d", i), `{}`).ok(200, nil)
			for range i {
				s.send("POST", "/messages/devicebound", "x", "Content-Type", "", "iothub-to", fmt.Sprintf("/devices/d%d/messages/devicebound", i)).ok(204, nil)
			}
		}
		s.send("PUT", "/devices/d0/modules/m", `{}`).ok(201, nil)
		s.send("POST", "/messages/devicebound", "x", "Content-Type", "", "iothub-to", "/devices/d0/modules/m/messages/devicebound").ok(204, nil)
		for text, want := range map[string]string{
			"SELECT deviceId, cloudToDeviceMessageCount FROM devices WHERE cloudToDeviceMessageCount > 1": `[{"deviceId":"d2","cloudToDeviceMessageCount":2},{"deviceId":"d3","cloudToDeviceMessageCount":3}]`,
			"SELECT deviceId FROM devices WHERE cloudToDeviceMessageCount = 0":                            `[{"deviceId":"d0"}]`,
			"SELECT COUNT() AS n, SUM(cloudToDeviceMessageCount) AS sum FROM devices":                     `[{"n":4,"sum":6}]`,
			"SELECT moduleId, cloudToDeviceMessageCount FROM devices.modules":                             `[{"moduleId":"m","cloudToDeviceMessageCount":1}]`,
		} {
			if a := s.query(text); a.status != http.StatusOK || a.body != want {
				t.Errorf("%s: %d %s, want %s", text, a.status, a.body, want)
			}
		}
		if a := s.query("SELECT * FROM devices WHERE deviceId = 'd3'"); !strings.Contains(a.body, `"cloudToDeviceMessageCount":3,`) {
			t.Error(a.body)
		}
		s.send("DELETE", "/devices/d3/commands", "").ok(200, nil)
		if a := s.query("SELECT deviceId FROM devices WHERE cloudToDeviceMessageCount > 2"); a.body != "[]" {
			t.Error(a.body)
		}
		if a := s.send("GET", "/twins/d2", ""); !strings.Contains(a.body, `"cloudToDeviceMessageCount":2,`) {
			t.Error(a.body)
		}
	})
}
