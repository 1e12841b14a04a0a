// Package window groups the rows of streams: GROUP BY with windows and
// aggregates, and the aggregates that look back over the rows before.
//
// Rows come in the order of time. Group keys become dense numbers; what is kept
// of a group is in columns by these numbers, so that a batch of rows is added
// in one tight loop for each aggregate.
//
// Fixed windows, tumbling and hopping ones, are cut into slices at all their
// beginnings and ends, and a window is made of its slices: a row is added once,
// however many windows it is in. Sliding windows keep the rows of each group
// that has any. Windows are intervals (start, end]; they are aligned to the
// first instant of the year 1.
package window

import (
	"fmt"
	"strings"

	"dunlin/internal/insights/stream/batch"
	"dunlin/internal/insights/stream/value"
	"dunlin/internal/lang/asa"
)

// Spec says how rows are grouped.
type Spec struct {
	Window     *asa.Window
	Keys       []asa.Expr  // of the groups, and behind them those of OVER in session windows
	GroupKeys  int         // how many of Keys are of the groups
	Aggregates []Aggregate // in the order of the query
	// Limit is how many bytes may be kept; 0 is any. It is looked at after each
	// batch.
	Limit int64
}

// SpecOf tells how a query groups its rows. user finds user-defined
// aggregates; it may be nil.
func SpecOf(q *asa.Query, user func(name string) (User, error)) (*Spec, error) {
	s := &Spec{Window: q.Window, GroupKeys: len(q.Keys)}
	s.Keys = append(s.Keys, q.Keys...)
	for _, w := range members(q.Window) {
		s.Keys = append(s.Keys, w.Over...)
	}
	for _, a := range q.Aggregates {
		b, err := AggregateOf(a, user)
		if err != nil {
			return nil, err
		}
		s.Aggregates = append(s.Aggregates, b)
	}
	return s, nil
}

// members lists what a window consists of.
func members(w *asa.Window) []*asa.Window {
	if w.Kind == asa.Windows {
		return w.Members
	}
	return []*asa.Window{w}
}

// LimitError says that a grouping keeps more than it may.
type LimitError struct{ Limit, Used int64 }

func (e *LimitError) Error() string {
	return fmt.Sprintf("the groups of the query's windows take %d bytes of memory, and the limit is %d bytes: use fewer keys, shorter windows, or a higher memory limit for the job", e.Used, e.Limit)
}

// OrderError says that a row is older than what was told of time: the caller
// is at fault.
type OrderError struct{ Time, After int64 }

func (e *OrderError) Error() string {
	return fmt.Sprintf("window: a row of tick %d came after tick %d was over", e.Time, e.After)
}

// Grouper groups rows. It belongs to one goroutine.
//
// What it emits are batches whose time is the end of the window, and whose
// columns are the keys of the group, the aggregates, and what System.Window()
// gives. They are ordered by time; where that is the same, by the window in the
// order of the query, and then by which group was there first. A batch is valid
// during the call only. Rows leave as soon as later rows, or Reached, show that
// their window is over.
type Grouper struct {
	spec    *Spec
	keys    *Keys
	engines []engine
	out     *outlet
	sets    []*set
	in      rows
	reached int64 // no row of up to this time comes any more
}

// engine is one way to cut time. It emits what ended before the rows that it
// is given, and no more.
type engine interface {
	rows(in *rows) error
	reached(ticks int64) error
	// mark puts the keys in use into a set.
	mark(used Set)
	bytes() int64
	appendState(b []byte) []byte
	readState(r *reader)
}

// rows is the rows [from, to) of a batch, for engines.
type rows struct {
	from, to int
	time     []int64
	ids      []uint32 // of group keys, the first for from
	keys     []*batch.Column
	args     [][]*batch.Column // by set of accumulators
}

// mostIn is how many rows are taken at a time: what belongs to them stays in
// the nearest cache, and takes little memory between batches.
const mostIn = 512

