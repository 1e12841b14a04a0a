package twinql

import "slices"

// Collection is what a query reads.
type Collection uint8

// The collections.
const (
	Devices Collection = iota
	Modules
	Jobs
)

var collectionNames = [...]string{"devices", "devices.modules", "devices.jobs"}

// String gives the name in a query, such as "devices.modules".
func (c Collection) String() string { return collectionNames[c] }

// Query is one query.
type Query struct {
	Top     int  // rows at most; 0 is no limit
	Star    bool // SELECT *: Columns is empty
	Columns []Column
	From    Collection
	Where   Expr // nil selects all
	GroupBy []*Path
}

// Column is one member of the result rows.
type Column struct {
	Expr Expr   // *Path or *Aggregate
	As   string // empty without AS
}

// Name is the member's name in the result.
func (c *Column) Name() string {
	if c.As != "" {
		return c.As
	}
	if p, ok := c.Expr.(*Path); ok {
		return p.Last()
	}
	return ""
}

// Expr is a node of an expression. Pos is its first byte in the text.
type Expr interface{ Pos() int }

type at int

// Pos implements Expr.
func (p at) Pos() int { return int(p) }

// Literal is a constant. Its kind is none of Array and Object.
type Literal struct {
	at
	Value Value
}

// Path names a member, step by step from the top of the document.
type Path struct {
	at
	Steps []Step
}

// Last gives the last name of the path.
func (p *Path) Last() string {
	for _, s := range slices.Backward(p.Steps) {
		if s.Name != "" {
			return s.Name
		}
	}
	return ""
}

// Step is one member of an object, or with an empty Name one of an array.
type Step struct {
	Name  string
	Index int
}

// Op is an operator.
type Op uint8

// The operators.
const (
	And Op = iota
	Or
	Equal
	NotEqual
	Less
	LessEqual
	Greater
	GreaterEqual
	Add
	Subtract
	Multiply
	Divide
	Modulo
)

var opNames = [...]string{"AND", "OR", "=", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%"}

// String gives the operator as the printer writes it.
func (o Op) String() string { return opNames[o] }

// Compares reports whether o is a comparison.
func (o Op) Compares() bool { return o >= Equal && o <= GreaterEqual }

// Logic is two or more terms joined by And or Or. It is flat, so that long
// chains do not make deep trees.
type Logic struct {
	at
	Op    Op
	Terms []Expr
}

// Not is the negation of a condition.
type Not struct {
	at
	Operand Expr
}

// Negate is the minus sign before something that is not a number literal.
type Negate struct {
	at
	Operand Expr
}

// Binary is a comparison or an arithmetic operation.
type Binary struct {
	at
	Op          Op
	Left, Right Expr
}

// In tests whether a value is in a list. Negated is NOT IN and NIN.
type In struct {
	at
	Operand Expr
	Negated bool
	List    []Value
}

// Call calls a function of the table.
type Call struct {
	at
	Function *Function
	Args     []Expr
}

// Aggregate is a column made of many rows. A nil Path counts rows.
type Aggregate struct {
	at
	Kind AggregateKind
	Path *Path
}

// AggregateKind is what an Aggregate does.
type AggregateKind uint8

// The aggregates.
const (
	Count AggregateKind = iota
	Average
	Sum
	Minimum
	Maximum
)

var aggregateNames = [...]string{"COUNT", "AVG", "SUM", "MIN", "MAX"}

// String gives the name in a query.
func (k AggregateKind) String() string { return aggregateNames[k] }

// Walk calls visit for e and, while it answers true, for what is below.
func Walk(e Expr, visit func(Expr) bool) {
	if e == nil || !visit(e) {
		return
	}
	switch e := e.(type) {
	case *Logic:
		for _, t := range e.Terms {
			Walk(t, visit)
		}
	case *Not:
		Walk(e.Operand, visit)
	case *Negate:
		Walk(e.Operand, visit)
	case *Binary:
		Walk(e.Left, visit)
		Walk(e.Right, visit)
	case *In:
		Walk(e.Operand, visit)
	case *Call:
		for _, a := range e.Args {
			Walk(a, visit)
		}
	case *Aggregate:
		if e.Path != nil {
			Walk(e.Path, visit)
		}
	}
}
