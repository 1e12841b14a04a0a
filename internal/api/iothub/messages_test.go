package iothub_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"dunlin/internal/engine/eventlog"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
	"dunlin/internal/wire/record"
	"dunlin/internal/wire/sas"
)

// deviceToken makes a token for a device, or a path below one, signed with its key.
func (s *site) deviceToken(id string) string {
	s.t.Helper()
	var d struct {
		Authentication struct{ SymmetricKey struct{ PrimaryKey string } }
	}
	s.send("GET", "/devices/"+id, "").ok(200, &d)
	key, err := base64.StdEncoding.DecodeString(d.Authentication.SymmetricKey.PrimaryKey)
	if err != nil {
		s.t.Fatal(err)
	}
	return sas.Sign(hubName+"/devices/"+id, key, time.Now().Add(time.Hour), "")
}

// records shows what the log holds, properties in the order of the record.
func (s *site) records() []string {
	s.t.Helper()
	var list []string
	var e record.Event
	for r, err := range s.log.Read(s.t.Context(), 0, eventlog.ReadOptions{}) {
		if err != nil {
			s.t.Fatal(err)
		}
		if err := record.Decode(r.Data, &e); err != nil {
			s.t.Fatal(err)
		}
		text := e.Origin.ID.String() + ":" + string(e.Body)
		for _, p := range e.System {
			text += fmt.Sprintf(" [%s]=%s", p.Key, p.Value)
		}
		for _, p := range e.Properties {
			text += fmt.Sprintf(" %s=%s", p.Name, p.Value)
		}
		list = append(list, text)
	}
	return list
}

func TestTelemetry(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.send("PUT", "/devices/d", `{}`).ok(200, nil)
		s.send("PUT", "/devices/d/modules/m", `{}`).ok(201, nil)
		token := s.deviceToken("d")
		s.send("POST", "/devices/d/messages/events", "21.5", "Authorization", token, "Content-Type", "",
			"iothub-to", "/devices/d/messages/events", "iothub-app-p", "v 1", "IoTHub-MessageId", "mid 1", "IoTHub-CorrelationId", "cid/1", "IoTHub-UserId", "u",
			"iothub-contenttype", "application/json", "iothub-contentencoding", "utf-8", "dt-subject", "comp1", "iothub-app-iothub-creation-time-utc", "2026-01-01").ok(204, nil)
		s.send("POST", "/devices/d/messages/events", "", "Authorization", token).ok(204, nil)
		s.send("POST", "/devices/d/modules/m/messages/events?api-version=2016-11-14", "m", "Authorization", s.token("device")).ok(204, nil)
		batch := `[{"body":"aGk="},{"body":"plain","base64Encoded":false,"properties":{"iothub-app-B":"2","iothub-messageid":"x","own":"3","n":1.50,"t":true}},{"body":"aGk=","base64Encoded":true,"properties":null}]`
		s.send("POST", "/devices/d/messages/events", batch, "Authorization", token, "Content-Type", "application/vnd.microsoft.iothub.json").ok(204, nil)
		want := []string{
			"d:21.5 [dt-subject]=comp1 [iothub-creation-time-utc]=2026-01-01 [content-encoding]=utf-8 [content-type]=application/json [correlation-id]=cid/1 [message-id]=mid 1 [user-id]=u p=v 1",
			"d:", "d/m:m", "d:hi", "d:plain [message-id]=x B=2 own=3 n=1.50 t=true", "d:hi",
		}
		if got := s.records(); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		// Whoever comes over HTTPS is not connected.
		var d device
		s.send("GET", "/devices/d", "").ok(200, &d)
		if d.ConnectionState != "Disconnected" || s.presence.Connected() != 0 {
			t.Error(d.ConnectionState)
		}
		full := strings.Repeat("x", 256<<10-3)
		s.send("POST", "/devices/d/messages/events", full, "Authorization", token, "iothub-app-ab", "c").ok(204, nil)
		s.send("POST", "/devices/d/messages/events", full, "Authorization", token, "iothub-app-ab", "cd").refused("size", 413, "MessageTooLarge", "262145", "262144")
		s.send("POST", "/devices/d/messages/events", full+"xxxx", "Authorization", token).refused("size", 413, "MessageTooLarge", "262144")
	})
}

