package asa

import (
	"fmt"
	"slices"
	"strings"

	"dunlin/internal/lang/diag"
)

// Level is a compatibility level: 10, 11 or 12 for 1.0, 1.1 and 1.2.
type Level int

// Catalog is what a script may refer to.
type Catalog struct {
	// Streams and References are the names of inputs. When both are nil every
	// name that is no step is a stream.
	Streams, References []string
	Outputs             []string // nil: any name
	Functions           []string // names of user-defined functions and aggregates; nil: any name
	Level               Level    // 0 means 12
}

// maxSpan is the longest window, bound of a join and LIMIT DURATION, in ticks.
const maxSpan = 7 * tickDay

// Bind resolves the names of a script that was read from text, and finds what
// is wrong with it as far as that can be known before an event is seen. notes
// are about what works, but perhaps not as meant. Errors are of type
// *diag.Error.
func Bind(s *Script, text string, c Catalog) (p *Plan, notes []*diag.Error, err error) {
	if c.Level == 0 {
		c.Level = 12
	}
	b := &binder{text: text, catalog: c, plan: new(Plan), named: map[string]*Relation{}, tables: map[string]*Table{}}
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(*diag.Error)
			if !ok {
				panic(r)
			}
			p, notes, err = nil, nil, e
		}
	}()
	b.script(s)
	return b.plan, b.notes, nil
}

// binder stops at the first error: fail panics with it and Bind recovers.
type binder struct {
	text    string
	catalog Catalog
	plan    *Plan
	named   map[string]*Relation // inputs and steps by name in small letters
	tables  map[string]*Table
	notes   []*diag.Error
}

func (b *binder) fail(pos int, hint, format string, args ...any) {
	panic(diag.At(b.text, pos, hint, format, args...))
}

func (b *binder) note(pos int, hint, format string, args ...any) {
	b.notes = append(b.notes, diag.At(b.text, pos, hint, format, args...))
}

func (b *binder) script(s *Script) {
	for _, t := range s.Tables {
		key := strings.ToLower(t.Name.Text)
		if b.tables[key] != nil {
			b.fail(t.Pos(), "", "the table '%s' is declared twice", t.Name.Text)
		}
		for i, c := range t.Columns {
			for _, d := range t.Columns[:i] {
				if strings.EqualFold(c.Name.Text, d.Name.Text) {
					b.fail(c.Name.Pos(), "", "the column '%s' is declared twice", c.Name.Text)
				}
			}
		}
		if b.inputKind(t.Name.Text) == nil {
			b.fail(t.Name.Pos(), diag.DidYouMean(t.Name.Text, b.inputNames()), "there is no input '%s'", t.Name.Text)
		}
		b.tables[key] = t
	}
	for _, st := range s.Steps {
		key := strings.ToLower(st.Name.Text)
		if b.named[key] != nil {
			b.fail(st.Name.Pos(), "", "there is an input or step '%s' already", st.Name.Text)
		}
		if b.catalog.known() && b.inputKind(st.Name.Text) != nil {
			b.fail(st.Name.Pos(), "", "there is an input '%s' already", st.Name.Text)
		}
		r := b.union(st.Query)
		r.Name = st.Name.Text
		b.named[key] = r
	}
	for _, q := range s.Selects {
		name := "output"
		if q.Into != nil {
			name = q.Into.Text
			if o := b.catalog.Outputs; o != nil && !containsFold(o, name) {
				b.fail(q.Into.Pos(), diag.DidYouMean(name, o), "there is no output '%s'", name)
			}
		}
		out := b.output(name)
		out.From = append(out.From, b.union(q))
	}
}

func (c *Catalog) known() bool { return c.Streams != nil || c.References != nil }

func containsFold(list []string, s string) bool {
	return slices.ContainsFunc(list, func(x string) bool { return strings.EqualFold(x, s) })
}

func (b *binder) output(name string) *Output {
	for _, o := range b.plan.Outputs {
		if strings.EqualFold(o.Name, name) {
			return o
		}
	}
	o := &Output{Name: name}
	b.plan.Outputs = append(b.plan.Outputs, o)
	return o
}

// inputKind answers the kind of an input; nil when there is none.
func (b *binder) inputKind(name string) *RelationKind {
	kind := StreamInput
	switch {
	case containsFold(b.catalog.References, name):
		kind = ReferenceInput
	case b.catalog.known() && !containsFold(b.catalog.Streams, name):
		return nil
	}
	return &kind
}

