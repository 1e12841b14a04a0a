package mqtt

import (
	"errors"
	"strings"
	"testing"
)

// breach is a packet that breaks one rule of the standard.
type breach struct {
	clause string
	what   string
	v      Version
	packet string
}

// connectBytes makes a CONNECT from the bytes after protocol name and level.
func connectBytes(v Version, rest string) string {
	return "\x10" + string([]byte{byte(7 + len(rest))}) + "\x00\x04MQTT" + string([]byte{byte(v)}) + rest
}

var breaches = []breach{
	// The fixed header.
	{"section 2.2.1", "packet type 0", V311, "\x00\x00"},
	{"section 2.2.1", "AUTH in 3.1.1", V311, "\xf0\x00"},
	{"MQTT-2.2.2-2", "flags of CONNECT", V311, "\x11\x00"},
	{"MQTT-2.2.2-2", "flags of CONNACK", V311, "\x28\x02\x00\x00"},
	{"MQTT-2.2.2-2", "flags of PUBACK", V311, "\x42\x02\x00\x01"},
	{"MQTT-2.2.2-2", "flags of PUBREC", V311, "\x51\x02\x00\x01"},
	{"MQTT-2.2.2-2", "flags of PUBCOMP", V311, "\x72\x02\x00\x01"},
	{"MQTT-2.2.2-2", "flags of SUBACK", V311, "\x94\x03\x00\x01\x00"},
	{"MQTT-2.2.2-2", "flags of UNSUBACK", V311, "\xb8\x02\x00\x01"},
	{"MQTT-2.2.2-2", "flags of PINGREQ", V311, "\xc1\x00"},
	{"MQTT-2.2.2-2", "flags of PINGRESP", V311, "\xd2\x00"},
	{"MQTT-3.6.1-1", "flags of PUBREL", V311, "\x60\x02\x00\x01"},
	{"MQTT-3.8.1-1", "flags of SUBSCRIBE", V311, "\x80\x06\x00\x01\x00\x01a\x00"},
	{"MQTT-3.10.1-1", "flags of UNSUBSCRIBE", V311, "\xa3\x05\x00\x01\x00\x01a"},
	{"MQTT-3.14.1-1", "flags of DISCONNECT", V311, "\xe1\x00"},
	{"MQTT5-3.15.1-1", "flags of AUTH", V5, "\xf2\x00"},
	{"section 2.2.3", "remaining length of five bytes", V311, "\x30\x80\x80\x80\x80\x01"},
	{"section 2.2.3", "remaining length of five bytes, all ones", V311, "\x30\xff\xff\xff\xff\x7f"},
	{"section 3.12.1", "PINGREQ with a body", V311, "\xc0\x01\x00"},
	{"section 3.12.1", "PINGRESP with a body", V311, "\xd0\x01\x00"},

	// CONNECT.
	{"MQTT-3.1.2-1", "empty CONNECT", V311, "\x10\x00"},
	{"MQTT-3.1.2-1", "protocol name cut short", V311, "\x10\x04\x00\x04MQ"},
	{"MQTT-3.1.2-1", "protocol name in lower case", V311, "\x10\x0d\x00\x04mqtt\x04\x02\x00\x00\x00\x01d"},
	{"MQTT-3.1.2-1", "MQIsdp with another level", V311, "\x10\x0f\x00\x06MQIsdp\x04\x02\x00\x00\x00\x01d"},
	{"MQTT-3.1.2-2", "MQIsdp level 3", V311, "\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x00\x00\x01d"},
	{"MQTT-3.1.2-2", "level 3 with the new name", V311, connectBytes(3, "\x02\x00\x00\x00\x01d")},
	{"MQTT-3.1.2-2", "level 6", V311, connectBytes(6, "\x02\x00\x00\x00\x01d")},
	{"MQTT-3.1.2-2", "level 0x84 of a bridge", V311, connectBytes(0x84, "\x02\x00\x00\x00\x01d")},
	{"MQTT-4.8.0-1", "level missing", V311, "\x10\x06\x00\x04MQTT"},
	{"MQTT-4.8.0-1", "flags missing", V311, connectBytes(4, "")},
	{"MQTT-4.8.0-1", "keep alive cut short", V311, connectBytes(4, "\x02\x00")},
	{"MQTT-3.1.2-3", "reserved flag", V311, connectBytes(4, "\x03\x00\x00\x00\x01d")},
	{"MQTT-3.1.2-3", "reserved flag in 5.0", V5, connectBytes(5, "\x03\x00\x00\x00\x00\x01d")},
	{"MQTT-3.1.2-13", "will QoS without will", V311, connectBytes(4, "\x0a\x00\x00\x00\x01d")},
	{"MQTT-3.1.2-14", "will QoS 3", V311, connectBytes(4, "\x1e\x00\x00\x00\x01d\x00\x01t\x00\x00")},
	{"MQTT-3.1.2-15", "will retain without will", V311, connectBytes(4, "\x22\x00\x00\x00\x01d")},
	{"MQTT-3.1.2-22", "password without user name", V311, connectBytes(4, "\x42\x00\x00\x00\x01d\x00\x01p")},
	{"MQTT-3.1.3-3", "client id missing", V311, connectBytes(4, "\x02\x00\x00")},
	{"MQTT-3.1.3-3", "client id cut short", V311, connectBytes(4, "\x02\x00\x00\x00\x05dev")},
	{"MQTT-3.1.3-4", "client id not UTF-8", V311, connectBytes(4, "\x02\x00\x00\x00\x02\xc3\x28")},
	{"MQTT-3.1.3-4", "client id with a surrogate", V311, connectBytes(4, "\x02\x00\x00\x00\x03\xed\xa0\x80")},
	{"MQTT-3.1.3-4", "client id overlong", V311, connectBytes(4, "\x02\x00\x00\x00\x02\xc0\x80")},
	{"MQTT-1.5.3-2", "client id with U+0000", V311, connectBytes(4, "\x02\x00\x00\x00\x02d\x00")},
	{"MQTT-3.1.2-9", "will topic missing", V311, connectBytes(4, "\x06\x00\x00\x00\x01d")},
	{"MQTT-3.1.2-9", "will message missing", V311, connectBytes(4, "\x06\x00\x00\x00\x01d\x00\x01t")},
	{"MQTT-3.1.2-9", "will message cut short", V311, connectBytes(4, "\x06\x00\x00\x00\x01d\x00\x01t\x00\x02x")},
	{"MQTT-3.1.3-10", "will topic not UTF-8", V311, connectBytes(4, "\x06\x00\x00\x00\x01d\x00\x01\xff\x00\x00")},
	{"MQTT-4.7.3-1", "will topic empty", V311, connectBytes(4, "\x06\x00\x00\x00\x01d\x00\x00\x00\x00")},
	{"MQTT-1.5.3-2", "will topic with U+0000", V311, connectBytes(4, "\x06\x00\x00\x00\x01d\x00\x03a/\x00\x00\x00")},
	{"MQTT-3.1.2-19", "user name missing", V311, connectBytes(4, "\x82\x00\x00\x00\x01d")},
	{"MQTT-3.1.3-11", "user name not UTF-8", V311, connectBytes(4, "\x82\x00\x00\x00\x01d\x00\x01\x80")},
	{"MQTT-1.5.3-2", "user name with U+0000", V311, connectBytes(4, "\x82\x00\x00\x00\x01d\x00\x01\x00")},
	{"MQTT-3.1.2-21", "password missing", V311, connectBytes(4, "\xc2\x00\x00\x00\x01d\x00\x01u")},
	{"MQTT-3.1.3-1", "bytes after the payload", V311, connectBytes(4, "\x02\x00\x00\x00\x01d\x00")},
	{"MQTT-3.1.3-1", "user name without its flag", V311, connectBytes(4, "\x02\x00\x00\x00\x01d\x00\x01u")},
	{"MQTT-4.8.0-1", "properties missing", V5, connectBytes(5, "\x02\x00\x00")},
	{"MQTT-4.8.0-1", "property length beyond the end", V5, connectBytes(5, "\x02\x00\x00\x05\x21\x00\x01")},

	// CONNACK.
	{"MQTT-4.8.0-1", "empty CONNACK", V311, "\x20\x00"},
	{"section 3.2.2.1", "reserved flags", V311, "\x20\x02\x02\x00"},
	{"MQTT-3.2.2-4", "session present when refused", V311, "\x20\x02\x01\x05"},
	{"section 3.2.2.3", "return code 6", V311, "\x20\x02\x00\x06"},
	{"section 2.4 of 5.0", "reason code of another packet", V5, "\x20\x03\x00\x8e\x00"},
	{"MQTT-4.8.0-1", "trailing byte", V311, "\x20\x03\x00\x00\x00"},
	{"MQTT-4.8.0-1", "CONNACK without properties", V5, "\x20\x02\x00\x00"},

	// PUBLISH.
	{"MQTT-3.3.1-4", "QoS 3", V311, "\x36\x05\x00\x01a\x00\x01"},
	{"MQTT-3.3.1-2", "DUP with QoS 0", V311, "\x38\x03\x00\x01a"},
	{"MQTT-4.8.0-1", "empty PUBLISH", V311, "\x30\x00"},
	{"MQTT-4.8.0-1", "topic cut short", V311, "\x30\x03\x00\x02a"},
	{"MQTT-4.8.0-1", "packet id missing", V311, "\x32\x03\x00\x01a"},
	{"MQTT-4.8.0-1", "packet id cut short", V311, "\x32\x04\x00\x01a\x00"},
	{"MQTT-2.3.1-1", "packet id 0", V311, "\x32\x05\x00\x01a\x00\x00"},
	{"MQTT-2.3.1-1", "packet id 0 with QoS 2", V311, "\x34\x05\x00\x01a\x00\x00"},
	{"MQTT-3.3.2-1", "topic not UTF-8", V311, "\x30\x03\x00\x01\xff"},
	{"MQTT-3.3.2-1", "topic with a surrogate", V311, "\x30\x05\x00\x03\xed\xbf\xbf"},
	{"MQTT-1.5.3-2", "topic with U+0000", V311, "\x30\x05\x00\x03a\x00b"},
	{"MQTT-3.3.2-2", "topic with #", V311, "\x30\x05\x00\x03a/#"},
	{"MQTT-3.3.2-2", "topic with +", V311, "\x30\x05\x00\x03a+b"},
	{"MQTT-4.7.3-1", "topic empty", V311, "\x30\x02\x00\x00"},
	{"section 3.3.2.1 of 5.0", "no topic and no alias", V5, "\x30\x03\x00\x00\x00"},
	{"MQTT5-3.3.2-8", "topic alias 0", V5, "\x30\x07\x00\x01a\x03\x23\x00\x00"},
	{"MQTT5-3.3.2-14", "response topic with a wildcard", V5, "\x30\x08\x00\x01a\x04\x08\x00\x01#"},
	{"MQTT-4.8.0-1", "properties missing", V5, "\x30\x03\x00\x01a"},

	// PUBACK, PUBREC, PUBREL, PUBCOMP.
	{"MQTT-4.8.0-1", "empty PUBACK", V311, "\x40\x00"},
	{"MQTT-4.8.0-1", "PUBACK cut short", V311, "\x40\x01\x00"},
	{"MQTT-4.8.0-1", "PUBACK with a reason", V311, "\x40\x03\x00\x01\x00"},
	{"MQTT-2.3.1-1", "PUBACK of 0", V311, "\x40\x02\x00\x00"},
	{"MQTT-2.3.1-1", "PUBREC of 0", V311, "\x50\x02\x00\x00"},
	{"MQTT-2.3.1-1", "PUBREL of 0", V5, "\x62\x02\x00\x00"},
	{"MQTT-2.3.1-1", "PUBCOMP of 0", V5, "\x70\x02\x00\x00"},
	{"MQTT-4.8.0-1", "PUBREC cut short", V311, "\x50\x01\x00"},
	{"MQTT-4.8.0-1", "PUBREL cut short", V311, "\x62\x01\x00"},
	{"MQTT-4.8.0-1", "PUBCOMP cut short", V311, "\x70\x01\x00"},
	{"section 2.4 of 5.0", "PUBREL with the code of PUBACK", V5, "\x62\x03\x00\x01\x10"},
	{"section 2.4 of 5.0", "PUBACK with an unknown code", V5, "\x40\x03\x00\x01\x55"},
	{"MQTT-4.8.0-1", "trailing byte after properties", V5, "\x40\x05\x00\x01\x00\x00\x00"},

	// SUBSCRIBE and SUBACK.
	{"MQTT-4.8.0-1", "empty SUBSCRIBE", V311, "\x82\x00"},
	{"MQTT-2.3.1-1", "SUBSCRIBE of 0", V311, "\x82\x06\x00\x00\x00\x01a\x00"},
	{"MQTT-3.8.3-3", "no filter", V311, "\x82\x02\x00\x01"},
	{"MQTT-3.8.3-3", "no filter in 5.0", V5, "\x82\x03\x00\x01\x00"},
	{"MQTT-4.8.0-1", "filter cut short", V311, "\x82\x05\x00\x01\x00\x02a"},
	{"MQTT-4.8.0-1", "QoS missing", V311, "\x82\x05\x00\x01\x00\x01a"},
	{"MQTT-4.8.0-1", "second filter cut short", V311, "\x82\x07\x00\x01\x00\x01a\x00\x00"},
	{"MQTT-3.8.3-4", "QoS 3", V311, "\x82\x06\x00\x01\x00\x01a\x03"},
	{"MQTT-3.8.3-4", "reserved bits", V311, "\x82\x06\x00\x01\x00\x01a\x05"},
	{"MQTT-3.8.3-4", "QoS 3 in 5.0", V5, "\x82\x07\x00\x01\x00\x00\x01a\x03"},
	{"MQTT5-3.8.3-5", "reserved bits in 5.0", V5, "\x82\x07\x00\x01\x00\x00\x01a\x40"},
	{"section 3.8.3.1 of 5.0", "retain handling 3", V5, "\x82\x07\x00\x01\x00\x00\x01a\x30"},
	{"MQTT-3.8.3-1", "filter not UTF-8", V311, "\x82\x06\x00\x01\x00\x01\xfe\x00"},
	{"MQTT-1.5.3-2", "filter with U+0000", V311, "\x82\x06\x00\x01\x00\x01\x00\x00"},
	{"MQTT-4.7.3-1", "filter empty", V311, "\x82\x05\x00\x01\x00\x00\x00"},
	{"MQTT-4.7.1-2", "# inside", V311, "\x82\x08\x00\x01\x00\x03#/a\x00"},
	{"MQTT-4.7.1-2", "# not alone in its level", V311, "\x82\x07\x00\x01\x00\x02a#\x00"},
	{"MQTT-4.7.1-3", "+ not alone in its level", V311, "\x82\x07\x00\x01\x00\x02a+\x00"},
	{"MQTT-4.7.1-3", "+ before text", V311, "\x82\x09\x00\x01\x00\x04b/+a\x00"},
	{"MQTT5-4.8.2-1", "no share name", V5, "\x82\x10\x00\x01\x00\x00\x0a$share//ab\x00"},
	{"MQTT5-4.8.2-2", "share name with a wildcard", V5, "\x82\x10\x00\x01\x00\x00\x0a$share/+/a\x00"},
	{"MQTT5-4.8.2-2", "no filter after the share name", V5, "\x82\x0f\x00\x01\x00\x00\x09$share/g/\x00"},
	{"MQTT5-4.8.2-2", "share name alone", V5, "\x82\x0e\x00\x01\x00\x00\x08$share/g\x00"},
	{"MQTT5-3.8.3-4", "No Local on a shared subscription", V5, "\x82\x10\x00\x01\x00\x00\x0a$share/g/a\x04"},
	{"MQTT-4.8.0-1", "empty SUBACK", V311, "\x90\x00"},
	{"MQTT-2.3.1-1", "SUBACK of 0", V311, "\x90\x03\x00\x00\x00"},
	{"MQTT-3.8.4-5", "no return code", V311, "\x90\x02\x00\x01"},
	{"MQTT-3.9.3-2", "return code 3", V311, "\x90\x04\x00\x01\x00\x03"},
	{"MQTT-3.9.3-2", "return code of 5.0", V311, "\x90\x03\x00\x01\x87"},
	{"section 2.4 of 5.0", "reason code of another packet", V5, "\x90\x04\x00\x01\x00\x8e"},

	// UNSUBSCRIBE and UNSUBACK.
	{"MQTT-4.8.0-1", "empty UNSUBSCRIBE", V311, "\xa2\x00"},
	{"MQTT-2.3.1-1", "UNSUBSCRIBE of 0", V311, "\xa2\x05\x00\x00\x00\x01a"},
	{"MQTT-3.10.3-2", "no filter", V311, "\xa2\x02\x00\x01"},
	{"MQTT-4.8.0-1", "filter cut short", V311, "\xa2\x05\x00\x01\x00\x02a"},
	{"MQTT-3.10.3-1", "filter not UTF-8", V311, "\xa2\x05\x00\x01\x00\x01\xff"},
	{"MQTT-4.7.1-2", "# inside", V311, "\xa2\x07\x00\x01\x00\x03#/a"},
	{"MQTT-4.8.0-1", "UNSUBACK cut short", V311, "\xb0\x01\x00"},
	{"MQTT-2.3.1-1", "UNSUBACK of 0", V311, "\xb0\x02\x00\x00"},
	{"MQTT-4.8.0-1", "UNSUBACK with a code", V311, "\xb0\x03\x00\x01\x00"},
	{"MQTT5-3.11.3-1", "UNSUBACK without a code", V5, "\xb0\x03\x00\x01\x00"},
	{"section 2.4 of 5.0", "UNSUBACK with the code of SUBACK", V5, "\xb0\x04\x00\x01\x00\x01"},

	// DISCONNECT and AUTH.
	{"MQTT-4.8.0-1", "DISCONNECT with a body", V311, "\xe0\x01\x00"},
	{"section 2.4 of 5.0", "DISCONNECT with the code of CONNACK", V5, "\xe0\x01\x84"},
	{"MQTT-4.8.0-1", "trailing byte after properties", V5, "\xe0\x03\x00\x00\x00"},
	{"MQTT-4.8.0-1", "AUTH without properties", V5, "\xf0\x01\x18"},
	{"section 2.4 of 5.0", "AUTH with the code of DISCONNECT", V5, "\xf0\x02\x04\x00"},

	// Properties.
	{"section 2.2.2.2 of 5.0", "unknown property", V5, "\xe0\x04\x00\x02\x04\x00"},
	{"section 2.2.2.2 of 5.0", "unknown property above the table", V5, "\xe0\x04\x00\x02\x7e\x00"},
	{"section 2.2.2.2 of 5.0", "property of two bytes", V5, "\xe0\x05\x00\x03\x80\x01\x00"},
	{"section 2.2.2.2 of 5.0", "reason string twice", V5, "\xe0\x0a\x00\x08\x1f\x00\x01a\x1f\x00\x01a"},
	{"section 2.2.2.2 of 5.0", "number twice", V5, "\xe0\x0c\x00\x0a\x11\x00\x00\x00\x01\x11\x00\x00\x00\x01"},
	{"section 2.2.2.2 of 5.0", "subscription identifier twice in SUBSCRIBE", V5, "\x82\x0b\x00\x01\x04\x0b\x01\x0b\x02\x00\x01a\x00"},
	{"section 2.2.2.2 of 5.0", "subscription identifier 0", V5, "\x82\x09\x00\x01\x02\x0b\x00\x00\x01a\x00"},
	{"section 2.2.2.2 of 5.0", "receive maximum 0", V5, connectBytes(5, "\x02\x00\x00\x03\x21\x00\x00\x00\x01d")},
	{"section 2.2.2.2 of 5.0", "maximum packet size 0", V5, connectBytes(5, "\x02\x00\x00\x05\x27\x00\x00\x00\x00\x00\x01d")},
	{"section 2.2.2.2 of 5.0", "request problem information 2", V5, connectBytes(5, "\x02\x00\x00\x02\x17\x02\x00\x01d")},
	{"section 2.2.2.2 of 5.0", "maximum QoS 2", V5, "\x20\x05\x00\x00\x02\x24\x02"},
	{"section 2.2.2.2 of 5.0", "payload format 2 of a will", V5, connectBytes(5, "\x06\x00\x00\x00\x00\x01d\x02\x01\x02\x00\x01t\x00\x00")},
	{"section 3.1.2.11.10 of 5.0", "authentication data alone", V5, connectBytes(5, "\x02\x00\x00\x04\x16\x00\x01x\x00\x01d")},
	{"MQTT5-1.5.5-1", "property length padded", V5, "\xe0\x03\x00\x80\x00"},
	{"MQTT5-1.5.5-1", "property length of five bytes", V5, "\xe0\x06\x00\x80\x80\x80\x80\x01"},
	{"MQTT-4.8.0-1", "property length cut short", V5, "\xe0\x02\x00\x80"},
	{"MQTT-4.8.0-1", "property value cut short", V5, "\xe0\x05\x00\x03\x11\x00\x00"},
	{"MQTT-4.8.0-1", "property text beyond the properties", V5, "\x40\x0a\x00\x01\x00\x03\x1f\x00\x03abc"},
	{"MQTT-1.5.3-1", "property text not UTF-8", V5, "\xe0\x06\x00\x04\x1f\x00\x01\xff"},
	{"MQTT-1.5.3-2", "property text with U+0000", V5, "\xe0\x06\x00\x04\x1f\x00\x01\x00"},
	{"MQTT5-1.5.7-1", "name of a user property not UTF-8", V5, "\xe0\x08\x00\x06\x26\x00\x01\xff\x00\x00"},
	{"MQTT5-1.5.7-1", "value of a user property not UTF-8", V5, "\xe0\x08\x00\x06\x26\x00\x00\x00\x01\xff"},
	{"MQTT-4.8.0-1", "user property without a value", V5, "\xe0\x06\x00\x04\x26\x00\x01a"},
}

