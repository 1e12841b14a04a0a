package batch

import (
	"math/bits"
	"strconv"
	"strings"

	"dunlin/internal/insights/stream/value"
)

// maxDepth is how many objects and arrays may stand in each other.
const maxDepth = 256

// Projector reads JSON objects and keeps of each only the members that are
// wanted. What it skips is checked all the same: a text is taken exactly when
// it is JSON whose whole numbers are bigint. A Projector is for one goroutine.
type Projector struct {
	root  *level
	whole int // slot of the object itself, -1 when it is not wanted
	vals  []value.Value
	set   []uint8 // per slot, of the row that is read
	s     string
	pos   int
}

// The states of a slot.
const (
	unset  = iota
	folded // by a member whose name differs in case
	exact
)

// level is an object with wanted members, at a path.
type level struct {
	members []member
	order   []seen // the names of the last object here, in their order
}

type member struct {
	name  string
	slot  int    // -1: only something in it is wanted
	inner *level // nil: nothing in it is wanted
}

// seen is a name that was met, with its quotes, and the member that it means.
type seen struct {
	quoted string
	member int // -1: not wanted
	exact  bool
}

// NewProjector wants the values at paths, which become columns 0 and up, and,
// when whole is set, the object itself as one more column. Names are compared
// without case, but one that is spelled alike goes before.
func NewProjector(paths [][]string, whole bool) *Projector {
	p := &Projector{root: new(level), whole: -1}
	for i, path := range paths {
		l := p.root
		for j, name := range path {
			at := l.find(name)
			if at < 0 {
				at = len(l.members)
				l.members = append(l.members, member{name: name, slot: -1})
			}
			m := &l.members[at]
			if j == len(path)-1 {
				m.slot = i
				break
			}
			if m.inner == nil {
				m.inner = new(level)
			}
			l = m.inner
		}
	}
	n := len(paths)
	if whole {
		p.whole = n
		n++
	}
	p.vals, p.set = make([]value.Value, n), make([]uint8, n)
	return p
}

func (l *level) find(name string) int {
	for i := range l.members {
		if l.members[i].name == name {
			return i
		}
	}
	return -1
}

// Columns is the number of columns that Read fills.
func (p *Projector) Columns() int { return len(p.vals) }

// Read reads one event and gives its values, by column; they are overwritten by
// the next call. Texts are parts of s. The errors are those of value.FromJSON.
func (p *Projector) Read(s string) ([]value.Value, error) {
	p.s, p.pos = s, 0
	clear(p.vals)
	clear(p.set)
	p.skip()
	if p.pos == len(s) || s[p.pos] != '{' {
		return nil, value.ErrJSON
	}
	start := p.pos
	if err := p.object(p.root, 0); err != nil {
		return nil, err
	}
	if p.whole >= 0 {
		p.vals[p.whole] = value.RawRecord(s[start:p.pos])
	}
	if p.skip(); p.pos != len(s) {
		return nil, value.ErrJSON
	}
	return p.vals, nil
}

func (p *Projector) skip() {
	for p.pos < len(p.s) {
		switch p.s[p.pos] {
		case ' ', '\t', '\r', '\n':
			p.pos++
		default:
			return
		}
	}
}

// object reads an object, with the position at its brace.
func (p *Projector) object(l *level, depth int) error {
	if depth > maxDepth {
		return value.ErrDepth
	}
	p.pos++
	if p.skip(); p.pos < len(p.s) && p.s[p.pos] == '}' {
		p.pos++
		return nil
	}
	for n := 0; ; n++ {
		if p.skip(); p.pos == len(p.s) || p.s[p.pos] != '"' {
			return value.ErrJSON
		}
		var e *seen
		// Events of one source have their members in the same order.
		if n < len(l.order) && strings.HasPrefix(p.s[p.pos:], l.order[n].quoted) {
			e = &l.order[n]
			p.pos += len(e.quoted)
		} else {
			var err error
			if e, err = p.name(l, n); err != nil {
				return err
			}
		}
		if p.skip(); p.pos == len(p.s) || p.s[p.pos] != ':' {
			return value.ErrJSON
		}
		p.pos++
		p.skip()
		var err error
		if e.member < 0 {
			err = p.pass(depth + 1)
		} else {
			err = p.member(&l.members[e.member], e.exact, depth+1)
		}
		if err != nil {
			return err
		}
		if p.skip(); p.pos == len(p.s) {
			return value.ErrJSON
		}
		c := p.s[p.pos]
		p.pos++
		switch c {
		case '}':
			return nil
		case ',':
		default:
			return value.ErrJSON
		}
	}
}

