package exec

import (
	"math"
	"slices"

	"dunlin/internal/insights/stream/batch"
	"dunlin/internal/insights/stream/eval"
	"dunlin/internal/insights/stream/value"
	"dunlin/internal/lang/asa"
)

// join joins the rows of two streams. Rows of both sides are kept by their keys
// for as long as a partner may come, and worked on in the order of time, those
// of the left first where it is the same: each meets the rows of the other side
// that went before it.
type join struct {
	left, right joinSide
	outer       bool
	bounds      []bound
	behind      int64     // how far a left row's partner may be behind it at most
	on          eval.Cond // nil: nothing besides
	next        next
	told        int64

	buckets   map[string]*bucket
	deadlines deadlines // of left rows
	oldest    int64     // first row of the right side that is kept
	pairs     pairs
	frame     eval.Frame
	out       *batch.Batch
	asked     *batch.Batch // some rows of out
	paired    []int32
	keep      []int32
	kept      []int32
	scratch   []byte
}

// joinSide is what comes in on one side.
type joinSide struct {
	join  *join
	store *store
	keys  []eval.Value
	done  int64 // first row that is not worked on yet
	until int64 // no row of up to this time will come

	frame   eval.Frame
	columns []*batch.Column
}

// bucket is the rows of one key that have been worked on.
type bucket struct {
	key         string
	left, right queue[int64]
	rows        int // that are kept, worked on or not
}

const bucketBytes = 160

// bound keeps the boundaries of a unit between a column of a left row, which is
// a time, and its partner within lo and hi.
type bound struct {
	column int
	unit   int64
	lo, hi int64
}

// boundOf turns a bound around so that it counts from the earlier source.
func boundOf(t asa.TimeBound, joined int, cols *columns) bound {
	if t.To == joined {
		return bound{cols.times[t.From], t.Unit.Ticks(), t.Lo, t.Hi}
	}
	b := bound{cols.times[t.To], t.Unit.Ticks(), math.MinInt64, math.MaxInt64}
	if t.Hi != math.MaxInt64 {
		b.lo = -t.Hi
	}
	if t.Lo != math.MinInt64 {
		b.hi = -t.Lo
	}
	return b
}

// pairs are rows of the result that are not made yet.
type pairs struct {
	left, right []int64 // numbers; a right one of -1 is of nulls
	time        []int64
}

// mostPairs is how many rows of the result are made at once.
const mostPairs = 1024

// join wires a join of streams.
func (b *builder) join(q *asa.Query, n int, cols *columns, compiler eval.Compiler, to next) (left next, err error) {
	in := q.Sources[n]
	s := &join{
		outer: in.Outer, next: to, told: math.MinInt64, buckets: map[string]*bucket{},
		out: batch.New(cols.base[n] + cols.sources[n].width() + 1), behind: b.behind(q, n),
	}
	s.asked = batch.New(len(s.out.Cols))
	s.left = joinSide{join: s, store: newStore(cols.base[n]), until: math.MinInt64}
	s.right = joinSide{join: s, store: newStore(cols.sources[n].width()), until: math.MinInt64}
	for _, t := range in.Bounds {
		s.bounds = append(s.bounds, boundOf(t, n, cols))
	}
	if s.left.keys, err = compiler.Values(in.Left); err != nil {
		return nil, err
	}
	alone := cols.alone(n)
	if s.right.keys, err = alone.Values(in.Right); err != nil {
		return nil, err
	}
	if in.On != nil {
		if s.on, err = compiler.Cond(in.On); err != nil {
			return nil, err
		}
	}
	b.keep(s)
	return &s.left, b.connect(in, alone, &s.right)
}

// alone compiles expressions over the rows of one source before they are
// joined.
func (c *columns) alone(source int) eval.Compiler {
	own := *c
	own.base = slices.Clone(c.base)
	own.base[source] = 0
	return eval.Compiler{Names: &own}
}

// behind tells how far a partner that joins as source n may be behind the row
// that it joins, at most. A joined row is as late as the last of its sources,
// and later than the others by what the bounds allow.
func (b *builder) behind(q *asa.Query, n int) int64 {
	lag := make([]int64, n+1) // of sources behind the row
	var most int64
	for j := 1; j <= n; j++ {
		in := q.Sources[j]
		lag[j] = lag[j-1]
		if in.Kind != asa.JoinInput {
			continue
		}
		ahead := int64(math.MaxInt64)
		most = math.MaxInt64
		for _, t := range in.Bounds {
			from, lo, hi := t.From, t.Lo, t.Hi
			if from == j {
				from = t.To
				lo, hi = negated(hi), negated(lo)
			}
			unit := t.Unit.Ticks()
			if hi != math.MaxInt64 {
				ahead = min(ahead, max(0, (hi+1)*unit))
			}
			if lo != math.MinInt64 {
				most = min(most, max(0, lag[from]+(1-lo)*unit))
			}
		}
		for i := range j {
			lag[i] += ahead
		}
		lag[j] = most
	}
	return most
}

