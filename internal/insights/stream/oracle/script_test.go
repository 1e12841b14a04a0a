package oracle_test

import (
	"fmt"
	"strings"

	"pgregory.net/rapid"
)

// kind is what the generator knows of an expression.
type kind int

const (
	number   kind = iota // bigint, float or null
	text                 // or null
	instant              // datetime or null
	bit                  // or null
	anything             // whatever an event brings
	list                 // array or null
	opaque               // only good for output: it depends on rounding or order
)

type column struct {
	name string
	kind kind
}

// table is what a query can read.
type table struct {
	name    string
	columns []column
	input   bool
	// ordered: the order of rows with the same timestamp is that of the events.
	ordered bool
}

var payload = []column{
	{"k", text}, {"n", number}, {"x", number}, {"s", text}, {"b", bit}, {"m", anything}, {"l", anything}, {"r", anything}, {"r.a", anything}, {"r.c.d", anything},
}

// theme says what scripts are about.
type theme struct{ windows, joins, analytics, substreams bool }

// writer makes random scripts.
type writer struct {
	*rapid.T
	theme  theme
	tables []table
	names  int
}

func (w *writer) int(lo, hi int) int { return rapid.IntRange(lo, hi).Draw(w.T, "n") }

// chance is true in so many of a hundred cases, and false in small examples.
func (w *writer) chance(percent int) bool { return w.int(0, 99) >= 100-percent }

func pick[T any](w *writer, list ...T) T { return list[w.int(0, len(list)-1)] }

func (w *writer) name(prefix string) string {
	w.names++
	return fmt.Sprintf("%s%d", prefix, w.names)
}

// scope is what an expression may name.
type scope struct {
	columns []column // with their prefixes
	times   []string // sources whose name stands for a time
	extra   func(depth int) (string, kind)
}

func (t *table) scope(prefix string) scope {
	s := scope{}
	for _, c := range t.columns {
		s.columns = append(s.columns, column{prefix + c.name, c.kind})
	}
	return s
}

func (s scope) of(k kind) (names []string) {
	for _, c := range s.columns {
		if c.kind == k {
			names = append(names, c.name)
		}
	}
	return names
}

// column picks a column of a kind; where there is none, something else.
func (w *writer) column(s scope, k kind, otherwise ...string) string {
	if names := s.of(k); len(names) > 0 {
		return pick(w, names...)
	}
	return pick(w, otherwise...)
}

func (w *writer) whole(lo, hi int) string { return fmt.Sprint(w.int(lo, hi)) }

// value writes an expression of a kind.
func (w *writer) value(s scope, k kind, depth int) string {
	if s.extra != nil && w.chance(15) {
		if e, have := s.extra(depth); have == k {
			return e
		}
	}
	switch k {
	case number:
		return w.number(s, depth)
	case text:
		return w.text(s, depth)
	case instant:
		return w.instant(s, depth)
	case bit:
		if depth > 0 && w.chance(30) {
			return "TRY_CAST(" + w.value(s, pick(w, number, text, anything), depth-1) + " AS bit)"
		}
		return w.column(s, bit, "TRY_CAST(1 AS bit)", "TRY_CAST('x' AS bit)")
	case anything:
		return w.any(s, depth)
	case list, opaque:
	}
	return w.column(s, list, "NULL")
}

