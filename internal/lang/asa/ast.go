package asa

// Node is a part of a tree. Pos is the offset of its first byte in the text.
type Node interface{ Pos() int }

type at int

// Pos implements Node.
func (p at) Pos() int { return int(p) }

// Name is an identifier. Names compare without regard to case.
type Name struct {
	at
	Text   string
	Quoted Quote // how it was written
}

// Quote says how a name was written.
type Quote uint8

// The ways to write a name.
const (
	Bare     Quote = iota // name
	Bracket               // [name]
	Double                // "name", which a few published samples use for a text
	Single                // 'name', accepted for an alias only
	Implicit              // not written: made from what is named
)

// Script is a whole text.
type Script struct {
	Tables  []*Table  // CREATE TABLE
	Steps   []*Step   // WITH
	Selects []*Select // each with its UNIONs; at least one
}

// Table declares what is expected of an input.
type Table struct {
	at
	Name    Name
	Columns []Column
}

// Column is one column of a Table.
type Column struct {
	Name Name
	Type Type
}

// Step is a named query of WITH.
type Step struct {
	Name  Name
	Query *Select
}

// Select is one SELECT; Union is the next of those joined by UNION.
type Select struct {
	at
	Items  []Item
	Into   *Name // output; nil is the output named "output", and always within WITH
	From   From
	Where  Expr // nil: all
	Groups []Expr
	Having Expr // nil: all
	Union  *Select
}

// Item is one item of a select list.
type Item struct {
	at
	Expr  Expr  // nil for * alone
	Star  bool  // "*", or Expr followed by ".*"
	Alias *Name // nil without one
}

// From is a source of events: *Source, *Join, *Apply or *Match.
type From interface {
	Node
	from()
}

// Source reads an input or a step.
type Source struct {
	at
	Name        Name
	Alias       *Name
	Timestamp   Expr   // TIMESTAMP BY; nil without
	Over        []Expr // keys of its substreams
	PartitionBy []Expr
	Into        int // PARTITION BY ... INTO n: a hint; 0 without
}

// Join joins events or reference data on the right to those on the left.
type Join struct {
	at
	Left  From
	Right *Source
	Outer bool // LEFT JOIN
	On    Expr
}

// Apply spreads an array or record of each event over rows.
type Apply struct {
	at
	Left   From
	Outer  bool
	Func   ApplyFunc
	Arg    Expr
	Result Name
}

// ApplyFunc is what an Apply spreads.
type ApplyFunc uint8

// The functions of APPLY.
const (
	GetArrayElements ApplyFunc = iota
	GetRecordProperties
)

var applyNames = [...]string{"GetArrayElements", "GetRecordProperties"}

// String gives the name in a query.
func (f ApplyFunc) String() string { return applyNames[f] }

// Match is MATCH_RECOGNIZE.
type Match struct {
	at
	Left        From
	Limit       Duration
	PartitionBy []Expr
	Measures    []Measure
	Pattern     *Pattern
	Define      []Definition
	Result      Name
}

// Measure is one column that a Match gives.
type Measure struct {
	Expr  Expr
	Alias Name
}

// Definition is the condition of a variable of a Pattern.
type Definition struct {
	Name Name
	When Expr
}

// Pattern is a regular expression over events.
type Pattern struct {
	at
	Kind PatternKind
	Name Name       // of PatternVariable
	Subs []*Pattern // of PatternSequence and PatternChoice
	Min  int        // times in a row, 1 without a quantifier
	Max  int        // -1 without an end
}

// PatternKind is the kind of a Pattern.
type PatternKind uint8

// The kinds of patterns.
const (
	PatternVariable PatternKind = iota
	PatternAny                  // "."
	PatternSequence
	PatternChoice
)

func (*Source) from() {}
func (*Join) from()   {}
func (*Apply) from()  {}
func (*Match) from()  {}

// Expr is an expression or a predicate.
type Expr interface {
	Node
	expr()
}

// Literal is a constant.
type Literal struct {
	at
	Kind  LiteralKind
	Int   int64   // of IntLiteral
	Float float64 // of FloatLiteral
	Text  string  // of TextLiteral
}

// LiteralKind is the kind of a Literal.
type LiteralKind uint8

// The kinds of constants.
const (
	NullLiteral LiteralKind = iota
	IntLiteral
	FloatLiteral
	TextLiteral
)

// Path is a column, or a member of a record in it: a.b.c.
type Path struct {
	at
	Names []Name
}

// Last is the name of what the path leads to.
func (p *Path) Last() *Name { return &p.Names[len(p.Names)-1] }

// Member is a member of what an expression other than a path gives:
// System.Window().Id.
type Member struct {
	at
	Of   Expr
	Name Name
}

// Call is a call of a function, aggregate or analytic function.
type Call struct {
	at
	Space    string // "UDF", "uda", "system" ... as written; empty without
	Name     string // as written
	Star     bool   // f(*)
	Distinct bool   // f(DISTINCT x)
	Args     []Expr
	Over     *Over // nil without
}

// Over is what stands behind OVER.
type Over struct {
	at
	PartitionBy []Expr
	OrderBy     []Order
	Limit       *Duration
	When        Expr
}

// Order is one item of ORDER BY.
type Order struct {
	Expr Expr
	Desc bool
}

