package mqttd

import (
	"strconv"

	"dunlin/internal/iot"
	"dunlin/internal/wire/bag"
	"dunlin/internal/wire/mqtt"
)

// Deliver implements hub.Conn.
func (s *session) Deliver(in *iot.Inbound) bool {
	var which subscription
	var topic []byte
	payload := in.Payload
	switch in.Kind {
	case iot.KindMethod:
		which = subMethods
		topic = append(topic, topicMethod...)
		topic = append(topic, in.Method...)
		topic = append(append(topic, "/?$rid="...), in.Request...)
	case iot.KindDesired:
		which, payload = subDesired, in.Patch
		topic = strconv.AppendInt(append(topic, topicDesired+"?$version="...), in.Version, 10)
	case iot.KindMessage:
		which, payload = subMessages, in.Message.Body
	}
	s.mu.Lock()
	if s.ended || s.failed || s.out == nil || s.out.qos[which] == none {
		s.mu.Unlock()
		return false
	}
	p := mqtt.Publish{Topic: topic, Payload: payload, QoS: s.out.qos[which], PacketID: s.out.nextID(s.out.qos[which])}
	dev, message := s.dev, in.Kind == iot.KindMessage
	if message {
		p.Topic = messageTopic(dev.ID(), in)
	}
	if message && p.QoS > 0 {
		if s.out.tokens == nil {
			s.out.tokens = map[uint16]iot.LockToken{}
		}
		s.out.tokens[p.PacketID] = in.Token
		p.Dup = in.Redelivered
	}
	// Under the lock, so that what is delivered leaves in order.
	ok := s.write(&p)
	s.mu.Unlock()
	if message && p.QoS == 0 && ok {
		dev.Settle(in.Token, iot.Complete) // nothing will be heard of it
	}
	return ok
}

// write sends a PUBLISH; false when the wire cannot hold it.
func (s *session) write(p *mqtt.Publish) bool {
	out, err := p.Append(nil, mqtt.V311)
	if err != nil {
		return false
	}
	s.conn.Write(out)
	return true
}

// messageTopic is the topic of a cloud-to-device message: its properties are
// the bag at the end.
func messageTopic(id iot.ID, in *iot.Inbound) []byte {
	topic := append([]byte("devices/"), id.Device...)
	if id.IsModule() {
		topic = append(append(topic, "/modules/"...), id.Module...)
	}
	topic = append(topic, "/messages/devicebound/"...)
	return bag.Append(topic, &in.Message)
}

// acknowledged takes a PUBACK. One that nothing waits for is ignored: it
// answers a method call or a twin change, or came twice.
func (s *session) acknowledged(body []byte) error {
	id, err := mqtt.DecodePuback(body)
	if err != nil {
		return err
	}
	s.mu.Lock()
	var token iot.LockToken
	found := false
	if s.out != nil {
		if token, found = s.out.tokens[id]; found {
			delete(s.out.tokens, id)
		}
	}
	s.mu.Unlock()
	if found {
		s.dev.Settle(token, iot.Complete)
	}
	return nil
}
