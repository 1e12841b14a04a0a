package asa

import (
	"math"
	"strings"
)

// maxChain bounds operands in a row: a + b + c is as deep a tree as brackets
// are.
const maxChain = 5000

// expr reads an expression or a predicate. Which of them is right where is
// decided when types are.
func (p *parser) expr() (Expr, error) { return p.chain(p.and, Or) }

func (p *parser) and() (Expr, error) { return p.chain(p.not, And) }

// chain reads operands with one logical operator between.
func (p *parser) chain(operand func() (Expr, error), op Op) (Expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	x, err := operand()
	for n := 1; err == nil && p.tok.is(op.String()); n++ {
		if n == maxChain {
			return nil, p.fail("use IN", "more than %d operands stand in a row", maxChain)
		}
		b := &Binary{at: at(p.tok.pos), Op: op, X: x}
		if err := p.advance(); err != nil {
			return nil, err
		}
		b.Y, err = operand()
		x = b
	}
	return x, err
}

func (p *parser) not() (Expr, error) {
	pos := p.tok.pos
	ok, err := p.word("NOT")
	if err != nil {
		return nil, err
	}
	if !ok {
		return p.test()
	}
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	x, err := p.not()
	return &Unary{at: at(pos), Op: Not, X: x}, err
}

var comparisons = map[string]Op{
	"=": Equal, "<>": NotEqual, "!=": NotEqual, "<": Less, "!>": LessEqual, "<=": LessEqual, ">": Greater, "!<": GreaterEqual, ">=": GreaterEqual,
}