func TestTelemetryRefuses(t *testing.T) {
	s := newSite(t, statetest.SQLite(t))
	s.send("PUT", "/devices/d", `{}`).ok(200, nil)
	s.send("PUT", "/devices/off", `{}`).ok(200, nil)
	s.send("PUT", "/devices/x", `{"authentication":{"type":"certificateAuthority"}}`).ok(200, nil)
	token, off := s.deviceToken("d"), s.deviceToken("off")
	s.send("PUT", "/devices/off", `{"status":"disabled"}`, "If-Match", "*").ok(200, nil)
	wrong := sas.Sign(hubName+"/devices/d", []byte("0123456789abcdef"), time.Now().Add(time.Hour), "")
	for _, c := range []struct {
		name, path, token string
		status            int
		code, word        string
	}{
		{"no token", "/devices/d/messages/events", "", 401, "IotHubUnauthorizedAccess", "Authorization header missing"},
		{"no signature", "/devices/d/messages/events", "Basic x", 401, "IotHubUnauthorizedAccess", "shared access signature"},
		{"wrong key", "/devices/d/messages/events", wrong, 401, "IotHubUnauthorizedAccess", "do not prove"},
		{"wrong type", "/devices/x/messages/events", strings.ReplaceAll(wrong, "devices%2Fd", "devices%2Fx"), 401, "IotHubUnauthorizedAccess", "do not prove"},
		{"unknown device", "/devices/e/messages/events", strings.ReplaceAll(wrong, "devices%2Fd", "devices%2Fe"), 401, "IotHubUnauthorizedAccess", "do not prove"},
		{"another device", "/devices/e/messages/events", token, 401, "IotHubUnauthorizedAccess", "the token is for"},
		{"disabled", "/devices/off/messages/events", off, 401, "IotHubUnauthorizedAccess", "disabled"},
		{"policy, unknown device", "/devices/e/messages/events", s.token("device"), 404, "DeviceNotFound", "'e'"},
		{"policy, unknown module", "/devices/d/modules/e/messages/events", s.token("iothubowner"), 404, "ModuleNotFound", "'e'"},
		{"weak policy", "/devices/d/messages/events", s.token("service"), 401, "IotHubUnauthorizedAccess", "DeviceConnect"},
		{"no api-version", "/devices/d/messages/events?", token, 400, "InvalidProtocolVersion", "missing"},
	} {
		a := s.send("POST", c.path, "x", "Authorization", c.token)
		a.refused(c.name, c.status, c.code, c.word)
	}
	expired := sas.Sign(hubName, []byte("0123456789abcdef"), time.Now().Add(-time.Hour), "device")
	s.send("POST", "/devices/d/messages/events", "x", "Authorization", expired).refused("expired", 401, "IotHubUnauthorizedAccess")
	for body, word := range map[string]string{
		``: "JSON", `[]`: "empty", `{}`: "array", `[{"body":"?"}]`: "message 0", `[1]`: "array", `[{"body":1}]`: "array",
		`[{"body":"aGk=","properties":{"a":{}}}]`: "property", `[{"body":"aGk=","properties":[]}]`: "properties", "[{\"body\":\"\xff\"}]": "UTF-8",
		`[{"body":"` + strings.Repeat("AAAA", 60_000) + `"},{"body":"` + strings.Repeat("AAAA", 60_000) + `"}]`: "all together is 262144",
		`[{"body":"` + strings.Repeat("AAAA", 300_000) + `"}]`:                                                  "larger than 1048576",
	} {
		a := s.send("POST", "/devices/d/messages/events", body, "Authorization", token, "Content-Type", "application/vnd.microsoft.iothub.json; charset=utf-8")
		if (a.status != 400 && a.status != 413) || !strings.Contains(a.body, word) {
			t.Errorf("%.60s: %d %s", body, a.status, a.body)
		}
	}
	s.send("GET", "/devices/d/messages/events", "", "Authorization", token).refused("method", 405, "GenericMethodNotAllowed", "POST")
	if got := s.records(); len(got) != 0 {
		t.Errorf("stored: %v", got)
	}
	// A token that was good stops being so as soon as the key changes.
	s.send("POST", "/devices/d/messages/events", "x", "Authorization", token).ok(204, nil)
	s.send("PUT", "/devices/d", `{"authentication":{"symmetricKey":{"primaryKey":"AAAAAAAAAAAAAAAAAAAAAA==","secondaryKey":"AAAAAAAAAAAAAAAAAAAAAA=="}}}`, "If-Match", "*").ok(200, nil)
	s.presence.Kick(iot.ID{Device: "d"}, nil)
	s.send("POST", "/devices/d/messages/events", "x", "Authorization", token).refused("old key", 401, "IotHubUnauthorizedAccess")
}

