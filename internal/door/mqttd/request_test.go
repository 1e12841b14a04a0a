package mqttd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"dunlin/internal/engine/eventlog/faultlog"
	"dunlin/internal/iot"
	"dunlin/internal/wire/mqtt"
)

func subscribePacket(t *testing.T, qos byte, filters ...string) []byte {
	t.Helper()
	p := mqtt.Subscribe{PacketID: 3}
	for _, f := range filters {
		p.Subscriptions = append(p.Subscriptions, mqtt.Subscription{Filter: []byte(f), QoS: qos})
	}
	b, err := p.Append(nil, mqtt.V311)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// publish reads one PUBLISH.
func (p *peer) publish() mqtt.Publish {
	p.t.Helper()
	var buf [4096]byte
	for {
		h, body, n, err := mqtt.Next(p.in, 0)
		if err != nil {
			p.t.Fatal(err)
		}
		if n > 0 {
			p.in = p.in[n:]
			var got mqtt.Publish
			if h.Type != mqtt.PUBLISH {
				p.t.Fatalf("got %s", h.Type)
			}
			if err := got.Decode(h, body, mqtt.V311); err != nil {
				p.t.Fatal(err)
			}
			return got
		}
		m, err := p.nc.Read(buf[:])
		if err != nil {
			p.t.Fatal(err)
		}
		p.in = append(p.in, buf[:m]...)
	}
}

var device = iot.ID{Device: "d"}

func TestSubscribe(t *testing.T) {
	s := start(t, newLog(t))
	p := s.connected(t, nil)
	p.send(subscribePacket(t, 2, "devices/d/messages/devicebound/#", "devices/e/messages/devicebound/#", "$iothub/twin/res/#", "a/#"))
	p.want([]byte{0x90, 6, 0, 3, 1, 0x80, 1, 0x80})
	if k := <-s.device(device).wants; k != iot.KindMessage {
		t.Errorf("hub was asked for %d", k)
	}
	p.send(subscribePacket(t, 0, "$iothub/methods/POST/#", "$iothub/methods/POST/one/#", "$iothub/twin/PATCH/properties/desired/#"))
	p.want([]byte{0x90, 5, 0, 3, 0, 0, 0})
	un := mqtt.Unsubscribe{PacketID: 4, Filters: [][]byte{[]byte("$iothub/methods/POST/#")}}
	b, err := un.Append(nil, mqtt.V311)
	if err != nil {
		t.Fatal(err)
	}
	p.send(b)
	p.want([]byte{0xb0, 2, 0, 4})
	if s.conn(device).Deliver(&iot.Inbound{Kind: iot.KindMethod, Request: "1", Method: "m"}) {
		t.Error("a call was delivered after UNSUBSCRIBE")
	}
	p.send([]byte{0xc0, 0})
	p.want([]byte{0xd0, 0})
}

func TestModuleSubscribesToItsInputs(t *testing.T) {
	s := start(t, newLog(t))
	p := s.connected(t, func(c *mqtt.Connect) {
		c.ClientID, c.UserName = []byte("d/m"), []byte("hub.test/d/m/?api-version=2021-04-12")
	})
	p.send(subscribePacket(t, 1, "devices/d/modules/m/inputs/#", "devices/d/modules/m/#", "devices/d/modules/x/#", "devices/d/messages/devicebound/#"))
	p.want([]byte{0x90, 6, 0, 3, 1, 1, 0x80, 0x80})
}

func TestTwinRequests(t *testing.T) {
	s := start(t, newLog(t))
	p := s.connected(t, nil)
	p.send(subscribePacket(t, 1, "$iothub/twin/res/#"))
	p.want([]byte{0x90, 3, 0, 3, 1})
	p.send(publishPacket(t, "$iothub/twin/GET/?$rid=a-b%20c", 0, 0, []byte(" ")))
	got := p.publish()
	if string(got.Topic) != "$iothub/twin/res/200/?$rid=a-b%20c" || !bytes.HasPrefix(got.Payload, []byte(`{"desired"`)) || got.QoS != 1 {
		t.Errorf("got %s %s", got.Topic, got.Payload)
	}
	for i := range 3 {
		p.send(publishPacket(t, fmt.Sprintf("$iothub/twin/PATCH/properties/reported/?$rid=%d", i), 0, 0, []byte(`{"a":1}`)))
		if got := p.publish(); string(got.Topic) != fmt.Sprintf("$iothub/twin/res/204/?$rid=%d&$version=%d", i, i+1) || len(got.Payload) != 0 {
			t.Errorf("got %s %s", got.Topic, got.Payload)
		}
	}
	p.send(publishPacket(t, "$iothub/twin/PATCH/properties/reported/?$rid=9&$version=1", 0, 0, []byte(`{"a":1}`)))
	got = p.publish()
	var body struct {
		ErrorCode int
		Message   string
	}
	if err := json.Unmarshal(got.Payload, &body); err != nil || string(got.Topic) != "$iothub/twin/res/412/?$rid=9" ||
		body.ErrorCode != 412001 || body.Message == "" {
		t.Errorf("got %s %s (%v)", got.Topic, got.Payload, err)
	}
}

// TestRequestsWithoutSubscription are acknowledged and done, and not answered.
func TestRequestsWithoutSubscription(t *testing.T) {
	s := start(t, newLog(t))
	p := s.connected(t, nil)
	p.send(publishPacket(t, "$iothub/twin/GET/?$rid=1", 1, 5, nil))
	p.want([]byte{0x40, 2, 0, 5})
	p.send([]byte{0xc0, 0})
	p.want([]byte{0xd0, 0})
}

// TestAcknowledgementsKeepTheirOrder [MQTT-4.6.0-2]: that of a request does
// not overtake those of telemetry that is not durable yet.
func TestAcknowledgementsKeepTheirOrder(t *testing.T) {
	stalled := make(chan struct{})
	log := faultlog.Wrap(newLog(t), func(number, _, _ int) faultlog.Verdict {
		if number == 0 {
			close(stalled)
		}
		return faultlog.Verdict{Stall: number == 0}
	})
	s := start(t, log)
	p := s.connected(t, nil)
	var b []byte
	b = append(b, publishPacket(t, "devices/d/messages/events/", 1, 1, nil)...)
	b = append(b, publishPacket(t, "$iothub/twin/GET/?$rid=1", 1, 2, nil)...)
	b = append(b, publishPacket(t, "devices/d/messages/events/", 1, 3, nil)...)
	b = append(b, publishPacket(t, "$iothub/methods/res/200/?$rid=1", 1, 4, nil)...)
	p.send(b)
	<-stalled
	p.nc.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if n, err := p.nc.Read(make([]byte, 4)); err == nil {
		t.Fatalf("%d bytes before the telemetry was durable", n)
	}
	p.nc.SetReadDeadline(time.Now().Add(20 * time.Second))
	log.Resume()
	p.want([]byte{0x40, 2, 0, 1, 0x40, 2, 0, 2, 0x40, 2, 0, 3, 0x40, 2, 0, 4})
}

func TestMethodCall(t *testing.T) {
	s := start(t, newLog(t))
	p := s.connected(t, nil)
	p.send(subscribePacket(t, 0, "$iothub/methods/POST/#"))
	p.want([]byte{0x90, 3, 0, 3, 0})
	if !s.conn(device).Deliver(&iot.Inbound{Kind: iot.KindMethod, Request: "1f", Method: "reboot", Payload: []byte(`{"in":5}`)}) {
		t.Fatal("not delivered")
	}
	got := p.publish()
	if string(got.Topic) != "$iothub/methods/POST/reboot/?$rid=1f" || string(got.Payload) != `{"in":5}` || got.QoS != 0 {
		t.Errorf("got %s %s", got.Topic, got.Payload)
	}
	p.send(publishPacket(t, "$iothub/methods/res/-7/?$rid=1f", 0, 0, []byte(`"done"`)))
	if r := <-s.device(device).replies; r != `1f -7 "done"` {
		t.Errorf("reply %q", r)
	}
}

func TestDesiredChange(t *testing.T) {
	s := start(t, newLog(t))
	p := s.connected(t, nil)
	in := &iot.Inbound{Kind: iot.KindDesired, Version: 7, Patch: []byte(`{"a":null,"$version":7}`)}
	if s.conn(device).Deliver(in) {
		t.Error("delivered without a subscription")
	}
	p.send(subscribePacket(t, 1, "$iothub/twin/PATCH/properties/desired/#"))
	p.want([]byte{0x90, 3, 0, 3, 1})
	if !s.conn(device).Deliver(in) {
		t.Fatal("not delivered")
	}
	got := p.publish()
	if string(got.Topic) != "$iothub/twin/PATCH/properties/desired/?$version=7" || string(got.Payload) != `{"a":null,"$version":7}` || got.QoS != 1 {
		t.Errorf("got %s %s", got.Topic, got.Payload)
	}
	p.send(mqtt.AppendPuback(nil, got.PacketID)) // nothing waits for it
	p.send([]byte{0xc0, 0})
	p.want([]byte{0xd0, 0})
}

func TestCloudToDeviceMessage(t *testing.T) {
	in := &iot.Inbound{
		Kind: iot.KindMessage, Token: iot.LockToken{1, 2, 3},
		Message: iot.Message{
			System:     []iot.SystemProperty{{Key: iot.MessageID, Value: []byte("m1")}, {Key: iot.To, Value: []byte("/devices/d/messages/devicebound")}},
			Properties: []iot.Property{{Name: []byte("p1"), Value: []byte("v 1")}},
			Body:       []byte("hello"),
		},
	}
	t.Run("QoS 1 is complete with PUBACK", func(t *testing.T) {
		s := start(t, newLog(t))
		p := s.connected(t, nil)
		p.send(subscribePacket(t, 1, "devices/d/messages/devicebound/#"))
		p.want([]byte{0x90, 3, 0, 3, 1})
		if !s.conn(device).Deliver(in) {
			t.Fatal("not delivered")
		}
		got := p.publish()
		if string(got.Topic) != "devices/d/messages/devicebound/%24.mid=m1&%24.to=%2Fdevices%2Fd%2Fmessages%2Fdevicebound&p1=v%201" ||
			string(got.Payload) != "hello" || got.Dup {
			t.Errorf("got %s %s", got.Topic, got.Payload)
		}
		select {
		case <-s.device(device).settled:
			t.Fatal("settled before PUBACK")
		case <-time.After(50 * time.Millisecond):
		}
		p.send(mqtt.AppendPuback(nil, got.PacketID))
		if token := <-s.device(device).settled; token != in.Token {
			t.Errorf("settled %x", token)
		}
		again := *in
		again.Redelivered = true
		s.conn(device).Deliver(&again)
		if got := p.publish(); !got.Dup {
			t.Error("a second delivery has no DUP")
		}
	})
	t.Run("QoS 0 is complete at once", func(t *testing.T) {
		s := start(t, newLog(t))
		p := s.connected(t, nil)
		p.send(subscribePacket(t, 0, "devices/d/messages/devicebound/#"))
		p.want([]byte{0x90, 3, 0, 3, 0})
		s.conn(device).Deliver(in)
		p.publish()
		if token := <-s.device(device).settled; token != in.Token {
			t.Errorf("settled %x", token)
		}
	})
}
