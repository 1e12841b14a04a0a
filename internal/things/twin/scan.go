package twin

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"dunlin/internal/iot"
)

// scanner reads JSON into nodes and checks the rules of twins on the way. What
// it takes from the text are views of it. Its errors say where they are.
type scanner struct {
	s      string
	pos    int
	lim    *Limits
	syntax iot.Code // of errors in the JSON itself
	where  string   // what the text as a whole is, such as "reported"

	rules  bool     // keys and values must obey the rules of twins
	nest   int      // arrays and objects around the position
	blanks int      // seen so far
	trail  []string // keys that lead to the position
	keys   []string // keys seen so far of the objects around the position
	parts  []member // members read so far of the objects around the position
	stored bool     // the text was written by this room: it holds no doubled key
}

// fail refuses what stands at offset at.
func (s *scanner) fail(code iot.Code, at int, format string, args ...any) error {
	place := s.where
	for _, k := range s.trail[:min(len(s.trail), 12)] {
		if place != "" {
			place += "."
		}
		place += clip(k, 40)
	}
	if place != "" {
		place += ": "
	}
	return iot.Errorf(code, "%s%s (offset %d)", place, fmt.Sprintf(format, args...), at)
}

func (s *scanner) invalid(what string) error {
	if s.pos >= len(s.s) {
		return s.fail(s.syntax, s.pos, "the JSON text ends early, %s is missing", what)
	}
	r, _ := utf8.DecodeRuneInString(s.s[s.pos:])
	return s.fail(s.syntax, s.pos, "not valid JSON: %q stands where %s should be", r, what)
}

func (s *scanner) breaks(at int, format string, args ...any) error {
	return s.fail(iot.ArgumentInvalid, at, format, args...)
}