// maxOrder bounds what is remembered of the names of an object.
const maxOrder = 256

// name reads the n-th name of an object and finds what it means.
func (p *Projector) name(l *level, n int) (*seen, error) {
	start := p.pos
	text, err := p.text()
	if err != nil {
		return nil, err
	}
	e := seen{quoted: p.s[start:p.pos], member: -1}
	for i := range l.members {
		if l.members[i].name == text {
			e.member, e.exact = i, true
			break
		}
		if e.member < 0 && strings.EqualFold(l.members[i].name, text) {
			e.member = i
		}
	}
	if n >= maxOrder || len(e.quoted) > maxOrder {
		return &e, nil
	}
	e.quoted = strings.Clone(e.quoted)
	if n < len(l.order) {
		l.order[n] = e
	} else {
		l.order = append(l.order, e)
		n = len(l.order) - 1
	}
	return &l.order[n], nil
}

// member reads a wanted value.
func (p *Projector) member(m *member, same bool, depth int) error {
	start := p.pos
	inner := m.inner != nil && p.pos < len(p.s) && p.s[p.pos] == '{'
	how := uint8(folded)
	if same {
		how = exact
	}
	// Of several members with one name the last counts, but never one that is
	// only similar after one that is the same.
	take := m.slot >= 0 && p.set[m.slot] <= how
	switch {
	case inner:
		if err := p.object(m.inner, depth); err != nil {
			return err
		}
		if take {
			p.vals[m.slot], p.set[m.slot] = value.RawRecord(p.s[start:p.pos]), how
		}
		return nil
	case !take:
		return p.pass(depth)
	}
	v, err := p.value(depth)
	p.vals[m.slot], p.set[m.slot] = v, how
	return err
}

// value reads a value that is kept.
func (p *Projector) value(depth int) (value.Value, error) {
	if p.pos == len(p.s) {
		return value.Value{}, value.ErrJSON
	}
	switch p.s[p.pos] {
	case '"':
		s, err := p.text()
		return value.String(s), err
	case '{', '[':
		start := p.pos
		if err := p.pass(depth); err != nil {
			return value.Value{}, err
		}
		if p.s[start] == '{' {
			return value.RawRecord(p.s[start:p.pos]), nil
		}
		return value.RawArray(p.s[start:p.pos]), nil
	case 't':
		return value.Bool(true), p.word("true")
	case 'f':
		return value.Bool(false), p.word("false")
	case 'n':
		return value.Value{}, p.word("null")
	}
	return p.number()
}

func (p *Projector) word(w string) error {
	if !strings.HasPrefix(p.s[p.pos:], w) {
		return value.ErrJSON
	}
	p.pos += len(w)
	return nil
}

// pass goes over a value.
func (p *Projector) pass(depth int) error {
	if p.pos == len(p.s) {
		return value.ErrJSON
	}
	switch p.s[p.pos] {
	case '"':
		return p.passText()
	case '{':
		return p.passObject(depth)
	case '[':
		return p.passArray(depth)
	case 't':
		return p.word("true")
	case 'f':
		return p.word("false")
	case 'n':
		return p.word("null")
	}
	_, _, err := p.digits()
	return err
}

func (p *Projector) passObject(depth int) error {
	if depth > maxDepth {
		return value.ErrDepth
	}
	p.pos++
	if p.skip(); p.pos < len(p.s) && p.s[p.pos] == '}' {
		p.pos++
		return nil
	}
	for {
		if p.skip(); p.pos == len(p.s) || p.s[p.pos] != '"' {
			return value.ErrJSON
		}
		if err := p.passText(); err != nil {
			return err
		}
		if p.skip(); p.pos == len(p.s) || p.s[p.pos] != ':' {
			return value.ErrJSON
		}
		p.pos++
		p.skip()
		if more, err := p.passed('}', depth); !more || err != nil {
			return err
		}
	}
}

func (p *Projector) passArray(depth int) error {
	if depth > maxDepth {
		return value.ErrDepth
	}
	p.pos++
	if p.skip(); p.pos < len(p.s) && p.s[p.pos] == ']' {
		p.pos++
		return nil
	}
	for {
		p.skip()
		if more, err := p.passed(']', depth); !more || err != nil {
			return err
		}
	}
}

// passed goes over a value and the sign behind it.
func (p *Projector) passed(end byte, depth int) (more bool, err error) {
	if err := p.pass(depth + 1); err != nil {
		return false, err
	}
	if p.skip(); p.pos == len(p.s) {
		return false, value.ErrJSON
	}
	c := p.s[p.pos]
	p.pos++
	switch c {
	case end:
		return false, nil
	case ',':
		return true, nil
	}
	return false, value.ErrJSON
}

