package iothub_test

import (
	"net/http"
	"strings"
	"testing"

	"dunlin/internal/iot"
	"dunlin/internal/things/twin"
)

// reports makes the change that a device reports.
func (s *site) reports(id iot.ID, patch string) {
	s.t.Helper()
	var d struct {
		GenerationID uint64 `json:"generationId,string"`
	}
	path := "/devices/" + id.Device
	if id.IsModule() {
		path += "/modules/" + id.Module
	}
	s.send("GET", path, "").ok(200, &d)
	done := make(chan error, 1)
	s.twins.Report(twin.Key{ID: id, Generation: d.GenerationID}, []byte(patch), 0, func(_ int64, err error) { done <- err })
	if err := <-done; err != nil {
		s.t.Fatal(err)
	}
}

func TestDigitalTwin(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.send("GET", "/digitaltwins/d", "").refused("unknown", 404, "DeviceNotFound", "d")
		s.send("PATCH", "/digitaltwins/d", `[]`).refused("unknown", 404, "DeviceNotFound", "d")
		s.send("PUT", "/devices/d", `{}`).ok(200, nil)
		s.send("PUT", "/devices/d/modules/m", `{}`).ok(201, nil)
		a := s.send("GET", "/digitaltwins/d", "")
		if a.ok(200, nil); a.body != `{"$dtId":"d","$metadata":{"$model":""}}` || a.header.Get("ETag") != `"AAAAAAAAAAE="` {
			t.Errorf("%s %v", a.body, a.header)
		}
		var told []string
		s.conns.connect(iot.ID{Device: "d"}, func(in *iot.Inbound) { told = append(told, string(in.Patch)) })
		a = s.send("PATCH", "/digitaltwins/d", `[{"op":"add","path":"/thermostat1/targetTemperature","value":21.50}]`, "If-Match", `"AAAAAAAAAAE="`)
		location := "https://" + strings.TrimPrefix(s.url, "http://") + "/digitaltwins/d"
		if a.status != http.StatusAccepted || a.body != "" || a.header.Get("ETag") != `"AAAAAAAAAAI="` || a.header.Get("Location") != location || a.header.Get("x-ms-request-id") == "" {
			t.Errorf("%d %s %v", a.status, a.body, a.header)
		}
		if len(told) != 1 || told[0] != `{"thermostat1":{"__t":"c","targetTemperature":21.50},"$version":2}` {
			t.Errorf("told %s", told)
		}
		s.reports(iot.ID{Device: "d"}, `{"thermostat1":{"__t":"c","targetTemperature":{"value":21.50,"ac":200,"av":2,"ad":"ok"}}}`)
		var view struct {
			ID         string `json:"$dtId"`
			Thermostat struct {
				Target float64 `json:"targetTemperature"`
				Meta   struct {
					Target struct {
						DesiredValue                        float64
						DesiredVersion, AckVersion, AckCode int
						AckDescription, LastUpdateTime      string
					} `json:"targetTemperature"`
				} `json:"$metadata"`
			} `json:"thermostat1"`
		}
		s.send("GET", "/digitaltwins/d", "").ok(200, &view)
		m := view.Thermostat.Meta.Target
		if view.ID != "d" || view.Thermostat.Target != 21.5 || m.DesiredValue != 21.5 || m.DesiredVersion != 2 || m.AckVersion != 2 || m.AckCode != 200 ||
			m.AckDescription != "ok" || !strings.HasSuffix(m.LastUpdateTime, "Z") {
			t.Errorf("%+v", view)
		}
		// Every form of If-Match; the twin of a module.
		for _, match := range []string{`"*"`, "*", `"AAAAAAAAAAI="`, "AAAAAAAAAAI=", `W/"AAAAAAAAAAI="`} {
			if a := s.send("PATCH", "/digitaltwins/d", `[]`, "If-Match", match); a.status != http.StatusAccepted {
				t.Errorf("If-Match %s: %d %s", match, a.status, a.body)
			}
		}
		s.send("PATCH", "/digitaltwins/d", `[]`, "If-Match", `"AAAAAAAAAAE="`).refused("stale", 412, "PreconditionFailed", "ETag")
		if a := s.send("PATCH", "/digitaltwins/d~m", `[{"op":"add","path":"/p","value":1}]`); a.status != http.StatusAccepted {
			t.Errorf("module: %d %s", a.status, a.body)
		}
		if a := s.send("GET", "/digitaltwins/d~m", ""); !strings.Contains(a.body, `"$dtId":"d~m"`) || !strings.Contains(a.body, `"desiredValue":1`) {
			t.Error(a.body)
		}
		s.send("GET", "/digitaltwins/d~n", "").refused("unknown module", 404, "ModuleNotFound", "n")
		s.send("GET", "/digitaltwins/a%20b", "").refused("bad id", 400, "ArgumentInvalid")
		s.send("GET", "/digitaltwins/d?api-version=2019-10-01", "").refused("old version", 400, "InvalidProtocolVersion", "2020-09-30")
		for body, code := range map[string]string{
			`{}`: "InvalidDigitalTwinJsonPatch", `[{"op":"add","path":"/a","value":null}]`: "InvalidDigitalTwinPayload",
			`[{"op":"remove","path":"/a"}]`: "InvalidDigitalTwinPatch", `[{"op":"add","path":"/$metadata","value":1}]`: "InvalidDigitalTwinPatchPath",
			` `: "ArgumentNull",
		} {
			s.send("PATCH", "/digitaltwins/d", body).refused(body, 400, code)
		}
	})
}

