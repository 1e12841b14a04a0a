package twin

import (
	"container/heap"
	"context"
	"crypto/sha256"
	"database/sql"
	"math"
	"slices"
	"strconv"
	"strings"

	"dunlin/internal/engine/state"
	"dunlin/internal/lang/twinql"
	"dunlin/internal/things/twin/twinsql"
)

// measure is what aggregates know of one member within a group. Parts of a
// group are added up.
type measure struct {
	numbers     int64 // values that are numbers
	values      int64 // values of any type
	sum         float64
	least, most float64
	first, last string // of the texts
	hasText     bool
}

func (m *measure) add(o *measure) {
	if o.numbers > 0 {
		if m.numbers == 0 {
			m.least, m.most = o.least, o.most
		}
		m.least, m.most = min(m.least, o.least), max(m.most, o.most)
	}
	if o.hasText {
		if !m.hasText {
			m.first, m.last = o.first, o.last
		}
		m.first, m.last, m.hasText = min(m.first, o.first), max(m.last, o.last), true
	}
	m.numbers += o.numbers
	m.values += o.values
	m.sum += o.sum
}

// take makes the measure of one value.
func (m *measure) take(v twinql.Value) {
	*m = measure{}
	switch v.Kind {
	case twinql.Undefined:
		return
	case twinql.Number:
		*m = measure{numbers: 1, sum: v.Number, least: v.Number, most: v.Number}
	case twinql.Text:
		*m = measure{first: v.Text, last: v.Text, hasText: true}
	default:
	}
	m.values = 1
}

// result is what an aggregate makes of it. In the order of values numbers come
// before texts; other types are passed over.
func (m *measure) result(k twinql.AggregateKind) twinql.Value {
	switch {
	case k == twinql.Count:
		return twinql.NumberValue(float64(m.values))
	case k == twinql.Sum && m.numbers > 0:
		return twinql.NumberValue(m.sum)
	case k == twinql.Average && m.numbers > 0:
		return twinql.NumberValue(m.sum / float64(m.numbers))
	case k == twinql.Minimum && m.numbers > 0:
		return twinql.NumberValue(m.least)
	case k == twinql.Minimum && m.hasText:
		return twinql.TextValue(m.first)
	case k == twinql.Maximum && m.hasText:
		return twinql.TextValue(m.last)
	case k == twinql.Maximum && m.numbers > 0:
		return twinql.NumberValue(m.most)
	}
	return twinql.Value{}
}

// group is one row of a grouped result.
type group struct {
	sum      groupSum
	keys     []string // JSON texts in canonical form, "" for undefined
	rows     int64
	measures []measure
}

// table collects groups. It keeps the first ones in the order of their sums
// alone, those that a page can show: a group that is beyond them when it is
// met stays beyond them, as more groups only push the end of the page nearer.
type table struct {
	after  groupSum
	begun  bool
	most   int
	groups map[groupSum]*group
	order  sums
}

// sums is a heap with the greatest sum on top.
type sums []groupSum

func (s sums) Len() int           { return len(s) }
func (s sums) Less(i, j int) bool { return string(s[i][:]) > string(s[j][:]) }
func (s sums) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }
func (s *sums) Push(v any)        { *s = append(*s, v.(groupSum)) }
func (s *sums) Pop() any {
	old := *s
	v := old[len(old)-1]
	*s = old[:len(old)-1]
	return v
}

func sumOf(keys []string) groupSum {
	h := sha256.New()
	for _, k := range keys {
		h.Write([]byte(strconv.Itoa(len(k)) + ":" + k))
	}
	return groupSum(h.Sum(nil)[:len(groupSum{})])
}

