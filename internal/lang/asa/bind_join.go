package asa

import (
	"math"
)

// join binds JOIN: it takes the condition apart into what bounds the distance
// in time, the keys by which partners are found, and the rest.
func (q *selectBinder) join(j *Join) {
	in := q.source(j.Right)
	in.at, in.Outer = j.at, j.Outer
	n := len(q.q.Sources) - 1
	in.Kind = JoinInput
	if in.Relation.Kind == ReferenceInput {
		in.Kind = ReferenceJoin
	}
	var rest Expr
	for _, c := range conjuncts(j.On, nil) {
		if in.Kind == JoinInput {
			if t, ok := q.timeBound(c, n); ok {
				in.Bounds = append(in.Bounds, t)
				continue
			}
		}
		e := q.predicate(c, scope{on: true})
		if l, r, ok := equality(e, n); ok {
			in.Left, in.Right = append(in.Left, l), append(in.Right, r)
			continue
		}
		if rest == nil {
			rest = e
		} else {
			rest = &Binary{at: at(c.Pos()), Op: And, X: rest, Y: e}
		}
	}
	in.On = rest
	if in.Kind == JoinInput {
		q.bounded(in, n, j)
		return
	}
	if rest == nil && in.Left == nil {
		q.fail(j.On.Pos(), "", "the condition does not use '%s'", in.Name)
	}
}

// conjuncts lists what AND joins.
func conjuncts(e Expr, list []Expr) []Expr {
	if b, ok := e.(*Binary); ok && b.Op == And {
		return conjuncts(b.Y, conjuncts(b.X, list))
	}
	return append(list, e)
}

// timeBound reads a condition DATEDIFF(unit, a, b) compared with whole numbers.
func (q *selectBinder) timeBound(e Expr, joined int) (t TimeBound, ok bool) {
	lo, hi := int64(math.MinInt64), int64(math.MaxInt64)
	var diff Expr
	switch e := e.(type) {
	case *Between:
		l, ok1 := whole(e.Lo)
		h, ok2 := whole(e.Hi)
		if e.Not || !ok1 || !ok2 {
			return t, false
		}
		diff, lo, hi = e.X, l, h
	case *Binary:
		op := e.Op
		n, ok := whole(e.Y)
		diff = e.X
		if !ok {
			if n, ok = whole(e.X); !ok {
				return t, false
			}
			diff = e.Y
			switch op {
			case Less:
				op = Greater
			case LessEqual:
				op = GreaterEqual
			case Greater:
				op = Less
			case GreaterEqual:
				op = LessEqual
			default: // the others are the same both ways
			}
		}
		switch op {
		case Equal:
			lo, hi = n, n
		case Less:
			hi = n - 1
		case LessEqual:
			hi = n
		case Greater:
			lo = n + 1
		case GreaterEqual:
			lo = n
		default:
			return t, false
		}
	default:
		return t, false
	}
	c, isCall := diff.(*Call)
	if !isCall || c.Space != "" || FunctionOf(c.Name) == nil || FunctionOf(c.Name).Name != "DATEDIFF" || len(c.Args) != 3 {
		return t, false
	}
	from, ok1 := q.rows(c.Args[1])
	to, ok2 := q.rows(c.Args[2])
	if !ok1 || !ok2 || from == to || from != joined && to != joined {
		return t, false
	}
	unit, _ := unitOf(q.unit(c.Args[0]).(*Literal).Text)
	if unit.Ticks() == 0 {
		q.fail(c.Args[0].Pos(), "day, hour, minute, second, millisecond and microsecond are", "'%s' is no unit for the bound of a join", unit)
	}
	// A difference of n boundaries is one of less than n+1 units.
	for _, n := range [...]int64{lo, hi} {
		if n != math.MinInt64 && n != math.MaxInt64 && (n > maxSpan/unit.Ticks() || n < -maxSpan/unit.Ticks()) {
			q.fail(e.Pos(), "", "the bound of the join is longer than 7 days")
		}
	}
	if lo > hi {
		q.fail(e.Pos(), "", "nothing can be between %d and %d", lo, hi)
	}
	return TimeBound{Unit: unit, From: from, To: to, Lo: lo, Hi: hi}, true
}

func whole(e Expr) (int64, bool) {
	l, ok := e.(*Literal)
	if !ok || l.Kind != IntLiteral {
		return 0, false
	}
	return l.Int, true
}

// bounded refuses a join that would have to keep events for ever.
func (q *selectBinder) bounded(in *Input, joined int, j *Join) {
	ahead, behind := false, false // of the joined source against earlier ones
	for _, t := range in.Bounds {
		lo, hi := t.Lo != math.MinInt64, t.Hi != math.MaxInt64
		if t.From == joined {
			lo, hi = hi, lo
		}
		behind, ahead = behind || lo, ahead || hi
	}
	if ahead && behind {
		return
	}
	other := q.q.Sources[0].Name
	hint := "such as DATEDIFF(second, " + other + ", " + in.Name + ") BETWEEN 0 AND 10"
	if len(in.Bounds) == 0 {
		q.fail(j.On.Pos(), hint, "a join of streams needs a bound in time: without it every event would have to be kept")
	}
	q.fail(j.On.Pos(), hint, "the join is bounded in time in one direction only")
}

// equality reads left = right where right uses the joined source only and left
// earlier ones only.
func equality(e Expr, joined int) (left, right Expr, ok bool) {
	b, isBinary := e.(*Binary)
	if !isBinary || b.Op != Equal {
		return nil, nil, false
	}
	x, y := uses(b.X, joined), uses(b.Y, joined)
	switch {
	case x == usesEarlier && y == usesJoined:
		return b.X, b.Y, true
	case x == usesJoined && y == usesEarlier:
		return b.Y, b.X, true
	}
	return nil, nil, false
}

const (
	usesEarlier = 1 << iota
	usesJoined
	usesTime
)

// uses says which sources an expression reads, as a set.
func uses(e Expr, joined int) (set int) {
	Walk(e, func(e Expr) {
		switch e := e.(type) {
		case *Field:
			if e.Source == joined {
				set |= usesJoined
			} else {
				set |= usesEarlier
			}
		case *Ref:
			set |= usesTime
		}
	})
	return set
}
