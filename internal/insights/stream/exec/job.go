package exec

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"dunlin/internal/insights/stream/batch"
	"dunlin/internal/insights/stream/clock"
	"dunlin/internal/insights/stream/eval"
	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/script"
	"dunlin/internal/insights/stream/value"
	"dunlin/internal/lang/asa"
)

// Options are what a job needs besides its plan.
type Options struct {
	Policy clock.Policy
	// Output takes rows of an output. names are those of the columns; without
	// names each row is a record in the first column. The batch is valid during
	// the call only. An error ends the job.
	Output func(output string, names []string, b *batch.Batch) error
	// Reference holds the tables that are joined, by their names in any case:
	// at least one version of each.
	Reference map[string][]Version
	// Functions are the user-defined ones, and Scripts the limits of a call.
	Functions []*script.Function
	Scripts   script.Limits
}

// Job is a plan that runs.
type Job struct {
	inputs []*Input
	states []stateful // in the order of wiring, which is that of the plan
	tables []*table
	// scripts are shared by the jobs of substreams.
	scripts *scripts
}

// Input is where events of an input come in.
type Input struct {
	Name string

	layout layout
	next   fan
	counts Counts
	split  *split // nil: the events have one time
	reader *batch.Projector
	batch  *batch.Batch
}

// Inputs lists the streams that the plan reads.
func (j *Job) Inputs() []*Input { return j.inputs }

// Input finds an input by its name in any case; nil when the plan does not
// read it.
func (j *Job) Input(name string) *Input {
	for _, in := range j.inputs {
		if strings.EqualFold(in.Name, name) {
			return in
		}
	}
	return nil
}

// Counts tells what became of the events so far.
func (in *Input) Counts() Counts {
	if in.split != nil {
		return in.split.counted(in.counts, in)
	}
	return in.counts
}

// Event adds an event, a JSON object, that arrived at a time; arrivals never go
// back. metadata is what the adapter tells of it, a record or null. The event
// waits until Flush. An event that cannot be read is counted, and the error
// says why; the job goes on.
func (in *Input) Event(json string, arrival int64, metadata value.Value) error {
	vals, err := in.reader.Read(json)
	if err != nil {
		in.counts.DeserializeErrors++
		return err
	}
	for i, v := range vals {
		in.batch.Cols[i].Append(v)
	}
	if in.layout.metadata >= 0 {
		in.batch.Cols[in.layout.metadata].Append(metadata)
	}
	in.batch.Time = append(in.batch.Time, arrival)
	return nil
}

// Waiting is the number of events that wait for Flush.
func (in *Input) Waiting() int { return in.batch.Len() }

// Flush hands the events that wait to the job.
func (in *Input) Flush() error {
	if in.batch.Len() == 0 {
		return nil
	}
	err := in.next.rows(in.batch)
	in.batch.Reset()
	return err
}

// Quiet says that nothing more has arrived up to a time.
func (in *Input) Quiet(arrival int64) error { return in.next.reached(arrival) }

// End says that no input brings anything any more, and lets out all that waits.
func (j *Job) End() error {
	for _, in := range j.inputs {
		if err := in.Flush(); err != nil {
			return err
		}
	}
	for _, in := range j.inputs {
		if err := in.next.reached(value.MaxTicks); err != nil {
			return err
		}
	}
	return nil
}

// fan hands what comes to several.
type fan struct{ to []next }

func (f *fan) rows(b *batch.Batch) error {
	for _, n := range f.to {
		if err := n.rows(b); err != nil {
			return err
		}
	}
	return nil
}

func (f *fan) reached(ticks int64) error {
	for _, n := range f.to {
		if err := n.reached(ticks); err != nil {
			return err
		}
	}
	return nil
}

// sink is an output.
type sink struct {
	name  string
	names []string
	out   func(output string, names []string, b *batch.Batch) error
}

func (s *sink) rows(b *batch.Batch) error { return s.out(s.name, s.names, b) }

