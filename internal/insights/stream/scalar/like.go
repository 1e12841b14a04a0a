package scalar

import (
	"strings"
	"unicode/utf8"
)

// Pattern is a pattern of LIKE: % stands for any run of characters, _ for one,
// [a-f] and [^a-f] for one of a set.
type Pattern struct {
	parts []part
	// Most patterns are a plain text with % at its ends.
	plain        bool
	text         string
	open, closed bool // % before, % behind
}

type partKind uint8

const (
	exactly partKind = iota
	anyOne
	anyRun
	oneOf
	noneOf
)

type part struct {
	kind   partKind
	r      rune
	ranges []runeRange
}

type runeRange struct{ lo, hi rune }

// NewPattern reads a pattern. A bracket that does not close stands for itself.
func NewPattern(s string) *Pattern {
	p := new(Pattern)
	inner := s
	if p.open = strings.HasPrefix(inner, "%"); p.open {
		inner = inner[1:]
	}
	if p.closed = strings.HasSuffix(inner, "%"); p.closed {
		inner = inner[:len(inner)-1]
	}
	if !strings.ContainsAny(inner, "%_[") {
		p.plain, p.text = true, inner
		if s == "%" {
			p.closed = true
		}
		return p
	}
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch r {
		case '%':
			if k := len(p.parts); k == 0 || p.parts[k-1].kind != anyRun {
				p.parts = append(p.parts, part{kind: anyRun})
			}
		case '_':
			p.parts = append(p.parts, part{kind: anyOne})
		case '[':
			if set, size := readSet(s); size > 0 {
				p.parts = append(p.parts, set)
				n = size
				break
			}
			p.parts = append(p.parts, part{r: r})
		default:
			p.parts = append(p.parts, part{r: r})
		}
		s = s[n:]
	}
	return p
}

// readSet reads [...]; size is 0 when it does not close.
func readSet(s string) (set part, size int) {
	set.kind = oneOf
	rest := s[1:]
	if strings.HasPrefix(rest, "^") {
		set.kind = noneOf
		rest = rest[1:]
	}
	end := strings.IndexByte(rest, ']')
	if end == 0 { // a bracket that comes first stands for itself
		if end = strings.IndexByte(rest[1:], ']'); end >= 0 {
			end++
		}
	}
	if end < 0 {
		return set, 0
	}
	size = len(s) - len(rest) + end + 1
	chars := []rune(rest[:end])
	for i := 0; i < len(chars); i++ {
		r := runeRange{chars[i], chars[i]}
		if i+2 < len(chars) && chars[i+1] == '-' {
			r.hi = chars[i+2]
			i += 2
		}
		set.ranges = append(set.ranges, r)
	}
	return set, size
}

func (p *part) takes(r rune) bool {
	switch p.kind {
	case exactly:
		return p.r == r
	case anyOne:
		return true
	case anyRun:
	case oneOf, noneOf:
		for _, x := range p.ranges {
			if r >= x.lo && r <= x.hi {
				return p.kind == oneOf
			}
		}
		return p.kind == noneOf
	}
	return false
}

// Match reports whether all of s is what the pattern says. Its time is at most
// the product of both lengths.
func (p *Pattern) Match(s string) bool {
	if p.plain {
		switch {
		case p.open && p.closed:
			return strings.Contains(s, p.text)
		case p.open:
			return strings.HasSuffix(s, p.text)
		case p.closed:
			return strings.HasPrefix(s, p.text)
		}
		return s == p.text
	}
	at, run, mark := 0, -1, 0
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case at < len(p.parts) && p.parts[at].kind == anyRun:
			run, mark = at, i
			at++
		case at < len(p.parts) && p.parts[at].takes(r):
			at++
			i += n
		case run >= 0: // let the last % take one more
			_, n := utf8.DecodeRuneInString(s[mark:])
			mark += n
			at, i = run+1, mark
		default:
			return false
		}
	}
	for at < len(p.parts) && p.parts[at].kind == anyRun {
		at++
	}
	return at == len(p.parts)
}