// plain goes over the bytes of a string up to one that is a quote, a backslash
// or a control character, eight at a time; false at the end of the text.
func (p *Projector) plain() bool {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	s, i := p.s, p.pos
	for i+8 <= len(s) {
		w := uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 |
			uint64(s[i+4])<<32 | uint64(s[i+5])<<40 | uint64(s[i+6])<<48 | uint64(s[i+7])<<56
		quote, slash := w^(ones*'"'), w^(ones*'\\')
		// The lowest bit that is set is exact; those above it may not be.
		found := ((w-ones*0x20)&^w | (quote-ones)&^quote | (slash-ones)&^slash) & highs
		if found != 0 {
			p.pos = i + bits.TrailingZeros64(found)>>3
			return true
		}
		i += 8
	}
	for ; i < len(s); i++ {
		if c := s[i]; c == '"' || c == '\\' || c < 0x20 {
			p.pos = i
			return true
		}
	}
	p.pos = i
	return false
}

func (p *Projector) passText() error {
	p.pos++
	for p.plain() {
		c := p.s[p.pos]
		p.pos++
		switch {
		case c == '"':
			return nil
		case c < 0x20:
			return value.ErrJSON
		}
		if p.pos == len(p.s) {
			return value.ErrJSON
		}
		c = p.s[p.pos]
		p.pos++
		switch c {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		case 'u':
			if p.pos+4 > len(p.s) {
				return value.ErrJSON
			}
			for i := range 4 {
				c := p.s[p.pos+i]
				if l := c | 0x20; (c < '0' || c > '9') && (l < 'a' || l > 'f') {
					return value.ErrJSON
				}
			}
			p.pos += 4
		default:
			return value.ErrJSON
		}
	}
	return value.ErrJSON
}

// text reads a string; one with escapes is read by the general reader.
func (p *Projector) text() (string, error) {
	start := p.pos
	p.pos++
	if !p.plain() {
		return "", value.ErrJSON
	}
	if p.s[p.pos] == '"' {
		p.pos++
		return p.s[start+1 : p.pos-1], nil
	}
	p.pos = start
	if err := p.passText(); err != nil {
		return "", err
	}
	v, err := value.FromJSON(p.s[start:p.pos])
	return v.Text(), err
}

// digits goes over a number. mantissa holds its digits without the point, when
// there are at most 18 of them, else -1.
func (p *Projector) digits() (mantissa int64, whole bool, err error) {
	s, i := p.s, p.pos
	negative := s[i] == '-'
	if negative {
		i++
	}
	first := i
	m := uint64(0)
	for ; i < len(s) && s[i]-'0' <= 9; i++ {
		m = m*10 + uint64(s[i]-'0')
	}
	n := i - first
	switch {
	case n == 0, n > 1 && s[first] == '0':
		return 0, false, value.ErrJSON
	}
	whole = true
	if i < len(s) && s[i] == '.' {
		whole = false
		i++
		point := i
		for ; i < len(s) && s[i]-'0' <= 9; i++ {
			m = m*10 + uint64(s[i]-'0')
		}
		if i == point {
			return 0, false, value.ErrJSON
		}
		n += i - point
	}
	exponent := i
	if i < len(s) && s[i]|0x20 == 'e' {
		whole = false
		i++
		if i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		at := i
		for ; i < len(s) && s[i]-'0' <= 9; i++ {
		}
		if i == at {
			return 0, false, value.ErrJSON
		}
	}
	start := p.pos
	p.pos = i
	if whole && n > 18 {
		if _, err := strconv.ParseInt(s[start:i], 10, 64); err != nil {
			return 0, false, value.ErrBigint
		}
	}
	if n > 18 || exponent != i {
		return -1, whole, nil
	}
	return int64(m), whole, nil
}

// powers are those of ten that a float holds exactly.
var powers = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// number reads a number. Both the digits, up to 2^53, and a power of ten up to
// 22 are floats without rounding, so that one division rounds right.
func (p *Projector) number() (value.Value, error) {
	start := p.pos
	m, whole, err := p.digits()
	if err != nil {
		return value.Value{}, err
	}
	text := p.s[start:p.pos]
	if m < 0 || !whole && m > 1<<53 {
		return value.ParseNumber(text, whole)
	}
	negative := text[0] == '-'
	if whole {
		if negative {
			m = -m
		}
		return value.Int(m), nil
	}
	f := float64(m) / powers[len(text)-1-strings.IndexByte(text, '.')]
	if negative {
		f = -f
	}
	return value.Number(f), nil
}
