package mqtt

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

const (
	lowBits  = 0x0101010101010101
	highBits = 0x8080808080808080
)

// The checks below look at eight bytes at a time. Taking 1 from each byte sets
// the high bit of one that is 0; bytes that have it set already are no ASCII
// and count as bad anyway, so one test of the high bits finds both.

// plainText reports whether b is all ASCII without U+0000; not so does not
// mean that b is invalid.
func plainText(b []byte) bool {
	if len(b) < 8 {
		for _, c := range b {
			if c == 0 || c >= utf8.RuneSelf {
				return false
			}
		}
		return true
	}
	last := len(b) - 8
	x := binary.LittleEndian.Uint64(b[last:])
	bad := x | (x - lowBits)
	for i := 0; i < last; i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		bad |= x | (x - lowBits)
	}
	return bad&highBits == 0
}

// plainTopic is plainText that has no wildcards either. The codes of # and +
// differ in one bit, so one comparison finds both.
func plainTopic(b []byte) bool {
	if len(b) < 8 {
		for _, c := range b {
			if c == 0 || c >= utf8.RuneSelf || c == '+' || c == '#' {
				return false
			}
		}
		return true
	}
	const differ, plus = 0x0808080808080808, 0x2b2b2b2b2b2b2b2b
	last := len(b) - 8
	x := binary.LittleEndian.Uint64(b[last:])
	bad := x | (x - lowBits) | ((x | differ) ^ plus - lowBits)
	for i := 0; i < last; i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		bad |= x | (x - lowBits) | ((x | differ) ^ plus - lowBits)
	}
	return bad&highBits == 0
}

// checkString gives invalid for ill-formed UTF-8 (surrogates included)
// [MQTT-1.5.3-1] and refuses U+0000 [MQTT-1.5.3-2].
func checkString(b []byte, invalid error) error {
	switch {
	case plainText(b):
		return nil
	case !utf8.Valid(b):
		return invalid
	case bytes.IndexByte(b, 0) >= 0:
		return errNull
	default:
		return nil
	}
}

// ValidString reports whether b can stand as text in a packet: well-formed
// UTF-8 of at most 65535 bytes without U+0000.
func ValidString(b []byte) bool { return len(b) <= maxString && checkString(b, errUTF8) == nil }

// CheckTopic refuses what is no topic name: empty, too long, not text, or with
// wildcards. The error is a *ProtocolError.
func CheckTopic(b []byte) error {
	if plainTopic(b) && len(b) > 0 && len(b) <= maxString {
		return nil
	}
	return checkTopic(b, errTopicUTF8)
}

func checkTopic(b []byte, invalid error) error {
	if len(b) == 0 {
		return errTopicEmpty
	}
	if len(b) > maxString {
		return errStringLen
	}
	if err := checkString(b, invalid); err != nil {
		return err
	}
	if bytes.IndexByte(b, '+') >= 0 || bytes.IndexByte(b, '#') >= 0 {
		return errTopicWild
	}
	return nil
}

// CheckFilter refuses what is no topic filter (section 4.7). The error is a
// *ProtocolError.
func CheckFilter(b []byte) error { return checkFilter(b, errSubscribeUTF8) }

func checkFilter(b []byte, invalid error) error {
	if len(b) == 0 {
		return errTopicEmpty
	}
	if len(b) > maxString {
		return errStringLen
	}
	if err := checkString(b, invalid); err != nil {
		return err
	}
	for i, c := range b {
		switch c {
		case '#':
			if i != len(b)-1 || i > 0 && b[i-1] != '/' {
				return errFilterHash
			}
		case '+':
			if i > 0 && b[i-1] != '/' || i < len(b)-1 && b[i+1] != '/' {
				return errFilterPlus
			}
		}
	}
	return nil
}

// checkShared refuses malformed shared subscriptions of MQTT 5.0 (section
// 4.8.2); shared tells whether b is one. b is a valid filter.
func checkShared(b []byte) (shared bool, err error) {
	rest, shared := bytes.CutPrefix(b, []byte("$share/"))
	if !shared {
		return false, nil
	}
	name, filter, found := bytes.Cut(rest, []byte{'/'})
	switch {
	case len(name) == 0:
		return true, errShareName
	case bytes.ContainsAny(name, "+#"), !found, len(filter) == 0:
		return true, errShareWild
	default:
		return true, nil
	}
}