// TestTelemetryBackPressure has a log that cannot go on.
func TestTelemetryBackPressure(t *testing.T) {
	s := newSite(t, statetest.SQLite(t))
	s.send("PUT", "/devices/d", `{}`).ok(200, nil)
	token := s.deviceToken("d")
	if err := s.log.Close(); err != nil {
		t.Fatal(err)
	}
	a := s.send("POST", "/devices/d/messages/events", "x", "Authorization", token)
	if a.refused("closed log", 503, "ServiceUnavailable", "send them again"); a.header.Get("Retry-After") == "" {
		t.Error(a.header)
	}
}

// etag takes the quotes off, as SDKs do.
func (a answer) etag() string {
	a.t.Helper()
	e := a.header.Get("ETag")
	if len(e) < 3 || e[0] != '"' || e[len(e)-1] != '"' {
		a.t.Fatalf("ETag %s", e)
	}
	return e[1 : len(e)-1]
}

func TestSendMessage(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.send("PUT", "/devices/d%231", `{}`).ok(200, nil)
		s.send("PUT", "/devices/d%231/modules/m", `{}`).ok(201, nil)
		device := s.token("device")
		s.send("POST", "/messages/devicebound", "hello", "iothub-to", "/devices/d%231/messages/deviceBound", "Content-Type", "text/plain",
			"iothub-messageid", "m1", "iothub-correlationid", "c", "iothub-userid", "u", "iothub-expiry", time.Now().Add(time.Hour).UTC().Format(time.RFC3339),
			"iothub-contenttype", "text/plain", "iothub-contentencoding", "utf-8", "iothub-ack", "full", "iothub-app-colour", "é").ok(204, nil)
		a := s.send("GET", "/devices/d%231/messages/devicebound", "", "Authorization", device)
		h := a.header
		if a.status != 200 || a.body != "hello" || h.Get("iothub-to") != "/devices/d#1/messages/devicebound" || h.Get("iothub-messageid") != "m1" || h.Get("iothub-correlationid") != "c" ||
			h.Get("iothub-userid") != "u" || h.Get("iothub-expiry") == "" || h.Get("iothub-contenttype") != "text/plain" || h.Get("ContentType") != "text/plain" ||
			h.Get("iothub-contentencoding") != "utf-8" || h.Get("ContentEncoding") != "utf-8" || h.Get("iothub-ack") != "full" || h.Get("iothub-app-colour") != "é" ||
			h.Get("iothub-sequencenumber") != "1" || h.Get("iothub-deliverycount") != "0" || h.Get("iothub-enqueuedtime") == "" || h.Get("Content-Type") != "application/octet-stream" {
			t.Errorf("%d %v %s", a.status, h, a.body)
		}
		s.send("POST", "/messages/devicebound", "to m", "iothub-to", "/devices/d%231/modules/m/messages/devicebound").ok(204, nil)
		a = s.send("GET", "/devices/d%231/modules/m/messages/devicebound", "", "Authorization", device)
		if a.status != 200 || a.body != "to m" {
			t.Errorf("%d %s", a.status, a.body)
		}
		for name, c := range map[string]struct {
			to     string
			header string
			value  string
			status int
			code   string
		}{
			"nowhere":     {"", "x", "y", 400, "ArgumentNull"},
			"other place": {"/devices/d%231/messages/events", "x", "y", 400, "ArgumentInvalid"},
			"bad escape":  {"/devices/d%zz/messages/devicebound", "x", "y", 400, "ArgumentInvalid"},
			"bad id":      {"/devices/a b/messages/devicebound", "x", "y", 400, "ArgumentInvalid"},
			"unknown":     {"/devices/nobody/messages/devicebound", "x", "y", 404, "DeviceNotFound"},
			"no module":   {"/devices/d%231/modules/n/messages/devicebound", "x", "y", 404, "ModuleNotFound"},
			"odd ack":     {"/devices/d%231/messages/devicebound", "iothub-ack", "some", 400, "ArgumentInvalid"},
			"expired":     {"/devices/d%231/messages/devicebound", "iothub-expiry", "2020-01-01T00:00:00Z", 403, "InvalidMessageExpiryTime"},
			"no expiry":   {"/devices/d%231/messages/devicebound", "iothub-expiry", "later", 403, "InvalidMessageExpiryTime"},
		} {
			s.send("POST", "/messages/devicebound", "x", "iothub-to", c.to, c.header, c.value).refused(name, c.status, c.code)
		}
		s.send("POST", "/messages/devicebound", strings.Repeat("x", 64<<10+1), "iothub-to", "/devices/d%231/messages/devicebound").refused("size", 413, "MessageTooLarge", "65536")
		s.send("POST", "/messages/devicebound", strings.Repeat("x", 256<<10+1), "iothub-to", "/devices/d%231/messages/devicebound").refused("size", 413, "MessageTooLarge")
	})
}

