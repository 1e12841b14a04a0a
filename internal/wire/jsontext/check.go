package jsontext

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Rules bound what a valid JSON text may do beyond being valid. Parsers differ
// in all of it, so that what one of them checks another may read otherwise.
type Rules struct {
	Depth  int // arrays and objects within each other
	Number int // characters of a number
	// Opaque names members, in any case, whose texts and keys may be anything:
	// they are passed on as they are, or checked by who reads them.
	Opaque []string
}

// Check finds the first place where b, which must be Valid, breaks a rule: too
// deep, a number too long or too large, a key twice in an object, a text or key with U+0000
// or with half of a surrogate pair. The error is for the sender of the text. It
// takes time and memory in proportion to b.
func Check(b []byte, r Rules) error {
	c := checker{b: b, rules: r}
	return c.text()
}

type checker struct {
	b     []byte
	rules Rules
	stack []object
}

// object is an array or an object around the position.
type object struct {
	array bool
	keys  [][]byte        // the first ones, as they are few in most
	many  map[string]bool // all, once they are not
	value bool            // a key was read, its value follows
	last  bool            // that key names an opaque member
	free  bool            // within an opaque member
}

const fewKeys = 16

func (c *checker) text() error {
	for i := 0; i < len(c.b); {
		switch ch := c.b[i]; ch {
		case '{', '[':
			if len(c.stack) >= c.rules.Depth {
				return fmt.Errorf("nested too deep at byte %d: at most %d arrays and objects within each other are allowed", i, c.rules.Depth)
			}
			c.enter(ch == '[')
			i++
		case '}', ']':
			c.stack = c.stack[:len(c.stack)-1]
			i++
		case ',':
			if top := &c.stack[len(c.stack)-1]; !top.array {
				top.value = false
			}
			i++
		case '"':
			end := stringEnd(c.b, i)
			if err := c.string(i, c.b[i:end]); err != nil {
				return err
			}
			i = end
		case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
			end := i + 1
			for end < len(c.b) && isNumber(c.b[end]) {
				end++
			}
			if end-i > c.rules.Number {
				return fmt.Errorf("the number at byte %d has %d characters, at most %d are allowed", i, end-i, c.rules.Number)
			}
			if err := finite(i, c.b[i:end]); err != nil {
				return err
			}
			i = end
		default: // blanks, colons and the letters of true, false and null
			i++
		}
	}
	return nil
}

// enter begins an array or object, with the keys of an earlier one of its
// depth for room.
func (c *checker) enter(array bool) {
	o, n := object{array: array, free: c.free()}, len(c.stack)
	if n < cap(c.stack) {
		o.keys = c.stack[:n+1][n].keys[:0]
	}
	c.stack = append(c.stack, o)
}

// free reports whether what begins here is opaque.
func (c *checker) free() bool {
	if len(c.stack) == 0 {
		return false
	}
	top := &c.stack[len(c.stack)-1]
	return top.free || top.value && top.last
}

// finite refuses numbers that are larger than a number can be.
func finite(at int, number []byte) error {
	const short = 300 // digits that fit without an exponent
	if len(number) < short && !bytes.ContainsAny(number, "eE") {
		return nil
	}
	if _, err := strconv.ParseFloat(string(number), 64); err != nil {
		return fmt.Errorf("the number at byte %d is out of range", at)
	}
	return nil
}

func isNumber(ch byte) bool {
	return ch >= '0' && ch <= '9' || ch == '.' || ch == 'e' || ch == 'E' || ch == '+' || ch == '-'
}

// stringEnd gives the position behind the string that begins at i.
func stringEnd(b []byte, i int) int {
	for i++; b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// string checks a text or a key with its quotes.
func (c *checker) string(at int, s []byte) error {
	free := c.free()
	if !free {
		if err := unicode(at, s); err != nil {
			return err
		}
	}
	if len(c.stack) == 0 {
		return nil
	}
	top := &c.stack[len(c.stack)-1]
	if top.array || top.value {
		return nil
	}
	top.value = true
	if top.free {
		return nil
	}
	key, err := plain(s)
	if err != nil {
		return err
	}
	if top.seen(key) {
		return fmt.Errorf("the key %.64q stands twice in the object, again at byte %d", key, at)
	}
	top.last = slices.ContainsFunc(c.rules.Opaque, func(name string) bool { return strings.EqualFold(name, string(key)) })
	return nil
}

// seen notes a key and reports whether it was there.
func (o *object) seen(key []byte) bool {
	if o.many == nil {
		for _, k := range o.keys {
			if bytes.Equal(k, key) {
				return true
			}
		}
		if len(o.keys) < fewKeys {
			o.keys = append(o.keys, key)
			return false
		}
		o.many = make(map[string]bool, 2*fewKeys)
		for _, k := range o.keys {
			o.many[string(k)] = true
		}
	}
	if o.many[string(key)] {
		return true
	}
	o.many[string(key)] = true
	return false
}

// plain gives a string without quotes and escapes.
func plain(s []byte) ([]byte, error) {
	if bytes.IndexByte(s, '\\') < 0 {
		return s[1 : len(s)-1], nil
	}
	var text string
	err := json.Unmarshal(s, &text)
	return []byte(text), err
}

// unicode checks the escapes of a string with its quotes.
func unicode(at int, s []byte) error {
	for i := 1; i < len(s)-1; i++ {
		next := bytes.IndexByte(s[i:], '\\')
		if next < 0 {
			return nil
		}
		i += next
		if i++; s[i] != 'u' {
			continue
		}
		switch u := hex(s[i+1:]); {
		case u == 0:
			return fmt.Errorf("the text at byte %d holds U+0000, which no text may", at)
		case u >= 0xdc00 && u < 0xe000:
			return fmt.Errorf("the text at byte %d holds the second half of a surrogate pair without the first", at)
		case u >= 0xd800 && u < 0xdc00:
			next := s[i+5:]
			if len(next) < 7 || next[0] != '\\' || next[1] != 'u' || hex(next[2:])&0xfc00 != 0xdc00 {
				return fmt.Errorf("the text at byte %d holds the first half of a surrogate pair without the second", at)
			}
			i += 6
		}
		i += 4
	}
	return nil
}

// hex reads four digits.
func hex(s []byte) (u int) {
	for _, ch := range s[:4] {
		u <<= 4
		switch {
		case ch <= '9':
			u |= int(ch - '0')
		default:
			u |= int(ch|0x20-'a') + 10
		}
	}
	return u
}