func (b *binder) inputNames() []string {
	return slices.Concat(b.catalog.Streams, b.catalog.References)
}

// relation finds an input or step.
func (b *binder) relation(n *Name) *Relation {
	key := strings.ToLower(n.Text)
	if r := b.named[key]; r != nil {
		return r
	}
	kind := b.inputKind(n.Text)
	if kind == nil {
		names := b.inputNames()
		for _, r := range b.plan.Relations {
			names = append(names, r.Name)
		}
		b.fail(n.Pos(), diag.DidYouMean(n.Text, names), "there is no input or step '%s'", n.Text)
	}
	r := &Relation{Kind: *kind, Name: n.Text, Open: true}
	if t := b.tables[key]; t != nil {
		r.Declare = t.Columns
		for _, c := range t.Columns {
			r.Columns = append(r.Columns, c.Name.Text)
		}
	}
	b.named[key] = r
	b.plan.Relations = append(b.plan.Relations, r)
	return r
}

// union binds SELECTs that UNION joins.
func (b *binder) union(q *Select) *Relation {
	var parts []*Relation
	for s := q; s != nil; s = s.Union {
		r := b.query(s)
		if len(parts) > 0 {
			b.sameShape(s, parts[0], r)
		}
		parts = append(parts, r)
	}
	if len(parts) == 1 {
		return parts[0]
	}
	u := &Relation{Kind: United, Parts: parts, Columns: parts[0].Columns}
	for _, p := range parts {
		u.Open = u.Open || p.Open
	}
	b.plan.Relations = append(b.plan.Relations, u)
	return u
}

func (b *binder) sameShape(s *Select, first, r *Relation) {
	if first.Open || r.Open {
		return
	}
	if len(first.Columns) != len(r.Columns) {
		b.fail(s.Pos(), "", "the parts of a UNION have %d and %d columns", len(first.Columns), len(r.Columns))
	}
	for i := range r.Columns {
		if !strings.EqualFold(first.Columns[i], r.Columns[i]) {
			b.note(s.Items[min(i, len(s.Items)-1)].Pos(), "name it with AS", "column %d of this part of the UNION is named '%s', but '%s' in the first part, which counts",
				i+1, r.Columns[i], first.Columns[i])
		}
	}
}

// query binds one SELECT.
func (b *binder) query(s *Select) *Relation {
	q := &selectBinder{binder: b, sel: s, q: new(Query)}
	q.from(s.From)
	if s.Where != nil {
		q.q.Where = q.predicate(s.Where, scope{analytic: true})
	}
	q.groups()
	q.items()
	q.having()
	r := &Relation{Kind: Computed, Query: q.q}
	for _, c := range q.q.Columns {
		switch {
		case c.Name != "":
			r.Columns = append(r.Columns, c.Name)
		case c.Star >= 0:
			names, open := q.columnsOf(c.Star)
			for _, n := range names {
				// What is written goes before what * gives.
				if _, written := q.aliases[strings.ToLower(n)]; !written && !containsFold(r.Columns, n) {
					r.Columns = append(r.Columns, n)
				}
			}
			r.Open = r.Open || open
		default:
			r.Open = true
		}
	}
	b.plan.Relations = append(b.plan.Relations, r)
	return r
}

// selectBinder binds one SELECT.
type selectBinder struct {
	*binder
	sel     *Select
	q       *Query
	grouped bool
	aliases map[string]int // of Columns, for HAVING
	match   *Match         // while its expressions are bound
}

// columnsOf gives the columns of a source that are known, and whether there
// may be more.
func (q *selectBinder) columnsOf(source int) (names []string, open bool) {
	in := q.q.Sources[source]
	if in.Relation != nil {
		return in.Relation.Columns, in.Relation.Open
	}
	return in.Columns, false
}

// add makes in a source of the query.
func (q *selectBinder) add(in *Input, name *Name) int {
	in.Name = name.Text
	for _, other := range q.q.Sources {
		if strings.EqualFold(other.Name, in.Name) {
			q.fail(name.Pos(), "name one of them with AS", "two sources have the name '%s'", in.Name)
		}
	}
	q.q.Sources = append(q.q.Sources, in)
	return len(q.q.Sources) - 1
}

