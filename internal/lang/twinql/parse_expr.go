package twinql

import "dunlin/internal/lang/diag"

// condition reads an expression that selects.
func (p *parser) condition() (Expr, error) {
	e, err := p.or()
	if err != nil {
		return nil, err
	}
	return e, p.mustSelect(e)
}

// mustSelect refuses what can never be true, most often a slip.
func (p *parser) mustSelect(e Expr) error {
	if t := typesOf(e); t&oneOf(Bool, Undefined) == 0 {
		return diag.At(p.lex.text, e.Pos(), "compare it with something", "a condition is expected, not a value")
	}
	return nil
}

func (p *parser) deeper() error {
	if p.depth++; p.depth > maxDepth {
		return p.fail("", "the expression is nested deeper than %d", maxDepth)
	}
	return nil
}

func (p *parser) or() (Expr, error) {
	return p.chain("OR", Or, func() (Expr, error) { return p.chain("AND", And, p.not) })
}

// chain reads terms that are joined by one of the words AND and OR.
func (p *parser) chain(word string, op Op, term func() (Expr, error)) (Expr, error) {
	first, err := term()
	if err != nil || !p.isKeyword(word) {
		return first, err
	}
	l := &Logic{at: at(first.Pos()), Op: op}
	for e := first; ; {
		if err := p.mustSelect(e); err != nil {
			return nil, err
		}
		if inner, ok := e.(*Logic); ok && inner.Op == op {
			l.Terms = append(l.Terms, inner.Terms...) // brackets that change nothing
		} else {
			l.Terms = append(l.Terms, e)
		}
		if !p.isKeyword(word) {
			return l, nil
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
		if e, err = term(); err != nil {
			return nil, err
		}
	}
}

func (p *parser) not() (Expr, error) {
	if !p.isKeyword("NOT") {
		return p.comparison()
	}
	pos := p.tok.pos
	if err := p.deeper(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	if err := p.advance(); err != nil {
		return nil, err
	}
	e, err := p.not()
	if err != nil {
		return nil, err
	}
	return &Not{at(pos), e}, p.mustSelect(e)
}

func (p *parser) comparison() (Expr, error) {
	left, err := p.sum()
	if err != nil {
		return nil, err
	}
	if p.tok.kind == tokenSign {
		for op := Equal; op <= GreaterEqual; op++ {
			if p.tok.text != op.String() {
				continue
			}
			if err := p.advance(); err != nil {
				return nil, err
			}
			right, err := p.sum()
			if err != nil {
				return nil, err
			}
			b := &Binary{at(left.Pos()), op, left, right}
			if p.tok.kind == tokenSign && p.tok.text != ")" && p.tok.text != "," {
				return nil, p.fail("join comparisons with AND", "%s does not belong here", p.found())
			}
			return b, nil
		}
	}
	switch {
	case p.isKeyword("IN"), p.isKeyword("NIN"):
		negated := p.isKeyword("NIN")
		if err := p.advance(); err != nil {
			return nil, err
		}
		return p.in(left, negated)
	case p.isKeyword("NOT"):
		if err := p.advance(); err != nil {
			return nil, err
		}
		if !p.isKeyword("IN") {
			return nil, p.expected("IN", "IN")
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
		return p.in(left, true)
	}
	return left, nil
}

func (p *parser) in(operand Expr, negated bool) (Expr, error) {
	if !p.isSign("[") {
		return nil, p.fail("a list is written ['a', 'b']", "'[' is expected after IN, not %s", p.found())
	}
	e := &In{at: at(operand.Pos()), Operand: operand, Negated: negated}
	for {
		if err := p.advance(); err != nil {
			return nil, err
		}
		minus := p.isSign("-")
		if minus {
			if err := p.advance(); err != nil {
				return nil, err
			}
		}
		v, ok := p.constant()
		if !ok || (minus && v.Kind != Number) {
			return nil, p.fail("texts are written 'text'", "a constant is expected in the list, not %s", p.found())
		}
		if minus {
			v.Number = -v.Number
		}
		e.List = append(e.List, v)
		if err := p.advance(); err != nil {
			return nil, err
		}
		if !p.isSign(",") {
			return e, p.sign("]")
		}
	}
}

// constant gives the value of the current token, if it is a constant.
func (p *parser) constant() (Value, bool) {
	switch p.tok.kind {
	case tokenNumber:
		return NumberValue(p.tok.number), true
	case tokenText:
		return TextValue(p.tok.text), true
	case tokenKeyword:
		switch p.tok.text {
		case "TRUE", "FALSE":
			return BoolValue(p.tok.text == "TRUE"), true
		case "NULL":
			return Value{Kind: Null}, true
		case "UNDEFINED":
			return Value{}, true
		}
	default:
	}
	return Value{}, false
}

func (p *parser) sum() (Expr, error) {
	return p.arithmetic(Add, Subtract, func() (Expr, error) { return p.arithmetic(Multiply, Modulo, p.operand) })
}

func (p *parser) arithmetic(from, to Op, operand func() (Expr, error)) (Expr, error) {
	left, err := operand()
	if err != nil {
		return nil, err
	}
next:
	for p.tok.kind == tokenSign {
		for op := from; op <= to; op++ {
			if p.tok.text != op.String() {
				continue
			}
			if err := p.advance(); err != nil {
				return nil, err
			}
			right, err := operand()
			if err != nil {
				return nil, err
			}
			for _, side := range [...]Expr{left, right} {
				if err := p.mustCount(op.String(), side); err != nil {
					return nil, err
				}
			}
			left = &Binary{at(left.Pos()), op, left, right}
			continue next
		}
		break
	}
	return left, nil
}

func (p *parser) mustCount(op string, e Expr) error {
	if t := typesOf(e); t&oneOf(Number, Undefined) == 0 {
		hint := ""
		if t == oneOf(Text) && op == "+" {
			hint = "join texts with CONCAT"
		}
		return diag.At(p.lex.text, e.Pos(), hint, "'%s' needs numbers, not a %s", op, t)
	}
	return nil
}

func (p *parser) operand() (Expr, error) {
	pos := p.tok.pos
	if v, ok := p.constant(); ok {
		return &Literal{at(pos), v}, p.advance()
	}
	switch {
	case p.isSign("-"):
		return p.negation(pos)
	case p.isSign("("):
		if err := p.deeper(); err != nil {
			return nil, err
		}
		defer func() { p.depth-- }()
		if err := p.advance(); err != nil {
			return nil, err
		}
		e, err := p.or()
		if err != nil {
			return nil, err
		}
		return e, p.sign(")")
	case p.tok.kind == tokenWord:
		word, name := p.tok, p.raw()
		if err := p.advance(); err != nil {
			return nil, err
		}
		if p.isSign("(") {
			return p.call(word, name)
		}
		return &Path{at(pos), word.steps}, nil
	}
	return nil, p.fail("", "a member, a constant or a function is expected, not %s", p.found())
}

func (p *parser) negation(pos int) (Expr, error) {
	if err := p.deeper(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	if err := p.advance(); err != nil {
		return nil, err
	}
	e, err := p.operand()
	if err != nil {
		return nil, err
	}
	if l, ok := e.(*Literal); ok && l.Value.Kind == Number {
		return &Literal{at(pos), NumberValue(-l.Value.Number)}, nil
	}
	return &Negate{at(pos), e}, p.mustCount("-", e)
}

func (p *parser) call(word token, name string) (Expr, error) {
	if err := p.deeper(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	f := findFunction(name)
	if f == nil {
		hint := diag.DidYouMean(name, functionNames())
		for _, n := range aggregateNames {
			if hint == "" && len(name) == len(n) && diag.Suggest(name, []string{n}) != "" {
				hint = "aggregates can only be selected"
			}
		}
		return nil, diag.At(p.lex.text, word.pos, hint, "there is no function '%s'", diag.Clip(name))
	}
	c := &Call{at: at(word.pos), Function: f}
	if err := p.advance(); err != nil {
		return nil, err
	}
	for !p.isSign(")") {
		if len(c.Args) > 0 {
			if err := p.sign(","); err != nil {
				return nil, err
			}
		}
		a, err := p.or()
		if err != nil {
			return nil, err
		}
		c.Args = append(c.Args, a)
	}
	if err := f.check(p.lex.text, c); err != nil {
		return nil, err
	}
	return c, p.advance()
}
