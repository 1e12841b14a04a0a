package exec

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"dunlin/internal/insights/stream/batch"
	"dunlin/internal/insights/stream/eval"
	"dunlin/internal/insights/stream/value"
	"dunlin/internal/lang/asa"
)

// split is TIMESTAMP BY ... OVER: each key has a time of its own, and with it
// all that follows. The keys have to be among those of groups and joins, and so
// what comes of one key never meets what comes of another: each has a job.
type split struct {
	plan    *asa.Plan
	options Options
	job     *Job // that is split
	idle    int64
	streams map[string]*substream
	told    int64   // time of arrival that all keys were told of
	arrived []int64 // by input, up to which arrival keys were told
	touched []*substream
	part    []*batch.Batch // by input
	scratch []byte
}

// substream is one key.
type substream struct {
	job  *Job
	last int64 // arrival of its last event
	rows []int32
}

// substreamBytes is roughly what the job of a key takes beside its state.
const substreamBytes = 8 << 10

// splitInput takes the events of an input apart.
type splitInput struct {
	split   *split
	number  int
	keys    []eval.Value
	frame   eval.Frame
	columns []*batch.Column
}

// newSplit wires a plan whose inputs have substreams. over has the keys of each
// input of the plan, in its order.
func newSplit(p *asa.Plan, o Options, over []*asa.Input) (*Job, error) {
	j, err := wire(p, o, nil) // to find what is wrong, and for its inputs and tables
	if err != nil {
		return nil, err
	}
	s := &split{plan: p, options: o, job: j, idle: math.MaxInt64, streams: map[string]*substream{}, told: math.MinInt64}
	if o.Policy.Late >= 0 && o.Policy.Early >= 0 {
		// A later event is behind all that the key has seen, which may be ahead
		// of its arrival, and behind all windows of it.
		s.idle = o.Policy.Late + o.Policy.Early + spans(p)
	}
	for i, in := range j.inputs {
		from := over[i]
		cols := &columns{q: &asa.Query{}}
		for range 1 + maxSource(p) { // whatever its number in the query is
			cols.sources, cols.base, cols.times = append(cols.sources, in.layout), append(cols.base, 0), append(cols.times, -1)
		}
		keys, err := eval.Compiler{Names: cols}.Values(from.Over)
		if err != nil {
			return nil, err
		}
		for k, e := range from.Over {
			if f, ok := e.(*asa.Field); ok && isPartition(f) {
				keys[k] = partitionOf(keys[k])
			}
		}
		in.split = s
		in.next = fan{to: []next{&splitInput{split: s, number: i, keys: keys}}}
		s.part = append(s.part, batch.New(in.layout.width()))
		s.arrived = append(s.arrived, math.MinInt64)
	}
	j.states = []stateful{s}
	return j, nil
}

func maxSource(p *asa.Plan) (n int) {
	for _, r := range p.Relations {
		if r.Query != nil {
			n = max(n, len(r.Query.Sources))
		}
	}
	return n
}

// isPartition reports whether a column is the number of the partition, which a
// job that is one partition takes to be 0 where the input does not tell.
func isPartition(f *asa.Field) bool {
	return len(f.Path) == 1 && strings.EqualFold(f.Path[0], "PartitionId")
}

func partitionOf(x eval.Value) eval.Value {
	return eval.Rowwise([]eval.Value{x}, func(args []value.Value) (value.Value, error) {
		if args[0].IsNull() {
			return value.Int(0), nil
		}
		return args[0], nil
	})
}

