package asa

import "strings"

// aggregate binds an aggregate of a group; f is nil for a user-defined one.
func (q *selectBinder) aggregate(c *Call, f *Function, sc scope) Expr {
	name := c.Name
	if f != nil {
		name = f.Name
	} else {
		q.userName(c)
	}
	switch {
	case sc.inside != "":
		q.fail(c.Pos(), "", "%s cannot stand in %s", name, sc.inside)
	case sc.key:
		q.fail(c.Pos(), "", "%s cannot be a key of GROUP BY", name)
	case !sc.aggregate && !q.grouped && f != nil && f.Over:
		q.fail(c.Pos(), "write GROUP BY TumblingWindow(second, 10), or "+name+"(...) OVER (LIMIT DURATION(second, 10))",
			"%s needs a window: a stream has no end", name)
	case !sc.aggregate:
		q.fail(c.Pos(), "", "%s can stand only in the SELECT and HAVING of a GROUP BY", name)
	}
	a := &Aggregate{at: c.at, Func: f, Distinct: c.Distinct}
	inner := scope{analytic: true, inside: name}
	if f == nil {
		a.User = c.Name
		if c.Over != nil || c.Star || c.Distinct {
			q.fail(c.Pos(), "", "a user-defined aggregate takes arguments only")
		}
		if len(c.Args) != 1 {
			q.fail(c.Pos(), "", "a user-defined aggregate takes one argument, not %d", len(c.Args))
		}
	}
	q.arguments(a, c, f, inner)
	if o := c.Over; o != nil && f != nil {
		if o.PartitionBy != nil || o.When != nil || !f.Order {
			q.fail(o.Pos(), "add LIMIT DURATION to look at the events before, or use GROUP BY", "%s of a group has no such OVER", name)
		}
		a.OrderBy = q.orders(o.OrderBy, inner)
	}
	if f != nil && f.Order && a.OrderBy == nil {
		q.fail(c.Pos(), name+"(...) OVER (ORDER BY column)", "%s needs to know the order", name)
	}
	if f != nil && strings.HasPrefix(f.Name, "PERCENTILE") {
		q.percentile(a)
	}
	for i, other := range q.q.Aggregates {
		if canonAggregate(other) == canonAggregate(a) {
			return &Ref{at: c.at, Kind: AggregateRef, Index: i}
		}
	}
	q.q.Aggregates = append(q.q.Aggregates, a)
	return &Ref{at: c.at, Kind: AggregateRef, Index: len(q.q.Aggregates) - 1}
}

// arguments binds what an aggregate takes: values, or whole rows.
func (q *selectBinder) arguments(a *Aggregate, c *Call, f *Function, sc scope) {
	args := c.Args
	if f != nil {
		q.count(c, f, len(args))
		if f.Name == "CollectTop" {
			n, ok := args[0].(*Literal)
			if !ok || n.Kind != IntLiteral || n.Int < 1 {
				q.fail(args[0].Pos(), "", "CollectTop takes a whole number above 0 that stands in the text")
			}
			a.Args = append(a.Args, n)
			args = args[1:]
		}
		if c.Star && f.Name != "COUNT" {
			q.fail(c.Pos(), "", "%s does not take *", f.Name)
		}
	}
	if len(args) == 0 {
		a.Rows = true
		return
	}
	if n, ok := q.rows(args[0]); ok {
		a.Rows = true
		if f == nil || f.Name != "COUNT" || c.Distinct {
			a.Args = append(a.Args, &Field{at: at(args[0].Pos()), Source: n})
		}
		return
	}
	x := q.value(args[0], sc)
	if f != nil {
		want := f.arg(len(a.Args))
		if f.Name == "MIN" || f.Name == "MAX" {
			if t := q.typeOf(x); t == Record || t == Array {
				q.fail(args[0].Pos(), "", "%s cannot order a %s", f.Name, t)
			}
		} else if want != Any {
			q.needs(x, want, f.Name)
		}
	}
	a.Args = append(a.Args, x)
}

func (q *selectBinder) percentile(a *Aggregate) {
	p, ok := a.Args[0].(*Literal)
	share := -1.0
	if ok {
		switch p.Kind {
		case IntLiteral:
			share = float64(p.Int)
		case FloatLiteral:
			share = p.Float
		case NullLiteral, TextLiteral:
		}
	}
	if share < 0 || share > 1 {
		q.fail(a.Args[0].Pos(), "such as 0.95", "%s takes a number from 0 to 1 that stands in the text", a.Func.Name)
	}
	if len(a.OrderBy) != 1 {
		q.fail(a.Pos(), "", "%s takes one column in ORDER BY", a.Func.Name)
	}
	q.needs(a.OrderBy[0].Expr, Float, a.Func.Name)
}

