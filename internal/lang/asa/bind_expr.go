package asa

import (
	"slices"
	"strings"

	"dunlin/internal/lang/diag"
)

// scope says what an expression may hold.
type scope struct {
	only      bool // columns without a prefix are of source
	source    int
	payload   bool // only what the event brought: TIMESTAMP BY
	analytic  bool // analytic functions may stand here
	aggregate bool // aggregates may stand here
	having    bool // names of columns of the result, too
	key       bool // a key of GROUP BY
	on        bool // ON: the names of sources stand for their times in DATEDIFF
	inside    string
}

// predicate binds a condition.
func (q *selectBinder) predicate(e Expr, sc scope) Expr {
	switch e := e.(type) {
	case *Binary:
		if e.Op == And || e.Op == Or {
			return &Binary{at: e.at, Op: e.Op, X: q.predicate(e.X, sc), Y: q.predicate(e.Y, sc)}
		}
		if e.Op.Comparison() {
			out := &Binary{at: e.at, Op: e.Op, X: q.value(e.X, sc), Y: q.value(e.Y, sc)}
			q.comparable(out.X, out.Y, e.Pos())
			return out
		}
	case *Unary:
		if e.Op == Not {
			return &Unary{at: e.at, Op: Not, X: q.predicate(e.X, sc)}
		}
	case *Between:
		out := &Between{at: e.at, X: q.value(e.X, sc), Lo: q.value(e.Lo, sc), Hi: q.value(e.Hi, sc), Not: e.Not}
		q.comparable(out.X, out.Lo, e.Lo.Pos())
		q.comparable(out.X, out.Hi, e.Hi.Pos())
		return out
	case *In:
		out := &In{at: e.at, X: q.value(e.X, sc), Not: e.Not}
		for _, x := range e.List {
			out.List = append(out.List, q.constant(x, sc))
			q.comparable(out.X, out.List[len(out.List)-1], x.Pos())
		}
		return out
	case *Like:
		out := &Like{at: e.at, X: q.value(e.X, sc), Pattern: q.constant(e.Pattern, sc), Not: e.Not}
		q.needs(out.X, NVarchar, "LIKE")
		q.needs(out.Pattern, NVarchar, "LIKE")
		return out
	case *IsNull:
		return &IsNull{at: e.at, X: q.value(e.X, sc), Not: e.Not}
	}
	q.fail(e.Pos(), "compare it with something, such as = 1", "a condition is expected, not a value")
	return nil
}

// constant binds an element of a list; a name in double quotes is a text there.
func (q *selectBinder) constant(e Expr, sc scope) Expr {
	if p, ok := e.(*Path); ok && len(p.Names) == 1 && p.Names[0].Quoted == Double {
		q.note(p.Pos(), "write '"+p.Names[0].Text+"'", "a text stands in double quotes, which are for names")
		return &Literal{at: p.at, Kind: TextLiteral, Text: p.Names[0].Text}
	}
	return q.value(e, sc)
}

// value binds an expression that is no condition.
func (q *selectBinder) value(e Expr, sc scope) Expr {
	switch e := e.(type) {
	case *Literal:
		return e
	case *Path:
		return q.path(e, sc)
	case *Member:
		of := q.value(e.Of, sc)
		if t := q.typeOf(of); t != Any && t != Record {
			q.fail(e.Pos(), "", "only records have members, this is a %s", t)
		}
		return &Member{at: e.at, Of: of, Name: e.Name}
	case *Call:
		return q.call(e, sc)
	case *Unary:
		if e.Op != Not {
			x := q.value(e.X, sc)
			if e.Op == Neg {
				q.needs(x, Float, "-")
			} else {
				q.needs(x, Bigint, "~")
			}
			return &Unary{at: e.at, Op: e.Op, X: x}
		}
	case *Binary:
		if e.Op >= Add {
			out := &Binary{at: e.at, Op: e.Op, X: q.value(e.X, sc), Y: q.value(e.Y, sc)}
			q.arithmetic(out)
			return out
		}
	case *Case:
		return q.caseOf(e, sc)
	case *Cast:
		x := q.value(e.X, sc)
		if t := q.typeOf(x); !castable(t, e.To) {
			q.fail(e.Pos(), "", "a %s cannot be cast to %s", t, e.To)
		}
		return &Cast{at: e.at, X: x, To: e.To, Try: e.Try}
	case *Window:
		q.fail(e.Pos(), "", "a window belongs into GROUP BY")
	}
	q.fail(e.Pos(), "write CASE WHEN ... THEN 1 ELSE 0 END", "a condition stands where a value is expected")
	return nil
}

