package robust

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"dunlin/test/device"
	"dunlin/test/harness"
)

const maxMessage = 256 << 10

// badPackets are sent by a device that has connected; each must end the
// connection without an acknowledgement.
func badPackets() map[string][]byte {
	topic := device.EventsTopic("bad")
	publish := func(topic string) []byte { return device.Message(topic, []byte("x"), 1, 9).Append(nil) }
	m := map[string][]byte{
		"PUBLISH QoS 2":                     device.Message(topic, []byte("x"), 2, 9).Append(nil),
		"PUBLISH QoS 3":                     device.Message(topic, []byte("x"), 3, 9).Append(nil),
		"PUBLISH packet id 0":               device.Message(topic, []byte("x"), 1, 0).Append(nil),
		"PUBLISH DUP with QoS 0":            device.Packet{Type: device.Publish, Flags: 8, Body: device.Text(nil, topic)}.Append(nil),
		"PUBLISH without topic":             device.Packet{Type: device.Publish, Flags: 2}.Append(nil),
		"PUBLISH topic longer than packet":  device.Packet{Type: device.Publish, Flags: 2, Body: []byte{0xff, 0xff, 'a'}}.Append(nil),
		"PUBLISH without packet id":         device.Packet{Type: device.Publish, Flags: 2, Body: device.Text(nil, topic)}.Append(nil),
		"empty topic":                       publish(""),
		"foreign topic":                     publish("some/topic"),
		"topic of another device":           publish(device.EventsTopic("good")),
		"topic of a module":                 publish("devices/bad/modules/m/messages/events/"),
		"topic of a service":                publish("$iothub/nothing"),
		"topic of the system":               publish("$SYS/broker"),
		"devicebound topic":                 publish("devices/bad/messages/devicebound/"),
		"topic with a wildcard":             publish("devices/bad/messages/#"),
		"topic with NUL":                    publish(topic + "a=\x00"),
		"topic in invalid UTF-8":            publish(topic + "a=\xff\xfe"),
		"topic with a surrogate":            publish(topic + "a=\xed\xa0\x80"),
		"bag with a cut escape":             publish(topic + "a=%4"),
		"bag with a bad escape":             publish(topic + "a=%zz"),
		"bag with a bad escape in a name":   publish(topic + "%g0=b"),
		"bag that decodes to invalid UTF-8": publish(topic + "a=%ff%fe"),
		"system property in invalid UTF-8":  publish(topic + "%24.mid=%ff"),
		"body over the limit":               device.Message(topic, make([]byte, maxMessage+1), 1, 9).Append(nil),
		"properties over the limit":         device.Message(topic+"a="+strings.Repeat("x", 60000), make([]byte, maxMessage-50000), 1, 9).Append(nil),
		"remaining length of five bytes":    {device.Publish<<4 | 2, 0xff, 0xff, 0xff, 0xff, 0x01},
		"remaining length of 256 MB":        append([]byte{device.Publish<<4 | 2, 0xff, 0xff, 0xff, 0x7f}, publish(topic)[2:]...),
		"second CONNECT":                    device.Hello{Client: "bad", Clean: true}.Packet().Append(nil),
		"SUBSCRIBE without filter":          device.Packet{Type: device.Subscribe, Flags: 2, Body: []byte{0, 1}}.Append(nil),
		"SUBSCRIBE with flags 0":            device.Packet{Type: device.Subscribe, Body: device.Filter(1, "devices/bad/messages/devicebound/#", 1).Body}.Append(nil),
		"SUBSCRIBE packet id 0":             device.Filter(0, "devices/bad/messages/devicebound/#", 1).Append(nil),
		"SUBSCRIBE QoS 3":                   device.Filter(1, "devices/bad/messages/devicebound/#", 3).Append(nil),
		"SUBSCRIBE in invalid UTF-8":        device.Filter(1, "\xff\xfe", 1).Append(nil),
		"SUBSCRIBE empty filter":            device.Filter(1, "", 1).Append(nil),
		"SUBSCRIBE cut off":                 device.Packet{Type: device.Subscribe, Flags: 2, Body: []byte{0, 1, 0, 50, 'a'}}.Append(nil),
		"UNSUBSCRIBE without filter":        device.Packet{Type: device.Unsubscribe, Flags: 2, Body: []byte{0, 1}}.Append(nil),
		"UNSUBSCRIBE with flags 0":          device.Packet{Type: device.Unsubscribe, Body: device.Text([]byte{0, 1}, "a")}.Append(nil),
		"PUBACK without packet id":          device.Packet{Type: device.Puback}.Append(nil),
		"PUBACK too long":                   device.Packet{Type: device.Puback, Body: []byte{0, 1, 2}}.Append(nil),
		"PUBACK with flags":                 device.Packet{Type: device.Puback, Flags: 4, Body: []byte{0, 1}}.Append(nil),
		"PINGREQ with a body":               device.Packet{Type: device.Pingreq, Body: []byte{1}}.Append(nil),
		"PINGREQ with flags":                device.Packet{Type: device.Pingreq, Flags: 1}.Append(nil),
		"DISCONNECT with flags":             device.Packet{Type: device.Disconnect, Flags: 1}.Append(nil),
	}
	for name, typ := range map[string]byte{
		"reserved type 0": 0, "CONNACK": device.Connack, "PUBREC": device.Pubrec, "PUBREL": device.Pubrel, "PUBCOMP": device.Pubcomp,
		"SUBACK": device.Suback, "UNSUBACK": device.Unsuback, "PINGRESP": device.Pingresp, "reserved type 15": 15,
	} {
		m[name+" from a device"] = device.Packet{Type: typ, Body: []byte{0, 9}}.Append(nil)
	}
	big := make([]byte, 2<<20)
	for typ := range byte(16) {
		flags := byte(0)
		if typ == device.Subscribe || typ == device.Unsubscribe || typ == device.Pubrel {
			flags = 2
		}
		m[fmt.Sprintf("oversize packet of type %d", typ)] = device.Packet{Type: typ, Flags: flags, Body: big}.Append(nil)
	}
	return m
}

