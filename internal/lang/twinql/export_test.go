package twinql

import "reflect"

// SameQuery compares two queries but for the places in their texts.
func SameQuery(a, b *Query) bool { return reflect.DeepEqual(forget(a), forget(b)) }

// forget takes out the places in the text, which printing changes.
func forget(q *Query) *Query {
	clean := func(e Expr) {
		Walk(e, func(e Expr) bool {
			switch e := e.(type) {
			case *Literal:
				e.at = 0
			case *Path:
				e.at = 0
			case *Logic:
				e.at = 0
			case *Not:
				e.at = 0
			case *Negate:
				e.at = 0
			case *Binary:
				e.at = 0
			case *In:
				e.at = 0
			case *Call:
				e.at = 0
			case *Aggregate:
				e.at = 0
			}
			return true
		})
	}
	for i := range q.Columns {
		clean(q.Columns[i].Expr)
	}
	if q.Where != nil {
		clean(q.Where)
	}
	for _, p := range q.GroupBy {
		clean(p)
	}
	return q
}
