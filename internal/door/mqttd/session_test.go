package mqttd

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"dunlin/internal/engine/eventlog/faultlog"
	"dunlin/internal/iot"
	"dunlin/internal/wire/mqtt"
)

func TestConnack(t *testing.T) {
	s := start(t, newLog(t))
	for _, c := range []struct {
		name   string
		change func(*mqtt.Connect)
		code   byte
	}{
		{"accepted", nil, 0},
		{"wrong password", func(c *mqtt.Connect) { c.Password = []byte("no") }, 5},
		{"store away", func(c *mqtt.Connect) { c.Password = []byte("busy") }, 3},
		{"client id differs", func(c *mqtt.Connect) { c.ClientID = []byte("e") }, 2},
		{"no user name", func(c *mqtt.Connect) { c.UserName, c.Password = nil, nil }, 4},
		{"user name without device", func(c *mqtt.Connect) { c.UserName = []byte("hub.test") }, 4},
		{"will to another device", func(c *mqtt.Connect) {
			c.HasWill, c.Will.Topic = true, []byte("devices/e/messages/events/")
		}, 5},
		{"module", func(c *mqtt.Connect) {
			c.ClientID, c.UserName = []byte("d/m"), []byte("hub.test/d/m/?api-version=2021-04-12")
		}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := s.dial(t)
			p.send(connectPacket(t, c.change))
			p.want([]byte{0x20, 2, 0, c.code})
			if c.code != 0 {
				p.wantClosed()
			}
		})
	}
}

func TestOldAndNewVersionsAreRefusedInTheirForm(t *testing.T) {
	s := start(t, newLog(t))
	p := s.dial(t)
	p.send(append([]byte{0x10, 15, 0, 6}, "MQIsdp\x03\x02\x00\x3c\x00\x01d"...))
	p.want([]byte{0x20, 2, 0, 1})
	p.wantClosed()

	p = s.dial(t)
	c := mqtt.Connect{Version: mqtt.V5, ClientID: []byte("d")}
	b, err := c.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	p.send(b)
	p.want([]byte{0x20, 3, 0, byte(mqtt.UnsupportedVersion), 0})
	p.wantClosed()
}

func TestTelemetryIsAcknowledgedWhenDurable(t *testing.T) {
	s := start(t, newLog(t))
	p := s.connected(t, nil)
	p.send(publishPacket(t, "devices/d/messages/events/%24.mid=m1&%24.ct=application%2Fjson&a%20b=c%26d&empty=&none", 1, 7, []byte(`{"t":1}`)))
	p.want([]byte{0x40, 2, 0, 7})
	p.send(publishPacket(t, "devices/d/messages/events", 0, 0, nil))
	p.send(publishPacket(t, "devices/d/messages/events/", 1, 8, []byte("x")))
	p.want([]byte{0x40, 2, 0, 8})
	got := s.stored(t, "d", 3)
	m := got[0]
	if string(m.Body) != `{"t":1}` || len(m.System) != 2 || len(m.Properties) != 3 ||
		string(m.System[0].Value) != "m1" || m.System[1].Key != iot.ContentType ||
		string(m.Properties[0].Name) != "a b" || string(m.Properties[0].Value) != "c&d" ||
		m.Properties[1].Value == nil || m.Properties[2].Value != nil {
		t.Errorf("stored %+v", m)
	}
	if len(got[1].Body) != 0 || string(got[2].Body) != "x" {
		t.Error("order or bodies are wrong")
	}
}

func TestRetainAndDupBecomeProperties(t *testing.T) {
	s := start(t, newLog(t))
	p := s.connected(t, nil)
	b := publishPacket(t, "devices/d/messages/events/", 1, 1, []byte("x"))
	b[0] |= 0x09
	p.send(b)
	p.want([]byte{0x40, 2, 0, 1})
	m := s.stored(t, "d", 1)[0]
	if len(m.Properties) != 2 || string(m.Properties[0].Name) != "mqtt-retain" || string(m.Properties[1].Name) != "mqtt-dup" {
		t.Errorf("properties %q", m.Properties)
	}
}

