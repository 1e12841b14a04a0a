package mqtt

import (
	"errors"
	"slices"
	"testing"
)

// placement is table 2-4 of MQTT 5.0, typed in from the standard: where each
// property may stand, and one encoding of it.
var placement = []struct {
	id      PropertyID
	in      []Type // willPacket stands for the will
	encoded string
}{
	{PayloadFormat, []Type{PUBLISH, willPacket}, "\x01\x01"},
	{MessageExpiry, []Type{PUBLISH, willPacket}, "\x02\x00\x00\x00\x01"},
	{ContentType, []Type{PUBLISH, willPacket}, "\x03\x00\x01c"},
	{ResponseTopic, []Type{PUBLISH, willPacket}, "\x08\x00\x01r"},
	{CorrelationData, []Type{PUBLISH, willPacket}, "\x09\x00\x01\xff"},
	{SubscriptionIdentifier, []Type{PUBLISH, SUBSCRIBE}, "\x0b\x01"},
	{SessionExpiry, []Type{CONNECT, CONNACK, DISCONNECT}, "\x11\xff\xff\xff\xff"},
	{AssignedClientID, []Type{CONNACK}, "\x12\x00\x01i"},
	{ServerKeepAlive, []Type{CONNACK}, "\x13\x00\x01"},
	{AuthMethod, []Type{CONNECT, CONNACK, AUTH}, "\x15\x00\x01m"},
	{RequestProblemInfo, []Type{CONNECT}, "\x17\x00"},
	{WillDelay, []Type{willPacket}, "\x18\x00\x00\x00\x01"},
	{RequestResponseInfo, []Type{CONNECT}, "\x19\x01"},
	{ResponseInfo, []Type{CONNACK}, "\x1a\x00\x01i"},
	{ServerReference, []Type{CONNACK, DISCONNECT}, "\x1c\x00\x01s"},
	{ReasonString, []Type{CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH}, "\x1f\x00\x01r"},
	{ReceiveMaximum, []Type{CONNECT, CONNACK}, "\x21\x00\x01"},
	{TopicAliasMaximum, []Type{CONNECT, CONNACK}, "\x22\x00\x00"},
	{TopicAlias, []Type{PUBLISH}, "\x23\x00\x01"},
	{MaximumQoS, []Type{CONNACK}, "\x24\x00"},
	{RetainAvailable, []Type{CONNACK}, "\x25\x00"},
	{UserProperties, []Type{
		CONNECT, CONNACK, PUBLISH, willPacket, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK,
		UNSUBSCRIBE, UNSUBACK, DISCONNECT, AUTH,
	}, "\x26\x00\x01k\x00\x01v"},
	{MaximumPacketSize, []Type{CONNECT, CONNACK}, "\x27\x00\x00\x00\x01"},
	{WildcardsAvailable, []Type{CONNACK}, "\x28\x01"},
	{SubscriptionIDsAvail, []Type{CONNACK}, "\x29\x00"},
	{SharedAvailable, []Type{CONNACK}, "\x2a\x00"},
}

// bodyWith makes the body of a packet that carries the encoded properties.
func bodyWith(t Type, encoded string) (h Header, body []byte) {
	h = Header{Type: t}
	list := string(appendVarint(nil, uint32(len(encoded)))) + encoded
	switch t {
	case willPacket:
		h.Type = CONNECT
		return h, []byte("\x00\x04MQTT\x05\x06\x00\x00\x00\x00\x01d" + list + "\x00\x01t\x00\x00")
	case CONNECT:
		return h, []byte("\x00\x04MQTT\x05\x02\x00\x00" + list + "\x00\x01d")
	case CONNACK:
		return h, []byte("\x00\x00" + list)
	case PUBLISH:
		return h, []byte("\x00\x01t" + list)
	case SUBSCRIBE:
		return h, []byte("\x00\x01" + list + "\x00\x01a\x00")
	case SUBACK, UNSUBACK:
		return h, []byte("\x00\x01" + list + "\x00")
	case UNSUBSCRIBE:
		return h, []byte("\x00\x01" + list + "\x00\x01a")
	case DISCONNECT, AUTH:
		return h, []byte("\x00" + list)
	default:
		return h, []byte("\x00\x01\x00" + list)
	}
}

// Each property is taken in its packets, once, and refused in all others.
func TestPropertyPlaces(t *testing.T) {
	packets := []Type{
		willPacket, CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP,
		SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, DISCONNECT, AUTH,
	}
	for _, place := range placement {
		for _, typ := range packets {
			h, body := bodyWith(typ, place.encoded)
			_, err := decode(h, body, V5)
			if !slices.Contains(place.in, typ) {
				if !errors.Is(err, errPropPlace) {
					t.Errorf("property %#x in %v (0 is the will): error %v, want %v", place.id, typ, err, errPropPlace)
				}
				continue
			}
			if err != nil || !roundTrip(t, h, body, V5) {
				t.Errorf("property %#x in %v (0 is the will): %v", place.id, typ, err)
			}
			h, body = bodyWith(typ, place.encoded+place.encoded)
			_, err = decode(h, body, V5)
			mayRepeat := place.id == UserProperties || place.id == SubscriptionIdentifier && typ == PUBLISH
			if mayRepeat && err != nil || !mayRepeat && !errors.Is(err, errPropTwice) {
				t.Errorf("property %#x twice in %v (0 is the will): %v", place.id, typ, err)
			}
		}
	}
}

