package mqtt

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"
)

// packet is what all structs but Connect share; connect adapts that one.
type packet interface {
	Append(dst []byte, v Version) ([]byte, error)
}

type connect struct{ Connect }

func (c *connect) Append(dst []byte, v Version) ([]byte, error) {
	if c.Version != v {
		return dst, ErrUnsupportedVersion
	}
	return c.Connect.Append(dst)
}

// ping is PINGREQ or PINGRESP, which Next alone reads.
type ping struct{ t Type }

func (p *ping) Append(dst []byte, _ Version) ([]byte, error) {
	if p.t == PINGREQ {
		return AppendPingreq(dst), nil
	}
	return AppendPingresp(dst), nil
}

// decode reads any packet that Next has cut.
func decode(h Header, body []byte, v Version) (packet, error) {
	switch h.Type {
	case CONNECT:
		var c connect
		err := c.Decode(body)
		return &c, err
	case CONNACK:
		var p Connack
		return &p, p.Decode(body, v)
	case PUBLISH:
		var p Publish
		return &p, p.Decode(h, body, v)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		var p Ack
		return &p, p.Decode(h, body, v)
	case SUBSCRIBE:
		var p Subscribe
		return &p, p.Decode(body, v)
	case SUBACK:
		var p Suback
		return &p, p.Decode(body, v)
	case UNSUBSCRIBE:
		var p Unsubscribe
		return &p, p.Decode(body, v)
	case UNSUBACK:
		var p Unsuback
		return &p, p.Decode(body, v)
	case DISCONNECT:
		var p Disconnect
		return &p, p.Decode(body, v)
	case AUTH:
		var p Auth
		return &p, p.Decode(body, v)
	case PINGREQ, PINGRESP:
		return &ping{h.Type}, nil
	default:
		return nil, fmt.Errorf("no decoder for %v", h.Type)
	}
}

// decodeBytes reads one whole packet.
func decodeBytes(b []byte, v Version) (packet, error) {
	h, body, n, err := Next(b, 0)
	if err != nil {
		return nil, err
	}
	if n != len(b) {
		return nil, fmt.Errorf("packet takes %d of %d bytes", n, len(b))
	}
	return decode(h, body, v)
}

func props(set func(p *Properties)) (p Properties) {
	set(&p)
	return p
}

type sample struct {
	name  string
	v     Version
	p     packet
	bytes string // as the standard lays them out
}

