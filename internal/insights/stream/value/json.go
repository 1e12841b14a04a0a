package value

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"dunlin/internal/wire/jsontext"
)

// maxDepth is how many records and arrays may stand in each other.
const maxDepth = 256

// The ways in which a JSON text is refused.
var (
	ErrJSON   = errors.New("not valid JSON")
	ErrBigint = errors.New("a whole number is outside the range of bigint")
	ErrDepth  = errors.New("records and arrays stand in each other more than 256 deep")
)

// FromJSON reads one value. Whole numbers are bigint, others float; an integer
// that is no bigint is refused. Of members with the same name the last counts.
// The value keeps parts of s.
func FromJSON(s string) (Value, error) {
	r := jsonReader{s: s}
	v, err := r.value(0)
	if err != nil {
		return Value{}, err
	}
	if r.skip(); r.pos != len(r.s) {
		return Value{}, ErrJSON
	}
	return v, nil
}

func readTree(s string) (*Tree, error) {
	v, err := FromJSON(s)
	if err != nil {
		return nil, err
	}
	return v.tree, nil
}

type jsonReader struct {
	s   string
	pos int
}

func (r *jsonReader) skip() {
	for r.pos < len(r.s) {
		switch r.s[r.pos] {
		case ' ', '\t', '\r', '\n':
			r.pos++
		default:
			return
		}
	}
}

func (r *jsonReader) value(depth int) (Value, error) {
	if depth > maxDepth {
		return Value{}, ErrDepth
	}
	if r.skip(); r.pos == len(r.s) {
		return Value{}, ErrJSON
	}
	switch c := r.s[r.pos]; c {
	case '{':
		return r.record(depth)
	case '[':
		return r.array(depth)
	case '"':
		s, err := r.text()
		return String(s), err
	case 't':
		return Bool(true), r.word("true")
	case 'f':
		return Bool(false), r.word("false")
	case 'n':
		return Value{}, r.word("null")
	}
	return r.number()
}

func (r *jsonReader) word(w string) error {
	if !strings.HasPrefix(r.s[r.pos:], w) {
		return ErrJSON
	}
	r.pos += len(w)
	return nil
}

func (r *jsonReader) record(depth int) (Value, error) {
	r.pos++
	t := new(Tree)
	if r.skip(); r.pos < len(r.s) && r.s[r.pos] == '}' {
		r.pos++
		return RecordOf(t), nil
	}
	for {
		if r.skip(); r.pos == len(r.s) || r.s[r.pos] != '"' {
			return Value{}, ErrJSON
		}
		name, err := r.text()
		if err != nil {
			return Value{}, err
		}
		if r.skip(); r.pos == len(r.s) || r.s[r.pos] != ':' {
			return Value{}, ErrJSON
		}
		r.pos++
		v, err := r.value(depth + 1)
		if err != nil {
			return Value{}, err
		}
		t.Put(name, v)
		if r.skip(); r.pos == len(r.s) {
			return Value{}, ErrJSON
		}
		c := r.s[r.pos]
		r.pos++
		switch c {
		case '}':
			return RecordOf(t), nil
		case ',':
		default:
			return Value{}, ErrJSON
		}
	}
}

func (r *jsonReader) array(depth int) (Value, error) {
	r.pos++
	var list []Value
	if r.skip(); r.pos < len(r.s) && r.s[r.pos] == ']' {
		r.pos++
		return ArrayOf(list), nil
	}
	for {
		v, err := r.value(depth + 1)
		if err != nil {
			return Value{}, err
		}
		list = append(list, v)
		if r.skip(); r.pos == len(r.s) {
			return Value{}, ErrJSON
		}
		c := r.s[r.pos]
		r.pos++
		switch c {
		case ']':
			return ArrayOf(list), nil
		case ',':
		default:
			return Value{}, ErrJSON
		}
	}
}