func (q *selectBinder) caseOf(e *Case, sc scope) Expr {
	out := &Case{at: e.at}
	if e.Operand != nil {
		out.Operand = q.value(e.Operand, sc)
	}
	for _, w := range e.Whens {
		var n When
		if e.Operand != nil {
			n.Cond = q.value(w.Cond, sc)
			q.comparable(out.Operand, n.Cond, w.Cond.Pos())
		} else {
			n.Cond = q.predicate(w.Cond, sc)
		}
		n.Then = q.value(w.Then, sc)
		out.Whens = append(out.Whens, n)
	}
	out.Else = q.value(e.Else, sc)
	return out
}

// sourceNamed finds a source by its name; -1 when there is none.
func (q *selectBinder) sourceNamed(name string) int {
	return slices.IndexFunc(q.q.Sources, func(in *Input) bool { return strings.EqualFold(in.Name, name) })
}

// path binds a column, or a member of a record in it.
func (q *selectBinder) path(p *Path, sc scope) Expr {
	names := make([]string, len(p.Names))
	for i := range p.Names {
		names[i] = p.Names[i].Text
	}
	if q.match != nil {
		return q.variable(p, names)
	}
	if sc.having && len(names) == 1 {
		if i, ok := q.aliases[strings.ToLower(names[0])]; ok {
			return q.q.Columns[i].Expr
		}
	}
	if n := q.sourceNamed(names[0]); n >= 0 && len(names) > 1 {
		if sc.only && n != sc.source {
			q.fail(p.Pos(), "", "only columns of '%s' can stand here", q.q.Sources[sc.source].Name)
		}
		q.columnOf(n, names[1], p.Names[1].Pos())
		return &Field{at: p.at, Source: n, Path: names[1:]}
	}
	return &Field{at: p.at, Source: q.owner(p, names[0], sc), Path: names}
}

// columnOf checks that a source may have a column.
func (q *selectBinder) columnOf(n int, name string, pos int) {
	known, open := q.columnsOf(n)
	if !open && !containsFold(known, name) {
		q.fail(pos, diag.DidYouMean(name, known), "'%s' has no column '%s': it has %s", q.q.Sources[n].Name, name, diag.Clip(strings.Join(known, ", ")))
	}
}

// owner finds the source that a column without prefix is of.
func (q *selectBinder) owner(p *Path, name string, sc scope) int {
	if sc.only {
		q.columnOf(sc.source, name, p.Pos())
		return sc.source
	}
	if len(q.q.Sources) == 1 {
		q.columnOf(0, name, p.Pos())
		return 0
	}
	if q.q.Match != nil { // its result hides what it was made of
		last := len(q.q.Sources) - 1
		q.columnOf(last, name, p.Pos())
		return last
	}
	var certain, possible []int
	for n := range q.q.Sources {
		known, open := q.columnsOf(n)
		switch {
		case containsFold(known, name):
			certain = append(certain, n)
		case open:
			possible = append(possible, n)
		}
	}
	switch {
	case len(certain) == 1:
		return certain[0]
	case len(certain) == 0 && len(possible) == 1:
		return possible[0]
	case len(certain)+len(possible) == 0:
		var all []string
		for n := range q.q.Sources {
			known, _ := q.columnsOf(n)
			all = append(all, known...)
		}
		q.fail(p.Pos(), diag.DidYouMean(name, all), "no source has a column '%s'", name)
	}
	q.fail(p.Pos(), "such as "+q.q.Sources[0].Name+"."+name, "'%s' does not say which of the joined sources is meant", name)
	return 0
}