func (s *sink) reached(int64) error { return nil }

// relation is a relation of the plan while it is wired.
type relation struct {
	layout layout
	names  []string // of the columns of a result; nil: one record
	out    *fan     // nil of a table
	table  *table
}

type builder struct {
	plan      *asa.Plan
	scripts   *scripts
	options   Options
	shared    *Job // nil: none
	job       *Job
	relations map[*asa.Relation]*relation
}

// keep notes a step that has a state.
func (b *builder) keep(s stateful) { b.job.states = append(b.job.states, s) }

// StateBytes is roughly the memory that the job takes for what it has seen.
func (j *Job) StateBytes() (n int64) {
	for _, s := range j.states {
		n += s.stateBytes()
	}
	for _, t := range j.tables {
		n += t.size
	}
	return n
}

// New wires a plan.
func New(p *asa.Plan, o Options) (*Job, error) {
	over, err := substreams(p)
	switch {
	case err != nil:
		return nil, err
	case over != nil:
		return newSplit(p, o, over)
	}
	return wire(p, o, nil)
}

// wire wires a plan. Another job of the plan can share what does not change.
func wire(p *asa.Plan, o Options, shared *Job) (*Job, error) {
	b := &builder{plan: p, options: o, shared: shared, job: new(Job), scripts: newScripts(o), relations: map[*asa.Relation]*relation{}}
	if shared != nil {
		b.scripts = shared.scripts
	}
	b.job.scripts = b.scripts
	layouts := inputLayouts(p)
	for _, r := range p.Relations {
		var err error
		switch r.Kind {
		case asa.StreamInput:
			b.input(r, layouts[r])
		case asa.ReferenceInput:
			err = b.reference(r, layouts[r])
		case asa.Computed:
			err = b.query(r)
		case asa.United:
			b.union(r)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, o := range p.Outputs {
		for _, r := range o.From {
			rel := b.relations[r]
			rel.out.to = append(rel.out.to, &sink{name: o.Name, names: rel.names, out: b.options.Output})
		}
	}
	return b.job, nil
}

func (b *builder) input(r *asa.Relation, l *layout) {
	in := &Input{Name: r.Name, layout: *l, reader: batch.NewProjector(l.paths, l.whole >= 0), batch: batch.New(l.width())}
	b.job.inputs = append(b.job.inputs, in)
	b.relations[r] = &relation{layout: *l, out: &in.next}
}

func (b *builder) union(r *asa.Relation) {
	names := b.relations[r.Parts[0]].names
	for _, p := range r.Parts {
		if n := b.relations[p].names; n == nil || len(n) != len(names) {
			names = nil
		}
	}
	m := newMerge(len(r.Parts))
	out := new(fan)
	m.next = out
	for i, p := range r.Parts {
		rel := b.relations[p]
		var to next = &m.sides[i]
		if names == nil && rel.names != nil {
			to = recordOf(rel.names, to)
		}
		rel.out.to = append(rel.out.to, to)
	}
	b.relations[r] = &relation{layout: layoutOf(names), names: names, out: out}
}

// layoutOf is the layout of a result with those columns, or of records.
func layoutOf(names []string) layout {
	l := newLayout()
	if names == nil {
		l.whole = 0
	}
	for _, n := range names {
		l.paths = append(l.paths, []string{n})
	}
	return l
}

// recordOf makes records of rows.
func recordOf(names []string, to next) next {
	a := &assemble{next: to, out: batch.New(1)}
	for i, n := range names {
		a.parts = append(a.parts, part{n, func(f *eval.Frame) (*batch.Column, error) { return f.Col(i), nil }})
	}
	return a
}

// columns tells the compiler where things are in the rows of a query before
// they are grouped.
type columns struct {
	q        *asa.Query
	scripts  *scripts
	sources  []layout
	base     []int // first column of each source
	times    []int // column with the time of each source; -1: there is none
	analytic int   // first of the columns of analytic functions
	width    int
}

// newColumns lays out the rows of a query: the first source, its analytic
// functions and its time, and then the others, of which streams that are joined
// have their time behind them.
func (b *builder) newColumns(q *asa.Query) *columns {
	c := &columns{q: q, scripts: b.scripts}
	timed := slices.ContainsFunc(q.Sources, func(in *asa.Input) bool { return in.Kind == asa.JoinInput })
	walkQuery(q, func(e asa.Expr) {
		r, ok := e.(*asa.Ref)
		timed = timed || ok && r.Kind == asa.TimeRef && r.Index >= 0
	})
	for i, in := range q.Sources {
		l := newLayout()
		if in.Relation != nil {
			l = b.relations[in.Relation].layout
		} else {
			for _, n := range in.Columns {
				l.paths = append(l.paths, []string{n})
			}
		}
		c.sources = append(c.sources, l)
		c.base = append(c.base, c.width)
		c.width += l.width()
		if i == 0 {
			c.analytic = c.width
			c.width += len(q.Analytic)
		}
		switch {
		case timed && (i == 0 || in.Kind == asa.JoinInput):
			c.times = append(c.times, c.width)
			c.width++
		case timed: // that of the rows so far
			c.times = append(c.times, c.times[i-1])
		default:
			c.times = append(c.times, -1)
		}
	}
	return c
}

// Field implements eval.Names.
func (c *columns) Field(f *asa.Field) (int, []string) {
	col, rest, ok := c.sources[f.Source].find(f.Path)
	if !ok {
		panic(fmt.Sprintf("exec: nobody has asked for %v", f.Path))
	}
	return c.base[f.Source] + col, rest
}

// Ref implements eval.Names.
func (c *columns) Ref(r *asa.Ref) int {
	switch r.Kind {
	case asa.TimeRef:
		return c.times[r.Index]
	case asa.AnalyticRef:
		return c.analytic + r.Index
	case asa.KeyRef, asa.AggregateRef, asa.WindowRef:
	}
	panic(fmt.Sprintf("exec: reference of kind %d among rows", r.Kind))
}

// Call implements eval.Names.
func (c *columns) Call(call *asa.Call, compiler eval.Compiler) (eval.Value, error) {
	if call.Space != "" {
		return c.script(call, compiler)
	}
	source, ok := metadataSource(call)
	if !ok {
		return nil, fmt.Errorf("the function %s is not supported yet", call.Name)
	}
	col := c.base[source] + c.sources[source].metadata
	path := metadataPath(call.Args[1].(*asa.Literal).Text)
	of := func(f *eval.Frame) (*batch.Column, error) { return f.Col(col), nil }
	return eval.Rowwise([]eval.Value{of}, func(args []value.Value) (value.Value, error) {
		v := args[0]
		for _, name := range path {
			v = scalar.Member(v, name)
		}
		return v, nil
	}), nil
}

// metadataPath reads a path such as [EventHub].[PartitionId].
func metadataPath(s string) []string {
	var path []string
	for p := range strings.SplitSeq(s, ".") {
		path = append(path, strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(p), "["), "]"))
	}
	return path
}