// substreams finds the keys of TIMESTAMP BY ... OVER, by input; nil when there
// are none.
func substreams(p *asa.Plan) (over []*asa.Input, err error) {
	byInput := map[*asa.Relation]*asa.Input{}
	with, without := "", ""
	for _, r := range p.Relations {
		if r.Query == nil {
			continue
		}
		for n, in := range r.Query.Sources {
			if in.Relation == nil || in.Relation.Kind != asa.StreamInput {
				continue
			}
			if len(in.Over) == 0 {
				without = in.Relation.Name
				continue
			}
			with = in.Relation.Name
			if first := byInput[in.Relation]; first != nil && !sameColumns(first.Over, in.Over) {
				return nil, fmt.Errorf("TIMESTAMP BY ... OVER has other keys in another place where '%s' is read", in.Relation.Name)
			}
			byInput[in.Relation] = in
			if err := keepsApart(r.Query, n, in); err != nil {
				return nil, err
			}
		}
	}
	if with == "" {
		return nil, nil
	}
	if without != "" {
		return nil, fmt.Errorf("'%s' is read with TIMESTAMP BY ... OVER and '%s' without: all inputs of a job have to have it, or none", with, without)
	}
	for _, r := range p.Relations {
		if r.Kind == asa.StreamInput {
			in := byInput[r]
			if len(over) > 0 && len(in.Over) != len(over[0].Over) {
				return nil, fmt.Errorf("TIMESTAMP BY ... OVER has not as many keys for '%s' as for '%s'", in.Relation.Name, over[0].Relation.Name)
			}
			over = append(over, in)
		}
	}
	return over, nil
}

// keepsApart refuses a query that brings events of different keys together.
func keepsApart(q *asa.Query, n int, in *asa.Input) error {
	among := func(list []asa.Expr, e asa.Expr) bool {
		return slices.ContainsFunc(list, func(x asa.Expr) bool {
			f, ok := x.(*asa.Field)
			return ok && f.Source == n && sameColumns([]asa.Expr{x}, []asa.Expr{e})
		})
	}
	var joined []asa.Expr
	joins := false
	for _, s := range q.Sources {
		joins = joins || s.Kind == asa.JoinInput
		joined = append(append(joined, s.Left...), s.Right...)
	}
	for _, e := range in.Over {
		if f, ok := e.(*asa.Field); ok && isPartition(f) || among(in.PartitionBy, e) {
			continue
		}
		switch {
		case joins && !among(joined, e):
			return fmt.Errorf("TIMESTAMP BY ... OVER gives each key a time of its own: the join of '%s' has to compare the keys", in.Name)
		case !joins && q.Window != nil && !grouped(q, func(keys []asa.Expr) bool { return among(keys, e) }):
			return fmt.Errorf("TIMESTAMP BY ... OVER gives each key a time of its own: add the keys of '%s' to GROUP BY", in.Name)
		}
	}
	return nil
}

// grouped tells whether all windows of a query have keys of which something
// holds. A session with keys of its own has only those.
func grouped(q *asa.Query, holds func(keys []asa.Expr) bool) bool {
	windows := []*asa.Window{q.Window}
	if q.Window.Kind == asa.Windows {
		windows = q.Window.Members
	}
	return !slices.ContainsFunc(windows, func(w *asa.Window) bool {
		if len(w.Over) > 0 {
			return !holds(w.Over)
		}
		return !holds(q.Keys)
	})
}

// spans adds up how far all steps of a plan look back.
func spans(p *asa.Plan) (sum int64) {
	for _, r := range p.Relations {
		q := r.Query
		if q == nil {
			continue
		}
		var most int64
		for _, a := range q.Analytic {
			if a.Limit != nil {
				most = max(most, a.Limit.Ticks())
			} else {
				most = max(most, interval(a))
			}
		}
		if q.Match != nil {
			most = max(most, q.Match.Limit.Ticks())
		}
		sum += most
		for _, in := range q.Sources {
			for _, t := range in.Bounds {
				for _, n := range [...]int64{t.Lo, t.Hi} {
					if n != math.MinInt64 && n != math.MaxInt64 {
						sum += (max(n, -n) + 1) * t.Unit.Ticks()
					}
				}
			}
		}
		if w := q.Window; w != nil {
			sum += windowSpan(w)
		}
	}
	return sum
}

// interval is how long ISFIRST remembers.
func interval(a *asa.Analytic) int64 {
	return asa.Duration{Unit: fixedUnits[a.Call.Args[0].(*asa.Literal).Text], Count: a.Call.Args[1].(*asa.Literal).Int}.Ticks()
}