func TestDeviceMessages(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.send("PUT", "/devices/d", `{}`).ok(200, nil)
		auth := []string{"Authorization", s.deviceToken("d")}
		const queue = "/devices/d/messages/devicebound"
		s.send("GET", queue, "", auth...).ok(204, nil)
		for _, body := range []string{"1", "2", "3"} {
			s.send("POST", "/messages/devicebound", body, "iothub-to", queue).ok(204, nil)
		}
		var d struct{ CloudToDeviceMessageCount int }
		if s.send("GET", "/devices/d", "").ok(200, &d); d.CloudToDeviceMessageCount != 3 {
			t.Errorf("count %d", d.CloudToDeviceMessageCount)
		}
		receive := func(want string, headers ...string) string {
			t.Helper()
			a := s.send("GET", queue, "", append(headers, auth...)...)
			if a.status != 200 || a.body != want {
				t.Fatalf("%d %s, want %s", a.status, a.body, want)
			}
			return a.etag()
		}
		one, two, three := receive("1"), receive("2", "iothub-messagelocktimeout", "300"), receive("3")
		s.send("GET", queue, "", auth...).ok(204, nil)
		s.send("DELETE", queue+"/"+two, "", auth...).ok(204, nil)
		s.send("DELETE", queue+"/"+two, "", auth...).refused("twice", 412, "DeviceMessageLockLost")
		s.send("POST", queue+"/"+one+"/abandon", "", auth...).ok(204, nil)
		s.send("POST", queue+"/"+one+"/abandon", "", auth...).refused("twice", 412, "DeviceMessageLockLost")
		again := receive("1")
		s.send("DELETE", queue+"/"+again+"?"+version+"&reject", "", auth...).ok(204, nil)
		s.send("DELETE", queue+"/"+three+"?"+version+"&reject=false", "", auth...).ok(204, nil)
		s.send("DELETE", queue+"/"+three+"?"+version+"&reject=perhaps", "", auth...).refused("reject", 400, "ArgumentInvalid", "perhaps")
		s.send("DELETE", queue+"/nonsense", "", auth...).refused("token", 412, "DeviceMessageLockLost", "nonsense")
		for _, n := range []string{"9", "301", "x"} {
			s.send("GET", queue, "", append([]string{"iothub-messagelocktimeout", n}, auth...)...).refused(n, 400, "ArgumentInvalid", "10 to 300")
		}
		s.send("GET", queue, "", auth...).ok(204, nil)
		// Not with the rights of an application, nor those of another device.
		s.send("PUT", "/devices/e", `{}`).ok(200, nil)
		for _, token := range []string{s.token("service"), s.deviceToken("e"), ""} {
			if a := s.send("GET", queue, "", "Authorization", token); a.status != http.StatusUnauthorized {
				t.Errorf("%d %s", a.status, a.body)
			}
		}
		// The 51st message is refused.
		for range 50 {
			s.send("POST", "/messages/devicebound", "x", "iothub-to", queue).ok(204, nil)
		}
		s.send("POST", "/messages/devicebound", "x", "iothub-to", queue).refused("depth", 403, "DeviceMaximumQueueDepthExceeded", "50")
	})
}

