package asa

import (
	"math"
	"strings"
	"unicode/utf8"

	"dunlin/internal/lang/diag"
)

// MaxLength is the size of the largest script in bytes.
const MaxLength = 512 << 10

// maxDepth bounds what stands in each other: a tree must not be deeper than a
// goroutine can walk in little memory.
const maxDepth = 200

// Parse reads a script. notes are about what was taken in another way than a
// strict reader would. Errors are of type *diag.Error.
func Parse(text string) (s *Script, notes []*diag.Error, err error) {
	p, err := newParser(text)
	if err != nil {
		return nil, nil, err
	}
	if s, err = p.script(); err != nil {
		return nil, nil, err
	}
	return s, p.notes, nil
}

// ParseExpr reads an expression or predicate that stands for itself.
func ParseExpr(text string) (Expr, error) {
	p, err := newParser(text)
	if err != nil {
		return nil, err
	}
	e, err := p.expr()
	if err == nil && p.tok.kind != tokenEnd {
		err = p.misplaced("AND", "OR", "IS", "IN", "LIKE", "BETWEEN")
	}
	return e, err
}

type parser struct {
	lex   lexer
	tok   token
	ahead *token // read but not yet current
	depth int
	notes []*diag.Error
	// inTimestamp: an OVER behind a call belongs to TIMESTAMP BY.
	inTimestamp bool
}

func newParser(text string) (*parser, error) {
	if len(text) > MaxLength {
		return nil, diag.At("", 0, "split it into several jobs", "the text has %d bytes, more than the %d that are allowed", len(text), MaxLength)
	}
	if !utf8.ValidString(text) {
		return nil, diag.At("", 0, "", "the text is not valid UTF-8")
	}
	p := &parser{lex: lexer{text: text}}
	return p, p.advance()
}

func (p *parser) advance() (err error) {
	if p.ahead != nil {
		p.tok, p.ahead = *p.ahead, nil
		return nil
	}
	p.tok, err = p.lex.next()
	return err
}

// peek looks at the token behind the current one. An error of the lexer shows
// as the end of the text, and for good once it is reached.
func (p *parser) peek() token {
	if p.ahead == nil {
		mark := p.lex.pos
		t, err := p.lex.next()
		if err != nil {
			p.lex.pos = mark
			return token{}
		}
		p.ahead = &t
	}
	return *p.ahead
}

// found names the current token in messages.
func (p *parser) found() string {
	if p.tok.kind == tokenEnd {
		return "the end of the text"
	}
	return "'" + diag.Clip(p.lex.text[p.tok.pos:p.tok.end]) + "'"
}

func (p *parser) fail(hint, format string, args ...any) error {
	return p.failAt(p.tok.pos, hint, format, args...)
}

func (p *parser) failAt(pos int, hint, format string, args ...any) error {
	return diag.At(p.lex.text, pos, hint, format, args...)
}

func (p *parser) note(pos int, hint, format string, args ...any) {
	p.notes = append(p.notes, diag.At(p.lex.text, pos, hint, format, args...))
}

// expected refuses the current token; words are what could stand here.
func (p *parser) expected(what string, words ...string) error {
	hint := ""
	if p.tok.kind == tokenWord {
		hint = diag.DidYouMean(p.tok.text, words)
	}
	return p.fail(hint, "%s is expected, not %s", what, p.found())
}

// misplaced refuses a token behind something complete.
func (p *parser) misplaced(words ...string) error {
	hint := ""
	if p.tok.kind == tokenWord {
		hint = diag.DidYouMean(p.tok.text, words)
	}
	return p.fail(hint, "%s does not belong here", p.found())
}

// word takes a keyword if it is there.
func (p *parser) word(w string) (bool, error) {
	if !p.tok.is(w) {
		return false, nil
	}
	return true, p.advance()
}

func (p *parser) wantWord(w string) error {
	if !p.tok.is(w) {
		return p.expected(w, w)
	}
	return p.advance()
}

func (p *parser) sign(s string) (bool, error) {
	if !p.tok.sign(s) {
		return false, nil
	}
	return true, p.advance()
}

func (p *parser) wantSign(s, where string) error {
	if !p.tok.sign(s) {
		return p.expected("'" + s + "' " + where)
	}
	return p.advance()
}

// enter counts a level of nesting; leave ends it.
func (p *parser) enter() error {
	if p.depth++; p.depth > maxDepth {
		return p.fail("use steps of WITH", "more than %d levels of brackets and operators stand in each other", maxDepth)
	}
	return nil
}

func (p *parser) leave() { p.depth-- }

