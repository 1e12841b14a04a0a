package mqtt

// Connack is a CONNACK packet (section 3.2).
type Connack struct {
	SessionPresent bool
	// Code is a return code of MQTT 3.1.1 (ConnackAccepted and so on) or a
	// ReasonCode of 5.0; 0 is success in both.
	Code       byte
	Properties Properties // MQTT 5.0
}

// AppendConnack adds a CONNACK of MQTT 3.1.1. Session present goes with
// ConnackAccepted only [MQTT-3.2.2-4].
func AppendConnack(dst []byte, sessionPresent bool, code byte) []byte {
	var flags byte
	if sessionPresent && code == ConnackAccepted {
		flags = 1
	}
	return append(dst, byte(CONNACK)<<4, 2, flags, code)
}

// Decode reads the body of a packet that Next has cut.
func (c *Connack) Decode(body []byte, v Version) error {
	c.Properties.Reset()
	r := reader{b: body}
	flags := r.byte()
	c.SessionPresent, c.Code = flags == 1, r.byte()
	if r.err == nil {
		r.err = c.check(flags, v)
	}
	if v == V5 {
		c.Properties.decode(&r, CONNACK)
	}
	return r.end(errTrailing)
}

func (c *Connack) check(flags byte, v Version) error {
	switch {
	case flags > 1:
		return errConnackFlags
	case flags == 1 && c.Code != 0:
		return errConnackSession
	case v == V5 && !ReasonCode(c.Code).allowedIn(CONNACK):
		return errReason
	case v != V5 && c.Code > ConnackNotAuthorized:
		return errConnackCode
	default:
		return nil
	}
}

// Append adds the packet.
func (c *Connack) Append(dst []byte, v Version) ([]byte, error) {
	var flags byte
	if c.SessionPresent {
		flags = 1
	}
	if err := c.check(flags, v); err != nil {
		return dst, err
	}
	if v != V5 {
		if !c.Properties.Empty() {
			return dst, errPropVersion
		}
		return AppendConnack(dst, c.SessionPresent, c.Code), nil
	}
	size, err := c.Properties.size(CONNACK)
	if err != nil {
		return dst, err
	}
	if size+2 > MaxRemaining {
		return dst, errTooLong
	}
	dst = append(appendHeader(dst, byte(CONNACK)<<4, size+2), flags, c.Code)
	return c.Properties.append(dst, CONNACK), nil
}