func TestClause(t *testing.T) {
	for _, b := range breaches {
		t.Run(b.clause+"/"+b.what, func(t *testing.T) {
			p, err := decodeBytes([]byte(b.packet), b.v)
			var pe *ProtocolError
			if !errors.As(err, &pe) {
				t.Fatalf("%q gives %+v and error %v", b.packet, p, err)
			}
			if pe.Clause != b.clause {
				t.Errorf("%q is refused by %v", b.packet, err)
			}
			if pe.Reason < UnspecifiedError || pe.Detail == "" || err.Error() != "mqtt: "+pe.Detail+" ["+pe.Clause+"]" {
				t.Errorf("error %+v", pe)
			}
		})
	}
}

// Every packet type is among the malformed ones.
func TestClauseCoversAllTypes(t *testing.T) {
	seen := map[Type]bool{}
	for _, b := range breaches {
		seen[Type(b.packet[0]>>4)] = true
	}
	for typ := range Type(16) {
		if !seen[typ] {
			t.Errorf("no malformed %v", typ)
		}
	}
}

// What the wire cannot hold is refused, and dst comes back as it was.
func TestClauseEncode(t *testing.T) {
	text := []byte(strings.Repeat("x", maxString+1))
	user := props(func(p *Properties) { p.User = []UserProperty{{Name: text}} })
	reason := props(func(p *Properties) { p.SetBytes(ReasonString, text) })
	some := props(func(p *Properties) { p.AddUser("a", "b") })
	will := Will{Topic: []byte("t")}
	for _, c := range []struct {
		clause, what string
		v            Version
		p            packet
	}{
		{"section 1.5.3", "long topic", V311, &Publish{Topic: text}},
		{"section 1.5.3", "long user property", V5, &Publish{Topic: []byte("t"), Properties: user}},
		{"section 1.5.3", "long client id", V311, &connect{Connect{Version: V311, ClientID: text}}},
		{"section 1.5.3", "long user name", V311, &connect{Connect{Version: V311, UserName: text}}},
		{"section 1.5.3", "long password", V311, &connect{Connect{Version: V311, UserName: []byte{}, Password: text}}},
		{"section 1.5.3", "long will topic", V311, &connect{Connect{Version: V311, HasWill: true, Will: Will{Topic: text}}}},
		{"section 1.5.3", "long will message", V311, &connect{Connect{Version: V311, HasWill: true, Will: Will{Topic: []byte("t"), Payload: text}}}},
		{"section 1.5.3", "long filter", V311, &Subscribe{PacketID: 1, Subscriptions: []Subscription{{Filter: text}}}},
		{"section 1.5.3", "long filter to unsubscribe", V311, &Unsubscribe{PacketID: 1, Filters: [][]byte{text}}},
		{"section 1.5.3", "long reason string", V5, &Disconnect{Properties: reason}},
		{"MQTT-3.3.1-4", "QoS 3", V311, &Publish{Topic: []byte("t"), QoS: 3, PacketID: 1}},
		{"MQTT-3.3.1-2", "DUP with QoS 0", V311, &Publish{Topic: []byte("t"), Dup: true}},
		{"MQTT-2.3.1-1", "PUBLISH of 0", V311, &Publish{Topic: []byte("t"), QoS: 1}},
		{"MQTT-2.3.1-1", "PUBACK of 0", V311, &Ack{Type: PUBACK}},
		{"MQTT-2.3.1-1", "SUBSCRIBE of 0", V311, &Subscribe{Subscriptions: []Subscription{{Filter: []byte("a")}}}},
		{"MQTT-2.3.1-1", "SUBACK of 0", V311, &Suback{Codes: []byte{0}}},
		{"MQTT-2.3.1-1", "UNSUBSCRIBE of 0", V311, &Unsubscribe{Filters: [][]byte{[]byte("a")}}},
		{"MQTT-2.3.1-1", "UNSUBACK of 0", V311, &Unsuback{}},
		{"section 2.2.1", "acknowledgement of no type", V311, &Ack{PacketID: 1}},
		{"section 2.2.1", "AUTH in 3.1.1", V311, &Auth{}},
		{"MQTT-3.1.2-14", "will QoS 3", V311, &connect{Connect{Version: V311, HasWill: true, Will: Will{QoS: 3}}}},
		{"MQTT-3.1.2-22", "password alone", V311, &connect{Connect{Version: V311, Password: []byte("p")}}},
		{"MQTT-3.1.2-2", "level 3", V31, &connect{Connect{Version: V31}}},
		{"MQTT-3.8.3-3", "no filter", V311, &Subscribe{PacketID: 1}},
		{"MQTT-3.10.3-2", "no filter to unsubscribe", V311, &Unsubscribe{PacketID: 1}},
		{"MQTT-3.8.3-4", "requested QoS 3", V311, &Subscribe{PacketID: 1, Subscriptions: []Subscription{{Filter: []byte("a"), QoS: 3}}}},
		{"MQTT-3.8.3-4", "option of 5.0", V311, &Subscribe{PacketID: 1, Subscriptions: []Subscription{{Filter: []byte("a"), NoLocal: true}}}},
		{"section 3.8.3.1 of 5.0", "retain handling 3", V5, &Subscribe{PacketID: 1, Subscriptions: []Subscription{{Filter: []byte("a"), RetainHandling: 3}}}},
		{"MQTT-3.9.3-2", "code of 5.0", V311, &Suback{PacketID: 1, Codes: []byte{0x87}}},
		{"MQTT-3.8.4-5", "no code", V5, &Suback{PacketID: 1}},
		{"MQTT5-3.11.3-1", "no code", V5, &Unsuback{PacketID: 1}},
		{"section 2.4 of 5.0", "code in 3.1.1", V311, &Unsuback{PacketID: 1, Codes: []byte{0}}},
		{"section 2.4 of 5.0", "reason in 3.1.1", V311, &Disconnect{Reason: ServerBusy}},
		{"section 2.4 of 5.0", "reason of another packet", V5, &Ack{Type: PUBREL, PacketID: 1, Reason: QuotaExceeded}},
		{"section 2.4 of 5.0", "reason of another packet with properties", V5, &Connack{Code: byte(KeepAliveTimeout), Properties: some}},
		{"MQTT-3.2.2-4", "session present when refused", V311, &Connack{SessionPresent: true, Code: 5}},
		{"section 3.2.2.3", "return code 6", V311, &Connack{Code: 6}},
		{"section 2.2.2 of 5.0", "PUBLISH properties in 3.1.1", V311, &Publish{Topic: []byte("t"), Properties: some}},
		{"section 2.2.2 of 5.0", "CONNECT properties in 3.1.1", V311, &connect{Connect{Version: V311, Properties: some}}},
		{"section 2.2.2 of 5.0", "will properties in 3.1.1", V311, &connect{Connect{Version: V311, HasWill: true, Will: Will{Topic: will.Topic, Properties: some}}}},
		{"section 2.2.2 of 5.0", "CONNACK properties in 3.1.1", V311, &Connack{Properties: some}},
		{"section 2.2.2 of 5.0", "PUBACK properties in 3.1.1", V311, &Ack{Type: PUBACK, PacketID: 1, Properties: some}},
		{"section 2.2.2 of 5.0", "SUBSCRIBE properties in 3.1.1", V311, &Subscribe{PacketID: 1, Subscriptions: []Subscription{{Filter: []byte("a")}}, Properties: some}},
		{"section 2.2.3", "packet above the wire's bound", V311, &Publish{Topic: []byte("t"), Payload: make([]byte, MaxRemaining)}},
	} {
		t.Run(c.clause+"/"+c.what, func(t *testing.T) {
			got, err := c.p.Append([]byte("before"), c.v)
			var pe *ProtocolError
			if !errors.As(err, &pe) || pe.Clause != c.clause {
				t.Errorf("error %v", err)
			}
			if string(got) != "before" {
				t.Errorf("dst is %.40q", got)
			}
		})
	}
}
