// Package value holds the values that stream queries work on. A type belongs
// to a value, not to a column: the same column may hold a number in one event
// and a text in the next.
package value

import (
	"math"
	"slices"
	"strconv"
	"time"
)

// Kind is the type of a value.
type Kind uint8

// The types of values. Missing members and JSON's null are both Null.
const (
	Null Kind = iota
	Bigint
	Float
	Bit
	Datetime
	Text
	Record
	Array
)

var kindNames = [...]string{"null", "bigint", "float", "bit", "datetime", "nvarchar(max)", "record", "array"}

// String gives the name as GetType answers it.
func (k Kind) String() string { return kindNames[k] }

// Numeric reports whether arithmetic on the kind needs no conversion.
func (k Kind) Numeric() bool { return k == Bigint || k == Float }

// Value is one value. The zero Value is null. Values are small and copied;
// what a text, record or array refers to is never changed.
type Value struct {
	kind Kind
	n    uint64 // bits of a bigint, float, bit or datetime
	s    string // a text; the JSON of a record or array that was read from one
	tree *Tree  // a record or array that was made, or read from its JSON
}

// Tree is the content of a record or array. Names is nil in an array. The
// names of a record differ.
type Tree struct {
	Names  []string
	Values []Value
}

// Put gives a member its value, in the place of an earlier one of that name. It
// is for whoever makes the tree.
func (t *Tree) Put(name string, v Value) {
	for i, n := range t.Names {
		if n == name {
			t.Values[i] = v
			return
		}
	}
	t.Names, t.Values = append(t.Names, name), append(t.Values, v)
}

// Has reports whether there is a member of that name.
func (t *Tree) Has(name string) bool { return slices.Contains(t.Names, name) }

// Int makes a bigint.
func Int(i int64) Value { return Value{kind: Bigint, n: uint64(i)} }

// Number makes a float.
func Number(f float64) Value { return Value{kind: Float, n: math.Float64bits(f)} }

// Bool makes a bit.
func Bool(b bool) Value {
	v := Value{kind: Bit}
	if b {
		v.n = 1
	}
	return v
}

// String makes a text.
func String(s string) Value { return Value{kind: Text, s: s} }

// Time makes a datetime from ticks of 100 ns since the year 1, UTC.
func Time(ticks int64) Value { return Value{kind: Datetime, n: uint64(ticks)} }

// RecordOf makes a record. The tree must not be changed any more.
func RecordOf(t *Tree) Value { return Value{kind: Record, tree: t} }

// ArrayOf makes an array of values, which must not be changed any more.
func ArrayOf(values []Value) Value { return Value{kind: Array, tree: &Tree{Values: values}} }

// RawRecord makes a record of the valid JSON of an object.
func RawRecord(json string) Value { return Value{kind: Record, s: json} }

// RawArray makes an array of the valid JSON of an array.
func RawArray(json string) Value { return Value{kind: Array, s: json} }

// Kind is the type of the value.
func (v Value) Kind() Kind { return v.kind }

// IsNull reports whether v is null.
func (v Value) IsNull() bool { return v.kind == Null }

// Int is the value of a bigint.
func (v Value) Int() int64 { return int64(v.n) }

// Float is the value of a float.
func (v Value) Float() float64 { return math.Float64frombits(v.n) }

// Bool is the value of a bit.
func (v Value) Bool() bool { return v.n != 0 }

// Ticks is the value of a datetime.
func (v Value) Ticks() int64 { return int64(v.n) }

// Text is the value of a text.
func (v Value) Text() string { return v.s }

// AsFloat is the value of a bigint or float as a float.
func (v Value) AsFloat() float64 {
	if v.kind == Bigint {
		return float64(int64(v.n))
	}
	return v.Float()
}

// Tree is the content of a record or array; one that is kept as JSON is read,
// each time.
func (v Value) Tree() *Tree {
	if v.tree != nil {
		return v.tree
	}
	t, err := readTree(v.s)
	if err != nil {
		// Whoever made the value has promised that its JSON is valid; what it
		// can still hold is a number that is no bigint.
		return &Tree{}
	}
	return t
}

// JSON is the JSON that a record or array was read from; empty when it was made.
func (v Value) JSON() string {
	if v.kind == Record || v.kind == Array {
		return v.s
	}
	return ""
}

// Ticks of 100 ns in the units of fixed length.
const (
	Microsecond = 10
	Millisecond = 1000 * Microsecond
	Second      = 1000 * Millisecond
	Minute      = 60 * Second
	Hour        = 60 * Minute
	Day         = 24 * Hour
)

// The first and last instants that a datetime can hold.
const (
	MinTicks = 0
	MaxTicks = 3652059*Day - 1 // 9999-12-31T23:59:59.9999999Z
)

// unixTicks is 1970-01-01 in ticks.
const unixTicks = 719162 * Day

// TicksOf gives t in ticks, cut to 100 ns, and kept within what a datetime can
// hold.
func TicksOf(t time.Time) int64 {
	s := t.Unix()
	if s > (MaxTicks-unixTicks)/Second {
		return MaxTicks
	}
	return max(MinTicks, unixTicks+s*Second+int64(t.Nanosecond())/100)
}

