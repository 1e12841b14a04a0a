package eval

import (
	"fmt"

	"dunlin/internal/insights/stream/batch"
	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/value"
	"dunlin/internal/lang/asa"
)

var operators = map[asa.Op]scalar.Op{
	asa.Add: scalar.Add, asa.Sub: scalar.Sub, asa.Mul: scalar.Mul, asa.Div: scalar.Div, asa.Mod: scalar.Mod,
	asa.BitAnd: scalar.BitAnd, asa.BitOr: scalar.BitOr, asa.BitXor: scalar.BitXor,
}

// arithmetic compiles an operator. Columns of floats without nulls, with
// another or with a number that stands in the query, go the short way.
func (c Compiler) arithmetic(e *asa.Binary) (Value, error) {
	op, ok := operators[e.Op]
	if !ok {
		return nil, fmt.Errorf("eval: %s is no arithmetic operator", e.Op)
	}
	x, err := c.Value(e.X)
	if err != nil {
		return nil, err
	}
	y, err := c.Value(e.Y)
	if err != nil {
		return nil, err
	}
	out := new(batch.Column)
	return func(f *Frame) (*batch.Column, error) {
		a, err := x(f)
		if err != nil {
			return nil, err
		}
		b, err := y(f)
		if err != nil {
			return nil, err
		}
		if plainFloats(a) && plainFloats(b) && (op == scalar.Add || op == scalar.Sub || op == scalar.Mul) {
			floats(op, out.SetFloats(f.n), a.Floats, b.Floats)
			return out, nil
		}
		out.Reset()
		for i := range f.n {
			v, err := scalar.Arithmetic(op, a.At(i), b.At(i))
			if err != nil {
				return nil, err
			}
			out.Append(v)
		}
		return out, nil
	}, nil
}

func plainFloats(c *batch.Column) bool { return c.Kind == value.Float && !c.Mixed && !c.HasNulls() }

func floats(op scalar.Op, out, a, b []float64) {
	switch op {
	case scalar.Add:
		for i := range out {
			out[i] = a[i] + b[i]
		}
	case scalar.Sub:
		for i := range out {
			out[i] = a[i] - b[i]
		}
	default:
		for i := range out {
			out[i] = a[i] * b[i]
		}
	}
}
