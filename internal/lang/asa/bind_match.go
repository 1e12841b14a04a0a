package asa

import (
	"strings"

	"dunlin/internal/lang/diag"
)

// bindMatch binds MATCH_RECOGNIZE.
func (q *selectBinder) bindMatch(m *Match) {
	if len(q.q.Sources) != 1 {
		q.fail(m.Pos(), "join in a step before", "MATCH_RECOGNIZE works on one source")
	}
	q.span(m.Limit, "LIMIT DURATION")
	out := &BoundMatch{Limit: m.Limit, Pattern: m.Pattern}
	in := &Input{at: m.at, Kind: MatchInput}
	for _, e := range m.PartitionBy {
		out.PartitionBy = append(out.PartitionBy, q.value(e, scope{only: true, source: 0}))
		if p, ok := e.(*Path); ok {
			in.Columns = append(in.Columns, p.Last().Text)
		}
	}
	variables := variablesOf(m.Pattern, nil)
	q.match = m
	seen := map[string]bool{}
	for _, d := range m.Define {
		key := strings.ToLower(d.Name.Text)
		switch {
		case !containsFold(variables, d.Name.Text):
			q.fail(d.Name.Pos(), diag.DidYouMean(d.Name.Text, variables), "the pattern has no variable '%s'", d.Name.Text)
		case seen[key]:
			q.fail(d.Name.Pos(), "", "the variable '%s' is defined twice", d.Name.Text)
		}
		seen[key] = true
		when := q.predicate(d.When, scope{})
		Walk(when, func(e Expr) {
			v, ok := e.(*Variable)
			if ok && !seen[strings.ToLower(v.Name)] {
				q.fail(v.Pos(), "", "the definition of '%s' uses '%s', which comes later", d.Name.Text, v.Name)
			}
		})
		out.Define = append(out.Define, Definition{Name: d.Name, When: when})
	}
	for _, x := range m.Measures {
		if containsFold(in.Columns, x.Alias.Text) {
			q.fail(x.Alias.Pos(), "", "two columns have the name '%s'", x.Alias.Text)
		}
		out.Measures = append(out.Measures, Measure{Expr: q.measure(x.Expr), Alias: x.Alias})
		in.Columns = append(in.Columns, x.Alias.Text)
	}
	q.match = nil
	q.q.Match = out
	q.add(in, &m.Result)
}

// measure binds an expression of MEASURES, where Classifier() may stand.
func (q *selectBinder) measure(e Expr) Expr {
	if c, ok := e.(*Call); ok && c.Space == "" && strings.EqualFold(c.Name, "Classifier") && len(c.Args) == 0 {
		return &Variable{at: c.at, Func: "CLASSIFIER"}
	}
	return q.value(e, scope{})
}

func variablesOf(p *Pattern, list []string) []string {
	if p.Kind == PatternVariable && !containsFold(list, p.Name.Text) {
		list = append(list, p.Name.Text)
	}
	for _, s := range p.Subs {
		list = variablesOf(s, list)
	}
	return list
}

// variable binds V.name within MATCH_RECOGNIZE.
func (q *selectBinder) variable(p *Path, names []string) Expr {
	variables := variablesOf(q.match.Pattern, nil)
	if !containsFold(variables, names[0]) {
		q.fail(p.Pos(), diag.DidYouMean(names[0], variables), "'%s' is no variable of the pattern", names[0])
	}
	if len(names) == 1 {
		q.fail(p.Pos(), "such as "+names[0]+".value", "a column of the events of '%s' is expected", names[0])
	}
	return &Variable{at: p.at, Name: names[0], Path: names[1:]}
}

// matchCall binds MIN, MAX, FIRST and LAST of a column of a variable; nil for
// any other call.
func (q *selectBinder) matchCall(c *Call) Expr {
	name := strings.ToUpper(c.Name)
	switch name {
	case "MIN", "MAX", "FIRST", "LAST":
	default:
		return nil
	}
	if c.Space != "" || c.Over != nil || c.Star || c.Distinct {
		return nil
	}
	if len(c.Args) == 1 {
		if v, ok := q.value(c.Args[0], scope{}).(*Variable); ok && v.Func == "" {
			return &Variable{at: c.at, Name: v.Name, Path: v.Path, Func: name}
		}
	}
	q.fail(c.Pos(), "such as "+name+"(A.value)", "%s takes one column of a variable here", name)
	return nil
}