// TestViolationsCloseTheConnection: MQTT 3.1.1 has no negative answer, so each
// of these ends the connection, with a reason that is kept, and stores nothing.
func TestViolationsCloseTheConnection(t *testing.T) {
	s := start(t, newLog(t))
	for _, c := range []struct {
		name   string
		packet []byte
		reason string
	}{
		{"QoS 2", publishPacket(t, "devices/d/messages/events/", 2, 1, nil), "QoS 2"},
		{"topic of another device", publishPacket(t, "devices/e/messages/events/", 1, 1, nil), "not this identity's"},
		{"prefix of the topic", publishPacket(t, "devices/d/messages/eventsX", 1, 1, nil), "not this identity's"},
		{"unknown request", publishPacket(t, "$iothub/twin/POST/?$rid=1", 1, 1, nil), "not one that a device publishes to"},
		{"request without id", publishPacket(t, "$iothub/twin/GET/?x=1", 1, 1, nil), "must name it"},
		{"answer without status", publishPacket(t, "$iothub/methods/res/ok/?$rid=1", 1, 1, nil), "no integer"},
		{"report on no version", publishPacket(t, "$iothub/twin/PATCH/properties/reported/?$rid=1&$version=x", 1, 1, nil), "not a version"},
		{"any topic", publishPacket(t, "a/b", 1, 1, nil), "not a topic of the hub"},
		{"bad escape", publishPacket(t, "devices/d/messages/events/a=%zz", 1, 1, nil), "property bag"},
		{"invalid UTF-8", publishPacket(t, "devices/d/messages/events/a=\xff", 1, 1, nil), "property bag"},
		{"too large", publishPacket(t, "devices/d/messages/events/", 1, 1, make([]byte, iot.MaxMessage+1)), "the limit is 262144"},
		{"packet too large", []byte{0x32, 0xff, 0xff, 0xff, 0x7f}, "MQTT5-3.2.2-15"},
		{"QoS 3", []byte{0x36, 4, 0, 0, 0, 1}, "MQTT-3.3.1-4"},
		{"second CONNECT", connectPacket(t, nil), "must not send CONNECT"},
		{"server packet", []byte{0x20, 2, 0, 0}, "must not send CONNACK"},
		{"subscribe flags", []byte{0x80, 6, 0, 1, 0, 1, 'a', 0}, "MQTT-3.8.1-1"},
		{"empty subscribe", []byte{0x82, 2, 0, 1}, "MQTT-3.8.3-3"},
		{"reserved type", []byte{0x00, 0}, "2.2.1"},
		{"remaining length", []byte{0x30, 0xff, 0xff, 0xff, 0xff}, "2.2.3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := s.connected(t, nil)
			p.send(c.packet)
			p.wantClosed()
			<-s.ended
			recent, err := s.guard.Recent(t.Context(), "d", 1)
			if err != nil || len(recent) != 1 || !strings.Contains(recent[0].Detail, c.reason) {
				t.Errorf("kept %+v (%v), want a reason with %q", recent, err, c.reason)
			}
		})
	}
	if n := len(s.stored(t, "d", 0)); n != 0 {
		t.Errorf("%d messages stored", n)
	}
}

// TestWhatCameBeforeAViolationIsAcknowledged: the good packets of a read are
// stored and acknowledged although a bad one follows them.
func TestWhatCameBeforeAViolationIsAcknowledged(t *testing.T) {
	s := start(t, newLog(t))
	p := s.connected(t, nil)
	p.send(append(publishPacket(t, "devices/d/messages/events/", 1, 5, []byte("good")), publishPacket(t, "a/b", 1, 6, nil)...))
	if err := <-s.ended; iot.CodeOf(err) != iot.BadRequest {
		t.Errorf("ended with %v", err)
	}
	if got := s.stored(t, "d", 1); len(got) != 1 || string(got[0].Body) != "good" {
		t.Errorf("stored %v", got)
	}
}

