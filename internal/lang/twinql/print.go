package twinql

import (
	"fmt"
	"strconv"
	"strings"
)

// String writes the query so that parsing it gives the same query.
func (q *Query) String() string {
	var w printer
	w.WriteString("SELECT ")
	if q.Top > 0 {
		fmt.Fprintf(&w, "TOP %d ", q.Top)
	}
	if q.Star {
		w.WriteByte('*')
	}
	for i := range q.Columns {
		w.comma(i)
		w.expr(q.Columns[i].Expr, rankOr)
		if as := q.Columns[i].As; as != "" {
			w.WriteString(" AS ")
			w.alias(as)
		}
	}
	w.WriteString(" FROM " + q.From.String())
	if q.Where != nil {
		w.WriteString(" WHERE ")
		w.expr(q.Where, rankOr)
	}
	for i, p := range q.GroupBy {
		if i == 0 {
			w.WriteString(" GROUP BY ")
		}
		w.comma(i)
		w.path(p)
	}
	return w.String()
}

// Print writes an expression so that parsing it gives the same expression.
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
	rankCompare
	rankSum
	rankProduct
	rankOperand
)

func rankOf(e Expr) int {
	switch e := e.(type) {
	case *Logic:
		if e.Op == And {
			return rankAnd
		}
		return rankOr
	case *Not:
		return rankNot
	case *In:
		return rankCompare
	case *Binary:
		switch e.Op {
		case Add, Subtract:
			return rankSum
		case Multiply, Divide, Modulo:
			return rankProduct
		default:
		}
		return rankCompare
	}
	return rankOperand
}

type printer struct{ strings.Builder }

func (w *printer) comma(i int) {
	if i > 0 {
		w.WriteString(", ")
	}
}

// expr writes e, in brackets when it holds together less than least.
func (w *printer) expr(e Expr, least int) {
	if rank := rankOf(e); rank < least {
		w.WriteByte('(')
		defer w.WriteByte(')')
	}
	switch e := e.(type) {
	case *Literal:
		w.value(e.Value)
	case *Path:
		w.path(e)
	case *Logic:
		for i, t := range e.Terms {
			if i > 0 {
				w.WriteString(" " + e.Op.String() + " ")
			}
			w.expr(t, rankOf(e)+1)
		}
	case *Not:
		w.WriteString("NOT ")
		w.expr(e.Operand, rankNot)
	case *Negate:
		w.WriteByte('-')
		w.expr(e.Operand, rankOperand)
	case *Binary:
		left, right := rankOf(e), rankOf(e)+1
		if e.Op.Compares() {
			left = rankSum
		}
		w.expr(e.Left, left)
		w.WriteString(" " + e.Op.String() + " ")
		w.expr(e.Right, right)
	case *In:
		w.expr(e.Operand, rankSum)
		if e.Negated {
			w.WriteString(" NOT")
		}
		w.WriteString(" IN [")
		for i, v := range e.List {
			w.comma(i)
			w.value(v)
		}
		w.WriteByte(']')
	case *Call:
		w.WriteString(e.Function.Name + "(")
		for i, a := range e.Args {
			w.comma(i)
			w.expr(a, rankOr)
		}
		w.WriteByte(')')
	case *Aggregate:
		w.WriteString(e.Kind.String() + "(")
		if e.Path != nil {
			w.path(e.Path)
		}
		w.WriteByte(')')
	}
}

func (w *printer) path(p *Path) {
	for i, s := range p.Steps {
		if s.Name == "" {
			fmt.Fprintf(w, "[%d]", s.Index)
			continue
		}
		if i > 0 {
			w.WriteByte('.')
		}
		w.name(s.Name, i == 0)
	}
}

func (w *printer) name(s string, first bool) {
	plain := nameLen(s) == len(s)
	if first {
		// TOP and DISTINCT would be taken for what may follow SELECT.
		plain = plain && nameStart(s) && keyword(s) == "" && !strings.EqualFold(s, "TOP") && !strings.EqualFold(s, "DISTINCT")
	}
	if plain {
		w.WriteString(s)
		return
	}
	w.WriteString("[[" + s + "]]")
}

func (w *printer) alias(s string) {
	if nameLen(s) == len(s) && nameStart(s) {
		w.WriteString(s)
		return
	}
	w.text(s)
}

func (w *printer) value(v Value) {
	switch v.Kind {
	case Null:
		w.WriteString("null")
	case Bool:
		w.WriteString(strconv.FormatBool(v.Truth))
	case Number:
		w.WriteString(strconv.FormatFloat(v.Number, 'g', -1, 64))
	case Text:
		w.text(v.Text)
	default:
		w.WriteString("undefined")
	}
}

func (w *printer) text(s string) {
	w.WriteByte('\'')
	for _, r := range s {
		switch {
		case r == '\'' || r == '\\':
			w.WriteByte('\\')
			w.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(w, `\u%04x`, r)
		default:
			w.WriteRune(r)
		}
	}
	w.WriteByte('\'')
}
