package sas

import "strings"

const (
	upperHex = "0123456789ABCDEF"
	lowerHex = "0123456789abcdef"
)

// appendEscaped percent-encodes all but the unreserved characters of RFC 3986.
func appendEscaped(dst []byte, s, digits string) []byte {
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.', c == '~':
			dst = append(dst, c)
		default:
			dst = append(dst, '%', digits[c>>4], digits[c&15])
		}
	}
	return dst
}

// unescape undoes percent-encoding once. A plus stays a plus: ids may hold it
// and nothing here holds a space.
func unescape(s string) (string, bool) {
	if strings.IndexByte(s, '%') < 0 {
		return s, true
	}
	var room [256]byte
	b, ok := appendUnescaped(room[:0], s)
	return string(b), ok
}

func appendUnescaped(dst []byte, s string) ([]byte, bool) {
	for {
		i := strings.IndexByte(s, '%')
		if i < 0 {
			return append(dst, s...), true
		}
		if len(s)-i < 3 {
			return dst, false
		}
		hi, lo := unhex(s[i+1]), unhex(s[i+2])
		if hi|lo > 15 {
			return dst, false
		}
		dst = append(append(dst, s[:i]...), hi<<4|lo)
		s = s[i+3:]
	}
}

// unhex gives the value of a hexadecimal digit, 255 for anything else.
func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

// normalize strips scheme, port and trailing slashes from a decoded resource and
// brings its host to lower case.
func normalize(s string) string {
	start, end := hostOf(s)
	host, path := s[start:end], s[end:]
	// The colons of an IPv6 address stand in brackets.
	bracket := strings.LastIndexByte(host, ']') + 1
	if i := strings.IndexByte(host[bracket:], ':'); i >= 0 {
		host = host[:bracket+i]
	}
	path = strings.TrimRight(path, "/")
	lower := strings.ToLower(host)
	if lower == host && len(host)+len(path) == len(s)-start {
		return s[start:] // as it is, without a copy
	}
	return lower + path
}

// hostOf tells where the host of a decoded resource stands, port included.
func hostOf(s string) (start, end int) {
	if i := strings.Index(s, "://"); i >= 0 && strings.IndexByte(s[:i], '/') < 0 {
		start = i + 3
	}
	if i := strings.IndexByte(s[start:], '/'); i >= 0 {
		return start, start + i
	}
	return start, len(s)
}