// set is accumulators that one or several aggregates use.
type set struct {
	*Aggregate // the first of them
	from       int
}

// plan is what engines know of the aggregates.
type plan struct {
	sets  []*set
	of    []int // by aggregate: its set
	how   []Aggregate
	light bool
}

func newPlan(list []Aggregate) *plan {
	p := &plan{how: list, of: make([]int, len(list)), light: true}
	for i := range list {
		p.of[i] = -1
		if list[i].Func != Count {
			p.join(i)
		}
	}
	for i := range list {
		if list[i].Func == Count { // SUM and AVG of the same count it, too
			p.join(i)
		}
	}
	return p
}

func (p *plan) join(i int) {
	a := &p.how[i]
	for j, s := range p.sets {
		counted := a.Func == Count && s.family() == familySum && len(a.Args) == 1 && a.Args[0] != nil &&
			s.Args[0] != nil && asa.Print(a.Args[0]) == asa.Print(s.Args[0])
		if counted || a.share(s.Aggregate) {
			p.of[i] = j
			return
		}
	}
	p.of[i] = len(p.sets)
	p.sets = append(p.sets, &set{a, i})
	p.light = p.light && light(a.family())
}

func (p *plan) accumulators() []accumulators {
	list := make([]accumulators, len(p.sets))
	for i, s := range p.sets {
		list[i] = newAccumulators(s.Aggregate)
	}
	return list
}

// New makes a grouper that hands its rows to emit.
func New(s *Spec, emit func(*batch.Batch) error) (*Grouper, error) {
	g := &Grouper{spec: s, keys: NewKeys(s.GroupKeys), reached: -1}
	p := newPlan(s.Aggregates)
	g.sets = p.sets
	list := members(s.Window)
	g.out = newOutlet(g.keys, s.GroupKeys, len(s.Aggregates), list, emit)
	var fixed []*member
	over := s.GroupKeys
	for i, w := range list {
		sink := &sink{out: g.out, plan: p, window: i}
		switch w.Kind {
		case asa.TumblingWindow, asa.HoppingWindow:
			m, err := newMember(w, sink)
			if err != nil {
				return nil, err
			}
			fixed = append(fixed, m)
		case asa.SlidingWindow:
			if w.Size.Ticks() <= 0 {
				return nil, fmt.Errorf("window: the size of a window must be above 0")
			}
			g.engines = append(g.engines, newSliding(w.Size.Ticks(), sink))
		case asa.SessionWindow:
			if w.Size.Ticks() <= 0 || w.Max.Ticks() <= 0 {
				return nil, fmt.Errorf("window: the timeout and the longest duration of a session must be above 0")
			}
			g.engines = append(g.engines, newSessions(w, over, sink))
			over += len(w.Over)
		case asa.SnapshotWindow:
			g.engines = append(g.engines, newSnapshots(sink))
		case asa.Windows:
			return nil, fmt.Errorf("window: Windows() cannot stand in Windows()")
		}
	}
	if fixed != nil {
		g.engines = append(g.engines, newPanes(fixed, p))
	}
	g.out.direct = len(g.engines) == 1
	return g, nil
}

// Rows adds rows in the order of time. keys are the columns of Spec.Keys, args
// for each aggregate those of its Args. Columns are only read during the call.
func (g *Grouper) Rows(time []int64, keys []*batch.Column, args [][]*batch.Column) error {
	if len(time) == 0 {
		return nil
	}
	last := g.reached + 1
	for _, t := range time {
		if t < last {
			return &OrderError{t, last - 1}
		}
		last = t
	}
	in := &g.in
	in.time, in.keys, in.args = time, keys, in.args[:0]
	for _, s := range g.sets {
		in.args = append(in.args, args[s.from])
	}
	for from := 0; from < len(time); from += mostIn {
		in.from, in.to = from, min(len(time), from+mostIn)
		if err := g.some(in); err != nil {
			return err
		}
	}
	g.reached = max(g.reached, last-1)
	in.time, in.keys = nil, nil
	clear(in.args)
	return g.limit()
}