func (q *selectBinder) orders(list []Order, sc scope) (out []Order) {
	for _, o := range list {
		x := q.value(o.Expr, sc)
		if t := q.typeOf(x); t == Record || t == Array {
			q.fail(o.Expr.Pos(), "", "rows cannot be ordered by a %s", t)
		}
		out = append(out, Order{Expr: x, Desc: o.Desc})
	}
	return out
}

// analytic binds a function of the rows before.
func (q *selectBinder) analytic(c *Call, f *Function, sc scope) Expr {
	switch {
	case sc.inside != "" && sc.inside != "an analytic function" && sc.analytic:
		// an argument of an aggregate: it is computed before
	case sc.inside != "":
		q.fail(c.Pos(), "compute it in a step before", "%s cannot stand in %s", f.Name, sc.inside)
	case !sc.analytic:
		q.fail(c.Pos(), "compute it in a step before", "%s cannot stand here", f.Name)
	}
	if q.match != nil {
		q.fail(c.Pos(), "", "%s cannot stand in MATCH_RECOGNIZE", f.Name)
	}
	inner := scope{only: true, inside: "an analytic function"}
	a := &Analytic{at: c.at, Func: f}
	bound := &Call{at: c.at, Name: f.Name, Star: c.Star, Distinct: c.Distinct}
	n := len(c.Args)
	if c.Star && f.Class == History {
		n++
	}
	q.count(c, f, n)
	if c.Distinct || f.Class == Grouping && !f.Over {
		q.fail(c.Pos(), "use GROUP BY with a window", "%s does not look back with LIMIT DURATION", f.Name)
	}
	if c.Star && f.Name != "COUNT" && f.Name != "LAG" && f.Name != "LAST" {
		q.fail(c.Pos(), "", "%s does not take *", f.Name)
	}
	for i, x := range c.Args {
		at := i
		if c.Star && f.Class == History {
			at++
		}
		switch _, row := q.rows(x); {
		case at == 0 && f.Unit:
			u := q.unit(x)
			if d, _ := unitOf(u.(*Literal).Text); d.Ticks() == 0 {
				q.fail(x.Pos(), "day, hour, minute, second, millisecond and microsecond are", "'%s' is no unit for intervals", u.(*Literal).Text)
			}
			bound.Args = append(bound.Args, u)
		case row && f.Class == Grouping:
			bound.Star = true
		default:
			v := q.value(x, inner)
			if want := f.arg(at); want != Any {
				q.needs(v, want, f.Name)
			}
			bound.Args = append(bound.Args, v)
		}
	}
	q.analyticConstants(bound, f, c)
	q.analyticOver(a, c, f, inner)
	a.Call = bound
	key := canonAnalytic(a)
	for i, other := range q.q.Analytic {
		if canonAnalytic(other) == key {
			return &Ref{at: c.at, Kind: AnalyticRef, Index: i}
		}
	}
	q.q.Analytic = append(q.q.Analytic, a)
	return &Ref{at: c.at, Kind: AnalyticRef, Index: len(q.q.Analytic) - 1}
}

// analyticConstants checks arguments that must stand in the text.
func (q *selectBinder) analyticConstants(c *Call, f *Function, was *Call) {
	const most = 1 << 20
	whole := func(i int) {
		if i >= len(c.Args) {
			return
		}
		if l, ok := c.Args[i].(*Literal); !ok || l.Kind != IntLiteral || l.Int < 1 || l.Int > most {
			q.fail(c.Args[i].Pos(), "", "%s takes a whole number from 1 to %d here that stands in the text", f.Name, most)
		}
	}
	switch f.Name {
	case "LAG":
		if was.Star {
			whole(0)
		} else {
			whole(1)
		}
	case "ISFIRST":
		whole(1)
	case "CollectTop":
		whole(0)
	case "AnomalyDetection_SpikeAndDip":
		whole(2)
		mode, ok := c.Args[3].(*Literal)
		if !ok || mode.Kind != TextLiteral || !containsFold([]string{"spikes", "dips", "spikesanddips"}, mode.Text) {
			q.fail(c.Args[3].Pos(), "'spikes', 'dips' or 'spikesanddips'", "%s takes what it looks for as a text", f.Name)
		}
	case "AnomalyDetection_ChangePoint":
		whole(2)
	}
}