// samples holds packets of every type with the bytes that the standard asks
// for, written by hand.
var samples = []sample{
	{
		"CONNECT", V311, &connect{Connect{Version: V311, KeepAlive: 180, ClientID: []byte("dev1"), UserName: []byte("u"), Password: []byte("pw")}},
		"\x10\x17\x00\x04MQTT\x04\xc0\x00\xb4\x00\x04dev1\x00\x01u\x00\x02pw",
	},
	{
		"CONNECT will", V311, &connect{Connect{
			Version: V311, CleanStart: true, ClientID: []byte{}, HasWill: true,
			Will: Will{Topic: []byte("t/w"), Payload: []byte{0, 1}, QoS: 1, Retain: true}, UserName: []byte{},
		}},
		"\x10\x17\x00\x04MQTT\x04\xae\x00\x00\x00\x00\x00\x03t/w\x00\x02\x00\x01\x00\x00",
	},
	{
		"CONNECT plain", V5, &connect{Connect{Version: V5, CleanStart: true, ClientID: []byte("d"), Password: []byte("only")}},
		"\x10\x14\x00\x04MQTT\x05\x42\x00\x00\x00\x00\x01d\x00\x04only",
	},
	{
		"CONNECT full", V5, &connect{Connect{
			Version: V5, KeepAlive: 60, ClientID: []byte("d"), HasWill: true, UserName: []byte("u"), Password: []byte("p"),
			Will: Will{Topic: []byte("w"), Payload: []byte("x"), QoS: 2, Properties: props(func(p *Properties) {
				p.SetUint(WillDelay, 5)
				p.SetUint(PayloadFormat, 1)
				p.SetBytes(ContentType, []byte("c"))
			})},
			Properties: props(func(p *Properties) {
				p.SetUint(SessionExpiry, 0x01020304)
				p.SetBytes(AuthMethod, []byte("SAS"))
				p.SetBytes(AuthData, []byte{0xff, 0})
				p.SetUint(ReceiveMaximum, 16)
				p.AddUser("api-version", "2020-10-01-preview")
				p.AddUser("host", "")
			}),
		}},
		"\x10\x64\x00\x04MQTT\x05\xd4\x00\x3c" +
			"\x3e\x11\x01\x02\x03\x04\x15\x00\x03SAS\x16\x00\x02\xff\x00\x21\x00\x10" +
			"\x26\x00\x0bapi-version\x00\x122020-10-01-preview\x26\x00\x04host\x00\x00" +
			"\x00\x01d" + "\x0b\x01\x01\x03\x00\x01c\x18\x00\x00\x00\x05" + "\x00\x01w\x00\x01x\x00\x01u\x00\x01p",
	},
	{"CONNACK", V311, &Connack{SessionPresent: true}, "\x20\x02\x01\x00"},
	{"CONNACK refused", V311, &Connack{Code: ConnackNotAuthorized}, "\x20\x02\x00\x05"},
	{"CONNACK", V5, &Connack{Code: byte(NotAuthorized)}, "\x20\x03\x00\x87\x00"},
	{
		"CONNACK full", V5, &Connack{SessionPresent: true, Properties: props(func(p *Properties) {
			p.SetUint(MaximumQoS, 1)
			p.SetUint(RetainAvailable, 0)
			p.SetUint(MaximumPacketSize, 262144)
			p.SetUint(ServerKeepAlive, 1140)
			p.SetBytes(AssignedClientID, []byte("id"))
		})},
		"\x20\x14\x01\x00\x11\x12\x00\x02id\x13\x04\x74\x24\x01\x25\x00\x27\x00\x04\x00\x00",
	},
	{"PUBLISH QoS 0", V311, &Publish{Topic: []byte("a/b"), Payload: []byte("hi"), Retain: true}, "\x31\x07\x00\x03a/bhi"},
	{"PUBLISH QoS 1", V311, &Publish{Topic: []byte("a"), Payload: []byte{}, QoS: 1, PacketID: 0x1234, Dup: true}, "\x3a\x05\x00\x01a\x12\x34"},
	{"PUBLISH QoS 2", V311, &Publish{Topic: []byte("a"), Payload: []byte("x"), QoS: 2, PacketID: 1}, "\x34\x06\x00\x01a\x00\x01x"},
	{"PUBLISH", V5, &Publish{Topic: []byte("a"), Payload: []byte("x"), QoS: 1, PacketID: 1}, "\x32\x07\x00\x01a\x00\x01\x00x"},
	{
		"PUBLISH full", V5, &Publish{Topic: []byte{}, Payload: []byte("x"), Properties: props(func(p *Properties) {
			p.SetUint(TopicAlias, 10)
			p.SetUint(MessageExpiry, 60)
			p.SetBytes(ResponseTopic, []byte("r/t"))
			p.SetBytes(CorrelationData, []byte{1, 2})
			p.AddUser("@a", "b")
			p.AddUser("@a", "c")
			p.SubscriptionIDs = []uint32{1, 268435455}
		})},
		"\x30\x2e\x00\x00\x2a\x02\x00\x00\x00\x3c\x08\x00\x03r/t\x09\x00\x02\x01\x02\x23\x00\x0a\x26\x00\x02@a\x00\x01b\x26\x00\x02@a\x00\x01c\x0b\x01\x0b\xff\xff\xff\x7fx",
	},
	{"PUBACK", V311, &Ack{Type: PUBACK, PacketID: 7}, "\x40\x02\x00\x07"},
	{"PUBREC", V311, &Ack{Type: PUBREC, PacketID: 7}, "\x50\x02\x00\x07"},
	{"PUBREL", V311, &Ack{Type: PUBREL, PacketID: 7}, "\x62\x02\x00\x07"},
	{"PUBCOMP", V311, &Ack{Type: PUBCOMP, PacketID: 65535}, "\x70\x02\xff\xff"},
	{"PUBACK", V5, &Ack{Type: PUBACK, PacketID: 7}, "\x40\x02\x00\x07"},
	{"PUBACK reason", V5, &Ack{Type: PUBACK, PacketID: 7, Reason: QuotaExceeded}, "\x40\x03\x00\x07\x97"},
	{
		"PUBREC properties", V5, &Ack{Type: PUBREC, PacketID: 7, Properties: props(func(p *Properties) { p.SetBytes(ReasonString, []byte("ok")) })},
		"\x50\x09\x00\x07\x00\x05\x1f\x00\x02ok",
	},
	{"PUBREL", V5, &Ack{Type: PUBREL, PacketID: 7, Reason: PacketIDNotFound}, "\x62\x03\x00\x07\x92"},
	{
		"PUBCOMP", V5, &Ack{Type: PUBCOMP, PacketID: 7, Reason: PacketIDNotFound, Properties: props(func(p *Properties) { p.AddUser("", "") })},
		"\x70\x09\x00\x07\x92\x05\x26\x00\x00\x00\x00",
	},
	{
		"SUBSCRIBE", V311, &Subscribe{PacketID: 10, Subscriptions: []Subscription{{Filter: []byte("a/#")}, {Filter: []byte("+/b"), QoS: 1}, {Filter: []byte("/"), QoS: 2}}},
		"\x82\x12\x00\x0a\x00\x03a/#\x00\x00\x03+/b\x01\x00\x01/\x02",
	},
	{
		"SUBSCRIBE", V5, &Subscribe{
			PacketID: 10, Properties: props(func(p *Properties) { p.SubscriptionIDs = []uint32{200} }),
			Subscriptions: []Subscription{{Filter: []byte("a"), QoS: 1, NoLocal: true, RetainAsPublished: true, RetainHandling: 2}, {Filter: []byte("$share/g/a"), QoS: 2}},
		},
		"\x82\x17\x00\x0a\x03\x0b\xc8\x01\x00\x01a\x2d\x00\x0a$share/g/a\x02",
	},
	{"SUBACK", V311, &Suback{PacketID: 10, Codes: []byte{0, 1, 2, 0x80}}, "\x90\x06\x00\x0a\x00\x01\x02\x80"},
	{"SUBACK", V5, &Suback{PacketID: 10, Codes: []byte{1, 0x8f}}, "\x90\x05\x00\x0a\x00\x01\x8f"},
	{"UNSUBSCRIBE", V311, &Unsubscribe{PacketID: 10, Filters: [][]byte{[]byte("a/#"), []byte("b")}}, "\xa2\x0a\x00\x0a\x00\x03a/#\x00\x01b"},
	{
		"UNSUBSCRIBE", V5, &Unsubscribe{PacketID: 10, Filters: [][]byte{[]byte("a")}, Properties: props(func(p *Properties) { p.AddUser("k", "v") })},
		"\xa2\x0d\x00\x0a\x07\x26\x00\x01k\x00\x01v\x00\x01a",
	},
	{"UNSUBACK", V311, &Unsuback{PacketID: 10}, "\xb0\x02\x00\x0a"},
	{"UNSUBACK", V5, &Unsuback{PacketID: 10, Codes: []byte{0, 0x11}}, "\xb0\x05\x00\x0a\x00\x00\x11"},
	{"PINGREQ", V311, &ping{PINGREQ}, "\xc0\x00"},
	{"PINGRESP", V5, &ping{PINGRESP}, "\xd0\x00"},
	{"DISCONNECT", V311, &Disconnect{}, "\xe0\x00"},
	{"DISCONNECT", V5, &Disconnect{}, "\xe0\x00"},
	{"DISCONNECT reason", V5, &Disconnect{Reason: SessionTakenOver}, "\xe0\x01\x8e"},
	{"DISCONNECT full", V5, &Disconnect{Reason: ServerMoved, Properties: props(func(p *Properties) {
		p.SetBytes(ServerReference, []byte("s"))
		p.SetUint(SessionExpiry, 0)
	})}, "\xe0\x0b\x9d\x09\x11\x00\x00\x00\x00\x1c\x00\x01s"},
	{"AUTH", V5, &Auth{}, "\xf0\x00"},
	{"AUTH reason", V5, &Auth{Reason: ReAuthenticate}, "\xf0\x02\x19\x00"},
	{"AUTH full", V5, &Auth{Reason: ContinueAuthentication, Properties: props(func(p *Properties) {
		p.SetBytes(AuthMethod, []byte("SAS"))
		p.SetBytes(AuthData, []byte{})
	})}, "\xf0\x0b\x18\x09\x15\x00\x03SAS\x16\x00\x00"},
}

