package robust

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"dunlin/test/device"
	"dunlin/test/harness"
)

// closes is how long the server may take to end a connection that must end.
const closes = 5 * time.Second

func dial(t *testing.T, s *harness.Server) *device.Conn {
	t.Helper()
	c, err := device.Dial(t.Context(), s.MQTTAddr(), s.TLS())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// connected gives a connection of a device that was let in.
func connected(t *testing.T, s *harness.Server, id, key string) *device.Conn {
	t.Helper()
	c := dial(t, s)
	if err := c.Hello(device.HelloFor(s.Info.HostName, id, key)); err != nil {
		t.Fatalf("%s: %v", id, err)
	}
	return c
}

// alive publishes a message and fails the test when it is not acknowledged.
func alive(t *testing.T, c *device.Conn, id string, packet uint16) {
	t.Helper()
	if err := c.Publish(device.EventsTopic(id)+jsonBag, []byte(`{"alive":true}`), packet); err != nil {
		t.Errorf("%s: a device that did nothing wrong: %v", id, err)
	}
}

// TestRefusedConnect: each mistake gets the documented code, the connection
// ends, and the reason is kept for `dunlin device problems`.
func TestRefusedConnect(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	host := s.Info.HostName
	key, other := s.Device("d"), s.Device("other")
	s.Device("off")
	s.CLI("device", "update", "off", "--status", "disabled")
	offKey := harness.Field(s.ConnectionString("off"), "SharedAccessKey")
	now := time.Now()
	with := func(change func(*device.Hello)) device.Hello {
		h := device.HelloFor(host, "d", key)
		change(&h)
		return h
	}
	token := func(sr, key string, se time.Time) device.Hello {
		return with(func(h *device.Hello) { h.Password = device.Token(sr, key, "", se) })
	}
	tests := []struct {
		name  string
		hello device.Hello
		codes string // acceptable CONNACK codes; "0" is let in
		why   string // word of the kept reason; "" when nothing need be kept
	}{
		{"good", device.HelloFor(host, "d", key), "0", ""},
		{"wrong key", device.HelloFor(host, "d", "c29tZWJvZHkgZWxzZSdzIGtleSwgMzIgYnl0ZXMgbG9uZw=="), "5", "signature"},
		{"key of another device", device.HelloFor(host, "d", other), "5", "signature"},
		{"token of another device", token(host+"/devices/other", other, now.Add(time.Hour)), "5", ""},
		{"token for a longer id", token(host+"/devices/dd", key, now.Add(time.Hour)), "5", ""},
		{"token for a module", token(host+"/devices/d/modules/m", key, now.Add(time.Hour)), "5", ""},
		{"expired token", token(host+"/devices/d", key, now.Add(-6*time.Minute)), "5", "expired"},
		{"expired within the clock skew", token(host+"/devices/d", key, now.Add(-4*time.Minute)), "0", ""},
		{"token far in the future", token(host+"/devices/d", key, now.AddDate(300, 0, 0)), "0", ""},
		{"token of another hub", token("other.example.net/devices/d", key, now.Add(time.Hour)), "5", ""},
		{"unknown host", with(func(h *device.Hello) {
			h.User = "other.example.net/d/?api-version=2021-04-12"
			h.Password = device.Token("other.example.net/devices/d", key, "", now.Add(time.Hour))
		}), "5", "host"},
		{"unknown device", device.HelloFor(host, "nobody", key), "5", ""},
		{"disabled device", device.HelloFor(host, "off", offKey), "5", "disabled"},
		{"no password and no certificate", with(func(h *device.Hello) { h.Password = "" }), "45", ""},
		{"password that is no token", with(func(h *device.Hello) { h.Password = "secret" }), "45", ""},
		{"token without signature", with(func(h *device.Hello) { h.Password = "SharedAccessSignature sr=" + host + "&se=9999999999" }), "45", ""},
		{"token with an empty signature", with(func(h *device.Hello) {
			h.Password = "SharedAccessSignature sr=" + host + "%2Fdevices%2Fd&sig=&se=9999999999"
		}), "45", ""},
		{"no user name", with(func(h *device.Hello) { h.User, h.Password = "", "" }), "45", ""},
		{"user name without device", with(func(h *device.Hello) { h.User = host }), "45", ""},
		{"user name of another device", with(func(h *device.Hello) { h.User = host + "/other/?api-version=2021-04-12" }), "25", ""},
		{"no client id", with(func(h *device.Hello) { h.Client, h.Clean = "", true }), "25", ""},
		{"client id with a module", with(func(h *device.Hello) { h.Client = "d/m" }), "25", ""},
		{"unknown policy", with(func(h *device.Hello) { h.Password = device.Token(host, key, "nopolicy", now.Add(time.Hour)) }), "5", ""},
		{"policy without DeviceConnect", with(func(h *device.Hello) {
			h.Password = device.Token(host, harness.Field(s.Policy("service"), "SharedAccessKey"), "service", now.Add(time.Hour))
		}), "5", ""},
		{"policy with DeviceConnect", with(func(h *device.Hello) {
			h.Password = device.Token(host, harness.Field(s.Policy("device"), "SharedAccessKey"), "device", now.Add(time.Hour))
		}), "0", ""},
		{"will to a foreign topic", with(func(h *device.Hello) { h.WillTopic, h.Will = "devices/other/messages/events/", []byte("x") }), "5x", ""},
		{"MQTT 3.1", with(func(h *device.Hello) { h.Protocol, h.Level = "MQIsdp", 3 }), "1", ""},
		{"level 3 of MQTT", with(func(h *device.Hello) { h.Level = 3 }), "1", ""},
		{"unknown level", with(func(h *device.Hello) { h.Level = 9 }), "1x", ""}, // or the form of MQTT 5
		{"another protocol", with(func(h *device.Hello) { h.Protocol = "AMQP" }), "x1", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := dial(t, s)
			before := refusals(s)
			err := c.Hello(tt.hello)
			var refused *device.RefusedError
			got := "0"
			switch {
			case errors.As(err, &refused):
				got = fmt.Sprint(refused.Code)
			case err != nil:
				got = "x" // closed without an answer
			}
			if !strings.Contains(tt.codes, got) {
				t.Errorf("CONNACK %s (%v), want one of %s", got, err, tt.codes)
			}
			if got == "0" {
				alive(t, c, "d", 1)
				return
			}
			if _, err := c.Ended(closes); err != nil {
				t.Errorf("after a refusal: %v", err)
			}
			if tt.why != "" && refusals(s) <= before {
				t.Error("the metrics do not count the refusal")
			}
			if tt.why != "" && !strings.Contains(strings.ToLower(problems(t, s)), tt.why) {
				t.Errorf("device problems does not say %q: %s", tt.why, problems(t, s))
			}
		})
	}
}

