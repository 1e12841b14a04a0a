package asa

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// String writes the script so that reading it gives the same tree.
func (s *Script) String() string {
	var w printer
	for _, t := range s.Tables {
		w.WriteString("CREATE TABLE ")
		w.name(&t.Name)
		w.WriteString(" (")
		for i := range t.Columns {
			w.comma(i)
			w.name(&t.Columns[i].Name)
			w.WriteString(" " + t.Columns[i].Type.String())
		}
		w.WriteString(");\n")
	}
	for i, st := range s.Steps {
		if i == 0 {
			w.WriteString("WITH ")
		} else {
			w.WriteString(", ")
		}
		w.name(&st.Name)
		w.WriteString(" AS (\n")
		w.query(st.Query)
		w.WriteString("\n)\n")
	}
	for i, q := range s.Selects {
		if i > 0 {
			w.WriteString(";\n")
		}
		w.query(q)
	}
	return w.String()
}

// Print writes an expression so that reading it gives the same tree.
func Print(e Expr) string {
	var w printer
	w.expr(e, rankOr)
	return w.String()
}

// Ranks say how strongly an expression holds together.
const (
	rankOr = iota
	rankAnd
	rankNot
	rankTest
	rankSum
	rankProduct
	rankUnary
	rankPostfix
)

type printer struct{ strings.Builder }

func (w *printer) comma(i int) {
	if i > 0 {
		w.WriteString(", ")
	}
}

// name writes a name bare where that reads back as the same name.
func (w *printer) name(n *Name) {
	if n.Text != "" && nameLen(n.Text) == len(n.Text) && !isReserved(n.Text) && n.Quoted == Bare {
		w.WriteString(n.Text)
		return
	}
	w.WriteString("[" + strings.ReplaceAll(n.Text, "]", "]]") + "]")
}

// member writes a name behind a dot, where keywords are names.
func (w *printer) member(n *Name) {
	w.WriteByte('.')
	if n.Quoted == Bare && nameLen(n.Text) == len(n.Text) {
		w.WriteString(n.Text)
		return
	}
	w.name(n)
}

func (w *printer) alias(n *Name) {
	w.WriteString(" AS ")
	w.name(n)
}

func (w *printer) query(q *Select) {
	for s := q; s != nil; s = s.Union {
		if s != q {
			w.WriteString("\nUNION\n")
		}
		w.one(s)
	}
}

func (w *printer) one(s *Select) {
	w.WriteString("SELECT ")
	for i := range s.Items {
		w.comma(i)
		it := &s.Items[i]
		switch {
		case it.Expr == nil:
			w.WriteByte('*')
		case it.Star:
			w.expr(it.Expr, rankPostfix)
			w.WriteString(".*")
		default:
			w.expr(it.Expr, rankOr)
		}
		if it.Alias != nil {
			w.alias(it.Alias)
		}
	}
	if s.Into != nil {
		w.WriteString(" INTO ")
		w.name(s.Into)
	}
	w.WriteString("\nFROM ")
	w.from(s.From)
	w.clause("\nWHERE ", s.Where)
	if s.Groups != nil {
		w.WriteString("\nGROUP BY ")
		w.list(s.Groups)
	}
	w.clause("\nHAVING ", s.Having)
}

func (w *printer) clause(head string, e Expr) {
	if e != nil {
		w.WriteString(head)
		w.expr(e, rankOr)
	}
}

func (w *printer) list(l []Expr) {
	for i, e := range l {
		w.comma(i)
		w.expr(e, rankSum)
	}
}

func (w *printer) from(f From) {
	switch f := f.(type) {
	case *Source:
		w.source(f)
	case *Join:
		w.from(f.Left)
		if f.Outer {
			w.WriteString("\nLEFT")
		} else {
			w.WriteString("\nINNER")
		}
		w.WriteString(" JOIN ")
		w.source(f.Right)
		w.clause(" ON ", f.On)
	case *Apply:
		w.from(f.Left)
		if f.Outer {
			w.WriteString("\nOUTER")
		} else {
			w.WriteString("\nCROSS")
		}
		w.WriteString(" APPLY " + f.Func.String() + "(")
		w.expr(f.Arg, rankOr)
		w.WriteByte(')')
		w.alias(&f.Result)
	case *Match:
		w.from(f.Left)
		w.match(f)
	}
}

