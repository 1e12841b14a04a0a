package mqtt

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

// The fast checks agree with the plain ones for every byte at every place of
// texts around the width that they step by.
func TestTextChecks(t *testing.T) {
	for n := range 40 {
		for at := range n {
			b := bytes.Repeat([]byte("a"), n)
			for c := range 256 {
				b[at] = byte(c)
				text := utf8.Valid(b) && c != 0
				if got := ValidString(b); got != text {
					t.Fatalf("ValidString(%q) = %v", b, got)
				}
				if got := plainText(b); got != (c > 0 && c < 0x80) {
					t.Fatalf("plainText(%q) = %v", b, got)
				}
				if got := CheckTopic(b) == nil; got != (text && c != '+' && c != '#') {
					t.Fatalf("CheckTopic(%q) = %v", b, CheckTopic(b))
				}
			}
		}
	}
}

func TestTextBeyondASCII(t *testing.T) {
	for s, want := range map[string]bool{
		"":                       true,
		"gerät/größe":            true,
		"\ufeffmark":             true, // U+FEFF stays [MQTT-1.5.3-3]
		"\U0001F600":             true,
		"\x01\x1f\x7f":           true, // control characters but U+0000 are only discouraged
		"\uffff":                 true,
		"a\x00b":                 false,
		"ä\x00":                  false,
		"\xed\xa0\x80":           false, // surrogate
		"\xed\xbf\xbf":           false,
		"\xc0\xaf":               false, // overlong
		"\xf4\x90\x80\x80":       false, // above U+10FFFF
		"\xc3":                   false,
		strings.Repeat("x", 1e5): false,
	} {
		if got := ValidString([]byte(s)); got != want {
			t.Errorf("ValidString(%.20q) = %v", s, got)
		}
	}
	if CheckTopic(nil) == nil || CheckTopic([]byte(strings.Repeat("x", 65536))) == nil || CheckTopic([]byte("ä/+")) == nil || CheckTopic([]byte("ä/b")) != nil {
		t.Error("CheckTopic")
	}
}

// The examples of section 4.7.
func TestCheckFilter(t *testing.T) {
	for s, want := range map[string]bool{
		"sport/tennis/player1/#": true,
		"sport/#":                true,
		"#":                      true,
		"sport/tennis/#":         true,
		"sport/tennis#":          false,
		"sport/tennis/#/ranking": false,
		"+":                      true,
		"+/tennis/#":             true,
		"sport+":                 false,
		"sport/+/player1":        true,
		"/+":                     true,
		"+/+":                    true,
		"+a/b":                   false,
		"a/b+":                   false,
		"##":                     false,
		"/":                      true,
		"//":                     true,
		"":                       false,
		"a b/ü":                  true,
		"$iothub/twin/res/#":     true,
	} {
		if got := CheckFilter([]byte(s)) == nil; got != want {
			t.Errorf("CheckFilter(%q) = %v", s, CheckFilter([]byte(s)))
		}
	}
	if CheckFilter([]byte(strings.Repeat("x", 65536))) == nil {
		t.Error("filter of 65536 bytes accepted")
	}
}