func (b *builder) query(r *asa.Relation) error {
	q := r.Query
	cols := b.newColumns(q)
	first := cols // before MATCH_RECOGNIZE, of which only the result goes on
	if q.Match != nil {
		var err error
		if cols, err = cols.matched(); err != nil {
			return err
		}
	}
	compiler := eval.Compiler{Names: cols}
	out := new(fan)
	rel := &relation{out: out}
	// From the last step to the first, as each needs to know the next.
	last := b.result
	if q.Window != nil {
		last = b.group
	}
	step, err := last(q, cols, compiler, rel)
	if err != nil {
		return err
	}
	if q.Where != nil {
		cond, err := compiler.Cond(q.Where)
		if err != nil {
			return err
		}
		step = &filter{cond: cond, next: step}
	}
	for n, in := range slices.Backward(q.Sources) {
		switch in.Kind {
		case asa.ApplyInput:
			arg, err := compiler.Value(in.Arg)
			if err != nil {
				return err
			}
			step = &apply{arg: arg, kind: in.Apply, outer: in.Outer, next: step}
		case asa.FirstInput:
			if cols.times[n] >= 0 {
				step = &stamp{next: step}
			}
		case asa.JoinInput:
			if step, err = b.join(q, n, cols, compiler, step); err != nil {
				return err
			}
		case asa.ReferenceJoin:
			if step, err = b.lookup(q, n, cols, compiler, step); err != nil {
				return err
			}
		case asa.MatchInput:
			if step, err = b.match(q, first, eval.Compiler{Names: first}, step); err != nil {
				return err
			}
		}
	}
	if len(q.Analytic) > 0 {
		if step, err = b.analytic(q, cols, compiler, step); err != nil {
			return err
		}
	}
	b.relations[r] = rel
	return b.connect(q.Sources[0], compiler, step)
}