func (s *sample) title() string { return fmt.Sprintf("%s v%d", s.name, s.v) }

// normal brings packets to a form that reflect can compare: absent and empty
// lists are the same.
func normal(p packet) packet {
	fix := func(p *Properties) {
		if len(p.User) == 0 {
			p.User = nil
		}
		if len(p.SubscriptionIDs) == 0 {
			p.SubscriptionIDs = nil
		}
	}
	if v := reflect.ValueOf(p).Elem().FieldByName("Properties"); v.IsValid() {
		fix(v.Addr().Interface().(*Properties))
	}
	if c, ok := p.(*connect); ok {
		fix(&c.Will.Properties)
	}
	return p
}

func TestSamplesEncode(t *testing.T) {
	for _, s := range samples {
		t.Run(s.title(), func(t *testing.T) {
			got, err := s.p.Append([]byte("before"), s.v)
			if err != nil {
				t.Fatal(err)
			}
			if want := "before" + s.bytes; string(got) != want {
				t.Errorf("\n got %q\nwant %q", got, want)
			}
		})
	}
}

func TestSamplesDecode(t *testing.T) {
	for _, s := range samples {
		t.Run(s.title(), func(t *testing.T) {
			got, err := decodeBytes([]byte(s.bytes), s.v)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(normal(got), normal(s.p)) {
				t.Errorf("\n got %+v\nwant %+v", got, s.p)
			}
		})
	}
}

