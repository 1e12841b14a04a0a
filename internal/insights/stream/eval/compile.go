package eval

import (
	"fmt"

	"dunlin/internal/insights/stream/batch"
	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/value"
	"dunlin/internal/lang/asa"
)

// Names tells the compiler where things are in the frames.
type Names interface {
	// Field gives the column that holds a field, and the path that is left
	// within the record there.
	Field(f *asa.Field) (col int, rest []string)
	// Ref gives the column that holds what was computed before. Times of the
	// row itself are not asked for.
	Ref(r *asa.Ref) (col int)
	// Call compiles a call that is no built-in scalar function, such as a
	// user-defined function or the metadata of an event. It compiles those of
	// its arguments that are values with the compiler.
	Call(call *asa.Call, c Compiler) (Value, error)
}

// Variables are Names that know the variables of MATCH_RECOGNIZE.
type Variables interface {
	// Variable gives the column that holds something of a variable's events,
	// and the path that is left within the record there.
	Variable(v *asa.Variable) (col int, rest []string)
}

// Compiler compiles the expressions of one query. What it makes belongs to one
// goroutine.
type Compiler struct{ Names Names }

// Value compiles an expression.
func (c Compiler) Value(e asa.Expr) (Value, error) {
	switch e := e.(type) {
	case *asa.Literal:
		return constant(literal(e)), nil
	case *asa.Field:
		col, rest := c.Names.Field(e)
		return member(func(f *Frame) (*batch.Column, error) { return f.Col(col), nil }, rest), nil
	case *asa.Variable:
		names, ok := c.Names.(Variables)
		if !ok {
			return nil, fmt.Errorf("eval: there are no variables here")
		}
		col, rest := names.Variable(e)
		return member(func(f *Frame) (*batch.Column, error) { return f.Col(col), nil }, rest), nil
	case *asa.Ref:
		if e.Kind == asa.TimeRef && e.Index < 0 {
			return rowTime(), nil
		}
		col := c.Names.Ref(e)
		return func(f *Frame) (*batch.Column, error) { return f.Col(col), nil }, nil
	case *asa.Member:
		of, err := c.Value(e.Of)
		if err != nil {
			return nil, err
		}
		return member(of, []string{e.Name.Text}), nil
	case *asa.Unary:
		x, err := c.Value(e.X)
		if err != nil {
			return nil, err
		}
		if e.Op == asa.BitNot {
			return rowwise1(x, scalar.Complement), nil
		}
		return rowwise1(x, scalar.Negate), nil
	case *asa.Binary:
		return c.arithmetic(e)
	case *asa.Case:
		return c.caseOf(e)
	case *asa.Cast:
		return c.cast(e)
	case *asa.Call:
		return c.call(e)
	}
	return nil, fmt.Errorf("eval: %T is no value", e)
}

func literal(l *asa.Literal) value.Value {
	switch l.Kind {
	case asa.IntLiteral:
		return value.Int(l.Int)
	case asa.FloatLiteral:
		return value.Number(l.Float)
	case asa.TextLiteral:
		return value.String(l.Text)
	case asa.NullLiteral:
	}
	return value.Value{}
}

// constantOf gives the value of a literal.
func constantOf(e asa.Expr) (value.Value, bool) {
	l, ok := e.(*asa.Literal)
	if !ok {
		return value.Value{}, false
	}
	return literal(l), true
}

func constant(v value.Value) Value {
	out := new(batch.Column)
	return func(f *Frame) (*batch.Column, error) {
		if out.Len() != f.n {
			out.Fill(v, f.n)
		}
		return out, nil
	}
}

func rowTime() Value {
	out := new(batch.Column)
	return func(f *Frame) (*batch.Column, error) {
		copy(out.SetInts(value.Datetime, f.n), f.Time())
		return out, nil
	}
}

// member follows a path within the records of a column.
func member(of Value, path []string) Value {
	if len(path) == 0 {
		return of
	}
	return rowwise1(of, func(v value.Value) (value.Value, error) {
		for _, name := range path {
			v = scalar.Member(v, name)
		}
		return v, nil
	})
}

// rowwise1 does something with each value.
func rowwise1(x Value, do func(value.Value) (value.Value, error)) Value {
	out := new(batch.Column)
	return func(f *Frame) (*batch.Column, error) {
		in, err := x(f)
		if err != nil {
			return nil, err
		}
		out.Reset()
		for i := range f.n {
			v, err := do(in.At(i))
			if err != nil {
				return nil, err
			}
			out.Append(v)
		}
		return out, nil
	}
}

