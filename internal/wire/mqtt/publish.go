package mqtt

import "encoding/binary"

// Publish is a PUBLISH packet (section 3.3).
type Publish struct {
	Topic      []byte // may be empty in MQTT 5.0 when TopicAlias is set
	Payload    []byte
	PacketID   uint16 // 0 with QoS 0, never 0 otherwise
	QoS        byte
	Dup        bool
	Retain     bool
	Properties Properties // MQTT 5.0
}

// SplitPublish is the cheap half of Publish.Decode: it finds the topic, the
// packet identifier (0 with QoS 0) and what follows, the payload in MQTT 3.1.1
// and properties with the payload in 5.0. It checks lengths and identifier but
// not the topic: a caller that sees the same topic again and again compares it
// with one that CheckTopic has passed.
func SplitPublish(h Header, body []byte) (topic []byte, id uint16, rest []byte, err error) {
	if len(body) < 2 {
		return nil, 0, nil, errShort
	}
	end := 2 + int(binary.BigEndian.Uint16(body))
	if h.Flags&6 == 0 {
		if end > len(body) {
			return nil, 0, nil, errShort
		}
		return body[2:end:end], 0, body[end:], nil
	}
	if end+2 > len(body) {
		return nil, 0, nil, errShort
	}
	id = binary.BigEndian.Uint16(body[end:])
	if id == 0 {
		return nil, 0, nil, errPacketID
	}
	return body[2:end:end], id, body[end+2:], nil
}

// Decode reads the body of a packet that Next has cut.
func (p *Publish) Decode(h Header, body []byte, v Version) error {
	p.QoS, p.Dup, p.Retain = h.QoS(), h.Dup(), h.Retain()
	p.Properties.Reset()
	var err error
	if p.Topic, p.PacketID, p.Payload, err = SplitPublish(h, body); err != nil {
		return err
	}
	if v != V5 {
		return CheckTopic(p.Topic)
	}
	r := reader{b: p.Payload}
	p.Properties.decode(&r, PUBLISH)
	if r.err != nil {
		return r.err
	}
	p.Payload = r.b
	if len(p.Topic) > 0 {
		return CheckTopic(p.Topic)
	}
	if _, ok := p.Properties.Uint(TopicAlias); !ok {
		return errTopicNoAlias
	}
	return nil
}

// Append adds the packet. The topic is the caller's to check.
func (p *Publish) Append(dst []byte, v Version) ([]byte, error) {
	first := byte(PUBLISH)<<4 | p.QoS<<1
	switch {
	case p.QoS > 2:
		return dst, errPublishQoS3
	case p.QoS == 0 && p.Dup:
		return dst, errDupQoS0
	case p.QoS > 0 && p.PacketID == 0:
		return dst, errPacketID
	case len(p.Topic) > maxString:
		return dst, errStringLen
	}
	if p.Dup {
		first |= 8
	}
	if p.Retain {
		first |= 1
	}
	n := 2 + len(p.Topic) + len(p.Payload)
	if p.QoS > 0 {
		n += 2
	}
	if v == V5 {
		size, err := p.Properties.size(PUBLISH)
		if err != nil {
			return dst, err
		}
		n += size
	} else if !p.Properties.Empty() {
		return dst, errPropVersion
	}
	if n > MaxRemaining {
		return dst, errTooLong
	}
	dst = appendBinary(appendHeader(dst, first, n), p.Topic)
	if p.QoS > 0 {
		dst = binary.BigEndian.AppendUint16(dst, p.PacketID)
	}
	if v == V5 {
		dst = p.Properties.append(dst, PUBLISH)
	}
	return append(dst, p.Payload...), nil
}