func TestDigitalTwinCommands(t *testing.T) {
	t.Parallel() // it waits for seconds
	each(t, func(t *testing.T, s *site) {
		t.Parallel()
		s.send("PUT", "/devices/d", `{}`).ok(200, nil)
		device := iot.ID{Device: "d"}
		s.send("POST", "/digitaltwins/d/commands/reboot?"+version+"&connectTimeoutInSeconds=1", "5").structured("offline", 404, 404103, "to connect", "00:00:01")
		s.send("POST", "/digitaltwins/nobody/commands/reboot", "5").refused("unknown", 404, "DeviceNotFound", "nobody")
		var got iot.Inbound
		status, payload := 200, `{"max":25.30}`
		s.conns.connect(device, func(in *iot.Inbound) {
			got = *in
			s.commands.Reply(device, []byte(in.Request), status, []byte(payload))
		})
		for _, c := range []struct{ path, body, method, payload string }{
			{"/commands/reboot", `5`, "reboot", `5`},
			{"/commands/reboot", `"{\"a\":1}"`, "reboot", `"{\"a\":1}"`}, // a text stays a text
			{"/components/thermostat1/commands/getMaxMinReport", `"2020-01-01"`, "thermostat1*getMaxMinReport", `"2020-01-01"`},
			{"/components/thermostat1/commands/get?" + version + "&connectTimeoutInSeconds=5&responseTimeoutInSeconds=7", `{ "a": [1, 2] }`, "thermostat1*get", `{ "a": [1, 2] }`},
			{"/commands/thermostat1*get", `null`, "thermostat1*get", `null`},
			{"/commands/none", ``, "none", `null`},
		} {
			a := s.send("POST", "/digitaltwins/d"+c.path, c.body)
			if a.ok(200, nil); a.body != payload || a.header.Get("x-ms-command-statuscode") != "200" || got.Method != c.method || string(got.Payload) != c.payload {
				t.Errorf("%s %s: %s %v; the device got %s %s", c.path, c.body, a.body, a.header, got.Method, got.Payload)
			}
		}
		status, payload = 404, ""
		if a := s.send("POST", "/digitaltwins/d/commands/x", `{}`); a.status != 200 || a.body != "null" || a.header.Get("x-ms-command-statuscode") != "404" {
			t.Errorf("%d %s %v", a.status, a.body, a.header)
		}
		s.send("POST", "/digitaltwins/d/commands/x?"+version+"&responseTimeoutInSeconds=4", "1").refused("too short", 400, "ArgumentInvalid", "from 5 to 300")
		s.send("POST", "/digitaltwins/d/commands/x?"+version+"&connectTimeoutInSeconds=soon", "1").refused("no number", 400, "ArgumentInvalid", "soon")
		s.send("POST", "/digitaltwins/d/components/a*b/commands/x", "1").refused("component", 400, "ArgumentInvalid", "asterisk")
		s.send("POST", "/digitaltwins/d/commands/a%20b", "1").refused("name", 400, "ArgumentInvalid", "a b")
		s.send("POST", "/digitaltwins/d/commands/x", "{").refused("no JSON", 400, "DeserializationError", "JSON")
		s.conns.connect(device, func(*iot.Inbound) {})
		s.send("POST", "/digitaltwins/d/commands/slow?"+version+"&responseTimeoutInSeconds=5", "1").structured("no answer", 504, 504101, "Timed out", "00:00:05")
	})
}
