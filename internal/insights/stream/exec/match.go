package exec

import (
	"container/heap"
	"container/list"
	"fmt"
	"math"
	"slices"

	"dunlin/internal/insights/stream/batch"
	"dunlin/internal/insights/stream/eval"
	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/value"
	"dunlin/internal/lang/asa"
)

// match is MATCH_RECOGNIZE. Each event of a key begins an attempt, which takes
// the events that follow in every way that the pattern allows, and gives the
// longest match; of several the one that the pattern prefers. The row of a
// match has the time of its last event, but only later events tell that it was
// the last: until then the time of what is handed on stands still.
type match struct {
	limit     int64
	pattern   *pattern
	keys      []eval.Value
	values    []eval.Value // of each column that variables name
	defines   []*define    // by variable; nil: any event
	slots     []slot       // what is remembered for definitions
	project   []int        // keys that become columns of the result
	wanted    []wanted     // what measures read
	measures  []eval.Value
	next      next
	told      int64
	began     int64 // attempts so far
	states    map[string]*matchKey
	attempts  *list.List // in the order of their first events
	accepted  *list.List // those that have a match, in the order of its last event
	found     matches
	size      int64
	frame     eval.Frame
	scratch   []byte
	columns   []*batch.Column
	valueCols []*batch.Column
	seen      map[string]bool
	marks     []bool      // by state
	in        batch.Batch // what measures are computed of
	out       batch.Batch
}

// mostRuns is in how many ways an attempt may go on at once.
const mostRuns = 1000

// define is the condition of a variable.
type define struct {
	all    eval.Cond // reads only the event: it is asked for many at once
	holds  []bool    // what it said of the rows of a batch
	one    eval.Cond // reads what was matched before, too
	reads  []reading
	hit    []int32
	frame  eval.Frame
	inputs batch.Batch
}

// slot is something of the events of a variable.
type slot struct {
	variable int
	value    int // which of the columns that variables name
	what     summary
}

type summary uint8

const (
	lastOf summary = iota
	firstOf
	leastOf
	mostOf
)

// reading is a slot that a definition reads; own says that the event that is
// asked about is one of those of the slot.
type reading struct {
	slot int
	own  bool
}

// wanted is something that measures read of a match.
type wanted struct {
	slot
	classifier bool
}

// matchKey is what is kept of one key.
type matchKey struct {
	key      string
	values   []value.Value // of the key
	events   queue[matchEvent]
	first    int64 // number of the first of events
	attempts []*attempt
}

type matchEvent struct {
	ticks  int64
	values []value.Value
}

// attempt is the search for a match that begins with an event.
type attempt struct {
	of       *matchKey
	number   int64
	first    int64 // number of its first event
	ticks    int64 // and its time
	runs     []matchRun
	best     *taken // of the longest match so far
	size     int64
	place    *list.Element
	accepted *list.Element
	until    int64 // time of the last event of best
}

// matchRun is one way to take the events so far.
type matchRun struct {
	state    int
	taken    *taken
	captured []capture
}

// taken is as what events were taken, from the last.
type taken struct {
	before   *taken
	variable int
}

// capture is the content of a slot.
type capture struct {
	set   bool
	value value.Value
}

// found is a match that waits until no earlier one can come.
type foundMatch struct {
	ticks, number int64
	keys          []value.Value
	wanted        []value.Value
}

