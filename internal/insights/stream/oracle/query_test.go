package oracle_test

import (
	"fmt"
	"slices"
	"strings"
)

// script writes a whole script.
func (w *writer) script() string {
	w.tables = []table{{name: "i", columns: payload, input: true, ordered: true}, {name: "j", columns: payload, input: true, ordered: true}}
	var b strings.Builder
	steps := w.int(0, 2)
	if w.theme.substreams {
		steps = 0 // they would have to hand on the keys
	}
	for n := range steps {
		name := fmt.Sprintf("step%d", n+1)
		q, t := w.query()
		if w.chance(25) {
			q, t = w.union()
		}
		if n == 0 {
			b.WriteString("WITH ")
		} else {
			b.WriteString(", ")
		}
		b.WriteString(name + " AS (" + q + ")\n")
		t.name = name
		w.tables = append(w.tables, t)
	}
	for n := range w.int(1, 2) {
		q, _ := w.query()
		if w.chance(15) {
			q, _ = w.union()
		}
		// INTO stands behind the list of the first SELECT.
		b.WriteString(strings.Replace(q, "\nFROM ", fmt.Sprintf(" INTO out%d\nFROM ", n+1), 1) + "\n")
	}
	return b.String()
}

// union writes two SELECTs with the same columns.
func (w *writer) union() (string, table) {
	var parts []string
	for range 2 {
		src := w.source("")
		parts = append(parts, "SELECT "+w.value(src.scope, number, 1)+" AS u, "+w.value(src.scope, text, 1)+" AS v\nFROM "+src.text+w.where(src.scope))
	}
	return strings.Join(parts, " UNION "), table{columns: []column{{"u", number}, {"v", text}}}
}

func (w *writer) where(s scope) string {
	if w.chance(50) {
		return " WHERE " + w.cond(s, 2)
	}
	return ""
}

// source is something to read from.
type source struct {
	text    string
	scope   scope
	table   *table
	name    string // by which it is known
	ordered bool
}

// source reads a table; with an alias every column has it as a prefix.
func (w *writer) source(alias string) source {
	// Later ones are more interesting.
	t := &w.tables[len(w.tables)-1-w.int(0, len(w.tables)-1)]
	text, prefix, name := t.name, "", t.name
	if alias != "" {
		text, prefix, name = text+" AS "+alias, alias+".", alias
	}
	if w.theme.substreams {
		text += " TIMESTAMP BY t OVER " + prefix + "k"
	} else if t.input && w.chance(70) {
		text += " TIMESTAMP BY " + pick(w, "t", prefix+"t", "DATEADD(second, 1, TRY_CAST("+prefix+"t AS datetime))")
	}
	return source{text: text, scope: t.scope(prefix), table: t, name: name, ordered: t.ordered}
}

// query writes one SELECT and says what it gives.
func (w *writer) query() (string, table) {
	src := w.source("")
	switch {
	case w.theme.joins && w.chance(60):
		src = w.join()
	case w.chance(15):
		src = w.apply()
	}
	if w.theme.analytics && src.ordered && w.chance(70) {
		inner := src.table.scope(strings.TrimSuffix(src.name, src.table.name))
		if !strings.HasSuffix(src.name, src.table.name) {
			inner = src.table.scope(src.name + ".")
		}
		src.scope.extra = func(depth int) (string, kind) { return w.analytic(inner, min(depth, 1)) }
	}
	if w.theme.windows && w.chance(60) {
		return w.grouped(src)
	}
	return w.plain(src)
}

func (w *writer) plain(src source) (string, table) {
	out := table{ordered: src.ordered}
	var items []string
	used := map[string]bool{}
	for range w.int(1, 4) {
		if w.chance(8) {
			items = append(items, w.star(src))
			continue
		}
		k := pick(w, number, text, instant, bit, anything)
		name := w.name("c")
		// A name that the payload has too, perhaps in other letters.
		if other := pick(w, "N", "k", "A", "x"); w.chance(25) && !used[other] {
			name = other
			used[name] = true
		}
		e := w.value(src.scope, k, 3)
		if src.scope.extra != nil && w.chance(60) {
			e, k = src.scope.extra(2)
		}
		items = append(items, e+" AS "+name)
		out.columns = append(out.columns, column{name, k})
	}
	return "SELECT " + strings.Join(items, ", ") + "\nFROM " + src.text + w.where(src.scope), out
}