func (w *printer) source(s *Source) {
	w.name(&s.Name)
	if s.Alias != nil {
		w.alias(s.Alias)
	}
	if s.Timestamp != nil {
		w.WriteString(" TIMESTAMP BY ")
		w.expr(s.Timestamp, rankSum)
		if s.Over != nil {
			w.WriteString(" OVER ")
			w.list(s.Over)
		}
	}
	if s.PartitionBy != nil {
		w.WriteString(" PARTITION BY ")
		w.list(s.PartitionBy)
		if s.Into > 0 {
			fmt.Fprintf(w, " INTO %d", s.Into)
		}
	}
}

func (w *printer) match(m *Match) {
	w.WriteString("\nMATCH_RECOGNIZE (LIMIT ")
	w.duration("DURATION", m.Limit)
	if m.PartitionBy != nil {
		w.WriteString(" PARTITION BY ")
		w.list(m.PartitionBy)
	}
	w.WriteString(" MEASURES ")
	for i := range m.Measures {
		w.comma(i)
		w.expr(m.Measures[i].Expr, rankSum)
		w.alias(&m.Measures[i].Alias)
	}
	w.WriteString(" AFTER MATCH SKIP TO NEXT ROW PATTERN (")
	w.pattern(m.Pattern, false)
	w.WriteString(") DEFINE ")
	for i := range m.Define {
		w.comma(i)
		w.name(&m.Define[i].Name)
		w.WriteString(" AS ")
		w.expr(m.Define[i].When, rankOr)
	}
	w.WriteByte(')')
	w.alias(&m.Result)
}

func (w *printer) pattern(p *Pattern, inner bool) {
	quantified := p.Min != 1 || p.Max != 1
	group := p.Kind == PatternSequence && (inner || quantified) || p.Kind == PatternChoice && (inner || quantified)
	if group {
		w.WriteByte('(')
	}
	switch p.Kind {
	case PatternVariable:
		w.name(&p.Name)
	case PatternAny:
		w.WriteByte('.')
	case PatternSequence:
		for i, s := range p.Subs {
			if i > 0 {
				w.WriteByte(' ')
			}
			w.pattern(s, true)
		}
	case PatternChoice:
		for i, s := range p.Subs {
			if i > 0 {
				w.WriteString(" | ")
			}
			w.pattern(s, s.Kind == PatternChoice)
		}
	}
	if group {
		w.WriteByte(')')
	}
	switch {
	case !quantified:
	case p.Min == 0 && p.Max == 1:
		w.WriteByte('?')
	case p.Min == 0:
		w.WriteByte('*')
	default:
		w.WriteByte('+')
	}
}

func (w *printer) duration(word string, d Duration) {
	fmt.Fprintf(w, "%s(%s, %d)", word, d.Unit, d.Count)
}

// rank gives the rank of an operator.
func (o Op) rank() int {
	switch {
	case o == Or:
		return rankOr
	case o == And:
		return rankAnd
	case o.Comparison():
		return rankTest
	case o <= BitXor:
		return rankSum
	}
	return rankProduct
}

