package mqtt

import (
	"encoding/binary"
	"slices"
)

// PropertyID names a property of MQTT 5.0 (section 2.2.2.2).
type PropertyID byte

// The properties. User properties and subscription identifiers may repeat and
// have fields of their own in Properties.
const (
	PayloadFormat          PropertyID = 0x01
	MessageExpiry          PropertyID = 0x02 // seconds
	ContentType            PropertyID = 0x03
	ResponseTopic          PropertyID = 0x08
	CorrelationData        PropertyID = 0x09
	SubscriptionIdentifier PropertyID = 0x0B
	SessionExpiry          PropertyID = 0x11 // seconds
	AssignedClientID       PropertyID = 0x12
	ServerKeepAlive        PropertyID = 0x13 // seconds
	AuthMethod             PropertyID = 0x15
	AuthData               PropertyID = 0x16
	RequestProblemInfo     PropertyID = 0x17
	WillDelay              PropertyID = 0x18 // seconds
	RequestResponseInfo    PropertyID = 0x19
	ResponseInfo           PropertyID = 0x1A
	ServerReference        PropertyID = 0x1C
	ReasonString           PropertyID = 0x1F
	ReceiveMaximum         PropertyID = 0x21
	TopicAliasMaximum      PropertyID = 0x22
	TopicAlias             PropertyID = 0x23
	MaximumQoS             PropertyID = 0x24
	RetainAvailable        PropertyID = 0x25
	UserProperties         PropertyID = 0x26
	MaximumPacketSize      PropertyID = 0x27 // bytes
	WildcardsAvailable     PropertyID = 0x28
	SubscriptionIDsAvail   PropertyID = 0x29
	SharedAvailable        PropertyID = 0x2A
	lastProperty           PropertyID = 0x2A
)

// kind is the form of a property's value.
type kind byte

const (
	noKind   kind = iota // no such property
	isBool               // a byte, 0 or 1
	isUint16             // two bytes
	isUint32             // four bytes
	isVarint             // variable byte integer
	isText               // UTF-8 string
	isData               // binary data
	isPair               // two UTF-8 strings
)

// propertyRule says what a property looks like and where it may stand.
type propertyRule struct {
	kind    kind
	nonZero bool   // 0 is a protocol error
	slot    int8   // place in Properties.num or Properties.raw
	in      uint16 // set of packets, a bit for each Type; the will is bit 0
}

const willPacket Type = 0 // stands for the will in propertyRule.in

const (
	inWill    = 1 << willPacket
	inConnect = 1 << CONNECT
	inConnack = 1 << CONNACK
	inPublish = 1 << PUBLISH
	inMessage = inWill | inPublish
	inAuth    = 1 << AUTH
	inReason  = inConnack | 1<<PUBACK | 1<<PUBREC | 1<<PUBREL | 1<<PUBCOMP | 1<<SUBACK | 1<<UNSUBACK | 1<<DISCONNECT | inAuth
	inAny     = inReason | inMessage | inConnect | 1<<SUBSCRIBE | 1<<UNSUBSCRIBE
)

var propertyRules = [lastProperty + 1]propertyRule{
	PayloadFormat:          {isBool, false, 0, inMessage},
	MessageExpiry:          {isUint32, false, 1, inMessage},
	ContentType:            {isText, false, 0, inMessage},
	ResponseTopic:          {isText, false, 1, inMessage},
	CorrelationData:        {isData, false, 2, inMessage},
	SubscriptionIdentifier: {isVarint, true, -1, inPublish | 1<<SUBSCRIBE},
	SessionExpiry:          {isUint32, false, 2, inConnect | inConnack | 1<<DISCONNECT},
	AssignedClientID:       {isText, false, 3, inConnack},
	ServerKeepAlive:        {isUint16, false, 3, inConnack},
	AuthMethod:             {isText, false, 4, inConnect | inConnack | inAuth},
	AuthData:               {isData, false, 5, inConnect | inConnack | inAuth},
	RequestProblemInfo:     {isBool, false, 4, inConnect},
	WillDelay:              {isUint32, false, 5, inWill},
	RequestResponseInfo:    {isBool, false, 6, inConnect},
	ResponseInfo:           {isText, false, 6, inConnack},
	ServerReference:        {isText, false, 7, inConnack | 1<<DISCONNECT},
	ReasonString:           {isText, false, 8, inReason},
	ReceiveMaximum:         {isUint16, true, 7, inConnect | inConnack},
	TopicAliasMaximum:      {isUint16, false, 8, inConnect | inConnack},
	TopicAlias:             {isUint16, true, 9, inPublish},
	MaximumQoS:             {isBool, false, 10, inConnack},
	RetainAvailable:        {isBool, false, 11, inConnack},
	UserProperties:         {isPair, false, -1, inAny},
	MaximumPacketSize:      {isUint32, true, 12, inConnect | inConnack},
	WildcardsAvailable:     {isBool, false, 13, inConnack},
	SubscriptionIDsAvail:   {isBool, false, 14, inConnack},
	SharedAvailable:        {isBool, false, 15, inConnack},
}