func (p *parser) script() (*Script, error) {
	s := new(Script)
	for p.tok.is("CREATE") {
		t, err := p.table()
		if err != nil {
			return nil, err
		}
		s.Tables = append(s.Tables, t)
		if err := p.semicolons(); err != nil {
			return nil, err
		}
	}
	if ok, err := p.word("WITH"); err != nil {
		return nil, err
	} else if ok {
		if s.Steps, err = p.steps(); err != nil {
			return nil, err
		}
		if err := p.semicolons(); err != nil {
			return nil, err
		}
	}
	for p.tok.kind != tokenEnd || len(s.Selects) == 0 {
		q, err := p.query(true)
		if err != nil {
			return nil, err
		}
		s.Selects = append(s.Selects, q)
		if err := p.semicolons(); err != nil {
			return nil, err
		}
		if p.tok.kind != tokenEnd && !p.tok.is("SELECT") {
			return nil, p.misplaced("SELECT", "WHERE", "GROUP", "HAVING", "UNION", "JOIN", "INTO", "LEFT", "CROSS", "PARTITION", "TIMESTAMP")
		}
	}
	return s, nil
}

func (p *parser) semicolons() error {
	for p.tok.sign(";") {
		if err := p.advance(); err != nil {
			return err
		}
	}
	return nil
}

// table reads CREATE TABLE.
func (p *parser) table() (*Table, error) {
	t := &Table{at: at(p.tok.pos)}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if err := p.wantWord("TABLE"); err != nil {
		return nil, err
	}
	var err error
	if t.Name, err = p.name("the name of an input"); err != nil {
		return nil, err
	}
	if err := p.wantSign("(", "before the columns"); err != nil {
		return nil, err
	}
	for {
		var c Column
		if c.Name, err = p.name("the name of a column"); err != nil {
			return nil, err
		}
		if c.Type, err = p.typeName(); err != nil {
			return nil, err
		}
		t.Columns = append(t.Columns, c)
		if ok, err := p.sign(","); err != nil {
			return nil, err
		} else if !ok {
			return t, p.wantSign(")", "after the columns")
		}
	}
}

var typeWords = map[string]Type{
	"bigint": Bigint, "float": Float, "nvarchar": NVarchar, "datetime": Datetime, "bit": Bit, "record": Record, "array": Array,
}

func (p *parser) typeName() (Type, error) {
	if p.tok.kind == tokenWord {
		if t, ok := typeWords[strings.ToLower(p.tok.text)]; ok {
			if err := p.advance(); err != nil || t != NVarchar || !p.tok.sign("(") {
				return t, err
			}
			if err := p.advance(); err != nil {
				return t, err
			}
			if !p.tok.is("max") {
				return t, p.fail("texts have no other length", "nvarchar(max) is expected, not %s", p.found())
			}
			if err := p.advance(); err != nil {
				return t, err
			}
			return t, p.wantSign(")", "after max")
		}
	}
	return Any, p.expected("a type", "bigint", "float", "nvarchar", "datetime", "bit", "record", "array")
}

// steps reads what follows WITH.
func (p *parser) steps() (list []*Step, err error) {
	for {
		s := new(Step)
		if s.Name, err = p.name("the name of a step"); err != nil {
			return nil, err
		}
		if err := p.wantWord("AS"); err != nil {
			return nil, err
		}
		if err := p.wantSign("(", "before the query of a step"); err != nil {
			return nil, err
		}
		if s.Query, err = p.query(false); err != nil {
			return nil, err
		}
		if !p.tok.sign(")") {
			return nil, p.misplaced("WHERE", "GROUP", "HAVING", "UNION", "JOIN", "LEFT", "CROSS", "PARTITION", "TIMESTAMP")
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
		list = append(list, s)
		if ok, err := p.sign(","); err != nil || !ok {
			return list, err
		}
	}
}

// name reads a name that is not a keyword.
func (p *parser) name(what string) (Name, error) {
	n := Name{at: at(p.tok.pos), Text: p.tok.text}
	switch p.tok.kind {
	case tokenWord:
		if isReserved(p.tok.text) {
			return n, p.fail("a name like a keyword is written ["+p.tok.text+"]", "%s is expected, not the keyword %s", what, p.tok.text)
		}
	case tokenName:
		n.Quoted = Bracket
	case tokenDouble:
		n.Quoted = Double
	case tokenEnd, tokenText, tokenInt, tokenFloat, tokenSign:
		return n, p.expected(what)
	}
	if n.Text == "" {
		return n, p.fail("", "%s is empty", what)
	}
	return n, p.advance()
}

// alias reads the name behind AS; some published samples write a text.
func (p *parser) alias() (Name, error) {
	if p.tok.kind == tokenText && p.tok.text != "" {
		n := Name{at: at(p.tok.pos), Text: p.tok.text, Quoted: Single}
		p.note(p.tok.pos, "write ["+p.tok.text+"]", "a name stands in single quotes, which are for texts")
		return n, p.advance()
	}
	return p.name("a name")
}

// nameFollows reports whether a bare alias can begin here.
func (p *parser) nameFollows() bool {
	switch p.tok.kind {
	case tokenName, tokenDouble:
		return true
	case tokenWord:
		return !isReserved(p.tok.text)
	case tokenEnd, tokenText, tokenInt, tokenFloat, tokenSign:
	}
	return false
}

// integer reads a whole number without sign.
func (p *parser) integer(what string) (int64, error) {
	if p.tok.kind != tokenInt || p.tok.integer == math.MinInt64 {
		return 0, p.expected(what)
	}
	n := p.tok.integer
	return n, p.advance()
}