// star writes what stands for several columns.
func (w *writer) star(src source) string {
	if names := src.scope.of(anything); len(names) > 0 && w.chance(30) {
		return pick(w, names...) + ".*"
	}
	if strings.Contains(src.text, " AS ") && strings.Contains(src.text, " a") {
		return "a.*"
	}
	return "*"
}

func (w *writer) apply() source {
	src := w.source("a")
	arg := w.column(src.scope, anything, "NULL")
	how := pick(w, "CROSS", "OUTER")
	if w.chance(50) {
		src.text += fmt.Sprintf(" %s APPLY GetArrayElements(TRY_CAST(%s AS array)) AS e", how, arg)
		src.scope.columns = append(src.scope.columns, column{"e.ArrayIndex", number}, column{"e.ArrayValue", anything}, column{"e.ArrayValue.a", anything})
	} else {
		if w.chance(95) {
			arg = "TRY_CAST(" + arg + " AS record)"
		}
		src.text += fmt.Sprintf(" %s APPLY GetRecordProperties(%s) AS e", how, arg)
		src.scope.columns = append(src.scope.columns, column{"e.PropertyName", text}, column{"e.PropertyValue", anything})
	}
	return src
}

func (w *writer) join() source {
	a := w.source("a")
	out := a
	out.ordered = false
	out.scope.times = []string{"a"}
	for _, alias := range []string{"b", "c"}[:w.int(0, 19)/18+1] {
		b := w.source(alias)
		var conds []string
		times := out.scope.times
		if reference := w.chance(25); reference {
			t := &table{name: "ref", columns: []column{{"k", text}, {"n", number}, {"m", anything}}}
			b = source{text: "ref AS " + alias, scope: t.scope(alias + "."), table: t, name: alias}
			conds = append(conds, w.column(out.scope, number, "1")+pick(w, " = ", " >= ")+alias+".n")
			if w.chance(60) && len(out.scope.of(text)) > 0 {
				conds[0] = w.column(out.scope, text) + " = " + alias + ".k"
			}
		} else {
			earlier := pick(w, times...)
			times = append(slices.Clip(times), alias)
			lo := w.int(-6, 4)
			unit, by := pick(w, "second", "second", "millisecond", "minute"), 1
			if unit == "millisecond" {
				by = 700
			}
			from, to := earlier, alias
			if w.chance(30) {
				from, to = to, from
			}
			conds = append(conds, fmt.Sprintf("DATEDIFF(%s, %s, %s) BETWEEN %d AND %d", unit, from, to, lo*by, (lo+w.int(0, 8))*by))
		}
		if k := pick(w, text, number); w.chance(70) && len(out.scope.of(k)) > 0 && len(b.scope.of(k)) > 0 {
			l, r := w.column(out.scope, k), w.column(b.scope, k)
			if k == text && w.chance(20) {
				l = "UPPER(" + l + ")"
			}
			conds = append(conds, l+" = "+r)
		}
		both := scope{columns: append(append([]column{}, out.scope.columns...), b.scope.columns...), times: times}
		if w.chance(30) {
			conds = append(conds, w.cond(both, 1))
		}
		if w.chance(50) {
			conds[0], conds[len(conds)-1] = conds[len(conds)-1], conds[0]
		}
		out.text += " " + pick(w, "JOIN", "LEFT JOIN", "INNER JOIN", "LEFT OUTER JOIN") + " " + b.text + " ON " + strings.Join(conds, " AND ")
		out.scope = both
	}
	return out
}