// add takes in a part of a group. Its keys are canonical and not kept.
func (t *table) add(keys []string, rows int64, measures []measure) {
	sum := sumOf(keys)
	if t.begun && string(sum[:]) <= string(t.after[:]) {
		return
	}
	g := t.groups[sum]
	if g == nil {
		if len(t.order) == t.most {
			if string(sum[:]) > string(t.order[0][:]) {
				return
			}
			delete(t.groups, heap.Pop(&t.order).(groupSum))
		}
		g = &group{sum: sum, keys: slices.Clone(keys), measures: make([]measure, len(measures))}
		t.groups[sum] = g
		heap.Push(&t.order, sum)
	}
	g.rows += rows
	for i := range measures {
		g.measures[i].add(&measures[i])
	}
}

// groups gives a page of a grouped result.
func (q *queries) groups(ctx context.Context, p *plan, page *Page) error {
	want := p.left(p.size)
	empty := func() *table {
		return &table{after: p.place.group, begun: p.place.begun, most: want + 1, groups: map[groupSum]*group{}}
	}
	var t *table
	var err error
	if s, ok := p.groupSQL(); ok {
		t, err = q.groupInSQL(ctx, &s, empty)
	} else {
		t = empty()
		err = q.groupInGo(ctx, p, t.add)
	}
	if err != nil {
		return err
	}
	if p.query.GroupBy == nil && len(t.groups) == 0 && !p.place.begun {
		t.add(nil, 0, make([]measure, len(p.query.Columns)))
	}
	list := make([]*group, 0, len(t.groups))
	for _, g := range t.groups {
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b *group) int { return slices.Compare(a.sum[:], b.sum[:]) })
	if len(list) > want {
		list = list[:want]
		p.place.group = list[want-1].sum
		p.place.given += want
		if p.left(1) > 0 {
			page.Continuation = p.place.token(p.text)
		}
	}
	if !p.place.begun && page.Continuation == "" {
		// All of them: then an order that people can follow.
		slices.SortFunc(list, func(a, b *group) int { return slices.Compare(a.keys, b.keys) })
	}
	out := []byte{'['}
	for i, g := range list {
		if i > 0 {
			out = append(out, ',')
		}
		out = p.appendGroup(out, g)
	}
	page.Items = append(out, ']')
	return nil
}

func (p *plan) appendGroup(out []byte, g *group) []byte {
	out = append(out, '{')
	comma := false
	for i := range p.query.Columns {
		c := &p.query.Columns[i]
		raw := ""
		switch e := c.Expr.(type) {
		case *twinql.Path:
			for k, by := range p.query.GroupBy {
				if by.Same(e) {
					raw = g.keys[k]
				}
			}
		case *twinql.Aggregate:
			if e.Path == nil {
				raw = strconv.FormatInt(g.rows, 10)
			} else {
				raw = valueText(g.measures[i].result(e.Kind))
			}
		}
		if raw == "" {
			continue
		}
		if comma {
			out = append(out, ',')
		}
		comma = true
		out = append(appendKey(out, c.Name()), raw...)
	}
	return append(out, '}')
}

func valueText(v twinql.Value) string {
	switch v.Kind {
	case twinql.Number:
		return jsonCanonical(strconv.FormatFloat(v.Number, 'g', -1, 64))
	case twinql.Text:
		return string(appendString(nil, v.Text))
	default:
	}
	return ""
}

type addGroup func(keys []string, rows int64, m []measure)

// groupInGo reads every row that may count, for queries that SQL cannot say.
func (q *queries) groupInGo(ctx context.Context, p *plan, add addGroup) error {
	at := *p
	at.place = place{}
	keys, measures := make([]string, len(p.query.GroupBy)), make([]measure, len(p.query.Columns))
	for {
		n := 0
		var batch []*found
		err := q.db.Read(ctx, func(tx state.Tx) error {
			n, batch = 0, batch[:0]
			return q.scan(ctx, tx, &at, maxPageScan, func(f *found) (bool, error) {
				n++
				batch = append(batch, f)
				return true, nil
			})
		})
		if err != nil {
			return err
		}
		for _, f := range batch {
			if !p.selects(f) {
				continue
			}
			for i, by := range p.query.GroupBy {
				keys[i] = jsonCanonical(f.raw(by))
			}
			for i := range p.query.Columns {
				if a, ok := p.query.Columns[i].Expr.(*twinql.Aggregate); ok && a.Path != nil {
					measures[i].take(f.Lookup(a.Path))
				}
			}
			if f.err != nil {
				return f.err
			}
			add(keys, 1, measures)
		}
		if n < maxPageScan {
			return nil
		}
		at.place.after = batch[len(batch)-1].doc.key.ID
	}
}

