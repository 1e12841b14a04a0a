package mqtt

// AppendPingreq adds a PINGREQ packet (section 3.12).
func AppendPingreq(dst []byte) []byte { return append(dst, byte(PINGREQ)<<4, 0) }

// AppendPingresp adds a PINGRESP packet (section 3.13).
func AppendPingresp(dst []byte) []byte { return append(dst, byte(PINGRESP)<<4, 0) }

// AppendDisconnect adds a DISCONNECT packet for an orderly end, the same in
// both versions.
func AppendDisconnect(dst []byte) []byte { return append(dst, byte(DISCONNECT)<<4, 0) }

// Disconnect is a DISCONNECT packet (section 3.14).
type Disconnect struct {
	Reason     ReasonCode // MQTT 5.0
	Properties Properties // MQTT 5.0
}

// Decode reads the body of a packet that Next has cut.
func (d *Disconnect) Decode(body []byte, v Version) error {
	d.Reason = Success
	d.Properties.Reset()
	r := reader{b: body}
	if v == V5 {
		decodeReason(&r, &d.Reason, &d.Properties, DISCONNECT)
	}
	return r.end(errTrailing)
}

// Append adds the packet.
func (d *Disconnect) Append(dst []byte, v Version) ([]byte, error) {
	return appendReason(dst, byte(DISCONNECT)<<4, 0, d.Reason, &d.Properties, v)
}

// Auth is an AUTH packet (section 3.15 of 5.0).
type Auth struct {
	Reason     ReasonCode
	Properties Properties
}

// Decode reads the body of a packet that Next has cut.
func (a *Auth) Decode(body []byte, v Version) error {
	a.Reason = Success
	a.Properties.Reset()
	if v != V5 {
		return errOnlyVersion
	}
	r := reader{b: body}
	decodeReason(&r, &a.Reason, &a.Properties, AUTH)
	return r.end(errTrailing)
}

// Append adds the packet.
func (a *Auth) Append(dst []byte, v Version) ([]byte, error) {
	if v != V5 {
		return dst, errOnlyVersion
	}
	return appendReason(dst, byte(AUTH)<<4, 0, a.Reason, &a.Properties, v)
}
