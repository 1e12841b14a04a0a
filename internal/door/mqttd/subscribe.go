package mqttd

import (
	"bytes"
	"time"

	"dunlin/internal/iot"
	"dunlin/internal/wire/mqtt"
)

// subscription is one of the filters that a device may subscribe to.
type subscription uint8

const (
	subMessages subscription = iota // cloud-to-device messages
	subTwin                         // answers to twin requests
	subDesired                      // changes of the desired properties
	subMethods                      // direct method requests
	subInputs                       // inputs of a module: routed to it by an edge runtime
	subscriptions
)

// kindOf is what the hub is asked for with a subscription; 0 for nothing.
var kindOf = [subscriptions]iot.Kind{subMessages: iot.KindMessage, subDesired: iot.KindDesired, subMethods: iot.KindMethod}

// none marks a subscription that is not there, in place of its QoS.
const none = 0xff

// subscribe answers SUBSCRIBE. A filter that is not the identity's is refused
// alone, and the connection stays.
func (s *session) subscribe(body []byte) error {
	var p mqtt.Subscribe
	if err := p.Decode(body, mqtt.V311); err != nil {
		return err
	}
	codes := make([]byte, len(p.Subscriptions))
	var want []iot.Kind
	s.mu.Lock()
	if s.out == nil {
		s.out = newOutbox()
	}
	for i, sub := range p.Subscriptions {
		codes[i] = mqtt.SubackFailure
		which, ok := filterOf(s.dev.ID(), sub.Filter)
		if !ok || s.out.qos[which] == none && s.out.count() >= maxFilters {
			continue
		}
		codes[i] = min(sub.QoS, 1)
		s.out.qos[which] = codes[i]
		if which == subMessages {
			s.subscribed(codes[i])
		}
		if kind := kindOf[which]; kind != 0 {
			want = append(want, kind)
		}
	}
	s.conn.Write(mqtt.AppendSuback(nil, p.PacketID, codes))
	s.mu.Unlock()
	// Only now, as it brings what has waited, and SUBACK comes first.
	for _, kind := range want {
		s.dev.Want(kind, true)
	}
	return nil
}

func (s *session) unsubscribe(body []byte) error {
	var p mqtt.Unsubscribe
	if err := p.Decode(body, mqtt.V311); err != nil {
		return err
	}
	for _, filter := range p.Filters {
		which, ok := filterOf(s.dev.ID(), filter)
		if !ok {
			continue
		}
		if kind := kindOf[which]; kind != 0 {
			s.dev.Want(kind, false)
		}
		s.mu.Lock()
		if s.out != nil {
			s.out.qos[which] = none
		}
		if which == subMessages {
			s.subscribed(none)
		}
		s.mu.Unlock()
	}
	s.conn.Write(mqtt.AppendUnsuback(nil, p.PacketID))
	return nil
}

// subscribed notes a subscription to messages for the time after this
// connection. It is called under mu.
func (s *session) subscribed(qos byte) {
	if s.out != nil && s.out.resume != nil {
		s.out.resume.Stop()
		s.out.resume = nil
	}
	s.door.kept.subscribed(s.dev.ID(), s.dev.Generation(), qos)
}

// outbox is what a connection that has subscribed to something needs; others
// do without it.
type outbox struct {
	qos    [subscriptions]byte // granted, or none
	lastID uint16
	tokens map[uint16]iot.LockToken // messages that wait for PUBACK
	resume *time.Timer              // runs while an old subscription waits for a new one
}

func newOutbox() *outbox {
	o := &outbox{}
	for i := range o.qos {
		o.qos[i] = none
	}
	return o
}

func (o *outbox) count() int { return int(subscriptions) - bytes.Count(o.qos[:], []byte{none}) }

// nextID gives a packet identifier that no message waits with; 0 with QoS 0.
func (o *outbox) nextID(qos byte) uint16 {
	if qos == 0 {
		return 0
	}
	for {
		o.lastID++
		if _, used := o.tokens[o.lastID]; !used && o.lastID != 0 {
			return o.lastID
		}
	}
}