func (b *builder) match(q *asa.Query, cols *columns, compiler eval.Compiler, to next) (next, error) {
	m := q.Match
	s := &match{
		limit: m.Limit.Ticks(), pattern: newPattern(m.Pattern), next: to, told: math.MinInt64, states: map[string]*matchKey{},
		attempts: list.New(), accepted: list.New(), seen: map[string]bool{},
	}
	var err error
	if s.keys, err = compiler.Values(m.PartitionBy); err != nil {
		return nil, err
	}
	for i, k := range m.PartitionBy {
		if _, ok := k.(*asa.Field); ok {
			s.project = append(s.project, i)
		}
	}
	names := &matchNames{columns: cols, match: s}
	s.defines = make([]*define, len(s.pattern.variables))
	for _, d := range m.Define {
		v := s.pattern.find(d.Name.Text)
		if s.defines[v], err = names.define(v, d.When); err != nil {
			return nil, err
		}
	}
	names.measures = true
	for _, x := range m.Measures {
		e, err := names.compile(func(c eval.Compiler) (eval.Value, error) { return c.Value(x.Expr) })
		if err != nil {
			return nil, err
		}
		s.measures = append(s.measures, e)
	}
	for _, path := range names.paths {
		v, err := compiler.Value(&asa.Field{Source: 0, Path: path})
		if err != nil {
			return nil, err
		}
		s.values = append(s.values, v)
	}
	s.in = *batch.New(len(s.wanted))
	s.marks = make([]bool, len(s.pattern.states))
	b.keep(s)
	return s, nil
}

// matched gives the columns behind MATCH_RECOGNIZE, which hides its source.
func (c *columns) matched() (*columns, error) {
	q := *c.q
	if len(q.Analytic) > 0 {
		return nil, fmt.Errorf("analytic functions cannot stand beside MATCH_RECOGNIZE: compute them in a step before or behind")
	}
	var err error
	hidden := func(source int) {
		if source == 0 {
			err = fmt.Errorf("behind MATCH_RECOGNIZE there are only columns of '%s', not of '%s'", c.q.Sources[1].Name, c.q.Sources[0].Name)
		}
	}
	q.Match, q.Sources = nil, nil
	walkQuery(&q, func(e asa.Expr) {
		switch e := e.(type) {
		case *asa.Field:
			hidden(e.Source)
		case *asa.Ref:
			if e.Kind == asa.TimeRef && e.Index >= 0 {
				hidden(0)
			}
		}
	})
	for _, x := range q.Columns {
		if x.Name == "" && x.Star >= 0 {
			hidden(x.Star)
		}
	}
	q.Sources = c.q.Sources
	out := *c
	out.base, out.width = []int{0, 0}, c.sources[1].width()
	return &out, err
}

// matchNames tells the compiler where columns of variables are: in the rows of
// the source, or among what is computed of the events of a match.
type matchNames struct {
	*columns
	match    *match
	paths    [][]string // columns that are remembered
	local    bool       // only the event itself is read
	current  int        // variable that is defined
	into     *define
	measures bool
	failed   error
}

func (n *matchNames) compile(f func(eval.Compiler) (eval.Value, error)) (eval.Value, error) {
	v, err := f(eval.Compiler{Names: n})
	if err == nil {
		err = n.failed
	}
	return v, err
}

// define compiles a definition.
func (n *matchNames) define(variable int, when asa.Expr) (*define, error) {
	n.current, n.local, n.into = variable, true, new(define)
	asa.Walk(when, func(e asa.Expr) {
		v, ok := e.(*asa.Variable)
		if ok && (v.Func != "" && v.Func != "LAST" || n.match.pattern.find(v.Name) != variable) {
			n.local = false
		}
	})
	cond, err := eval.Compiler{Names: n}.Cond(when)
	if err == nil {
		err = n.failed
	}
	if n.local {
		n.into.all = cond
	} else {
		n.into.one = cond
		n.into.inputs = *batch.New(len(n.into.reads))
	}
	return n.into, err
}

var summaries = map[string]summary{"": lastOf, "LAST": lastOf, "FIRST": firstOf, "MIN": leastOf, "MAX": mostOf}