// A struct that has held a full packet reads an empty one as if it were new.
func TestDecodeForgetsEarlierPacket(t *testing.T) {
	reused := map[Type]packet{
		CONNECT: &connect{}, CONNACK: &Connack{}, PUBLISH: &Publish{}, PUBACK: &Ack{}, SUBSCRIBE: &Subscribe{}, SUBACK: &Suback{},
		UNSUBSCRIBE: &Unsubscribe{}, UNSUBACK: &Unsuback{}, DISCONNECT: &Disconnect{}, AUTH: &Auth{},
	}
	for range 2 {
		for _, s := range samples {
			h, body, _, err := Next([]byte(s.bytes), 0)
			if err != nil {
				t.Fatal(err)
			}
			kind := h.Type
			if kind > PUBACK && kind <= PUBCOMP {
				kind = PUBACK
			}
			switch p := reused[kind].(type) {
			case *connect:
				err = p.Decode(body)
			case *Publish:
				err = p.Decode(h, body, s.v)
			case *Ack:
				err = p.Decode(h, body, s.v)
			case interface {
				Decode(body []byte, v Version) error
			}:
				err = p.Decode(body, s.v)
			default:
				continue
			}
			if err != nil {
				t.Fatal(s.title(), err)
			}
			if again, err := reused[kind].Append(nil, s.v); err != nil || string(again) != s.bytes {
				t.Errorf("%s: decoded into a used struct it is %q, %v", s.title(), again, err)
			}
		}
	}
}

// Each beginning of a body is refused or is a packet of its own; so is a body
// with a byte too many. No decoder reads beyond its view.
func TestBodiesCutAndExtended(t *testing.T) {
	for _, s := range samples {
		h, body, _, err := Next([]byte(s.bytes), 0)
		if err != nil {
			t.Fatal(err)
		}
		for n := range len(body) {
			roundTrip(t, h, body[:n:n], s.v)
		}
		for _, c := range []byte{0, 1, 0x26, 0xff} {
			roundTrip(t, h, append(bytes.Clone(body), c), s.v)
		}
		for i := range body {
			for _, c := range []byte{0, 1, 0x7f, 0x80, 0xff, body[i] + 1, body[i] ^ 0x20} {
				changed := bytes.Clone(body)
				changed[i] = c
				roundTrip(t, h, changed, s.v)
			}
		}
	}
}

// roundTrip decodes a body; when it is a packet, its encoding must be read
// back as the same packet and be stable. It reports whether it is one.
func roundTrip(t *testing.T, h Header, body []byte, v Version) bool {
	t.Helper()
	p, err := decode(h, body, v)
	if err != nil {
		return false
	}
	if c, ok := p.(*connect); ok {
		v = c.Version
	}
	b, err := p.Append(nil, v)
	if err != nil {
		t.Fatalf("%v %q version %d decodes to %+v, which is refused: %v", h, body, v, p, err)
	}
	again, err := decodeBytes(b, v)
	if err != nil {
		t.Fatalf("%v %q version %d encoded again is %q: %v", h, body, v, b, err)
	}
	if !reflect.DeepEqual(normal(p), normal(again)) {
		t.Fatalf("%v %q version %d\n was %+v\n  is %+v", h, body, v, p, again)
	}
	return true
}
