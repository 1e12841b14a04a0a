package oracle

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/value"
	"dunlin/internal/lang/asa"
)

// item is the row of one source within a row of a query.
type item struct {
	here bool // false: LEFT JOIN found no partner
	row  value.Value
	time int64
	meta value.Value
}

// env is what an expression can see.
type env struct {
	sources    map[int]item
	time       int64 // of the row or the window
	analytic   []value.Value
	keys       []value.Value
	aggregates []value.Value
	window     value.Value
}

// value evaluates an expression.
func (e *env) value(x asa.Expr) value.Value {
	switch x := x.(type) {
	case *asa.Literal:
		switch x.Kind {
		case asa.IntLiteral:
			return value.Int(x.Int)
		case asa.FloatLiteral:
			return value.Number(x.Float)
		case asa.TextLiteral:
			return value.String(x.Text)
		case asa.NullLiteral:
		}
		return value.Value{}
	case *asa.Field:
		v := e.sources[x.Source].row
		for _, name := range x.Path {
			v = scalar.Member(v, name)
		}
		return v
	case *asa.Ref:
		return e.ref(x)
	case *asa.Member:
		return scalar.Member(e.value(x.Of), x.Name.Text)
	case *asa.Unary:
		if x.Op == asa.BitNot {
			return must(scalar.Complement(e.value(x.X)))
		}
		return must(scalar.Negate(e.value(x.X)))
	case *asa.Binary:
		signs := map[asa.Op]scalar.Op{
			asa.Add: scalar.Add, asa.Sub: scalar.Sub, asa.Mul: scalar.Mul, asa.Div: scalar.Div, asa.Mod: scalar.Mod,
			asa.BitAnd: scalar.BitAnd, asa.BitOr: scalar.BitOr, asa.BitXor: scalar.BitXor,
		}
		a, b := e.value(x.X), e.value(x.Y)
		return must(scalar.Arithmetic(signs[x.Op], a, b))
	case *asa.Case:
		return e.caseOf(x)
	case *asa.Cast:
		v, err := scalar.Cast(e.value(x.X), kindOf(x.To))
		if err != nil && x.Try {
			return value.Value{}
		}
		return must(v, err)
	case *asa.Call:
		return e.call(x)
	}
	panic(unsupported("%T", x))
}

func kindOf(t asa.Type) value.Kind {
	switch t {
	case asa.NVarchar:
		return value.Text
	case asa.Bit:
		return value.Bit
	case asa.Bigint:
		return value.Bigint
	case asa.Float:
		return value.Float
	case asa.Datetime:
		return value.Datetime
	case asa.Record:
		return value.Record
	case asa.Array:
		return value.Array
	case asa.Any:
	}
	panic(unsupported("a cast to %s", t))
}

func (e *env) ref(x *asa.Ref) value.Value {
	switch x.Kind {
	case asa.AnalyticRef:
		return e.analytic[x.Index]
	case asa.KeyRef:
		return e.keys[x.Index]
	case asa.AggregateRef:
		return e.aggregates[x.Index]
	case asa.WindowRef:
		return e.window
	case asa.TimeRef:
		if x.Index < 0 {
			return value.Time(e.time)
		}
		if s := e.sources[x.Index]; s.here {
			return value.Time(s.time)
		}
	}
	return value.Value{}
}

func (e *env) call(x *asa.Call) value.Value {
	if x.Space != "" {
		panic(unsupported("%s.%s", x.Space, x.Name))
	}
	if x.Name == "GetMetadataPropertyValue" {
		v := e.sources[x.Args[0].(*asa.Field).Source].meta
		for name := range strings.SplitSeq(x.Args[1].(*asa.Literal).Text, ".") {
			v = scalar.Member(v, strings.Trim(strings.TrimSpace(name), "[]"))
		}
		return v
	}
	f := scalar.Lookup(x.Name)
	if f == nil {
		panic(unsupported("%s", x.Name))
	}
	var args []value.Value
	for _, a := range x.Args {
		args = append(args, e.value(a))
	}
	return must(f(args))
}

// caseOf evaluates conditions in turn until one holds, and its branch alone.
func (e *env) caseOf(x *asa.Case) value.Value {
	for _, w := range x.Whens {
		var hit bool
		if x.Operand != nil {
			hit = compare(asa.Equal, e.value(x.Operand), e.value(w.Cond))
		} else {
			hit = e.holds(w.Cond)
		}
		if hit {
			return e.value(w.Then)
		}
	}
	return e.value(x.Else)
}