func TestFirstPacketMustBeConnect(t *testing.T) {
	s := start(t, newLog(t))
	for name, b := range map[string][]byte{
		"ping": {0xc0, 0}, "publish": publishPacket(t, "devices/d/messages/events/", 0, 0, nil), "http": []byte("GET / HTTP/1.1\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			p := s.dial(t)
			p.send(b)
			p.wantClosed()
		})
	}
}

func TestByteByByte(t *testing.T) {
	s := start(t, newLog(t))
	p := s.dial(t)
	for _, b := range connectPacket(t, nil) {
		p.send([]byte{b})
	}
	p.want([]byte{0x20, 2, 0, 0})
	for _, b := range publishPacket(t, "devices/d/messages/events/a=b", 1, 300, []byte("slow")) {
		p.send([]byte{b})
	}
	p.want([]byte{0x40, 2, 1, 44})
}

func TestPublishBehindConnectInOnePiece(t *testing.T) {
	s := start(t, newLog(t))
	p := s.dial(t)
	p.send(append(connectPacket(t, nil), publishPacket(t, "devices/d/messages/events/", 1, 1, nil)...))
	p.want([]byte{0x20, 2, 0, 0, 0x40, 2, 0, 1})
}

func TestWill(t *testing.T) {
	withWill := func(c *mqtt.Connect) {
		c.HasWill = true
		c.Will = mqtt.Will{Topic: []byte("devices/d/messages/events/%24.ct=text%2Fplain&why=lost"), Payload: []byte("gone"), QoS: 1}
	}
	t.Run("published when the connection breaks", func(t *testing.T) {
		s := start(t, newLog(t))
		p := s.connected(t, withWill)
		p.nc.Close()
		<-s.ended
		got := s.stored(t, "d", 1)
		if len(got) != 1 || string(got[0].Body) != "gone" || len(got[0].Properties) != 2 ||
			string(got[0].Properties[1].Name) != "iothub-MessageType" || string(got[0].Properties[1].Value) != "Will" {
			t.Errorf("stored %+v", got)
		}
	})
	t.Run("dropped by DISCONNECT", func(t *testing.T) {
		s := start(t, newLog(t))
		p := s.connected(t, withWill)
		p.send(mqtt.AppendDisconnect(nil))
		p.wantClosed()
		if err := <-s.ended; err != nil {
			t.Errorf("ended with %v", err)
		}
		if got := s.stored(t, "d", 0); len(got) != 0 {
			t.Errorf("stored %+v", got)
		}
	})
}

func TestKickClosesTheConnection(t *testing.T) {
	s := start(t, newLog(t))
	p := s.connected(t, nil)
	s.conn(iot.ID{Device: "d"}).Kick(iot.Errorf(iot.ReplacedByNewConnection, "taken over"))
	p.wantClosed()
	if err := <-s.ended; iot.CodeOf(err) != iot.ReplacedByNewConnection {
		t.Errorf("ended with %v", err)
	}
}

func TestFailedCommitAcknowledgesNothing(t *testing.T) {
	log := faultlog.Wrap(newLog(t), func(number, _, _ int) faultlog.Verdict {
		if number == 1 {
			return faultlog.Verdict{Err: errors.New("disk on fire")}
		}
		return faultlog.Verdict{}
	})
	s := start(t, log)
	p := s.connected(t, nil)
	p.send(publishPacket(t, "devices/d/messages/events/", 1, 1, nil))
	p.want([]byte{0x40, 2, 0, 1})
	p.send(publishPacket(t, "devices/d/messages/events/", 1, 2, nil))
	p.wantClosed()
	if err := <-s.ended; iot.CodeOf(err) != iot.ServiceUnavailable {
		t.Errorf("ended with %v", err)
	}
}

