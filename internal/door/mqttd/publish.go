package mqttd

import (
	"bytes"

	"dunlin/internal/iot"
	"dunlin/internal/wire/bag"
	"dunlin/internal/wire/mqtt"
)

// batch is the scratch of one Receive: the publishes of one read, as views of
// the read buffer or of text.
type batch struct {
	msgs []iot.Message
	ids  []uint16
	text []byte // decoded property bags
}

// maxBatchText is the largest scratch that goes back to the pool.
const maxBatchText = 64 << 10

// next gives the next message, with the slices of an earlier use.
func (t *batch) next() *iot.Message {
	if len(t.msgs) < cap(t.msgs) {
		t.msgs = t.msgs[:len(t.msgs)+1]
	} else {
		t.msgs = append(t.msgs, iot.Message{})
	}
	m := &t.msgs[len(t.msgs)-1]
	m.System, m.Properties, m.Body = m.System[:0], m.Properties[:0], nil
	return m
}

// drop takes back the message that next gave.
func (t *batch) drop() { t.msgs = t.msgs[:len(t.msgs)-1] }

func (t *batch) reset() {
	t.msgs, t.ids, t.text = t.msgs[:0], t.ids[:0], t.text[:0]
	if cap(t.text) > maxBatchText {
		t.text = nil
	}
}

// telemetryTopic is where an identity publishes, without the last slash.
func telemetryTopic(id iot.ID) string {
	if id.IsModule() {
		return "devices/" + id.Device + "/modules/" + id.Module + "/messages/events"
	}
	return "devices/" + id.Device + "/messages/events"
}

// bagOf gives the property bag of a telemetry topic, everything behind its
// slash, and whether the topic is telemetry at all.
func bagOf(telemetry string, topic []byte) (bag []byte, ok bool) {
	if len(topic) < len(telemetry) || string(topic[:len(telemetry)]) != telemetry {
		return nil, false
	}
	rest := topic[len(telemetry):]
	if len(rest) == 0 {
		return nil, true
	}
	if rest[0] != '/' {
		return nil, false
	}
	return rest[1:], true
}

// Properties that stand for flags of the packet.
var (
	nameRetain = []byte("mqtt-retain")
	nameDup    = []byte("mqtt-dup")
	valueTrue  = []byte("true")
)

// publish adds one PUBLISH to the batch.
func (s *session) publish(t *batch, h mqtt.Header, body []byte) error {
	// The topic is compared with this identity's and its bag is decoded; that
	// it holds no wildcard [MQTT-3.3.2-2] is not asked, since device ids and
	// property bags may well hold + and #.
	topic, packetID, payload, err := mqtt.SplitPublish(h, body)
	if err != nil {
		return err
	}
	if h.QoS() > 1 {
		return iot.Errorf(iot.BadRequest, "PUBLISH with QoS 2 is not supported; use QoS 0 or 1")
	}
	text, ok := bagOf(s.telemetry, topic)
	if !ok && isRequest(topic) {
		if len(t.msgs) > 0 { // what came before it goes first
			s.send(t)
			t.reset()
		}
		return s.request(topic, payload, packetID)
	}
	if !ok {
		return foreignTopic(s.telemetry, topic)
	}
	m := t.next()
	if t.text, err = bag.Parse(m, t.text, text); err != nil {
		t.drop()
		return iot.Errorf(iot.ArgumentInvalid, "property bag of the topic: %w", err)
	}
	if h.Retain() {
		m.Properties = append(m.Properties, iot.Property{Name: nameRetain, Value: valueTrue})
	}
	if h.Dup() {
		m.Properties = append(m.Properties, iot.Property{Name: nameDup, Value: valueTrue})
	}
	m.Body = payload
	if n := m.Size(); n > iot.MaxMessage {
		t.drop()
		return iot.Errorf(iot.MessageTooLarge,
			"message of %d bytes (body, properties and their names); the limit is %d", n, iot.MaxMessage)
	}
	t.ids = append(t.ids, packetID) // 0 with QoS 0
	return nil
}

func foreignTopic(telemetry string, topic []byte) error {
	shown := string(topic[:min(len(topic), 128)])
	switch {
	case isRequest(topic):
		return iot.Errorf(iot.BadRequest,
			"topic %q is not one that a device publishes to; telemetry goes to %q", shown, telemetry+"/")
	case bytes.HasPrefix(topic, []byte("devices/")):
		return iot.Errorf(iot.UnauthorizedAccess,
			"topic %q is not this identity's; telemetry goes to %q", shown, telemetry+"/")
	}
	return iot.Errorf(iot.BadRequest, "topic %q is not a topic of the hub; telemetry goes to %q", shown, telemetry+"/")
}

// The property that marks the message of a will.
var (
	nameWill  = []byte("iothub-MessageType")
	valueWill = []byte("Will")
)

// parseWill keeps a copy of the will of a CONNECT as the message it becomes.
func parseWill(telemetry string, c *mqtt.Connect) (*iot.Message, *iot.Error) {
	if !c.HasWill {
		return nil, nil
	}
	text, ok := bagOf(telemetry, c.Will.Topic)
	if !ok {
		return nil, iot.Errorf(iot.ArgumentInvalid,
			"the will topic must be the telemetry topic %q, not %q", telemetry+"/", c.Will.Topic)
	}
	if c.Will.QoS > 1 {
		return nil, iot.Errorf(iot.ArgumentInvalid, "a will with QoS 2 is not supported; use QoS 0 or 1")
	}
	var m iot.Message
	if _, err := bag.Parse(&m, nil, bytes.Clone(text)); err != nil {
		return nil, iot.Errorf(iot.ArgumentInvalid, "property bag of the will topic: %w", err)
	}
	if c.Will.Retain {
		m.Properties = append(m.Properties, iot.Property{Name: nameRetain, Value: valueTrue})
	}
	m.Properties = append(m.Properties, iot.Property{Name: nameWill, Value: valueWill})
	m.Body = bytes.Clone(c.Will.Payload)
	if n := m.Size(); n > iot.MaxMessage {
		return nil, iot.Errorf(iot.MessageTooLarge, "will of %d bytes; the limit is %d", n, iot.MaxMessage)
	}
	return &m, nil
}