// some adds the rows of in.
func (g *Grouper) some(in *rows) error {
	if g.keys.Full() {
		g.keys.Sweep(func(used Set) {
			for _, e := range g.engines {
				e.mark(used)
			}
		})
	}
	var err error
	if in.ids, err = g.keys.Intern(in.keys[:g.spec.GroupKeys], in.from, in.to, in.ids[:0]); err != nil {
		return err
	}
	for _, e := range g.engines {
		if err := e.rows(in); err != nil {
			return err
		}
	}
	return g.out.flush()
}

func (g *Grouper) limit() error {
	if g.spec.Limit <= 0 {
		return nil
	}
	if n := g.Bytes(); n > g.spec.Limit {
		return &LimitError{Limit: g.spec.Limit, Used: n}
	}
	return nil
}

// Reached says that no row of up to that time will come any more.
func (g *Grouper) Reached(ticks int64) error {
	if ticks <= g.reached {
		return nil
	}
	g.reached = ticks
	for _, e := range g.engines {
		if err := e.reached(ticks); err != nil {
			return err
		}
	}
	return g.out.flush()
}

// baseBytes is what a grouper takes before it has any row.
const baseBytes = 2 << 10

// Bytes is roughly how much memory the grouper keeps.
func (g *Grouper) Bytes() int64 {
	n := baseBytes + g.keys.Bytes() + int64(cap(g.in.ids))*4
	for _, e := range g.engines {
		n += e.bytes()
	}
	return n
}

// Groups is the number of keys that are known.
func (g *Grouper) Groups() int { return g.keys.Live() }

// signature tells groupers apart whose states differ.
func (g *Grouper) signature() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%d keys %d;", g.spec.GroupKeys, len(g.spec.Keys))
	for _, w := range members(g.spec.Window) {
		offset := int64(0)
		if w.Offset != nil {
			offset = w.Offset.Ticks()
		}
		fmt.Fprintf(&s, " %s %d %d %d %d %d;", w.Kind, w.Size.Ticks(), w.Hop.Ticks(), offset, w.Max.Ticks(), len(w.Over))
	}
	for i := range g.spec.Aggregates {
		s.WriteString(" " + g.spec.Aggregates[i].signature() + ";")
	}
	return s.String()
}

// AppendState writes all that the grouper keeps, for a checkpoint.
func (g *Grouper) AppendState(b []byte) []byte {
	b = append(b, stateVersion)
	b = appendBytes(b, []byte(g.signature()))
	b = appendTimes(b, []int64{g.reached})
	b = section(b, g.keys.AppendState)
	for _, e := range g.engines {
		b = section(b, e.appendState)
	}
	return b
}

// ReadState makes a new grouper go on where the one was that wrote the state.
func (g *Grouper) ReadState(b []byte) error {
	r := &reader{b: b}
	if v := r.byte(); r.err == nil && v != stateVersion {
		return fmt.Errorf("%w: version %d is unknown", ErrState, v)
	}
	if s := string(r.bytes()); r.err == nil && s != g.signature() {
		return fmt.Errorf("%w: it is of %s", ErrState, s)
	}
	if t := r.times(); len(t) == 1 {
		g.reached = t[0]
	} else {
		r.fail()
	}
	s := r.section()
	g.keys.readState(s)
	r.end(s)
	r.keys = g.keys.Len()
	for _, e := range g.engines {
		s := r.section()
		e.readState(s)
		r.end(s)
	}
	if r.err == nil && len(r.b) != 0 {
		r.fail()
	}
	return r.err
}

// cap9999 keeps the end of a window within what a datetime can hold.
func cap9999(ticks int64) int64 { return min(ticks, value.MaxTicks) }
