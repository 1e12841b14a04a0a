package iothub_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"dunlin/internal/iot"
)

// structured reads the JSON text that the errors of methods carry.
func (a answer) structured(what string, status, code int, text, timeout string) {
	a.t.Helper()
	var outer struct{ Message, ExceptionMessage *string }
	var inner struct {
		ErrorCode    int
		TrackingID   string `json:"trackingId"`
		Message      string
		TimestampUtc string
		Info         *struct{ Timeout string }
	}
	if err := json.Unmarshal([]byte(a.body), &outer); err != nil || outer.Message == nil || outer.ExceptionMessage == nil {
		a.t.Fatalf("%s: %d %s", what, a.status, a.body)
	}
	if err := json.Unmarshal([]byte(*outer.Message), &inner); err != nil {
		a.t.Fatalf("%s: %d %s", what, a.status, a.body)
	}
	if a.status != status || inner.ErrorCode != code || !strings.Contains(inner.Message, text) || inner.TrackingID == "" || !strings.HasSuffix(inner.TimestampUtc, "Z") ||
		(timeout != "") != (inner.Info != nil) || (inner.Info != nil && inner.Info.Timeout != timeout) {
		a.t.Errorf("%s: %d %s", what, a.status, a.body)
	}
}

func TestInvokeMethod(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.send("PUT", "/devices/d", `{}`).ok(200, nil)
		s.send("PUT", "/devices/d/modules/m", `{}`).ok(201, nil)
		s.send("PUT", "/devices/off", `{"status":"disabled"}`).ok(200, nil)
		device, module := iot.ID{Device: "d"}, iot.ID{Device: "d", Module: "m"}
		const plain = `{"methodName":"reboot"}`
		s.send("POST", "/twins/d/methods", plain).structured("offline", 404, 404103, "Timed out waiting for device to connect.", "00:00:00")
		s.send("POST", "/twins/d/methods", `{"methodName":"x","connectTimeoutInSeconds":1}`).structured("offline", 404, 404103, "to connect", "00:00:01")
		s.send("POST", "/twins/nobody/methods", plain).refused("unknown", 404, "DeviceNotFound", "nobody")
		s.send("POST", "/twins/d/modules/n/methods", plain).refused("unknown", 404, "ModuleNotFound", "module n")
		s.send("POST", "/twins/off/methods", plain).refused("disabled", 404, "DeviceNotFound", "disabled")
		s.send("POST", "/twins/a%20b/methods", plain).refused("bad id", 400, "ArgumentInvalid")

		var got iot.Inbound
		s.conns.connect(device, func(in *iot.Inbound) {
			got = *in
			s.commands.Reply(device, []byte(in.Request), 201, []byte(`{"done":true}`))
		})
		a := s.send("POST", "/twins/d/methods", `{"methodName":"reboot","payload":{"in":[1, 2]},"responseTimeoutInSeconds":300,"connectTimeoutInSeconds":0}`)
		if a.ok(200, nil); a.body != `{"status":201,"payload":{"done":true}}` || got.Method != "reboot" || string(got.Payload) != `{"in":[1, 2]}` {
			t.Errorf("%s, %+v", a.body, got)
		}
		s.conns.connect(module, func(in *iot.Inbound) {
			got = *in
			s.commands.Reply(module, []byte(in.Request), 200, nil)
		})
		for body, payload := range map[string]string{`{"methodName":"m","payload":null}`: "null", plain: "", `{"methodName":"m","payload":"x","responseTimeoutInSeconds":null}`: `"x"`} {
			if a := s.send("POST", "/twins/d/modules/m/methods", body); a.status != 200 || a.body != `{"status":200,"payload":null}` || string(got.Payload) != payload || (payload == "") != (got.Payload == nil) {
				t.Errorf("%s: %d %s, %q", body, a.status, a.body, got.Payload)
			}
		}
		s.conns.connect(device, func(in *iot.Inbound) { s.commands.Reply(device, []byte(in.Request), 200, []byte("no JSON")) })
		s.send("POST", "/twins/d/methods", plain).structured("bad answer", 502, 502101, "not valid JSON", "")
		s.conns.connect(device, func(*iot.Inbound) {})
		a = s.send("POST", "/twins/d/methods", `{"methodName":"slow","responseTimeoutInSeconds":5}`)
		a.structured("no answer", 504, 504101, "Timed out waiting for the response from device.", "00:00:05")
		if a.header.Get("iothub-errorcode") != "GatewayTimeout" {
			t.Error(a.header)
		}
		s.commands.Drain()
		if a := s.send("POST", "/twins/d/methods", plain); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Errorf("while stopping: %d %s", a.status, a.body)
		}
	})
}

func TestInvokeMethodRefuses(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.send("PUT", "/devices/d", `{}`).ok(200, nil)
		for body, want := range map[string]struct{ code, word string }{
			``:                             {"ArgumentNull", "empty"},
			`{}`:                           {"ArgumentInvalid", "methodName"},
			`{"methodName":7}`:             {"ArgumentInvalid", "methodName"},
			`{"methodName":"a b"}`:         {"ArgumentInvalid", "a b"},
			`{"methodName":"m","x":[}`:     {"DeserializationError", "JSON"},
			`{"methodName":"m","payload":`: {"DeserializationError", "JSON"},
			`{"methodName":"m","responseTimeoutInSeconds":4}`:      {"ArgumentInvalid", "from 5 to 300"},
			`{"methodName":"m","responseTimeoutInSeconds":0}`:      {"ArgumentInvalid", "default"},
			`{"methodName":"m","responseTimeoutInSeconds":-1}`:     {"ArgumentInvalid", "from 5 to 300"},
			`{"methodName":"m","responseTimeoutInSeconds":7.5}`:    {"ArgumentInvalid", "number"},
			`{"methodName":"m","responseTimeoutInSeconds":1e99}`:   {"ArgumentInvalid", "number"},
			`{"methodName":"m","responseTimeoutInSeconds":"soon"}`: {"ArgumentInvalid", ""},
			`{"methodName":"m","connectTimeoutInSeconds":301}`:     {"ArgumentInvalid", "from 0 to 300"},
		} {
			s.send("POST", "/twins/d/methods", body).refused(body, 400, want.code, want.word)
		}
		large := `{"methodName":"m","payload":"` + strings.Repeat("x", 128<<10) + `"}`
		s.send("POST", "/twins/d/methods", large).refused("large payload", 413, "MessageTooLarge", "131072")
	})
}
