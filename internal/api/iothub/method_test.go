package iothub_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

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
	t.Parallel() // it waits for seconds
	each(t, func(t *testing.T, s *site) {
		t.Parallel()
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
		for body, payload := range map[string]string{`{"methodName":"m","payload":null}`: "null", plain: "null", `{"methodName":"m","payload":"x","responseTimeoutInSeconds":null}`: `"x"`} {
			if a := s.send("POST", "/twins/d/modules/m/methods", body); a.status != 200 || a.body != `{"status":200,"payload":null}` || string(got.Payload) != payload {
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

// TestMethodOfDeviceThatIsGone shows that callers do not wait for a device that
// is deleted or disabled under them.
func TestMethodOfDeviceThatIsGone(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		for what, end := range map[string]func(){
			"disabled": func() { s.send("PUT", "/devices/d", `{"status":"disabled"}`, "If-Match", "*").ok(200, nil) },
			"deleted":  func() { s.send("DELETE", "/devices/d", "").ok(204, nil) },
			"bulk":     func() { s.send("POST", "/devices", `[{"id":"d","importMode":"delete"}]`).ok(200, nil) },
		} {
			s.send("PUT", "/devices/d", `{}`).ok(200, nil)
			called := make(chan struct{})
			s.conns.connect(iot.ID{Device: "d"}, func(*iot.Inbound) { close(called) })
			answers := make(chan answer)
			start := time.Now()
			go func() {
				answers <- s.send("POST", "/twins/d/methods", `{"methodName":"slow","responseTimeoutInSeconds":300}`)
			}()
			<-called
			end()
			a := <-answers
			a.refused(what, 404, "DeviceNotFound", "may have done")
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("%s: the caller waited for %v", what, took)
			}
			s.send("DELETE", "/devices/d", "")
		}
	})
}

// TestMethodCallerGone shows that nothing is kept of a call whose caller has
// hung up: the device may be called a hundred times at once, and is again.
func TestMethodCallerGone(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.send("PUT", "/devices/d", `{}`).ok(200, nil)
		const limit = 100
		for range 2 {
			called := make(chan struct{}, limit)
			s.conns.connect(iot.ID{Device: "d"}, func(*iot.Inbound) { called <- struct{}{} })
			ctx, hangUp := context.WithCancel(t.Context())
			var callers sync.WaitGroup
			for range limit {
				callers.Go(func() {
					req, err := http.NewRequestWithContext(ctx, "POST", s.url+"/twins/d/methods?"+version, strings.NewReader(`{"methodName":"slow","responseTimeoutInSeconds":300}`))
					if err != nil {
						t.Error(err)
						return
					}
					req.Header.Set("Authorization", s.token("service"))
					if resp, err := http.DefaultClient.Do(req); err == nil {
						resp.Body.Close()
						t.Errorf("an answer: %d", resp.StatusCode)
					}
				})
			}
			for range limit {
				<-called
			}
			s.send("POST", "/twins/d/methods", `{"methodName":"one"}`).structured("one too many", 403, 403800, "100", "")
			hangUp()
			callers.Wait()
			s.conns.connect(iot.ID{Device: "d"}, func(in *iot.Inbound) { s.commands.Reply(iot.ID{Device: "d"}, []byte(in.Request), 200, nil) })
			// The server hears of it a moment later.
			end := time.Now().Add(10 * time.Second)
			for a := s.send("POST", "/twins/d/methods", `{"methodName":"one"}`); a.status != 200; a = s.send("POST", "/twins/d/methods", `{"methodName":"one"}`) {
				if time.Now().After(end) {
					t.Fatalf("calls are still counted: %d %s", a.status, a.body)
				}
			}
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
