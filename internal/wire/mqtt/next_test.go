package mqtt

import (
	"bytes"
	"errors"
	"testing"
)

// A packet that comes byte by byte is incomplete, without an error, until its
// last byte is there; then it is taken alone.
func TestNextWaitsForWholePacket(t *testing.T) {
	for _, s := range samples {
		b := append([]byte(s.bytes), 0xff, 0xff)
		for n := range len(s.bytes) {
			if _, body, taken, err := Next(b[:n], len(s.bytes)); err != nil || taken != 0 || body != nil {
				t.Fatalf("%s: %d of %d bytes: taken %d, error %v", s.title(), n, len(s.bytes), taken, err)
			}
		}
		h, body, taken, err := Next(b, len(s.bytes))
		if err != nil || taken != len(s.bytes) || h.Type != Type(b[0]>>4) || h.Flags != b[0]&15 {
			t.Fatalf("%s: taken %d, header %v, error %v", s.title(), taken, h, err)
		}
		if !bytes.HasSuffix([]byte(s.bytes), body) || cap(body) != len(body) {
			t.Fatalf("%s: body %q", s.title(), body)
		}
	}
}

// A packet of every type that is longer than allowed is refused as soon as its
// length is there.
func TestNextRefusesOversize(t *testing.T) {
	const limit = 1000
	for typ := CONNECT; typ <= AUTH; typ++ {
		if typ == PINGREQ || typ == PINGRESP {
			continue // any body is wrong there
		}
		first := byte(typ) << 4
		if typ == PUBREL || typ == SUBSCRIBE || typ == UNSUBSCRIBE {
			first |= 2
		}
		for _, length := range []uint32{limit - 2, 1 << 14, 1 << 21, MaxRemaining} {
			b := appendVarint([]byte{first}, length)
			if _, _, n, err := Next(b[:len(b)-1], limit); n != 0 || err != nil {
				t.Errorf("%v of %d bytes, length incomplete: %d, %v", typ, length, n, err)
			}
			if _, _, n, err := Next(b, limit); n != 0 || !errors.Is(err, ErrPacketTooLarge) {
				t.Errorf("%v of %d bytes: %d, %v", typ, length, n, err)
			}
			if _, _, n, err := Next(b, 0); n != 0 || err != nil {
				t.Errorf("%v of %d bytes without a bound: %d, %v", typ, length, n, err)
			}
		}
		// The bound is one of the whole packet.
		b := append(appendVarint([]byte{first}, limit-3), make([]byte, limit-3)...)
		if _, _, n, err := Next(b, limit); n != limit || err != nil {
			t.Errorf("%v at the bound: %d, %v", typ, n, err)
		}
	}
}

// What is wrong with the first byte is refused before anything else arrives.
func TestNextRefusesFirstByteAlone(t *testing.T) {
	for c := range 256 {
		_, _, n, err := Next([]byte{byte(c)}, 0)
		ok := false
		switch typ, flags := c>>4, c&15; typ {
		case 0:
		case 3:
			ok = flags>>1 != 3 && flags>>1 != 7 && flags != 8 && flags != 9
		case 6, 8, 10:
			ok = flags == 2
		default:
			ok = flags == 0
		}
		if n != 0 || (err == nil) != ok {
			t.Errorf("first byte %#x: %d, %v", c, n, err)
		}
	}
}

func TestNextRemainingLength(t *testing.T) {
	for _, c := range []struct {
		length string
		want   int
	}{
		{"\x00", 0},
		{"\x7f", 127},
		{"\x80\x01", 128},
		{"\xff\x7f", 16383},
		{"\x80\x80\x01", 16384},
		{"\xff\xff\x7f", 2097151},
		{"\x80\x80\x80\x01", 2097152},
		// Longer than needed: clients that write it with a fixed width exist,
		// and 3.1.1 does not forbid it.
		{"\x85\x00", 5},
		{"\x85\x80\x80\x00", 5},
	} {
		b := append([]byte("\x30"+c.length), make([]byte, c.want)...)
		_, body, n, err := Next(b, 0)
		if err != nil || n != len(b) || len(body) != c.want {
			t.Errorf("% x: body of %d bytes, want %d; taken %d, error %v", c.length, len(body), c.want, n, err)
		}
	}
}

func TestHeader(t *testing.T) {
	h := Header{Type: PUBLISH, Flags: 0b1011}
	if !h.Dup() || !h.Retain() || h.QoS() != 1 {
		t.Errorf("%+v", h)
	}
	if h.Type.String() != "PUBLISH" || Type(0).String() != "reserved" || AUTH.String() != "AUTH" {
		t.Error("names of types")
	}
}

// MQTT 3.1 cannot be spoken, but the server learns who asked.
func TestConnectOfMQTT31(t *testing.T) {
	var c Connect
	err := c.Decode([]byte("\x00\x06MQIsdp\x03\xc2\x00\x3c\x00\x04dev1\x00\x01u\x00\x01p"))
	if !errors.Is(err, ErrUnsupportedVersion) || ErrUnsupportedVersion.Reason.Connack() != ConnackVersion {
		t.Fatal(err)
	}
	if c.Version != V31 || string(c.ClientID) != "dev1" || string(c.UserName) != "u" {
		t.Errorf("%+v", c)
	}
	if err := c.Decode([]byte("\x00\x06MQIsdp\x03\xc2")); !errors.Is(err, ErrUnsupportedVersion) || c.Version != V31 {
		t.Errorf("cut short: %v %+v", err, c)
	}
}

func TestConnackOfReason(t *testing.T) {
	for r, want := range map[ReasonCode]byte{
		Success: 0, UnsupportedVersion: 1, ClientIDNotValid: 2, ServerUnavailable: 3, ServerBusy: 3, QuotaExceeded: 3,
		BadUserNameOrPassword: 4, NotAuthorized: 5, Banned: 5, BadAuthenticationMethod: 5,
	} {
		if got := r.Connack(); got != want {
			t.Errorf("%#x: %d, want %d", r, got, want)
		}
	}
}

func TestShortForms(t *testing.T) {
	for want, got := range map[string][]byte{
		"\x20\x02\x01\x00":         AppendConnack(nil, true, ConnackAccepted),
		"\x20\x02\x00\x05":         AppendConnack(nil, true, ConnackNotAuthorized),
		"\x40\x02\x12\x34":         AppendPuback(nil, 0x1234),
		"\x90\x04\x12\x34\x01\x80": AppendSuback(nil, 0x1234, []byte{1, SubackFailure}),
		"\xb0\x02\x12\x34":         AppendUnsuback(nil, 0x1234),
		"\xc0\x00\xd0\x00\xe0\x00": AppendDisconnect(AppendPingresp(AppendPingreq(nil))),
	} {
		if string(got) != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if id, err := DecodePuback([]byte{0x12, 0x34}); id != 0x1234 || err != nil {
		t.Error(id, err)
	}
	for body, want := range map[string]error{"": errShort, "\x01": errShort, "\x00\x00": errPacketID, "\x00\x01\x00": errTrailing} {
		if _, err := DecodePuback([]byte(body)); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", body, err, want)
		}
	}
}
