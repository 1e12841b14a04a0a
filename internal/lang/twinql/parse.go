package twinql

import (
	"math"
	"strings"
	"unicode/utf8"

	"dunlin/internal/lang/diag"
)

// MaxLength is the largest number of characters of a text.
const MaxLength = 8192

// maxDepth bounds brackets, NOT, minus signs and calls within each other.
const maxDepth = 64

// Parse reads a query. Errors are of type *Error.
func Parse(text string) (*Query, error) {
	p, err := newParser(text)
	if err != nil {
		return nil, err
	}
	q, err := p.query()
	if err != nil {
		return nil, err
	}
	return q, p.end()
}

// ParseCondition reads an expression that stands for itself, such as the
// condition of a job or a route. Errors are of type *Error.
func ParseCondition(text string) (Expr, error) {
	p, err := newParser(text)
	if err != nil {
		return nil, err
	}
	e, err := p.condition()
	if err != nil {
		return nil, err
	}
	return e, p.end()
}

type parser struct {
	lex   lexer
	tok   token
	depth int
}

func newParser(text string) (*parser, error) {
	// A text of that many bytes is too long whatever its characters are.
	if len(text) > 4*MaxLength || utf8.RuneCountInString(text) > MaxLength {
		return nil, &Error{Column: 1, Message: "the text is longer than 8192 characters"}
	}
	if !utf8.ValidString(text) {
		return nil, &Error{Column: 1, Message: "the text is not valid UTF-8"}
	}
	p := &parser{lex: lexer{text: text}}
	return p, p.advance()
}

func (p *parser) advance() (err error) {
	p.tok, err = p.lex.next()
	return err
}

// found names the current token in messages.
func (p *parser) found() string {
	if p.tok.kind == tokenEnd {
		return "the end of the text"
	}
	return "'" + diag.Clip(p.lex.text[p.tok.pos:p.tok.end]) + "'"
}

func (p *parser) raw() string { return p.lex.text[p.tok.pos:p.tok.end] }

func (p *parser) fail(hint, format string, args ...any) error {
	return diag.At(p.lex.text, p.tok.pos, hint, format, args...)
}

// expected fails for a token that is not one of the words that may come.
func (p *parser) expected(what string, words ...string) error {
	hint := ""
	if p.tok.kind == tokenWord {
		hint = diag.DidYouMean(p.raw(), words)
	}
	return p.fail(hint, "%s is expected, not %s", what, p.found())
}

func (p *parser) end() error {
	if p.tok.kind == tokenEnd {
		return nil
	}
	if p.tok.kind == tokenWord {
		for word, hint := range map[string]string{
			"ORDER": "there is no ORDER BY: rows come in the order of their ids", "JOIN": "there is no JOIN", "LIMIT": "use SELECT TOP n",
			"LIKE": "use CONTAINS, STARTS_WITH or ENDS_WITH", "IS": "use = null, IS_NULL or IS_DEFINED",
			"BETWEEN": "use >= and <=", "HAVING": "there is no HAVING", "OFFSET": "use the continuation token",
		} {
			if strings.EqualFold(p.raw(), word) {
				return p.fail(hint, "%s does not belong here", p.found())
			}
		}
		return p.fail(diag.DidYouMean(p.raw(), []string{"WHERE", "GROUP", "FROM", "AND", "OR", "IN", "NIN", "NOT"}), "%s does not belong here", p.found())
	}
	return p.fail("", "%s does not belong here", p.found())
}

func (p *parser) isKeyword(k string) bool { return p.tok.kind == tokenKeyword && p.tok.text == k }

func (p *parser) isSign(s string) bool { return p.tok.kind == tokenSign && p.tok.text == s }

// isName reports a path of the one name s in any case.
func (p *parser) isName(s string) bool {
	return p.tok.kind == tokenWord && strings.EqualFold(p.raw(), s)
}

func (p *parser) keyword(k string) error {
	if !p.isKeyword(k) {
		return p.expected(k, k)
	}
	return p.advance()
}

func (p *parser) sign(s string) error {
	if !p.isSign(s) {
		return p.fail("", "'%s' is expected, not %s", s, p.found())
	}
	return p.advance()
}

