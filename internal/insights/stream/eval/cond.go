package eval

import (
	"fmt"

	"dunlin/internal/insights/stream/batch"
	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/value"
	"dunlin/internal/lang/asa"
)

// Cond compiles a condition.
func (c Compiler) Cond(e asa.Expr) (Cond, error) {
	switch e := e.(type) {
	case *asa.Binary:
		switch {
		case e.Op == asa.And:
			return c.and(e)
		case e.Op == asa.Or:
			return c.or(e)
		case e.Op.Comparison():
			return c.compare(e.Op, e.X, e.Y)
		}
	case *asa.Unary:
		if e.Op == asa.Not {
			x, err := c.Cond(e.X)
			return not(x), err
		}
	case *asa.Between:
		return c.between(e)
	case *asa.In:
		return c.in(e)
	case *asa.Like:
		return c.like(e)
	case *asa.IsNull:
		x, err := c.Value(e.X)
		if err != nil {
			return nil, err
		}
		return func(f *Frame, keep []int32) ([]int32, error) {
			col, err := x(f)
			if err != nil {
				return nil, err
			}
			for i := range f.n {
				if col.IsNull(i) != e.Not {
					keep = append(keep, int32(i))
				}
			}
			return keep, nil
		}, nil
	}
	return nil, fmt.Errorf("eval: %T is no condition", e)
}

func (c Compiler) two(x, y asa.Expr) (a, b Cond, err error) {
	if a, err = c.Cond(x); err == nil {
		b, err = c.Cond(y)
	}
	return a, b, err
}

// and asks the second condition only where the first holds.
func (c Compiler) and(e *asa.Binary) (Cond, error) {
	x, y, err := c.two(e.X, e.Y)
	var first, second []int32
	return func(f *Frame, keep []int32) ([]int32, error) {
		var err error
		if first, err = x(f, first[:0]); err != nil || len(first) == 0 {
			return keep, err
		}
		if len(first) == f.n {
			return y(f, keep)
		}
		p := f.part(first)
		defer f.release()
		if second, err = y(p, second[:0]); err != nil {
			return nil, err
		}
		for _, i := range second {
			keep = append(keep, first[i])
		}
		return keep, nil
	}, err
}

// or asks the second condition only where the first does not hold.
func (c Compiler) or(e *asa.Binary) (Cond, error) {
	x, y, err := c.two(e.X, e.Y)
	var first, second, rest []int32
	return func(f *Frame, keep []int32) ([]int32, error) {
		var err error
		if first, err = x(f, first[:0]); err != nil {
			return nil, err
		}
		if len(first) == f.n {
			return append(keep, first...), nil
		}
		rest = complement(first, f.n, rest[:0])
		p := f.part(rest)
		defer f.release()
		if second, err = y(p, second[:0]); err != nil {
			return nil, err
		}
		// Both lists are in order, and no row is in both.
		a, b := first, second
		for len(a) > 0 || len(b) > 0 {
			if len(b) == 0 || len(a) > 0 && a[0] < rest[b[0]] {
				keep, a = append(keep, a[0]), a[1:]
			} else {
				keep, b = append(keep, rest[b[0]]), b[1:]
			}
		}
		return keep, nil
	}, err
}

func not(x Cond) Cond {
	var hit []int32
	return func(f *Frame, keep []int32) ([]int32, error) {
		var err error
		if hit, err = x(f, hit[:0]); err != nil {
			return nil, err
		}
		return complement(hit, f.n, keep), nil
	}
}

// complement appends the rows up to n that are not in hit.
func complement(hit []int32, n int, out []int32) []int32 {
	for i := range int32(n) {
		if len(hit) > 0 && hit[0] == i {
			hit = hit[1:]
			continue
		}
		out = append(out, i)
	}
	return out
}

// holds says for which orders a comparison is true.
type holds struct{ less, equal, greater bool }

func holdsFor(op asa.Op) holds {
	switch op {
	case asa.Equal:
		return holds{equal: true}
	case asa.NotEqual:
		return holds{less: true, greater: true}
	case asa.Less:
		return holds{less: true}
	case asa.LessEqual:
		return holds{less: true, equal: true}
	case asa.Greater:
		return holds{greater: true}
	default: // GreaterEqual: it is the last one that compares
		return holds{equal: true, greater: true}
	}
}

func (h holds) of(order int) bool {
	return order < 0 && h.less || order == 0 && h.equal || order > 0 && h.greater
}

// compare compares two expressions. Null compares with nothing.
func (c Compiler) compare(op asa.Op, a, b asa.Expr) (Cond, error) {
	x, err := c.Value(a)
	if err != nil {
		return nil, err
	}
	h := holdsFor(op)
	if v, ok := constantOf(b); ok {
		return compareConst(x, v, h), nil
	}
	y, err := c.Value(b)
	if err != nil {
		return nil, err
	}
	if v, ok := constantOf(a); ok {
		h.less, h.greater = h.greater, h.less
		return compareConst(y, v, h), nil
	}
	return func(f *Frame, keep []int32) ([]int32, error) {
		p, err := x(f)
		if err != nil {
			return nil, err
		}
		q, err := y(f)
		if err != nil {
			return nil, err
		}
		if p.Kind == value.Float && q.Kind == value.Float && !p.Mixed && !q.Mixed && !p.HasNulls() && !q.HasNulls() {
			return compareFloats(p.Floats, q.Floats, h, keep), nil
		}
		for i := range f.n {
			order, ok, err := scalar.Compare(p.At(i), q.At(i))
			if err != nil {
				return nil, err
			}
			if ok && h.of(order) {
				keep = append(keep, int32(i))
			}
		}
		return keep, nil
	}, nil
}