var kinds = [...]value.Kind{
	asa.NVarchar: value.Text, asa.Bit: value.Bit, asa.Bigint: value.Bigint, asa.Float: value.Float,
	asa.Datetime: value.Datetime, asa.Record: value.Record, asa.Array: value.Array,
}

// KindOf gives the kind of the values of a type; asa.Any has none.
func KindOf(t asa.Type) value.Kind { return kinds[t] }

func (c Compiler) cast(e *asa.Cast) (Value, error) {
	x, err := c.Value(e.X)
	if err != nil {
		return nil, err
	}
	to := KindOf(e.To)
	each := rowwise1(x, func(v value.Value) (value.Value, error) {
		out, err := scalar.Cast(v, to)
		if err != nil && e.Try {
			return value.Value{}, nil
		}
		return out, err
	})
	return func(f *Frame) (*batch.Column, error) {
		in, err := x(f)
		if err == nil && !in.Mixed && in.Kind == to {
			return in, nil
		}
		if err != nil {
			return nil, err
		}
		return each(f)
	}, nil
}

// Values compiles several expressions.
func (c Compiler) Values(list []asa.Expr) (out []Value, err error) {
	for _, e := range list {
		v, err := c.Value(e)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func (c Compiler) call(e *asa.Call) (Value, error) {
	var do scalar.Func
	if e.Space == "" {
		do = scalar.Prepare(e.Name, func(i int) (value.Value, bool) {
			return constantOf(e.Args[i])
		})
	}
	if do == nil {
		return c.Names.Call(e, c)
	}
	args, err := c.Values(e.Args)
	if err != nil {
		return nil, err
	}
	return Rowwise(args, do), nil
}

// Rowwise calls a function for each row.
func Rowwise(args []Value, do scalar.Func) Value {
	out := new(batch.Column)
	cols := make([]*batch.Column, len(args))
	row := make([]value.Value, len(args))
	return func(f *Frame) (*batch.Column, error) {
		for i, a := range args {
			c, err := a(f)
			if err != nil {
				return nil, err
			}
			cols[i] = c
		}
		out.Reset()
		for r := range f.n {
			for i, c := range cols {
				row[i] = c.At(r)
			}
			v, err := do(row)
			if err != nil {
				return nil, err
			}
			out.Append(v)
		}
		return out, nil
	}
}

// caseOf evaluates each branch for the rows that come to it, and for no
// others: a branch may be what keeps a row from an error.
func (c Compiler) caseOf(e *asa.Case) (Value, error) {
	type branch struct {
		when Cond
		then Value
	}
	var branches []branch
	for _, w := range e.Whens {
		cond := w.Cond
		if e.Operand != nil {
			cond = asa.EqualTo(e.Operand, w.Cond)
		}
		when, err := c.Cond(cond)
		if err != nil {
			return nil, err
		}
		then, err := c.Value(w.Then)
		if err != nil {
			return nil, err
		}
		branches = append(branches, branch{when, then})
	}
	otherwise, err := c.Value(e.Else)
	if err != nil {
		return nil, err
	}
	out := new(batch.Column)
	var results []value.Value
	return func(f *Frame) (*batch.Column, error) {
		if cap(results) < f.n {
			results = make([]value.Value, f.n)
		}
		results := results[:f.n]
		left := make([]int32, f.n)
		for i := range left {
			left[i] = int32(i)
		}
		for i := 0; i <= len(branches) && len(left) > 0; i++ {
			rest := f.part(left)
			err := func() error {
				defer f.release()
				then, chosen := otherwise, left
				if i < len(branches) {
					b := &branches[i]
					hit, err := b.when(rest, nil)
					if err != nil || len(hit) == 0 {
						return err
					}
					then, chosen = b.then, make([]int32, len(hit))
					for k, h := range hit {
						chosen[k] = left[h]
					}
					left = without(left, hit)
				} else {
					left = nil
				}
				part := f.part(chosen)
				defer f.release()
				col, err := then(part)
				if err != nil {
					return err
				}
				for k, r := range chosen {
					results[r] = col.At(k)
				}
				return nil
			}()
			if err != nil {
				return nil, err
			}
		}
		out.Reset()
		for _, v := range results {
			out.Append(v)
		}
		return out, nil
	}, nil
}

// without gives the elements of list whose places are not among hit.
func without(list, hit []int32) []int32 {
	var rest []int32
	for i, x := range list {
		if len(hit) > 0 && hit[0] == int32(i) {
			hit = hit[1:]
			continue
		}
		rest = append(rest, x)
	}
	return rest
}