// window writes a window.
func (w *writer) window(inside bool) string {
	offset := ""
	switch w.int(0, 5) {
	case 0:
		d := w.duration()
		if w.chance(30) {
			offset = ", Offset(millisecond, " + w.whole(-900, 900) + ")"
		}
		return "TumblingWindow(Duration(" + d + ")" + offset + ")"
	case 1:
		return "TumblingWindow(" + w.duration() + ")"
	case 2:
		hop := w.int(1, 5)
		return fmt.Sprintf("HoppingWindow(second, %d, %d)", hop*w.int(1, 4)+w.int(0, 2), hop)
	case 3:
		return "SlidingWindow(" + w.duration() + ")"
	case 4:
		timeout := w.int(1, 4)
		s := fmt.Sprintf("SessionWindow(second, %d, %d)", timeout, timeout+w.int(0, 12))
		return s
	}
	if inside {
		return "System.Timestamp()"
	}
	var members []string
	named := w.chance(50)
	for range w.int(1, 3) {
		m := w.window(true)
		if named {
			m = "Window('" + w.name("w") + "', " + m + ")"
		}
		members = append(members, m)
	}
	return "Windows(" + strings.Join(members, ", ") + ")"
}

func (w *writer) grouped(src source) (string, table) {
	extra := src.scope.extra
	src.scope.extra = nil
	windowText := w.window(false)
	if w.chance(10) {
		windowText = "System.Timestamp()"
	}
	var items, keys []string
	out := table{}
	add := func(e string, k kind) {
		name := w.name("c")
		items = append(items, e+" AS "+name)
		out.columns = append(out.columns, column{name, k})
	}
	if w.theme.substreams {
		keys = append(keys, w.substream(src))
	}
	for range w.int(0, 2) {
		k := pick(w, text, number, bit, instant)
		e := w.value(src.scope, k, w.int(0, 1))
		keys = append(keys, e)
		if strings.ContainsAny(e, "('") || len(src.scope.of(k)) == 0 {
			k = opaque // a literal, or a time that means another one in the result
		}
		if k != opaque && w.chance(80) {
			add(e, k)
		}
	}
	src.scope.extra = extra
	if strings.HasPrefix(windowText, "SessionWindow") && w.chance(20) {
		own := w.column(src.scope, text, "1")
		if w.theme.substreams {
			own += ", " + w.substream(src)
		}
		windowText += " OVER (PARTITION BY " + own + ")"
	}
	aliases := []string{}
	for range w.int(1, 3) {
		e, k := w.aggregate(src)
		add(e, k)
		if k == number {
			aliases = append(aliases, out.columns[len(out.columns)-1].name)
		}
	}
	if w.chance(40) {
		add("System.Timestamp()", instant)
	}
	if strings.HasPrefix(windowText, "Windows") && w.chance(60) {
		add("System.Window().Id", text)
	}
	q := "SELECT " + strings.Join(items, ", ") + "\nFROM " + src.text + w.where(src.scope) + " GROUP BY " + strings.Join(append(keys, windowText), ", ")
	if w.chance(25) {
		cond := "COUNT(*) > " + w.whole(0, 2)
		if len(aliases) > 0 && w.chance(50) {
			cond = pick(w, aliases...) + " " + pick(w, ">", "<=", "<>") + " " + w.whole(-1, 3)
		}
		q += " HAVING " + cond
	}
	return q, out
}

// substream is the key of a substream of a source.
func (w *writer) substream(src source) string {
	if src.name == src.table.name {
		return "k"
	}
	return src.name + ".k"
}