// expr writes e, in brackets when it holds together less than rank asks.
func (w *printer) expr(e Expr, rank int) {
	own := rankOf(e)
	if own < rank {
		w.WriteByte('(')
		defer w.WriteByte(')')
	}
	switch e := e.(type) {
	case *Literal:
		w.literal(e)
	case *Path:
		w.name(&e.Names[0])
		for i := range e.Names[1:] {
			w.member(&e.Names[i+1])
		}
	case *Member:
		w.expr(e.Of, rankPostfix)
		w.member(&e.Name)
	case *Call:
		w.call(e)
	case *Unary:
		if e.Op == Not {
			w.WriteString("NOT ")
			w.expr(e.X, rankNot)
			return
		}
		w.WriteString(e.Op.String())
		// "--" begins a comment, and -1 is a literal of its own.
		if _, ok := e.X.(*Literal); ok {
			w.WriteByte('(')
			w.expr(e.X, rankOr)
			w.WriteByte(')')
			return
		}
		if e.Op == Neg {
			w.WriteByte(' ')
		}
		w.expr(e.X, rankUnary)
	case *Binary:
		left := own
		if e.Op.Comparison() {
			left++
		}
		w.expr(e.X, left)
		w.WriteString(" " + e.Op.String() + " ")
		w.expr(e.Y, own+1)
	case *Between:
		w.expr(e.X, rankSum)
		w.not(e.Not, " BETWEEN ")
		w.expr(e.Lo, rankSum)
		w.WriteString(" AND ")
		w.expr(e.Hi, rankSum)
	case *In:
		w.expr(e.X, rankSum)
		w.not(e.Not, " IN (")
		w.list(e.List)
		w.WriteByte(')')
	case *Like:
		w.expr(e.X, rankSum)
		w.not(e.Not, " LIKE ")
		w.expr(e.Pattern, rankSum)
	case *IsNull:
		w.expr(e.X, rankSum)
		w.WriteString(" IS ")
		if e.Not {
			w.WriteString("NOT ")
		}
		w.WriteString("NULL")
	case *Case:
		w.caseOf(e)
	case *Cast:
		if e.Try {
			w.WriteString("TRY_")
		}
		w.WriteString("CAST(")
		w.expr(e.X, rankOr)
		w.WriteString(" AS " + e.To.String() + ")")
	case *Window:
		w.window(e)
	case *Field:
		w.field(e)
	case *Ref:
		fmt.Fprintf(w, "%s#%d", refNames[e.Kind], e.Index)
	case *Variable:
		w.variable(e)
	}
}

var refNames = [...]string{"analytic", "key", "aggregate", "time", "window"}

// field writes a bound column: the number of its source, and its path in small
// letters, as names are the same in any case.
func (w *printer) field(f *Field) {
	fmt.Fprintf(w, "#%d", f.Source)
	for _, s := range f.Path {
		w.WriteString(".[" + strings.ReplaceAll(strings.ToLower(s), "]", "]]") + "]")
	}
}

func (w *printer) variable(v *Variable) {
	w.WriteString(v.Func + "(" + strings.ToLower(v.Name))
	for _, s := range v.Path {
		w.WriteString(".[" + strings.ReplaceAll(strings.ToLower(s), "]", "]]") + "]")
	}
	w.WriteByte(')')
}

// canon writes a bound expression so that equal texts mean the same.
func canon(e Expr) string { return Print(e) }

func canonAnalytic(a *Analytic) string {
	var w printer
	w.call(a.Call)
	w.over(&Over{PartitionBy: a.PartitionBy, OrderBy: a.OrderBy, Limit: a.Limit, When: a.When})
	return w.String()
}

func canonAggregate(a *Aggregate) string {
	var w printer
	name := "uda." + strings.ToLower(a.User)
	if a.Func != nil {
		name = a.Func.Name
	}
	fmt.Fprintf(&w, "%s %t %t ", name, a.Rows, a.Distinct)
	w.list(a.Args)
	w.over(&Over{OrderBy: a.OrderBy})
	return w.String()
}

func rankOf(e Expr) int {
	switch e := e.(type) {
	case *Binary:
		return e.Op.rank()
	case *Unary:
		if e.Op == Not {
			return rankNot
		}
		return rankUnary
	case *Literal:
		if e.Kind == IntLiteral && e.Int < 0 || e.Kind == FloatLiteral && math.Signbit(e.Float) {
			return rankUnary
		}
	case *Between, *In, *Like, *IsNull:
		return rankTest
	}
	return rankPostfix
}

