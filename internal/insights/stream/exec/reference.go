package exec

import (
	"fmt"
	"slices"
	"strings"

	"dunlin/internal/insights/stream/batch"
	"dunlin/internal/insights/stream/eval"
	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/value"
	"dunlin/internal/lang/asa"
)

// Version is what is in a table of reference data from a time on, until the
// next version begins.
type Version struct {
	From int64 // ticks
	Rows []value.Value
}

// table is a table of reference data.
type table struct {
	name     string
	layout   layout
	versions []*tableVersion // in the order of time
	indexes  map[*asa.Input]*index
	joins    []*lookup
	shared   bool // by the jobs of substreams, whose times differ
	size     int64
}

// index finds the rows of a table by the keys of a join.
type index struct {
	keys     []eval.Value
	versions map[*tableVersion]map[string][]int32
	scratch  []byte
}

type tableVersion struct {
	from int64
	rows *batch.Batch
	size int64
}

// reference wires a table.
func (b *builder) reference(r *asa.Relation, l *layout) error {
	if b.shared != nil {
		for _, t := range b.shared.tables {
			if t.name == r.Name {
				t.shared = true
				b.relations[r] = &relation{layout: t.layout, table: t}
			}
		}
		return nil
	}
	t := &table{name: r.Name, layout: *l, indexes: map[*asa.Input]*index{}}
	for name, versions := range b.options.Reference {
		if !strings.EqualFold(name, r.Name) {
			continue
		}
		for _, v := range versions {
			if err := t.add(v); err != nil {
				return err
			}
		}
	}
	if len(t.versions) == 0 {
		return fmt.Errorf("there is no reference data '%s'", r.Name)
	}
	b.job.tables = append(b.job.tables, t)
	b.relations[r] = &relation{layout: *l, table: t}
	return nil
}

// SetReference adds a version of a table, or puts it in the place of that which
// begins at the same time. Rows that have been joined stay as they are.
func (j *Job) SetReference(name string, v Version) error {
	for _, t := range j.tables {
		if strings.EqualFold(t.name, name) {
			return t.add(v)
		}
	}
	return nil // nobody reads it
}

// add puts a version in its place.
func (t *table) add(v Version) error {
	n := &tableVersion{from: v.From, rows: batch.New(t.layout.width())}
	for _, row := range v.Rows {
		n.size += value.Footprint(row) + 40
		n.rows.Time = append(n.rows.Time, v.From)
		for i, path := range t.layout.paths {
			x := row
			for _, name := range path {
				x = scalar.Member(x, name)
			}
			n.rows.Cols[i].Append(x)
		}
		if t.layout.whole >= 0 {
			n.rows.Cols[t.layout.whole].Append(row)
		}
	}
	at, found := slices.BinarySearchFunc(t.versions, v.From, func(x *tableVersion, from int64) int { return compareTicks(x.from, from) })
	for _, x := range t.indexes {
		if err := x.add(n); err != nil {
			return err
		}
	}
	t.size += n.size
	if found {
		t.drop(at)
	}
	t.versions = slices.Insert(t.versions, at, n)
	return nil
}

func (t *table) drop(at int) {
	v := t.versions[at]
	t.size -= v.size
	for _, x := range t.indexes {
		delete(x.versions, v)
	}
	t.versions = slices.Delete(t.versions, at, at+1)
}

// at finds the version of a time.
func (t *table) at(ticks int64) (*tableVersion, error) {
	for _, v := range slices.Backward(t.versions) {
		if v.from <= ticks {
			return v, nil
		}
	}
	return nil, fmt.Errorf("the reference data '%s' begins at %s, after an event of %s", t.name,
		value.AppendTime(nil, t.versions[0].from), value.AppendTime(nil, ticks))
}

// reached forgets the versions that no row needs any more: until all joins have
// reached the next one.
func (t *table) reached() {
	for !t.shared && len(t.versions) > 1 && !slices.ContainsFunc(t.joins, func(j *lookup) bool { return j.told+1 < t.versions[1].from }) {
		t.drop(0)
	}
}

// lookup joins rows with those of a table: with keys by an index, else by
// looking at every row.
type lookup struct {
	table *table
	outer bool
	left  []eval.Value
	index *index
	on    eval.Cond // nil: nothing besides
	next  next
	told  int64

	width   int // of the left
	frame   eval.Frame
	columns []*batch.Column
	pairs   lookupPairs
	out     *batch.Batch
	scratch []byte
	keep    []int32
	found   []bool // by row of the batch
	all     []int32
}

// lookupPairs are rows of the result that are not made yet. A right row of -1
// stands behind all others of a left row, and is for when none of them counts.
type lookupPairs struct{ left, right []int32 }

// lookup wires a join with reference data.
func (b *builder) lookup(q *asa.Query, n int, cols *columns, compiler eval.Compiler, to next) (next, error) {
	in := q.Sources[n]
	t := b.relations[in.Relation].table
	s := &lookup{
		table: t, outer: in.Outer, next: to, index: t.indexes[in],
		width: cols.base[n], out: batch.New(cols.base[n] + cols.sources[n].width()),
	}
	var err error
	if s.left, err = compiler.Values(in.Left); err != nil {
		return nil, err
	}
	if in.On != nil {
		if s.on, err = compiler.Cond(in.On); err != nil {
			return nil, err
		}
	}
	if s.index == nil {
		s.index = &index{versions: map[*tableVersion]map[string][]int32{}}
		if s.index.keys, err = cols.alone(n).Values(in.Right); err != nil {
			return nil, err
		}
		for _, v := range t.versions {
			if err := s.index.add(v); err != nil {
				return nil, err
			}
		}
		t.indexes[in] = s.index
	}
	if b.shared == nil {
		t.joins = append(t.joins, s)
	}
	return s, nil
}

