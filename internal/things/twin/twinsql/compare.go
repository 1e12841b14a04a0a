package twinsql

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"dunlin/internal/engine/state"
	"dunlin/internal/lang/twinql"
)

const (
	never    = "0001-01-01T00:00:00Z"
	timeForm = "2006-01-02T15:04:05.0000000Z"
)

// timeText is how documents show Unix nanoseconds.
func timeText(n int64) string {
	if n == 0 {
		return never
	}
	return time.Unix(0, n).UTC().Format(timeForm)
}

var sqlOps = map[twinql.Op]string{
	twinql.Equal: "=", twinql.NotEqual: "<>", twinql.Less: "<", twinql.LessEqual: "<=", twinql.Greater: ">", twinql.GreaterEqual: ">=",
}

// unfit reports a text that no column can hold and that PostgreSQL does not
// even take as a parameter.
func unfit(v twinql.Value) bool { return v.Kind == twinql.Text && strings.IndexByte(v.Text, 0) >= 0 }

// compare says when the comparison of a field and a constant is true.
func (c *Compiler) compare(f field, op twinql.Op, v twinql.Value) frag {
	if v.Kind == twinql.Undefined || v.Kind > twinql.Text {
		return nothing()
	}
	if unfit(v) {
		return maybe()
	}
	switch f.kind {
	case constant:
		return exactlyIf(twinql.Compare(op, f.value, v).IsTrue())
	case opaque:
		return maybe()
	case document:
		return c.compareDocument(f, op, v)
	case enrolled:
		return c.compareEnrolled(f, op, v)
	case enumerated:
		var codes []string
		for code, word := range f.words {
			if twinql.Compare(op, twinql.TextValue(word), v).IsTrue() {
				codes = append(codes, strconv.Itoa(code))
			}
		}
		return oneOf(f, codes, len(f.words))
	case boolean:
		var codes []string
		for code, b := range [...]bool{false, true} {
			if twinql.Compare(op, twinql.BoolValue(b), v).IsTrue() {
				codes = append(codes, strconv.Itoa(code))
			}
		}
		return oneOf(f, codes, 2)
	case instant:
		if v.Kind != twinql.Text {
			return nothing()
		}
		return compareInstant(f.sql, op, v.Text)
	case number:
		if v.Kind != twinql.Number {
			return nothing()
		}
		return exactly(c.double(f.sql)+" "+sqlOps[op]+" "+c.doubleParam(), v.Number)
	case nullable:
		if v.Kind == twinql.Null {
			if twinql.Compare(op, v, v).IsTrue() {
				return exactly(f.sql + " IS NULL")
			}
			return nothing()
		}
	default:
	}
	if v.Kind != twinql.Text {
		return nothing()
	}
	return exactly(c.collated(f.sql, op)+" "+sqlOps[op]+" "+c.textParam(), v.Text)
}

// oneOf tests a field that holds one of n codes. The codes stand in the text,
// where partial indexes can be seen to cover them; so does a bare column, when
// a row that is not there is none of those that are looked for.
func oneOf(f field, codes []string, n int) frag {
	column, seen := f.sql, false
	if f.bare != "" && !slices.Contains(codes, "0") {
		column, seen = f.bare, true
	}
	switch len(codes) {
	case 0:
		return nothing()
	case n:
		return always()
	case 1:
		return frag{sql: column + " = " + codes[0], exact: true, seen: seen}
	}
	return frag{sql: column + " IN (" + strings.Join(codes, ", ") + ")", exact: true, seen: seen}
}

// compareInstant compares times as the texts that documents show. Texts of
// later times are greater, so each comparison is one with a time.
func compareInstant(column string, op twinql.Op, s string) frag {
	from := firstTime(func(t string) bool { return t >= s })
	to := firstTime(func(t string) bool { return t > s })
	switch op {
	case twinql.Less:
		return exactly(column+" < ?", from)
	case twinql.LessEqual:
		return exactly(column+" < ?", to)
	case twinql.Greater:
		return exactly(column+" >= ?", to)
	case twinql.GreaterEqual:
		return exactly(column+" >= ?", from)
	case twinql.NotEqual:
		return exactly("("+column+" < ? OR "+column+" >= ?)", from, to)
	default:
	}
	return exactly("("+column+" >= ? AND "+column+" < ?)", from, to)
}

