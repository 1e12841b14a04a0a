package mqtt

import "encoding/binary"

// Bits of the connect flags (section 3.1.2.3).
const (
	flagReserved   = 0x01
	flagCleanStart = 0x02
	flagWill       = 0x04
	flagWillRetain = 0x20
	flagPassword   = 0x40
	flagUserName   = 0x80
)

// Connect is a CONNECT packet (section 3.1).
type Connect struct {
	Version    Version
	CleanStart bool   // clean session in MQTT 3.1.1
	KeepAlive  uint16 // seconds, 0 means none
	ClientID   []byte // may be empty
	HasWill    bool
	Will       Will
	UserName   []byte     // nil when absent
	Password   []byte     // nil when absent
	Properties Properties // MQTT 5.0
}

// Will is the message that a server publishes when a connection ends badly.
// Decode checks that the topic is text and not empty; that it has no wildcards
// (CheckTopic) is for the caller, as no clause closes the connection for it.
type Will struct {
	Topic      []byte
	Payload    []byte
	QoS        byte
	Retain     bool
	Properties Properties // MQTT 5.0
}

// Decode reads the body of a packet that Next has cut. For a version that the
// codec does not speak it gives ErrUnsupportedVersion and sets Version; for
// MQTT 3.1 ("MQIsdp"), which has the layout of 3.1.1, it also reads the fields
// as far as they are right, so that a server can say who asked.
func (c *Connect) Decode(body []byte) error {
	props, will := c.Properties, c.Will.Properties // keep their memory
	*c = Connect{Properties: props, Will: Will{Properties: will}}
	c.Properties.Reset()
	c.Will.Properties.Reset()

	r := reader{b: body}
	name := r.binary(errProtocolName)
	if r.err != nil {
		return r.err
	}
	switch string(name) {
	case "MQTT":
		c.Version = Version(r.byte())
		if r.err != nil {
			return r.err
		}
		if c.Version != V311 && c.Version != V5 {
			return ErrUnsupportedVersion
		}
	case "MQIsdp":
		if c.Version = Version(r.byte()); c.Version != V31 {
			return errProtocolName
		}
		_ = c.decodeFields(&r) // only to tell who it was; the answer is the same
		return ErrUnsupportedVersion
	default:
		return errProtocolName
	}
	return c.decodeFields(&r)
}

func (c *Connect) decodeFields(r *reader) error {
	flags := r.byte()
	if r.err == nil {
		r.err = checkConnectFlags(flags, c.Version)
	}
	c.CleanStart = flags&flagCleanStart != 0
	c.KeepAlive = r.uint16()
	if c.Version == V5 {
		c.Properties.decode(r, CONNECT)
	}
	c.ClientID = r.string(errClientIDMissing, errClientIDUTF8)
	if flags&flagWill != 0 && r.err == nil {
		c.HasWill = true
		w := &c.Will
		w.QoS, w.Retain = flags>>3&3, flags&flagWillRetain != 0
		if c.Version == V5 {
			w.Properties.decode(r, willPacket)
		}
		w.Topic = r.string(errWillMissing, errWillTopicUTF8)
		if len(w.Topic) == 0 {
			r.fail(errTopicEmpty)
		}
		w.Payload = r.binary(errWillMissing)
	}
	if flags&flagUserName != 0 {
		c.UserName = r.string(errUserMissing, errUserUTF8)
	}
	if flags&flagPassword != 0 {
		c.Password = r.binary(errPasswordMissing)
	}
	return r.end(errPayloadOrder)
}

func checkConnectFlags(flags byte, v Version) error {
	switch {
	case flags&flagReserved != 0:
		return errConnectFlag
	case flags&flagWill == 0 && flags>>3&3 != 0:
		return errWillQoSNoWill
	case flags>>3&3 == 3:
		return errWillQoS3
	case flags&flagWill == 0 && flags&flagWillRetain != 0:
		return errWillRetainNoWill
	case v != V5 && flags&flagPassword != 0 && flags&flagUserName == 0:
		return errPasswordNoUser
	default:
		return nil
	}
}

// Append adds the packet. Topic and texts are the caller's to check.
func (c *Connect) Append(dst []byte) ([]byte, error) {
	if c.Version != V311 && c.Version != V5 {
		return dst, ErrUnsupportedVersion
	}
	var flags byte
	if c.CleanStart {
		flags |= flagCleanStart
	}
	n := 10 // protocol name and version, flags, keep alive
	add := func(b []byte) error {
		n += 2 + len(b)
		if len(b) > maxString {
			return errStringLen
		}
		return nil
	}
	if err := add(c.ClientID); err != nil {
		return dst, err
	}
	if c.HasWill {
		if c.Will.QoS > 2 {
			return dst, errWillQoS3
		}
		flags |= flagWill | c.Will.QoS<<3
		if c.Will.Retain {
			flags |= flagWillRetain
		}
		if err := add(c.Will.Topic); err != nil {
			return dst, err
		}
		if err := add(c.Will.Payload); err != nil {
			return dst, err
		}
	}
	if c.UserName != nil {
		flags |= flagUserName
		if err := add(c.UserName); err != nil {
			return dst, err
		}
	}
	if c.Password != nil {
		flags |= flagPassword
		if err := add(c.Password); err != nil {
			return dst, err
		}
	}
	if err := checkConnectFlags(flags, c.Version); err != nil {
		return dst, err
	}
	if c.Version == V5 {
		size, err := c.Properties.size(CONNECT)
		if err != nil {
			return dst, err
		}
		n += size
		if c.HasWill {
			if size, err = c.Will.Properties.size(willPacket); err != nil {
				return dst, err
			}
			n += size
		}
	} else if !c.Properties.Empty() || c.HasWill && !c.Will.Properties.Empty() {
		return dst, errPropVersion
	}
	if n > MaxRemaining {
		return dst, errTooLong
	}
	dst = appendHeader(dst, byte(CONNECT)<<4, n)
	dst = append(dst, 0, 4, 'M', 'Q', 'T', 'T', byte(c.Version), flags)
	dst = binary.BigEndian.AppendUint16(dst, c.KeepAlive)
	if c.Version == V5 {
		dst = c.Properties.append(dst, CONNECT)
	}
	dst = appendBinary(dst, c.ClientID)
	if c.HasWill {
		if c.Version == V5 {
			dst = c.Will.Properties.append(dst, willPacket)
		}
		dst = appendBinary(appendBinary(dst, c.Will.Topic), c.Will.Payload)
	}
	if c.UserName != nil {
		dst = appendBinary(dst, c.UserName)
	}
	if c.Password != nil {
		dst = appendBinary(dst, c.Password)
	}
	return dst, nil
}