// refusals counts in the metrics what was refused.
func refusals(s *harness.Server) float64 { return s.Metric("dunlin_connects_refused_total") }

func problems(t *testing.T, s *harness.Server) string {
	t.Helper()
	out := s.CLI("device", "problems", "--json")
	if !json.Valid([]byte(out)) {
		t.Errorf("device problems --json: %q", out)
	}
	return out
}

// TestEndedWhileConnected: what takes a device its right ends its connection
// within seconds, and no other device notices.
func TestEndedWhileConnected(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	bystander := connected(t, s, "bystander", s.Device("bystander"))
	newKey := "c29tZWJvZHkgZWxzZSdzIGtleSwgMzIgYnl0ZXMgbG9uZw=="
	tests := []struct {
		id     string
		change func(id string)
	}{
		{"disabled", func(id string) { s.CLI("device", "update", id, "--status", "disabled") }},
		{"deleted", func(id string) { s.CLI("device", "delete", id) }},
		{"rekeyed", func(id string) {
			s.CLI("device", "update", id, "--primary-key", newKey, "--secondary-key", newKey)
		}},
	}
	for i, tt := range tests {
		t.Run(tt.id, func(t *testing.T) {
			key := s.Device(tt.id)
			c := connected(t, s, tt.id, key)
			alive(t, c, tt.id, 7)
			tt.change(tt.id)
			if _, err := c.Ended(closes); err != nil {
				t.Errorf("after the change: %v", err)
			}
			again := dial(t, s)
			var refused *device.RefusedError
			if err := again.Hello(device.HelloFor(s.Info.HostName, tt.id, key)); !errors.As(err, &refused) || refused.Code != 5 {
				t.Errorf("connecting again: %v, want CONNACK 5", err)
			}
			alive(t, bystander, "bystander", uint16(i+1))
		})
	}
	t.Run("token expires", func(t *testing.T) {
		key := s.Device("expiring")
		c := dial(t, s)
		h := device.HelloFor(s.Info.HostName, "expiring", key)
		// Expired by the clock, but for four more seconds within the skew.
		h.Password = device.Token(s.Info.HostName+"/devices/expiring", key, "", time.Now().Add(-5*time.Minute+4*time.Second))
		if err := c.Hello(h); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Ended(4*time.Second + closes); err != nil {
			t.Errorf("with an expired token: %v", err)
		}
	})
	t.Run("taken over", func(t *testing.T) {
		key := s.Device("twice")
		first := connected(t, s, "twice", key)
		alive(t, first, "twice", 1)
		second := connected(t, s, "twice", key)
		if _, err := first.Ended(closes); err != nil {
			t.Errorf("the first connection: %v", err)
		}
		alive(t, second, "twice", 1)
	})
	alive(t, bystander, "bystander", 100)
}