// Variable tells eval where a column of a variable is.
func (n *matchNames) Variable(v *asa.Variable) (col int, rest []string) {
	if v.Func != "CLASSIFIER" {
		if _, _, ok := n.sources[0].find(v.Path); !ok {
			n.failed = fmt.Errorf("'%s' has no column '%s'", n.q.Sources[0].Name, v.Path[0])
			return 0, nil
		}
	}
	if n.local && !n.measures {
		col, rest, _ = n.sources[0].find(v.Path)
		return col, rest
	}
	s := slot{variable: n.match.pattern.find(v.Name), what: summaries[v.Func]}
	if v.Func != "CLASSIFIER" {
		s.value = n.path(v.Path)
	}
	if n.measures {
		w := wanted{s, v.Func == "CLASSIFIER"}
		if i := slices.Index(n.match.wanted, w); i >= 0 {
			return i, nil
		}
		n.match.wanted = append(n.match.wanted, w)
		return len(n.match.wanted) - 1, nil
	}
	at := slices.Index(n.match.slots, s)
	if at < 0 {
		at = len(n.match.slots)
		n.match.slots = append(n.match.slots, s)
	}
	d := n.into
	d.reads = append(d.reads, reading{at, s.variable == n.current})
	return len(d.reads) - 1, nil
}

func (n *matchNames) path(path []string) int {
	for i, p := range n.paths {
		if samePath(p, path) {
			return i
		}
	}
	n.paths = append(n.paths, path)
	return len(n.paths) - 1
}

func (s *match) rows(b *batch.Batch) (err error) {
	s.frame.Of(b.Time, b.Cols)
	if s.columns, err = evaluate(s.keys, &s.frame, s.columns[:0]); err != nil {
		return err
	}
	if s.valueCols, err = evaluate(s.values, &s.frame, s.valueCols[:0]); err != nil {
		return err
	}
	for _, d := range s.defines {
		if d == nil || d.all == nil {
			continue
		}
		if d.hit, err = d.all(&s.frame, d.hit[:0]); err != nil {
			return err
		}
		d.holds = append(d.holds[:0], make([]bool, b.Len())...)
		for _, i := range d.hit {
			d.holds[i] = true
		}
	}
	for i, t := range b.Time {
		if err := s.event(t, i); err != nil {
			return err
		}
	}
	return nil
}

// event takes a row into the attempts of its key, and begins one.
func (s *match) event(now int64, row int) error {
	key, _, err := keyOf(s.scratch[:0], s.columns, row)
	if err != nil {
		return err
	}
	s.scratch = key
	k := s.states[string(key)]
	if k == nil {
		k = &matchKey{key: string(key)}
		for _, c := range s.columns {
			k.values = append(k.values, value.Clone(c.At(row)))
		}
		s.states[k.key] = k
	}
	e := matchEvent{ticks: now, values: make([]value.Value, len(s.valueCols))}
	for i, c := range s.valueCols {
		e.values[i] = value.Clone(c.At(row))
	}
	k.events.push(e)
	s.began++
	a := &attempt{of: k, number: s.began, first: k.first + int64(k.events.len()) - 1, ticks: now, runs: []matchRun{{captured: make([]capture, len(s.slots))}}}
	a.place = s.attempts.PushBack(a)
	k.attempts = append(k.attempts, a)
	left := k.attempts[:0]
	for _, a := range k.attempts {
		if now-a.ticks < s.limit {
			if err := s.step(a, &e, row); err != nil {
				return err
			}
			if len(a.runs) > 0 {
				left = append(left, a)
				continue
			}
		}
		if err := s.finish(a); err != nil {
			return err
		}
	}
	clear(k.attempts[len(left):])
	k.attempts = left
	s.tidy(k)
	return nil
}