// TestBadPackets: a device that breaks the rules loses its connection and
// nothing else happens: no acknowledgement, no event, no trouble for others.
func TestBadPackets(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	badKey := s.Device("bad")
	good := connected(t, s, "good", s.Device("good"))
	n := uint16(0)
	for name, raw := range badPackets() {
		t.Run(name, func(t *testing.T) {
			c := connected(t, s, "bad", badKey)
			c.Write(raw) // the server may close before it is all written
			got, err := c.Ended(closes)
			if err != nil {
				t.Error(err)
			}
			for _, p := range got {
				t.Errorf("answered with packet type %d % x", p.Type, p.Body)
			}
			n++
			alive(t, good, "good", n)
		})
	}
	if events := s.Tail("--device", "bad"); len(events) != 0 {
		t.Errorf("%d events of bad packets are in the log, the first: %+v", len(events), events[0])
	}
}

// TestBadFirstPackets: what comes before a CONNECT ends the connection.
func TestBadFirstPackets(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	key := s.Device("good")
	good := connected(t, s, "good", key)
	hello := device.HelloFor(s.Info.HostName, "good", key).Packet()
	change := func(at int, b byte) []byte {
		p := device.Packet{Type: hello.Type, Body: bytes.Clone(hello.Body)}
		p.Body[at] = b
		return p.Append(nil)
	}
	tests := map[string][]byte{
		"PUBLISH":               device.Message(device.EventsTopic("good"), []byte("x"), 1, 1).Append(nil),
		"PINGREQ":               device.Packet{Type: device.Pingreq}.Append(nil),
		"SUBSCRIBE":             device.Filter(1, "#", 1).Append(nil),
		"DISCONNECT":            device.Packet{Type: device.Disconnect}.Append(nil),
		"HTTP":                  []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		"AMQP":                  []byte("AMQP\x00\x01\x00\x00"),
		"reserved connect flag": change(7, hello.Body[7]|1),
		"will flags, no will":   change(7, hello.Body[7]|0x38),
		"password without user": change(7, 0x40),
		"CONNECT with flags":    device.Packet{Type: device.Connect, Flags: 1, Body: hello.Body}.Append(nil),
		"CONNECT cut off":       device.Packet{Type: device.Connect, Body: hello.Body[:len(hello.Body)-5]}.Append(nil),
		"CONNECT with a tail":   device.Packet{Type: device.Connect, Body: append(bytes.Clone(hello.Body), 1, 2, 3)}.Append(nil),
		"empty CONNECT":         device.Packet{Type: device.Connect}.Append(nil),
		"invalid UTF-8":         device.Hello{Client: "\xff\xfe", User: "a/\xff"}.Packet().Append(nil),
		"CONNECT of 1 MB":       device.Packet{Type: device.Connect, Body: make([]byte, 1<<20)}.Append(nil),
		"length of five bytes":  {device.Connect << 4, 0xff, 0xff, 0xff, 0xff, 1},
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 50 {
		b := make([]byte, 1+random.IntN(200))
		for j := range b {
			b[j] = byte(random.Uint32())
		}
		if b[0]>>4 == device.Connect {
			continue // may be the beginning of something good
		}
		tests[fmt.Sprintf("noise %d", i)] = append(b, make([]byte, 64<<10)...)
	}
	for name, raw := range tests {
		t.Run(name, func(t *testing.T) {
			c := dial(t, s)
			c.Write(raw) // the server may close before it is all written
			got, err := c.Ended(closes)
			if err != nil {
				t.Error(err)
			}
			for _, p := range got {
				if p.Type != device.Connack || len(p.Body) != 2 || p.Body[1] == 0 {
					t.Errorf("answered with packet type %d % x", p.Type, p.Body)
				}
			}
		})
	}
	alive(t, good, "good", 1)
}

// TestToleratedPackets: what the documents allow, or what is silently ignored,
// keeps the connection.
func TestToleratedPackets(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	c := connected(t, s, "good", s.Device("good"))
	topic := device.EventsTopic("good")
	for i, tt := range []struct {
		name string
		p    device.Packet
		want byte // type of the answer; 0 for none
	}{
		{"PUBACK for an unknown packet id", device.Packet{Type: device.Puback, Body: []byte{0, 77}}, 0},
		{"QoS 0", device.Message(topic, []byte("zero"), 0, 0), 0},
		{"body at the limit", device.Message(topic, make([]byte, maxMessage), 1, 5), device.Puback},
		{"empty body", device.Message(topic, nil, 1, 5), device.Puback},
		{"retain", device.Packet{Type: device.Publish, Flags: 3, Body: device.Message(topic, []byte("r"), 1, 5).Body}, device.Puback},
		{"topic without the last slash", device.Message(strings.TrimSuffix(topic, "/"), nil, 1, 5), device.Puback},
		{"bag behind a question mark", device.Message(topic+"?a=b", nil, 1, 5), device.Puback},
		{"bag with raw slashes", device.Message(topic+"$.ct=application/json&p=v/w", []byte("1"), 1, 5), device.Puback},
		{"property without value", device.Message(topic+"p&q=", nil, 1, 5), device.Puback},
		{"SUBSCRIBE to an unknown filter", device.Filter(3, "some/topic", 1), device.Suback},
		{"SUBSCRIBE with QoS 2", device.Filter(3, "devices/good/messages/devicebound/#", 2), device.Suback},
		{"UNSUBSCRIBE", device.Packet{Type: device.Unsubscribe, Flags: 2, Body: device.Text([]byte{0, 4}, "some/topic")}, device.Unsuback},
		{"PINGREQ", device.Packet{Type: device.Pingreq}, device.Pingresp},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := c.Send(tt.p); err != nil {
				t.Fatal(err)
			}
			if tt.want != 0 {
				p, err := c.Receive(10 * time.Second)
				if err != nil || p.Type != tt.want {
					t.Fatalf("answer %+v, %v; want type %d", p, err, tt.want)
				}
				if tt.name == "SUBSCRIBE to an unknown filter" && !bytes.Equal(p.Body, []byte{0, 3, 0x80}) {
					t.Errorf("SUBACK % x, want code 80", p.Body)
				}
				if tt.name == "SUBSCRIBE with QoS 2" && !bytes.Equal(p.Body, []byte{0, 3, 1}) {
					t.Errorf("SUBACK % x, want QoS 1", p.Body)
				}
			}
			alive(t, c, "good", uint16(100+i))
		})
	}
}
