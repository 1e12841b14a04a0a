package mqttd

import (
	"testing"
	"time"

	"dunlin/internal/iot"
	"dunlin/internal/wire/mqtt"
)

// again connects with or without a clean session and checks what CONNACK says
// of the session.
func (s *server) again(t *testing.T, clean, present bool) *peer {
	t.Helper()
	p := s.dial(t)
	p.send(connectPacket(t, func(c *mqtt.Connect) { c.CleanStart = clean }))
	want := []byte{0x20, 2, 0, 0}
	if present {
		want[2] = 1
	}
	p.want(want)
	return p
}

func (p *peer) leave() {
	p.t.Helper()
	p.send([]byte{0xe0, 0})
	p.wantClosed()
}

// TestSessionPresent [MQTT-3.2.2-1] to [MQTT-3.2.2-3].
func TestSessionPresent(t *testing.T) {
	s := start(t, newLog(t))
	s.again(t, false, false).leave()
	s.again(t, false, true).leave()
	s.again(t, false, true) // stays, and is taken over
	s.again(t, true, false).leave()
	s.again(t, false, false).leave()
	s.again(t, false, true).leave()
	s.mu.Lock()
	s.generation++ // deleted and made anew
	s.mu.Unlock()
	s.again(t, false, false).leave()
	s.again(t, false, true).leave()
	p := s.dial(t)
	p.send(connectPacket(t, func(c *mqtt.Connect) {
		c.CleanStart, c.ClientID, c.UserName = false, []byte("d/m"), []byte("hub.test/d/m/?api-version=2021-04-12")
	}))
	p.want([]byte{0x20, 2, 0, 0}) // a module has a session of its own
}

// noWant checks that the hub has not been asked for anything.
func (s *server) noWant(t *testing.T, patience time.Duration) {
	t.Helper()
	select {
	case k := <-s.device(device).wants:
		t.Errorf("the hub was asked for %v", k)
	case <-time.After(patience):
	}
}

// TestMessagesResume: the subscription to messages outlives its connection,
// with its QoS, and no other does.
func TestMessagesResume(t *testing.T) {
	s := start(t, newLog(t))
	s.door.resumeAfter = 50 * time.Millisecond
	in := &iot.Inbound{Kind: iot.KindMessage, Token: iot.LockToken{1}, Message: iot.Message{Body: []byte("hello")}}
	p := s.again(t, false, false)
	p.send(subscribePacket(t, 1, "devices/d/messages/devicebound/#", "$iothub/methods/POST/#"))
	p.want([]byte{0x90, 4, 0, 3, 1, 1})
	p.leave()

	p = s.again(t, false, true)
	if k := <-s.device(device).wants; k != iot.KindMessage {
		t.Errorf("the hub was asked for %v", k)
	}
	if !s.conn(device).Deliver(in) {
		t.Fatal("not delivered")
	}
	if got := p.publish(); got.QoS != 1 || string(got.Payload) != "hello" {
		t.Errorf("%+v", got)
	}
	if s.conn(device).Deliver(&iot.Inbound{Kind: iot.KindMethod, Request: "1", Method: "m"}) {
		t.Error("a method was delivered without a subscription")
	}
	p.leave()

	// Who subscribes anew is sent messages at once, and asked for once.
	s.door.resumeAfter = time.Hour
	p = s.again(t, false, true)
	s.noWant(t, 20*time.Millisecond)
	p.send(subscribePacket(t, 0, "devices/d/messages/devicebound/#"))
	p.want([]byte{0x90, 3, 0, 3, 0})
	if k := <-s.device(device).wants; k != iot.KindMessage {
		t.Errorf("the hub was asked for %v", k)
	}
	un := mqtt.Unsubscribe{PacketID: 4, Filters: [][]byte{[]byte("devices/d/messages/devicebound/#")}}
	b, err := un.Append(nil, mqtt.V311)
	if err != nil {
		t.Fatal(err)
	}
	p.send(b)
	p.want([]byte{0xb0, 2, 0, 4})
	p.leave()
	s.door.resumeAfter = time.Millisecond
	p = s.again(t, false, true)
	s.noWant(t, 50*time.Millisecond)
	p.send(subscribePacket(t, 1, "devices/d/messages/devicebound/#"))
	p.want([]byte{0x90, 3, 0, 3, 1})
	p.leave()

	// A clean session has no subscription, and leaves none.
	p = s.again(t, true, false)
	s.noWant(t, 50*time.Millisecond)
	p.send(subscribePacket(t, 1, "devices/d/messages/devicebound/#"))
	p.want([]byte{0x90, 3, 0, 3, 1})
	p.leave()
	s.again(t, false, false)
	s.noWant(t, 50*time.Millisecond)
}

func TestKeptIsBounded(t *testing.T) {
	k := kept{sessions: make(map[iot.ID]keptSession, maxKept)}
	for i := range maxKept + 1000 {
		id := iot.ID{Device: string(rune('a'+i%26)) + string([]byte{byte(i), byte(i >> 8), byte(i >> 16)})}
		if _, present := k.open(id, 1, false); present {
			t.Fatal("an id came twice")
		}
	}
	if len(k.sessions) != maxKept {
		t.Errorf("%d sessions are kept, want %d", len(k.sessions), maxKept)
	}
}