func (w *writer) number(s scope, depth int) string {
	if depth <= 0 || w.chance(30) {
		if w.chance(30) {
			return pick(w, "0", "1", "2", "3", "-1", "0.5", "2.25", "10", "-7.5", "1e2")
		}
		return w.column(s, number, "1", "2", "0.5")
	}
	n := func() string { return w.value(s, number, depth-1) }
	switch w.int(0, 18) {
	case 0:
		return "(" + n() + " + " + n() + ")"
	case 1:
		return "(" + n() + " - " + n() + ")"
	case 2:
		return "(" + n() + " * " + n() + ")"
	case 3:
		return "(" + n() + " / " + n() + ")"
	case 4:
		return "(" + n() + " % " + n() + ")"
	case 5:
		return "-(" + n() + ")"
	case 6:
		return pick(w, "ABS", "FLOOR", "CEILING", "SIGN", "SQUARE") + "(" + n() + ")"
	case 7:
		return "ROUND(" + n() + ", " + w.whole(0, 2) + ")"
	case 8:
		return "LEN(" + w.value(s, text, depth-1) + ")"
	case 9:
		return "CHARINDEX(" + w.value(s, text, depth-1) + ", " + w.value(s, text, depth-1) + ")"
	case 10:
		return "TRY_CAST(" + w.value(s, pick(w, number, text, bit), depth-1) + " AS " + pick(w, "bigint", "float") + ")"
	case 11:
		return w.caseOf(s, number, depth)
	case 12:
		return "COALESCE(" + n() + ", " + n() + ")"
	case 13:
		return "NULLIF(" + n() + ", " + n() + ")"
	case 14:
		return "DATEDIFF(" + w.unit() + ", " + w.instantOrSource(s, depth-1) + ", " + w.instantOrSource(s, depth-1) + ")"
	case 15:
		return "DATEPART(" + w.unit() + ", " + w.value(s, instant, depth-1) + ")"
	case 16:
		return "(TRY_CAST(" + n() + " AS bigint) " + pick(w, "&", "|", "^") + " TRY_CAST(" + n() + " AS bigint))"
	case 17:
		return "GetArrayLength(TRY_CAST(" + w.column(s, anything, "NULL") + " AS array))"
	}
	// What fails with some events.
	if w.chance(90) {
		return n()
	}
	return "(" + w.column(s, anything, "1") + " + 1)"
}

func (w *writer) unit() string {
	return pick(w, "second", "minute", "hour", "day", "month", "year", "millisecond", "ss", "week", "quarter")
}

func (w *writer) instantOrSource(s scope, depth int) string {
	if len(s.times) > 0 && w.chance(50) {
		return pick(w, s.times...)
	}
	return w.value(s, instant, depth)
}

func (w *writer) text(s scope, depth int) string {
	if depth <= 0 || w.chance(30) {
		if w.chance(30) {
			return pick(w, "''", "'a'", "'b'", "'ab'", "'A'", "'a%'", "'12'")
		}
		return w.column(s, text, "'a'", "'b'")
	}
	t := func() string { return w.value(s, text, depth-1) }
	n := func() string { return "TRY_CAST(" + w.value(s, number, depth-1) + " AS bigint)" }
	switch w.int(0, 10) {
	case 0:
		return "CONCAT(" + t() + ", " + w.any(s, depth-1) + ")"
	case 1:
		return pick(w, "UPPER", "LOWER", "REVERSE", "TRIM", "LTRIM") + "(" + t() + ")"
	case 2:
		return "SUBSTRING(" + t() + ", " + n() + ", " + w.whole(0, 3) + ")"
	case 3:
		return "REPLACE(" + t() + ", " + t() + ", " + t() + ")"
	case 4:
		return "CAST(" + w.value(s, pick(w, number, text, bit, instant), depth-1) + " AS nvarchar(max))"
	case 5:
		return "GetType(" + w.any(s, depth-1) + ")"
	case 6:
		return "(" + t() + " + " + t() + ")"
	case 7:
		return w.caseOf(s, text, depth)
	case 8:
		return "COALESCE(" + t() + ", " + t() + ")"
	case 9:
		return "LEFT(" + t() + ", " + w.whole(0, 2) + ")"
	}
	return "CONCAT_WS('-', " + t() + ", " + t() + ")"
}