// step takes an event into an attempt.
func (s *match) step(a *attempt, e *matchEvent, row int) error {
	clear(s.seen)
	clear(s.marks)
	var runs []matchRun
	var best *taken
	for _, r := range a.runs {
		for _, o := range s.pattern.states[r.state].options {
			ok, err := s.test(o.variable, &r, e, row)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			next := matchRun{state: o.to, taken: &taken{r.taken, o.variable}, captured: r.captured}
			if err := s.capture(&next, o.variable, e); err != nil {
				return err
			}
			// Of two runs that will go the same way the first is preferred.
			if s.known(&next) {
				continue
			}
			to := &s.pattern.states[o.to]
			if to.accept && best == nil {
				best = next.taken
			}
			if len(to.options) > 0 {
				runs = append(runs, next)
			}
		}
	}
	if len(runs) > mostRuns {
		return fmt.Errorf("MATCH_RECOGNIZE: the events that follow one can be matched in more than %d ways; make the definitions exclude each other", mostRuns)
	}
	a.runs = runs
	if best != nil {
		a.best, a.until = best, e.ticks
		if a.accepted != nil {
			s.accepted.MoveToBack(a.accepted)
		} else {
			a.accepted = s.accepted.PushBack(a)
		}
	}
	s.weigh(a)
	return nil
}

// weigh brings up to date what an attempt takes, roughly.
func (s *match) weigh(a *attempt) {
	n := 160 + int64(len(a.runs))*int64(96+len(s.slots)*48) + int64(len(s.values))*40
	s.size += n - a.size
	a.size = n
}

// known reports whether a run that will go the same way was asked about before
// in this step.
func (s *match) known(r *matchRun) (is bool) {
	if len(s.slots) == 0 {
		is, s.marks[r.state] = s.marks[r.state], true
		return is
	}
	b := appendUint(s.scratch[:0], uint64(r.state))
	for _, c := range r.captured {
		b = value.AppendState(appendBool(b, c.set), c.value)
	}
	s.scratch = b
	if is = s.seen[string(b)]; !is {
		s.seen[string(b)] = true
	}
	return is
}

// test asks whether an event can be taken as a variable.
func (s *match) test(variable int, r *matchRun, e *matchEvent, row int) (bool, error) {
	if variable < 0 || s.defines[variable] == nil {
		return true, nil
	}
	d := s.defines[variable]
	if d.all != nil {
		return d.holds[row], nil
	}
	d.inputs.Reset()
	d.inputs.Time = append(d.inputs.Time, e.ticks)
	for i, x := range d.reads {
		c := r.captured[x.slot]
		if x.own {
			var err error
			if c, err = s.slots[x.slot].with(c, e); err != nil {
				return false, err
			}
		}
		d.inputs.Cols[i].Append(c.value)
	}
	d.frame.Of(d.inputs.Time, d.inputs.Cols)
	hit, err := d.one(&d.frame, d.hit[:0])
	d.hit = hit
	return len(hit) > 0, err
}

// with gives the content of a slot after one more event.
func (x *slot) with(c capture, e *matchEvent) (capture, error) {
	v := e.values[x.value]
	switch x.what {
	case firstOf:
		if c.set {
			return c, nil
		}
	case leastOf, mostOf:
		if v.IsNull() || c.value.IsNull() {
			if v.IsNull() {
				v = c.value
			}
			break
		}
		order, _, err := scalar.Compare(v, c.value)
		if err != nil {
			return c, err
		}
		if x.what == leastOf && order >= 0 || x.what == mostOf && order <= 0 {
			v = c.value
		}
	case lastOf:
	}
	return capture{true, v}, nil
}

// capture remembers an event that was taken as a variable.
func (s *match) capture(r *matchRun, variable int, e *matchEvent) (err error) {
	shared := true
	for i := range s.slots {
		if s.slots[i].variable != variable {
			continue
		}
		if shared {
			r.captured, shared = slices.Clone(r.captured), false
		}
		if r.captured[i], err = s.slots[i].with(r.captured[i], e); err != nil {
			return err
		}
	}
	return nil
}

