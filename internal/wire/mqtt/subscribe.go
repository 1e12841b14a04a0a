package mqtt

import "encoding/binary"

// SubackFailure is the return code of a refused filter in MQTT 3.1.1.
const SubackFailure byte = 0x80

// Subscription is one topic filter of SUBSCRIBE with its options.
type Subscription struct {
	Filter            []byte
	QoS               byte
	NoLocal           bool // MQTT 5.0
	RetainAsPublished bool // MQTT 5.0
	RetainHandling    byte // MQTT 5.0: 0 to 2
}

// options gives the byte that follows the filter.
func (s *Subscription) options() byte {
	b := s.QoS | s.RetainHandling<<4
	if s.NoLocal {
		b |= 4
	}
	if s.RetainAsPublished {
		b |= 8
	}
	return b
}

// setOptions reads the byte that follows the filter.
func (s *Subscription) setOptions(b byte, v Version) error {
	if v != V5 {
		if b > 2 {
			return errSubscribeQoS
		}
		s.QoS = b
		return nil
	}
	switch {
	case b&3 == 3:
		return errSubscribeQoS
	case b&0xc0 != 0:
		return errSubscribeOptions
	case b>>4&3 == 3:
		return errRetainHandling
	}
	s.QoS, s.NoLocal, s.RetainAsPublished, s.RetainHandling = b&3, b&4 != 0, b&8 != 0, b>>4&3
	return nil
}

// check refuses malformed filters and shared subscriptions.
func (s *Subscription) check(v Version) error {
	if err := checkFilter(s.Filter, errSubscribeUTF8); err != nil || v != V5 {
		return err
	}
	shared, err := checkShared(s.Filter)
	if err == nil && shared && s.NoLocal {
		return errShareNoSelf
	}
	return err
}

// Subscribe is a SUBSCRIBE packet (section 3.8).
type Subscribe struct {
	PacketID      uint16
	Subscriptions []Subscription // at least one
	Properties    Properties     // MQTT 5.0
}

// Decode reads the body of a packet that Next has cut.
func (s *Subscribe) Decode(body []byte, v Version) error {
	s.Subscriptions = s.Subscriptions[:0]
	s.Properties.Reset()
	r := reader{b: body}
	s.PacketID = r.packetID()
	if v == V5 {
		s.Properties.decode(&r, SUBSCRIBE)
	}
	if r.err == nil && len(r.b) == 0 {
		return errSubscribeEmpty
	}
	for r.err == nil && len(r.b) > 0 {
		one := Subscription{Filter: r.binary(errShort)}
		options := r.byte()
		if r.err == nil {
			r.err = one.setOptions(options, v)
		}
		if r.err == nil {
			r.err = one.check(v)
		}
		s.Subscriptions = append(s.Subscriptions, one)
	}
	return r.err
}

// Append adds the packet. Filters are the caller's to check.
func (s *Subscribe) Append(dst []byte, v Version) ([]byte, error) {
	switch {
	case s.PacketID == 0:
		return dst, errPacketID
	case len(s.Subscriptions) == 0:
		return dst, errSubscribeEmpty
	}
	n := 2
	for i := range s.Subscriptions {
		one := &s.Subscriptions[i]
		if len(one.Filter) > maxString {
			return dst, errStringLen
		}
		if err := new(Subscription).setOptions(one.options(), v); err != nil {
			return dst, err
		}
		n += 3 + len(one.Filter)
	}
	n, err := listLength(n, &s.Properties, SUBSCRIBE, v)
	if err != nil {
		return dst, err
	}
	dst = appendListStart(dst, byte(SUBSCRIBE)<<4|2, n, s.PacketID, &s.Properties, v)
	for i := range s.Subscriptions {
		dst = append(appendBinary(dst, s.Subscriptions[i].Filter), s.Subscriptions[i].options())
	}
	return dst, nil
}

// listLength adds the properties to the length of a packet and checks it.
func listLength(n int, p *Properties, t Type, v Version) (int, error) {
	if v == V5 {
		size, err := p.size(t)
		if err != nil {
			return 0, err
		}
		n += size
	} else if !p.Empty() {
		return 0, errPropVersion
	}
	if n > MaxRemaining {
		return 0, errTooLong
	}
	return n, nil
}

// appendListStart adds what comes before a list of filters or codes.
func appendListStart(dst []byte, first byte, n int, id uint16, p *Properties, v Version) []byte {
	dst = binary.BigEndian.AppendUint16(appendHeader(dst, first, n), id)
	if v == V5 {
		dst = p.append(dst, Type(first>>4))
	}
	return dst
}

// Suback is a SUBACK packet (section 3.9).
type Suback struct {
	PacketID uint16
	// Codes holds one code for each filter, in order: the granted QoS,
	// SubackFailure in MQTT 3.1.1 or a failing ReasonCode in 5.0.
	Codes      []byte
	Properties Properties // MQTT 5.0
}

// AppendSuback adds a SUBACK of MQTT 3.1.1. There are as many codes as the
// SUBSCRIBE had filters, so they fit.
func AppendSuback(dst []byte, id uint16, codes []byte) []byte {
	dst = appendHeader(dst, byte(SUBACK)<<4, 2+len(codes))
	return append(binary.BigEndian.AppendUint16(dst, id), codes...)
}