// aggregate writes an aggregate. Sums are over what floats hold exactly, as
// the order of summation is open.
func (w *writer) aggregate(src source) (string, kind) {
	s := src.scope
	exact := func() string {
		c := w.column(s, number, "1")
		return pick(w, c, c, c, c+" * 2", "COALESCE("+c+", 1)", "CASE WHEN "+w.cond(s, 0)+" THEN "+c+" ELSE NULL END")
	}
	switch w.int(0, 11) {
	case 0:
		return pick(w, "COUNT(*)", "COUNT()"), number
	case 1:
		return "COUNT(" + w.any(s, 1) + ")", number
	case 2:
		return "COUNT(DISTINCT " + w.any(s, 1) + ")", number
	case 3:
		return "SUM(" + exact() + ")", number
	case 4:
		return "AVG(" + exact() + ")", number
	case 5:
		return pick(w, "MIN", "MAX") + "(" + w.value(s, number, 1) + ")", number
	case 6:
		return pick(w, "MIN", "MAX") + "(" + w.value(s, instant, 1) + ")", instant
	case 7:
		return pick(w, "MIN", "MAX") + "(CAST(" + w.value(s, text, 1) + " AS nvarchar(max)))", text
	case 8:
		return pick(w, "STDEV", "STDEVP", "VAR", "VARP") + "(" + exact() + ")", opaque
	case 9:
		return pick(w, "PERCENTILE_CONT", "PERCENTILE_DISC") + "(" + pick(w, "0.5", "0", "1", "0.25", "0.9") + ") OVER (ORDER BY " + w.column(s, number, "1") + pick(w, "", " DESC", " ASC") + ")", opaque
	case 10:
		if w.chance(30) {
			return "Collect()", opaque
		}
		return "Collect(" + w.any(s, 1) + ")", opaque
	}
	if !src.ordered {
		return "MIN(" + w.column(s, number, "1") + ")", number
	}
	order := w.column(s, number, "1") + pick(w, "", " DESC")
	if w.chance(30) {
		order += ", " + w.column(s, number, "1") + pick(w, "", " DESC")
	}
	switch w.int(0, 3) {
	case 0:
		return "TopOne() OVER (ORDER BY " + order + ")", opaque
	case 1:
		return "TopOne(" + w.any(s, 1) + ") OVER (ORDER BY " + order + ")", opaque
	case 2:
		return "CollectTop(" + w.whole(1, 3) + ") OVER (ORDER BY " + order + ")", opaque
	}
	return "CollectTop(" + w.whole(1, 3) + ", " + w.any(s, 1) + ") OVER (ORDER BY " + order + ")", opaque
}

// analytic writes an analytic function.
func (w *writer) analytic(s scope, depth int) (string, kind) {
	s.extra = nil
	over := func(limit bool, order string) string {
		var parts []string
		switch {
		case w.theme.substreams:
			parts = append(parts, "PARTITION BY "+s.of(text)[0]) // k
		case w.chance(50):
			parts = append(parts, "PARTITION BY "+w.column(s, text, "'a'"))
		}
		if order != "" {
			parts = append(parts, "ORDER BY "+order)
		}
		if limit {
			parts = append(parts, "LIMIT DURATION("+w.duration()+")")
		}
		if w.chance(30) {
			parts = append(parts, "WHEN "+w.cond(s, depth))
		}
		return " OVER (" + strings.Join(parts, " ") + ")"
	}
	k := pick(w, number, text, instant, bit)
	e := w.value(s, k, depth)
	n := w.column(s, number, "1")
	switch w.int(0, 9) {
	case 0:
		return "LAG(" + e + ")" + over(true, ""), k
	case 1:
		return "LAG(" + e + ", " + w.whole(1, 3) + ")" + over(true, ""), k
	case 2:
		return "LAG(" + e + ", " + w.whole(1, 3) + ", " + w.value(s, k, 0) + ")" + over(true, ""), k
	case 3:
		return "LAST(" + e + ")" + over(true, ""), k
	case 4:
		return "ISFIRST(" + w.duration() + ")" + over(false, ""), number
	case 5:
		return pick(w, "SUM", "AVG", "MIN", "MAX") + "(" + n + ")" + over(true, ""), number
	case 6:
		return pick(w, "COUNT(*)", "COUNT("+w.any(s, depth)+")") + over(true, ""), number
	case 7:
		return pick(w, "LAG(*)", "LAST(*)") + over(true, ""), anything
	case 8:
		return "Collect(" + e + ")" + over(true, ""), opaque
	}
	order := n + pick(w, "", " DESC")
	return pick(w, "TopOne("+e+")", "TopOne()", "CollectTop(2, "+e+")", "CollectTop(2)") + over(true, order), opaque
}