// firstTime finds the first time whose text has reached something.
func firstTime(reached func(text string) bool) int64 {
	low, high := int64(0), int64(math.MaxInt64)
	for low < high {
		if mid := low + (high-low)/2; reached(timeText(mid)) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low
}

func (c *Compiler) postgres() bool { return c.Dialect == state.PostgreSQL }

// collated makes a database order texts by their bytes. SQLite does, and the
// C collation is the same; equality needs none.
func (c *Compiler) collated(sql string, op twinql.Op) string {
	if !c.postgres() || op == twinql.Equal || op == twinql.NotEqual {
		return sql
	}
	return `(` + sql + `) COLLATE "C"`
}

func (c *Compiler) textParam() string {
	if c.postgres() {
		return "?::text"
	}
	return "?"
}

func (c *Compiler) doubleParam() string {
	if c.postgres() {
		return "?::float8"
	}
	return "?"
}

func (c *Compiler) double(sql string) string {
	if c.postgres() {
		return "(" + sql + ")::float8"
	}
	return "CAST(" + sql + " AS REAL)"
}

// member is a member of a JSON column in SQL: its type and its content.
type member struct {
	c       *Compiler
	field   field
	typ     string // 'text', 'real', 'null' and so on; NULL when it is not there
	content string // as a text or number; of other types something
	args    []any  // of either of them
}

func (c *Compiler) member(f field) member {
	m := member{c: c, field: f}
	if !c.postgres() {
		m.typ, m.content = "json_type("+f.sql+", ?)", "json_extract("+f.sql+", ?)"
		m.args = []any{jsonPath(f.steps)}
		return m
	}
	// A step at a time: the operators for whole paths do not tell positions
	// from names.
	var b strings.Builder
	b.WriteString(f.sql)
	for i := range f.steps {
		if i == len(f.steps)-1 {
			break
		}
		b.WriteString(" -> ")
		m.step(&b, &f.steps[i])
	}
	node, last := b.String(), &f.steps[len(f.steps)-1]
	b.WriteString(" -> ")
	m.step(&b, last)
	m.typ = "json_typeof(" + b.String() + ")"
	m.content = node + " ->> ?::text"
	if last.Name == "" {
		m.content = node + " ->> ?::int"
	}
	m.content = "(" + m.content + ")"
	return m
}

func (m *member) step(b *strings.Builder, s *twinql.Step) {
	if s.Name == "" {
		b.WriteString("?::int")
		m.args = append(m.args, int64(s.Index))
		return
	}
	b.WriteString("?::text")
	m.args = append(m.args, s.Name)
}

// typeNames are the names that databases give to kinds. PostgreSQL does not
// tell true from false.
func (m *member) typeNames(k twinql.Kind) string {
	if m.c.postgres() {
		return [...]string{"", "'null'", "'boolean'", "'number'", "'string'", "'array'", "'object'"}[k]
	}
	return [...]string{"", "'null'", "'true', 'false'", "'integer', 'real'", "'text'", "'array'", "'object'"}[k]
}

func (m *member) is(k twinql.Kind) string {
	names := m.typeNames(k)
	if strings.Contains(names, ",") {
		return m.typ + " IN (" + names + ")"
	}
	return m.typ + " = " + names
}

func (m *member) exactly(sql string, args ...any) frag {
	return frag{sql: sql, args: args, exact: true, needs: true}
}

// with puts the arguments of members around those of constants.
func (m *member) with(constants ...any) []any {
	args := append(make([]any, 0, 2*len(m.args)+len(constants)), m.args...)
	return append(append(args, constants...), m.args...)
}

// number is the content as a double, NULL when it is none. Both databases may
// look at the content first, where only a guarded cast does not fail.
func (m *member) number() (sql string, args []any) {
	if m.c.postgres() {
		return "CASE WHEN " + m.is(twinql.Number) + " THEN " + m.content + "::float8 END", m.with()
	}
	return "CASE WHEN " + m.is(twinql.Number) + " THEN CAST(" + m.content + " AS REAL) END", m.with()
}

// text is the content that is to be compared, with an index where there is one.
func (m *member) text(op twinql.Op) string { return m.c.collated(m.content, op) }

func (c *Compiler) compareDocument(f field, op twinql.Op, v twinql.Value) frag {
	if !c.sayable(f) {
		return frag{sql: yes, needs: true}
	}
	m := c.member(f)
	switch v.Kind {
	case twinql.Null:
		if !twinql.Compare(op, v, v).IsTrue() {
			return nothing()
		}
		return m.exactly(m.is(twinql.Null), m.args...)
	case twinql.Bool:
		no, yes := twinql.Compare(op, twinql.BoolValue(false), v).IsTrue(), twinql.Compare(op, twinql.BoolValue(true), v).IsTrue()
		switch {
		case no && yes:
			return m.exactly(m.is(twinql.Bool), m.args...)
		case !no && !yes:
			return nothing()
		}
		word := strconv.FormatBool(yes)
		if !c.postgres() {
			return m.exactly(m.typ+" = '"+word+"'", m.args...)
		}
		return m.exactly("("+m.content+" = '"+word+"' AND "+m.is(twinql.Bool)+")", m.with()...)
	case twinql.Number:
		return m.doubles(" "+sqlOps[op]+" "+c.doubleParam(), v.Number)
	default:
	}
	holds := m.exactly("("+m.text(op)+" "+sqlOps[op]+" "+c.textParam()+" AND "+m.is(twinql.Text)+")", m.with(v.Text)...)
	switch {
	case op != twinql.Equal:
		return holds
	case f.index != "":
		return all([]frag{c.indexed(f, []any{v.Text}), holds})
	}
	return all([]frag{c.mentions(f, v.Text), holds})
}

// mentions is true of every document that may hold a text: it says so, or has
// an escape somewhere. That spares SQLite to read most of the others as JSON,
// which costs ten times as much.
func (c *Compiler) mentions(f field, s string) frag {
	if c.postgres() || s == "" {
		return always()
	}
	return frag{sql: "(instr(" + f.sql + ", ?) > 0 OR instr(" + f.sql + `, '\') > 0)`, args: []any{s}, exact: true, needs: true}
}

// doubles says when the content is a number and condition holds for it. SQLite
// takes a cast of anything, so the type is only looked at when it holds.
func (m *member) doubles(condition string, args ...any) frag {
	if m.c.postgres() {
		sql, before := m.number()
		return m.exactly("("+sql+")"+condition, append(before, args...)...)
	}
	return m.exactly("(CAST("+m.content+" AS REAL)"+condition+" AND "+m.is(twinql.Number)+")", m.with(args...)...)
}

// sayable reports whether the steps of a document can be named in SQL.
func (c *Compiler) sayable(f field) bool {
	if c.postgres() {
		for i := range f.steps {
			if strings.IndexByte(f.steps[i].Name, 0) >= 0 {
				return false
			}
		}
		return true
	}
	return plain(f.steps)
}

// isA says when a field has one of the types, or with want false none of them.
func (c *Compiler) isA(f field, types twinql.Types, want bool) frag {
	has := func(k twinql.Kind) bool { return types.Has(k) == want }
	either := func(value, missing twinql.Kind) frag {
		switch v, m := has(value), has(missing); {
		case v && m:
			return always()
		case v:
			return exactly(f.sql + " IS NOT NULL")
		case m:
			return exactly(f.sql + " IS NULL")
		}
		return nothing()
	}
	switch f.kind {
	case constant:
		return exactlyIf(has(f.value.Kind))
	case opaque:
		return maybe()
	case enrolled:
		return c.isEnrolled(f, has(twinql.Text), has(twinql.Undefined))
	case text:
		return either(twinql.Text, twinql.Undefined)
	case nullable:
		return either(twinql.Text, twinql.Null)
	case number:
		return exactlyIf(has(twinql.Number))
	case boolean:
		return exactlyIf(has(twinql.Bool))
	case enumerated, instant:
		return exactlyIf(has(twinql.Text))
	default:
	}
	if !c.sayable(f) {
		return frag{sql: yes, needs: !has(twinql.Undefined)}
	}
	m := c.member(f)
	var names []string
	missing := 0
	for k := twinql.Null; k <= twinql.Object; k++ {
		if has(k) {
			names = append(names, m.typeNames(k))
		} else {
			missing++
		}
	}
	var parts []frag
	switch {
	case missing == 0:
		parts = append(parts, m.exactly(m.typ+" IS NOT NULL", m.args...))
	case len(names) > 0:
		parts = append(parts, m.exactly(m.typ+" IN ("+strings.Join(names, ", ")+")", m.args...))
	}
	if has(twinql.Undefined) {
		parts = append(parts, exactly(m.typ+" IS NULL", m.args...))
	}
	return anyOf(parts)
}

// in says when a field is in the list, or with want false when it is of the
// type of some member of the list but is none of them.
func (c *Compiler) in(f field, list []twinql.Value, want bool) frag {
	if f.kind == constant || f.kind == opaque {
		e := twinql.In{List: list, Negated: !want}
		if f.kind == opaque {
			return maybe()
		}
		return exactlyIf(e.Test(f.value).IsTrue())
	}
	if f.kind == enrolled {
		return c.inEnrolled(f, list, want)
	}
	var texts, numbers []any
	var parts []frag
	kinds := map[twinql.Kind]frag{}
	for _, v := range list {
		switch {
		case unfit(v):
			return maybe()
		case v.Kind == twinql.Undefined:
		case v.Kind == twinql.Text && (f.kind == text || f.kind == nullable || f.kind == document):
			texts = append(texts, v.Text)
		case v.Kind == twinql.Number && (f.kind == number || f.kind == document):
			numbers = append(numbers, v.Number)
		case want:
			parts = append(parts, c.compare(f, twinql.Equal, v))
		default:
			unequal := c.compare(f, twinql.NotEqual, v)
			if before, ok := kinds[v.Kind]; ok {
				unequal = all([]frag{before, unequal})
			}
			kinds[v.Kind] = unequal
		}
	}
	for k := twinql.Null; k <= twinql.Text; k++ {
		if part, ok := kinds[k]; ok {
			parts = append(parts, part)
		}
	}
	if len(texts) > 0 {
		parts = append(parts, c.inTexts(f, texts, want))
	}
	if len(numbers) > 0 {
		parts = append(parts, c.inNumbers(f, numbers, want))
	}
	return anyOf(parts)
}

func listOf(param string, n int, want bool) string {
	word := " IN ("
	if !want {
		word = " NOT IN ("
	}
	return word + strings.Repeat(param+", ", n-1) + param + ")"
}

func (c *Compiler) inTexts(f field, texts []any, want bool) frag {
	list := listOf(c.textParam(), len(texts), want)
	if f.kind != document {
		return exactly(f.sql+list, texts...)
	}
	if !c.sayable(f) {
		return frag{sql: yes, needs: true}
	}
	m := c.member(f)
	in := m.exactly("("+m.content+list+" AND "+m.is(twinql.Text)+")", m.with(texts...)...)
	if f.index != "" && want {
		return all([]frag{c.indexed(f, texts), in})
	}
	return in
}

func (c *Compiler) inNumbers(f field, numbers []any, want bool) frag {
	list := listOf(c.doubleParam(), len(numbers), want)
	if f.kind != document {
		return exactly(c.double(f.sql)+list, numbers...)
	}
	if !c.sayable(f) {
		return frag{sql: yes, needs: true}
	}
	m := c.member(f)
	return m.doubles(list, numbers...)
}

// search says when a text begins with, ends with or holds a constant.
func (c *Compiler) search(f field, fn *twinql.Function, v twinql.Value, want bool) (frag, bool) {
	if v.Kind != twinql.Text {
		return nothing(), true
	}
	if f.kind == constant {
		return exactlyIf(fn.Apply([]twinql.Value{f.value, v}) == twinql.BoolValue(want)), true
	}
	if unfit(v) {
		return maybe(), true
	}
	if v.Text == "" {
		if !want {
			return nothing(), true
		}
		return c.isA(f, 1<<twinql.Text, true), true
	}
	not := ""
	if !want {
		not = "NOT "
	}
	var content string
	switch f.kind {
	case text, nullable:
		content = f.sql
	case enumerated:
		var codes []string
		for code, word := range f.words {
			if fn.Apply([]twinql.Value{twinql.TextValue(word), v}) == twinql.BoolValue(want) {
				codes = append(codes, strconv.Itoa(code))
			}
		}
		return oneOf(f, codes, len(f.words)), true
	case number, boolean:
		return nothing(), true
	case document:
		if !c.sayable(f) {
			return frag{sql: yes, needs: true}, true
		}
		m := c.member(f)
		sql, args := c.searches(m.content, fn.ID, v.Text)
		return m.exactly("("+m.is(twinql.Text)+" AND "+not+sql+")", append(append(append([]any{}, m.args...), m.args...), args...)...), true
	default:
		return maybe(), true
	}
	sql, args := c.searches(content, fn.ID, v.Text)
	return exactly(not+sql, args...), true
}

// searches is true, false or, for NULL, NULL.
func (c *Compiler) searches(content string, id twinql.FunctionID, s string) (sql string, args []any) {
	n := utf8.RuneCountInString(s)
	switch {
	case id == twinql.Contains && c.postgres():
		return "(strpos(" + content + ", ?::text) > 0)", []any{s}
	case id == twinql.Contains:
		return "(instr(" + content + ", ?) > 0)", []any{s}
	case id == twinql.StartsWith && c.postgres():
		return "starts_with(" + content + ", ?::text)", []any{s}
	case id == twinql.StartsWith:
		return "(substr(" + content + ", 1, ?) = ?)", []any{n, s}
	case c.postgres():
		return "(right(" + content + ", ?::int) = ?::text)", []any{n, s}
	}
	return "(substr(" + content + ", ?) = ?)", []any{-n, s}
}