func (r *jsonReader) number() (Value, error) {
	start := r.pos
	whole := true
	digits := func() bool {
		at := r.pos
		for r.pos < len(r.s) && r.s[r.pos]-'0' <= 9 {
			r.pos++
		}
		return r.pos > at
	}
	if r.s[r.pos] == '-' {
		r.pos++
	}
	if r.pos < len(r.s) && r.s[r.pos] == '0' {
		r.pos++
	} else if !digits() {
		return Value{}, ErrJSON
	}
	if r.pos < len(r.s) && r.s[r.pos] == '.' {
		whole = false
		r.pos++
		if !digits() {
			return Value{}, ErrJSON
		}
	}
	if r.pos < len(r.s) && r.s[r.pos]|0x20 == 'e' {
		whole = false
		r.pos++
		if r.pos < len(r.s) && (r.s[r.pos] == '+' || r.s[r.pos] == '-') {
			r.pos++
		}
		if !digits() {
			return Value{}, ErrJSON
		}
	}
	return ParseNumber(r.s[start:r.pos], whole)
}

// ParseNumber makes the value of a JSON number; whole says that it has neither
// fraction nor exponent.
func ParseNumber(s string, whole bool) (Value, error) {
	if whole {
		i, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return Value{}, ErrBigint
		}
		return Int(i), nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(f, 0) {
		return Value{}, ErrJSON
	}
	return Number(f), nil // beyond the largest float it is infinite
}

// text reads a string; without escapes it is a part of s.
func (r *jsonReader) text() (string, error) {
	r.pos++
	start := r.pos
	for r.pos < len(r.s) {
		switch c := r.s[r.pos]; {
		case c == '"':
			s := r.s[start:r.pos]
			r.pos++
			return s, nil
		case c == '\\':
			var b strings.Builder
			b.WriteString(r.s[start:r.pos])
			return r.escaped(&b)
		case c < 0x20:
			return "", ErrJSON
		}
		r.pos++
	}
	return "", ErrJSON
}

func (r *jsonReader) escaped(b *strings.Builder) (string, error) {
	for r.pos < len(r.s) {
		c := r.s[r.pos]
		r.pos++
		switch {
		case c == '"':
			return b.String(), nil
		case c < 0x20:
			return "", ErrJSON
		case c != '\\':
			b.WriteByte(c)
			continue
		}
		if r.pos == len(r.s) {
			return "", ErrJSON
		}
		c = r.s[r.pos]
		r.pos++
		switch c {
		case '"', '\\', '/':
			b.WriteByte(c)
		case 'b':
			b.WriteByte('\b')
		case 'f':
			b.WriteByte('\f')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case 'u':
			u, ok := r.hex()
			if !ok {
				return "", ErrJSON
			}
			if utf16.IsSurrogate(u) {
				low := rune(utf8.RuneError)
				if strings.HasPrefix(r.s[r.pos:], `\u`) {
					mark := r.pos
					r.pos += 2
					next, ok := r.hex()
					if !ok {
						return "", ErrJSON
					}
					if low = utf16.DecodeRune(u, next); low == utf8.RuneError {
						r.pos = mark
					}
				}
				u = low
			}
			b.WriteRune(u)
		default:
			return "", ErrJSON
		}
	}
	return "", ErrJSON
}

func (r *jsonReader) hex() (rune, bool) {
	if r.pos+4 > len(r.s) {
		return 0, false
	}
	n, err := strconv.ParseUint(r.s[r.pos:r.pos+4], 16, 16)
	if err != nil {
		return 0, false
	}
	r.pos += 4
	return rune(n), true
}

// AppendJSON writes a value as JSON.
func AppendJSON(b []byte, v Value) []byte {
	switch v.kind {
	case Null:
		return append(b, "null"...)
	case Bigint:
		return strconv.AppendInt(b, v.Int(), 10)
	case Float:
		return AppendNumber(b, v.Float())
	case Bit:
		return strconv.AppendBool(b, v.Bool())
	case Datetime:
		b = append(b, '"')
		b = AppendTime(b, v.Ticks())
		return append(b, '"')
	case Text:
		return jsontext.AppendString(b, v.s)
	case Record, Array:
		if v.tree == nil {
			return append(b, v.s...)
		}
		open, end := byte('{'), byte('}')
		if v.kind == Array {
			open, end = '[', ']'
		}
		b = append(b, open)
		for i, x := range v.tree.Values {
			if i > 0 {
				b = append(b, ',')
			}
			if v.kind == Record {
				b = jsontext.AppendString(b, v.tree.Names[i])
				b = append(b, ':')
			}
			b = AppendJSON(b, x)
		}
		return append(b, end)
	}
	return b
}