// Every identifier that the table of the standard leaves out is unknown.
func TestPropertyUnknown(t *testing.T) {
	known := map[PropertyID]bool{AuthData: true}
	for _, place := range placement {
		known[place.id] = true
	}
	for id := range 128 {
		h, body := bodyWith(CONNACK, string([]byte{byte(id)}))
		if _, err := decode(h, body, V5); errors.Is(err, errPropUnknown) == known[PropertyID(id)] {
			t.Errorf("property %#x: %v", id, err)
		}
	}
}

func TestPropertiesAccess(t *testing.T) {
	var p Properties
	if !p.Empty() || p.Bytes(ContentType) != nil || p.UintOr(TopicAlias, 9) != 9 {
		t.Error("the zero value has properties")
	}
	p.SetUint(MaximumQoS, 0)
	p.SetBytes(ContentType, nil)
	p.AddUser("k", "1")
	p.AddUser("k", "2")
	if v, ok := p.Uint(MaximumQoS); v != 0 || !ok {
		t.Error("number 0 is absent")
	}
	if b := p.Bytes(ContentType); b == nil || len(b) != 0 {
		t.Error("empty text is absent")
	}
	if v, ok := p.UserValue("k"); string(v) != "2" || !ok {
		t.Errorf("user property %q", v)
	}
	if _, ok := p.UserValue("x"); ok {
		t.Error("unknown user property found")
	}
	// Asking for the wrong form, or for what does not exist, finds nothing.
	for id := range 256 {
		_, isNum := numSlot(PropertyID(id))
		_, isRaw := rawSlot(PropertyID(id))
		_, ok := p.Uint(PropertyID(id))
		if isNum && isRaw || ok != (PropertyID(id) == MaximumQoS) || (p.Bytes(PropertyID(id)) != nil) != (PropertyID(id) == ContentType) {
			t.Errorf("property %#x", id)
		}
	}
	p.Reset()
	if !p.Empty() {
		t.Error("Reset leaves properties")
	}
}

// Each property has a place of its own in the struct.
func TestPropertySlots(t *testing.T) {
	nums, raws := map[int8]PropertyID{}, map[int8]PropertyID{}
	for id := range lastProperty + 1 {
		if slot, ok := numSlot(id); ok {
			if other, taken := nums[slot]; taken {
				t.Errorf("%#x and %#x share number %d", id, other, slot)
			}
			nums[slot] = id
		}
		if slot, ok := rawSlot(id); ok {
			if other, taken := raws[slot]; taken {
				t.Errorf("%#x and %#x share text %d", id, other, slot)
			}
			raws[slot] = id
		}
	}
	if len(nums) != len(Properties{}.num) || len(raws) != len(Properties{}.raw) {
		t.Errorf("%d numbers and %d texts", len(nums), len(raws))
	}
}

func TestPropertyRefusesOnEncode(t *testing.T) {
	for name, c := range map[string]struct {
		p    packet
		want error
	}{
		"wrong packet":          {&Disconnect{Properties: props(func(p *Properties) { p.SetUint(TopicAlias, 1) })}, errPropPlace},
		"identifier in PUBACK":  {&Ack{Type: PUBACK, PacketID: 1, Properties: Properties{SubscriptionIDs: []uint32{1}}}, errPropPlace},
		"bool above 1":          {&Connack{Properties: props(func(p *Properties) { p.SetUint(MaximumQoS, 2) })}, errPropBool},
		"above two bytes":       {&Connack{Properties: props(func(p *Properties) { p.SetUint(ServerKeepAlive, 65536) })}, errPropRange},
		"zero":                  {&Connack{Properties: props(func(p *Properties) { p.SetUint(ReceiveMaximum, 0) })}, errPropZero},
		"alias 0":               {&Publish{Topic: []byte("t"), Properties: props(func(p *Properties) { p.SetUint(TopicAlias, 0) })}, errTopicAlias},
		"identifier 0":          {&Publish{Topic: []byte("t"), Properties: Properties{SubscriptionIDs: []uint32{0}}}, errPropZero},
		"identifier too large":  {&Publish{Topic: []byte("t"), Properties: Properties{SubscriptionIDs: []uint32{MaxRemaining + 1}}}, errPropRange},
		"two identifiers":       {&Subscribe{PacketID: 1, Subscriptions: []Subscription{{Filter: []byte("a")}}, Properties: Properties{SubscriptionIDs: []uint32{1, 2}}}, errPropTwice},
		"data without a method": {&Auth{Properties: props(func(p *Properties) { p.SetBytes(AuthData, nil) })}, errAuthData},
	} {
		if b, err := c.p.Append([]byte("x"), V5); !errors.Is(err, c.want) || string(b) != "x" {
			t.Errorf("%s: %q, error %v, want %v", name, b, err, c.want)
		}
	}
}

func TestPropertySettersPanicOnWrongForm(t *testing.T) {
	for name, f := range map[string]func(p *Properties){
		"SetUint of a text":     func(p *Properties) { p.SetUint(ContentType, 1) },
		"SetUint of unknown":    func(p *Properties) { p.SetUint(0x7f, 1) },
		"SetUint of a list":     func(p *Properties) { p.SetUint(SubscriptionIdentifier, 1) },
		"SetBytes of a number":  func(p *Properties) { p.SetBytes(TopicAlias, nil) },
		"SetBytes of a pair":    func(p *Properties) { p.SetBytes(UserProperties, nil) },
		"SetBytes of an absent": func(p *Properties) { p.SetBytes(0, nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s does not panic", name)
				}
			}()
			f(new(Properties))
		}()
	}
}
