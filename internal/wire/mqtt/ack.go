package mqtt

import "encoding/binary"

// Ack is a PUBACK, PUBREC, PUBREL or PUBCOMP packet (sections 3.4 to 3.7).
type Ack struct {
	Type       Type
	PacketID   uint16
	Reason     ReasonCode // MQTT 5.0
	Properties Properties // MQTT 5.0
}

// AppendPuback adds a PUBACK that reports success, the same in both versions.
func AppendPuback(dst []byte, id uint16) []byte {
	return append(dst, byte(PUBACK)<<4, 2, byte(id>>8), byte(id))
}

// DecodePuback reads the body of a PUBACK in MQTT 3.1.1.
func DecodePuback(body []byte) (id uint16, err error) {
	if len(body) != 2 {
		if len(body) < 2 {
			return 0, errShort
		}
		return 0, errTrailing
	}
	if id = binary.BigEndian.Uint16(body); id == 0 {
		return 0, errPacketID
	}
	return id, nil
}

// Decode reads the body of a packet that Next has cut.
func (a *Ack) Decode(h Header, body []byte, v Version) error {
	a.Type, a.Reason = h.Type, Success
	a.Properties.Reset()
	if a.Type < PUBACK || a.Type > PUBCOMP {
		return errAckType
	}
	r := reader{b: body}
	a.PacketID = r.packetID()
	if v == V5 {
		decodeReason(&r, &a.Reason, &a.Properties, a.Type)
	}
	return r.end(errTrailing)
}

// decodeReason reads the reason code and properties that may end a packet of
// MQTT 5.0 and may be left out from the end.
func decodeReason(r *reader, code *ReasonCode, p *Properties, t Type) {
	if r.err != nil || len(r.b) == 0 {
		return
	}
	*code = ReasonCode(r.byte())
	if !code.allowedIn(t) {
		r.fail(errReason)
		return
	}
	// AUTH leaves out both or none (section 3.15.2.1 of 5.0).
	if len(r.b) > 0 || t == AUTH {
		p.decode(r, t)
	}
}

// Append adds the packet, in MQTT 5.0 as short as it can be.
func (a *Ack) Append(dst []byte, v Version) ([]byte, error) {
	if a.Type < PUBACK || a.Type > PUBCOMP {
		return dst, errAckType
	}
	if a.PacketID == 0 {
		return dst, errPacketID
	}
	first := byte(a.Type) << 4
	if a.Type == PUBREL {
		first |= 2
	}
	return appendReason(dst, first, a.PacketID, a.Reason, &a.Properties, v)
}

// appendReason adds a packet of an identifier (none when it is 0), a reason
// code and properties.
func appendReason(dst []byte, first byte, id uint16, code ReasonCode, p *Properties, v Version) ([]byte, error) {
	t, n := Type(first>>4), 0
	if id != 0 {
		n = 2
	}
	if v != V5 {
		switch {
		case code != Success:
			return dst, errReasonVersion
		case !p.Empty():
			return dst, errPropVersion
		}
	}
	props := !p.Empty() || t == AUTH && code != Success
	if code != Success || props {
		if !code.allowedIn(t) {
			return dst, errReason
		}
		n++
	}
	if props {
		size, err := p.size(t)
		if err != nil {
			return dst, err
		}
		if n += size; n > MaxRemaining {
			return dst, errTooLong
		}
	}
	dst = appendHeader(dst, first, n)
	if id != 0 {
		dst = binary.BigEndian.AppendUint16(dst, id)
	}
	if code != Success || props {
		dst = append(dst, byte(code))
	}
	if props {
		dst = p.append(dst, t)
	}
	return dst, nil
}
