package twinql

import "strings"

// Kind is the type of a value.
type Kind uint8

// The kinds. Undefined is that of a member that is not there.
const (
	Undefined Kind = iota
	Null
	Bool
	Number
	Text
	Array
	Object
)

var kindNames = [...]string{"undefined", "null", "boolean", "number", "text", "array", "object"}

// String names the kind for people.
func (k Kind) String() string { return kindNames[k] }

// Value is a value in an expression. Arrays and objects are opaque: nothing in
// the language looks into them but paths.
type Value struct {
	Kind   Kind
	Truth  bool
	Number float64
	Text   string
}

// TextValue makes a text.
func TextValue(s string) Value { return Value{Kind: Text, Text: s} }

// NumberValue makes a number. One that JSON cannot hold is undefined.
func NumberValue(f float64) Value {
	if f-f != 0 {
		return Value{}
	}
	return Value{Kind: Number, Number: f}
}

// BoolValue makes a truth value.
func BoolValue(b bool) Value { return Value{Kind: Bool, Truth: b} }

// IsTrue reports whether v is true, and so selects.
func (v Value) IsTrue() bool { return v.Kind == Bool && v.Truth }

// compare orders two primitive values of the same kind; ok is false for
// others. false is less than true; texts are compared byte for byte.
func compare(a, b Value) (order int, ok bool) {
	if a.Kind != b.Kind {
		return 0, false
	}
	switch a.Kind {
	case Null:
		return 0, true
	case Bool:
		switch {
		case a.Truth == b.Truth:
			return 0, true
		case b.Truth:
			return -1, true
		}
		return 1, true
	case Number:
		switch {
		case a.Number < b.Number:
			return -1, true
		case a.Number > b.Number:
			return 1, true
		}
		return 0, true
	case Text:
		return strings.Compare(a.Text, b.Text), true
	default:
	}
	return 0, false
}

// Compare applies a comparison operator.
func Compare(op Op, a, b Value) Value {
	order, ok := compare(a, b)
	if !ok {
		return Value{}
	}
	return BoolValue(op.holds(order))
}

func (o Op) holds(order int) bool {
	switch o {
	case Equal:
		return order == 0
	case NotEqual:
		return order != 0
	case Less:
		return order < 0
	case LessEqual:
		return order <= 0
	case Greater:
		return order > 0
	case GreaterEqual:
		return order >= 0
	default:
	}
	return false
}

// Mirror gives the operator that holds with its sides exchanged.
func (o Op) Mirror() Op {
	switch o {
	case Less:
		return Greater
	case LessEqual:
		return GreaterEqual
	case Greater:
		return Less
	case GreaterEqual:
		return LessEqual
	default:
	}
	return o
}

// Inverse gives the comparison that holds, for values that can be compared,
// exactly when o does not.
func (o Op) Inverse() Op {
	switch o {
	case Equal:
		return NotEqual
	case NotEqual:
		return Equal
	case Less:
		return GreaterEqual
	case LessEqual:
		return Greater
	case Greater:
		return LessEqual
	case GreaterEqual:
		return Less
	default:
	}
	return o
}