// UserProperty is a pair of texts that the sender chose.
type UserProperty struct{ Name, Value []byte }

// Properties are the properties of one packet or will. The zero value has
// none. Its byte slices are views after decoding.
type Properties struct {
	// User holds the user properties in the order of the packet.
	User []UserProperty
	// SubscriptionIDs holds the one identifier of SUBSCRIBE, or those of a
	// PUBLISH to a client; a client's PUBLISH must have none [MQTT5-3.3.4-6].
	SubscriptionIDs []uint32

	set uint64 // a bit for each PropertyID that is there
	num [16]uint32
	raw [9][]byte
}

// Reset removes all properties and keeps the memory of the lists.
func (p *Properties) Reset() {
	if p.set != 0 || p.User != nil || p.SubscriptionIDs != nil {
		*p = Properties{User: p.User[:0], SubscriptionIDs: p.SubscriptionIDs[:0]}
	}
}

// Empty reports whether there is no property.
func (p *Properties) Empty() bool {
	return p.set == 0 && len(p.User) == 0 && len(p.SubscriptionIDs) == 0
}

// Uint gives a numeric property and whether it is there. Properties that are
// 0 or 1 are numbers too.
func (p *Properties) Uint(id PropertyID) (v uint32, ok bool) {
	if slot, ok := numSlot(id); ok && p.set>>id&1 != 0 {
		return p.num[slot], true
	}
	return 0, false
}

// UintOr gives a numeric property, or def when it is absent.
func (p *Properties) UintOr(id PropertyID, def uint32) uint32 {
	if v, ok := p.Uint(id); ok {
		return v
	}
	return def
}

// Bytes gives a text or data property, nil when it is absent and not nil when
// it is empty.
func (p *Properties) Bytes(id PropertyID) []byte {
	if slot, ok := rawSlot(id); ok && p.set>>id&1 != 0 {
		return p.raw[slot]
	}
	return nil
}

// SetUint sets a numeric property. It panics when id has no number: ids are
// constants of the program.
func (p *Properties) SetUint(id PropertyID, v uint32) {
	slot, ok := numSlot(id)
	if !ok {
		panic("mqtt: SetUint of a property that is no single number")
	}
	p.num[slot] = v
	p.set |= 1 << id
}

// SetBytes sets a text or data property and keeps b. It panics when id has
// neither.
func (p *Properties) SetBytes(id PropertyID, b []byte) {
	slot, ok := rawSlot(id)
	if !ok {
		panic("mqtt: SetBytes of a property that is neither text nor data")
	}
	if b == nil {
		b = []byte{}
	}
	p.raw[slot] = b
	p.set |= 1 << id
}

// AddUser adds a user property and keeps the texts.
func (p *Properties) AddUser(name, value string) {
	p.User = append(p.User, UserProperty{Name: []byte(name), Value: []byte(value)})
}

// UserValue gives the value of the last user property with this name.
func (p *Properties) UserValue(name string) (value []byte, ok bool) {
	for _, u := range slices.Backward(p.User) {
		if string(u.Name) == name {
			return u.Value, true
		}
	}
	return nil, false
}

func numSlot(id PropertyID) (slot int8, ok bool) {
	if id > lastProperty {
		return 0, false
	}
	rule := &propertyRules[id]
	return rule.slot, rule.kind >= isBool && rule.kind <= isUint32
}

func rawSlot(id PropertyID) (slot int8, ok bool) {
	if id > lastProperty {
		return 0, false
	}
	rule := &propertyRules[id]
	return rule.slot, rule.kind == isText || rule.kind == isData
}

// decode reads the property length and the properties of packet t.
func (p *Properties) decode(r *reader, t Type) {
	p.Reset()
	list := reader{b: r.take(int(r.varint()), errShort)}
	list.err = r.err
	for len(list.b) > 0 && list.err == nil {
		p.decodeOne(&list, t)
	}
	if list.err == nil && p.set>>AuthData&1 != 0 && p.set>>AuthMethod&1 == 0 {
		list.err = errAuthData
	}
	r.err = list.err
}