// connect lets a step read a source.
func (b *builder) connect(in *asa.Input, compiler eval.Compiler, step next) error {
	from := b.relations[in.Relation]
	if in.Relation.Kind == asa.StreamInput {
		g := &ingress{
			clock: clock.New(b.options.Policy, in.Timestamp != nil), next: step, told: math.MinInt64,
			counts: &b.job.Input(in.Relation.Name).counts,
		}
		if in.Timestamp != nil {
			var err error
			if g.timestamp, err = compiler.Value(in.Timestamp); err != nil {
				return err
			}
		}
		step = g
	}
	from.out.to = append(from.out.to, step)
	return nil
}

// result makes the step that computes the columns of the result.
func (b *builder) result(q *asa.Query, cols *columns, compiler eval.Compiler, rel *relation) (next, error) {
	named := !slices.ContainsFunc(q.Columns, func(c asa.OutputColumn) bool { return c.Name == "" })
	var parts []part
	for i := range q.Columns {
		c := &q.Columns[i]
		if c.Star >= 0 {
			for _, p := range cols.all(c.Star) {
				if p.name == "" || !written(q, p.name) {
					parts = append(parts, p)
				}
			}
			continue
		}
		v, err := compiler.Value(c.Expr)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part{c.Name, v})
	}
	if !named && !slices.ContainsFunc(parts, func(p part) bool { return p.name == "" }) {
		// SELECT * of steps whose columns are known.
		parts = distinct(parts)
		named = true
	}
	if !named {
		rel.layout = layoutOf(nil)
		return &assemble{parts: parts, next: rel.out, out: batch.New(1)}, nil
	}
	p := &project{next: rel.out}
	for _, x := range parts {
		rel.names = append(rel.names, x.name)
		p.values = append(p.values, x.value)
	}
	rel.layout = layoutOf(rel.names)
	return p, nil
}

// all gives the parts that are all columns of a source.
func (c *columns) all(source int) (parts []part) {
	l := &c.sources[source]
	at := func(col int) eval.Value {
		col += c.base[source]
		return func(f *eval.Frame) (*batch.Column, error) { return f.Col(col), nil }
	}
	if l.whole >= 0 {
		return []part{{"", at(l.whole)}}
	}
	for i, p := range l.paths {
		parts = append(parts, part{p[len(p)-1], at(i)})
	}
	return parts
}

// written tells whether a column is named so in the text, which goes before what
// * gives.
func written(q *asa.Query, name string) bool {
	return slices.ContainsFunc(q.Columns, func(c asa.OutputColumn) bool { return strings.EqualFold(c.Name, name) })
}

func distinct(parts []part) (out []part) {
	for _, p := range parts {
		if !slices.ContainsFunc(out, func(x part) bool { return strings.EqualFold(x.name, p.name) }) {
			out = append(out, p)
		}
	}
	return out
}