func (q *selectBinder) from(f From) {
	switch f := f.(type) {
	case *Source:
		in := q.source(f)
		in.Kind = FirstInput
		if in.Relation.Kind == ReferenceInput {
			q.fail(f.Pos(), "read a stream and join the reference data to it", "'%s' is reference data, which brings no events", f.Name.Text)
		}
	case *Join:
		q.from(f.Left)
		q.join(f)
	case *Apply:
		q.from(f.Left)
		in := &Input{at: f.at, Kind: ApplyInput, Outer: f.Outer, Apply: f.Func, Columns: []string{"ArrayIndex", "ArrayValue"}}
		want := Array
		if f.Func == GetRecordProperties {
			in.Columns, want = []string{"PropertyName", "PropertyValue"}, Record
		}
		in.Arg = q.value(f.Arg, scope{analytic: true})
		if t := q.typeOf(in.Arg); t != Any && t != want {
			q.fail(f.Arg.Pos(), "", "%s takes %s, not a %s", f.Func, an(want), t)
		}
		q.add(in, &f.Result)
	case *Match:
		q.from(f.Left)
		q.bindMatch(f)
	}
}

func (q *selectBinder) source(s *Source) *Input {
	in := &Input{at: s.at, Relation: q.relation(&s.Name), Into: s.Into}
	name := &s.Name
	if s.Alias != nil {
		name = s.Alias
	}
	n := q.add(in, name)
	sc := scope{only: true, source: n}
	isInput := in.Relation.Kind == StreamInput
	if s.Timestamp != nil {
		switch {
		case in.Relation.Kind == ReferenceInput:
			q.fail(s.Timestamp.Pos(), "", "reference data has no time")
		case !isInput:
			q.fail(s.Timestamp.Pos(), "write TIMESTAMP BY where the step reads the input", "TIMESTAMP BY belongs to an input, '%s' is a step", s.Name.Text)
		}
		sc.payload = true
		in.Timestamp = q.value(s.Timestamp, sc)
		switch t := q.typeOf(in.Timestamp); t {
		case Any, Datetime, NVarchar:
		case Bit, Bigint, Float, Record, Array:
			q.fail(s.Timestamp.Pos(), "", "TIMESTAMP BY takes a datetime, not a %s", t)
		}
	}
	for _, e := range s.Over {
		in.Over = append(in.Over, q.value(e, sc))
	}
	for _, e := range s.PartitionBy {
		in.PartitionBy = append(in.PartitionBy, q.value(e, scope{only: true, source: n}))
	}
	return in
}

// groups binds GROUP BY: one window, and the other keys.
func (q *selectBinder) groups() {
	if q.sel.Groups == nil {
		return
	}
	q.grouped = true
	var snapshot Expr
	for _, g := range q.sel.Groups {
		w, ok := g.(*Window)
		if !ok {
			if isTimestamp(g) {
				snapshot = g
			}
			key := q.value(g, scope{analytic: true, key: true})
			if t := q.typeOf(key); t == Record || t == Array {
				q.fail(g.Pos(), "group by a member of it", "rows cannot be grouped by a %s", t)
			}
			q.q.Keys = append(q.q.Keys, key)
			continue
		}
		if q.q.Window != nil {
			q.fail(w.Pos(), "list them in one Windows(...)", "GROUP BY has two windows")
		}
		q.q.Window = q.window(w)
	}
	if q.q.Window != nil {
		return
	}
	if snapshot == nil {
		q.fail(q.sel.Groups[0].Pos(), "such as TumblingWindow(second, 10), or System.Timestamp() for events of the same time",
			"a window must be specified in GROUP BY: a stream has no end")
	}
	q.q.Window = &Window{at: at(snapshot.Pos()), Kind: SnapshotWindow}
	q.q.Keys = slices.DeleteFunc(q.q.Keys, func(e Expr) bool {
		r, ok := e.(*Ref)
		return ok && r.Kind == TimeRef
	})
}