// TestStalledLogHoldsOffTheDevice: a log that does not answer makes the door
// stop reading, others stay as they are, and everything is acknowledged in
// order once the log goes on.
func TestStalledLogHoldsOffTheDevice(t *testing.T) {
	stalled := make(chan struct{})
	log := faultlog.Wrap(newLog(t), func(number, _, _ int) faultlog.Verdict {
		if number == 0 {
			close(stalled)
		}
		return faultlog.Verdict{Stall: number == 0}
	})
	s := start(t, log)
	p := s.connected(t, nil)
	const total = 40_000
	var b []byte
	payload := bytes.Repeat([]byte("x"), 200)
	for i := range total {
		b = append(b, publishPacket(t, "devices/d/messages/events/", 1, uint16(i%65535+1), payload)...)
	}
	go p.nc.Write(b)
	<-stalled
	p.nc.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	if n, err := p.nc.Read(make([]byte, 4)); err == nil {
		t.Fatalf("%d bytes acknowledged by a stalled log", n)
	}
	p.nc.SetReadDeadline(time.Now().Add(20 * time.Second))
	log.Resume()
	var want []byte
	for i := range total {
		want = mqtt.AppendPuback(want, uint16(i%65535+1))
	}
	p.want(want)
}

func TestKeepAliveEndsASilentConnection(t *testing.T) {
	s := start(t, newLog(t))
	p := s.connected(t, func(c *mqtt.Connect) { c.KeepAlive = 1 })
	begin := time.Now()
	p.wantClosed()
	if d := time.Since(begin); d < time.Second || d > 6*time.Second {
		t.Errorf("closed after %v", d)
	}
}

// idle gives a session as authentication leaves it.
func idle(t testing.TB) (*session, *silent) {
	t.Helper()
	d, door, _ := newDoor(t, newLog(t))
	c := &silent{}
	s := door.Open("MQTT")(c).(*session)
	if n, err := s.Receive(connectPacket(t, nil)); err != nil || n == 0 || s.dev == nil {
		t.Fatalf("connect: %d, %v", n, err)
	}
	t.Cleanup(func() { s.Closed(nil); <-d.ended })
	return s, c
}

// discard is a hub that settles at once, for what the door alone costs.
type discard struct {
	s  *session
	id iot.ID
}

func (d *discard) ID() iot.ID         { return d.id }
func (d *discard) Generation() uint64 { return 0 }
func (d *discard) Send(_ int64, msgs []iot.Message) bool {
	d.s.Durable(len(msgs), nil)
	return true
}
func (d *discard) Close(error)                                          {}
func (d *discard) Want(iot.Kind, bool)                                  {}
func (d *discard) Twin(func([]byte, error))                             {}
func (d *discard) Report([]byte, int64, func(version int64, err error)) {}
func (d *discard) Reply([]byte, int, []byte)                            {}
func (d *discard) Settle(iot.LockToken, iot.Outcome)                    {}

func TestPublishDoesNotAllocate(t *testing.T) {
	s, _ := idle(t)
	old := s.dev
	s.dev = &discard{s: s, id: iot.ID{Device: "d"}}
	defer func() { s.dev = old }()
	b := publishPacket(t, "devices/d/messages/events/%24.ct=application%2Fjson&%24.ce=utf-8&a=b%20c", 1, 9, make([]byte, 150))
	if n := testing.AllocsPerRun(1000, func() {
		if n, err := s.Receive(b); n != len(b) || err != nil {
			t.Fatal(n, err)
		}
	}); n > 0 {
		t.Errorf("%v allocations per message", n)
	}
}

func BenchmarkReceive(b *testing.B) {
	for _, per := range []int{1, 16} {
		b.Run(fmt.Sprintf("%d", per), func(b *testing.B) {
			s, _ := idle(b)
			old := s.dev
			s.dev = &discard{s: s, id: iot.ID{Device: "d"}}
			defer func() { s.dev = old }()
			one := publishPacket(b, "devices/d/messages/events/", 1, 9, make([]byte, 150))
			in := bytes.Repeat(one, per)
			b.SetBytes(int64(len(one)))
			b.ReportAllocs()
			for i := 0; i < b.N; i += per {
				if n, err := s.Receive(in); n != len(in) || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}