func (p *parser) query() (*Query, error) {
	q := &Query{}
	if err := p.keyword("SELECT"); err != nil {
		return nil, err
	}
	if err := p.top(q); err != nil {
		return nil, err
	}
	if err := p.columns(q); err != nil {
		return nil, err
	}
	if err := p.from(q); err != nil {
		return nil, err
	}
	if p.isKeyword("WHERE") {
		if err := p.advance(); err != nil {
			return nil, err
		}
		var err error
		if q.Where, err = p.condition(); err != nil {
			return nil, err
		}
	}
	return q, p.groupBy(q)
}

func (p *parser) top(q *Query) error {
	if !p.isName("TOP") {
		if p.isName("DISTINCT") {
			return p.fail("use GROUP BY", "there is no DISTINCT")
		}
		return nil
	}
	if err := p.advance(); err != nil {
		return err
	}
	n := p.tok.number
	if p.tok.kind != tokenNumber || n < 1 || n > math.MaxInt32 || n != math.Trunc(n) {
		return p.fail("", "a whole number from 1 is expected after TOP, not %s", p.found())
	}
	q.Top = int(n)
	return p.advance()
}

func (p *parser) columns(q *Query) error {
	if p.isSign("*") {
		q.Star = true
		return p.advance()
	}
	for {
		c, err := p.column()
		if err != nil {
			return err
		}
		q.Columns = append(q.Columns, c)
		if !p.isSign(",") {
			return nil
		}
		if err := p.advance(); err != nil {
			return err
		}
	}
}

func (p *parser) column() (c Column, err error) {
	if p.tok.kind != tokenWord {
		return c, p.expected("*, a member or an aggregate")
	}
	word := p.tok
	name := p.raw()
	if err := p.advance(); err != nil {
		return c, err
	}
	if p.isSign("(") {
		c.Expr, err = p.aggregate(word, name)
	} else {
		c.Expr = &Path{at(word.pos), word.steps}
	}
	if err != nil || !p.isKeyword("AS") {
		return c, err
	}
	if err := p.advance(); err != nil {
		return c, err
	}
	switch {
	case p.tok.kind == tokenText && p.tok.text != "":
		c.As = p.tok.text
	case p.tok.kind == tokenKeyword:
		c.As = p.raw()
	case p.tok.kind == tokenWord && len(p.tok.steps) == 1:
		c.As = p.tok.steps[0].Name
	default:
		return c, p.fail("", "a name is expected after AS, not %s", p.found())
	}
	return c, p.advance()
}

func (p *parser) aggregate(word token, name string) (Expr, error) {
	a := &Aggregate{at: at(word.pos)}
	known := false
	for i, n := range aggregateNames {
		if strings.EqualFold(n, name) {
			a.Kind, known = AggregateKind(i), true
		}
	}
	if !known {
		hint := diag.DidYouMean(name, aggregateNames[:])
		if findFunction(name) != nil {
			hint = "functions can only be used after WHERE"
		}
		return nil, diag.At(p.lex.text, word.pos, hint, "'%s' is not an aggregate: they are COUNT, AVG, SUM, MIN and MAX", diag.Clip(name))
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	switch {
	case p.tok.kind == tokenWord:
		a.Path = &Path{at(p.tok.pos), p.tok.steps}
		if err := p.advance(); err != nil {
			return nil, err
		}
	case a.Kind != Count:
		return nil, p.expected("the member that " + a.Kind.String() + " is made of")
	case p.isSign("*"):
		if err := p.advance(); err != nil {
			return nil, err
		}
	}
	return a, p.sign(")")
}

func (p *parser) from(q *Query) error {
	if !p.isKeyword("FROM") {
		return p.expected("FROM", "FROM", "AS")
	}
	if err := p.advance(); err != nil {
		return err
	}
	for i, name := range collectionNames {
		if p.isName(name) {
			q.From = Collection(i)
			return p.advance()
		}
	}
	return p.expected("devices, devices.modules or devices.jobs", collectionNames[:]...)
}

func (p *parser) groupBy(q *Query) error {
	if !p.isKeyword("GROUP") {
		return nil
	}
	if err := p.advance(); err != nil {
		return err
	}
	if !p.isName("BY") {
		return p.expected("BY", "BY")
	}
	for {
		if err := p.advance(); err != nil {
			return err
		}
		if p.tok.kind != tokenWord {
			return p.expected("the member to group by")
		}
		q.GroupBy = append(q.GroupBy, &Path{at(p.tok.pos), p.tok.steps})
		if err := p.advance(); err != nil {
			return err
		}
		if !p.isSign(",") {
			return nil
		}
	}
}