func (w *writer) instant(s scope, depth int) string {
	if depth <= 0 || w.chance(40) {
		if names := s.of(instant); len(names) > 0 && w.chance(60) {
			return pick(w, names...)
		}
		return pick(w, "System.Timestamp()", "CAST('2024-01-01T00:00:05Z' AS datetime)", "System.Timestamp")
	}
	switch w.int(0, 2) {
	case 0:
		return "DATEADD(" + w.unit() + ", " + w.whole(-3, 3) + ", " + w.value(s, instant, depth-1) + ")"
	case 1:
		return "TRY_CAST(" + pick(w, w.column(s, anything, "NULL"), w.text(s, depth-1)) + " AS datetime)"
	}
	return w.caseOf(s, instant, depth)
}

func (w *writer) any(s scope, depth int) string {
	if w.chance(40) {
		return w.column(s, anything, "NULL", "1", "'a'")
	}
	if depth > 0 && w.chance(20) {
		if w.chance(50) {
			return "GetArrayElement(TRY_CAST(" + w.column(s, anything, "NULL") + " AS array), " + w.whole(0, 2) + ")"
		}
		return "GetRecordPropertyValue(TRY_CAST(" + w.column(s, anything, "NULL") + " AS record), " + pick(w, "'a'", "'A'", "'c'", w.value(s, text, depth-1)) + ")"
	}
	return w.value(s, pick(w, number, text, instant, bit), depth)
}

func (w *writer) caseOf(s scope, k kind, depth int) string {
	var b strings.Builder
	b.WriteString("CASE")
	simple := w.chance(30)
	if simple {
		b.WriteString(" " + w.value(s, number, depth-1))
	}
	for range w.int(1, 2) {
		var cond string
		if simple {
			cond = w.value(s, number, 0)
		} else {
			cond = w.cond(s, depth-1)
		}
		b.WriteString(" WHEN " + cond + " THEN " + w.value(s, k, depth-1))
	}
	b.WriteString(" ELSE " + w.value(s, k, depth-1) + " END")
	return b.String()
}

// cond writes a condition.
func (w *writer) cond(s scope, depth int) string {
	op := func() string { return pick(w, "=", "<>", "<", "<=", ">", ">=", "!=", "!<", "!>") }
	not := func() string {
		if w.chance(30) {
			return "NOT "
		}
		return ""
	}
	if depth > 0 {
		switch w.int(0, 5) {
		case 0:
			return "(" + w.cond(s, depth-1) + " AND " + w.cond(s, depth-1) + ")"
		case 1:
			return "(" + w.cond(s, depth-1) + " OR " + w.cond(s, depth-1) + ")"
		case 2:
			return "NOT (" + w.cond(s, depth-1) + ")"
		}
	}
	switch w.int(0, 8) {
	case 0, 1:
		return w.value(s, number, depth) + " " + op() + " " + w.value(s, number, depth)
	case 2:
		return w.value(s, text, depth) + " " + op() + " " + w.value(s, text, depth)
	case 3:
		return w.value(s, instant, depth) + " " + op() + " " + w.value(s, instant, depth)
	case 4:
		return w.any(s, depth) + " IS " + not() + "NULL"
	case 5:
		return w.value(s, text, depth) + " " + not() + "LIKE " + pick(w, "'a%'", "'%b'", "'%a%'", "'_'", "'[a-b]%'", "'[^a]'", "'%'", "''", "'a_%b'", "'[a'", w.value(s, text, 0))
	case 6:
		return w.value(s, number, depth) + " " + not() + "BETWEEN " + w.value(s, number, 0) + " AND " + w.value(s, number, 0)
	case 7:
		if w.chance(50) {
			return w.value(s, text, depth) + " " + not() + "IN ('a', 'b', 'ab')"
		}
		return w.value(s, number, depth) + " " + not() + "IN (1, 2.5, " + w.value(s, number, 0) + ")"
	}
	if w.chance(95) {
		return w.value(s, bit, depth) + " = 1"
	}
	return w.column(s, anything, "1") + " " + op() + " " + pick(w, "1", "'a'", "2.5")
}

// duration writes a unit and a number, separated by a comma.
func (w *writer) duration() string {
	return pick(w, "second, "+w.whole(1, 12), "millisecond, "+fmt.Sprint(500*w.int(1, 10)), "minute, 1", "ss, 3")
}