// negated is -n, where the least and the largest stand for no bound.
func negated(n int64) int64 {
	switch n {
	case math.MinInt64:
		return math.MaxInt64
	case math.MaxInt64:
		return math.MinInt64
	}
	return -n
}

// partners gives the times at which a partner of a left row may be; from is
// after to when it can have none.
func (j *join) partners(b *batch.Batch, row int) (from, to int64) {
	from, to = math.MinInt64, math.MaxInt64
	for _, x := range j.bounds {
		at := b.Cols[x.column].At(row)
		if at.IsNull() {
			return 1, 0
		}
		now := at.Ticks() / x.unit
		if x.lo != math.MinInt64 {
			from = max(from, (now+x.lo)*x.unit)
		}
		if x.hi != math.MaxInt64 {
			to = min(to, (now+x.hi+1)*x.unit-1)
		}
	}
	return from, to
}

func (s *joinSide) rows(b *batch.Batch) (err error) {
	s.frame.Of(b.Time, b.Cols)
	if s.columns, err = evaluate(s.keys, &s.frame, s.columns[:0]); err != nil {
		return err
	}
	j := s.join
	for i := range b.Time {
		key, null, err := keyOf(j.scratch[:0], s.columns, i)
		if err != nil {
			return err
		}
		j.scratch = key
		var p place
		switch {
		case s == &j.left:
			p.from, p.to = j.partners(b, i)
			if (null || p.from > p.to) && !j.outer {
				continue
			}
		case null:
			continue
		}
		if !null {
			p.bucket = j.bucket(key)
			p.bucket.rows++
		}
		s.store.add(b, i, p)
	}
	return nil
}

func (s *joinSide) reached(ticks int64) error {
	s.until = ticks
	return s.join.release()
}

func (j *join) bucket(key []byte) *bucket {
	b := j.buckets[string(key)]
	if b == nil {
		b = &bucket{key: string(key)}
		j.buckets[b.key] = b
	}
	return b
}

// forget takes a row from its bucket, where it is the oldest of its side if it
// was worked on.
func (j *join) forget(b *bucket) {
	if b.rows--; b.rows == 0 {
		delete(j.buckets, b.key)
	}
}

// release works on the rows that are complete on both sides.
func (j *join) release() error {
	until := min(j.left.until, j.right.until)
	if until <= j.told {
		return nil
	}
	j.told = until
	l, r := &j.left, &j.right
	for {
		lt, lok := l.waiting(until)
		rt, rok := r.waiting(until)
		var err error
		switch {
		case lok && (!rok || lt <= rt):
			err = j.takeLeft(lt)
		case rok:
			err = j.takeRight(rt)
		default:
			if err = j.late(until); err == nil {
				err = j.flush()
			}
			if err != nil {
				return err
			}
			j.evict(until)
			return j.next.reached(until)
		}
		if err != nil {
			return err
		}
	}
}

// waiting gives the time of the next row that is to be worked on.
func (s *joinSide) waiting(until int64) (ticks int64, ok bool) {
	if s.done == s.store.end {
		return 0, false
	}
	ticks = s.store.time(s.done)
	return ticks, ticks <= until
}

func (j *join) takeLeft(now int64) error {
	if err := j.late(now - 1); err != nil {
		return err
	}
	n := j.left.done
	j.left.done++
	p := j.left.store.place(n)
	if p.bucket != nil && p.from <= p.to {
		rows := p.bucket.right.items()
		at, _ := slices.BinarySearchFunc(rows, p.from, func(r, from int64) int {
			if j.right.store.time(r) < from {
				return -1
			}
			return 1
		})
		for _, r := range rows[at:] {
			if j.right.store.time(r) > p.to {
				break
			}
			if err := j.pair(n, r, p, now); err != nil {
				return err
			}
		}
	}
	j.worked(&j.left, n)
	return nil
}

func (j *join) takeRight(now int64) error {
	if err := j.late(now - 1); err != nil {
		return err
	}
	n := j.right.done
	j.right.done++
	b := j.right.store.place(n).bucket
	for _, l := range b.left.items() {
		p := j.left.store.place(l)
		if p.gone || now < p.from || now > p.to {
			continue
		}
		if err := j.pair(l, n, p, now); err != nil {
			return err
		}
	}
	j.worked(&j.right, n)
	return nil
}

func (j *join) pair(l, r int64, p *place, now int64) error {
	if j.on == nil {
		p.matched = true
	} else {
		p.waiting = true
	}
	return j.add(l, r, now)
}