// finish ends an attempt: it has its match, or none.
func (s *match) finish(a *attempt) error {
	s.attempts.Remove(a.place)
	s.size -= a.size
	if a.accepted == nil {
		return nil
	}
	s.accepted.Remove(a.accepted)
	var as []int
	for t := a.best; t != nil; t = t.before {
		as = append(as, t.variable)
	}
	slices.Reverse(as)
	f := foundMatch{ticks: a.until, number: a.number, keys: a.of.values}
	events := a.of.events.items()[a.first-a.of.first:][:len(as)]
	for i := range s.wanted {
		v, err := s.wanted[i].of(s.pattern, events, as)
		if err != nil {
			return err
		}
		f.wanted = append(f.wanted, v)
	}
	heap.Push(&s.found, f)
	return nil
}

// of computes what measures read of a match.
func (w *wanted) of(p *pattern, events []matchEvent, as []int) (value.Value, error) {
	if w.classifier {
		names := make([]value.Value, len(as))
		for i, v := range as {
			if v >= 0 {
				names[i] = value.String(p.variables[v])
			}
		}
		return value.ArrayOf(names), nil
	}
	var c capture
	var err error
	for i, v := range as {
		if v == w.variable && err == nil {
			c, err = w.with(c, &events[i])
		}
	}
	return c.value, err
}

// tidy forgets the events that no attempt needs.
func (s *match) tidy(k *matchKey) {
	if len(k.attempts) == 0 {
		delete(s.states, k.key)
		return
	}
	for k.first < k.attempts[0].first {
		k.events.popFront()
		k.first++
	}
}

func (s *match) reached(ticks int64) error {
	for s.attempts.Len() > 0 {
		a := s.attempts.Front().Value.(*attempt)
		if ticks != math.MaxInt64 && a.ticks+s.limit > ticks+1 {
			break
		}
		if err := s.finish(a); err != nil {
			return err
		}
		a.of.attempts = slices.DeleteFunc(a.of.attempts, func(x *attempt) bool { return x == a })
		s.tidy(a.of)
	}
	until := ticks
	if s.accepted.Len() > 0 {
		until = min(until, s.accepted.Front().Value.(*attempt).until)
	}
	if err := s.emit(until); err != nil {
		return err
	}
	if s.accepted.Len() > 0 {
		until-- // one more may end with that event
	}
	if until <= s.told {
		return nil
	}
	s.told = until
	return s.next.reached(until)
}

// emit hands on the matches of up to a time.
func (s *match) emit(until int64) error {
	if len(s.found) == 0 || s.found[0].ticks > until {
		return nil
	}
	s.in.Reset()
	keys := batch.New(len(s.project))
	for len(s.found) > 0 && s.found[0].ticks <= until {
		f := heap.Pop(&s.found).(foundMatch)
		s.in.Time = append(s.in.Time, f.ticks)
		for i, v := range f.wanted {
			s.in.Cols[i].Append(v)
		}
		for i, k := range s.project {
			keys.Cols[i].Append(f.keys[k])
		}
	}
	s.out.Time, s.out.Cols = s.in.Time, append(s.out.Cols[:0], keys.Cols...)
	s.frame.Of(s.in.Time, s.in.Cols)
	var err error
	if s.out.Cols, err = evaluate(s.measures, &s.frame, s.out.Cols); err != nil {
		return err
	}
	return s.next.rows(&s.out)
}

// matches is a heap.
type matches []foundMatch

// Len implements heap.Interface.
func (m matches) Len() int { return len(m) }

// Less implements heap.Interface.
func (m matches) Less(a, b int) bool {
	return m[a].ticks < m[b].ticks || m[a].ticks == m[b].ticks && m[a].number < m[b].number
}

// Swap implements heap.Interface.
func (m matches) Swap(a, b int) { m[a], m[b] = m[b], m[a] }

// Push implements heap.Interface.
func (m *matches) Push(x any) { *m = append(*m, x.(foundMatch)) }

// Pop implements heap.Interface.
func (m *matches) Pop() any {
	old := *m
	x := old[len(old)-1]
	*m = old[:len(old)-1]
	return x
}

func (s *match) stateBytes() int64 { return s.size + int64(len(s.found))*160 }
