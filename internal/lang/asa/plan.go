package asa

import "strings"

// Plan is a script whose names are resolved: what is read, what is computed
// from it, and where that goes. Relations are in an order in which each comes
// after those that it reads.
type Plan struct {
	Relations []*Relation
	Outputs   []*Output
}

// Output is one output and the relations that go into it, whose rows keep
// their names.
type Output struct {
	Name string
	From []*Relation
}

// RelationKind says where the rows of a Relation come from.
type RelationKind uint8

// The kinds of relations.
const (
	StreamInput    RelationKind = iota // events
	ReferenceInput                     // rows that are looked up
	Computed                           // by a Query
	United                             // by UNION
)

// Relation is a stream, or a table, of rows.
type Relation struct {
	Kind    RelationKind
	Name    string      // of the input or step; empty for what goes into an output
	Declare []Column    // of CREATE TABLE, for inputs
	Query   *Query      // of Computed
	Parts   []*Relation // of United

	Columns []string // names that are known
	Open    bool     // rows may hold other columns than those
}

// Has reports whether a column of that name may exist, and known whether it
// does for certain.
func (r *Relation) Has(name string) (may, known bool) {
	for _, c := range r.Columns {
		if strings.EqualFold(c, name) {
			return true, true
		}
	}
	return r.Open, false
}

// Query is one SELECT. It is evaluated in the order of its fields: analytic
// functions see every row of the first source, the filter sees what was joined,
// and so on.
type Query struct {
	Sources    []*Input     // first what is read, then what is joined or applied, in order
	Analytic   []*Analytic  // Ref{AnalyticRef, i}
	Where      Expr         // nil: all
	Window     *Window      // nil: rows are not grouped
	Keys       []Expr       // Ref{KeyRef, i}
	Aggregates []*Aggregate // Ref{AggregateRef, i}
	Having     Expr         // nil: all
	Columns    []OutputColumn
	Match      *BoundMatch // nil without MATCH_RECOGNIZE; it gives the last of Sources
}

// OutputColumn is one column of the result, or several.
type OutputColumn struct {
	Name string // empty for the others
	Expr Expr   // of one column, or the record that is spread when Name is empty
	Star int    // index of the source of which all columns are meant, else -1
}

// InputKind says how an Input adds to the rows.
type InputKind uint8

// The kinds of inputs.
const (
	FirstInput    InputKind = iota
	JoinInput               // a stream, within a bound of time
	ReferenceJoin           // a table
	ApplyInput              // an array or record of the row so far
	MatchInput              // what MATCH_RECOGNIZE gives
)

// Input is one source of a Query. Its columns are Field{Source: its index}.
type Input struct {
	at
	Kind     InputKind
	Relation *Relation // nil for ApplyInput and MatchInput
	Name     string    // alias, or name of the relation
	Columns  []string  // that are known, of ApplyInput and MatchInput

	Timestamp   Expr   // TIMESTAMP BY; nil without
	Over        []Expr // its keys
	PartitionBy []Expr
	Into        int

	Outer bool // rows without a partner stay, with nulls

	// Of JoinInput and ReferenceJoin: the equalities by which partners are
	// found, and what must hold besides.
	Left, Right []Expr
	On          Expr // nil: nothing else
	// Of JoinInput: the boundaries of DATEDIFF between this source and earlier
	// ones that the rows must keep to.
	Bounds []TimeBound

	// Of ApplyInput.
	Apply ApplyFunc
	Arg   Expr
}

// TimeBound bounds DATEDIFF(unit, from, to), where one of both is the joined
// source and the other an earlier one; both bounds are inclusive.
type TimeBound struct {
	Unit     Unit
	From, To int // indexes of sources
	Lo, Hi   int64
}

// Analytic is one analytic function.
type Analytic struct {
	at
	Func        *Function
	Call        *Call // as bound
	PartitionBy []Expr
	OrderBy     []Order
	Limit       *Duration
	When        Expr
}

// Aggregate is one aggregate of a group.
type Aggregate struct {
	at
	Func     *Function // nil for a user-defined one
	User     string    // name of a user-defined one
	Args     []Expr
	Rows     bool // counts rows, or takes them whole: COUNT(*), Collect(), TopOne()
	Distinct bool
	OrderBy  []Order
}

// BoundMatch is MATCH_RECOGNIZE over the first source. In its expressions the
// columns of a variable are Variable leaves.
type BoundMatch struct {
	Limit       Duration
	PartitionBy []Expr
	Measures    []Measure
	Pattern     *Pattern
	Define      []Definition
}

// Field is a column of a source, or a member of a record in it. An empty Path
// is the whole row.
type Field struct {
	at
	Source int
	Path   []string
}

// RefKind says what a Ref stands for.
type RefKind uint8

// The kinds of references.
const (
	AnalyticRef  RefKind = iota // Query.Analytic
	KeyRef                      // Query.Keys
	AggregateRef                // Query.Aggregates
	TimeRef                     // System.Timestamp(): of the source Index, or of the result when Index is -1
	WindowRef                   // System.Window()
)

// Ref is what was computed before the expression that it stands in.
type Ref struct {
	at
	Kind  RefKind
	Index int
}

// Variable is a column of the events of a variable of a pattern: V.name, or a
// function of them such as LAST(V.name).
type Variable struct {
	at
	Name string
	Path []string
	Func string // MIN, MAX, FIRST, LAST; empty: the event in question
}

func (*Field) expr()    {}
func (*Ref) expr()      {}
func (*Variable) expr() {}

// EqualTo makes the condition x = y.
func EqualTo(x, y Expr) Expr { return &Binary{at: at(y.Pos()), Op: Equal, X: x, Y: y} }
