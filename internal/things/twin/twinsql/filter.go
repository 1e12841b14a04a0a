package twinsql

import (
	"dunlin/internal/engine/state"
	"dunlin/internal/lang/twinql"
)

// Compiler translates for one database and one collection, which is Devices or
// Modules. Queries must have been bound.
type Compiler struct {
	Dialect state.Dialect
	From    twinql.Collection
	// Indexed gives, for the steps below "tags", "desired" or "reported", the
	// expression of a declared index over texts (IndexExpression), else "".
	Indexed func(section string, steps []twinql.Step) string
	// Configured says that the tables of configurations are there.
	Configured bool
	// Queued says that the table of cloud-to-device messages is there; else
	// nobody has any.
	Queued bool
}

// Messages counts the cloud-to-device messages that wait for an identity.
func (c *Compiler) Messages() string {
	switch {
	case !c.Queued:
		return "0"
	case c.From == twinql.Modules:
		return "(SELECT count(*) FROM c2d_message q WHERE q.device = d.device AND q.module = d.id)"
	}
	return "(SELECT count(*) FROM c2d_message q WHERE q.device = d.id AND q.module = '')"
}

// Filter is a condition in SQL.
type Filter struct {
	SQL  string
	Args []any
	// Exact says that the SQL selects what the condition selects. Else it
	// selects that and more, and the rows must be evaluated.
	Exact bool
	// Twin says that only things whose twin has a row can be selected, so
	// that the tables may be joined inside out.
	Twin bool
	// Seen says the same of devices that have ever connected.
	Seen bool
}

// Filter translates a condition; nil selects everything.
func (c *Compiler) Filter(e twinql.Expr) Filter {
	f := always()
	if e != nil {
		f = c.holds(e, true)
	}
	return Filter{SQL: f.sql, Args: f.args, Exact: f.exact, Twin: f.needs, Seen: f.seen}
}

// holds says in SQL when e is true, or with want false when it is false.
func (c *Compiler) holds(e twinql.Expr, want bool) frag {
	if v, ok := twinql.Fold(e); ok {
		return exactlyIf(v.Kind == twinql.Bool && v.Truth == want)
	}
	switch e := e.(type) {
	case *twinql.Logic:
		list := make([]frag, len(e.Terms))
		for i, t := range e.Terms {
			list[i] = c.holds(t, want)
		}
		if (e.Op == twinql.And) == want {
			return all(list)
		}
		return anyOf(list)
	case *twinql.Not:
		return c.holds(e.Operand, !want)
	case *twinql.Path:
		return c.compare(c.field(e), twinql.Equal, twinql.BoolValue(want))
	case *twinql.Binary:
		if f, ok := c.comparison(e, want); ok {
			return f
		}
	case *twinql.In:
		if p, ok := e.Operand.(*twinql.Path); ok {
			return c.in(c.field(p), e.List, want != e.Negated)
		}
	case *twinql.Call:
		if f, ok := c.call(e, want); ok {
			return f
		}
	}
	return c.defined(e)
}

// comparison translates a path beside a constant.
func (c *Compiler) comparison(e *twinql.Binary, want bool) (frag, bool) {
	op, left, right := e.Op, e.Left, e.Right
	if !op.Compares() {
		return frag{}, false
	}
	if _, ok := left.(*twinql.Path); !ok {
		op, left, right = op.Mirror(), right, left
	}
	p, ok := left.(*twinql.Path)
	if !ok {
		return frag{}, false
	}
	v, ok := twinql.Fold(right)
	if !ok {
		return frag{}, false
	}
	if !want {
		op = op.Inverse()
	}
	return c.compare(c.field(p), op, v), true
}

// defined is what is known of an expression that SQL cannot say: it has a
// value only when the paths that its operators need have one.
func (c *Compiler) defined(e twinql.Expr) frag {
	list := []frag{maybe()}
	twinql.Walk(e, func(e twinql.Expr) bool {
		switch e := e.(type) {
		case *twinql.Logic:
			return false // one operand may decide
		case *twinql.Call:
			return e.Function.ID < twinql.IsArray || e.Function.ID > twinql.IsString
		case *twinql.Path:
			list = append(list, c.isA(c.field(e), primitives, true))
		}
		return true
	})
	return all(list)
}

const primitives = 1<<twinql.Null | 1<<twinql.Bool | 1<<twinql.Number | 1<<twinql.Text

// call translates the type checks, and searches in a text for a constant.
func (c *Compiler) call(e *twinql.Call, want bool) (frag, bool) {
	p, ok := e.Args[0].(*twinql.Path)
	if !ok {
		return frag{}, false
	}
	types := map[twinql.FunctionID]twinql.Types{
		twinql.IsArray:     1 << twinql.Array,
		twinql.IsBool:      1 << twinql.Bool,
		twinql.IsDefined:   primitives | 1<<twinql.Array | 1<<twinql.Object,
		twinql.IsNull:      1 << twinql.Null,
		twinql.IsNumber:    1 << twinql.Number,
		twinql.IsObject:    1 << twinql.Object,
		twinql.IsPrimitive: primitives,
		twinql.IsString:    1 << twinql.Text,
	}
	if t, ok := types[e.Function.ID]; ok {
		return c.isA(c.field(p), t, want), true
	}
	switch e.Function.ID {
	case twinql.StartsWith, twinql.EndsWith, twinql.Contains:
		v, ok := twinql.Fold(e.Args[1])
		if !ok {
			return frag{}, false
		}
		return c.search(c.field(p), e.Function, v, want)
	default:
	}
	return frag{}, false
}
