package iothub_test

import (
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/api/iothub"
	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
	"dunlin/internal/trust/access"
	"dunlin/internal/trust/quota"
)

func limits(t *testing.T, db state.DB, c quota.Config) *quota.Limiter {
	t.Helper()
	l, err := quota.Open(t.Context(), quota.Deps{Config: c, DB: db, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// unlimited are operations that have no rate of their own.
var unlimited = []string{"/messages/servicebound/feedback", "/messages/serviceBound/filenotifications", "/messages/devicebound/{token}", "/devices/{device}/commands", "/files/notifications"}

// cloudToDevice are operations that basic tiers do not have.
func cloudToDevice(path string) bool {
	for _, part := range []string{"/twins", "/digitaltwins", "devicebound", "/commands", "feedback", "/devices/query", "/jobs/v2", "/configurations", "applyConfigurationContent"} {
		if strings.Contains(path, part) {
			return true
		}
	}
	return false
}

// valid are bodies that nothing is wrong with; the others take {}.
var valid = map[string]string{
	"POST /devices": `[{"id":"bulk"}]`, "POST /devices/query": `{"query":"SELECT * FROM devices"}`, "PATCH /digitaltwins/{device}": `[]`,
	"POST /devices/{device}/files": `{"blobName":"f"}`, "POST /twins/{device}/methods": `{"methodName":"m"}`, "POST /twins/{device}/modules/{module}/methods": `{"methodName":"m"}`,
}

// call calls an operation as somebody who may.
func (s *site) call(row iothub.Row) answer {
	s.t.Helper()
	policy := "iothubowner"
	if row.Need == access.DeviceConnect {
		policy = "device"
	}
	body := valid[row.Method+" "+row.Path]
	if body == "" && row.Method != http.MethodGet && row.Method != http.MethodDelete {
		body = "{}"
	}
	return s.send(row.Method, fill.Replace(row.Path), body, "Authorization", s.token(policy), "iothub-to", "/devices/d/messages/devicebound")
}

func (s *site) devices() {
	s.t.Helper()
	s.send("PUT", "/devices/d", `{}`) // an earlier call may have left them
	s.send("PUT", "/devices/d/modules/m", `{}`)
	s.send("GET", "/devices/d/modules/m", "").ok(200, nil)
}

// TestEveryOperationIsThrottled uses up every rate and calls every operation:
// one that still answers is not limited by anything.
func TestEveryOperationIsThrottled(t *testing.T) {
	db := statetest.SQLite(t)
	l := limits(t, db, quota.Config{Tier: quota.S1, Units: 1})
	s := newLimitedSite(t, db, l)
	s.devices()
	for k := range quota.Configurations + 1 {
		l.Debit(k, 1_000_000)
	}
	for _, row := range iothub.Rows() {
		what := row.Method + " " + row.Path
		free := row.Missing
		for _, part := range unlimited {
			free = free || strings.Contains(strings.ToLower(row.Path), strings.ToLower(part))
		}
		a := s.call(row)
		if free {
			if a.status == http.StatusTooManyRequests {
				t.Errorf("%s is throttled, and stands among those that are not", what)
			}
			continue
		}
		if strings.Contains(row.Path, "methods") || strings.HasSuffix(row.Path, "{command}") { // the form that errors of methods have
			if a.status != 429 || a.header.Get("iothub-errorcode") != "ThrottlingException" || !strings.Contains(a.body, "429001") {
				t.Errorf("%s: %d %s", what, a.status, a.body)
			}
		} else {
			a.refused(what, 429, "ThrottlingException", "S1 with 1 unit", "hub.tier")
		}
		if n, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || n < 1 {
			t.Errorf("%s: Retry-After is %q", what, a.header.Get("Retry-After"))
		}
	}
}

// TestBasicTierLacks has no operation that goes from the cloud to devices.
func TestBasicTierLacks(t *testing.T) {
	db := statetest.SQLite(t)
	s := newLimitedSite(t, db, limits(t, db, quota.Config{Tier: quota.B2, Units: 200}))
	s.devices()
	for _, row := range iothub.Rows() {
		if row.Missing {
			continue
		}
		what := row.Method + " " + row.Path
		s.devices()
		a := s.call(row)
		lacks := a.status == 403 && a.header.Get("iothub-errorcode") == "OperationNotAvailableInCurrentTier"
		// What was received earlier can be settled on any tier.
		want := cloudToDevice(row.Path) && (row.Need != access.DeviceConnect || !strings.Contains(row.Path, "{token}"))
		if lacks != want {
			t.Errorf("%s: %d %s", what, a.status, a.body)
		}
	}
}

// TestMessagesOfTheDay refuses what counts as a message once there have been
// as many as may be, and nothing else.
func TestMessagesOfTheDay(t *testing.T) {
	db := statetest.SQLite(t)
	l := limits(t, db, quota.Config{Tier: quota.F1, Units: 1})
	s := newLimitedSite(t, db, l)
	s.devices()
	s.send("POST", "/devices/d/messages/events", "x", "Authorization", s.token("device")).ok(204, nil)
	if used, most := l.Day(); used != 1 || most != 8000 {
		t.Fatalf("%d of %d messages", used, most)
	}
	s.send("POST", "/devices/d/messages/events", strings.Repeat("x", 1025), "Authorization", s.token("device")).ok(204, nil)
	s.send("POST", "/messages/devicebound", strings.Repeat("x", 513), "iothub-to", "/devices/d/messages/devicebound").ok(204, nil)
	if used, _ := l.Day(); used != 1+3+2 {
		t.Fatalf("%d messages", used)
	}
	for range 16 {
		l.Note(256 << 10)
	}
	const name = "IotHubQuotaExceeded"
	s.send("POST", "/devices/d/messages/events", "x", "Authorization", s.token("device")).refused("telemetry", 403, name, "8000 messages of 512 bytes", "F1", "midnight")
	s.send("POST", "/messages/devicebound", "x", "iothub-to", "/devices/d/messages/devicebound").refused("a message to a device", 403, name)
	s.send("GET", "/twins/d", "").refused("a twin", 403, name)
	s.send("PATCH", "/twins/d", "{}").refused("a change of a twin", 403, name)
	s.send("POST", "/devices/query", `{"query":"SELECT * FROM devices"}`).refused("a query", 403, name)
	s.send("GET", "/devices/d", "").ok(200, nil)
	s.send("DELETE", "/devices/d/modules/m", "", "If-Match", "*").ok(204, nil)
}

// TestMostDevices refuses the device that is one too many, however it comes.
func TestMostDevices(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		s := newLimitedSite(t, db, limits(t, db, quota.Config{Devices: 5}))
		for i := range 3 {
			s.send("PUT", "/devices/d"+strconv.Itoa(i), `{}`).ok(200, nil)
		}
		const name = "IotHubQuotaExceeded"
		s.send("POST", "/devices", `[{"id":"a"},{"id":"b"},{"id":"c"}]`).refused("three where two may be", 403, name, "3 devices", "at most 5", "hub.devices")
		s.send("POST", "/devices", `[{"id":"a"},{"id":"b"}]`).ok(200, nil)
		s.send("PUT", "/devices/c", `{}`).refused("a sixth", 403, name)
		s.send("PUT", "/devices/d0", `{"status":"disabled"}`, "If-Match", "*").ok(200, nil)
		s.send("PUT", "/devices/d0/modules/m", `{}`).ok(201, nil)
		s.send("DELETE", "/devices/a", "", "If-Match", "*").ok(204, nil)
		s.send("PUT", "/devices/c", `{}`).ok(200, nil)
	})
}

// TestDeviceLimitOverHTTPS bounds what one device sends over HTTPS.
func TestDeviceLimitOverHTTPS(t *testing.T) {
	db := statetest.SQLite(t)
	l := limits(t, db, quota.Config{DeviceBytes: 1024})
	s := newLimitedSite(t, db, l)
	s.devices()
	send := func(path string) answer {
		return s.send("POST", path+"/messages/events", "x", "Authorization", s.token("device"))
	}
	send("/devices/d").ok(204, nil)
	if _, err := l.Telemetry(l.Sender(iot.ID{Device: "d"}), []iot.Message{{Body: make([]byte, 10_000)}}); err != nil {
		t.Fatal(err)
	}
	a := send("/devices/d")
	a.refused("a device that is too fast", 429, "DeviceThrottlingLimitExceeded", "1024 bytes a second", "hub.device")
	if n, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || n < 5 || n > 10 {
		t.Errorf("Retry-After is %q", a.header.Get("Retry-After"))
	}
	send("/devices/d/modules/m").ok(204, nil)
}
