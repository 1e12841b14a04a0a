package apptest

import (
	"context"
	"strings"
	"testing"
	"time"

	"dunlin/test/device"
	"dunlin/test/harness"
)

// link is a connection of a device whose packets are read one by one.
type link struct {
	*device.Conn
	t *testing.T
}

// connect makes a connection with a session that is to last, and reports
// whether there was one.
func connect(ctx context.Context, t *testing.T, s *harness.Server, id, key string) (c *link, present bool) {
	t.Helper()
	nc, err := device.Dial(ctx, s.PlainAddr(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	c = &link{nc, t}
	c.send(device.HelloFor("localhost", id, key).Packet())
	p := c.next(device.Connack)
	if p.Body[1] != 0 {
		t.Fatalf("refused with CONNACK %d", p.Body[1])
	}
	return c, p.Body[0] == 1
}

func (c *link) send(p device.Packet) {
	c.t.Helper()
	if err := c.Send(p); err != nil {
		c.t.Fatal(err)
	}
}

func (c *link) next(kind byte) device.Packet {
	c.t.Helper()
	p, err := c.Receive(20 * time.Second)
	if err != nil || p.Type != kind {
		c.t.Fatalf("got %+v, %v, want a packet of the type %d", p, err, kind)
	}
	return p
}

func (c *link) subscribe(filter string, qos byte) {
	c.t.Helper()
	c.send(device.Filter(1, filter, qos))
	c.next(device.Suback)
}

// message reads a PUBLISH.
func (c *link) message() (topic, body string, id []byte, dup bool) {
	c.t.Helper()
	p := c.next(device.Publish)
	n := int(p.Body[0])<<8 | int(p.Body[1])
	rest := p.Body[2+n:]
	if p.Flags&0x06 != 0 {
		id, rest = rest[:2], rest[2:]
	}
	return string(p.Body[2 : 2+n]), string(rest), id, p.Flags&0x08 != 0
}

// TestTakeover: what a device was asked and sent over a connection is answered
// and settled over the one that took over.
func TestTakeover(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Plain: true})
	key := s.Device("d")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	first, present := connect(ctx, t, s, "d", key)
	if present {
		t.Error("a device that was never there has a session")
	}
	first.subscribe("$iothub/methods/POST/#", 0)
	first.subscribe("devices/d/messages/devicebound/#", 1)

	printed := make(chan string, 1)
	go func() { printed <- s.CLI("method", "invoke", "d", "slow", `{"a":1}`) }()
	topic, _, _, _ := first.message()
	_, rid, _ := strings.Cut(topic, "?$rid=")
	s.CLI("message", "send", "d", "one")
	s.CLI("message", "send", "d", "two")
	_, body, id, dup := first.message()
	if body != "one" || dup {
		t.Errorf("got %q, dup %v", body, dup)
	}
	first.send(device.Packet{Type: device.Puback, Body: id})
	if _, body, _, _ = first.message(); body != "two" {
		t.Errorf("got %q", body)
	}

	second, present := connect(ctx, t, s, "d", key)
	if !present {
		t.Error("the session is not there")
	}
	if p, err := first.Receive(10 * time.Second); err == nil {
		t.Errorf("the connection that was taken over got %+v", p)
	}
	second.send(device.Message("$iothub/methods/res/200/?$rid="+rid, []byte(`"late"`), 0, 0))
	if out := <-printed; out != "status   200\npayload  \"late\"\n" {
		t.Errorf("the call printed %q", out)
	}
	second.subscribe("devices/d/messages/devicebound/#", 1)
	_, body, id, dup = second.message()
	if body != "two" || !dup {
		t.Errorf("got %q, dup %v; want the message that was not acknowledged, again", body, dup)
	}
	second.send(device.Packet{Type: device.Puback, Body: id})
	second.send(device.Packet{Type: device.Disconnect})
	if _, err := second.Receive(10 * time.Second); err == nil {
		t.Error("the connection goes on after DISCONNECT")
	}

	// A subscription outlives its connection.
	s.CLI("message", "send", "d", "three")
	third, present := connect(ctx, t, s, "d", key)
	if !present {
		t.Error("the session is not there")
	}
	_, body, id, _ = third.message()
	if body != "three" {
		t.Errorf("got %q", body)
	}
	third.send(device.Packet{Type: device.Puback, Body: id})
	if err := s.Stop(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
}