func (p *Properties) decodeOne(r *reader, t Type) {
	// Identifiers are variable byte integers; all that exist have one byte.
	id := PropertyID(r.byte())
	if id > lastProperty || propertyRules[id].kind == noKind {
		r.fail(errPropUnknown)
		return
	}
	rule := &propertyRules[id]
	if rule.in>>t&1 == 0 {
		r.fail(errPropPlace)
		return
	}
	if p.set>>id&1 != 0 || id == SubscriptionIdentifier && t == SUBSCRIBE && len(p.SubscriptionIDs) > 0 {
		r.fail(errPropTwice)
		return
	}
	var v uint32
	switch rule.kind {
	case noKind: // refused above
	case isBool:
		v = uint32(r.byte())
	case isUint16:
		v = uint32(r.uint16())
	case isUint32:
		v = r.uint32()
	case isVarint:
		v = r.varint()
	case isText:
		p.raw[rule.slot] = r.string(errShort, errUTF8)
		if id == ResponseTopic && r.err == nil && !plainTopicOrText(p.raw[rule.slot]) {
			r.fail(errResponseTopic)
		}
	case isData:
		p.raw[rule.slot] = r.binary(errShort)
	case isPair:
		name := r.string(errShort, errPairUTF8)
		p.User = append(p.User, UserProperty{Name: name, Value: r.string(errShort, errPairUTF8)})
		return
	}
	if r.err == nil && rule.kind <= isVarint {
		r.err = rule.checkNumber(id, v)
	}
	if id == SubscriptionIdentifier {
		p.SubscriptionIDs = append(p.SubscriptionIDs, v)
		return
	}
	if rule.kind <= isUint32 {
		p.num[rule.slot] = v
	}
	p.set |= 1 << id
}

// plainTopicOrText reports whether text that is known to be valid is a topic
// name.
func plainTopicOrText(b []byte) bool { return checkTopic(b, errUTF8) == nil }

// check refuses what packet t cannot hold, and gives the length of the
// properties without their length field.
func (p *Properties) check(t Type) (n int, err error) {
	for id := PropertyID(1); p.set>>id != 0; id++ {
		if p.set>>id&1 == 0 {
			continue
		}
		rule := &propertyRules[id]
		if rule.in>>t&1 == 0 {
			return 0, errPropPlace
		}
		if rule.kind <= isUint32 {
			if err := rule.checkNumber(id, p.num[rule.slot]); err != nil {
				return 0, err
			}
		}
		switch rule.kind {
		case isBool:
			n += 2
		case isUint16:
			n += 3
		case isUint32:
			n += 5
		default:
			if len(p.raw[rule.slot]) > maxString {
				return 0, errStringLen
			}
			n += 3 + len(p.raw[rule.slot])
		}
	}
	for i := range p.User {
		u := &p.User[i]
		if len(u.Name) > maxString || len(u.Value) > maxString {
			return 0, errStringLen
		}
		n += 5 + len(u.Name) + len(u.Value)
	}
	if len(p.SubscriptionIDs) > 0 && propertyRules[SubscriptionIdentifier].in>>t&1 == 0 {
		return 0, errPropPlace
	}
	for _, v := range p.SubscriptionIDs {
		if err := propertyRules[SubscriptionIdentifier].checkNumber(SubscriptionIdentifier, v); err != nil {
			return 0, err
		}
		n += 1 + varintLen(v)
	}
	switch {
	case n > MaxRemaining:
		return 0, errTooLong
	case p.set>>AuthData&1 != 0 && p.set>>AuthMethod&1 == 0:
		return 0, errAuthData
	case t == SUBSCRIBE && len(p.SubscriptionIDs) > 1:
		return 0, errPropTwice
	}
	return n, nil
}

// checkNumber refuses values that the property cannot have.
func (rule *propertyRule) checkNumber(id PropertyID, v uint32) error {
	switch {
	case rule.kind == isBool && v > 1:
		return errPropBool
	case rule.kind == isUint16 && v > 0xffff, rule.kind == isVarint && v > MaxRemaining:
		return errPropRange
	case rule.nonZero && v == 0 && id == TopicAlias:
		return errTopicAlias
	case rule.nonZero && v == 0:
		return errPropZero
	default:
		return nil
	}
}

// size gives the number of bytes that append adds.
func (p *Properties) size(t Type) (int, error) {
	n, err := p.check(t)
	return varintLen(uint32(n)) + n, err
}

// append adds the property length and the properties, which size has accepted.
func (p *Properties) append(dst []byte, t Type) []byte {
	n, err := p.check(t)
	if err != nil {
		panic(err) // a packet's Append did not ask for the size first
	}
	dst = appendVarint(dst, uint32(n))
	for id := PropertyID(1); p.set>>id != 0; id++ {
		if p.set>>id&1 == 0 {
			continue
		}
		dst = append(dst, byte(id))
		switch rule := &propertyRules[id]; rule.kind {
		case isBool:
			dst = append(dst, byte(p.num[rule.slot]))
		case isUint16:
			dst = binary.BigEndian.AppendUint16(dst, uint16(p.num[rule.slot]))
		case isUint32:
			dst = binary.BigEndian.AppendUint32(dst, p.num[rule.slot])
		default:
			dst = appendBinary(dst, p.raw[rule.slot])
		}
	}
	for i := range p.User {
		dst = append(dst, byte(UserProperties))
		dst = appendBinary(appendBinary(dst, p.User[i].Name), p.User[i].Value)
	}
	for _, v := range p.SubscriptionIDs {
		dst = appendVarint(append(dst, byte(SubscriptionIdentifier)), v)
	}
	return dst
}

// appendBinary adds a length and b, which is at most 65535 bytes.
func appendBinary(dst, b []byte) []byte {
	return append(append(dst, byte(len(b)>>8), byte(len(b))), b...)
}
