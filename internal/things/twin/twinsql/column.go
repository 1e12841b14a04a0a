package twinsql

import (
	"fmt"
	"strconv"

	"dunlin/internal/lang/twinql"
)

// Column is the value of a path as a column of a result, one that can be
// grouped by.
type Column struct {
	SQL   string
	Args  []any
	field field
}

// Column gives the value of a path, false when SQL cannot tell it.
func (c *Compiler) Column(p *twinql.Path) (Column, bool) {
	f := c.field(p)
	out := Column{field: f, SQL: f.sql}
	switch f.kind {
	case opaque, enrolled:
		return out, false
	case constant:
		// Whole sections are objects that are the same in no two rows.
		out.SQL = "0"
		return out, f.value.Kind != twinql.Object
	case document:
		if !c.sayable(f) {
			return out, false
		}
		m := c.member(f)
		out.Args = m.args
		if !c.postgres() {
			out.SQL = f.sql + " -> ?"
			return out, true
		}
		out.SQL = "(" + m.typ[len("json_typeof("):len(m.typ)-1] + ")::text"
	default:
	}
	return out, true
}

// JSON gives the value as JSON text, "" when it is undefined. v is what was
// read of the column: nil, an int64, a string or bytes.
func (c *Column) JSON(v any) (string, error) {
	s, isText := v.(string)
	if b, ok := v.([]byte); ok {
		s, isText = string(b), true
	}
	n, isNumber := v.(int64)
	switch k := c.field.kind; {
	case k == constant:
		return valueJSON(c.field.value), nil
	case v == nil && k == nullable:
		return "null", nil
	case v == nil:
		return "", nil
	case isText && k == document:
		return s, nil
	case isText && (k == text || k == nullable):
		return valueJSON(twinql.TextValue(s)), nil
	case isNumber && k == number:
		return strconv.FormatInt(n, 10), nil
	case isNumber && k == boolean:
		return strconv.FormatBool(n != 0), nil
	case isNumber && k == instant:
		return valueJSON(twinql.TextValue(timeText(n))), nil
	case isNumber && k == enumerated && n >= 0 && n < int64(len(c.field.words)):
		return valueJSON(twinql.TextValue(c.field.words[n])), nil
	}
	return "", fmt.Errorf("twinsql: a column of the kind %d holds %T", c.field.kind, v)
}

// Measure is what aggregates need of a path, as columns over a group: how many
// numbers, their sum, least and greatest, the least and greatest text, and how
// many values of any type.
type Measure struct {
	SQL  string // seven columns
	Args []any
}

// MeasureColumns is the number of columns of a Measure.
const MeasureColumns = 7

// Measure gives it, false when SQL cannot tell it.
func (c *Compiler) Measure(p *twinql.Path) (Measure, bool) {
	f := c.field(p)
	var numbers, texts, values string
	var numberArgs, textArgs, valueArgs []any
	switch {
	case f.kind == document && c.sayable(f):
		m := c.member(f)
		numbers, numberArgs = m.number()
		texts, textArgs = "CASE WHEN "+m.is(twinql.Text)+" THEN "+m.content+" END", m.with()
		values, valueArgs = m.typ, m.args
	case f.kind == number:
		numbers, texts, values = c.double(f.sql), c.noText(), f.sql
	default:
		return Measure{}, false
	}
	if c.postgres() {
		texts = "(" + texts + `) COLLATE "C"`
	}
	// A sum of doubles can be too large for one, which is an error there.
	sum := "sum(" + numbers + ")"
	if c.postgres() {
		sum = "sum((" + numbers + ")::numeric)::text"
	}
	out := Measure{SQL: "count(" + numbers + "), " + sum + ", min(" + numbers + "), max(" + numbers + "), min(" + texts + "), max(" + texts + "), count(" + values + ")"}
	for _, a := range [...][]any{numberArgs, numberArgs, numberArgs, numberArgs, textArgs, textArgs, valueArgs} {
		out.Args = append(out.Args, a...)
	}
	return out, true
}

func (c *Compiler) noText() string {
	if c.postgres() {
		return "NULL::text"
	}
	return "NULL"
}

func valueJSON(v twinql.Value) string {
	switch v.Kind {
	case twinql.Null:
		return "null"
	case twinql.Bool:
		return strconv.FormatBool(v.Truth)
	case twinql.Number:
		return strconv.FormatFloat(v.Number, 'g', -1, 64)
	case twinql.Text:
		return quote(v.Text)
	default:
	}
	return ""
}

func quote(s string) string {
	b := make([]byte, 0, len(s)+2)
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20:
			b = fmt.Appendf(b, `\u%04x`, c)
		default:
			b = append(b, c)
		}
	}
	return string(append(b, '"'))
}