func (w *printer) not(not bool, s string) {
	if not {
		w.WriteString(" NOT")
	}
	w.WriteString(s)
}

func (w *printer) literal(l *Literal) {
	switch l.Kind {
	case NullLiteral:
		w.WriteString("NULL")
	case IntLiteral:
		w.WriteString(strconv.FormatInt(l.Int, 10))
	case FloatLiteral:
		s := strconv.FormatFloat(l.Float, 'g', -1, 64)
		w.WriteString(s)
		if !strings.ContainsAny(s, ".e") {
			w.WriteString(".0")
		}
	case TextLiteral:
		w.WriteString("'" + strings.ReplaceAll(l.Text, "'", "''") + "'")
	}
}

func (w *printer) call(c *Call) {
	if c.Space != "" {
		w.name(&Name{Text: c.Space})
		w.WriteByte('.')
	}
	w.WriteString(c.Name)
	w.WriteByte('(')
	if c.Distinct {
		w.WriteString("DISTINCT ")
	}
	if c.Star {
		w.WriteByte('*')
	}
	for i, a := range c.Args {
		if c.Star {
			i++
		}
		w.comma(i)
		w.expr(a, rankOr)
	}
	w.WriteByte(')')
	if o := c.Over; o != nil {
		w.over(o)
	}
}

func (w *printer) over(o *Over) {
	w.WriteString(" OVER (")
	part := func(n int) {
		if n > 0 {
			w.WriteByte(' ')
		}
	}
	n := 0
	if o.PartitionBy != nil {
		w.WriteString("PARTITION BY ")
		w.list(o.PartitionBy)
		n++
	}
	if o.OrderBy != nil {
		part(n)
		w.WriteString("ORDER BY ")
		for i, x := range o.OrderBy {
			w.comma(i)
			w.expr(x.Expr, rankSum)
			if x.Desc {
				w.WriteString(" DESC")
			}
		}
		n++
	}
	if o.Limit != nil {
		part(n)
		w.WriteString("LIMIT ")
		w.duration("DURATION", *o.Limit)
		n++
	}
	if o.When != nil {
		part(n)
		w.WriteString("WHEN ")
		w.expr(o.When, rankOr)
	}
	w.WriteByte(')')
}

func (w *printer) caseOf(c *Case) {
	w.WriteString("CASE ")
	if c.Operand != nil {
		w.expr(c.Operand, rankSum)
		w.WriteByte(' ')
	}
	for _, x := range c.Whens {
		w.WriteString("WHEN ")
		w.expr(x.Cond, rankOr)
		w.WriteString(" THEN ")
		w.expr(x.Then, rankOr)
		w.WriteByte(' ')
	}
	w.WriteString("ELSE ")
	w.expr(c.Else, rankOr)
	w.WriteString(" END")
}

func (w *printer) window(x *Window) {
	if x.ID != nil {
		w.WriteString("Window(")
		w.literal(&Literal{Kind: TextLiteral, Text: *x.ID})
		w.WriteString(", ")
		defer w.WriteByte(')')
	}
	w.WriteString(x.Kind.String() + "(")
	switch x.Kind {
	case TumblingWindow, SlidingWindow:
		w.duration("Duration", x.Size)
	case HoppingWindow:
		w.duration("Duration", x.Size)
		w.WriteString(", ")
		w.duration("Hop", x.Hop)
	case SessionWindow:
		w.duration("Timeout", x.Size)
		w.WriteString(", ")
		w.duration("MaxDuration", x.Max)
	case Windows:
		for i, m := range x.Members {
			w.comma(i)
			w.window(m)
		}
	case SnapshotWindow:
	}
	if x.Offset != nil {
		w.WriteString(", ")
		w.duration("Offset", *x.Offset)
	}
	w.WriteByte(')')
	if x.Over != nil {
		w.WriteString(" OVER (PARTITION BY ")
		w.list(x.Over)
		w.WriteByte(')')
	}
}
