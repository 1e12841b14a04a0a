package sas

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"strconv"
	"strings"
	"time"
)

const (
	scheme = "SharedAccessSignature"

	// maxText bounds what Parse looks at; real tokens are below 400 bytes.
	maxText = 4 << 10

	// Skew is how far the clocks of a device and this server may be apart: a
	// token is taken for this long after its expiry.
	Skew = 5 * time.Minute

	// lastExpiry is the beginning of the year 2262 in Unix seconds.
	lastExpiry = 9_214_646_400
)

// Token is a parsed signature. The zero Token verifies against no key.
type Token struct {
	rawResource string // sr as it stands in the text
	resource    string // sr decoded, without scheme and port, host in lower case
	policy      string
	expiryText  string // se as it stands in the text
	expiry      int64  // se, Unix seconds
	sig         [sha256.Size]byte
	parsed      bool
}

// SyntaxError says what is wrong with the text of a token, in words for the
// developer of the device that sent it. It quotes nothing secret.
type SyntaxError struct{ Detail string }

func (e *SyntaxError) Error() string { return "shared access signature: " + e.Detail }

func malformed(detail string) (Token, error) { return Token{}, &SyntaxError{Detail: detail} }

// Parse reads the text of a token. Its pairs may come in any order; pairs with
// other names are skipped. Errors are *SyntaxError.
func Parse(text string) (Token, error) {
	if text == "" {
		return malformed("the token is empty")
	}
	if len(text) > maxText {
		return malformed("the token is longer than 4096 characters")
	}
	if len(text) <= len(scheme) || !strings.EqualFold(text[:len(scheme)], scheme) || text[len(scheme)] != ' ' {
		return malformed(`the token does not begin with "SharedAccessSignature " (a connection string or a bare key is not a token)`)
	}
	var sr, sig, se, skn pair
	for part := range strings.SplitSeq(strings.Trim(text[len(scheme):], " "), "&") {
		name, value, _ := strings.Cut(part, "=")
		var p *pair
		switch name {
		case "sr":
			p = &sr
		case "sig":
			p = &sig
		case "se":
			p = &se
		case "skn":
			p = &skn
		default:
			continue
		}
		if p.seen {
			return malformed(name + " is given twice")
		}
		*p = pair{value: value, seen: true}
	}
	switch {
	case !sr.seen:
		return malformed("sr (the resource, such as myhub.example/devices/mydevice) is missing")
	case sr.value == "":
		return malformed("sr (the resource) is empty")
	case !sig.seen:
		return malformed("sig (the signature) is missing")
	case sig.value == "":
		return malformed("sig (the signature) is empty")
	case !se.seen:
		return malformed("se (the expiry, seconds since 1970) is missing")
	case se.value == "":
		return malformed("se (the expiry) is empty")
	}
	t := Token{rawResource: sr.value, expiryText: se.value, parsed: true}
	var detail string
	if t.expiry, detail = parseExpiry(se.value); detail != "" {
		return malformed(detail)
	}
	if detail = t.decodeSignature(sig.value); detail != "" {
		return malformed(detail)
	}
	resource, ok := unescape(sr.value)
	if !ok {
		return malformed("sr has a % that is not followed by two hexadecimal digits")
	}
	if t.resource = normalize(resource); t.resource == "" || t.resource[0] == '/' {
		return malformed("sr names no host")
	}
	if t.policy, ok = unescape(skn.value); !ok {
		return malformed("skn has a % that is not followed by two hexadecimal digits")
	}
	return t, nil
}

type pair struct {
	value string
	seen  bool
}

// parseExpiry answers what is wrong with the text, if anything.
func parseExpiry(s string) (sec int64, detail string) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, "se (the expiry) is not a whole number of seconds since 1970"
		}
	}
	// The bound keeps arithmetic with it inside 64 bits.
	sec, err := strconv.ParseInt(s, 10, 64)
	if err != nil || sec > 1<<60 {
		return 0, "se (the expiry) is too large a number"
	}
	return sec, ""
}

// strictBase64 takes no text whose unused bits are set.
var strictBase64 = base64.StdEncoding.Strict()

