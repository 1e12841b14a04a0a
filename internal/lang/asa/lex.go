package asa

import (
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"dunlin/internal/lang/diag"
)

type tokenKind uint8

const (
	tokenEnd    tokenKind = iota
	tokenWord             // a bare name or a keyword
	tokenName             // [name]
	tokenDouble           // "name" or, in some published samples, a text
	tokenText             // 'text'
	tokenInt
	tokenFloat
	tokenSign
)

type token struct {
	kind     tokenKind
	pos, end int
	text     string // name, text or sign, without quotes
	number   float64
	integer  int64
}

// is reports whether the token is a word, in any case.
func (t token) is(word string) bool { return t.kind == tokenWord && strings.EqualFold(t.text, word) }

func (t token) sign(s string) bool { return t.kind == tokenSign && t.text == s }

// reserved words end a name that could otherwise go on: they cannot be bare
// aliases or columns. The language has more, but nothing is gained by refusing
// a column named time.
var reserved = map[string]bool{
	"SELECT": true, "FROM": true, "WHERE": true, "GROUP": true, "BY": true, "HAVING": true, "UNION": true, "WITH": true, "AS": true, "INTO": true,
	"JOIN": true, "INNER": true, "LEFT": true, "ON": true, "CROSS": true, "OUTER": true, "APPLY": true, "CASE": true, "WHEN": true, "THEN": true,
	"ELSE": true, "END": true, "AND": true, "OR": true, "NOT": true, "IN": true, "LIKE": true, "BETWEEN": true, "IS": true, "NULL": true,
	"CREATE": true, "TABLE": true, "CAST": true, "TRY_CAST": true, "DISTINCT": true, "MATCH_RECOGNIZE": true,
}

func isReserved(s string) bool {
	return len(s) <= len("MATCH_RECOGNIZE") && reserved[strings.ToUpper(s)]
}

type lexer struct {
	text string
	pos  int
}

func (l *lexer) fail(pos int, hint, format string, args ...any) error {
	return diag.At(l.text, pos, hint, format, args...)
}

// space skips blanks and comments.
func (l *lexer) space() error {
	for l.pos < len(l.text) {
		rest := l.text[l.pos:]
		switch {
		case strings.HasPrefix(rest, "--"):
			n := strings.IndexByte(rest, '\n')
			if n < 0 {
				n = len(rest)
			}
			l.pos += n
		case strings.HasPrefix(rest, "/*"):
			n := strings.Index(rest[2:], "*/")
			if n < 0 {
				return l.fail(l.pos, "end it with */", "this comment does not end")
			}
			l.pos += n + 4
		default:
			r, n := utf8.DecodeRuneInString(rest)
			if !unicode.IsSpace(r) && r != '\ufeff' {
				return nil
			}
			l.pos += n
		}
	}
	return nil
}

// signs of two characters come before those of one.
var signs = [...]string{"<>", "!=", ">=", "<=", "!>", "!<", "=", ">", "<", "(", ")", ",", ".", ";", "*", "+", "-", "/", "%", "&", "|", "^", "~", "?", "{", "}"}

func (l *lexer) next() (token, error) {
	if err := l.space(); err != nil {
		return token{}, err
	}
	t := token{pos: l.pos, end: l.pos}
	if l.pos == len(l.text) {
		return t, nil
	}
	rest := l.text[l.pos:]
	var err error
	switch c := rest[0]; {
	case c == '\'':
		t.kind = tokenText
		t.text, err = l.quoted('\'', "text")
	case c == '"':
		t.kind = tokenDouble
		t.text, err = l.quoted('"', "name")
	case c == '[':
		t.kind = tokenName
		t.text, err = l.quoted(']', "name")
	case isDigit(c), c == '.' && len(rest) > 1 && isDigit(rest[1]):
		err = l.number(&t)
	default:
		if n := nameLen(rest); n > 0 {
			t.kind, t.text = tokenWord, rest[:n]
			l.pos += n
			break
		}
		t.kind = tokenSign
		for _, s := range signs {
			if strings.HasPrefix(rest, s) {
				t.text = s
				l.pos += len(s)
				break
			}
		}
		if t.text == "" {
			r, _ := utf8.DecodeRuneInString(rest)
			err = l.fail(l.pos, "", "%q has no meaning here", r)
		}
	}
	t.end = l.pos
	return t, err
}

// quoted reads up to the closing character, which is doubled inside.
func (l *lexer) quoted(closing byte, what string) (string, error) {
	start := l.pos
	l.pos++
	var b strings.Builder
	for {
		n := strings.IndexByte(l.text[l.pos:], closing)
		if n < 0 {
			l.pos = len(l.text)
			return "", l.fail(start, "end it with "+string(closing), "this %s does not end", what)
		}
		part := l.text[l.pos : l.pos+n]
		l.pos += n + 1
		if l.pos == len(l.text) || l.text[l.pos] != closing {
			if b.Len() == 0 {
				return part, nil
			}
			b.WriteString(part)
			return b.String(), nil
		}
		b.WriteString(part)
		b.WriteByte(closing)
		l.pos++
	}
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// nameLen is the length of the bare name that s begins with.
func nameLen(s string) int {
	for i, r := range s {
		switch {
		case r == '_', r == '@', r == '$', r == '#', unicode.IsLetter(r) && r != utf8.RuneError:
		case i > 0 && (unicode.IsDigit(r) || unicode.IsMark(r)):
		default:
			return i
		}
	}
	return len(s)
}

func (l *lexer) number(t *token) error {
	start := l.pos
	digits := func() {
		for l.pos < len(l.text) && isDigit(l.text[l.pos]) {
			l.pos++
		}
	}
	digits()
	t.kind = tokenInt
	if l.pos < len(l.text) && l.text[l.pos] == '.' {
		t.kind = tokenFloat
		l.pos++
		digits()
	}
	if l.pos < len(l.text) && l.text[l.pos]|0x20 == 'e' {
		mark := l.pos
		l.pos++
		if l.pos < len(l.text) && (l.text[l.pos] == '+' || l.text[l.pos] == '-') {
			l.pos++
		}
		if l.pos < len(l.text) && isDigit(l.text[l.pos]) {
			t.kind = tokenFloat
			digits()
		} else {
			l.pos = mark
		}
	}
	if n := nameLen(l.text[l.pos:]); n > 0 {
		end := l.pos + n
		return l.fail(start, "names that begin with a digit are written [name]", "'%s' is not a number", diag.Clip(l.text[start:end]))
	}
	text := l.text[start:l.pos]
	var err error
	if t.kind == tokenInt {
		// The largest negative bigint has no positive counterpart: its digits
		// come here without their sign.
		u, uerr := strconv.ParseUint(text, 10, 64)
		if uerr != nil || u > math.MaxInt64+1 {
			return l.fail(start, "a bigint has 64 bits; write a float with a point", "the number %s is too large", diag.Clip(text))
		}
		t.integer = int64(u)
		return nil
	}
	if t.number, err = strconv.ParseFloat(text, 64); err != nil {
		return l.fail(start, "", "the number %s is too large", diag.Clip(text))
	}
	return nil
}