// window checks a window and binds the keys of a session.
func (q *selectBinder) window(w *Window) *Window {
	out := *w
	check := func(d Duration, what string) {
		if d.Unit.Ticks() > 0 && d.Count > maxSpan/d.Unit.Ticks() {
			q.fail(d.Pos(), "keep what must live longer in a table", "the %s is longer than 7 days", what)
		}
	}
	switch w.Kind {
	case SnapshotWindow:
	case Windows:
		out.Members = nil
		for _, m := range w.Members {
			out.Members = append(out.Members, q.window(m))
		}
	case SessionWindow:
		check(w.Size, "timeout of the session")
		check(w.Max, "longest duration of the session")
		if w.Size.Ticks() > w.Max.Ticks() {
			q.fail(w.Max.Pos(), "", "the session may last %d ticks at most, which is less than its timeout", w.Max.Ticks())
		}
	case HoppingWindow:
		check(w.Hop, "hop")
		check(w.Size, "window")
	case TumblingWindow, SlidingWindow:
		check(w.Size, "window")
	}
	out.Over = nil
	for _, e := range w.Over {
		out.Over = append(out.Over, q.value(e, scope{analytic: true}))
	}
	return &out
}

func isTimestamp(e Expr) bool {
	c, ok := e.(*Call)
	return ok && strings.EqualFold(c.Space, "System") && strings.EqualFold(c.Name, "Timestamp")
}

// items binds the select list.
func (q *selectBinder) items() {
	q.aliases = map[string]int{}
	for i := range q.sel.Items {
		it := &q.sel.Items[i]
		switch {
		case it.Expr == nil:
			q.star(it)
		case it.Star:
			q.spread(it)
		default:
			q.column(it, i)
		}
	}
}

func (q *selectBinder) star(it *Item) {
	switch last := len(q.q.Sources) - 1; {
	case q.grouped:
		q.fail(it.Pos(), "select the keys and aggregates; Collect() keeps whole events", "SELECT * cannot be grouped")
	case q.q.Match != nil:
		q.q.Columns = append(q.q.Columns, OutputColumn{Star: last})
	case last > 0:
		q.fail(it.Pos(), "write "+q.q.Sources[0].Name+".*", "SELECT * does not say which of the joined sources is meant")
	default:
		q.q.Columns = append(q.q.Columns, OutputColumn{Star: 0})
	}
}

// spread binds source.* and path.*.
func (q *selectBinder) spread(it *Item) {
	if q.grouped {
		q.fail(it.Pos(), "", "rows of groups have no columns to spread")
	}
	path, ok := it.Expr.(*Path)
	if ok && len(path.Names) == 1 {
		if n := q.sourceNamed(path.Names[0].Text); n >= 0 {
			q.q.Columns = append(q.q.Columns, OutputColumn{Star: n})
			return
		}
	}
	e := q.value(it.Expr, scope{analytic: true})
	if t := q.typeOf(e); t != Any && t != Record {
		q.fail(it.Expr.Pos(), "", "only records have members to spread, this is a %s", t)
	}
	q.q.Columns = append(q.q.Columns, OutputColumn{Expr: e, Star: -1})
}

func (q *selectBinder) column(it *Item, i int) {
	e := q.result(it.Expr)
	name := ""
	pos := it.Pos()
	switch x := it.Expr.(type) {
	case *Path:
		name = x.Last().Text
	case *Member:
		name = x.Name.Text
	}
	if it.Alias != nil {
		name, pos = it.Alias.Text, it.Alias.Pos()
	}
	if name == "" {
		name = fmt.Sprintf("col%d", i+1)
		q.note(pos, "name it with AS", "column %d has no name and is called '%s'", i+1, name)
	}
	if q.catalog.Level < 11 {
		name = strings.ToLower(name)
	}
	key := strings.ToLower(name)
	if _, twice := q.aliases[key]; twice {
		q.fail(pos, "name it with AS", "two columns have the name '%s'", name)
	}
	q.aliases[key] = len(q.q.Columns)
	q.q.Columns = append(q.q.Columns, OutputColumn{Name: name, Expr: e, Star: -1})
}

// result binds a value of the result: of each row, or of each group.
func (q *selectBinder) result(e Expr) Expr {
	if !q.grouped {
		return q.value(e, scope{analytic: true})
	}
	return q.regroup(q.value(e, scope{analytic: true, aggregate: true}))
}

func (q *selectBinder) having() {
	h := q.sel.Having
	if h == nil {
		return
	}
	if !q.grouped {
		// Without groups it is one more filter.
		e := q.predicate(h, scope{analytic: true, having: true})
		if q.q.Where == nil {
			q.q.Where = e
		} else {
			q.q.Where = &Binary{at: at(h.Pos()), Op: And, X: q.q.Where, Y: e}
		}
		return
	}
	q.q.Having = q.regroup(q.predicate(h, scope{analytic: true, aggregate: true, having: true}))
}
