package asa

import (
	"fmt"
	"strconv"
	"strings"
)

// typeOf is the type of a bound expression as far as the text tells: Any when
// it depends on the event.
func (q *selectBinder) typeOf(e Expr) Type {
	switch e := e.(type) {
	case *Literal:
		switch e.Kind {
		case IntLiteral:
			return Bigint
		case FloatLiteral:
			return Float
		case TextLiteral:
			return NVarchar
		case NullLiteral:
		}
	case *Field:
		return q.columnType(e)
	case *Ref:
		switch e.Kind {
		case TimeRef:
			return Datetime
		case WindowRef:
			return Record
		case KeyRef:
			return q.typeOf(q.q.Keys[e.Index])
		case AggregateRef:
			a := q.q.Aggregates[e.Index]
			if a.Func != nil {
				return q.aggregateType(a)
			}
		case AnalyticRef:
			return q.q.Analytic[e.Index].Func.Result
		}
	case *Call:
		if e.Space == "" {
			return q.callType(e)
		}
	case *Unary:
		if e.Op == BitNot {
			if q.typeOf(e.X) == Bit {
				return Bit
			}
			return Any
		}
		return numeric(q.typeOf(e.X))
	case *Binary:
		return q.binaryType(e)
	case *Case:
		t := q.typeOf(e.Else)
		for _, w := range e.Whens {
			t = mixed(t, q.typeOf(w.Then))
		}
		return t
	case *Cast:
		return e.To
	case *Variable:
		if e.Func == "CLASSIFIER" {
			return Array
		}
	}
	return Any
}

func (q *selectBinder) columnType(f *Field) Type {
	if len(f.Path) == 0 {
		return Record
	}
	in := q.q.Sources[f.Source]
	if len(f.Path) > 1 {
		return Any
	}
	if in.Relation == nil {
		switch {
		case in.Kind == ApplyInput && strings.EqualFold(f.Path[0], "ArrayIndex"):
			return Bigint
		case in.Kind == ApplyInput && strings.EqualFold(f.Path[0], "PropertyName"):
			return NVarchar
		}
		return Any
	}
	for _, c := range in.Relation.Declare {
		if strings.EqualFold(c.Name.Text, f.Path[0]) {
			return c.Type
		}
	}
	return Any
}

func (q *selectBinder) callType(c *Call) Type {
	f := FunctionOf(c.Name)
	switch f.Name {
	case "ABS", "CEILING", "FLOOR", "POWER", "ROUND", "SIGN":
		return numeric(q.typeOf(c.Args[0]))
	case "COALESCE":
		t := q.typeOf(c.Args[0])
		for _, a := range c.Args[1:] {
			t = mixed(t, q.typeOf(a))
		}
		return t
	case "NULLIF":
		return q.typeOf(c.Args[0])
	}
	return f.Result
}

func (q *selectBinder) aggregateType(a *Aggregate) Type {
	switch a.Func.Name {
	case "SUM":
		return numeric(q.typeOf(a.Args[0]))
	case "MIN", "MAX":
		if t := q.typeOf(a.Args[0]); t != NVarchar {
			return t
		}
	case "TopOne":
		if a.Rows {
			return Record
		}
	}
	return a.Func.Result
}

func (q *selectBinder) binaryType(e *Binary) Type {
	x, y := q.typeOf(e.X), q.typeOf(e.Y)
	switch {
	case e.Op == Add && (x == NVarchar || y == NVarchar) && x != Any && y != Any:
		if x == NVarchar && y == NVarchar {
			return NVarchar
		}
		return mixed(x, y)
	case x == Any || y == Any:
		return Any
	case e.Op >= BitAnd && e.Op <= BitXor:
		if x == Bit && y == Bit {
			return Bit
		}
		return Bigint
	}
	if x == Float || y == Float || x == NVarchar || y == NVarchar {
		return Float
	}
	return Bigint
}

// numeric is the type that arithmetic makes of one operand.
func numeric(t Type) Type {
	switch t {
	case NVarchar:
		return Float
	case Bit:
		return Bigint
	case Any, Bigint, Float, Datetime, Record, Array:
	}
	return t
}

// mixed is the type of what is one or the other.
func mixed(a, b Type) Type {
	if a == b {
		return a
	}
	return Any // the value keeps its own type
}