func TestPurgeMessages(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.send("PUT", "/devices/d", `{}`).ok(200, nil)
		for range 3 {
			s.send("POST", "/messages/devicebound", "x", "iothub-to", "/devices/d/messages/devicebound").ok(204, nil)
		}
		a := s.send("DELETE", "/devices/d/commands", "")
		if a.ok(200, nil); a.body != `{"totalMessagesPurged":3,"deviceId":"d","moduleId":null}` {
			t.Error(a.body)
		}
		s.send("DELETE", "/devices/nobody/commands", "").refused("unknown", 404, "DeviceNotFound")
		// A device that is made again has an empty queue.
		s.send("POST", "/messages/devicebound", "x", "iothub-to", "/devices/d/messages/devicebound").ok(204, nil)
		s.send("DELETE", "/devices/d", "").ok(204, nil)
		s.send("PUT", "/devices/d", `{}`).ok(200, nil)
		s.send("GET", "/devices/d/messages/devicebound", "", "Authorization", s.deviceToken("d")).ok(204, nil)
	})
}

func TestFeedback(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.send("PUT", "/devices/d", `{}`).ok(200, nil)
		token := s.deviceToken("d")
		const path = "/messages/serviceBound/feedback"
		s.send("GET", path, "").ok(204, nil)
		s.send("POST", "/messages/devicebound", "x", "iothub-to", "/devices/d/messages/devicebound", "iothub-ack", "positive", "iothub-messageid", "m1").ok(204, nil)
		in := s.send("GET", "/devices/d/messages/devicebound", "", "Authorization", token)
		s.send("DELETE", "/devices/d/messages/devicebound/"+in.etag(), "", "Authorization", token).ok(204, nil)
		a := s.send("GET", path, "")
		if a.status != 200 || a.header.Get("Content-Type") != "application/vnd.microsoft.iothub.feedback.json" ||
			!strings.Contains(a.body, `[{"originalMessageId":"m1","enqueuedTimeUtc":"20`) || !strings.Contains(a.body, `"statusCode":"Success","description":"Success","deviceId":"d","deviceGenerationId":"6`) {
			t.Fatalf("%d %v %s", a.status, a.header, a.body)
		}
		s.send("GET", path, "").ok(204, nil)
		s.send("POST", path+"/"+a.etag()+"/abandon", "").ok(204, nil)
		b := s.send("GET", "/messages/servicebound/feedback", "")
		if b.status != 200 || b.body != a.body || b.etag() == a.etag() {
			t.Errorf("%d %s", b.status, b.body)
		}
		s.send("DELETE", path+"/"+a.etag(), "").refused("old token", 412, "DeviceMessageLockLost")
		s.send("DELETE", path+"/"+b.etag(), "").ok(204, nil)
		s.send("DELETE", path+"/x", "").refused("no token", 412, "DeviceMessageLockLost")
		s.send("GET", path, "").ok(204, nil)
	})
}