// rows reports whether an argument stands for whole rows: the name of a source.
func (q *selectBinder) rows(e Expr) (source int, ok bool) {
	p, isPath := e.(*Path)
	if !isPath || len(p.Names) != 1 {
		return 0, false
	}
	n := q.sourceNamed(p.Names[0].Text)
	return n, n >= 0
}

// call binds a call of any kind.
func (q *selectBinder) call(c *Call, sc scope) Expr {
	if q.match != nil {
		if e := q.matchCall(c); e != nil {
			return e
		}
	}
	space := strings.ToLower(c.Space)
	switch space {
	case "system":
		return q.system(c, sc)
	case "udf":
		return q.user(c, sc)
	case "uda":
		return q.aggregate(c, nil, sc)
	case "":
	default:
		if q.catalog.Level >= 12 || FunctionOf(c.Name) == nil {
			q.fail(c.Pos(), "user-defined functions are called UDF.name, aggregates uda.name", "'%s' is no prefix of functions", c.Space)
		}
	}
	f := FunctionOf(c.Name)
	if f == nil {
		if _, ok := windowKinds[strings.ToLower(c.Name)]; ok {
			q.fail(c.Pos(), "", "a window belongs into GROUP BY")
		}
		q.fail(c.Pos(), diag.DidYouMean(c.Name, functionNames()), "there is no function '%s'", diag.Clip(c.Name))
	}
	if c.Distinct && f.Name != "COUNT" {
		q.fail(c.Pos(), "", "only COUNT takes DISTINCT")
	}
	switch f.Class {
	case Grouping:
		if c.Over != nil && c.Over.Limit != nil {
			return q.analytic(c, f, sc)
		}
		return q.aggregate(c, f, sc)
	case History:
		return q.analytic(c, f, sc)
	case TableLike:
		q.fail(c.Pos(), "write CROSS APPLY "+f.Name+"(...) AS name", "%s belongs behind APPLY", f.Name)
	case Metadata:
		return q.metadata(c, f)
	case Scalar:
	}
	if c.Over != nil {
		q.fail(c.Over.Pos(), "", "%s has no OVER", f.Name)
	}
	return q.scalar(c, f, sc)
}

func (q *selectBinder) count(c *Call, f *Function, n int) {
	if n >= f.Min && (n <= f.Max || f.Max < 0) {
		return
	}
	want := "no argument"
	switch {
	case f.Max < 0:
		want = plural(f.Min) + " or more"
	case f.Min == f.Max && f.Max > 0:
		want = plural(f.Min)
	case f.Max > 0:
		want = plural(f.Min) + " to " + plural(f.Max)
	}
	q.fail(c.Pos(), "", "%s takes %s, not %d", f.Name, want, n)
}

func plural(n int) string {
	words := [...]string{"no argument", "one argument", "two arguments", "three arguments", "four arguments", "five arguments", "six arguments", "seven arguments"}
	return words[min(n, len(words)-1)]
}

func (q *selectBinder) scalar(c *Call, f *Function, sc scope) Expr {
	if c.Star {
		q.fail(c.Pos(), "", "%s does not take *", f.Name)
	}
	q.count(c, f, len(c.Args))
	out := &Call{at: c.at, Name: f.Name}
	for i, a := range c.Args {
		if i == 0 && f.Unit {
			out.Args = append(out.Args, q.unit(a))
			continue
		}
		if n, ok := q.rows(a); ok && f.Name == "DATEDIFF" && q.match == nil {
			if sc.payload {
				q.fail(a.Pos(), "", "TIMESTAMP BY can use only what the event brings")
			}
			out.Args = append(out.Args, &Ref{at: at(a.Pos()), Kind: TimeRef, Index: n})
			continue
		}
		x := q.value(a, sc)
		if want := f.arg(i); want != Any {
			q.needs(x, want, f.Name)
		}
		out.Args = append(out.Args, x)
	}
	return out
}