// holds evaluates a condition. What is compared with null does not hold, and
// NOT turns what does not hold into what does.
func (e *env) holds(x asa.Expr) bool {
	switch x := x.(type) {
	case *asa.Binary:
		switch x.Op {
		case asa.And:
			return e.holds(x.X) && e.holds(x.Y)
		case asa.Or:
			return e.holds(x.X) || e.holds(x.Y)
		default:
			a, b := e.value(x.X), e.value(x.Y)
			return compare(x.Op, a, b)
		}
	case *asa.Unary:
		return !e.holds(x.X)
	case *asa.Between:
		v, lo, hi := e.value(x.X), e.value(x.Lo), e.value(x.Hi)
		above, below := compare(asa.GreaterEqual, v, lo), compare(asa.LessEqual, v, hi)
		return (above && below) != x.Not
	case *asa.In:
		v := e.value(x.X)
		var list []value.Value
		for _, l := range x.List {
			list = append(list, e.value(l))
		}
		return slices.ContainsFunc(list, func(l value.Value) bool { return compare(asa.Equal, v, l) }) != x.Not
	case *asa.Like:
		v, p := e.value(x.X), e.value(x.Pattern)
		if v.IsNull() || p.IsNull() {
			return x.Not
		}
		return like([]rune(scalar.ToText(v)), []rune(scalar.ToText(p))) != x.Not
	case *asa.IsNull:
		return e.value(x.X).IsNull() != x.Not
	}
	panic(unsupported("condition %T", x))
}

func compare(op asa.Op, a, b value.Value) bool {
	order, ok, err := scalar.Compare(a, b)
	if err != nil {
		panic(stop{err})
	}
	if !ok {
		return false
	}
	switch op {
	case asa.Equal:
		return order == 0
	case asa.NotEqual:
		return order != 0
	case asa.Less:
		return order < 0
	case asa.LessEqual:
		return order <= 0
	case asa.Greater:
		return order > 0
	case asa.GreaterEqual:
		return order >= 0
	default:
		panic("oracle: no comparison")
	}
}

// like matches all of s with a pattern.
func like(s, p []rune) bool {
	if len(p) == 0 {
		return len(s) == 0
	}
	switch p[0] {
	case '%':
		for i := 0; i <= len(s); i++ {
			if like(s[i:], p[1:]) {
				return true
			}
		}
		return false
	case '_':
		return len(s) > 0 && like(s[1:], p[1:])
	case '[':
		end := slices.Index(p, ']')
		if end < 0 {
			break // it stands for itself
		}
		set := p[1:end]
		none := len(set) > 0 && set[0] == '^'
		if none {
			set = set[1:]
		}
		return len(s) > 0 && inSet(s[0], set) != none && like(s[1:], p[end+1:])
	}
	return len(s) > 0 && s[0] == p[0] && like(s[1:], p[1:])
}

func inSet(r rune, set []rune) bool {
	for i := 0; i < len(set); i++ {
		if i+2 < len(set) && set[i+1] == '-' {
			if set[i] <= r && r <= set[i+2] {
				return true
			}
			i += 2
			continue
		}
		if set[i] == r {
			return true
		}
	}
	return false
}

// identity is a text that two values share exactly when they are the same key:
// numbers by their value whatever their type, all else by type and value.
func identity(v value.Value) string {
	switch v.Kind() {
	case value.Null:
		return "null"
	case value.Bigint:
		return "#" + strconv.FormatInt(v.Int(), 10)
	case value.Float:
		if f := v.Float(); f == math.Trunc(f) && f >= -(1<<63) && f < 1<<63 {
			return "#" + strconv.FormatInt(int64(f), 10)
		}
		return "#" + strconv.FormatFloat(v.Float(), 'g', -1, 64)
	case value.Bit:
		return "bit " + strconv.FormatBool(v.Bool())
	case value.Datetime:
		return "time " + strconv.FormatInt(v.Ticks(), 10)
	case value.Text:
		return "text " + strconv.Quote(v.Text())
	case value.Array:
		return "[" + identities(v.Tree().Values) + "]"
	case value.Record:
		t := v.Tree()
		var members []string
		for i, n := range t.Names {
			members = append(members, strconv.Quote(n)+":"+identity(t.Values[i]))
		}
		slices.Sort(members)
		return "{" + strings.Join(members, ",") + "}"
	}
	panic("oracle: kind of value")
}

// key is the identity of values by which rows are grouped or joined; records
// and arrays are no keys.
func key(list []value.Value) string {
	for _, v := range list {
		if v.Kind() == value.Record || v.Kind() == value.Array {
			panic(failure(scalar.InvalidArgument, "a %s cannot be a key", v.Kind()))
		}
	}
	return identities(list)
}

func identities(list []value.Value) string {
	var parts []string
	for _, v := range list {
		parts = append(parts, identity(v))
	}
	return strings.Join(parts, ",")
}