// add prepares a version of the table.
func (s *index) add(v *tableVersion) error {
	if len(s.keys) == 0 {
		return nil
	}
	var f eval.Frame
	f.Of(v.rows.Time, v.rows.Cols)
	cols, err := evaluate(s.keys, &f, nil)
	if err != nil {
		return err
	}
	rows := map[string][]int32{}
	for i := range v.rows.Len() {
		key, null, err := keyOf(s.scratch[:0], cols, i)
		if err != nil {
			return err
		}
		s.scratch = key
		if !null {
			rows[string(key)] = append(rows[string(key)], int32(i))
		}
	}
	s.versions[v] = rows
	return nil
}

func (s *lookup) rows(b *batch.Batch) (err error) {
	s.frame.Of(b.Time, b.Cols)
	if s.columns, err = evaluate(s.left, &s.frame, s.columns[:0]); err != nil {
		return err
	}
	s.found = append(s.found[:0], make([]bool, b.Len())...)
	var version *tableVersion
	for i, t := range b.Time {
		v, err := s.table.at(t)
		if err != nil {
			return err
		}
		if v != version && version != nil {
			if err := s.flush(b, version); err != nil {
				return err
			}
		}
		version = v
		candidates, err := s.candidates(v, i)
		if err != nil {
			return err
		}
		for _, r := range candidates {
			if err := s.add(b, v, int32(i), r); err != nil {
				return err
			}
		}
		if s.outer && (len(candidates) == 0 || s.on != nil) {
			if err := s.add(b, v, int32(i), -1); err != nil {
				return err
			}
		}
	}
	return s.flush(b, version)
}

// candidates gives the rows of the table that a row may be joined with.
func (s *lookup) candidates(v *tableVersion, row int) ([]int32, error) {
	if len(s.left) == 0 {
		for len(s.all) < v.rows.Len() {
			s.all = append(s.all, int32(len(s.all)))
		}
		return s.all[:v.rows.Len()], nil
	}
	key, null, err := keyOf(s.scratch[:0], s.columns, row)
	if err != nil || null {
		return nil, err
	}
	s.scratch = key
	return s.index.versions[v][string(key)], nil
}

func (s *lookup) add(b *batch.Batch, v *tableVersion, l, r int32) error {
	p := &s.pairs
	p.left, p.right = append(p.left, l), append(p.right, r)
	if len(p.left) == mostPairs {
		return s.flush(b, v)
	}
	return nil
}

// flush makes rows of the pairs.
func (s *lookup) flush(b *batch.Batch, v *tableVersion) error {
	p := &s.pairs
	if len(p.left) == 0 {
		return nil
	}
	if s.on == nil {
		s.make(b, v)
	} else if err := s.judge(b, v); err != nil {
		return err
	}
	p.left, p.right = p.left[:0], p.right[:0]
	if s.out.Len() == 0 {
		return nil
	}
	return s.next.rows(s.out)
}

// judge leaves the pairs for which the rest of the condition holds. It is not
// asked of rows without a partner.
func (s *lookup) judge(b *batch.Batch, v *tableVersion) error {
	asked := lookupPairs{}
	for i, r := range s.pairs.right {
		if r >= 0 {
			asked.left, asked.right = append(asked.left, s.pairs.left[i]), append(asked.right, r)
		}
	}
	all := s.pairs
	s.pairs = asked
	s.make(b, v)
	part := new(eval.Frame)
	part.Of(s.out.Time, s.out.Cols)
	hit, err := s.on(part, s.keep[:0])
	if err != nil {
		return err
	}
	s.keep = hit
	s.pairs = lookupPairs{}
	p, at := &s.pairs, int32(0)
	for i, r := range all.right {
		l := all.left[i]
		holds := r < 0 && !s.found[l]
		if r >= 0 {
			if holds = len(hit) > 0 && hit[0] == at; holds {
				hit = hit[1:]
			}
			at++
		}
		if holds {
			p.left, p.right = append(p.left, l), append(p.right, r)
			s.found[l] = true
		}
	}
	s.make(b, v)
	return nil
}

// make fills out with the pairs.
func (s *lookup) make(b *batch.Batch, v *tableVersion) {
	s.out.Reset()
	p := &s.pairs
	for i, c := range s.out.Cols[:s.width] {
		c.Gather(b.Cols[i], p.left)
	}
	for i, c := range s.out.Cols[s.width:] {
		from := v.rows.Cols[i]
		for _, r := range p.right {
			if r < 0 {
				c.Append(value.Value{})
			} else {
				c.Append(from.At(int(r)))
			}
		}
	}
	for _, l := range p.left {
		s.out.Time = append(s.out.Time, b.Time[l])
	}
}

func (s *lookup) reached(ticks int64) error {
	s.told = ticks
	s.table.reached()
	return s.next.reached(ticks)
}