// test reads an expression and, behind it, what makes a predicate of it.
func (p *parser) test() (Expr, error) {
	x, err := p.value()
	if err != nil {
		return nil, err
	}
	pos := at(p.tok.pos)
	if p.tok.kind == tokenSign {
		op, ok := comparisons[p.tok.text]
		if !ok {
			return x, nil
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
		y, err := p.value()
		if _, again := comparisons[p.tok.text]; err == nil && again && p.tok.kind == tokenSign {
			return nil, p.fail("join two comparisons with AND", "a comparison cannot be compared again")
		}
		return &Binary{at: pos, Op: op, X: x, Y: y}, err
	}
	if ok, err := p.word("IS"); err != nil {
		return nil, err
	} else if ok {
		n := &IsNull{at: pos, X: x}
		if n.Not, err = p.word("NOT"); err != nil {
			return nil, err
		}
		return n, p.wantWord("NULL")
	}
	negated := false
	if p.tok.is("NOT") {
		if t := p.peek(); !t.is("LIKE") && !t.is("BETWEEN") && !t.is("IN") {
			return x, nil
		}
		negated = true
		if err := p.advance(); err != nil {
			return nil, err
		}
	}
	switch {
	case p.tok.is("LIKE"):
		n := &Like{at: pos, X: x, Not: negated}
		if err := p.advance(); err != nil {
			return nil, err
		}
		n.Pattern, err = p.value()
		return n, err
	case p.tok.is("BETWEEN"):
		n := &Between{at: pos, X: x, Not: negated}
		if err := p.advance(); err != nil {
			return nil, err
		}
		if n.Lo, err = p.value(); err != nil {
			return nil, err
		}
		if err := p.wantWord("AND"); err != nil {
			return nil, err
		}
		n.Hi, err = p.value()
		return n, err
	case p.tok.is("IN"):
		n := &In{at: pos, X: x, Not: negated}
		if err := p.advance(); err != nil {
			return nil, err
		}
		if err := p.wantSign("(", "after IN"); err != nil {
			return nil, err
		}
		if n.List, err = p.list(p.value); err != nil {
			return nil, err
		}
		return n, p.wantSign(")", "after the list of IN")
	}
	return x, nil
}

var (
	sums     = map[string]Op{"+": Add, "-": Sub, "&": BitAnd, "|": BitOr, "^": BitXor}
	products = map[string]Op{"*": Mul, "/": Div, "%": Mod}
)

// value reads an expression that is no predicate, unless in brackets.
func (p *parser) value() (Expr, error) {
	return p.operators(sums, func() (Expr, error) { return p.operators(products, p.unary) })
}

func (p *parser) operators(ops map[string]Op, operand func() (Expr, error)) (Expr, error) {
	x, err := operand()
	for n := 1; err == nil && p.tok.kind == tokenSign; n++ {
		op, ok := ops[p.tok.text]
		if !ok {
			break
		}
		if n == maxChain {
			return nil, p.fail("", "more than %d operands stand in a row", maxChain)
		}
		b := &Binary{at: at(p.tok.pos), Op: op, X: x}
		if err := p.advance(); err != nil {
			return nil, err
		}
		b.Y, err = operand()
		x = b
	}
	return x, err
}

func (p *parser) unary() (Expr, error) {
	pos := at(p.tok.pos)
	var op Op
	switch {
	case p.tok.sign("-"):
		op = Neg
	case p.tok.sign("~"):
		op = BitNot
	case p.tok.sign("+"):
		if err := p.advance(); err != nil {
			return nil, err
		}
		if err := p.enter(); err != nil {
			return nil, err
		}
		defer p.leave()
		return p.unary()
	default:
		return p.postfix()
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if op == Neg {
		switch p.tok.kind {
		case tokenInt:
			l := &Literal{at: pos, Kind: IntLiteral, Int: -p.tok.integer}
			return l, p.advance()
		case tokenFloat:
			l := &Literal{at: pos, Kind: FloatLiteral, Float: -p.tok.number}
			return l, p.advance()
		case tokenEnd, tokenWord, tokenName, tokenDouble, tokenText, tokenSign:
		}
	}
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	x, err := p.unary()
	return &Unary{at: pos, Op: op, X: x}, err
}

// postfix reads members of what a call or bracket gives.
func (p *parser) postfix() (Expr, error) {
	x, err := p.primary()
	for n := 1; err == nil && p.tok.sign("."); n++ {
		if t := p.peek(); t.sign("*") {
			break
		}
		if n == maxChain {
			return nil, p.fail("", "more than %d members stand in a row", maxChain)
		}
		if _, ok := x.(*Literal); ok {
			return nil, p.fail("", "a constant has no members")
		}
		m := &Member{at: at(p.tok.pos), Of: x}
		if err := p.advance(); err != nil {
			return nil, err
		}
		m.Name, err = p.member()
		x = m
	}
	return x, err
}

// member reads a name behind a dot, where keywords are names.
func (p *parser) member() (Name, error) {
	if p.tok.kind == tokenWord {
		n := Name{at: at(p.tok.pos), Text: p.tok.text}
		return n, p.advance()
	}
	return p.name("the name of a member")
}

func (p *parser) primary() (Expr, error) {
	pos := at(p.tok.pos)
	switch p.tok.kind {
	case tokenInt:
		if p.tok.integer == math.MinInt64 {
			return nil, p.fail("a bigint has 64 bits; write a float with a point", "the number is too large")
		}
		l := &Literal{at: pos, Kind: IntLiteral, Int: p.tok.integer}
		return l, p.advance()
	case tokenFloat:
		l := &Literal{at: pos, Kind: FloatLiteral, Float: p.tok.number}
		return l, p.advance()
	case tokenText:
		l := &Literal{at: pos, Kind: TextLiteral, Text: p.tok.text}
		return l, p.advance()
	case tokenSign:
		if !p.tok.sign("(") {
			return nil, p.expected("an expression")
		}
		if t := p.peek(); t.is("SELECT") {
			return nil, p.fail("name it as a step of WITH and join it", "a SELECT within an expression does not exist in this language")
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
		x, err := p.expr()
		if err != nil {
			return nil, err
		}
		return x, p.wantSign(")", "to close the bracket")
	case tokenWord:
		switch {
		case p.tok.is("NULL"):
			return &Literal{at: pos}, p.advance()
		case p.tok.is("CASE"):
			return p.caseOf()
		case p.tok.is("CAST"), p.tok.is("TRY_CAST"):
			return p.cast()
		case (p.tok.is("LEFT") || p.tok.is("RIGHT")) && p.peek().sign("("):
			return p.call(pos, "", p.tok.text)
		}
		return p.path()
	case tokenName, tokenDouble:
		return p.path()
	case tokenEnd:
	}
	return nil, p.expected("an expression")
}

// path reads a column or, when a bracket follows, a call.
func (p *parser) path() (Expr, error) {
	pos := at(p.tok.pos)
	first, err := p.name("an expression")
	if err != nil {
		return nil, err
	}
	names := []Name{first}
	for p.tok.sign(".") && len(names) < maxChain {
		if t := p.peek(); t.sign("*") {
			break
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
		n, err := p.member()
		if err != nil {
			return nil, err
		}
		names = append(names, n)
	}
	last := &names[len(names)-1]
	bare := last.Quoted == Bare
	switch {
	case len(names) == 2 && strings.EqualFold(first.Text, "System") && strings.EqualFold(last.Text, "Timestamp") && !p.tok.sign("("):
		return &Call{at: pos, Space: first.Text, Name: last.Text}, nil // the brackets are optional
	case !p.tok.sign("(") || !bare:
		return &Path{at: pos, Names: names}, nil
	case len(names) > 2:
		return nil, p.failAt(int(pos), "", "a function has one prefix at most")
	case len(names) == 2:
		return p.callBehind(&Call{at: pos, Space: first.Text, Name: last.Text})
	}
	return p.callBehind(&Call{at: pos, Name: last.Text})
}

// call reads a call whose name is the current token.
func (p *parser) call(pos at, space, name string) (Expr, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	return p.callBehind(&Call{at: pos, Space: space, Name: name})
}

// callBehind reads the arguments of c, and OVER.
func (p *parser) callBehind(c *Call) (Expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	if err := p.advance(); err != nil { // "("
		return nil, err
	}
	var err error
	switch {
	case p.tok.sign(")"):
	case p.tok.sign("*"):
		c.Star = true
		if err := p.advance(); err != nil {
			return nil, err
		}
		// LAG(*, 2)
		if ok, err := p.sign(","); err != nil {
			return nil, err
		} else if ok {
			if c.Args, err = p.list(p.expr); err != nil {
				return nil, err
			}
		}
	default:
		if c.Distinct, err = p.word("DISTINCT"); err != nil {
			return nil, err
		}
		if t := p.peek(); !c.Distinct && p.tok.is("ALL") && !t.sign(")") && !t.sign(",") && !t.sign(".") {
			if err := p.advance(); err != nil {
				return nil, err
			}
		}
		if c.Args, err = p.list(p.expr); err != nil {
			return nil, err
		}
	}
	if err := p.wantSign(")", "after the arguments of "+c.Name); err != nil {
		return nil, err
	}
	if t := p.peek(); !p.inTimestamp && p.tok.is("OVER") && t.sign("(") {
		c.Over, err = p.over()
	}
	return c, err
}

func (p *parser) over() (*Over, error) {
	o := &Over{at: at(p.tok.pos)}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if err := p.advance(); err != nil { // "("
		return nil, err
	}
	for {
		var err error
		switch {
		case p.tok.sign(")"):
			return o, p.advance()
		case p.tok.is("PARTITION") && o.PartitionBy == nil:
			if err = p.twoWords("BY"); err == nil {
				o.PartitionBy, err = p.list(p.value)
			}
		case p.tok.is("ORDER") && o.OrderBy == nil:
			if err = p.twoWords("BY"); err == nil {
				o.OrderBy, err = p.orders()
			}
		case p.tok.is("LIMIT") && o.Limit == nil:
			if err = p.advance(); err == nil {
				o.Limit, err = p.duration("DURATION")
			}
		case p.tok.is("WHEN") && o.When == nil:
			if err = p.advance(); err == nil {
				o.When, err = p.expr()
			}
		default:
			return nil, p.expected("PARTITION BY, ORDER BY, LIMIT DURATION, WHEN or ')'", "PARTITION", "ORDER", "LIMIT", "WHEN")
		}
		if err != nil {
			return nil, err
		}
	}
}

func (p *parser) twoWords(second string) error {
	if err := p.advance(); err != nil {
		return err
	}
	return p.wantWord(second)
}

func (p *parser) orders() (list []Order, err error) {
	for {
		var o Order
		if o.Expr, err = p.value(); err != nil {
			return nil, err
		}
		if o.Desc, err = p.word("DESC"); err != nil {
			return nil, err
		}
		if !o.Desc {
			if _, err := p.word("ASC"); err != nil {
				return nil, err
			}
		}
		list = append(list, o)
		if ok, err := p.sign(","); err != nil || !ok {
			return list, err
		}
	}
}

// duration reads word(unit, n).
func (p *parser) duration(word string) (*Duration, error) {
	d := &Duration{at: at(p.tok.pos)}
	if err := p.wantWord(word); err != nil {
		return nil, err
	}
	if err := p.wantSign("(", "after "+word); err != nil {
		return nil, err
	}
	unit := p.tok
	if unit.kind != tokenWord {
		return nil, p.expected("a unit of time such as second")
	}
	var ok bool
	if d.Unit, ok = unitOf(unit.text); !ok {
		return nil, p.expected("a unit of time such as second", unitNames[:]...)
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if err := p.wantSign(",", "after the unit"); err != nil {
		return nil, err
	}
	negative, err := p.sign("-")
	if err != nil {
		return nil, err
	}
	if d.Count, err = p.integer("a whole number"); err != nil {
		return nil, err
	}
	if negative {
		d.Count = -d.Count
	}
	return d, p.wantSign(")", "after the number")
}

func (p *parser) caseOf() (Expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	c := &Case{at: at(p.tok.pos)}
	if err := p.advance(); err != nil {
		return nil, err
	}
	var err error
	if !p.tok.is("WHEN") {
		if c.Operand, err = p.value(); err != nil {
			return nil, err
		}
	}
	for p.tok.is("WHEN") {
		if err := p.advance(); err != nil {
			return nil, err
		}
		var w When
		if w.Cond, err = p.expr(); err != nil {
			return nil, err
		}
		if err := p.wantWord("THEN"); err != nil {
			return nil, err
		}
		if w.Then, err = p.expr(); err != nil {
			return nil, err
		}
		c.Whens = append(c.Whens, w)
	}
	if len(c.Whens) == 0 {
		return nil, p.expected("WHEN", "WHEN")
	}
	if !p.tok.is("ELSE") {
		if p.tok.is("END") {
			return nil, p.fail("write ELSE NULL before END", "CASE needs an ELSE in this language")
		}
		return nil, p.expected("WHEN, ELSE or END", "WHEN", "ELSE", "END")
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if c.Else, err = p.expr(); err != nil {
		return nil, err
	}
	return c, p.wantWord("END")
}

func (p *parser) cast() (Expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	c := &Cast{at: at(p.tok.pos), Try: p.tok.is("TRY_CAST")}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if err := p.wantSign("(", "after CAST"); err != nil {
		return nil, err
	}
	var err error
	if c.X, err = p.expr(); err != nil {
		return nil, err
	}
	if err := p.wantWord("AS"); err != nil {
		return nil, err
	}
	if c.To, err = p.typeName(); err != nil {
		return nil, err
	}
	return c, p.wantSign(")", "after the type")
}

// units are the names of units of time, in the singular.
var units = map[string]Unit{
	"year": Year, "yy": Year, "yyyy": Year, "quarter": Quarter, "qq": Quarter, "q": Quarter, "month": Month, "mm": Month, "m": Month,
	"dayofyear": DayOfYear, "dy": DayOfYear, "y": DayOfYear, "day": Day, "dd": Day, "d": Day, "week": Week, "wk": Week, "ww": Week,
	"weekday": Weekday, "dw": Weekday, "w": Weekday, "hour": Hour, "hh": Hour, "minute": Minute, "mi": Minute, "n": Minute,
	"second": Second, "ss": Second, "s": Second, "millisecond": Millisecond, "ms": Millisecond, "microsecond": Microsecond, "mcs": Microsecond,
}

// unitOf knows a unit by its name, in any case and also in the plural.
func unitOf(s string) (Unit, bool) {
	s = strings.ToLower(s)
	if u, ok := units[s]; ok {
		return u, true
	}
	u, ok := units[strings.TrimSuffix(s, "s")]
	return u, ok && len(s) > 4
}