// unit binds the name of a unit of time: a text with its full name.
func (q *selectBinder) unit(e Expr) Expr {
	p, ok := e.(*Path)
	if !ok || len(p.Names) != 1 {
		q.fail(e.Pos(), "such as second", "a unit of time is expected")
	}
	u, ok := unitOf(p.Names[0].Text)
	if !ok {
		q.fail(e.Pos(), diag.DidYouMean(p.Names[0].Text, unitNames[:]), "'%s' is no unit of time", p.Names[0].Text)
	}
	return &Literal{at: p.at, Kind: TextLiteral, Text: u.String()}
}

// system binds System.Timestamp() and System.Window().
func (q *selectBinder) system(c *Call, sc scope) Expr {
	switch {
	case strings.EqualFold(c.Name, "Timestamp") && len(c.Args) == 0 && !c.Star:
		if sc.payload {
			q.fail(c.Pos(), "", "TIMESTAMP BY can use only what the event brings")
		}
		return &Ref{at: c.at, Kind: TimeRef, Index: -1}
	case strings.EqualFold(c.Name, "Window") && len(c.Args) == 0 && !c.Star:
		if !sc.aggregate {
			q.fail(c.Pos(), "", "System.Window() belongs into the SELECT of a GROUP BY")
		}
		return &Ref{at: c.at, Kind: WindowRef, Index: -1}
	}
	q.fail(c.Pos(), "there are System.Timestamp() and System.Window()", "there is no function 'System.%s'", diag.Clip(c.Name))
	return nil
}

// user binds a call of a user-defined function.
func (q *selectBinder) user(c *Call, sc scope) Expr {
	q.userName(c)
	if sc.inside != "" && !sc.analytic { // an aggregate of a group may hold one
		q.fail(c.Pos(), "compute it in a step before", "a user-defined function cannot stand in %s", sc.inside)
	}
	if c.Star || c.Distinct || c.Over != nil {
		q.fail(c.Pos(), "", "a user-defined function takes arguments only")
	}
	out := &Call{at: c.at, Space: "udf", Name: c.Name}
	for _, a := range c.Args {
		if n, ok := q.rows(a); ok && q.match == nil && (!sc.only || n == sc.source) { // the whole event
			out.Args = append(out.Args, &Field{at: at(a.Pos()), Source: n})
			continue
		}
		out.Args = append(out.Args, q.value(a, sc))
	}
	return out
}

func (q *selectBinder) userName(c *Call) {
	if f := q.catalog.Functions; f != nil && !containsFold(f, c.Name) {
		q.fail(c.Pos(), diag.DidYouMean(c.Name, f), "there is no user-defined function '%s'", diag.Clip(c.Name))
	}
}

// metadata binds GetMetadataPropertyValue(source, 'path').
func (q *selectBinder) metadata(c *Call, f *Function) Expr {
	q.count(c, f, len(c.Args))
	n, ok := q.rows(c.Args[0])
	if !ok {
		q.fail(c.Args[0].Pos(), "", "%s takes the name of a source first", f.Name)
	}
	if r := q.q.Sources[n].Relation; r == nil || r.Kind != StreamInput {
		q.fail(c.Args[0].Pos(), "select it where the input is read", "'%s' is no input: its rows have no metadata", q.q.Sources[n].Name)
	}
	path, ok := c.Args[1].(*Literal)
	if !ok || path.Kind != TextLiteral {
		q.fail(c.Args[1].Pos(), "", "%s takes the path as a text", f.Name)
	}
	return &Call{at: c.at, Name: f.Name, Args: []Expr{&Field{at: at(c.Args[0].Pos()), Source: n}, path}}
}
