package apptest

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"dunlin/test/device"
	"dunlin/test/harness"
)

// connections gives what connection events said of an identity so far, and
// checks that their numbers rise.
func connections(t *testing.T, s *harness.Server, id string, want int) []string {
	t.Helper()
	var ops []string
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		ops = ops[:0]
		last := ""
		for _, e := range s.Tail("--source", "connection", "--device", id) {
			var body struct {
				SequenceNumber string `json:"sequenceNumber"`
			}
			if err := json.Unmarshal(e.Payload(), &body); err != nil || body.SequenceNumber <= last {
				t.Fatalf("the body %s follows the number %s, %v", e.Payload(), last, err)
			}
			last = body.SequenceNumber
			ops = append(ops, strings.TrimPrefix(e.Properties["opType"], "device"))
		}
		if len(ops) >= want {
			return ops
		}
		if time.Now().After(end) {
			t.Fatalf("events of %s: %q, want %d", id, ops, want)
		}
	}
}

// TestConnectionEvents connects, takes over, disconnects and kills the server:
// the events of each device alternate and say what the server says of it.
func TestConnectionEvents(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Plain: true})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	key, other := s.Device("d"), s.Device("other")
	first, _ := connect(ctx, t, s, "d", key)
	second, _ := connect(ctx, t, s, "d", key) // takes over
	if _, err := first.Ended(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	second.send(device.Packet{Type: device.Disconnect})
	if _, err := second.Ended(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	if got, want := connections(t, s, "d", 4), []string{"Connected", "Disconnected", "Connected", "Disconnected"}; !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
	// Who comes over HTTPS is not connected.
	if a, err := s.DeviceREST("other", other).Do(ctx, "POST", "/devices/other/messages/events?api-version=2021-04-12", map[string]int{}); err != nil || a.Status != 204 {
		t.Fatalf("a message over HTTPS: %s, %v", a, err)
	}
	// Killed, the server tells of the disconnects when it starts again.
	connect(ctx, t, s, "d", key)
	connect(ctx, t, s, "other", other)
	connections(t, s, "d", 5)
	connections(t, s, "other", 1)
	s.Kill()
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	if got := connections(t, s, "d", 6); len(got) != 6 || got[5] != "Disconnected" {
		t.Errorf("events after a kill: %q", got)
	}
	if got, want := connections(t, s, "other", 2), []string{"Connected", "Disconnected"}; !slices.Equal(got, want) {
		t.Errorf("events of the other: %q", got)
	}
	// An identity that is deleted while it is connected ends before it is gone.
	connect(ctx, t, s, "other", other)
	connections(t, s, "other", 3)
	s.CLI("device", "delete", "other")
	if got := connections(t, s, "other", 4); len(got) != 4 || got[3] != "Disconnected" {
		t.Errorf("events after the deletion: %q", got)
	}
}

// TestConnectionEventsOff leaves them out; the state is known all the same.
func TestConnectionEventsOff(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Plain: true, Args: []string{"--hub-events-connection-state", "off"}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, _ := connect(ctx, t, s, "d", s.Device("d"))
	for end := time.Now().Add(10 * time.Second); !strings.Contains(s.CLI("query", "connectionState = 'Connected'", "--json"), `"d"`); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a query does not find the device")
		}
	}
	c.send(device.Packet{Type: device.Disconnect})
	s.CLI("device", "delete", "d")
	if got := s.Tail("--source", "all"); len(got) != 2 {
		t.Errorf("%d events, want those of the registration and its end: %+v", len(got), got)
	}
}
