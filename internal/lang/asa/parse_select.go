package asa

import (
	"math"
	"strings"
)

// query reads SELECTs joined by UNION. An INTO is refused within WITH.
func (p *parser) query(into bool) (*Select, error) {
	first, err := p.selectOne(into)
	if err != nil {
		return nil, err
	}
	for last := first; ; last = last.Union {
		ok, err := p.word("UNION")
		if err != nil || !ok {
			return first, err
		}
		if all, err := p.word("ALL"); err != nil {
			return nil, err
		} else if all {
			p.note(p.tok.pos, "", "UNION keeps duplicates by itself, ALL has no effect")
		}
		if last.Union, err = p.selectOne(into); err != nil {
			return nil, err
		}
		if n := last.Union.Into; n != nil && first.Into != nil && !strings.EqualFold(n.Text, first.Into.Text) {
			return nil, p.failAt(n.Pos(), "write INTO once, in the first SELECT", "the parts of a UNION go into one output, not into '%s' and '%s'", first.Into.Text, n.Text)
		} else if n != nil && first.Into == nil {
			first.Into = n
		}
		last.Union.Into = nil
	}
}

func (p *parser) selectOne(into bool) (*Select, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	s := &Select{at: at(p.tok.pos)}
	if !p.tok.is("SELECT") {
		return nil, p.expected("SELECT", "SELECT", "WITH", "CREATE")
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if p.tok.is("DISTINCT") || p.tok.is("TOP") && p.peek().kind == tokenInt {
		return nil, p.fail("", "SELECT %s does not exist in this language", strings.ToUpper(p.tok.text))
	}
	for {
		item, err := p.item()
		if err != nil {
			return nil, err
		}
		s.Items = append(s.Items, item)
		if ok, err := p.sign(","); err != nil {
			return nil, err
		} else if !ok {
			break
		}
	}
	if err := p.into(s, into); err != nil {
		return nil, err
	}
	if !p.tok.is("FROM") {
		return nil, p.expected("FROM", "FROM", "INTO", "AS")
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	var err error
	if s.From, err = p.from(); err != nil {
		return nil, err
	}
	if err := p.into(s, into); err != nil {
		return nil, err
	}
	if ok, err := p.word("WHERE"); err != nil {
		return nil, err
	} else if ok {
		if s.Where, err = p.expr(); err != nil {
			return nil, err
		}
	}
	if ok, err := p.word("GROUP"); err != nil {
		return nil, err
	} else if ok {
		if err := p.wantWord("BY"); err != nil {
			return nil, err
		}
		if s.Groups, err = p.list(p.group); err != nil {
			return nil, err
		}
	}
	if ok, err := p.word("HAVING"); err != nil {
		return nil, err
	} else if ok {
		if s.Having, err = p.expr(); err != nil {
			return nil, err
		}
	}
	return s, p.into(s, into)
}

func (p *parser) into(s *Select, allowed bool) error {
	if !p.tok.is("INTO") {
		return nil
	}
	switch {
	case !allowed:
		return p.fail("write it in the SELECT that reads the step", "a step of WITH has no INTO")
	case s.Into != nil:
		return p.fail("", "this SELECT has an INTO already")
	}
	if err := p.advance(); err != nil {
		return err
	}
	n, err := p.name("the name of an output")
	s.Into = &n
	return err
}

// list reads what one reads, with commas between.
func (p *parser) list(one func() (Expr, error)) (list []Expr, err error) {
	for {
		e, err := one()
		if err != nil {
			return nil, err
		}
		list = append(list, e)
		if ok, err := p.sign(","); err != nil || !ok {
			return list, err
		}
	}
}

// item reads one item of a select list.
func (p *parser) item() (Item, error) {
	it := Item{at: at(p.tok.pos)}
	if ok, err := p.sign("*"); err != nil || ok {
		it.Star = true
		return it, err
	}
	// alias = expression
	if p.nameFollows() && p.peek().sign("=") {
		n, err := p.name("a name")
		if err != nil {
			return it, err
		}
		if err := p.advance(); err != nil {
			return it, err
		}
		it.Alias = &n
		it.Expr, err = p.expr()
		return it, err
	}
	var err error
	if it.Expr, err = p.expr(); err != nil {
		return it, err
	}
	if path, ok := it.Expr.(*Path); ok && p.tok.sign(".") && p.peek().sign("*") {
		it.Expr, it.Star = path, true
		if err := p.advance(); err != nil {
			return it, err
		}
		return it, p.advance()
	}
	if as, err := p.word("AS"); err != nil {
		return it, err
	} else if as || p.nameFollows() {
		n, err := p.alias()
		it.Alias = &n
		return it, err
	}
	return it, nil
}

// from reads the sources of a SELECT.
func (p *parser) from() (From, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	var left From
	var err error
	if p.tok.sign("(") {
		if t := p.peek(); t.is("SELECT") {
			return nil, p.fail("name it as a step of WITH", "a SELECT within FROM does not exist in this language")
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
		if left, err = p.from(); err != nil {
			return nil, err
		}
		if err := p.wantSign(")", "after the joined sources"); err != nil {
			return nil, err
		}
	} else if left, err = p.source(); err != nil {
		return nil, err
	}
	for {
		next, err := p.joined(left)
		if err != nil || next == nil {
			return left, err
		}
		left = next
	}
}

// joined reads a JOIN, APPLY or MATCH_RECOGNIZE behind left; nil when there is
// none.
func (p *parser) joined(left From) (From, error) {
	pos := at(p.tok.pos)
	switch {
	case p.tok.is("RIGHT"), p.tok.is("FULL"):
		if t := p.peek(); t.is("JOIN") || t.is("OUTER") {
			return nil, p.fail("exchange the sources and use LEFT JOIN", "%s JOIN does not exist in this language", strings.ToUpper(p.tok.text))
		}
		return nil, nil
	case p.tok.is("INNER"), p.tok.is("LEFT"), p.tok.is("JOIN"):
		return p.join(left)
	case p.tok.is("CROSS"), p.tok.is("OUTER"):
		outer := p.tok.is("OUTER")
		if t := p.peek(); t.is("JOIN") {
			return nil, p.fail("join with a bound in time: ON DATEDIFF(...) BETWEEN 0 AND 5", "%s JOIN does not exist in this language", strings.ToUpper(p.tok.text))
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
		if err := p.wantWord("APPLY"); err != nil {
			return nil, err
		}
		a := &Apply{at: pos, Left: left, Outer: outer}
		return a, p.apply(a)
	case p.tok.is("MATCH_RECOGNIZE"):
		return p.match(left)
	}
	return nil, nil
}

func (p *parser) join(left From) (From, error) {
	j := &Join{at: at(p.tok.pos), Left: left}
	if ok, err := p.word("LEFT"); err != nil {
		return nil, err
	} else if ok {
		j.Outer = true
		if _, err := p.word("OUTER"); err != nil {
			return nil, err
		}
	} else if _, err := p.word("INNER"); err != nil {
		return nil, err
	}
	if err := p.wantWord("JOIN"); err != nil {
		return nil, err
	}
	var err error
	if j.Right, err = p.source(); err != nil {
		return nil, err
	}
	if !p.tok.is("ON") {
		return nil, p.expected("ON", "ON", "AS", "TIMESTAMP", "PARTITION")
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	j.On, err = p.expr()
	return j, err
}

func (p *parser) apply(a *Apply) error {
	name := p.tok.text
	known := p.tok.kind == tokenWord
	switch {
	case known && strings.EqualFold(name, "GetArrayElements"), known && strings.EqualFold(name, "GetElements"):
	case known && (strings.EqualFold(name, "GetRecordProperties") || strings.EqualFold(name, "GetProperties")):
		a.Func = GetRecordProperties
	default:
		return p.expected("GetArrayElements or GetRecordProperties", applyNames[:]...)
	}
	if err := p.advance(); err != nil {
		return err
	}
	if err := p.wantSign("(", "before the array or record"); err != nil {
		return err
	}
	var err error
	if a.Arg, err = p.expr(); err != nil {
		return err
	}
	if err := p.wantSign(")", "after the array or record"); err != nil {
		return err
	}
	if _, err := p.word("AS"); err != nil {
		return err
	}
	a.Result, err = p.alias()
	return err
}

// source reads an input or step with what is said of its time and partitions.
func (p *parser) source() (*Source, error) {
	s := &Source{at: at(p.tok.pos)}
	var err error
	if s.Name, err = p.name("the name of an input or step"); err != nil {
		return nil, err
	}
	if as, err := p.word("AS"); err != nil {
		return nil, err
	} else if as || p.nameFollows() && !p.clauseFollows() {
		n, err := p.alias()
		if err != nil {
			return nil, err
		}
		s.Alias = &n
	}
	for {
		switch {
		case p.tok.is("TIMESTAMP"):
			if s.Timestamp != nil {
				return nil, p.fail("", "this source has a TIMESTAMP BY already")
			}
			if err := p.timestamp(s); err != nil {
				return nil, err
			}
		case p.tok.is("PARTITION"):
			if s.PartitionBy != nil {
				return nil, p.fail("", "this source has a PARTITION BY already")
			}
			if err := p.partition(s); err != nil {
				return nil, err
			}
		default:
			return s, nil
		}
	}
}

// clauseFollows tells TIMESTAMP BY and PARTITION BY from an alias of that name.
func (p *parser) clauseFollows() bool {
	if p.tok.is("RIGHT") || p.tok.is("FULL") {
		t := p.peek()
		return t.is("JOIN") || t.is("OUTER")
	}
	if !p.tok.is("TIMESTAMP") && !p.tok.is("PARTITION") {
		return false
	}
	t := p.peek()
	return t.is("BY")
}

func (p *parser) timestamp(s *Source) error {
	if err := p.advance(); err != nil {
		return err
	}
	if err := p.wantWord("BY"); err != nil {
		return err
	}
	var err error
	p.inTimestamp = true
	if s.Timestamp, err = p.value(); err != nil {
		return err
	}
	p.inTimestamp = false
	if ok, err := p.word("OVER"); err != nil || !ok {
		return err
	}
	s.Over, err = p.list(p.value)
	return err
}

func (p *parser) partition(s *Source) error {
	if err := p.advance(); err != nil {
		return err
	}
	if err := p.wantWord("BY"); err != nil {
		return err
	}
	var err error
	if s.PartitionBy, err = p.list(p.value); err != nil {
		return err
	}
	// INTO a name is the output of the SELECT.
	if t := p.peek(); p.tok.is("INTO") && t.kind == tokenInt {
		if err := p.advance(); err != nil {
			return err
		}
		n, err := p.integer("a number of partitions")
		if err != nil {
			return err
		}
		if n < 1 || n > math.MaxInt16 {
			return p.failAt(t.pos, "", "PARTITION BY ... INTO takes a number from 1 to %d", math.MaxInt16)
		}
		s.Into = int(n)
	}
	return nil
}