// GoTime gives ticks as a time in UTC.
func GoTime(ticks int64) time.Time {
	ticks -= unixTicks
	s := ticks / Second
	rest := ticks % Second
	if rest < 0 {
		s, rest = s-1, rest+Second
	}
	return time.Unix(s, rest*100).UTC()
}

// AppendTime writes ticks as ISO 8601 with seven digits: the form of every
// datetime that leaves the engine.
func AppendTime(b []byte, ticks int64) []byte {
	t := GoTime(ticks)
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	b = pad(b, year, 4)
	b = append(b, '-')
	b = pad(b, int(month), 2)
	b = append(b, '-')
	b = pad(b, day, 2)
	b = append(b, 'T')
	b = pad(b, hour, 2)
	b = append(b, ':')
	b = pad(b, minute, 2)
	b = append(b, ':')
	b = pad(b, second, 2)
	b = append(b, '.')
	b = pad(b, t.Nanosecond()/100, 7)
	return append(b, 'Z')
}

func pad(b []byte, n, width int) []byte {
	var digits [8]byte
	for i := width - 1; i >= 0; i-- {
		digits[i] = byte('0' + n%10)
		n /= 10
	}
	return append(b, digits[:width]...)
}

// ParseTime reads an ISO 8601 text: a date, or a date and a time of up to seven
// digits of a second (more are cut) with Z, an offset or nothing, which means
// UTC. A blank may stand for the T.
func ParseTime(s string) (ticks int64, ok bool) {
	p := timeText{s: s}
	year := p.digits(4, 4)
	p.sign('-')
	month := p.digits(1, 2)
	p.sign('-')
	day := p.digits(1, 2)
	if p.bad || year < 1 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) {
		return 0, false
	}
	ticks = days(year, month, day) * Day
	if p.s == "" {
		return ticks, true
	}
	if c := p.s[0]; c != 'T' && c != 't' && c != ' ' {
		if c == 'Z' || c == 'z' {
			return ticks, p.s[1:] == ""
		}
		return 0, false
	}
	p.s = p.s[1:]
	hour := p.digits(1, 2)
	p.sign(':')
	minute := p.digits(2, 2)
	second, fraction := 0, int64(0)
	if p.s != "" && p.s[0] == ':' {
		p.s = p.s[1:]
		second = p.digits(2, 2)
		fraction = p.fraction()
	}
	if p.bad || hour > 23 || minute > 59 || second > 59 {
		return 0, false
	}
	ticks += int64(hour)*Hour + int64(minute)*Minute + int64(second)*Second + fraction
	offset, ok := p.zone()
	ticks -= offset
	return ticks, ok && ticks >= MinTicks && ticks <= MaxTicks
}

// timeText takes fields off the front of s.
type timeText struct {
	s   string
	bad bool
}

func (p *timeText) digits(least, most int) int {
	n, i := 0, 0
	for i < len(p.s) && i < most && p.s[i]-'0' <= 9 {
		n = n*10 + int(p.s[i]-'0')
		i++
	}
	if i < least {
		p.bad = true
	}
	p.s = p.s[i:]
	return n
}

func (p *timeText) sign(c byte) {
	if p.s == "" || p.s[0] != c {
		p.bad = true
		return
	}
	p.s = p.s[1:]
}

func (p *timeText) fraction() int64 {
	if p.s == "" || p.s[0] != '.' && p.s[0] != ',' {
		return 0
	}
	p.s = p.s[1:]
	n, i := int64(0), 0
	for ; i < len(p.s) && p.s[i]-'0' <= 9; i++ {
		if i < 7 {
			n = n*10 + int64(p.s[i]-'0')
		}
	}
	p.bad = p.bad || i == 0
	p.s = p.s[i:]
	for ; i < 7; i++ {
		n *= 10
	}
	return n
}

// zone reads what ends a time; offset is in ticks.
func (p *timeText) zone() (offset int64, ok bool) {
	switch {
	case p.s == "", p.s == "Z", p.s == "z":
		return 0, true
	case p.s[0] == '+', p.s[0] == '-':
		sign := int64(1)
		if p.s[0] == '-' {
			sign = -1
		}
		p.s = p.s[1:]
		hour := p.digits(2, 2)
		if p.s != "" && p.s[0] == ':' {
			p.s = p.s[1:]
		}
		minute := 0
		if p.s != "" {
			minute = p.digits(2, 2)
		}
		return sign * (int64(hour)*Hour + int64(minute)*Minute), !p.bad && p.s == "" && hour <= 14 && minute <= 59
	}
	return 0, false
}

func leap(year int) bool { return year%4 == 0 && (year%100 != 0 || year%400 == 0) }

func daysIn(year, month int) int {
	switch month {
	case 2:
		if leap(year) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// days counts the days from 0001-01-01.
func days(year, month, day int) int64 {
	y := int64(year - 1)
	n := 365*y + y/4 - y/100 + y/400
	for m := 1; m < month; m++ {
		n += int64(daysIn(year, m))
	}
	return n + int64(day-1)
}

// AppendNumber writes a float so that it reads back as the same float.
func AppendNumber(b []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(b, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(b, `"-Infinity"`...)
	}
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		return strconv.AppendFloat(b, f, 'e', -1, 64)
	}
	start := len(b)
	b = strconv.AppendFloat(b, f, 'f', -1, 64)
	if slices.Contains(b[start:], '.') {
		return b
	}
	return append(b, '.', '0')
}