func (q *selectBinder) analyticOver(a *Analytic, c *Call, f *Function, sc scope) {
	o := c.Over
	if o == nil {
		if f.Name == "ISFIRST" {
			return
		}
		q.fail(c.Pos(), f.Name+"(...) OVER (LIMIT DURATION(minute, 5))", "%s needs to know how far to look back", f.Name)
	}
	for _, e := range o.PartitionBy {
		a.PartitionBy = append(a.PartitionBy, q.value(e, sc))
	}
	if o.OrderBy != nil && !f.Order {
		q.fail(o.Pos(), "", "%s has no ORDER BY: events are in the order of time", f.Name)
	}
	a.OrderBy = q.orders(o.OrderBy, sc)
	if f.Order && a.OrderBy == nil {
		q.fail(c.Pos(), "", "%s needs to know the order", f.Name)
	}
	switch {
	case f.Name == "ISFIRST":
		if o.Limit != nil {
			q.fail(o.Limit.Pos(), "", "ISFIRST has an interval, and no LIMIT DURATION")
		}
	case o.Limit == nil:
		q.fail(o.Pos(), "LIMIT DURATION(minute, 5)", "%s needs to know how far to look back", f.Name)
	default:
		q.span(*o.Limit, "LIMIT DURATION")
	}
	a.Limit = o.Limit
	if o.When != nil {
		a.When = q.predicate(o.When, sc)
	}
}

// span checks a length of time to look back.
func (q *selectBinder) span(d Duration, what string) {
	switch n := d.Unit.Ticks(); {
	case n == 0:
		q.fail(d.Pos(), "day, hour, minute, second, millisecond and microsecond are", "'%s' is no unit for %s", d.Unit, what)
	case d.Count < 1:
		q.fail(d.Pos(), "", "%s must be longer than nothing", what)
	case d.Count > maxSpan/n:
		q.fail(d.Pos(), "", "%s is longer than 7 days", what)
	}
}

// regroup puts keys in the place of what they were made of, and refuses what
// differs within a group.
func (q *selectBinder) regroup(e Expr) Expr {
	if r, ok := e.(*Ref); ok && r.Kind != AnalyticRef {
		if r.Kind == TimeRef && r.Index >= 0 {
			q.fail(e.Pos(), "use an aggregate such as MAX", "the time of '%s' differs within a group", q.q.Sources[r.Index].Name)
		}
		return r
	}
	if _, ok := e.(*Literal); !ok {
		text := canon(e)
		for i, k := range q.q.Keys {
			if canon(k) == text {
				return &Ref{at: at(e.Pos()), Kind: KeyRef, Index: i}
			}
		}
	}
	switch e := e.(type) {
	case *Field:
		name := strings.Join(e.Path, ".")
		if name == "" {
			name = q.q.Sources[e.Source].Name
		}
		q.fail(e.Pos(), "add it to GROUP BY, or use an aggregate such as MAX or TopOne", "'%s' differs within a group", name)
	case *Ref:
		q.fail(e.Pos(), "add it to GROUP BY, or compute it in a step", "an analytic function differs within a group")
	}
	return rebuild(e, q.regroup)
}

// rebuild copies a node with other children.
func rebuild(e Expr, f func(Expr) Expr) Expr {
	list := func(l []Expr) []Expr {
		var out []Expr
		for _, x := range l {
			out = append(out, f(x))
		}
		return out
	}
	switch e := e.(type) {
	case *Member:
		return &Member{at: e.at, Of: f(e.Of), Name: e.Name}
	case *Call:
		c := *e
		c.Args = list(e.Args)
		return &c
	case *Unary:
		return &Unary{at: e.at, Op: e.Op, X: f(e.X)}
	case *Binary:
		return &Binary{at: e.at, Op: e.Op, X: f(e.X), Y: f(e.Y)}
	case *Between:
		return &Between{at: e.at, X: f(e.X), Lo: f(e.Lo), Hi: f(e.Hi), Not: e.Not}
	case *In:
		return &In{at: e.at, X: f(e.X), List: list(e.List), Not: e.Not}
	case *Like:
		return &Like{at: e.at, X: f(e.X), Pattern: f(e.Pattern), Not: e.Not}
	case *IsNull:
		return &IsNull{at: e.at, X: f(e.X), Not: e.Not}
	case *Case:
		c := &Case{at: e.at, Else: f(e.Else)}
		if e.Operand != nil {
			c.Operand = f(e.Operand)
		}
		for _, w := range e.Whens {
			c.Whens = append(c.Whens, When{f(w.Cond), f(w.Then)})
		}
		return c
	case *Cast:
		return &Cast{at: e.at, X: f(e.X), To: e.To, Try: e.Try}
	}
	return e
}

// Walk calls f for a bound expression and everything in it.
func Walk(e Expr, f func(Expr)) {
	f(e)
	rebuild(e, func(x Expr) Expr {
		Walk(x, f)
		return x
	})
}
