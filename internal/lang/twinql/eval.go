package twinql

import "math"

// Source gives the values that paths have in one document.
type Source interface {
	// Lookup answers the zero Value for what is not there.
	Lookup(p *Path) Value
}

// Eval computes an expression that has no aggregates.
func Eval(e Expr, doc Source) Value {
	switch e := e.(type) {
	case *Literal:
		return e.Value
	case *Path:
		return doc.Lookup(e)
	case *Logic:
		return evalLogic(e, doc)
	case *Not:
		if v := Eval(e.Operand, doc); v.Kind == Bool {
			return BoolValue(!v.Truth)
		}
	case *Negate:
		if v := Eval(e.Operand, doc); v.Kind == Number {
			return NumberValue(-v.Number)
		}
	case *Binary:
		l, r := Eval(e.Left, doc), Eval(e.Right, doc)
		if e.Op.Compares() {
			return Compare(e.Op, l, r)
		}
		return calculate(e.Op, l, r)
	case *In:
		return e.Test(Eval(e.Operand, doc))
	case *Call:
		var few [3]Value
		args := few[:0]
		for _, a := range e.Args {
			args = append(args, Eval(a, doc))
		}
		return e.Function.Apply(args)
	}
	return Value{}
}

// evalLogic: one false term decides AND and one true term OR, whatever the
// others are; else a term that is no truth value makes the whole undefined.
func evalLogic(e *Logic, doc Source) Value {
	decisive, known := e.Op == Or, true
	for _, t := range e.Terms {
		v := Eval(t, doc)
		if v.Kind != Bool {
			known = false
		} else if v.Truth == decisive {
			return v
		}
	}
	if !known {
		return Value{}
	}
	return BoolValue(!decisive)
}

func calculate(op Op, l, r Value) Value {
	if l.Kind != Number || r.Kind != Number {
		return Value{}
	}
	a, b := l.Number, r.Number
	switch op {
	case Add:
		return NumberValue(a + b)
	case Subtract:
		return NumberValue(a - b)
	case Multiply:
		return NumberValue(a * b)
	case Divide:
		return NumberValue(a / b)
	case Modulo:
		return NumberValue(math.Mod(a, b))
	default:
	}
	return Value{}
}

// Test looks v up in the list. It is undefined when no member of the list has
// the type of v: then there was nothing to compare it with.
func (e *In) Test(v Value) Value {
	compared := false
	for _, m := range e.List {
		if order, ok := compare(v, m); ok {
			if order == 0 {
				return BoolValue(!e.Negated)
			}
			compared = true
		}
	}
	if !compared {
		return Value{}
	}
	return BoolValue(e.Negated)
}

// Fold computes an expression that needs no document; ok is false when it does.
func Fold(e Expr) (v Value, ok bool) {
	ok = true
	Walk(e, func(e Expr) bool {
		switch e.(type) {
		case *Path, *Aggregate:
			ok = false
		}
		return ok
	})
	if !ok {
		return Value{}, false
	}
	return Eval(e, nil), true
}