// groupSQL is a grouped query that the database answers by itself.
type groupSQL struct {
	head     string // up to the condition
	filter   string
	by       string
	args     []any
	tables   map[string]string // that can be read in parts, by their aliases
	keys     []twinsql.Column
	measured []int // columns of the query with a measure
	columns  int
}

func (p *plan) groupSQL() (s groupSQL, ok bool) {
	if !p.filter.Exact {
		return s, false
	}
	var list, by []string
	for i, path := range p.query.GroupBy {
		c, ok := p.compiler.Column(path)
		if !ok {
			return s, false
		}
		s.keys = append(s.keys, c)
		list = append(list, c.SQL)
		s.args = append(s.args, c.Args...)
		by = append(by, strconv.Itoa(i+1))
	}
	list = append(list, "count(*)")
	for i := range p.query.Columns {
		a, ok := p.query.Columns[i].Expr.(*twinql.Aggregate)
		if !ok || a.Path == nil {
			continue
		}
		m, ok := p.compiler.Measure(a.Path)
		if !ok {
			return s, false
		}
		s.measured = append(s.measured, i)
		list = append(list, m.SQL)
		s.args = append(s.args, m.Args...)
	}
	s.columns = len(p.query.Columns)
	s.args = append(s.args, p.filter.Args...)
	selected := strings.Join(list, ", ")
	read := func(table string) bool {
		return strings.Contains(selected, table) || strings.Contains(p.filter.SQL, table)
	}
	s.head = "SELECT " + selected + " FROM " + p.tables(read("t."), read("s.")) + " WHERE "
	s.filter = p.filter.SQL
	if by != nil {
		s.by = " GROUP BY " + strings.Join(by, ", ")
	}
	s.tables = map[string]string{"t": "twin", "d": "device"}
	if p.query.From == twinql.Modules {
		s.tables["d"] = "module"
	}
	return s, true
}

func (s *groupSQL) text() string { return s.head + s.filter + s.by }

func (s *groupSQL) run(ctx context.Context, tx state.Tx, add addGroup) error {
	rows, err := tx.Query(ctx, s.text(), s.args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	raw := make([]any, len(s.keys))
	var count int64
	parts := make([]measureRow, len(s.measured))
	var dest []any
	for i := range raw {
		dest = append(dest, &raw[i])
	}
	dest = append(dest, &count)
	for i := range parts {
		dest = append(dest, parts[i].dest()...)
	}
	keys, measures := make([]string, len(s.keys)), make([]measure, s.columns)
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		for i := range s.keys {
			k, err := s.keys[i].JSON(raw[i])
			if err != nil {
				return err
			}
			keys[i] = jsonCanonical(k)
		}
		for i, column := range s.measured {
			measures[column] = parts[i].measure()
		}
		add(keys, count, measures)
	}
	return rows.Err()
}

// measureRow holds the columns of a twinsql.Measure.
type measureRow struct {
	numbers, values int64
	sum             sql.NullString // a number; exact in PostgreSQL
	least, most     sql.NullFloat64
	first, last     sql.NullString
}

func (m *measureRow) dest() []any {
	d := [twinsql.MeasureColumns]any{&m.numbers, &m.sum, &m.least, &m.most, &m.first, &m.last, &m.values}
	return d[:]
}

func (m *measureRow) measure() measure {
	sum, err := strconv.ParseFloat(m.sum.String, 64)
	if err != nil && m.sum.Valid {
		sum = math.Inf(1) // too large: undefined in the result
	}
	return measure{
		numbers: m.numbers, values: m.values, sum: sum, least: m.least.Float64, most: m.most.Float64,
		first: m.first.String, last: m.last.String, hasText: m.first.Valid,
	}
}
