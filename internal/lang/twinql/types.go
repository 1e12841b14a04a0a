package twinql

import "strings"

// Types is a set of kinds: those that an expression may turn out to have.
type Types uint8

func oneOf(kinds ...Kind) (t Types) {
	for _, k := range kinds {
		t |= 1 << k
	}
	return t
}

// TypesOf makes a set of kinds.
func TypesOf(kinds ...Kind) Types { return oneOf(kinds...) }

// Has reports whether k is in the set.
func (t Types) Has(k Kind) bool { return t&(1<<k) != 0 }

const (
	primitives Types = 1<<Null | 1<<Bool | 1<<Number | 1<<Text
	anything   Types = primitives | 1<<Undefined | 1<<Array | 1<<Object
)

// String lists the kinds for people, undefined aside.
func (t Types) String() string {
	if t == oneOf(Undefined) {
		return Undefined.String()
	}
	var names []string
	for k := Null; k <= Object; k++ {
		if t.Has(k) {
			names = append(names, k.String())
		}
	}
	return strings.Join(names, " or ")
}

// typesOf finds what an expression may be, without knowing any document.
func typesOf(e Expr) Types {
	switch e := e.(type) {
	case *Literal:
		return oneOf(e.Value.Kind)
	case *Logic, *Not, *In:
		return oneOf(Bool, Undefined)
	case *Negate:
		return oneOf(Number, Undefined)
	case *Binary:
		if e.Op.Compares() {
			return oneOf(Bool, Undefined)
		}
		return oneOf(Number, Undefined)
	case *Call:
		return e.Function.result
	}
	return anything
}