func (j *join) add(l, r, now int64) error {
	p := &j.pairs
	p.left, p.right, p.time = append(p.left, l), append(p.right, r), append(p.time, now)
	if len(p.time) == mostPairs {
		return j.flush()
	}
	return nil
}

// late gives up the left rows whose partners would have come by a time.
func (j *join) late(until int64) error {
	for len(j.deadlines) > 0 && j.deadlines[0].ticks <= until {
		d := j.deadlines.pop()
		p := j.left.store.place(d.row)
		if j.outer {
			if p.waiting && !p.matched {
				if err := j.flush(); err != nil {
					return err
				}
			}
			if !p.matched {
				if err := j.add(d.row, -1, d.ticks); err != nil {
					return err
				}
			}
		}
		b := p.bucket
		j.left.store.leave(d.row)
		if b == nil {
			continue
		}
		for b.left.len() > 0 && j.left.store.place(*b.left.at(0)).gone {
			b.left.popFront()
		}
		j.forget(b)
	}
	return nil
}

// evict gives up the right rows that no left row after a time can meet, and
// takes memory back. Nothing waits to be made.
func (j *join) evict(until int64) {
	s := j.right.store
	for j.oldest < j.right.done && (until == math.MaxInt64 || s.time(j.oldest) < until-j.behind) {
		b := s.place(j.oldest).bucket
		b.right.popFront()
		j.forget(b)
		s.leave(j.oldest)
		j.oldest++
	}
	s.trim()
	j.left.store.trim()
}

// flush makes rows of the pairs.
func (j *join) flush() error {
	p := &j.pairs
	if len(p.time) == 0 {
		return nil
	}
	j.out.Reset()
	width := j.left.store.width
	j.left.store.gather(p.left, j.out.Cols[:width])
	last := len(j.out.Cols) - 1
	j.right.store.gather(p.right, j.out.Cols[width:last])
	for _, r := range p.right {
		var at value.Value
		if r >= 0 {
			at = value.Time(j.right.store.time(r))
		}
		j.out.Cols[last].Append(at)
	}
	j.out.Time = append(j.out.Time, p.time...)
	out, err := j.judge()
	if err != nil {
		return err
	}
	p.left, p.right, p.time = p.left[:0], p.right[:0], p.time[:0]
	if out.Len() == 0 {
		return nil
	}
	return j.next.rows(out)
}

// judge leaves the pairs for which the rest of the condition holds.
func (j *join) judge() (*batch.Batch, error) {
	if j.on == nil {
		return j.out, nil
	}
	p := &j.pairs
	// It is not asked of rows without a partner: it could fail with their nulls,
	// or with what no partner has let it come to.
	asked := j.paired[:0]
	for i, r := range p.right {
		if r >= 0 {
			asked = append(asked, int32(i))
		}
	}
	in := j.out
	if len(asked) < len(p.right) {
		in = j.asked
		in.Gather(j.out, asked)
	}
	j.frame.Of(in.Time, in.Cols)
	hit, err := j.on(&j.frame, j.keep[:0])
	if err != nil {
		return nil, err
	}
	for k, h := range hit {
		hit[k] = asked[h]
	}
	j.keep, j.paired = hit, asked
	kept := j.kept[:0]
	for i, r := range p.right {
		isHit := len(hit) > 0 && hit[0] == int32(i)
		if isHit {
			hit = hit[1:]
		}
		if r < 0 {
			kept = append(kept, int32(i))
			continue
		}
		if isHit {
			kept = append(kept, int32(i))
		}
		at := j.left.store.place(p.left[i])
		at.matched = at.matched || isHit
	}
	j.kept = kept
	if len(kept) == len(p.right) {
		return j.out, nil
	}
	j.asked.Gather(j.out, kept)
	return j.asked, nil
}

// deadline is when it is known of a left row that no partner has come.
type deadline struct {
	ticks, row int64
}

// deadlines is a heap: the first is the earliest.
type deadlines []deadline

func (d deadlines) before(a, b int) bool {
	return d[a].ticks < d[b].ticks || d[a].ticks == d[b].ticks && d[a].row < d[b].row
}

func (d *deadlines) push(x deadline) {
	*d = append(*d, x)
	h := *d
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if !h.before(i, up) {
			return
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
}

func (d *deadlines) pop() deadline {
	h := *d
	first, last := h[0], len(h)-1
	h[0] = h[last]
	h = h[:last]
	*d = h
	for i := 0; ; {
		least := i
		for _, down := range [...]int{2*i + 1, 2*i + 2} {
			if down < last && h.before(down, least) {
				least = down
			}
		}
		if least == i {
			return first
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}

func (j *join) stateBytes() int64 {
	return j.left.store.size + j.right.store.size + int64(len(j.buckets))*bucketBytes + int64(cap(j.deadlines))*16
}
