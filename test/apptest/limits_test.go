package apptest

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"dunlin/test/device"
	"dunlin/test/harness"
)

// dial connects a device over MQTT without TLS.
func dial(t *testing.T, s *harness.Server, id, key string) *device.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := device.Dial(ctx, s.PlainAddr(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Hello(device.HelloFor("localhost", id, key)); err != nil {
		t.Fatal(err)
	}
	return c
}

// problems gives what device problems says of a device.
func problems(s *harness.Server, id string) string { return s.CLI("device", "problems", id) }

// TestDeviceLimit slows a device down that sends more than one may.
func TestDeviceLimit(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Plain: true, Args: []string{"--hub-device-messages", "50"}})
	key := s.Device("eager")
	c := dial(t, s, "eager", key)
	start := time.Now()
	for i := range uint16(150) {
		if err := c.Publish(device.EventsTopic("eager"), []byte("x"), i+1); err != nil {
			t.Fatal(err)
		}
	}
	// Fifty at once and a hundred at fifty a second.
	if d := time.Since(start); d < 1900*time.Millisecond || d > 20*time.Second {
		t.Errorf("150 messages at 50 a second took %v", d)
	}
	if n := s.Metric("dunlin_throttled_total", "operation", "device", "outcome", "delayed"); n == 0 {
		t.Error("no delay was counted")
	}
	// In one piece: it is not read for a while, and keeps its connection.
	const many = 250
	start = time.Now()
	if err := c.Send(burst("eager", many)...); err != nil {
		t.Fatal(err)
	}
	for range many {
		if p, err := c.Receive(30 * time.Second); err != nil || p.Type != device.Puback {
			t.Fatal(p, err)
		}
	}
	if err := c.Publish(device.EventsTopic("eager"), []byte("x"), 1); err != nil {
		t.Fatal(err)
	}
	// They may have come in one piece, but what is behind them is read later.
	if d := time.Since(start); d < 3900*time.Millisecond || d > 30*time.Second {
		t.Errorf("251 messages at 50 a second took %v", d)
	}
	// Others never noticed.
	other := dial(t, s, "calm", s.Device("calm"))
	if err := other.Publish(device.EventsTopic("calm"), []byte("x"), 1); err != nil {
		t.Error(err)
	}
}

// burst makes messages of one device.
func burst(id string, n uint16) []device.Packet {
	var list []device.Packet
	for i := range n {
		list = append(list, device.Message(device.EventsTopic(id), []byte("x"), 1, i+1))
	}
	return list
}

// TestHubThrottle lets a fleet send far more than the tier allows: what would
// have to wait too long is not taken, its connections are closed, and what was
// acknowledged is stored.
func TestHubThrottle(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Plain: true, Args: []string{"--hub-tier", "S1"}})
	const fleet = 12
	conns := map[string]*device.Conn{}
	for i := range fleet {
		id := "d" + string(rune('a'+i))
		conns[id] = dial(t, s, id, s.Device(id))
	}
	for id, c := range conns {
		if err := c.Send(burst(id, 300)...); err != nil {
			t.Fatal(err)
		}
	}
	acknowledged, closed := 0, ""
	for id, c := range conns {
		got, err := c.Ended(time.Second)
		if err == nil {
			closed = id
		}
		acknowledged += len(got)
	}
	if closed == "" {
		t.Fatal("no connection was closed, with 3600 messages where 100 a second may be")
	}
	if text := problems(s, closed); !strings.Contains(text, "closed_throttling_exception") || !strings.Contains(text, "100 device-to-cloud messages a second") {
		t.Errorf("device problems says %s", text)
	}
	if n := s.Metric("dunlin_throttled_total", "operation", "telemetry", "outcome", "refused"); n == 0 {
		t.Error("no refusal was counted")
	}
	if stored := len(s.Tail("--from", "earliest", "--no-follow")); stored < acknowledged || acknowledged == 0 || stored >= fleet*300 {
		t.Errorf("%d messages stored, %d acknowledged", stored, acknowledged)
	}
}