// Decode reads the body of a packet that Next has cut.
func (s *Suback) Decode(body []byte, v Version) error {
	s.Properties.Reset()
	r := reader{b: body}
	s.PacketID = r.packetID()
	if v == V5 {
		s.Properties.decode(&r, SUBACK)
	}
	s.Codes = r.b
	if r.err != nil {
		return r.err
	}
	return checkSubackCodes(s.Codes, v)
}

func checkSubackCodes(codes []byte, v Version) error {
	if len(codes) == 0 {
		return errSubackEmpty
	}
	for _, c := range codes {
		if v == V5 && !ReasonCode(c).allowedIn(SUBACK) {
			return errReason
		}
		if v != V5 && c > 2 && c != SubackFailure {
			return errSubackCode
		}
	}
	return nil
}

// Append adds the packet.
func (s *Suback) Append(dst []byte, v Version) ([]byte, error) {
	if s.PacketID == 0 {
		return dst, errPacketID
	}
	if err := checkSubackCodes(s.Codes, v); err != nil {
		return dst, err
	}
	n, err := listLength(2+len(s.Codes), &s.Properties, SUBACK, v)
	if err != nil {
		return dst, err
	}
	return append(appendListStart(dst, byte(SUBACK)<<4, n, s.PacketID, &s.Properties, v), s.Codes...), nil
}

// Unsubscribe is an UNSUBSCRIBE packet (section 3.10).
type Unsubscribe struct {
	PacketID   uint16
	Filters    [][]byte   // at least one
	Properties Properties // MQTT 5.0
}

// Decode reads the body of a packet that Next has cut.
func (u *Unsubscribe) Decode(body []byte, v Version) error {
	u.Filters = u.Filters[:0]
	u.Properties.Reset()
	r := reader{b: body}
	u.PacketID = r.packetID()
	if v == V5 {
		u.Properties.decode(&r, UNSUBSCRIBE)
	}
	if r.err == nil && len(r.b) == 0 {
		return errUnsubscribeEmpty
	}
	for r.err == nil && len(r.b) > 0 {
		filter := r.binary(errShort)
		if r.err == nil {
			r.err = checkFilter(filter, errUnsubscribeUTF8)
		}
		u.Filters = append(u.Filters, filter)
	}
	return r.err
}

// Append adds the packet. Filters are the caller's to check.
func (u *Unsubscribe) Append(dst []byte, v Version) ([]byte, error) {
	switch {
	case u.PacketID == 0:
		return dst, errPacketID
	case len(u.Filters) == 0:
		return dst, errUnsubscribeEmpty
	}
	n := 2
	for _, f := range u.Filters {
		if len(f) > maxString {
			return dst, errStringLen
		}
		n += 2 + len(f)
	}
	n, err := listLength(n, &u.Properties, UNSUBSCRIBE, v)
	if err != nil {
		return dst, err
	}
	dst = appendListStart(dst, byte(UNSUBSCRIBE)<<4|2, n, u.PacketID, &u.Properties, v)
	for _, f := range u.Filters {
		dst = appendBinary(dst, f)
	}
	return dst, nil
}

// Unsuback is an UNSUBACK packet (section 3.11).
type Unsuback struct {
	PacketID   uint16
	Codes      []byte     // MQTT 5.0: one ReasonCode for each filter, in order
	Properties Properties // MQTT 5.0
}

// AppendUnsuback adds an UNSUBACK of MQTT 3.1.1.
func AppendUnsuback(dst []byte, id uint16) []byte {
	return append(dst, byte(UNSUBACK)<<4, 2, byte(id>>8), byte(id))
}

// Decode reads the body of a packet that Next has cut.
func (u *Unsuback) Decode(body []byte, v Version) error {
	u.Codes = nil
	u.Properties.Reset()
	r := reader{b: body}
	u.PacketID = r.packetID()
	if v != V5 {
		return r.end(errTrailing)
	}
	u.Properties.decode(&r, UNSUBACK)
	u.Codes = r.b
	if r.err != nil {
		return r.err
	}
	return checkUnsubackCodes(u.Codes)
}

func checkUnsubackCodes(codes []byte) error {
	if len(codes) == 0 {
		return errUnsubackEmpty
	}
	for _, c := range codes {
		if !ReasonCode(c).allowedIn(UNSUBACK) {
			return errReason
		}
	}
	return nil
}

// Append adds the packet.
func (u *Unsuback) Append(dst []byte, v Version) ([]byte, error) {
	if u.PacketID == 0 {
		return dst, errPacketID
	}
	if v == V5 {
		if err := checkUnsubackCodes(u.Codes); err != nil {
			return dst, err
		}
	} else if len(u.Codes) > 0 {
		return dst, errReasonVersion
	}
	n, err := listLength(2+len(u.Codes), &u.Properties, UNSUBACK, v)
	if err != nil {
		return dst, err
	}
	return append(appendListStart(dst, byte(UNSUBACK)<<4, n, u.PacketID, &u.Properties, v), u.Codes...), nil
}