func windowSpan(w *asa.Window) int64 {
	n := max(w.Size.Ticks(), w.Hop.Ticks(), 2*w.Max.Ticks())
	if w.Offset != nil {
		n += max(w.Offset.Ticks(), -w.Offset.Ticks())
	}
	for _, m := range w.Members {
		n = max(n, windowSpan(m))
	}
	return n
}

func (s *splitInput) rows(b *batch.Batch) (err error) {
	s.frame.Of(b.Time, b.Cols)
	if s.columns, err = evaluate(s.keys, &s.frame, s.columns[:0]); err != nil {
		return err
	}
	x := s.split
	counts := &x.job.inputs[s.number].counts
	x.touched = x.touched[:0]
	for i, arrival := range b.Time {
		key, null, err := keyOf(x.scratch[:0], s.columns, i)
		if err != nil || null {
			counts.Events++
			counts.InvalidTimestampKey++
			continue
		}
		x.scratch = key
		k, err := x.stream(key)
		if err != nil {
			return err
		}
		if len(k.rows) == 0 {
			x.touched = append(x.touched, k)
		}
		k.rows = append(k.rows, int32(i))
		k.last = arrival
	}
	part := x.part[s.number]
	for _, k := range x.touched {
		part.Gather(b, k.rows)
		k.rows = k.rows[:0]
		if err := k.job.inputs[s.number].next.rows(part); err != nil {
			return err
		}
	}
	// Keys without events learn of time by the arrival of others, now and then.
	if last := b.Time[len(b.Time)-1]; last-value.Second >= x.told {
		return s.reached(last)
	}
	return nil
}

func (x *split) stream(key []byte) (*substream, error) {
	if k := x.streams[string(key)]; k != nil {
		return k, nil
	}
	j, err := wire(x.plan, x.options, x.job)
	if err != nil {
		return nil, err
	}
	k := &substream{job: j}
	x.streams[string(key)] = k
	return k, nil
}

// reached tells all keys that nothing has arrived up to a time, and forgets
// those that have been idle for so long that nothing is left of them.
func (s *splitInput) reached(arrival int64) error {
	x := s.split
	x.told = arrival
	// An input may be read ahead of another.
	x.arrived[s.number] = arrival
	all := slices.Min(x.arrived)
	for key, k := range x.streams {
		if err := k.job.inputs[s.number].next.reached(arrival); err != nil {
			return err
		}
		if arrival != value.MaxTicks && x.idle < math.MaxInt64 && all > math.MinInt64 && all-k.last > x.idle {
			if err := k.job.End(); err != nil {
				return err
			}
			for i, in := range k.job.inputs {
				x.job.inputs[i].counts.add(in.counts)
			}
			delete(x.streams, key)
		}
	}
	return nil
}

// counted adds what became of the events of all keys.
func (x *split) counted(c Counts, input *Input) Counts {
	n := slices.Index(x.job.inputs, input)
	for _, k := range x.streams {
		c.add(k.job.inputs[n].counts)
	}
	return c
}

func (c *Counts) add(o Counts) {
	c.Events += o.Events
	c.Early += o.Early
	c.Late += o.Late
	c.Disordered += o.Disordered
	c.InvalidTimestamp += o.InvalidTimestamp
	c.InvalidTimestampKey += o.InvalidTimestampKey
	c.DeserializeErrors += o.DeserializeErrors
}

func (x *split) stateBytes() (n int64) {
	for key, k := range x.streams {
		n += substreamBytes + int64(len(key))
		for _, s := range k.job.states {
			n += s.stateBytes()
		}
	}
	return n
}

func (x *split) appendState(b []byte) []byte {
	b = appendInt(appendUint(b, stateVersion), x.told)
	b = appendUint(b, uint64(len(x.streams)))
	for key, k := range x.streams {
		b = appendInt(appendText(b, key), k.last)
		for _, s := range k.job.states {
			b = s.appendState(b)
		}
	}
	return b
}

func (x *split) readState(r *stateReader) {
	r.version()
	x.told = r.int()
	for range r.count() {
		k, err := x.stream([]byte(r.text()))
		if err != nil {
			r.fail()
			return
		}
		k.last = r.int()
		for _, s := range k.job.states {
			s.readState(r)
		}
	}
}