// TestQuotaOfTheDay uses up the messages of a day of the free tier, with few
// large ones, and begins where it was after a restart.
func TestQuotaOfTheDay(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Plain: true, Args: []string{"--hub-tier", "F1"}})
	key := s.Device("d")
	c := dial(t, s, "d", key)
	body := bytes.Repeat([]byte("x"), 255<<10) // 510 messages of 512 bytes
	for i := range uint16(15) {
		if err := c.Publish(device.EventsTopic("d"), body, i+1); err != nil {
			t.Fatal(err)
		}
	}
	used := func() (used, limit int64) {
		var info struct {
			Hub struct {
				Tier struct{ Messages, Limit int64 }
			}
		}
		if err := json.Unmarshal([]byte(s.CLI("info", "--json")), &info); err != nil {
			t.Fatal(err)
		}
		return info.Hub.Tier.Messages, info.Hub.Tier.Limit
	}
	if n, limit := used(); n != 15*510 || limit != 8000 {
		t.Errorf("%d of %d messages", n, limit)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	if n, _ := used(); n != 15*510 {
		t.Errorf("%d messages after a restart", n)
	}
	c = dial(t, s, "d", key)
	if err := c.Publish(device.EventsTopic("d"), body, 1); err != nil {
		t.Fatal(err) // the last that begins below the limit
	}
	if err := c.Send(device.Message(device.EventsTopic("d"), []byte("x"), 1, 2)); err != nil {
		t.Fatal(err)
	}
	got, err := c.Ended(30 * time.Second)
	if err != nil || len(got) != 0 {
		t.Errorf("the connection ended with %v, %v", got, err)
	}
	if text := problems(s, "d"); !strings.Contains(text, "closed_iot_hub_quota_exceeded") || !strings.Contains(text, "8000 messages") {
		t.Errorf("device problems says %s", text)
	}
	a, err := s.DeviceREST("d", key).Do(t.Context(), "POST", "/devices/d/messages/events?api-version=2021-04-12", []byte("x"))
	if err != nil || a.Status != 403 || a.Header.Get("iothub-errorcode") != "IotHubQuotaExceeded" {
		t.Errorf("over HTTPS: %v, %v", a, err)
	}
	if r := harness.Run(t, "doctor", "--data", s.Dir); r.Code == 0 || !strings.Contains(r.Stdout, "messages are refused until midnight UTC") {
		t.Errorf("doctor says %s", r.Stdout)
	}
}

// TestTwinThrottleOverMQTT answers twin requests of devices that come too fast
// with 429, and closes nothing.
func TestTwinThrottleOverMQTT(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Plain: true, Args: []string{"--hub-tier", "S1"}})
	c := dial(t, s, "d", s.Device("d"))
	if err := c.Send(device.Filter(1, "$iothub/twin/res/#", 0)); err != nil {
		t.Fatal(err)
	}
	if p, err := c.Receive(10 * time.Second); err != nil || p.Type != device.Suback {
		t.Fatal(p, err)
	}
	const n = 400
	start := time.Now()
	for i := range n {
		if err := c.Send(device.Message("$iothub/twin/PATCH/properties/reported/?$rid="+time.Duration(i).String(), []byte(`{"a":1}`), 0, 0)); err != nil {
			t.Fatal(err)
		}
	}
	answers := map[string]int{}
	for range n {
		p, err := c.Receive(30 * time.Second)
		if err != nil {
			t.Fatal(answers, err)
		}
		topic := string(p.Body[2 : 2+int(p.Body[0])<<8|int(p.Body[1])])
		status, _, _ := strings.Cut(strings.TrimPrefix(topic, "$iothub/twin/res/"), "/")
		answers[status]++
	}
	// One device has 64 requests under way at most, so that it is slowed down
	// before it is refused.
	if took := time.Since(start); answers["204"] != n || took < 6*time.Second {
		t.Errorf("400 updates at 50 a second: %v after %v", answers, took)
	}
}