// Duration is a span of time: Count units.
type Duration struct {
	at
	Unit  Unit
	Count int64
}

// Unary is an operator before its operand.
type Unary struct {
	at
	Op Op // Neg, BitNot, Not
	X  Expr
}

// Binary is an operator between its operands; Pos is that of the operator.
type Binary struct {
	at
	Op   Op
	X, Y Expr
}

// Between is x BETWEEN lo AND hi.
type Between struct {
	at
	X, Lo, Hi Expr
	Not       bool
}

// In is x IN (list).
type In struct {
	at
	X    Expr
	List []Expr
	Not  bool
}

// Like is x LIKE pattern.
type Like struct {
	at
	X, Pattern Expr
	Not        bool
}

// IsNull is x IS NULL.
type IsNull struct {
	at
	X   Expr
	Not bool
}

// Case is CASE in both forms.
type Case struct {
	at
	Operand Expr // nil: the conditions are predicates
	Whens   []When
	Else    Expr
}

// When is one branch of a Case.
type When struct{ Cond, Then Expr }

// Cast is CAST or TRY_CAST.
type Cast struct {
	at
	X   Expr
	To  Type
	Try bool
}

// Window is an item of GROUP BY that cuts time.
type Window struct {
	at
	Kind    WindowKind
	ID      *string   // of a member of Windows that is named
	Size    Duration  // also the timeout of a session
	Hop     Duration  // of HoppingWindow
	Offset  *Duration // of tumbling and hopping ones
	Max     Duration  // longest session
	Over    []Expr    // keys of a session of its own
	Members []*Window // of Windows
}

// WindowKind is the kind of a Window.
type WindowKind uint8

// The kinds of windows.
const (
	TumblingWindow WindowKind = iota
	HoppingWindow
	SlidingWindow
	SessionWindow
	SnapshotWindow // System.Timestamp() alone or in Windows
	Windows
)

var windowNames = [...]string{"TumblingWindow", "HoppingWindow", "SlidingWindow", "SessionWindow", "System.Timestamp", "Windows"}

// String gives the name in a query.
func (k WindowKind) String() string { return windowNames[k] }

func (*Literal) expr() {}
func (*Path) expr()    {}
func (*Member) expr()  {}
func (*Call) expr()    {}
func (*Unary) expr()   {}
func (*Binary) expr()  {}
func (*Between) expr() {}
func (*In) expr()      {}
func (*Like) expr()    {}
func (*IsNull) expr()  {}
func (*Case) expr()    {}
func (*Cast) expr()    {}
func (*Window) expr()  {}

// Op is an operator.
type Op uint8

// The operators.
const (
	Or Op = iota
	And
	Not
	Equal
	NotEqual
	Less
	LessEqual
	Greater
	GreaterEqual
	Add
	Sub
	BitAnd
	BitOr
	BitXor
	Mul
	Div
	Mod
	Neg
	BitNot
)

var opNames = [...]string{"OR", "AND", "NOT", "=", "<>", "<", "<=", ">", ">=", "+", "-", "&", "|", "^", "*", "/", "%", "-", "~"}

// String gives the operator as it is written.
func (o Op) String() string { return opNames[o] }

// Comparison reports whether o compares.
func (o Op) Comparison() bool { return o >= Equal && o <= GreaterEqual }

// Type is a type of values.
type Type uint8

// The types, in rising precedence where they mix; Any is that of an expression
// whose type depends on the event.
const (
	Any Type = iota
	NVarchar
	Bit
	Bigint
	Float
	Datetime
	Record
	Array
)

var typeNames = [...]string{"any", "nvarchar(max)", "bit", "bigint", "float", "datetime", "record", "array"}

// String gives the name as GetType answers it.
func (t Type) String() string { return typeNames[t] }

// Unit is a unit of time. Not all are good for windows: see Fixed.
type Unit uint8

// The units.
const (
	Year Unit = iota
	Quarter
	Month
	DayOfYear
	Day
	Week
	Weekday
	Hour
	Minute
	Second
	Millisecond
	Microsecond
)

var unitNames = [...]string{"year", "quarter", "month", "dayofyear", "day", "week", "weekday", "hour", "minute", "second", "millisecond", "microsecond"}

// String gives the full name.
func (u Unit) String() string { return unitNames[u] }

// Ticks of 100 ns in the units of fixed length.
const (
	tickMicrosecond = 10
	tickMillisecond = 1000 * tickMicrosecond
	tickSecond      = 1000 * tickMillisecond
	tickMinute      = 60 * tickSecond
	tickHour        = 60 * tickMinute
	tickDay         = 24 * tickHour
)

// Ticks is the length of the unit in ticks of 100 ns; 0 when it has no fixed
// length or cannot measure windows.
func (u Unit) Ticks() int64 {
	switch u {
	case Day:
		return tickDay
	case Hour:
		return tickHour
	case Minute:
		return tickMinute
	case Second:
		return tickSecond
	case Millisecond:
		return tickMillisecond
	case Microsecond:
		return tickMicrosecond
	case Year, Quarter, Month, DayOfYear, Week, Weekday:
	}
	return 0
}

// Ticks is the length of the duration in ticks of 100 ns.
func (d Duration) Ticks() int64 { return d.Count * d.Unit.Ticks() }
