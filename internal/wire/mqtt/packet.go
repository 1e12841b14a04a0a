package mqtt

// Type is the type of a control packet (section 2.2.1).
type Type byte

// The control packets by the names of the standard.
const (
	CONNECT     Type = 1
	CONNACK     Type = 2
	PUBLISH     Type = 3
	PUBACK      Type = 4
	PUBREC      Type = 5
	PUBREL      Type = 6
	PUBCOMP     Type = 7
	SUBSCRIBE   Type = 8
	SUBACK      Type = 9
	UNSUBSCRIBE Type = 10
	UNSUBACK    Type = 11
	PINGREQ     Type = 12
	PINGRESP    Type = 13
	DISCONNECT  Type = 14
	AUTH        Type = 15 // MQTT 5.0 only
)

var typeNames = [16]string{
	"reserved", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
	"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
}

// String gives the name that the standard uses.
func (t Type) String() string { return typeNames[t&15] }

// Version is the protocol level of CONNECT.
type Version byte

// The protocol levels. Only V311 and V5 can be spoken.
const (
	V31  Version = 3 // "MQIsdp", recognised and refused
	V311 Version = 4
	V5   Version = 5
)

// MaxRemaining is the largest remaining length that the wire can hold.
const MaxRemaining = 268_435_455

// maxString is the largest length of a string or of binary data.
const maxString = 65_535

// Header is the first byte of a packet.
type Header struct {
	Type  Type
	Flags byte // the low four bits
}

// QoS of a PUBLISH packet.
func (h Header) QoS() byte { return h.Flags >> 1 & 3 }

// Dup tells whether a PUBLISH packet is marked as sent again.
func (h Header) Dup() bool { return h.Flags&8 != 0 }

// Retain flag of a PUBLISH packet.
func (h Header) Retain() bool { return h.Flags&1 != 0 }

// Next cuts the first packet off b: its header, its body (a view) and the
// number of bytes it takes. n is 0 when b does not hold a whole packet yet.
// maxPacket bounds the whole packet in bytes; 0 means the bound of the wire.
// What is wrong with the first byte or the length is refused as soon as it is
// there, before the body has arrived.
func Next(b []byte, maxPacket int) (h Header, body []byte, n int, err error) {
	if len(b) == 0 {
		return Header{}, nil, 0, nil
	}
	h = Header{Type: Type(b[0] >> 4), Flags: b[0] & 15}
	if err := h.check(); err != nil {
		return h, nil, 0, err
	}
	if len(b) < 2 {
		return h, nil, 0, nil
	}
	length, start := int(b[1]), 2
	if length >= 0x80 {
		length &= 0x7f
		for shift := 7; ; shift += 7 {
			if start == 5 {
				return h, nil, 0, errRemainingLength
			}
			if start == len(b) {
				return h, nil, 0, nil
			}
			c := b[start]
			start++
			length |= int(c&0x7f) << shift
			if c < 0x80 {
				break
			}
		}
	}
	end := start + length
	if maxPacket > 0 && end > maxPacket {
		return h, nil, 0, ErrPacketTooLarge
	}
	if length > 0 && (h.Type == PINGREQ || h.Type == PINGRESP) {
		return h, nil, 0, errPingBody
	}
	if end > len(b) {
		return h, nil, 0, nil
	}
	return h, b[start:end:end], end, nil
}

// check refuses types and flags that the standard reserves.
func (h Header) check() error {
	switch h.Type {
	case PUBLISH:
		switch {
		case h.QoS() == 3:
			return errPublishQoS3
		case h.Dup() && h.QoS() == 0:
			return errDupQoS0
		}
	case PUBREL, SUBSCRIBE, UNSUBSCRIBE:
		if h.Flags != 2 {
			return h.flagsError()
		}
	case 0:
		return errReservedType
	default:
		if h.Flags != 0 {
			return h.flagsError()
		}
	}
	return nil
}

func (h Header) flagsError() error {
	switch h.Type {
	case PUBREL:
		return errFlagsPubrel
	case SUBSCRIBE:
		return errFlagsSubscribe
	case UNSUBSCRIBE:
		return errFlagsUnsubscribe
	case DISCONNECT:
		return errFlagsDisconnect
	case AUTH:
		return errFlagsAuth
	default:
		return errFlags
	}
}

// appendHeader adds the fixed header. The caller has checked the length.
func appendHeader(dst []byte, first byte, remaining int) []byte {
	return appendVarint(append(dst, first), uint32(remaining))
}

func appendVarint(dst []byte, v uint32) []byte {
	for v >= 0x80 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}

func varintLen(v uint32) int {
	switch {
	case v < 1<<7:
		return 1
	case v < 1<<14:
		return 2
	case v < 1<<21:
		return 3
	default:
		return 4
	}
}