// clip shortens a text for a message.
func clip(s string, n int) string {
	if len(s) > n {
		s = s[:n] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}

func (s *scanner) skip() {
	for s.pos < len(s.s) && isBlank(s.s[s.pos]) {
		s.pos++
		s.blanks++
	}
}

// end checks that nothing follows.
func (s *scanner) end() error {
	s.skip()
	if s.pos < len(s.s) {
		return s.invalid("the end")
	}
	return nil
}

// section reads the text as one section: an object under the rules of twins.
// Its members "$metadata" and "$version" are passed over: callers send back
// what they were given.
func (s *scanner) section() (node, error) {
	s.skip()
	if err := s.needObject(); err != nil {
		return node{}, err
	}
	old := s.rules
	s.rules = true
	n, err := s.object(0, true)
	s.rules = old
	return n, err
}

// object reads an object. depth counts the objects around it in its section;
// build asks for its members, which objects within arrays do not need.
func (s *scanner) object(depth int, build bool) (node, error) {
	var n node
	first := len(s.parts)
	if s.rules && depth > s.lim.Depth {
		return n, s.breaks(s.pos, "nested too deep: at most %d objects within each other are allowed (%s)", s.lim.Depth, s.lim.source("twin-depth"))
	}
	err := s.members(func(key string, at int) error {
		if s.rules {
			if depth == 0 && (key == "$metadata" || key == "$version") {
				s.rules = false
				_, err := s.value(0, false)
				s.rules = true
				return err
			}
			if err := s.checkKey(key, at); err != nil {
				return err
			}
		}
		val, err := s.value(depth, build)
		if err != nil {
			return err
		}
		n.size += keySize(key) + val.size
		if build {
			s.parts = append(s.parts, member{key, val})
		}
		return nil
	})
	if len(s.parts) > first {
		n.members = slices.Clone(s.parts[first:])
		s.parts = s.parts[:first]
	}
	return n, err
}

// fewKeys is up to where a doubled key is looked for one by one.
const fewKeys = 16

// members calls f for each member of the object at the position, with the
// position at the member's value, which f must read.
func (s *scanner) members(f func(key string, at int) error) error {
	if s.nest++; s.nest > maxNest {
		return s.fail(iot.ArgumentInvalid, s.pos, "nested too deep: at most %d arrays and objects within each other are read", maxNest)
	}
	first := len(s.keys)
	var seen map[string]struct{}
	s.pos++ // the brace
	s.skip()
	if s.pos < len(s.s) && s.s[s.pos] == '}' {
		s.pos++
		s.nest--
		return nil
	}
	for {
		at := s.pos
		if s.pos >= len(s.s) || s.s[s.pos] != '"' {
			return s.invalid("a key in quotes")
		}
		t, err := s.text()
		if err != nil {
			return err
		}
		key := t.decoded(s.s)
		if !s.stored && s.doubled(key, first, &seen) {
			return s.breaks(at, "the key %s is there twice", strconv.Quote(clip(key, 40)))
		}
		s.skip()
		if s.pos >= len(s.s) || s.s[s.pos] != ':' {
			return s.invalid("':'")
		}
		s.pos++
		s.skip()
		s.trail = append(s.trail, key)
		if err := f(key, at); err != nil {
			return err
		}
		s.trail = s.trail[:len(s.trail)-1]
		s.skip()
		switch {
		case s.pos < len(s.s) && s.s[s.pos] == ',':
			s.pos++
			s.skip()
		case s.pos < len(s.s) && s.s[s.pos] == '}':
			s.pos++
			s.keys = s.keys[:first]
			s.nest--
			return nil
		default:
			return s.invalid("',' or '}'")
		}
	}
}

// doubled notes a key of the object whose keys begin at first, and reports
// whether it was there before. seen holds them once they are many.
func (s *scanner) doubled(key string, first int, seen *map[string]struct{}) bool {
	if *seen == nil {
		if slices.Contains(s.keys[first:], key) {
			return true
		}
		s.keys = append(s.keys, key)
		if len(s.keys)-first > fewKeys {
			*seen = make(map[string]struct{}, 4*fewKeys)
			for _, k := range s.keys[first:] {
				(*seen)[k] = struct{}{}
			}
		}
		return false
	}
	if _, double := (*seen)[key]; double {
		return true
	}
	(*seen)[key] = struct{}{}
	return false
}

func (s *scanner) checkKey(key string, at int) error {
	switch {
	case len(key) > s.lim.Key:
		return s.breaks(at, "the key has %d bytes, at most %d are allowed (%s)", len(key), s.lim.Key, s.lim.source("twin-key"))
	case key == "":
		return s.breaks(at, "the key is empty")
	}
	for _, r := range key {
		switch {
		case r == '.' || r == '$' || r == ' ':
			return s.breaks(at, "the key must not hold %s: none of . $ and blank are allowed", strconv.QuoteRune(r))
		case isControl(r):
			return s.breaks(at, "the key must not hold the control character %s", strconv.QuoteRune(r))
		}
	}
	return nil
}

func isControl(r rune) bool { return r < 0x20 || (r >= 0x7f && r < 0xa0) }

// value reads any value. Objects are built, with build, and everything else
// becomes a leaf.
func (s *scanner) value(depth int, build bool) (node, error) {
	if s.pos >= len(s.s) {
		return node{}, s.invalid("a value")
	}
	from := s.pos
	switch c := s.s[from]; {
	case c == '{':
		return s.object(depth+1, build)
	case c == '[':
		return s.array(depth)
	case c == '"':
		t, err := s.text()
		if err == nil && s.rules {
			switch {
			case t.size > s.lim.String:
				err = s.breaks(from, "the text has %d bytes, at most %d are allowed (%s)", t.size, s.lim.String, s.lim.source("twin-text"))
			case t.zero:
				err = s.breaks(from, `the text holds the character \u0000, which is not allowed`)
			}
		}
		return node{raw: s.s[from:s.pos], size: t.size - t.control}, err
	case c == '-' || (c >= '0' && c <= '9'):
		err := s.number()
		return node{raw: s.s[from:s.pos], size: numberSize}, err
	}
	for i, word := range [...]string{null, "true", "false"} {
		if strings.HasPrefix(s.s[from:], word) {
			s.pos += len(word)
			n := node{raw: s.s[from:s.pos]}
			if i > 0 {
				n.size = boolSize
			}
			return n, nil
		}
	}
	return node{}, s.invalid("a value")
}

// What values count for that are no text.
const (
	numberSize = 8
	boolSize   = 4
)

func (s *scanner) array(depth int) (node, error) {
	if s.nest++; s.nest > maxNest {
		return node{}, s.fail(iot.ArgumentInvalid, s.pos, "nested too deep: at most %d arrays and objects within each other are read", maxNest)
	}
	from, blanks := s.pos, s.blanks
	var n node
	s.pos++
	s.skip()
	for first := true; ; first = false {
		if s.pos < len(s.s) && s.s[s.pos] == ']' && first {
			break
		}
		val, err := s.value(depth, false)
		if err != nil {
			return n, err
		}
		n.size += val.size
		s.skip()
		if s.pos < len(s.s) && s.s[s.pos] == ',' {
			s.pos++
			s.skip()
			continue
		}
		if s.pos < len(s.s) && s.s[s.pos] == ']' {
			break
		}
		return n, s.invalid("',' or ']'")
	}
	s.pos++
	s.nest--
	n.raw = s.s[from:s.pos]
	if s.blanks != blanks {
		n.raw = compact(n.raw)
	}
	return n, nil
}

// number reads a number. Its text is kept; it must only be one that a double
// can hold, as that is what every reader makes of it.
func (s *scanner) number() error {
	from := s.pos
	digits := func() bool {
		at := s.pos
		for s.pos < len(s.s) && s.s[s.pos] >= '0' && s.s[s.pos] <= '9' {
			s.pos++
		}
		return s.pos > at
	}
	peek := func(set string) bool { return s.pos < len(s.s) && strings.IndexByte(set, s.s[s.pos]) >= 0 }
	if peek("-") {
		s.pos++
	}
	whole := true
	switch {
	case peek("0"):
		s.pos++
	case !digits():
		return s.invalid("a digit")
	}
	if peek(".") {
		s.pos++
		if whole = false; !digits() {
			return s.invalid("a digit")
		}
	}
	if peek("eE") {
		s.pos++
		if peek("+-") {
			s.pos++
		}
		if whole = false; !digits() {
			return s.invalid("a digit")
		}
	}
	if !s.rules {
		return nil
	}
	text := s.s[from:s.pos]
	if whole && len(text) <= 15 {
		return nil // below 2^52, and in every profile
	}
	if len(text) > maxNumber {
		return s.breaks(from, "the number has %d characters, at most %d are allowed", len(text), maxNumber)
	}
	if whole && s.lim.Integer > 0 {
		if v, err := strconv.ParseInt(text, 10, 64); err != nil || v < -s.lim.Integer || v >= s.lim.Integer {
			return s.breaks(from, "the integer %s is outside of %d..%d (%s)", clip(text, 40), -s.lim.Integer, s.lim.Integer-1, s.lim.source(""))
		}
		return nil
	}
	mantissa, _, _ := strings.Cut(strings.ToLower(text), "e")
	if v, err := strconv.ParseFloat(text, 64); err != nil || (v == 0 && strings.ContainsAny(mantissa, "123456789")) {
		return s.breaks(from, "the number %s does not fit into a double", clip(text, 40))
	}
	return nil
}

// textSpan is a string of the text.
type textSpan struct {
	from, to int  // without the quotes
	size     int  // bytes of UTF-8 when decoded
	control  int  // of these, bytes of control characters
	escaped  bool // holds a backslash
	zero     bool // holds U+0000
}

// text reads the string at the position.
func (s *scanner) text() (textSpan, error) {
	t := textSpan{from: s.pos + 1}
	start := s.pos
	s.pos++
	for s.pos < len(s.s) {
		c := s.s[s.pos]
		switch {
		case c == '"':
			t.to = s.pos
			s.pos++
			return t, nil
		case c == '\\':
			t.escaped = true
			r, n, ok := escape(s.s[s.pos:])
			if !ok {
				return t, s.fail(s.syntax, s.pos, "not valid JSON: the escape is not a known one or not whole")
			}
			t.count(r)
			s.pos += n
		case c < 0x20:
			return t, s.fail(s.syntax, s.pos, "not valid JSON: the control character %q in a text must be escaped", c)
		case c < 0x7f:
			t.size++
			s.pos++
		default:
			r, n := utf8.DecodeRuneInString(s.s[s.pos:])
			if r == utf8.RuneError && n == 1 {
				return t, s.fail(s.syntax, s.pos, "not valid JSON: the text is not UTF-8")
			}
			t.count(r)
			s.pos += n
		}
	}
	return t, s.fail(s.syntax, start, "not valid JSON: the text has no end")
}

func (t *textSpan) count(r rune) {
	n := utf8.RuneLen(r)
	t.size += n
	if isControl(r) {
		t.control += n
	}
	t.zero = t.zero || r == 0
}

// decoded gives the string; without escapes it is a view.
func (t *textSpan) decoded(s string) string {
	raw := s[t.from:t.to]
	if !t.escaped {
		return raw
	}
	b := make([]byte, 0, t.size)
	for i := 0; i < len(raw); {
		if raw[i] != '\\' {
			b = append(b, raw[i])
			i++
			continue
		}
		r, n, _ := escape(raw[i:])
		b = utf8.AppendRune(b, r)
		i += n
	}
	return string(b)
}

// escape reads the escape at the beginning of s. Half of a surrogate pair is
// none: it is no character.
func escape(s string) (r rune, n int, ok bool) {
	if len(s) < 2 {
		return 0, 0, false
	}
	if i := strings.IndexByte(`"\/bfnrt`, s[1]); i >= 0 {
		return rune("\"\\/\b\f\n\r\t"[i]), 2, true
	}
	r, ok = hex4(s)
	if !ok || !utf16.IsSurrogate(r) {
		return r, 6, ok
	}
	low, ok := hex4(s[6:])
	r = utf16.DecodeRune(r, low)
	return r, 12, ok && r != utf8.RuneError
}

func hex4(s string) (rune, bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	v, err := strconv.ParseUint(s[2:6], 16, 16)
	return rune(v), err == nil
}