// castable says whether CAST can ever succeed.
func castable(from, to Type) bool {
	if from == Any || to == Any || from == to || to == NVarchar {
		return true
	}
	switch from {
	case NVarchar:
		return to != Record && to != Array
	case Bigint, Float:
		return to == Bigint || to == Float || to == Bit
	case Bit:
		return to == Bigint || to == Float
	case Any, Datetime, Record, Array:
	}
	return false
}

// needs refuses an operand that can never be of a type.
func (q *selectBinder) needs(e Expr, want Type, where string) {
	have := q.typeOf(e)
	ok := have == Any || castable(have, want) || want == Float && have == Bit
	if l, isLiteral := e.(*Literal); ok && isLiteral && l.Kind == TextLiteral {
		ok = literalFits(l.Text, want)
	}
	if want == NVarchar && (have == Record || have == Array) {
		ok = false
	}
	if !ok {
		what := "a " + want.String()
		if want == Float {
			what = "a number"
		}
		q.fail(e.Pos(), "", "%s needs %s, not %s", where, what, q.describe(e, have))
	}
}

func (q *selectBinder) describe(e Expr, t Type) string {
	if l, ok := e.(*Literal); ok && l.Kind == TextLiteral {
		return "the text " + Print(l)
	}
	return "a " + t.String()
}

// literalFits reports whether a text that stands in the query can be converted.
func literalFits(s string, to Type) bool {
	s = strings.TrimSpace(s)
	switch to {
	case Bigint:
		_, err := strconv.ParseInt(s, 10, 64)
		return err == nil
	case Float:
		_, err := strconv.ParseFloat(s, 64)
		return err == nil
	case Bit:
		return s == "0" || s == "1" || strings.EqualFold(s, "true") || strings.EqualFold(s, "false")
	case Datetime:
		return looksLikeTime(s)
	case Any, NVarchar:
	case Record, Array:
		return false
	}
	return true
}

// looksLikeTime asks for the form of an ISO 8601 date; what it means is for
// whoever converts it.
func looksLikeTime(s string) bool {
	date, _, _ := strings.Cut(strings.Replace(s, "T", " ", 1), " ")
	var y, m, d int
	n, err := fmt.Sscanf(strings.TrimSuffix(date, "Z"), "%4d-%2d-%2d", &y, &m, &d)
	return err == nil && n == 3 && m >= 1 && m <= 12 && d >= 1 && d <= 31
}

// arithmetic checks the operands of an operator.
func (q *selectBinder) arithmetic(e *Binary) {
	x, y := q.typeOf(e.X), q.typeOf(e.Y)
	if e.Op == Add && x == NVarchar && y == NVarchar {
		return
	}
	want := Float
	if e.Op >= BitAnd && e.Op <= BitXor {
		want = Bigint
	}
	for _, o := range [...]Expr{e.X, e.Y} {
		if t := q.typeOf(o); t == Datetime {
			q.fail(o.Pos(), "use DATEADD or DATEDIFF", "%s cannot be used with a datetime", e.Op)
		}
		if e.Op == Add && q.typeOf(o) == NVarchar && (x == Any || y == Any) {
			continue // it may join texts
		}
		q.needs(o, want, "'"+e.Op.String()+"'")
	}
}

// comparable checks two operands of a comparison.
func (q *selectBinder) comparable(x, y Expr, pos int) {
	a, b := q.typeOf(x), q.typeOf(y)
	for _, o := range [...]struct {
		e     Expr
		t     Type
		other Type
	}{{x, a, b}, {y, b, a}} {
		switch {
		case o.t == Record || o.t == Array:
			q.fail(o.e.Pos(), "compare a member of it, or its GetType", "a %s cannot be compared", o.t)
		case o.t == Datetime && (o.other == Bigint || o.other == Float || o.other == Bit):
			q.fail(pos, "", "a datetime cannot be compared with a %s", o.other)
		}
		if l, ok := o.e.(*Literal); ok && l.Kind == TextLiteral && o.other != NVarchar && o.other != Any && !literalFits(l.Text, o.other) {
			q.fail(l.Pos(), "", "the text %s cannot be compared with a %s", Print(l), o.other)
		}
	}
}

// an gives the name of a type with its article.
func an(t Type) string {
	if t == Array || t == NVarchar {
		return "an " + t.String()
	}
	return "a " + t.String()
}