func compareFloats(p, q []float64, h holds, keep []int32) []int32 {
	for i, x := range p {
		y := q[i]
		if x < y && h.less || x == y && h.equal || x > y && h.greater {
			keep = append(keep, int32(i))
		}
	}
	return keep
}

// compareConst compares a column with one value.
func compareConst(x Value, v value.Value, h holds) Cond {
	slow := func(col *batch.Column, n int, keep []int32) ([]int32, error) {
		for i := range n {
			order, ok, err := scalar.Compare(col.At(i), v)
			if err != nil {
				return nil, err
			}
			if ok && h.of(order) {
				keep = append(keep, int32(i))
			}
		}
		return keep, nil
	}
	return func(f *Frame, keep []int32) ([]int32, error) {
		col, err := x(f)
		if err != nil {
			return nil, err
		}
		if v.IsNull() {
			return keep, nil
		}
		if col.Mixed || col.HasNulls() {
			return slow(col, f.n, keep)
		}
		switch {
		case col.Kind == value.Float && v.Kind().Numeric() && (v.Kind() == value.Float || v.Int() > -1<<53 && v.Int() < 1<<53):
			y := v.AsFloat()
			for i, x := range col.Floats {
				if x < y && h.less || x == y && h.equal || x > y && h.greater {
					keep = append(keep, int32(i))
				}
			}
		case col.Kind == value.Bigint && v.Kind() == value.Bigint, col.Kind == value.Datetime && v.Kind() == value.Datetime:
			y := v.Int()
			for i, x := range col.Ints {
				if x < y && h.less || x == y && h.equal || x > y && h.greater {
					keep = append(keep, int32(i))
				}
			}
		case col.Kind == value.Text && v.Kind() == value.Text:
			y := v.Text()
			if !h.less && !h.greater {
				for i, x := range col.Texts {
					if x == y {
						keep = append(keep, int32(i))
					}
				}
				break
			}
			return slow(col, f.n, keep)
		default:
			return slow(col, f.n, keep)
		}
		return keep, nil
	}
}

func (c Compiler) between(e *asa.Between) (Cond, error) {
	lo, err := c.compare(asa.GreaterEqual, e.X, e.Lo)
	if err != nil {
		return nil, err
	}
	hi, err := c.compare(asa.LessEqual, e.X, e.Hi)
	if err != nil {
		return nil, err
	}
	var first, second []int32
	both := func(f *Frame, keep []int32) ([]int32, error) {
		var err error
		if first, err = lo(f, first[:0]); err != nil {
			return nil, err
		}
		if second, err = hi(f, second[:0]); err != nil {
			return nil, err
		}
		a, b := first, second
		for len(a) > 0 && len(b) > 0 {
			switch {
			case a[0] == b[0]:
				keep, a, b = append(keep, a[0]), a[1:], b[1:]
			case a[0] < b[0]:
				a = a[1:]
			default:
				b = b[1:]
			}
		}
		return keep, nil
	}
	if e.Not {
		return not(both), nil
	}
	return both, nil
}

func (c Compiler) in(e *asa.In) (Cond, error) {
	x, err := c.Value(e.X)
	if err != nil {
		return nil, err
	}
	list, err := c.Values(e.List)
	if err != nil {
		return nil, err
	}
	// Texts that stand in the query are looked up.
	texts := map[string]bool{}
	for _, l := range e.List {
		if v, ok := constantOf(l); ok && v.Kind() == value.Text {
			texts[v.Text()] = true
		}
	}
	onlyTexts := len(texts) > 0 && len(texts) <= len(e.List) && allTexts(e.List)
	cols := make([]*batch.Column, len(list))
	each := func(f *Frame, keep []int32) ([]int32, error) {
		col, err := x(f)
		if err != nil {
			return nil, err
		}
		if onlyTexts && !col.Mixed && col.Kind == value.Text && !col.HasNulls() {
			for i, s := range col.Texts {
				if texts[s] {
					keep = append(keep, int32(i))
				}
			}
			return keep, nil
		}
		for i, l := range list {
			if cols[i], err = l(f); err != nil {
				return nil, err
			}
		}
		for i := range f.n {
			v := col.At(i)
			for _, l := range cols {
				order, ok, err := scalar.Compare(v, l.At(i))
				if err != nil {
					return nil, err
				}
				if ok && order == 0 {
					keep = append(keep, int32(i))
					break
				}
			}
		}
		return keep, nil
	}
	if e.Not {
		return not(each), nil
	}
	return each, nil
}

func allTexts(list []asa.Expr) bool {
	for _, e := range list {
		if v, ok := constantOf(e); !ok || v.Kind() != value.Text {
			return false
		}
	}
	return true
}

func (c Compiler) like(e *asa.Like) (Cond, error) {
	x, err := c.Value(e.X)
	if err != nil {
		return nil, err
	}
	pattern, err := c.Value(e.Pattern)
	if err != nil {
		return nil, err
	}
	var (
		text string // of made
		made *scalar.Pattern
	)
	each := func(f *Frame, keep []int32) ([]int32, error) {
		col, err := x(f)
		if err != nil {
			return nil, err
		}
		by, err := pattern(f)
		if err != nil {
			return nil, err
		}
		for i := range f.n {
			if col.IsNull(i) || by.IsNull(i) {
				continue
			}
			if p := scalar.ToText(by.At(i)); made == nil || p != text {
				text, made = p, scalar.NewPattern(p)
			}
			if made.Match(scalar.ToText(col.At(i))) {
				keep = append(keep, int32(i))
			}
		}
		return keep, nil
	}
	if e.Not {
		return not(each), nil
	}
	return each, nil
}