func (t *Token) decodeSignature(s string) (detail string) {
	var room [64]byte
	text, ok := appendUnescaped(room[:0], s)
	if !ok {
		return "sig has a % that is not followed by two hexadecimal digits"
	}
	if len(text) != base64.StdEncoding.EncodedLen(len(t.sig)) {
		return "sig is not the base64 text of 32 bytes (is it percent-encoded exactly once?)"
	}
	var buf [sha256.Size + 3]byte // what a text of that length can decode to
	n, err := strictBase64.Decode(buf[:], text)
	if err != nil || n != copy(t.sig[:], buf[:n]) || n != len(t.sig) {
		return "sig is not the base64 text of 32 bytes (is it percent-encoded exactly once?)"
	}
	return ""
}

// Verify reports whether the token was signed with key, decoded from base64.
// The resource counts as it stands in the token; when that does not verify, it
// counts as encoded anew, because there are clients that sign one spelling of
// the resource and send another. Comparisons take constant time.
func (t *Token) Verify(key []byte) bool {
	if !t.parsed || len(key) == 0 {
		return false
	}
	mac := hmac.New(sha256.New, key)
	msg := make([]byte, 0, len(t.rawResource)+1+len(t.expiryText))
	msg = append(append(append(msg, t.rawResource...), '\n'), t.expiryText...)
	if t.matches(mac, msg) {
		return true
	}
	decoded, ok := unescape(t.rawResource)
	if !ok {
		return false
	}
	// Only spellings that mean the same resource may be tried: with a hub's
	// key one device could otherwise turn its token into one for another. So
	// ids keep their case, and the plain form is out when it holds a %.
	_, hostEnd := hostOf(decoded)
	lower := strings.ToLower(decoded[:hostEnd]) + decoded[hostEnd:]
	for i, s := range [...]string{decoded, lower} {
		if i > 0 && s == decoded {
			break
		}
		for _, digits := range [...]string{upperHex, lowerHex} {
			msg = append(append(appendEscaped(msg[:0], s, digits), '\n'), t.expiryText...)
			if t.matches(mac, msg) {
				return true
			}
		}
		if strings.IndexByte(s, '%') < 0 {
			msg = append(append(append(msg[:0], s...), '\n'), t.expiryText...)
			if t.matches(mac, msg) {
				return true
			}
		}
	}
	return false
}

func (t *Token) matches(mac hash.Hash, msg []byte) bool {
	mac.Reset()
	mac.Write(msg)
	var sum [sha256.Size]byte
	return hmac.Equal(mac.Sum(sum[:0]), t.sig[:])
}

// Covers reports whether the token was made for the resource, such as
// "hub.example/devices/d1/modules/m1" (not encoded), or for one above it. Only
// whole segments count. Hosts are compared without case and port, the rest
// byte for byte.
func (t *Token) Covers(resource string) bool {
	rest, ok := strings.CutPrefix(normalize(resource), t.resource)
	return ok && t.parsed && (rest == "" || rest[0] == '/')
}

// Resource is what the token was made for: decoded, without scheme, port and
// trailing slash, the host in lower case.
func (t *Token) Resource() string { return t.resource }

// Host is the first segment of Resource, the name of the hub.
func (t *Token) Host() string {
	host, _, _ := strings.Cut(t.resource, "/")
	return host
}

// Policy is the shared access policy whose key signed the token (skn); empty
// when it is the key of the device or module itself.
func (t *Token) Policy() string { return t.policy }

// Expiry is the moment written in the token (se), in UTC. The token is taken
// for Skew longer. There are tokens whose se counts milliseconds: a moment
// after the year 2261 is given as its end, so that Unix nanoseconds can hold it
// with hours to spare.
func (t *Token) Expiry() time.Time { return time.Unix(min(t.expiry, lastExpiry), 0).UTC() }

// Expired reports whether the token must be refused at now: five minutes
// after its expiry, to the second.
func (t *Token) Expired(now time.Time) bool {
	return t.expiry <= now.Unix()-int64(Skew/time.Second)
}
