package twinql

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"dunlin/internal/lang/diag"
)

type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	tokenWord
	tokenKeyword
	tokenNumber
	tokenText
	tokenSign // punctuation and operators
)

type token struct {
	kind   tokenKind
	pos    int
	end    int
	text   string // keyword in capitals, sign, or the value of a text
	number float64
	steps  []Step // of a word: the whole path
}

// keywords cannot begin a path; after a dot they are names like any other.
var keywords = [...]string{
	"SELECT", "FROM", "WHERE", "GROUP", "AND", "OR", "NOT", "IN", "NIN", "AS", "TRUE", "FALSE", "NULL", "UNDEFINED",
}

func keyword(s string) string {
	if len(s) > len("UNDEFINED") {
		return ""
	}
	for _, k := range keywords {
		if strings.EqualFold(k, s) {
			return k
		}
	}
	return ""
}

// lexer cuts a text into tokens. A path is one token, as what follows a dot or
// a bracket obeys other rules than what begins an expression.
type lexer struct {
	text string
	pos  int
}

func (l *lexer) fail(pos int, hint, format string, args ...any) error {
	return diag.At(l.text, pos, hint, format, args...)
}

func (l *lexer) space() {
	for l.pos < len(l.text) {
		r, n := utf8.DecodeRuneInString(l.text[l.pos:])
		if !unicode.IsSpace(r) {
			return
		}
		l.pos += n
	}
}

func (l *lexer) next() (token, error) {
	l.space()
	t := token{pos: l.pos, end: l.pos}
	if l.pos == len(l.text) {
		return t, nil
	}
	var err error
	switch c := l.text[l.pos]; {
	case c == '\'' || c == '"':
		t.kind = tokenText
		t.text, err = l.quoted(c)
	case c >= '0' && c <= '9', c == '.' && l.pos+1 < len(l.text) && isDigit(l.text[l.pos+1]):
		t.kind = tokenNumber
		t.number, err = l.number()
	case nameStart(l.text[l.pos:]), strings.HasPrefix(l.text[l.pos:], "[["):
		err = l.word(&t)
	default:
		t.kind = tokenSign
		t.text, err = l.sign()
	}
	t.end = l.pos
	return t, err
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func nameStart(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return r == '_' || r == '$' || unicode.IsLetter(r)
}

func nameLen(s string) int {
	for i, r := range s {
		if r != '_' && r != '$' && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) {
			return i
		}
	}
	return len(s)
}

func (l *lexer) sign() (string, error) {
	rest := l.text[l.pos:]
	for _, s := range [...]string{"!=", "<>", "<=", ">=", "=", "<", ">", "+", "-", "*", "/", "%", "(", ")", "[", "]", ",", "."} {
		if !strings.HasPrefix(rest, s) {
			continue
		}
		if s == "=" && strings.HasPrefix(rest, "==") {
			return "", l.fail(l.pos, "use = to compare", "'==' is not an operator")
		}
		l.pos += len(s)
		if s == "<>" {
			s = "!="
		}
		return s, nil
	}
	hint := ""
	switch rest[0] {
	case '&':
		hint = "use AND"
	case '|':
		hint = "use OR"
	case '!':
		hint = "use NOT or !="
	case ';':
		hint = "a query has no semicolon"
	case '`', '{', '}', '@', '#', '\\':
		hint = "names with such characters are written [[name]], texts 'text'"
	}
	r, n := utf8.DecodeRuneInString(rest)
	if r == utf8.RuneError && n == 1 {
		return "", l.fail(l.pos, "", "the text is not valid UTF-8")
	}
	return "", l.fail(l.pos, hint, "%q does not belong here", r)
}

func (l *lexer) number() (float64, error) {
	start, s := l.pos, l.text[l.pos:]
	n := 0
	if len(s) > 1 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X') {
		for n = 2; n < len(s) && strings.IndexByte("0123456789abcdefABCDEF", s[n]) >= 0; n++ {
		}
		v, err := strconv.ParseUint(s[2:n], 16, 64)
		if err != nil {
			return 0, l.fail(start, "0x and 1 to 16 hexadecimal digits", "'%s' is not a number", diag.Clip(s[:n]))
		}
		l.pos += n
		return float64(v), l.numberEnd(start)
	}
	digits := func() {
		for n < len(s) && isDigit(s[n]) {
			n++
		}
	}
	digits()
	if n < len(s) && s[n] == '.' {
		n++
		digits()
	}
	if n < len(s) && (s[n] == 'e' || s[n] == 'E') {
		m := n + 1
		if m < len(s) && (s[m] == '+' || s[m] == '-') {
			m++
		}
		if m < len(s) && isDigit(s[m]) {
			n = m
			digits()
		}
	}
	v, err := strconv.ParseFloat(s[:n], 64)
	if err != nil {
		return 0, l.fail(start, "", "the number %s is too large", diag.Clip(s[:n]))
	}
	l.pos += n
	return v, l.numberEnd(start)
}

