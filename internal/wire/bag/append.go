package bag

import "dunlin/internal/iot"

// Append adds the bag of m's properties to dst, system properties first. It
// encodes everything but the unreserved characters of RFC 3986: there are
// clients that take a raw slash for the end of the bag. A property without a
// value is written without "=".
func Append(dst []byte, m *iot.Message) []byte {
	start := len(dst)
	for i := range m.System {
		p := &m.System[i]
		name := p.Key.Bag()
		if name == "" {
			continue // not ours to name
		}
		if len(dst) > start {
			dst = append(dst, '&')
		}
		dst = append(append(dst, "%24"...), name[1:]...)
		dst = AppendEscaped(append(dst, '='), p.Value)
	}
	for i := range m.Properties {
		p := &m.Properties[i]
		if len(dst) > start {
			dst = append(dst, '&')
		}
		dst = AppendEscaped(dst, p.Name)
		if p.Value != nil {
			dst = AppendEscaped(append(dst, '='), p.Value)
		}
	}
	return dst
}

// AppendEscaped percent-encodes s.
func AppendEscaped(dst, s []byte) []byte {
	const digits = "0123456789ABCDEF"
	for _, c := range s {
		if unreserved[c] {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', digits[c>>4], digits[c&15])
		}
	}
	return dst
}

// unreserved holds the characters that stand for themselves everywhere.
var unreserved = func() (set [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~") {
		set[c] = true
	}
	return set
}()
