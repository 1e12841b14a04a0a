package asa

import (
	"fmt"
	"math"
	"strings"
)

// String explains the plan: a block for each relation, what goes into each
// output at the end. Equal plans have equal texts.
func (p *Plan) String() string {
	var w printer
	numbers := map[*Relation]int{}
	for i, r := range p.Relations {
		numbers[r] = i
		fmt.Fprintf(&w, "r%d", i)
		if r.Name != "" {
			w.WriteString(" " + r.Name)
		}
		switch r.Kind {
		case StreamInput:
			w.WriteString(" = stream")
		case ReferenceInput:
			w.WriteString(" = reference data")
		case United:
			w.WriteString(" = union of")
			for _, x := range r.Parts {
				fmt.Fprintf(&w, " r%d", numbers[x])
			}
		case Computed:
			w.WriteString(" = select")
		}
		for _, c := range r.Declare {
			fmt.Fprintf(&w, " %s:%s", c.Name.Text, c.Type)
		}
		w.WriteByte('\n')
		if r.Query != nil {
			w.boundQuery(r.Query, numbers)
		}
	}
	for _, o := range p.Outputs {
		w.WriteString("output " + o.Name + " <-")
		for _, r := range o.From {
			fmt.Fprintf(&w, " r%d", numbers[r])
		}
		w.WriteByte('\n')
	}
	return w.String()
}

var inputNames = [...]string{"from", "join", "reference join", "apply", "match"}

func (w *printer) boundQuery(q *Query, numbers map[*Relation]int) {
	for i, in := range q.Sources {
		fmt.Fprintf(w, "  #%d %s", i, inputNames[in.Kind])
		if in.Outer {
			w.WriteString(" outer")
		}
		if in.Relation != nil {
			fmt.Fprintf(w, " r%d", numbers[in.Relation])
		}
		w.WriteString(" as " + in.Name)
		w.clause(" timestamp by ", in.Timestamp)
		w.exprs(" over ", in.Over)
		w.exprs(" partition by ", in.PartitionBy)
		for _, t := range in.Bounds {
			w.bound(&t)
		}
		for j := range in.Left {
			w.WriteString(" where ")
			w.expr(in.Left[j], rankOr)
			w.WriteString(" = ")
			w.expr(in.Right[j], rankOr)
		}
		w.clause(" and ", in.On)
		if in.Kind == ApplyInput {
			w.WriteString(" " + in.Apply.String())
			w.clause(" of ", in.Arg)
		}
		w.WriteByte('\n')
	}
	if m := q.Match; m != nil {
		w.WriteString("  match ")
		w.pattern(m.Pattern, false)
		for _, d := range m.Define {
			w.clause(" "+d.Name.Text+": ", d.When)
		}
		for _, x := range m.Measures {
			w.clause(" "+x.Alias.Text+" = ", x.Expr)
		}
		w.WriteByte('\n')
	}
	for i, a := range q.Analytic {
		fmt.Fprintf(w, "  analytic#%d = %s\n", i, canonAnalytic(a))
	}
	w.line("  where ", q.Where)
	if q.Window != nil {
		w.WriteString("  window ")
		w.window(q.Window)
		w.WriteByte('\n')
	}
	for i, k := range q.Keys {
		w.line(fmt.Sprintf("  key#%d = ", i), k)
	}
	for i, a := range q.Aggregates {
		fmt.Fprintf(w, "  aggregate#%d = %s\n", i, canonAggregate(a))
	}
	w.line("  having ", q.Having)
	for i := range q.Columns {
		c := &q.Columns[i]
		switch {
		case c.Name != "":
			w.line("  "+c.Name+" = ", c.Expr)
		case c.Star >= 0:
			fmt.Fprintf(w, "  all of #%d\n", c.Star)
		default:
			w.line("  members of ", c.Expr)
		}
	}
}

func (w *printer) line(head string, e Expr) {
	if e != nil {
		w.clause(head, e)
		w.WriteByte('\n')
	}
}

func (w *printer) exprs(head string, list []Expr) {
	if list != nil {
		w.WriteString(head)
		w.list(list)
	}
}

func (w *printer) bound(t *TimeBound) {
	side := func(n int64) string {
		if n == math.MinInt64 || n == math.MaxInt64 {
			return "*"
		}
		return fmt.Sprint(n)
	}
	fmt.Fprintf(w, " within %s..%s %s of #%d to #%d", side(t.Lo), side(t.Hi), strings.ToLower(t.Unit.String()), t.From, t.To)
}