func (l *lexer) numberEnd(start int) error {
	if rest := l.text[l.pos:]; rest != "" && (nameLen(rest) > 0 || rest[0] == '.') {
		return l.fail(start, "texts are written 'text', names that begin with a digit [[name]]",
			"'%s' is not a number", diag.Clip(l.text[start:l.pos+max(1, nameLen(rest))]))
	}
	return nil
}

// quoted reads a text: \' \" \\ \/ \b \f \n \r \t \uXXXX, and the quote itself
// when it is written twice.
func (l *lexer) quoted(quote byte) (string, error) {
	start := l.pos
	var b strings.Builder
	for l.pos++; l.pos < len(l.text); {
		c := l.text[l.pos]
		switch {
		case c == quote && l.pos+1 < len(l.text) && l.text[l.pos+1] == quote:
			b.WriteByte(quote)
			l.pos += 2
		case c == quote:
			l.pos++
			return b.String(), nil
		case c == '\\':
			r, err := l.escape()
			if err != nil {
				return "", err
			}
			b.WriteRune(r)
		default:
			b.WriteByte(c)
			l.pos++
		}
	}
	return "", l.fail(start, "a quote in a text is written \\"+string(quote), "the text that begins here has no end")
}

func (l *lexer) escape() (rune, error) {
	start := l.pos
	l.pos++
	if l.pos < len(l.text) {
		c := l.text[l.pos]
		if i := strings.IndexByte(`'"\/bfnrt`, c); i >= 0 {
			l.pos++
			return rune("'\"\\/\b\f\n\r\t"[i]), nil
		}
		if c == 'u' {
			return l.unicode(start)
		}
	}
	return 0, l.fail(start, `use \\ for a backslash`, "the escape is not known")
}

func (l *lexer) unicode(start int) (rune, error) {
	unit := func() (rune, bool) {
		if l.pos+5 > len(l.text) || l.text[l.pos] != 'u' {
			return 0, false
		}
		v, err := strconv.ParseUint(l.text[l.pos+1:l.pos+5], 16, 16)
		return rune(v), err == nil
	}
	r, ok := unit()
	if !ok {
		return 0, l.fail(start, "", `\u needs four hexadecimal digits`)
	}
	l.pos += 5
	if r < 0xD800 || r > 0xDFFF {
		return r, nil
	}
	if r < 0xDC00 && l.pos < len(l.text) && l.text[l.pos] == '\\' {
		l.pos++
		if low, ok := unit(); ok && low >= 0xDC00 && low <= 0xDFFF {
			l.pos += 5
			return (r-0xD800)<<10 + (low - 0xDC00) + 0x10000, nil
		}
	}
	return 0, l.fail(start, "", "half of a surrogate pair is not a character")
}

// maxSteps bounds a path. Twins are 10 deep, metadata some more.
const maxSteps = 32

// word reads a keyword or a path.
func (l *lexer) word(t *token) error {
	n := nameLen(l.text[l.pos:])
	if k := keyword(l.text[l.pos : l.pos+n]); k != "" {
		t.kind, t.text = tokenKeyword, k
		l.pos += n
		return nil
	}
	t.kind = tokenWord
	first := true
	for {
		if len(t.steps) == maxSteps {
			return l.fail(t.pos, "", "the path has more than %d steps", maxSteps)
		}
		rest := l.text[l.pos:]
		switch {
		case strings.HasPrefix(rest, "[["):
			name, _, found := strings.Cut(rest[2:], "]]")
			if !found {
				return l.fail(l.pos, "", "the name that begins here has no end ]]")
			}
			if name == "" {
				return l.fail(l.pos, "", "the name is empty")
			}
			l.pos += len(name) + 4
			t.steps = append(t.steps, Step{Name: name})
		case !first && rest[0] == '[':
			end := strings.IndexByte(rest, ']')
			if end < 0 {
				return l.fail(l.pos, "", "the bracket has no end ]")
			}
			index, err := strconv.ParseUint(strings.TrimSpace(rest[1:end]), 10, 31)
			if err != nil {
				return l.fail(l.pos, "names are written [[name]]", "'%s' is not the position of an array member", diag.Clip(rest[1:end]))
			}
			l.pos += end + 1
			t.steps = append(t.steps, Step{Index: int(index)})
		default:
			n := nameLen(rest)
			if n == 0 {
				return l.fail(l.pos, "names with special characters are written [[name]]", "a name must follow the dot")
			}
			l.pos += n
			t.steps = append(t.steps, Step{Name: rest[:n]})
		}
		first = false
		rest = l.text[l.pos:]
		if strings.HasPrefix(rest, ".") {
			l.pos++
			first = true // no bracket with a position may follow a dot
		} else if !strings.HasPrefix(rest, "[") {
			return nil
		}
	}
}
