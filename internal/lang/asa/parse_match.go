package asa

// match reads MATCH_RECOGNIZE ( ... ) AS name.
func (p *parser) match(left From) (From, error) {
	m := &Match{at: at(p.tok.pos), Left: left}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if err := p.wantSign("(", "after MATCH_RECOGNIZE"); err != nil {
		return nil, err
	}
	if err := p.wantWord("LIMIT"); err != nil {
		return nil, err
	}
	d, err := p.duration("DURATION")
	if err != nil {
		return nil, err
	}
	m.Limit = *d
	if p.tok.is("PARTITION") {
		if err := p.twoWords("BY"); err != nil {
			return nil, err
		}
		if m.PartitionBy, err = p.list(p.value); err != nil {
			return nil, err
		}
	}
	if err := p.wantWord("MEASURES"); err != nil {
		return nil, err
	}
	if err := p.measures(m); err != nil {
		return nil, err
	}
	for i, w := range [...]string{"AFTER", "MATCH", "SKIP", "TO", "NEXT", "ROW"} {
		if i == 0 && !p.tok.is(w) {
			break // it is the only choice there is
		}
		if err := p.wantWord(w); err != nil {
			return nil, err
		}
	}
	if err := p.wantWord("PATTERN"); err != nil {
		return nil, err
	}
	if err := p.wantSign("(", "before the pattern"); err != nil {
		return nil, err
	}
	if m.Pattern, err = p.pattern(); err != nil {
		return nil, err
	}
	if err := p.wantSign(")", "after the pattern"); err != nil {
		return nil, err
	}
	if err := p.wantWord("DEFINE"); err != nil {
		return nil, err
	}
	for {
		var d Definition
		if d.Name, err = p.name("a variable of the pattern"); err != nil {
			return nil, err
		}
		if err := p.wantWord("AS"); err != nil {
			return nil, err
		}
		if d.When, err = p.expr(); err != nil {
			return nil, err
		}
		m.Define = append(m.Define, d)
		if ok, err := p.sign(","); err != nil {
			return nil, err
		} else if !ok {
			break
		}
	}
	if err := p.wantSign(")", "after the definitions"); err != nil {
		return nil, err
	}
	if err := p.wantWord("AS"); err != nil {
		return nil, err
	}
	m.Result, err = p.alias()
	return m, err
}

func (p *parser) measures(m *Match) error {
	for {
		var x Measure
		var err error
		if x.Expr, err = p.value(); err != nil {
			return err
		}
		if err := p.wantWord("AS"); err != nil {
			return err
		}
		if x.Alias, err = p.alias(); err != nil {
			return err
		}
		m.Measures = append(m.Measures, x)
		if ok, err := p.sign(","); err != nil || !ok {
			return err
		}
	}
}

// pattern reads alternatives.
func (p *parser) pattern() (*Pattern, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	first, err := p.sequence()
	if err != nil || !p.tok.sign("|") {
		return first, err
	}
	c := &Pattern{at: first.at, Kind: PatternChoice, Subs: []*Pattern{first}, Min: 1, Max: 1}
	for {
		ok, err := p.sign("|")
		if err != nil || !ok {
			return c, err
		}
		next, err := p.sequence()
		if err != nil {
			return nil, err
		}
		c.Subs = append(c.Subs, next)
	}
}

func (p *parser) sequence() (*Pattern, error) {
	s := &Pattern{at: at(p.tok.pos), Kind: PatternSequence, Min: 1, Max: 1}
	for !p.tok.sign(")") && !p.tok.sign("|") {
		x, err := p.patternItem()
		if err != nil {
			return nil, err
		}
		s.Subs = append(s.Subs, x)
		if len(s.Subs) > maxChain {
			return nil, p.fail("", "more than %d variables stand in a row", maxChain)
		}
	}
	switch len(s.Subs) {
	case 0:
		return nil, p.expected("a variable of the pattern")
	case 1:
		return s.Subs[0], nil
	}
	return s, nil
}

func (p *parser) patternItem() (*Pattern, error) {
	x := &Pattern{at: at(p.tok.pos), Min: 1, Max: 1}
	switch {
	case p.tok.sign("."):
		x.Kind = PatternAny
		if err := p.advance(); err != nil {
			return nil, err
		}
	case p.tok.sign("("):
		if err := p.advance(); err != nil {
			return nil, err
		}
		inner, err := p.pattern()
		if err != nil {
			return nil, err
		}
		if err := p.wantSign(")", "to close the bracket"); err != nil {
			return nil, err
		}
		x = inner
	default:
		var err error
		if x.Name, err = p.name("a variable of the pattern"); err != nil {
			return nil, err
		}
	}
	least, most := 1, 1
	switch {
	case p.tok.sign("*"):
		least, most = 0, -1
	case p.tok.sign("+"):
		most = -1
	case p.tok.sign("?"):
		least = 0
	default:
		return x, nil
	}
	if x.Min != 1 || x.Max != 1 {
		x = &Pattern{at: x.at, Kind: PatternSequence, Subs: []*Pattern{x}}
	}
	x.Min, x.Max = least, most
	if err := p.advance(); err != nil {
		return nil, err
	}
	if p.tok.sign("*") || p.tok.sign("+") || p.tok.sign("?") {
		return nil, p.fail("put brackets around the first", "two quantifiers stand side by side")
	}
	return x, nil
}
